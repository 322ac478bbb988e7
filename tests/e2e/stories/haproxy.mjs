// The same through HAProxy.
import { startHaproxy } from '../parts/haproxy.mjs';
import { UUID, beforeAStandIn, beforeTheShop } from '../parts/proxies.mjs';

export const about = 'the same, through HAProxy';

const FACTS = {
  start: startHaproxy,
  generated: UUID,
  down: 503,
  hangUp: 502,
  // HAProxy answers these before its rules run.
  bad: {
    'a line without a colon': { head: ['no colon'], status: 400, hasId: false },
    'a line that is too long': { head: [`X-Long: ${'a'.repeat(20_000)}`], status: 400, hasId: false },
  },
};

export async function tell(stage) {
  return [...await beforeTheShop(stage, FACTS), ...await beforeAStandIn(stage, FACTS)];
}

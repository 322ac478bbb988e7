// The same through Caddy.
import { startCaddy } from '../parts/caddy.mjs';
import { UUID, beforeAStandIn, beforeTheShop } from '../parts/proxies.mjs';

export const about = 'the same, through Caddy';

const FACTS = {
  start: startCaddy,
  generated: UUID,
  down: 502,
  hangUp: 502,
  // Go's server answers these before Caddy sees them.
  bad: {
    'a line without a colon': { head: ['no colon'], status: 400, hasId: false },
    'a line that is too long': { head: [`X-Long: ${'a'.repeat(20_000)}`], status: 431, hasId: false },
  },
};

export async function tell(stage) {
  return [...await beforeTheShop(stage, FACTS), ...await beforeAStandIn(stage, FACTS)];
}

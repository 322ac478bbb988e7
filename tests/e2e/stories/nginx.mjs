// The same through nginx. The log, the response and the reports have the same ID, whether the client,
// nginx or the storefront generated it.
import { keepsFirst, startNginx } from '../parts/nginx.mjs';
import * as shopPage from '../parts/page.mjs';
import { HEXADECIMAL, beforeAStandIn, beforeTheShop } from '../parts/proxies.mjs';
import { FAILED } from '../parts/shop.mjs';

export const about = 'the same, through nginx';

const FACTS = {
  start: startNginx,
  generated: HEXADECIMAL,
  // Its statuses if the service is down, and if the service hangs up.
  down: 502,
  hangUp: 502,
  bad: {
    'a line without a colon': { head: ['no colon'], status: 400, hasId: true },
    'a line that is too long': { head: [`X-Long: ${'a'.repeat(9000)}`], status: 400, hasId: true },
    'a body that is too large': { start: 'POST', head: ['Content-Length: 2000000'], status: 413, hasId: true },
  },
};

export async function tell(stage) {
  return [
    await onThePage(stage),
    ...await beforeTheShop(stage, FACTS),
    ...await beforeAStandIn(stage, { ...FACTS, keepsFirst: keepsFirst() }),
  ];
}

// A person orders on the page, which generates the ID.
async function onThePage(stage) {
  const shop = await stage.shop();
  const nginx = stage.closing(await startNginx(stage.folder, shop.url));
  const visitor = stage.closing(await shopPage.visit(stage.browser, nginx.url));
  const id = await shopPage.orderInVain(visitor.page, 'artisanal');
  await shopPage.sameEverywhere(visitor, id, FAILED);
  const services = ['browser', 'storefront', 'kitchen'];
  await stage.project.story(id, services);
  // The first order of a visit has the ID of the page load.
  await nginx.logged(id, /^GET \/ /);
  await nginx.logged(id, /^POST \/orders /);
  return { what: 'page', id, services: ['nginx', ...services] };
}

// The same through nginx. The log, the response and the reports have the same ID, whether the client,
// nginx or the storefront generated it.
import { matches, same } from '../parts/check.mjs';
import * as shopPage from '../parts/page.mjs';
import { startNginx } from '../parts/nginx.mjs';
import { FAILED, newId, order } from '../parts/shop.mjs';

export const about = 'the same, through nginx';
const SERVICES = ['storefront', 'kitchen'];
const GENERATED = /^[0-9a-f]{32}$/;

export async function tell(stage) {
  const shop = await stage.shop();
  const nginx = stage.closing(await startNginx(stage.folder, shop.url));
  const id = newId();
  return [
    await onThePage(stage, nginx),
    await agreed(stage, nginx, { what: 'client with an ID', sent: id, becomes: new RegExp(`^${id}$`) }),
    await agreed(stage, nginx, { what: 'client without an ID', becomes: GENERATED }),
    await agreed(stage, nginx, { what: 'client with "undefined"', sent: 'undefined', becomes: GENERATED }),
    // nginx passes this value on, and logs the ID that replaced it.
    await agreed(stage, nginx, {
      what: 'client with "0000"', sent: '0000', passedOn: '0000', becomes: GENERATED,
    }),
    await whereNobodyAnswers(nginx),
  ];
}

async function onThePage(stage, nginx) {
  const visitor = stage.closing(await shopPage.visit(stage.browser, nginx.url));
  const id = await shopPage.orderInVain(visitor.page, 'artisanal');
  await shopPage.sameEverywhere(visitor, id, FAILED);
  same('page: the ID that nginx passed on', (await nginx.logged(id)).passedOn, id);
  const services = ['browser', ...SERVICES];
  await stage.project.story(id, services);
  return { what: 'page', id, services: ['nginx', ...services] };
}

// Orders, and checks the ID at each place. nginx passes on `passedOn`, or else the final ID.
async function agreed(stage, nginx, { what, sent, becomes, passedOn }) {
  const { status, echoed, text } = await order(nginx, 'artisanal', sent);
  same(`${what}: the status`, status, FAILED);
  matches(`${what}: the ID in the answer`, echoed, becomes);
  same(`${what}: the ID that the kitchen worked under`, JSON.parse(text).kitchenId, echoed);
  const logged = await nginx.logged(echoed);
  same(`${what}: the request in nginx's log`, logged.request, `${FAILED} POST /orders`);
  same(`${what}: the ID that nginx passed on`, logged.passedOn, passedOn ?? echoed);
  await stage.project.story(echoed, SERVICES);
  return { what, id: echoed, services: ['nginx', ...SERVICES] };
}

// Without a storefront, only nginx logs the request. The response has an ID for support all the same.
async function whereNobodyAnswers(nginx) {
  const answer = await fetch(`${nginx.url}/closed/`);
  const id = answer.headers.get('X-Transaction-ID');
  same('nginx before a storefront that is closed: the status', answer.status, 502);
  matches('nginx before a storefront that is closed: the ID', id, GENERATED);
  await nginx.logged(id);
  return { what: 'storefront closed', id, services: ['nginx'] };
}

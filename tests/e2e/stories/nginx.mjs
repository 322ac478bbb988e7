// The same through nginx: its log, what the client is answered and what is reported agree on one
// ID, whoever minted it.
import { matches, same } from '../parts/check.mjs';
import * as shopPage from '../parts/page.mjs';
import { startNginx } from '../parts/nginx.mjs';
import { FAILED, newId, order } from '../parts/shop.mjs';

export const about = 'the same, through nginx';
const SERVICES = ['storefront', 'kitchen'];
const MINTED = /^[0-9a-f]{32}$/;

export async function tell(stage) {
  const shop = await stage.shop();
  const nginx = stage.closing(await startNginx(stage.folder, shop.url));
  return [
    await onThePage(stage, nginx),
    await withAnId(stage, nginx),
    await withoutOne(stage, nginx),
    await withAPlaceholder(stage, nginx),
    await withWhatOnlyTheStorefrontRefuses(stage, nginx),
    await whereNobodyAnswers(nginx),
  ];
}

async function onThePage(stage, nginx) {
  const visitor = stage.closing(await shopPage.visit(stage.browser, nginx.url));
  const id = await shopPage.orderInVain(visitor.page, 'artisanal');
  shopPage.sameEverywhere(visitor, id, FAILED);
  await nginx.logged(id);
  const services = ['browser', ...SERVICES];
  await stage.project.story(id, services);
  return { what: 'page', id, services: ['nginx', ...services] };
}

async function withAnId(stage, nginx) {
  const id = newId();
  return agreed('client with an ID', stage, nginx, id, (echoed) => {
    same('nginx: the ID of a client that sent one', echoed, id);
  });
}

async function withoutOne(stage, nginx) {
  return agreed('client without an ID', stage, nginx, undefined, (echoed) => {
    matches('nginx: the ID of a client that sent none', echoed, MINTED);
  });
}

async function withAPlaceholder(stage, nginx) {
  return agreed('client with "undefined"', stage, nginx, 'undefined', (echoed) => {
    matches('nginx: the ID of a client that sent "undefined"', echoed, MINTED);
  });
}

// nginx lets it pass, and logs what became of it.
async function withWhatOnlyTheStorefrontRefuses(stage, nginx) {
  return agreed('client with "0000"', stage, nginx, '0000', (echoed) => {
    matches('nginx: the ID of a client that sent "0000"', echoed, MINTED);
  });
}

async function agreed(what, stage, nginx, sent, checkEcho) {
  const { status, echoed, text } = await order(nginx, 'artisanal', sent);
  same(`${what}: the status`, status, FAILED);
  checkEcho(echoed);
  same(`${what}: the ID that the kitchen worked under`, JSON.parse(text).kitchenId, echoed);
  matches(`${what}: nginx's log line`, await nginx.logged(echoed), /^502 POST \/orders /);
  await stage.project.story(echoed, SERVICES);
  return { what, id: echoed, services: ['nginx', ...SERVICES] };
}

// No storefront, and so no report but nginx's own: it has an ID to give to support all the same.
async function whereNobodyAnswers(nginx) {
  const answer = await fetch(`${nginx.url}/closed/`);
  const id = answer.headers.get('X-Transaction-ID');
  same('nginx before a storefront that is closed: the status', answer.status, 502);
  matches('nginx before a storefront that is closed: the ID', id, MINTED);
  await nginx.logged(id);
  return { what: 'storefront closed', id, services: ['nginx'] };
}

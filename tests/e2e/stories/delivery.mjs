// An order that was served goes on in a queue, and fails in the courier, a process that no request
// reaches. The page, the storefront, the kitchen and the courier are one story, under one ID and in one trace.
import { readFileSync } from 'node:fs';
import { startNats } from '../parts/brokers.mjs';
import { eventually, matches, same } from '../parts/check.mjs';
import * as shopPage from '../parts/page.mjs';
import { childrenOf } from '../parts/processes.mjs';
import { FAILED, SERVED, newId, order } from '../parts/shop.mjs';
import { Stories } from '../parts/stories.mjs';

export const about = 'an order fails in a queue, after it was served';
const SERVICES = ['browser', 'storefront', 'kitchen', 'courier'];

export async function tell(stage) {
  // Without a tracker the demo has its own.
  const shop = await stage.shop({ dsn: '' });
  const stories = stage.closing(await Stories.open(shop.stories));
  return [
    await served(stage, shop, stories),
    await courierDies(shop, stories),
    ...await throughNats(stage),
  ];
}

async function served(stage, shop, stories) {
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url));
  const { page } = visitor;
  await shopPage.choose(page, 'lunar');
  await shopPage.submit(page);
  const card = page.locator('#orders > li.served');
  await card.waitFor();
  const id = await card.getAttribute('data-transaction-id');
  await shopPage.sameEverywhere(visitor, id, SERVED);

  const story = await stories.told(id, [
    ...SERVICES.map((service) => `${service} trace`), 'storefront span', 'courier log', 'courier event',
  ]);
  inOneTrace(story, SERVICES);
  const titles = (kind) => story.lines.filter((line) => line.kind === kind).map(({ service, title }) => `${service} ${title}`);
  same('the errors of the order', titles('event'), ['courier DogNotDelivered: the hot dog comes back cold']);
  const [published, ...others] = titles('span');
  same('the number of messages that were sent', others.length, 0);
  matches('the message that was sent', published, /^storefront queue\.publish deliveries: ok in \d+ ms$/);
  const processed = titles('trace').find((title) => title.startsWith('courier '));
  matches('the delivery', processed, /^courier queue\.process deliveries: internal_error in \d+ ms$/);

  await isShown(stage, page, await card.getByRole('link').getAttribute('href'));
  same('errors nobody caught', visitor.errors, []);
  return { what: 'served', id, services: SERVICES };
}

// The page of an order that was served leads to the story, which names all four and the error.
async function isShown(stage, page, href) {
  await page.goto(href);
  const shown = page.locator('.story').filter({ visible: true });
  await shown.locator('.error[data-service=courier]').waitFor();
  for (const service of SERVICES) await shown.locator(`.line[data-service=${service}]`).first().waitFor();
  matches('the head of the story', await shown.locator('header').innerText(), /1 error of 1 service\s+One trace:/);
  await stage.screenshot(page, 'delivery');
}

// A courier dies with a delivery that it has not acknowledged. The queue hands the delivery to the next
// courier, with the same ID and trace.
async function courierDies(shop, stories) {
  const [courier] = await couriers(shop);
  const id = newId();
  process.kill(courier, 'SIGSTOP');
  const { status, echoed } = await order(shop, 'lunar', id);
  same('an order while the courier stands still: status and echo', [status, echoed], [SERVED, id]);
  await hasUnread(courier);
  process.kill(courier, 'SIGKILL');

  const story = await stories.told(id, [
    'the courier before did not come back', 'courier event', 'courier trace', 'storefront trace',
  ]);
  const services = SERVICES.slice(1);
  inOneTrace(story, services);
  await shop.process.ready(/^The courier ended while the shop was open: signal: 9 .*Another one comes\.$/m);
  const [next, ...others] = await couriers(shop);
  same('the number of couriers', 1 + others.length, 1);
  same('the courier that died is there', next === courier, false);
  return { what: 'the courier dies', id, services };
}

// The same through NATS. When NATS is down, the order fails, and the page shows why.
async function throughNats(stage) {
  const nats = stage.closing(await startNats(stage.folder));
  const shop = await stage.shop({ dsn: '', args: ['--nats', nats.url] });
  const stories = stage.closing(await Stories.open(shop.stories));
  const id = newId();
  const { status, echoed } = await order(shop, 'lunar', id);
  same('an order that goes through NATS: status and echo', [status, echoed], [SERVED, id]);
  const story = await stories.told(id, ['storefront span', 'kitchen trace', 'courier trace', 'courier event']);
  const services = SERVICES.slice(1);
  inOneTrace(story, services);

  await nats.stop();
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url));
  const vain = await shopPage.orderInVain(visitor.page, 'classic');
  await shopPage.sameEverywhere(visitor, vain, FAILED);
  matches('what the page shows without NATS', await visitor.page.locator('.failed .outcome').innerText(),
    /^Classic: Your hot dog is ready, but no courier can be called\.$/);
  const failed = await stories.told(vain, ['storefront event', 'browser event', 'kitchen trace']);
  const error = failed.lines.find(({ service, kind }) => service === 'storefront' && kind === 'event');
  matches('the error of the storefront', error.title, /^NotSent: NATS did not take the delivery/);
  return [
    { what: 'through NATS', id, services },
    { what: 'NATS is down', id: vain, services: SERVICES.slice(0, 3) },
  ];
}

function couriers(shop) {
  return eventually(10, async () => {
    const ids = childrenOf(shop.process, 'courier');
    same('the shop has a courier', ids.length > 0, true);
    return ids;
  });
}

// Waits until the queue has sent the courier a message, which the courier cannot read while it stands still.
function hasUnread(courier) {
  const [, port] = /tcp:\/\/127\.0\.0\.1:(\d+)/.exec(readFileSync(`/proc/${courier}/cmdline`, 'latin1'));
  // Addresses and sizes are hexadecimal.
  const remote = Number(port).toString(16).toUpperCase().padStart(4, '0');
  const unread = new RegExp(`^ *\\d+: \\S+ 0100007F:${remote} 01 \\S+:0*[1-9A-F]`, 'm');
  return eventually(10, async () => {
    matches('the connection of the courier', readFileSync('/proc/net/tcp', 'latin1'), unread);
  });
}

function inOneTrace({ id, traces }, services) {
  same(`the services in each trace of ${id}`, traces.map((trace) => trace.services.sort()), [[...services].sort()]);
}

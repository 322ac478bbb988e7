// The demo shows its stories itself. Each is one trace, from the page to the courier, and the transaction of a
// streamed order lasts until its last line. The README has pictures of it.
import { check, matches, same } from '../parts/check.mjs';
import * as shopPage from '../parts/page.mjs';
import { WINDOW, picture } from '../parts/pictures.mjs';
import { newId, order } from '../parts/shop.mjs';
import { Stories } from '../parts/stories.mjs';

export const about = "the demo's own stories, each one trace";
const SERVICES = ['browser', 'kitchen', 'storefront'];
const ALL = [...SERVICES, 'courier'];
const each = (kind) => SERVICES.map((service) => `${service} ${kind}`);
// The line that the storefront logs from the body of a streamed answer, before the body ends.
const LAST = 'the last line of the answer';
// The last line of the courier.
const DELIVERED = 'delivered';

export async function tell(stage) {
  // Without a tracker the demo has its own.
  const shop = await stage.shop({ dsn: '' });
  const stories = stage.closing(await Stories.open(shop.stories));
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url, WINDOW));
  const { page } = visitor;

  const streamedId = await pageOrders(page, 'grilled');
  const streamed = await stories.told(streamedId, [
    ...each('trace'), 'kitchen log', 'kitchen metric', LAST, 'storefront span', 'courier trace', DELIVERED,
  ]);
  const lostId = await pageOrders(page, 'lunar');
  const lost = await stories.told(lostId, [
    ...each('trace'), 'storefront span', 'courier trace', 'courier event',
    ...ALL.slice(1).map((service) => `${service} log`), 'kitchen metric',
  ]);
  const failedId = await pageOrders(page, 'artisanal');
  const failed = await stories.told(failedId, [
    ...each('trace'), ...each('event'), 'kitchen log', 'storefront log',
  ]);
  // The courier has nothing to do with an order that fails in the kitchen.
  for (const [{ id, traces }, services] of [[streamed, ALL], [lost, ALL], [failed, SERVICES]]) {
    same(`the services in each trace of ${id}`, traces.map((trace) => trace.services.sort()), [[...services].sort()]);
  }
  // Without the page's help, Sentry's SDK has one trace for the whole visit.
  const traces = [streamed, lost, failed].map((story) => story.traces[0].id);
  same('the number of traces of three orders of one page', new Set(traces).size, 3);
  lastsUntilTheLastLine(streamed);

  await page.locator('#orders > li.served').nth(1).waitFor();
  await page.locator('.failed').getByText('Read its story').waitFor();
  await picture(stage.root, page, 'shop', {
    texts: '.top > *, h1, label, button[type=submit], h2, #orders p, footer', end: 'footer',
  });
  await page.goto(shop.stories);
  const bars = await isShown(page, streamed, [200, 200]);
  check(bars.order > bars.cook, 'the bar of the streamed order is no longer than that of its cooking');
  await isShown(page, lost, [200, 200]);
  await isShown(page, failed, [502, 500]);
  // Found by its ID, as support finds it.
  await page.goto(`${shop.stories}?q=${lostId}`);
  await cardOf(page, lostId).waitFor();
  await picture(stage.root, page, 'stories', {
    texts: '.top > *, .headline > *, main > p, .find > *, .story :is(header > *, .line)', end: '.story:visible',
  });
  await page.goto(shop.stories);
  same('errors nobody caught', visitor.errors, []);
  return [
    { what: 'streamed', id: streamedId, services: ALL },
    { what: 'lost', id: lostId, services: ALL },
    { what: 'failed', id: failedId, services: SERVICES },
    await tornApart(stories, shop, page),
  ];
}

// The ID of an order that may still be under way.
async function pageOrders(page, dog) {
  await shopPage.choose(page, dog);
  await shopPage.submit(page);
  return page.locator('#orders > li').first().getAttribute('data-transaction-id');
}

// The transaction of the kitchen ends before: the last line is that of its answer.
function lastsUntilTheLastLine({ lines }) {
  const endOf = (of) => lines.find(({ service, kind }) => service === of && kind === 'trace').end;
  const last = lines.find(({ title }) => title === LAST);
  const early = last.time - endOf('storefront');
  check(early <= 0, `the transaction of the streamed order ended ${early} ms before its last line`);
  const late = endOf('kitchen') - last.time;
  check(late <= 0, `the transaction of its cooking ended ${late} ms after the last line`);
}

// The page shows the one trace of a story, and how both services answered. Returns the lengths of their bars.
async function isShown(page, { id, traces: [trace] }, [orderStatus, cookStatus]) {
  const card = cardOf(page, id);
  const shown = await card.locator('.traces').innerText();
  matches(`what the page says of the traces of ${id}`, shown, /^One trace: [0-9a-f]{8}\u2026/);
  const whole = await card.locator('.trace-id').getAttribute('title');
  same(`the whole ID of the trace of ${id}`, whole, trace.id);
  const lengthOf = async (service, title) => {
    const line = card.locator(`.trace[data-service=${service}]`);
    matches(`the transaction of the ${service} for ${id}`, await line.locator('.title').innerText(), title);
    return (await line.locator('.part').boundingBox()).width;
  };
  return {
    order: await lengthOf('storefront', new RegExp(`^POST /orders: ${orderStatus} in \\d+ ms$`)),
    cook: await lengthOf('kitchen', new RegExp(`^POST /cook: ${cookStatus} in \\d+ ms$`)),
  };
}

function cardOf(page, id) {
  return page.locator('.story').filter({ has: page.locator(`a[href="#${id}"]`) });
}

// Two orders without a trace header, under one ID: the page shows both traces.
async function tornApart(stories, shop, page) {
  const id = newId();
  for (const dog of ['classic', 'artisanal']) await order(shop, dog, id);
  const { traces } = await stories.told(id, ['kitchen metric', 'kitchen event', 'storefront event']);
  same('one ID for two orders: traces', traces.length, 2);
  const broken = cardOf(page, id).locator('.traces.broken');
  await broken.waitFor();
  matches('one ID for two orders: what the page says', await broken.innerText(), /^2 traces, and not one:/);
  return { what: 'one ID for two orders', result: 'the page says that there are 2 traces' };
}

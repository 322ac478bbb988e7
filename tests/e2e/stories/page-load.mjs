// A script of the page fails while the page loads. The page reads the ID of its own response, reports the error under
// it, and orders under it once: the page load is the beginning of the story of the first order.
import { check, eventually, matches, same } from '../parts/check.mjs';
import * as shopPage from '../parts/page.mjs';
import { FAILED } from '../parts/shop.mjs';
import { Stories } from '../parts/stories.mjs';
import { title } from '../parts/tracker.mjs';

export const about = 'errors while the page loads, and the first order, have its ID';
const SERVICES = ['browser', 'storefront', 'kitchen'];
const BROKEN = 'the awning fell down';
// The line that the storefront logs.
const LOADED = 'the page was loaded';

export async function tell(stage) {
  const rows = await inTheTracker(stage);
  rows.push(await inItsOwnStories(stage));
  return rows;
}

async function inTheTracker(stage) {
  const shop = await stage.shop();
  const visitor = stage.closing(await stage.browser.page());
  const { page } = visitor;
  await failWhileLoading(page);
  const pageId = await load(page, () => page.goto(shop.url));
  const [atLoad] = await stage.project.story(pageId, ['browser']);
  matches('the report under the ID of the page', title(atLoad.data), /awning/);

  const first = await shopPage.orderInVain(page, 'artisanal');
  same('the ID of the first order', first, pageId);
  const events = await stage.project.story(first, SERVICES);
  const [trace, ...otherTraces] = new Set(events.map(({ data }) => data.contexts.trace.trace_id));
  same('the other traces of the page load and the first order', otherTraces, []);

  await shopPage.submit(page);
  const [second] = await shopPage.failedIds(page, 2);
  check(second !== pageId, `the second order has the ID of the page load, ${pageId}`);
  const ofSecond = await stage.project.story(second, SERVICES);
  const reports = ofSecond.filter(({ service }) => service === 'browser').map(({ data }) => title(data));
  same('the reports of the page under the ID of the second order', reports.length, 1);
  check(ofSecond.every(({ data }) => data.contexts.trace.trace_id !== trace), 'both orders are in one trace');
  await shopPage.answered('the answers to both orders', visitor, [first, second].map(
    (id) => ({ sent: id, echoed: id, status: FAILED }),
  ));

  // An error that belongs to no order has the ID of the page load, also after orders.
  await page.evaluate(() => { setTimeout(() => { throw new Error('the bell is stuck'); }); });
  await eventually(60, async () => {
    const found = await stage.project.story(pageId, SERVICES);
    const ofPage = found.filter(({ service }) => service === 'browser').map(({ data }) => title(data));
    same('the reports of the page under the ID of its load', ofPage.length, 3);
    check(ofPage.some((report) => /bell/.test(report)), `no report of the bell: ${ofPage.join('; ')}`);
  });
  return [
    { what: 'page load and order', id: pageId, services: SERVICES },
    { what: 'second order', id: second, services: SERVICES },
  ];
}

async function inItsOwnStories(stage) {
  // Without a tracker the demo has its own.
  const shop = await stage.shop({ dsn: '' });
  const stories = stage.closing(await Stories.open(shop.stories));
  const visitor = stage.closing(await stage.browser.page());
  const { page } = visitor;

  const first = await load(page, () => page.goto(shop.url));
  same('the ID of the first order', await shopPage.orderInVain(page, 'artisanal'), first);
  const told = await stories.told(first, [LOADED, ...SERVICES.map((service) => `${service} event`)]);
  same('the number of traces of the page load and the first order', told.traces.length, 1);

  // Each way back to the page is another page load.
  const reloaded = await load(page, () => page.reload());
  await page.goto(shop.stories);
  const back = await load(page, () => page.goBack());
  same('the number of IDs of three page loads', new Set([first, reloaded, back]).size, 3);
  same('the ID of the first order after the way back', await shopPage.orderInVain(page, 'artisanal'), back);

  await keptByTheBrowser(page, shop);
  await withoutTheHeader(page, shop);
  return { what: 'reload, way back', result: 'each has an ID of its own, and is used once' };
}

// A page that the browser kept as it was is no new page load.
async function keptByTheBrowser(page, shop) {
  const id = await load(page, () => page.goto(shop.url));
  await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })));
  const ordered = await shopPage.orderInVain(page, 'artisanal');
  check(ordered !== id, 'a page that the browser kept orders under the ID of its load');
}

async function withoutTheHeader(page, shop) {
  await page.route(shop.url, async (route) => {
    const response = await route.fetch();
    const headers = response.headers();
    delete headers['server-timing'];
    await route.fulfill({ response, headers });
  });
  const id = await load(page, () => page.goto(shop.url));
  const ordered = await shopPage.orderInVain(page, 'artisanal');
  matches('an order of a page that cannot read its ID', ordered, /^[0-9a-f]{32}$/);
  check(ordered !== id, 'the page read its ID without the header');
}

// Has a script fail before the page's own scripts run, but after the page's first one.
function failWhileLoading(page) {
  return page.addInitScript((message) => {
    document.addEventListener('readystatechange', () => {
      if (document.readyState === 'interactive') throw new Error(message);
    });
  }, BROKEN);
}

// Loads the page, and waits for its SDK. Returns the ID of its response.
async function load(page, go) {
  const response = await go();
  const headers = response.headers();
  same('the page: Cache-Control', headers['cache-control'], 'no-store');
  await shopPage.withSdk(page);
  return headers['x-transaction-id'];
}

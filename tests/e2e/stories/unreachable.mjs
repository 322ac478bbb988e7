// The page says that it reported an order only if the report arrived, and it says the truth when the shop is gone.
import { eventually, matches, same } from '../parts/check.mjs';
import * as shopPage from '../parts/page.mjs';
import { ShakyTracker } from '../parts/shaky-tracker.mjs';
import { Stories } from '../parts/stories.mjs';

export const about = 'the page says what arrived, and what did not';
const ARRIVED = 'This page reported it, too. Read its story';
const LOST = 'The report of this page did not arrive.';

export async function tell(stage) {
  const shop = await stage.shop({ dsn: '' });
  const stories = stage.closing(await Stories.open(shop.stories));
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url));
  const { page } = visitor;

  const kept = await lateAnswer(page, stories);
  for (const [what, answer] of [
    ['is refused', (route) => route.abort('connectionrefused')],
    ['is answered 503', (route) => route.fulfill({ status: 503 })],
  ]) await withoutReport(page, stories, what, answer);
  await shopCloses(page, shop);
  same('errors nobody caught', visitor.errors, []);
  const services = ['browser', 'storefront', 'kitchen'];
  return [
    { what: 'its report arrived', id: kept, services },
    { what: 'once the tracker works', id: await trackerFails(stage, services), services },
  ];
}

// The shop works, and the tracker behind it does not. Returns the ID of an order that the page reported.
async function trackerFails(stage, services) {
  const tracker = stage.closing(new ShakyTracker(stage.project.tracker.url));
  await tracker.turn('works');
  const shop = await stage.shop({ dsn: stage.project.dsn(tracker.url) });
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url));
  for (const failure of ['is down', 'answers 500']) {
    await tracker.turn(failure);
    const { id, more } = await orders(visitor.page);
    await says(more, `${LOST} Search your tracker for transaction_id:${id}`);
  }
  await tracker.turn('works');
  const { id, more } = await orders(visitor.page);
  await says(more, `This page reported it, too. Search your tracker for transaction_id:${id}`);
  await stage.project.story(id, services);
  same('errors nobody caught', visitor.errors, []);
  return id;
}

// The answer to a report is held back: until then the page does not say that the report arrived.
async function lateAnswer(page, stories) {
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  await page.route('**/tunnel', async (route) => {
    const response = await route.fetch();
    await released;
    await route.fulfill({ response });
  });
  const { id, more } = await orders(page);
  await stories.told(id, ['browser event']);
  matches('before the answer to the report', await more.innerText(), /^Reporting it\u2026/);
  release();
  await says(more, ARRIVED);
  await page.unroute('**/tunnel');
  return id;
}

async function withoutReport(page, stories, what, answer) {
  await page.route('**/tunnel', answer);
  const { id, more } = await orders(page);
  await says(more, `${LOST} Read its story`);
  const { lines } = await stories.told(id, ['kitchen event', 'storefront event']);
  same(`the reports of the page, when the tunnel ${what}`, lines.filter(({ service }) => service === 'browser'), []);
  await page.unroute('**/tunnel');
}

// The shop closes while one order streams, and another order follows.
async function shopCloses(page, shop) {
  await shopPage.choose(page, 'grilled');
  await shopPage.submit(page);
  await page.locator('.order .progress').waitFor();
  await shop.process.kill();
  await page.locator('.failed:first-child').waitFor();
  const { more, outcome } = newest(page);
  const stopped = 'Grilled: The shop stopped in the middle of its answer.';
  same('the order that was under way', await outcome.innerText(), stopped);
  await says(more, LOST);

  const after = await orders(page);
  same('an order without a shop', await after.outcome.innerText(), 'Artisanal: The shop cannot be reached.');
  await says(after.more, LOST);
  const card = page.locator('#orders > li').first();
  const id = await card.getAttribute('data-transaction-id');
  same('its ID', await card.locator('p').nth(1).innerText(), 'Your ID is:');
  same('its ID', await card.locator('.row .id').innerText(), id);
}

async function orders(page) {
  await shopPage.choose(page, 'artisanal');
  const before = await page.locator('#orders > li').count();
  await shopPage.submit(page);
  await page.locator('#orders > li').nth(before).waitFor();
  await page.locator('#orders > li.failed:first-child').waitFor();
  const id = await page.locator('#orders > li').first().getAttribute('data-transaction-id');
  return { id, ...newest(page) };
}

function newest(page) {
  const card = page.locator('#orders > li').first();
  return { outcome: card.locator('.outcome'), more: card.locator('p').last() };
}

function says(line, text) {
  return eventually(15, async () => same('what the page says of its report', await line.innerText(), text));
}

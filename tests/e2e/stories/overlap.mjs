// Two orders of one page are under way at the same time. Each keeps its own ID, on the page and in the
// reports.
import { matches, same } from '../parts/check.mjs';
import * as shopPage from '../parts/page.mjs';
import { FAILED } from '../parts/shop.mjs';
import { title } from '../parts/tracker.mjs';

export const about = 'two orders at once on one page';
const SERVICES = ['browser', 'storefront', 'kitchen'];
// The kitchen reports another failure for each order, so that an exchange of the two IDs would show.
const FAILURES = { artisanal: /artisanal|mustard/, chili: /boiled over/ };

export async function tell(stage) {
  const shop = await stage.shop();
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url));
  const { page } = visitor;
  await holdUntilAllAreSent(page, Object.keys(FAILURES).length);
  for (const dog of Object.keys(FAILURES)) {
    await shopPage.choose(page, dog);
    await shopPage.submit(page);
  }
  const shown = await shopPage.failedIds(page, 2);
  const expected = shown.map((id) => ({ sent: id, echoed: id, status: FAILED }));
  await shopPage.answered('the answers to both orders', visitor, expected);
  same('errors nobody caught', visitor.errors, []);

  const rows = [];
  for (const [dog, failure] of Object.entries(FAILURES)) {
    const card = page.locator('#orders > li', { hasText: new RegExp(dog, 'i') });
    const id = await card.locator('code.id').textContent();
    const events = await stage.project.story(id, SERVICES);
    for (const service of ['browser', 'kitchen']) {
      const reports = events.filter((event) => event.service === service);
      same(`${dog}: the number of reports of the ${service}`, reports.length, 1);
    }
    const cooking = events.find((event) => event.service === 'kitchen');
    matches(`${dog}: what the kitchen reported under its ID`, title(cooking.data), failure);
    rows.push({ what: dog, id, services: SERVICES });
  }
  return rows;
}

// Holds each order in the browser until all orders are placed, however slow that is.
export async function holdUntilAllAreSent(page, count) {
  let sent = 0;
  let release;
  const all = new Promise((released) => { release = released; });
  await page.route('**/orders', async (route) => {
    sent += 1;
    if (sent === count) release();
    await all;
    await route.continue();
  });
}

// The shop's page, as a person uses it.
import { eventually, matches, same } from './check.mjs';

// Opens the page and waits until its SDK is loaded.
export async function visit(browser, url, options) {
  const visitor = await browser.page(options);
  await visitor.page.goto(url);
  await withSdk(visitor.page);
  return visitor;
}

export async function withSdk(page) {
  const sdk = page.locator('#sdk');
  await sdk.filter({ hasText: /SDK/ }).filter({ hasNotText: 'Loading' }).waitFor();
  matches('what the page says about its SDK', await sdk.textContent(), /built here/);
}

export async function choose(page, dog) {
  await page.locator(`#order input[value="${dog}"]`).check({ force: true });
}

export async function submit(page) {
  await page.locator('#order button[type=submit]').click();
}

// The IDs that the page shows for failed orders, the newest first, once there are `count`.
export async function failedIds(page, count) {
  const failed = page.locator('#orders > li.failed');
  await failed.nth(count - 1).waitFor();
  const ids = await failed.locator('code.id').allTextContents();
  same('the number of failed orders on the page', ids.length, count);
  return ids;
}

// Checks the responses to the page's orders, in any order. The page may show a response before the
// browser reports it.
export function answered(what, { answers }, expected) {
  const byId = (one, other) => (one.sent < other.sent ? -1 : 1);
  return eventually(10, async () => same(what, [...answers].sort(byId), [...expected].sort(byId)));
}

// Places an order that fails. Returns the ID that the page shows.
export async function orderInVain(page, dog) {
  await choose(page, dog);
  await submit(page);
  const [id] = await failedIds(page, 1);
  return id;
}

// Checks that the page sent, received and shows the same ID.
export async function sameEverywhere(visitor, id, status) {
  await answered('the page: its order', visitor, [{ sent: id, echoed: id, status }]);
  same('the page: errors nobody caught', visitor.errors, []);
}

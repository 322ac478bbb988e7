// The shop's page, as a person uses it.
import { matches, same } from './check.mjs';

// Opens it and waits until it can report.
export async function visit(browser, url) {
  const visitor = await browser.page();
  await visitor.page.goto(url);
  const sdk = visitor.page.locator('footer#sdk');
  await sdk.filter({ hasText: /SDK/ }).filter({ hasNotText: 'Loading' }).waitFor();
  matches('what the page says about its SDK', await sdk.textContent(), /built here/);
  return visitor;
}

export async function choose(page, dog) {
  await page.locator(`#order input[value="${dog}"]`).check({ force: true });
}

export async function submit(page) {
  await page.locator('#order button[type=submit]').click();
}

// The IDs that its failed orders show, the newest first, once there are `count`.
export async function failedIds(page, count) {
  const failed = page.locator('#orders > li.failed');
  await failed.nth(count - 1).waitFor();
  const ids = await failed.locator('code.id').allTextContents();
  same('the number of failed orders on the page', ids.length, count);
  return ids;
}

// Orders what cannot be had: the ID that the page shows for it.
export async function orderInVain(page, dog) {
  await choose(page, dog);
  await submit(page);
  const [id] = await failedIds(page, 1);
  return id;
}

// What the page sent, was answered and shows must be one ID.
export function sameEverywhere(visitor, id, status) {
  same('the page: its order', visitor.answers, [{ sent: id, echoed: id, status }]);
  same('the page: errors nobody caught', visitor.errors, []);
}

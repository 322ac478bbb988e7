// A person orders on the page, and the order fails. Three programs report the failure, under the ID that
// the page shows.
import { matches, same } from '../parts/check.mjs';
import * as shopPage from '../parts/page.mjs';
import { FAILED } from '../parts/shop.mjs';

export const about = 'an order on the page fails';
const SERVICES = ['browser', 'storefront', 'kitchen'];

export async function tell(stage) {
  const shop = await stage.shop({ args: ['--search-url', stage.project.searchUrl()] });
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url));
  const { page } = visitor;
  await stage.screenshot(page, 'page');

  const id = await shopPage.orderInVain(page, 'artisanal');
  await shopPage.sameEverywhere(visitor, id, FAILED);
  await stage.project.story(id, SERVICES);
  const link = page.getByRole('link', { name: 'tracker' });
  await link.waitFor();
  await stage.screenshot(page, 'failed-order');

  await search(stage, page, await link.getAttribute('href'));
  return [{ id, services: SERVICES }];
}

// Support searches for the ID that the customer read out: one search finds all reports.
async function search(stage, page, href) {
  const { tracker } = stage.project;
  const [user, password] = tracker.user;
  await page.goto(`${tracker.url}/accounts/login/`);
  await page.locator('input[name=username]').fill(user);
  await page.locator('input[name=password]').fill(password);
  await page.locator('input[name=password]').press('Enter');
  await page.waitForURL((url) => !url.pathname.includes('login'));
  const answer = await page.goto(href);
  same('Bugsink, asked for the ID', answer.status(), 200);
  const text = await page.locator('body').innerText();
  matches('what Bugsink finds of the browser', text, /OrderFailed/);
  matches('what Bugsink finds of the kitchen', text, /DogNotServed|OutOfMustard/);
  await stage.screenshot(page, 'story');
}

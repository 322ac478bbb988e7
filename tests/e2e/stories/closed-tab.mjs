// A person closes the tab while the response streams. The storefront drops the body, and its report of
// the drop has the ID of the order.
import { matches, same } from '../parts/check.mjs';
import * as shopPage from '../parts/page.mjs';
import { SERVED } from '../parts/shop.mjs';
import { title } from '../parts/tracker.mjs';

export const about = 'a tab is closed while it waits';
const SERVICES = ['storefront'];

export async function tell(stage) {
  const shop = await stage.shop();
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url));
  const { page } = visitor;
  await shopPage.choose(page, 'grilled');
  await shopPage.submit(page);
  const card = page.locator('#orders > li').first();
  matches('the first words of the stream',
    await card.locator('.progress').filter({ hasText: 'grill' }).textContent(), /\d of \d/);
  const id = await card.getAttribute('data-transaction-id');
  const head = { sent: id, echoed: id, status: SERVED };
  await shopPage.answered('the head of the response', visitor, [head]);
  await visitor.stop();

  const [event, ...others] = await stage.project.story(id, SERVICES);
  matches('what the storefront reported', title(event.data), /order abandoned/);
  same('the number of its other reports', others.length, 0);
  return [{ id, services: SERVICES }];
}

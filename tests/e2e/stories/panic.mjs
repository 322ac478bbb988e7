// The kitchen's handler panics: the panic is reported under the ID, too.
import { matches, same } from '../parts/check.mjs';
import * as shopPage from '../parts/page.mjs';
import { FAILED } from '../parts/shop.mjs';
import { title } from '../parts/tracker.mjs';

export const about = 'a handler panics';
const SERVICES = ['browser', 'storefront', 'kitchen'];

export async function tell(stage) {
  const shop = await stage.shop();
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url));
  const id = await shopPage.orderInVain(visitor.page, 'chili');
  await shopPage.sameEverywhere(visitor, id, FAILED);
  const events = await stage.project.story(id, SERVICES);
  const panics = events.filter(({ service, data }) => service === 'kitchen' && data.level === 'fatal');
  same('the number of panics under the ID', panics.length, 1);
  matches('the panic', title(panics[0].data), /the chili boiled over/);
  return [{ id, services: SERVICES }];
}

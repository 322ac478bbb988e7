// Support looks for an order on the page of stories, by its ID, by a text or by a service. The address has the search,
// and stories that change later obey it. Each line names the part that made it.
import { eventually, same } from '../parts/check.mjs';
import { newId, order } from '../parts/shop.mjs';
import { Stories } from '../parts/stories.mjs';

export const about = 'support finds an order on the page of stories';
const OWN_CODE = 'captured by the service\u2019s own code';
// The lines of an order that fails, and the part that made each.
const MADE = [
  ['storefront', 'POST /orders begins', null],
  ['storefront', 'ordered: one artisanal hot dog', 'sentry-tracing: log line in the scope of the layer'],
  ['kitchen', 'POST /cook begins', null],
  ['kitchen', 'one artisanal hot dog to cook', 'sentry-tracing: log line in the scope of the layer'],
  ['kitchen', 'cooking: bun warmed', 'sentry-tracing: breadcrumb in the scope of the layer'],
  ['kitchen', 'cooking: sausage grilled', 'sentry-tracing: breadcrumb in the scope of the layer'],
  ['kitchen', 'DogNotServed: no artisanal hot dog today', OWN_CODE],
  ['kitchen', 'POST /cook: 500 in N ms', 'server layer: performance transaction'],
  ['storefront', 'http: POST http://127.0.0.1:N/cook 500', 'client layer: breadcrumb of a call'],
  ['storefront', 'POST 127.0.0.1: 500 Internal Server Error',
    'client layer: report of a failed call (capture_failures)'],
  ['storefront', 'POST /orders answered 502 Bad Gateway', 'server layer: report of a failure (capture_failures)'],
  ['storefront', 'POST /orders: 502 in N ms', 'server layer: performance transaction'],
];
// Other lines of other orders.
const ALSO_MADE = {
  'queue.publish deliveries: ok in N ms': 'OutboundContext: span of the sending (in_span)',
  'queue.process deliveries: internal_error in N ms': 'message layer: performance transaction',
  'DogNotDelivered: the hot dog comes back cold': 'message layer: report of an error (capture_errors)',
  'panic: the chili boiled over': 'Sentry\u2019s panic handler: panic in the scope of the layer',
  'cooking_time: N millisecond': OWN_CODE,
};

export async function tell(stage) {
  const shop = await stage.shop({ dsn: '' });
  const stories = stage.closing(await Stories.open(shop.stories));
  const placed = async (dog, expected) => {
    const id = newId();
    await order(shop, dog, id);
    return stories.told(id, expected);
  };
  const failed = await placed('artisanal', ['storefront', 'kitchen'].flatMap((service) => (
    ['event', 'trace', 'log'].map((kind) => `${service} ${kind}`)
  )));
  const lost = await placed('lunar', ['courier event', 'courier trace', 'storefront span', 'kitchen metric']);
  const panicked = await placed('chili', ['kitchen event', 'storefront trace', 'kitchen trace']);
  const served = await placed('classic', ['courier trace', 'storefront trace', 'kitchen metric', 'delivered']);
  madeByTheirParts(failed, [lost, panicked]);

  const visitor = stage.closing(await stage.browser.page());
  const support = new Support(visitor.page, shop.stories);
  await finds(support, { failed, lost, panicked, served, firstId: shop.firstId });
  await stays(support, failed);
  await followsOthers(support, shop, stories);
  same('errors nobody caught', visitor.errors, []);
  return [{ what: 'found', id: failed.id, services: ['storefront', 'kitchen'] }];
}

function madeByTheirParts(failed, others) {
  const plain = (title) => title.replace(/\d+(\.\d+)?(?= ms| millisecond)|(?<=:)\d+/g, 'N');
  const made = ({ lines }) => lines.map(({ service, title, madeBy }) => [service, plain(title), madeBy ?? null]);
  same('the lines of an order that fails, and their makers', made(failed), MADE);
  const also = Object.fromEntries(others.flatMap(made).map(([, title, maker]) => [title, maker]));
  for (const [title, maker] of Object.entries(ALSO_MADE)) same(`the maker of ${title}`, also[title], maker);
}

async function finds(support, { failed, lost, panicked, served, firstId }) {
  const all = [served, panicked, lost, failed].map(({ id }) => id).concat(firstId);
  await support.opens('');
  await support.sees(all, '5 stories');
  const finding = async (text, ids) => {
    await support.searches(text);
    await support.sees(ids, `${ids.length} of 5 stories`);
  };
  await finding(failed.id, [failed.id]);
  await finding(` ${lost.id.slice(0, 12).toUpperCase()} `, [lost.id]);
  await finding(`transaction_id:${served.id}`, [served.id]);
  await finding('Sea of TRANQUILITY', [lost.id]);
  await finding('mustard kitchen', [failed.id, firstId]);
  await finding('courier', [served.id, lost.id]);
  await finding('message layer: report', [lost.id]);
  await finding('nowhere', []);
  await support.seesNothing('Nothing was reported with \u201cnowhere\u201d yet.');

  await support.page.keyboard.press('Escape');
  await support.sees(all, '5 stories');
  same('the address without a search', support.asked(), '');
  await support.page.getByLabel('Only failures').check();
  await support.sees([panicked.id, lost.id, failed.id, firstId], '4 of 5 stories');
  await support.searches('classic');
  await support.seesNothing('No story with \u201cclassic\u201d has a failure yet.');
}

// A reload, a link and the way back show the same stories.
async function stays(support, failed) {
  same('the address of a search', support.asked(), '?q=classic&failures=only');
  await support.page.reload();
  await support.sees([], '0 of 5 stories');
  await support.page.getByRole('button', { name: 'Show all' }).click();
  await support.page.locator(`a[href="#${failed.id}"]`).click();
  await support.sees([failed.id], '1 of 5 stories');
  same('the address of a story', support.asked(), `?q=${failed.id}`);
  await support.page.goBack();
  await eventually(10, async () => same('the number of stories, back', await support.count(), '5 stories'));
  await support.opens(`#${failed.id}`);
  await support.sees([failed.id], '1 of 5 stories');
}

// Stories come and change while a search is on.
async function followsOthers(support, shop, stories) {
  const later = newId();
  await support.searches(later);
  await support.seesNothing(`Nothing was reported with \u201c${later}\u201d yet.`);
  const other = newId();
  for (const id of [other, later]) {
    await order(shop, 'artisanal', id);
    await stories.told(id, ['storefront event', 'kitchen event']);
  }
  await support.sees([later], '1 of 7 stories');
}

class Support {
  constructor(page, url) {
    this.page = page;
    this.url = url;
  }

  async opens(address) {
    // Only another page loads anew.
    await this.page.goto('about:blank');
    await this.page.goto(this.url + address);
  }

  searches(text) {
    return this.page.getByLabel('ID, service or text').fill(text);
  }

  // The stories that the page shows, from the top, and the number that it names.
  sees(ids, count) {
    return eventually(10, async () => {
      const shown = await this.page.locator('.story:visible h2').allTextContents();
      same('the stories that are shown', [shown, await this.count()], [ids, count]);
    });
  }

  count() {
    return this.page.locator('#count').textContent();
  }

  async seesNothing(text) {
    const line = this.page.locator('#none');
    await line.waitFor();
    same('what the page says without a story', await line.textContent(), text);
  }

  asked() {
    const { search, hash } = new URL(this.page.url());
    return search + hash;
  }
}

// Both pages of the demo, on a phone and on a desk, light and dark: axe finds nothing, and nothing is wider than
// the window. A person without a mouse orders, reads the story, searches, and goes back.
import { accessible } from '../parts/axe.mjs';
import { check, eventually, matches, same } from '../parts/check.mjs';
import { hasFocus, tabTo } from '../parts/keyboard.mjs';
import * as shopPage from '../parts/page.mjs';
import { Stories } from '../parts/stories.mjs';

export const about = 'both pages for everybody: small, dark, and without a mouse';
const LOOKS = [390, 1280].flatMap((width) => ['light', 'dark'].map((scheme) => ({ width, scheme })));
const WIDTHS = Array.from({ length: 33 }, (_, index) => 320 + 40 * index);

export async function tell(stage) {
  // Without a tracker the demo has its own.
  const shop = await stage.shop({ dsn: '' });
  const stories = stage.closing(await Stories.open(shop.stories));
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url));
  const { page } = visitor;
  const id = await ordersOfAllKinds(page, stories);
  await inAllLooks(stage, page, 'shop');
  await withoutHoles(page);

  await page.goto(shop.stories);
  await page.locator('.story').nth(5).waitFor();
  await inAllLooks(stage, page, 'stories');
  await fits(page, 'the stories');
  await page.goto(`${shop.stories}?q=nowhere&failures=only`);
  await page.locator('#none').waitFor();
  await inAllLooks(stage, page, 'nothing-found');
  same('errors nobody caught', visitor.errors, []);
  return [
    { what: 'on the pages', id, services: ['browser', 'storefront', 'kitchen', 'courier'] },
    await withoutMouse(stage, shop),
  ];
}

// Orders, so that each page has all kinds of cards. Returns the ID of the lost order.
async function ordersOfAllKinds(page, stories) {
  const newest = page.locator('#orders > li').first();
  const ordered = async (dog, outcome) => {
    await shopPage.choose(page, dog);
    await shopPage.submit(page);
    if (outcome === 'abandoned') await newest.getByRole('button', { name: /^Leave/ }).click();
    await page.locator(`#orders > li.${outcome}:first-child`).waitFor();
    return newest.getAttribute('data-transaction-id');
  };
  const left = await ordered('grilled', 'abandoned');
  await ordered('classic', 'served');
  const chili = await ordered('chili', 'failed');
  const failed = await ordered('artisanal', 'failed');
  const lost = await ordered('lunar', 'served');
  for (const id of [chili, failed]) await stories.told(id, ['browser event', 'kitchen event', 'storefront event']);
  await stories.told(left, ['storefront event']);
  await stories.told(lost, ['courier event', 'browser trace']);
  await page.getByText('This page reported it, too.').nth(1).waitFor();
  return lost;
}

async function inAllLooks(stage, page, name) {
  for (const { width, scheme } of LOOKS) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    await accessible(`${name}, ${width} px, ${scheme}`, page);
    await isNotWider(page, `${name}, ${width} px, ${scheme}`);
    await stage.screenshot(page, `accessibility-${name}-${width}-${scheme}`);
  }
}

// The cards fill each row.
async function withoutHoles(page) {
  await fits(page, 'the shop', async (width) => {
    const gaps = await page.evaluate(() => {
      const boxes = [...document.querySelectorAll('fieldset label')].map((card) => card.getBoundingClientRect());
      const { right, bottom } = document.querySelector('fieldset').getBoundingClientRect();
      const last = boxes.at(-1);
      const inLastRow = boxes.filter(({ top }) => top === last.top).length;
      return [right - last.right, bottom - last.bottom, boxes.length % inLastRow];
    });
    same(`the hole beside and below the cards at ${width} px`, gaps.map(Math.round), [0, 0, 0]);
  });
}

async function fits(page, name, checked = async () => {}) {
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 900 });
    await isNotWider(page, `${name} at ${width} px`);
    await checked(width);
  }
}

async function isNotWider(page, what) {
  const [content, view] = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return [scrollWidth, clientWidth];
  });
  check(content <= view, `${what}: the page is ${content} px wide, and its window ${view} px`);
}

async function withoutMouse(stage, shop) {
  const visitor = stage.closing(await shopPage.visit(stage.browser, shop.url));
  const { page } = visitor;
  const { keyboard } = page;
  await tabTo(page, 'input[name=dog]:checked');
  await keyboard.press('ArrowUp');
  await hasFocus(page, 'input[value=chili]');
  await keyboard.press('ArrowDown');
  await hasFocus(page, 'input[value=artisanal]');
  await tabTo(page, 'button[type=submit]');
  await keyboard.press('Enter');
  const [id] = await shopPage.failedIds(page, 1);
  const link = page.locator('.failed').getByRole('link', { name: 'Read its story' });
  await link.waitFor();

  await tabTo(page, '.failed a');
  const opening = page.context().waitForEvent('page');
  await keyboard.press('Enter');
  const story = await opening;
  await search(story, id);
  await goBack(story, page, id);
  same('errors nobody caught', visitor.errors, []);
  return { what: 'without a mouse', id, services: ['browser', 'storefront', 'kitchen'] };
}

// The page is open with the story of the order, and finds other stories.
async function search(page, id) {
  const { keyboard } = page;
  const count = page.locator('#count');
  const counted = (text) => eventually(10, async () => (
    matches('the number of stories', await count.textContent(), text)
  ));
  await counted(/^1 of 7 stories$/);
  await page.locator(`.story:visible a[href="#${id}"]`).waitFor();

  await tabTo(page, '#search');
  await keyboard.press('Escape');
  await counted(/^7 stories$/);
  await keyboard.type('courier');
  await counted(/^2 of 7 stories$/);
  await tabTo(page, '#failures');
  await keyboard.press('Space');
  await counted(/^1 of 7 stories$/);
  await page.reload();
  await counted(/^1 of 7 stories$/);
  await tabTo(page, '#all');
  await keyboard.press('Enter');
  await counted(/^7 stories$/);
  await hasFocus(page, '#search');
  await tabTo(page, '.story .copy');
}

// The shop is still open in its own tab, with the order.
async function goBack(story, page, id) {
  await story.reload();
  await tabTo(story, '#shop');
  await story.keyboard.press('Enter');
  await page.waitForURL(/#orders-title$/);
  same('the orders, back in the shop', await shopPage.failedIds(page, 1), [id]);
  same('the number of tabs', page.context().pages().length, 2);
  await tabTo(page, '.failed .copy');
}

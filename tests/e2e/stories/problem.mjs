// A person meets the error pages of examples/problem.rs. Each shows the ID of its response, without a script
// and on a small screen, and the keyboard copies the ID.
import { buildExample } from '../parts/cargo.mjs';
import { check, eventually, matches, same } from '../parts/check.mjs';
import { start } from '../parts/processes.mjs';

export const about = 'error pages show the ID, to copy and to send';
const SERVICE = 'shop';
const SMALL = { width: 390, height: 700 };
// All signs that an ID may have.
const SIGNS = 'Root=1-5/a_b.c:d+e@f~g';

let program;

// Built before the run, so that the build is not part of its time.
export async function prepare({ folder, root }) {
  program = await buildExample(folder, root, 'problem');
}

export async function tell(stage) {
  const url = await openShop(stage);
  const rows = [];
  for (const [what, path, status, heading, reported] of [
    ['error', '/dogs/artisanal', 500, 'Sold out', true],
    ['panic', '/dogs/chili', 500, 'Something went wrong on our side', true],
    ['no route', '/nowhere', 404, 'There is nothing at this address', false],
    ['visitor\u2019s words', '/dogs/%3Cb%3Etofu%3C%2Fb%3E', 404, 'There is nothing at this address', false],
  ]) {
    const { page } = await visit(stage);
    const id = await opens(page, `${url}${path}`, { status, heading });
    same(`${what}: elements that the words of the visitor became`, await page.locator('b').count(), 0);
    await copies(page, id);
    if (reported) await stage.project.story(id, [SERVICE]);
    rows.push(reported ? { what, id, services: [SERVICE] } : { what, result: 'the page shows the ID' });
  }
  rows.push(await withAllSigns(stage, url));
  await clipboardClosed(stage, url);
  await withoutScripts(stage, url);
  await onASmallScreen(stage, url);
  return rows;
}

async function openShop(stage) {
  const env = { SENTRY_DSN: stage.project.dsn() };
  const shop = stage.closing(start('problem', program, ['--serve'], { folder: stage.folder, env }));
  const [, url] = await shop.ready(/^listening on (http:\S+)$/m);
  return url;
}

// A page that may use the clipboard. Its policy must not have refused anything when the story ends.
async function visit(stage, options) {
  const visitor = stage.closing(await stage.browser.page(options));
  await visitor.page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  const refused = [];
  visitor.page.on('console', (message) => {
    if (/Content Security Policy/.test(message.text())) refused.push(message.text());
  });
  return { ...visitor, refused };
}

// Opens an error page, and checks that it shows the ID of its response. Returns the ID.
async function opens(page, url, { status, heading }) {
  const answer = await page.goto(url);
  same(`${url}: the status`, answer.status(), status);
  const headers = answer.headers();
  matches(`${url}: Vary`, headers.vary, /accept/);
  const id = headers['x-transaction-id'];
  same(`${url}: the ID on the page`, await page.locator('code').textContent(), id);
  same(`${url}: the heading`, await page.locator('h1').textContent(), heading);
  const mail = new URL(await page.getByRole('link', { name: 'Write to support' }).getAttribute('href'));
  same(`${url}: the scheme and the address of the link`, `${mail.protocol}${mail.pathname}`, 'mailto:support@shop.example');
  same(`${url}: the subject of the mail`, mail.searchParams.get('subject'), `${heading} (${status}), transaction ${id}`);
  return id;
}

// Presses the button with the keyboard.
async function press(page) {
  const button = page.getByRole('button', { name: 'Copy' });
  await button.waitFor();
  await page.keyboard.press('Tab');
  check(await button.evaluate((element) => element === document.activeElement),
    'the first key of Tab does not lead to the button');
  await page.keyboard.press('Enter');
}

async function copies(page, id) {
  await press(page);
  await page.getByRole('status').filter({ hasText: 'Copied' }).waitFor();
  same('the clipboard', await page.evaluate(() => navigator.clipboard.readText()), id);
}

async function withAllSigns(stage, url) {
  const { page, refused } = await visit(stage, { extraHTTPHeaders: { 'X-Transaction-ID': SIGNS } });
  const id = await opens(page, `${url}/dogs/artisanal`, { status: 500, heading: 'Sold out' });
  same('an ID of the caller: the ID of the response', id, SIGNS);
  await copies(page, SIGNS);
  await stage.project.story(SIGNS, [SERVICE]);
  same('what the policy refused', refused, []);
  return { what: 'ID of the caller', id, services: [SERVICE] };
}

// If the clipboard is closed, the button selects the ID.
async function clipboardClosed(stage, url) {
  const { page } = await visit(stage);
  await page.addInitScript(() => {
    navigator.clipboard.writeText = () => Promise.reject(new Error('closed'));
  });
  const id = await opens(page, `${url}/dogs/chili`, { status: 500, heading: 'Something went wrong on our side' });
  await press(page);
  await page.getByRole('status').filter({ hasText: 'Selected' }).waitFor();
  same('the selected text', await page.evaluate(() => getSelection().toString()), id);
}

async function withoutScripts(stage, url) {
  const { page } = await visit(stage, { javaScriptEnabled: false });
  await opens(page, `${url}/dogs/artisanal`, { status: 500, heading: 'Sold out' });
  same('buttons without a script', await page.getByRole('button').count(), 0);
}

async function onASmallScreen(stage, url) {
  const papers = [];
  for (const colorScheme of ['light', 'dark']) {
    const { page } = await visit(stage, { viewport: SMALL, colorScheme });
    await opens(page, `${url}/dogs/artisanal`, { status: 500, heading: 'Sold out' });
    await page.getByRole('button', { name: 'Copy' }).waitFor();
    await eventually(5, async () => {
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      check(width <= SMALL.width, `the page is ${width} px wide on a screen of ${SMALL.width} px`);
    });
    papers.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
    await stage.screenshot(page, `problem-${colorScheme}`);
  }
  check(papers[0] !== papers[1], `light and dark have the same paper, ${papers[0]}`);
  const { page } = await visit(stage);
  await opens(page, `${url}/dogs/chili`, { status: 500, heading: 'Something went wrong on our side' });
  await stage.screenshot(page, 'problem-wide');
}

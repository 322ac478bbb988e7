// The pictures of the README. `PICTURES=write` takes them, and writes beside them the text that they show.
// Other runs compare the page with that text, so that the README shows no picture of an older page.
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { check, same } from './check.mjs';

const WRITES = process.env.PICTURES === 'write';
const SCHEMES = ['light', 'dark'];
const LARGEST = 100_000;
// The window, as an option of Playwright's.
export const WINDOW = {
  viewport: { width: 720, height: 1200 }, deviceScaleFactor: 2, locale: 'en-GB', timezoneId: 'UTC',
};
// Below the last part of a page.
const MARGIN = 20;

// IDs, times and ports: they differ in each run.
const PASSING = [
  [/\b[0-9a-f]{32}\b/g, 'ID'],
  [/\b[0-9a-f]{8}\u2026/g, 'TRACE\u2026'],
  [/\b\d+:\d+:\d+\s*\.\d+/g, 'TIME'],
  [/\b\d+(\.\d+)? (ms|millisecond)\b/g, 'N $2'],
  [/127\.0\.0\.1:\d+/g, '127.0.0.1:PORT'],
  [/\.js:\d+/g, '.js:LINE'],
  [/SDK \d+\.\d+\.\d+/g, 'SDK VERSION'],
];

// Takes a picture of the page down to the end of the element `end`. The text of each element in `texts` is a
// line of the list.
export async function picture(root, page, name, { texts, end }) {
  const folder = join(root, 'examples/hotdogs/pictures');
  const file = (suffix) => join(folder, `${name}${suffix}`);
  const shown = await linesOf(page.locator(texts).filter({ visible: true }));
  if (WRITES) {
    mkdirSync(folder, { recursive: true });
    for (const scheme of SCHEMES) writeFileSync(file(`-${scheme}.webp`), await take(page, end, scheme));
    writeFileSync(file('.txt'), `${shown.join('\n')}\n`);
  }
  const before = readFileSync(file('.txt'), 'utf8').trimEnd().split('\n');
  const changed = [
    ...shown.filter((line) => !before.includes(line)).map((line) => `+ ${line}`),
    ...before.filter((line) => !shown.includes(line)).map((line) => `- ${line}`),
  ];
  same(`${name}: what the README's picture does not show; PICTURES=write takes it anew`, changed, []);
  for (const scheme of SCHEMES) {
    const { size } = statSync(file(`-${scheme}.webp`));
    check(size < LARGEST, `${name}-${scheme}.webp has ${size} bytes, and ${LARGEST} are the limit`);
  }
}

// The lines are sorted, since lines of different clocks may change places.
async function linesOf(parts) {
  const lines = (await parts.allInnerTexts()).map((text) => PASSING.reduce(
    (line, [pattern, word]) => line.replace(pattern, word),
    text.replace(/\s+/g, ' ').trim(),
  ));
  return [...new Set(lines)].filter(Boolean).sort();
}

// Converts a picture to WebP, which Playwright does not write.
async function take(page, end, colorScheme) {
  await page.emulateMedia({ colorScheme });
  await page.mouse.move(0, 0);
  const { y, height } = await page.locator(end).boundingBox();
  const bottom = Math.ceil(y + height + MARGIN);
  const clip = { x: 0, y: 0, width: WINDOW.viewport.width, height: bottom, scale: 1 };
  const session = await page.context().newCDPSession(page);
  const { data } = await session.send('Page.captureScreenshot', {
    format: 'webp', quality: 75, clip, captureBeyondViewport: true,
  });
  await session.detach();
  return Buffer.from(data, 'base64');
}

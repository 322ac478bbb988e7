// axe-core, which checks pages against the Web Content Accessibility Guidelines.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { same } from './check.mjs';

const SOURCE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

// Checks the page as it is shown now.
export async function accessible(what, page) {
  // The policy of the pages allows no foreign script, but it does not bind the browser's own console.
  await page.evaluate(SOURCE);
  const found = await page.evaluate(async (tags) => {
    const { violations, passes } = await window.axe.run(document, { runOnly: { type: 'tag', values: tags } });
    const describe = ({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`;
    return { violations: violations.map(describe), hasPasses: passes.length > 0 };
  }, TAGS);
  same(`${what}: what axe finds`, found, { violations: [], hasPasses: true });
}

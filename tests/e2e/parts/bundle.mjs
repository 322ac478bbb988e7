// Bundles a script with esbuild, since a page cannot load the script as it is.
import { join } from 'node:path';
import { Broken } from './check.mjs';
import { start } from './processes.mjs';

// The script of `services/page.mjs`, with Sentry's SDK in it: its file.
export async function bundlePage(folder, e2e) {
  const bundle = join(folder, 'page.js');
  const esbuild = join(e2e, 'node_modules/.bin/esbuild');
  const entry = join(e2e, 'services/page.mjs');
  const bundled = start('esbuild', esbuild, [
    entry, '--bundle', '--log-level=warning', `--outfile=${bundle}`,
  ], { folder });
  const outcome = await bundled.ended;
  if (outcome !== 0) throw new Broken(`esbuild failed (${outcome}):\n${bundled.tail()}`);
  return bundle;
}

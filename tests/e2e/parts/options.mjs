// The command line.
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

const HELP = `Runs the demo with a real tracker, proxies, Node.js services and Chromium, and checks from the
outside that one transaction ID goes through all of them.

    tests/e2e/run [OPTIONS]

    --only NAME         only this story; may be given several times
    --screenshots DIR   where to put pictures of the page, a failed order and its story
                        (otherwise tests/e2e/.cache/screenshots)
    --keep              keep the logs of a run that passed, too
    --help              this text

    PICTURES=write      take the pictures of the README anew, in the story "pictures"
    CONFORMANCE=write   write the table of the guide anew, in the story "conformance"

Stories:
`;

// Returns null if the caller asked for help only.
export function parse(args, stories, e2e) {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string', multiple: true },
      screenshots: { type: 'string', default: resolve(e2e, '.cache/screenshots') },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    const names = Object.entries(stories).map(([name, { about }]) => `    ${name.padEnd(18)}  ${about}`);
    console.log(HELP + names.join('\n'));
    return null;
  }
  const only = values.only ?? Object.keys(stories);
  const unknown = only.filter((name) => !stories[name]);
  if (unknown.length) throw new Error(`no such story: ${unknown.join(', ')}`);
  return { ...values, only, screenshots: resolve(values.screenshots) };
}

// Sentry itself would keep the tag of every event: of those that the crate's tests make, and of
// those of the other stories.
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildTests, runTests } from '../parts/cargo.mjs';
import { check } from '../parts/check.mjs';
import { start } from '../parts/processes.mjs';

export const about = "Sentry's normaliser keeps the tags";

// Not part of the time of a run.
export const prepare = ({ folder, root }) => buildTests(folder, root);

export async function tell(stage) {
  const made = join(stage.folder, 'events-of-the-tests.jsonl');
  await runTests(stage.folder, stage.root, made);
  check(existsSync(made), 'the tests of the crate wrote no events into $TRANSACTION_ID_EVENTS');

  const told = join(stage.folder, 'events-of-the-run.jsonl');
  writeFileSync(told, '');
  for (const project of stage.projects) {
    for (const { data } of await project.events()) {
      appendFileSync(told, `${JSON.stringify(data)}\n`);
    }
  }
  const rows = [{ what: 'of the tests', result: await normalise(stage, made) }];
  // Empty where this story is told alone.
  if (stage.projects.length > 1) {
    rows.push({ what: 'of this run', result: await normalise(stage, told) });
  }
  return rows;
}

async function normalise({ e2e, folder }, file) {
  const checker = start('normalise', join(e2e, 'normalise'), [file], { folder });
  const outcome = await checker.ended;
  check(outcome === 0, `tests/e2e/normalise:\n${checker.tail()}`);
  return checker.output.trim();
}

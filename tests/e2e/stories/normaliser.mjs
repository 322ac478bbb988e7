// Sentry itself would keep the tag of every event: of those that the crate's tests make, and of
// those of the other stories.
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildTests, runTests } from '../parts/cargo.mjs';
import { check } from '../parts/check.mjs';
import { environment } from '../parts/processes.mjs';

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
  const rows = [{ what: 'of the tests', ...normalise(stage, made) }];
  // Empty where this story is told alone.
  if (stage.projects.length > 1) rows.push({ what: 'of this run', ...normalise(stage, told) });
  return rows;
}

function normalise({ e2e }, file) {
  const { status, stdout, stderr } = spawnSync(join(e2e, 'normalise'), [file], {
    encoding: 'utf8',
    env: environment(),
  });
  check(status === 0, `tests/e2e/normalise: ${stderr || stdout}`);
  return { id: stdout.trim(), services: [] };
}

// Sentry itself would keep the tag of every event: of those that the crate's tests make, and of
// those of the other stories.
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildTests, runTests } from '../parts/cargo.mjs';
import { check, matches } from '../parts/check.mjs';
import { start } from '../parts/processes.mjs';

export const about = "Sentry's normaliser keeps the tags";

// One moment, as the Rust SDK writes it for a start and for an end: Sentry takes the start for the
// later one, by rounding. And an end that is really too early.
const START = 1764000000.1234567;
const END = '2025-11-24T16:00:00.1234566Z';
const TOO_EARLY = '2025-11-24T16:00:00.1234556Z';

// Not part of the time of a run.
export const prepare = ({ folder, root }) => buildTests(folder, root);

export async function tell(stage) {
  await checksTimes(stage);
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

// The check takes the rounding of short spans for what it is, and nothing else.
async function checksTimes(stage) {
  const write = (name, end) => {
    const file = join(stage.folder, `${name}.jsonl`);
    writeFileSync(file, shortest(end).map((event) => JSON.stringify(event)).join('\n'));
    return file;
  };
  await normalise(stage, write('rounded', END));
  const { outcome, output } = await normaliser(stage, write('too-early', TOO_EARLY));
  check(outcome === 1, `spans that end before they start: the exit code was ${outcome}:\n${output}`);
  matches('spans that end before they start', output, /:1: .*end timestamp[^]*:2: .*end timestamp/);
}

// A transaction that begins at START and ends at `end`, and one with such a span.
function shortest(end) {
  const span = { start_timestamp: START, timestamp: end };
  const ids = { trace_id: '1'.repeat(32), span_id: '2'.repeat(16) };
  const transaction = { tags: { transaction_id: 'mine' }, contexts: { trace: ids } };
  return [
    { ...transaction, ...span },
    { ...transaction, start_timestamp: START - 1, timestamp: END, spans: [{ ...ids, ...span }] },
  ];
}

async function normalise(stage, file) {
  const { outcome, output } = await normaliser(stage, file);
  check(outcome === 0, `tests/e2e/normalise:\n${output}`);
  return output;
}

async function normaliser({ e2e, folder }, file) {
  const checker = start('normalise', join(e2e, 'normalise'), [file], { folder });
  const outcome = await checker.ended;
  return { outcome, output: checker.tail() };
}

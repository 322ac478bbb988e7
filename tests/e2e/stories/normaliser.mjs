// Sentry's own normaliser keeps the tag of each event that the crate's tests and the other stories send.
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildTests, runTests } from '../parts/cargo.mjs';
import { check, matches } from '../parts/check.mjs';
import { start } from '../parts/processes.mjs';

export const about = "Sentry's normaliser keeps the tags";

// START and END are the same moment, as the Rust SDK writes a start and an end. Sentry rounds the start,
// and then takes it for the later one. TOO_EARLY is an end that is really before the start.
const START = 1764000000.1234567;
const END = '2025-11-24T16:00:00.1234566Z';
const TOO_EARLY = '2025-11-24T16:00:00.1234556Z';

// The events of the crate's tests, if these have run before, as in the gate. Else this story runs the tests.
const EARLIER = process.env.TRANSACTION_ID_EVENTS;

// Built before the run, so that the build is not part of its time.
export const prepare = ({ folder, root }) => (EARLIER ? undefined : buildTests(folder, root));

export async function tell(stage) {
  await checksTimes(stage);
  const made = EARLIER ?? join(stage.folder, 'events-of-the-tests.jsonl');
  if (!EARLIER) await runTests(stage.folder, stage.root, made);
  check(existsSync(made), 'the tests of the crate wrote no events into $TRANSACTION_ID_EVENTS');

  const collected = join(stage.folder, 'events-of-the-run.jsonl');
  writeFileSync(collected, '');
  for (const project of stage.projects) {
    for (const { data } of await project.events()) {
      appendFileSync(collected, `${JSON.stringify(data)}\n`);
    }
  }
  const rows = [{ what: 'of the tests', result: await normalise(stage, made) }];
  // There are no such events if this story runs alone.
  if (stage.projects.length > 1) {
    rows.push({ what: 'of this run', result: await normalise(stage, collected) });
  }
  return rows;
}

// Checks that the normaliser accepts a span that is too short only by rounding, and no other.
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

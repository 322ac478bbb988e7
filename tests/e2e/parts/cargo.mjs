// Programs that cargo builds for the run.
import { Broken } from './check.mjs';
import { start } from './processes.mjs';

// The program of an example, such as the demo.
export async function buildExample(folder, root, name) {
  const output = await cargo(folder, root, [
    'build', '--example', name, '--message-format=json-render-diagnostics',
  ]);
  const messages = output.split('\n').filter((line) => line.startsWith('{')).map(JSON.parse);
  const built = messages.find(
    ({ target, executable }) => executable && target.name === name,
  );
  if (!built) throw new Broken(`cargo built no example "${name}"`);
  return built.executable;
}

// The tests of the crate, built and not run.
export async function buildTests(folder, root) {
  await cargo(folder, root, ['test', '--test', 'it', '--no-run']);
}

// Runs them with each event that they make written into `events`.
export async function runTests(folder, root, events) {
  return cargo(folder, root, ['test', '--test', 'it'], { TRANSACTION_ID_EVENTS: events });
}

async function cargo(folder, root, [subcommand, ...args], env = {}) {
  const all = [subcommand, '--locked', ...args];
  const built = start(`cargo-${subcommand}`, 'cargo', all, { folder, env, cwd: root });
  const outcome = await built.ended;
  if (outcome !== 0) throw new Broken(`cargo ${all.join(' ')} failed (${outcome}):\n${built.tail()}`);
  return built.output;
}

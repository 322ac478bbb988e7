// Programs that cargo builds for the run.
import { Broken } from './check.mjs';
import { start } from './processes.mjs';

// The program of an example, such as the demo.
export function buildExample(folder, root, name) {
  return build(folder, root, name, ['--example', name]);
}

// A program of examples/brokers, which is a workspace of its own.
export function buildBrokerExample(folder, root, name) {
  const manifest = ['--manifest-path', 'examples/brokers/Cargo.toml', '--target-dir', 'target'];
  return build(folder, root, name, ['--bin', name, ...manifest]);
}

async function build(folder, root, name, args) {
  const output = await cargo(folder, root, [
    'build', ...args, '--message-format=json-render-diagnostics',
  ]);
  const messages = output.split('\n').filter((line) => line.startsWith('{')).map(JSON.parse);
  const built = messages.find(
    ({ target, executable }) => executable && target.name === name,
  );
  if (!built) throw new Broken(`cargo built no program "${name}"`);
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

// NATS and Redis, each on loopback and with its files in the folder of the run, and the programs of
// examples/brokers that talk to them.
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Broken, check } from './check.mjs';
import { freePort } from './ports.mjs';
import { start } from './processes.mjs';

const ATTEMPTS = 5;

export async function startNats(folder) {
  const store = ownFolder(folder, 'nats-store');
  // -1 is a free port.
  const args = ['--addr', '127.0.0.1', '--port', '-1', '--jetstream', '--store_dir', store];
  // Debian's folder for it, which is not on every user's path.
  const env = { PATH: `${process.env.PATH}:/usr/sbin` };
  const server = start('nats-server', 'nats-server', args, { folder, env });
  const [, address] = await server.ready(/Listening for client connections on (127\.0\.0\.1:\d+)$/m);
  await server.ready(/Server is ready$/m);
  return { url: `nats://${address}`, stop: () => server.stop() };
}

export async function startRedis(folder) {
  const own = ownFolder(folder, 'redis');
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const args = ['--bind', '127.0.0.1', '--port', `${port}`, '--dir', own, '--save', ''];
    const server = start('redis-server', 'redis-server', args, { folder });
    try {
      await server.ready(/Ready to accept connections/);
      return { url: `redis://127.0.0.1:${port}`, stop: () => server.stop() };
    } catch (error) {
      await server.stop();
      if (attempt === ATTEMPTS || !/Address already in use/.test(server.output)) throw error;
    }
  }
}

function ownFolder(folder, name) {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  return own;
}

// A shop of examples/brokers. rate: of performance transactions, from 0 to 1.
export async function startShop(name, program, { folder, dsn, broker, rate = 0 }) {
  const env = { ...settings(dsn, broker, rate), LISTEN: '127.0.0.1:0' };
  const shop = start(name, program, ['shop'], { folder, env });
  const [, url] = await shop.ready(/^listening on (http:\S+)$/m);
  return { url, stop: () => shop.stop() };
}

// A worker of examples/brokers. seconds: the time that each order takes.
export async function startWorker(name, program, { folder, dsn, broker, rate = 0, seconds = 0 }) {
  const env = { ...settings(dsn, broker, rate), COOKING_SECONDS: `${seconds}` };
  const worker = start(name, program, ['worker'], { folder, env });
  await worker.ready(/^waiting for orders$/m);
  return {
    // Waits until the worker has begun with the order of an ID.
    cooks: (id) => worker.ready(new RegExp(`^cooking \\S+ under ${id}$`, 'm')),
    // What the worker has begun and ended, one after another.
    steps: () => worker.lines().match(/^(cooking|done with)(?= )/gm) ?? [],
    kill: () => worker.kill(),
    stop: () => worker.stop(),
  };
}

function settings(dsn, broker, rate) {
  return { SENTRY_DSN: dsn, BROKER: broker.url, TRACES_SAMPLE_RATE: `${rate}` };
}

// Publishes a message with any headers, since no client would send them.
export async function publishByHand(broker, subject, headers, body) {
  const head = `NATS/1.0\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n`;
  const sizes = [head, head + body].map((text) => Buffer.byteLength(text));
  const said = await talk(broker, [
    'CONNECT {"verbose":false,"headers":true}',
    `HPUB ${subject} ${sizes.join(' ')}`,
    `${head}${body}`,
    'PING',
  ], /^PONG\r\n/m);
  check(!/^-ERR/m.test(said), `NATS did not take a message: ${said}`);
}

// Sends commands to Redis.
export async function commandByHand(broker, ...words) {
  const encoded = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}`);
  const said = await talk(broker, [`*${words.length}`, ...encoded], /^[+:-].*\r\n/);
  check(!said.startsWith('-'), `Redis did not take ${words[0]}: ${said}`);
}

// Sends lines to a broker, and returns its answer once `end` matches it.
function talk({ url }, lines, end) {
  const { hostname, port } = new URL(url);
  return new Promise((answered, failed) => {
    let text = '';
    const socket = connect(port, hostname, () => socket.write(lines.map((line) => `${line}\r\n`).join('')));
    socket.setEncoding('utf8').setTimeout(20_000, () => socket.destroy(new Broken('the broker is silent')));
    socket.on('data', (more) => {
      text += more;
      if (end.test(text)) socket.destroy();
    });
    socket.once('error', failed);
    socket.once('close', () => answered(text));
  });
}

// Orders go over Redis to an apalis worker in another process. apalis schedules an order again if it fails,
// and another worker takes over the orders of a worker that was killed.
import { randomUUID } from 'node:crypto';
import { commandByHand, startRedis } from '../parts/brokers.mjs';
import { buildBrokerExample } from '../parts/cargo.mjs';
import { Queue } from '../parts/queue.mjs';

export const about = 'orders over Redis, and an apalis worker';

// Redis keeps one value for a name.
const REFUSED = {
  'a script': ['<script>alert(1)</script>'],
  'a placeholder': ['undefined'],
  'not ASCII': ['\u202eh\u00f6tdog'],
  '201 bytes': ['a'.repeat(201)],
  'nothing at all': [''],
  'a line break': ['a\r\nSet-Cookie: a=b'],
};

let program;

// Built before the run, so that the build is not part of its time.
export async function prepare({ folder, root }) {
  program = await buildBrokerExample(folder, root, 'apalis');
}

export async function tell(stage) {
  const queue = await Queue.open(stage, { program, start: startRedis, attempts: 2 });
  return queue.tell(REFUSED, write);
}

// Writes a task as apalis-redis does: the arguments, the metadata, and the entry in the queue.
async function write(broker, [id], dog) {
  const task = randomUUID();
  await commandByHand(broker, 'HSET', 'orders:data', task, JSON.stringify({ dog }));
  const state = ['attempts', '0', 'max_attempts', '25', 'status', 'Pending'];
  await commandByHand(broker, 'HSET', `orders:meta:${task}`, ...state, 'X-Transaction-ID', id);
  await commandByHand(broker, 'RPUSH', 'orders:active', task);
}

// Orders go over NATS to a worker in another process. JetStream delivers an order again if the worker
// refuses it, and if the worker is killed.
import { publishByHand, startNats } from '../parts/brokers.mjs';
import { buildBrokerExample } from '../parts/cargo.mjs';
import { Queue } from '../parts/queue.mjs';

export const about = 'orders over NATS, and a worker';

const REFUSED = {
  'a script': ['<script>alert(1)</script>'],
  'a placeholder': ['undefined'],
  'not ASCII': ['\u202eh\u00f6tdog'],
  '201 bytes': ['a'.repeat(201)],
  'nothing at all': [''],
  'two that differ': ['0a1b2c3d', '4e5f6a7b'],
};

let program;

// Built before the run, so that the build is not part of its time.
export async function prepare({ folder, root }) {
  program = await buildBrokerExample(folder, root, 'nats');
}

export async function tell(stage) {
  const queue = await Queue.open(stage, { program, start: startNats, attempts: 3 });
  return queue.tell(REFUSED, (broker, ids, dog) => {
    const headers = ids.map((id) => `X-Transaction-ID: ${id}`);
    return publishByHand(broker, 'orders', headers, dog);
  });
}

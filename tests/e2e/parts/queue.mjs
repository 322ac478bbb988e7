// The steps of a story in which orders go through a broker: a shop in one process, a worker in another.
import { check, eventually, matches, same } from './check.mjs';
import { newId, order } from './shop.mjs';
import { title } from './tracker.mjs';

const TAKEN = 202;
const NOT_TAKEN = 503;
const BATCH = 50;
const VALID = 'order-by-hand';
// A time that no story waits for.
const FOREVER = 600;

export class Queue {
  #count = 0;
  // The number of reports that each ID has.
  #reports = new Map();

  // program: the shop and the worker; start: starts the broker; attempts: the number of attempts that an order has.
  static async open(stage, { program, start, attempts }) {
    const queue = new Queue();
    const broker = await stage.broker(start);
    return Object.assign(queue, { stage, program, attempts, broker });
  }

  // All steps of a story, with the rows of the table. For `refused` and `write`, see `byHand`.
  async tell(refused, write) {
    const rows = [
      await this.eachAttempt(),
      await this.batch(),
      await this.byHand(refused, write),
      await this.killed(),
      await this.down(),
    ];
    await this.noMore();
    return rows;
  }

  // An order fails in the worker, and is tried again by the broker or the framework. Everything is measured.
  async eachAttempt() {
    const relay = await this.stage.relay();
    const settings = { broker: this.broker, dsn: this.stage.project.dsn(relay.url), rate: 1 };
    const shop = await this.stage.brokerShop(this.program, settings);
    const worker = await this.stage.brokerWorker(this.program, settings);
    const id = await this.#taken(shop, 'artisanal');
    const events = await this.#reported(id, this.attempts);
    for (const { data } of events) matches(`a report under ${id}`, title(data), /the mustard is used up/);

    const measured = await relay.transactions(id, 1 + this.attempts);
    const trace = ({ contexts }) => contexts.trace;
    const published = measured.flatMap(({ spans = [] }) => spans).filter(({ op }) => op === 'queue.publish');
    same(`the number of times that the order ${id} was published`, published.length, 1);
    const [publish] = published;
    const attempts = measured.filter((one) => trace(one).op === 'queue.process');
    same(`the measured attempts under ${id}`, attempts.length, this.attempts);
    for (const attempt of attempts) {
      same('the parent of an attempt', trace(attempt).parent_span_id, publish.span_id);
    }
    const traces = [...measured, ...events.map(({ data }) => data)].map((one) => trace(one).trace_id);
    same(`the traces under ${id}`, [...new Set(traces)], [publish.trace_id]);
    await Promise.all([shop.stop(), worker.stop()]);
    return { what: `${this.attempts} attempts, one trace`, id, services: ['worker'] };
  }

  // One worker cooks fifty orders, many at once.
  async batch() {
    // The relay answers at once, so that the queue of the SDK, which is short, does not fill.
    const relay = await this.stage.relay();
    const dsn = this.stage.project.dsn(relay.url);
    const shop = await this.stage.brokerShop(this.program, { broker: this.broker });
    const worker = await this.stage.brokerWorker(this.program, { broker: this.broker, dsn, seconds: 1 });
    const dogs = Array.from({ length: BATCH }, (_, at) => `tofu-${at}`);
    const ids = await Promise.all(dogs.map((dog) => this.#taken(shop, dog)));
    for (const [at, id] of ids.entries()) {
      const [{ data }] = await this.#reported(id, 1);
      matches(`the report under ${id}`, title(data), new RegExp(`not on the menu: ${dogs[at]}$`));
    }
    let now = 0;
    const atOnce = worker.steps().map((step) => { now += step === 'cooking' ? 1 : -1; return now; });
    const most = Math.max(...atOnce);
    check(most > 1, 'the worker cooked one order after another');
    await Promise.all([shop.stop(), worker.stop()]);
    return { what: `${BATCH} IDs, ${most} at once`, id: ids[0], services: ['worker'] };
  }

  // Messages that no shop wrote. `refused` are the IDs of each, and `write` gives the broker a message with
  // these IDs.
  async byHand(refused, write) {
    const worker = await this.stage.brokerWorker(this.program, { broker: this.broker });
    let last;
    for (const [what, ids] of Object.entries({ 'a valid one': [VALID], ...refused })) {
      const dog = this.#newDog();
      await write(this.broker, ids, dog);
      const event = await this.#reportOn(dog);
      const why = event.data.contexts.transaction_id?.refused;
      if (ids[0] === VALID) {
        same(`${what}: the ID, and why it was refused`, [event.id, why], [VALID, undefined]);
      } else {
        matches(`${what}: the ID`, event.id, /^[0-9a-f]{32}$/);
        check(why, `${what}: the report does not show that the ID was refused`);
        last = event.id;
      }
    }
    await worker.stop();
    return { what: `one of ${Object.keys(refused).length} hostile`, id: last, services: ['worker'] };
  }

  // A worker is killed while it cooks. Another one gets the order.
  async killed() {
    const shop = await this.stage.brokerShop(this.program, { broker: this.broker });
    const first = await this.stage.brokerWorker(this.program, { broker: this.broker, seconds: FOREVER });
    const dog = this.#newDog();
    const id = await this.#taken(shop, dog);
    await first.cooks(id);
    await first.kill();
    const second = await this.stage.brokerWorker(this.program, { broker: this.broker });
    await second.cooks(id);
    await this.#reported(id, 1);
    await Promise.all([shop.stop(), second.stop()]);
    return { what: 'redelivered after a kill', id, services: ['worker'] };
  }

  // The last step, since nothing starts the broker again.
  async down() {
    const shop = await this.stage.brokerShop(this.program, { broker: this.broker });
    await this.broker.stop();
    const id = newId();
    const { status, echoed, text } = await order(shop, 'classic', id);
    same('an order without a broker: its status and echo', [status, echoed], [NOT_TAKEN, id]);
    matches('an order without a broker: the answer', text, new RegExp(`could not .* ${id}$`, 'm'));
    await this.#reported(id, 1, 'shop');
    await shop.stop();
    return { what: 'without a broker', id, services: ['shop'] };
  }

  // Checks at the end that there are no more reports than the steps saw.
  async noMore() {
    const events = await this.stage.project.events();
    for (const [id, count] of this.#reports) {
      same(`the number of reports under ${id}`, events.filter((event) => event.id === id).length, count);
    }
  }

  // A name that no other order has, so that its report is found without the ID.
  #newDog() {
    this.#count += 1;
    return `seitan-${this.#count}`;
  }

  // Orders, and returns the ID that the answer shows.
  async #taken(shop, dog) {
    const id = newId();
    const { status, echoed, text } = await order(shop, dog, id);
    same(`an order for ${dog}: its status and echo`, [status, echoed], [TAKEN, id]);
    matches(`an order for ${dog}: the answer`, text, new RegExp(` ${id}$`, 'm'));
    return id;
  }

  // Waits for `count` reports of one service under an ID.
  async #reported(id, count, service = 'worker') {
    this.#reports.set(id, count);
    return eventually(60, async () => {
      const events = await this.stage.project.story(id, [service]);
      same(`the number of reports under ${id}`, events.length, count);
      return events;
    });
  }

  async #reportOn(dog) {
    return eventually(60, async () => {
      const events = await this.stage.project.events();
      const found = events.filter(({ data }) => title(data).endsWith(` ${dog}`));
      same(`the number of reports on ${dog}`, found.length, 1);
      return found[0];
    });
  }
}

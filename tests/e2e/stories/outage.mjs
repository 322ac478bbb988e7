// The tracker fails in every way. Orders are served as ever, and no report ends up under the ID of
// another order.
import { check, eventually, same } from '../parts/check.mjs';
import { ShakyTracker } from '../parts/shaky-tracker.mjs';
import { FAILED, SERVED, abandon, newId, order } from '../parts/shop.mjs';
import { servicesOf, title } from '../parts/tracker.mjs';

export const about = 'the tracker fails, and comes back';
const SERVICES = ['storefront', 'kitchen'];
const FAILURES = ['is down', 'hangs', 'answers 429', 'answers 500'];
// What is ordered, and what may be reported of it. Not the chili one: in a panic Sentry's SDK waits
// for its tracker, and so does whoever panicked.
const REPORTS = {
  artisanal: [/^DogNotServed: /, /^POST 127\.0\.0\.1: 500 /, /^POST \/orders answered 502/],
  grilled: [/^order abandoned$/],
  classic: [],
};

const ORDERS_OF_EACH = 8;
// A machine that is shared is slow now and then, so no time is compared with the clock, and only
// what is slow each time counts. An order that waited for the tracker would take many times longer.
const TIMES_SLOWER = 3;
const NOT_NOTICED = 100;
const ATTEMPTS = 3;

export async function tell(stage) {
  const tracker = stage.closing(new ShakyTracker(stage.project.tracker.url));
  await tracker.turn('works');
  const shop = await stage.shop({ dsn: stage.project.dsn(tracker.url) });
  const customers = new Customers(shop);

  const usual = await customers.round('at first');
  for (const failure of FAILURES) {
    await tracker.turn(failure);
    await servedAsUsual(customers, `while the tracker ${failure}`, usual);
    if (failure !== 'is down') {
      check(tracker.reports[failure], `the tracker ${failure}: nobody tried to report to it`);
    }
  }
  await tracker.turn('works');
  await servedAsUsual(customers, 'once the tracker is back', usual);
  const id = await reportedAgain(stage, customers);
  await nothingCrossedOver(stage, customers.orders);
  return [{ what: 'once it is back', id, services: SERVICES }];
}

async function servedAsUsual(customers, when, usual) {
  const limit = usual * TIMES_SLOWER + NOT_NOTICED;
  const medians = [];
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const median = await customers.round(when);
    if (median <= limit) return;
    medians.push(Math.round(median));
  }
  check(false, `${when}, orders took ${medians.join(', ')} ms, and ${Math.round(usual)} ms before`);
}

// What was reported in the meantime may be lost. What is reported from now on is not; the SDKs may
// still keep quiet for a while, as they were told to.
async function reportedAgain(stage, customers) {
  return eventually(60, async () => {
    const id = newId();
    await customers.failing('once the tracker is back', id);
    await eventually(2, async () => {
      const found = (await stage.project.events()).filter((event) => event.id === id);
      same(`once the tracker is back: the services with events under ${id}`,
        servicesOf(found), [...SERVICES].sort());
    });
    return id;
  });
}

class Customers {
  // What was ordered under which ID.
  orders = new Map();

  constructor(shop) {
    this.shop = shop;
    this.orders.set(shop.firstId, 'artisanal');
  }

  // Orders, one after another: the median of how long they took, in milliseconds. Then as many
  // again at once, some of them abandoned, so that they have every chance to be mixed up.
  async round(when) {
    const times = [];
    for (let count = 0; count < ORDERS_OF_EACH; count += 1) {
      times.push(await this.failing(when), await this.served(when));
    }
    const atOnce = times.map(() => [this.failing(when), this.abandoned(when)]);
    await Promise.all(atOnce.flat());
    return times.sort((one, other) => one - other)[times.length / 2];
  }

  failing(when, id = newId()) {
    return this.#order(when, 'artisanal', id, FAILED, order(this.shop, 'artisanal', id));
  }

  served(when, id = newId()) {
    return this.#order(when, 'classic', id, SERVED, order(this.shop, 'classic', id));
  }

  abandoned(when, id = newId()) {
    return this.#order(when, 'grilled', id, SERVED, abandon(this.shop, id));
  }

  async #order(when, dog, id, expected, answering) {
    this.orders.set(id, dog);
    const { status, echoed, took } = await answering;
    same(`an order ${when}: its status and echo`, [status, echoed], [expected, id]);
    return took;
  }
}

// Each report is one that belongs to the order of its ID, and is there once; and so is each step
// that led to it.
async function nothingCrossedOver(stage, orders) {
  const seen = new Set();
  for (const { id, service, data } of await stage.project.events()) {
    const dog = orders.get(id);
    const report = title(data);
    check(dog, `an event of the ${service} is under an ID that was never sent: ${id}`);
    check(REPORTS[dog].some((pattern) => pattern.test(report)),
      `under ${id}, an order for the ${dog}, the ${service} reported: ${report}`);
    check(!seen.has(id + report), `under ${id}, the ${service} reported twice: ${report}`);
    seen.add(id + report);
    const steps = (data.breadcrumbs?.values ?? []).map(({ message }) => message);
    same(`the steps that led to ${report}, under ${id}`, steps, [...new Set(steps)]);
  }
}

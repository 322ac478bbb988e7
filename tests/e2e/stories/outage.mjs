// The tracker fails in several ways. Orders are served as usual, and no report has the ID of another order.
import { check, eventually, same } from '../parts/check.mjs';
import { ShakyTracker } from '../parts/shaky-tracker.mjs';
import { FAILED, SERVED, abandon, newId, order } from '../parts/shop.mjs';
import { servicesOf, title } from '../parts/tracker.mjs';

export const about = 'the tracker fails, and comes back';
const SERVICES = ['storefront', 'kitchen'];
const FAILURES = ['is down', 'hangs', 'answers 429', 'answers 500'];
// The orders, and the reports that each may cause. The chili one is missing, since it panics: in a panic
// Sentry's SDK waits for its tracker, and the handler waits with it.
const REPORTS = {
  artisanal: [/^DogNotServed: /, /^POST 127\.0\.0\.1: 500 /, /^POST \/orders answered 502/],
  grilled: [/^order abandoned$/],
  classic: [],
};

const ORDERS_OF_EACH = 8;
// A shared machine is slow now and then. So a time is compared with the usual time, and the check fails
// only if all attempts are slow. An order that waited for the tracker would take many times longer.
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
      check(tracker.reports[failure], `the tracker ${failure}: it received no report`);
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

// Earlier reports may be lost, and new reports arrive. After a 429, the SDKs still wait for a while before
// they report again.
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
  // The kind of hot dog that was ordered under each ID.
  orders = new Map();

  constructor(shop) {
    this.shop = shop;
    this.orders.set(shop.firstId, 'artisanal');
  }

  // Orders, one after another. Returns the median of their times, in milliseconds. Then orders as many
  // times at once, and abandons half of these orders, so that the services could mix them up.
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

// Checks that each report fits the order of its ID, and that no report and no step before it is there
// twice.
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

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
  artisanal: [/^DogNotServed: /, /^Error: HTTP Client Error/, /^POST \/orders answered 502/],
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
  const orders = new Map([[shop.firstId, 'artisanal']]);

  const usual = await round(shop, orders);
  for (const failure of FAILURES) {
    await tracker.turn(failure);
    await servedAsUsual(shop, orders, `while the tracker ${failure}`, usual);
    if (failure !== 'is down') {
      check(tracker.reports[failure], `the tracker ${failure}: nobody tried to report to it`);
    }
  }
  await tracker.turn('works');
  await servedAsUsual(shop, orders, 'once the tracker is back', usual);
  const id = await reportedAgain(stage, shop, orders);
  await nothingCrossedOver(stage, orders);
  return [{ what: 'once it is back', id, services: SERVICES }];
}

async function servedAsUsual(shop, orders, when, usual) {
  const limit = usual * TIMES_SLOWER + NOT_NOTICED;
  const medians = [];
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const median = await round(shop, orders);
    if (median <= limit) return;
    medians.push(Math.round(median));
  }
  check(false, `${when}, orders took ${medians.join(', ')} ms, and ${Math.round(usual)} ms before`);
}

// Orders, one after another: the median of how long they took, in milliseconds. Then as many again
// at once, some of them abandoned, so that they have every chance to be mixed up.
async function round(shop, orders) {
  const times = [];
  for (let count = 0; count < ORDERS_OF_EACH; count += 1) {
    times.push(await failing(shop, orders, newId()), await served(shop, orders));
  }
  const atOnce = times.map(() => [failing(shop, orders, newId()), abandoned(shop, orders)]);
  await Promise.all(atOnce.flat());
  return times.sort((one, other) => one - other)[times.length / 2];
}

async function failing(shop, orders, id) {
  orders.set(id, 'artisanal');
  return answered(await order(shop, 'artisanal', id), id, FAILED);
}

async function served(shop, orders) {
  const id = newId();
  orders.set(id, 'classic');
  return answered(await order(shop, 'classic', id), id, SERVED);
}

async function abandoned(shop, orders) {
  const id = newId();
  orders.set(id, 'grilled');
  return answered(await abandon(shop, id), id, SERVED);
}

function answered(answer, id, status) {
  same('an order: its status and echo', [answer.status, answer.echoed], [status, id]);
  return answer.took;
}

// What was reported in the meantime may be lost. What is reported from now on is not; the SDKs may
// still keep quiet for a while, as they were told to.
async function reportedAgain(stage, shop, orders) {
  return eventually(60, async () => {
    const id = newId();
    await failing(shop, orders, id);
    const events = await eventually(2, async () => {
      const found = (await stage.project.events()).filter((event) => event.id === id);
      same(`once the tracker is back: the services with events under ${id}`,
        servicesOf(found), [...SERVICES].sort());
      return found;
    });
    return events[0].id;
  });
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

// Performance monitoring is off everywhere. All the same, all reports of one order are in one trace: the
// page, the Node.js services and our services each continue the trace of the program before.
import { bundlePage } from '../parts/bundle.mjs';
import { orderByHand } from '../parts/by-hand.mjs';
import { buildExample } from '../parts/cargo.mjs';
import { check, eventually, matches, same } from '../parts/check.mjs';
import { FAILED, newId } from '../parts/shop.mjs';
import { holdUntilAllAreSent } from './overlap.mjs';

export const about = 'one trace through all, without performance monitoring';

// The services, in the order in which a request passes through them.
const BEHIND = ['rust-store', 'node-link', 'rust-kitchen', 'node-kitchen'];
const CHAIN = ['node-front', ...BEHIND];
const EDGE = 'rust-edge';

const TRACE = '09e04486820349518ac7b5d2adbf6ba5';
const VALID = `${TRACE}-9438b6a1d9b86aa4`;
const BAGGAGE = `sentry-trace_id=${TRACE},sentry-public_key=theirs,sentry-release=shop%40a%2C1`;

// Values of the two headers that count as absent.
const NO_TRACE = {
  nothing: '',
  'a placeholder': 'undefined',
  'half a trace': TRACE,
  'a short trace': VALID.slice(1),
  'a short span': VALID.slice(0, -1),
  'other letters': VALID.replace('0', 'g'),
  'another format': `00-${VALID}-01`,
  'not ASCII': `${VALID}-\u00f6`,
  zeros: VALID.replace(/[0-9a-f]/g, '0'),
  '8000 bytes': 'a'.repeat(8000),
};
const NO_BAGGAGE = {
  nothing: '',
  'a word': 'nonsense',
  separators: ',,;;==,',
  'members without a key or a value': 'sentry-release,sentry-=,sentry-a b=c',
  '9000 bytes': `sentry-release=${'a'.repeat(9000)}`,
  'not ASCII': 'sentry-release=h\u00f6tdog',
};
// A member as the W3C defines it, without properties: https://www.w3.org/TR/baggage/#definition
const MEMBER = /^sentry-[\w.-]+=[!#-+\--:<-[\]-~]*$/;

let program;

// Built before the run, so that the build is not part of its time.
export async function prepare({ folder, root }) {
  program = await buildExample(folder, root, 'link');
}

export async function tell(stage) {
  const page = await bundlePage(stage.folder, stage.e2e);
  const kitchen = await stage.node('node-kitchen');
  const rustKitchen = await stage.link('rust-kitchen', program, { next: kitchen.url });
  const link = await stage.node('node-link', { next: rustKitchen.url });
  const store = await stage.link('rust-store', program, { next: link.url });
  const front = await stage.node('node-front', { next: store.url, page });
  const edge = await stage.link(EDGE, program, { next: front.url, trust: 'never' });
  return [
    ...await twoOrdersAtOnce(stage, front),
    await notTrusted(stage, edge),
    await continued(stage, store),
    await malformed(stage, store),
  ];
}

async function twoOrdersAtOnce(stage, front) {
  const { page, sent } = await visit(stage, front);
  await holdUntilAllAreSent(page, 2);
  const orders = await page.evaluate(() => Promise.all([
    window.order('artisanal', { inOwnTrace: true }), window.order('artisanal', { inOwnTrace: true }),
  ]));
  const rows = [];
  const traces = new Set();
  for (const { id, status } of orders) {
    same('an order on the page: its status', status, 500);
    const events = await reports(stage, id, ['browser', ...CHAIN]);
    const trace = oneTrace(events);
    handedOn(events, CHAIN, trace, await sent(id));
    traces.add(trace);
    rows.push({ what: `trace ${trace.slice(0, 8)}...`, id, services: ['browser', ...CHAIN] });
  }
  same('the number of traces of two orders at once', traces.size, 2);
  return rows;
}

// The request for the page began a trace at our edge, and the page continues that trace. The edge does
// not continue it, since it continues no trace of a caller.
async function notTrusted(stage, edge) {
  const { page, sent } = await visit(stage, edge);
  const { id, status, echoed } = await page.evaluate(() => window.order('artisanal'));
  same('an order at the edge: its status', status, FAILED);
  check(echoed !== id, `the edge kept the ID of the page, ${id}`);

  const [report] = await reports(stage, id, ['browser']);
  const began = await sent(id);
  check(members(began.baggage).includes(`sentry-release=${EDGE}`),
    `the trace of the page does not begin at the edge: ${began.baggage}`);
  same('the trace of what the page reported', traceOf(report), began['sentry-trace'].split('-')[0]);

  const services = [EDGE, ...CHAIN];
  const events = await reports(stage, echoed, services);
  const trace = oneTrace(events);
  check(trace !== traceOf(report), `the edge continued the trace of the page, ${trace}`);
  const { baggage } = received(events, 'node-front');
  check(members(baggage).includes(`sentry-release=${EDGE}`),
    `the trace behind the edge does not begin there: ${baggage}`);
  handedOn(events, CHAIN, trace, { baggage });
  return { what: 'page not trusted', id: echoed, services };
}

async function continued(stage, store) {
  const { id, events } = await failing(stage, store, 'a valid trace', [
    `sentry-trace: ${VALID}`, `baggage: ${BAGGAGE}`,
  ]);
  same('the trace of an order that has one', oneTrace(events), TRACE);
  handedOn(events, BEHIND, TRACE, { baggage: BAGGAGE });
  return { what: 'raw client', id, services: BEHIND };
}

async function malformed(stage, store) {
  const traces = new Set([TRACE]);
  let last;
  for (const [what, value] of Object.entries(NO_TRACE)) {
    const { id, events } = await failing(stage, store, `sentry-trace, ${what}`, [
      `sentry-trace: ${value}`, `baggage: ${BAGGAGE}`,
    ]);
    const trace = oneTrace(events);
    check(!traces.has(trace), `sentry-trace, ${what}: not a trace of its own, ${trace}`);
    traces.add(trace);
    const { baggage } = received(events, 'node-link');
    check(members(baggage).includes('sentry-release=rust-store'),
      `sentry-trace, ${what}: the trace does not begin at the first service: ${baggage}`);
    handedOn(events, BEHIND.slice(1), trace, { baggage });
    last = id;
  }
  for (const [what, value] of Object.entries(NO_BAGGAGE)) {
    const { events } = await failing(stage, store, `baggage, ${what}`, [
      `sentry-trace: ${VALID}`, `baggage: ${value}`,
    ]);
    same(`baggage, ${what}: the trace`, oneTrace(events), TRACE);
    // Only the head of a trace describes the trace, in the baggage.
    same(`baggage, ${what}: the baggage that was passed on`, received(events, 'node-link').baggage, undefined);
  }
  const count = Object.keys(NO_TRACE).length + Object.keys(NO_BAGGAGE).length;
  return { what: `one of ${count} malformed`, id: last, services: BEHIND };
}

// An order at `store` that all services fail to serve: its ID and events.
async function failing(stage, store, what, lines) {
  const id = newId();
  const { status, echoed } = await orderByHand(store.url, 'artisanal', [
    `X-Transaction-ID: ${id}`, ...lines,
  ]);
  same(`${what}: the status and the echo`, [status, echoed], [FAILED, [id]]);
  return { id, events: await reports(stage, id, BEHIND) };
}

// All reports of `services` under an ID. Each of our services reports twice: the client layer reports the
// failed call, and the handler reports its own error.
function reports(stage, id, services) {
  const expected = services.flatMap((name) => (isOurs(name) ? [name, name] : [name])).sort();
  return eventually(60, async () => {
    const events = await stage.project.story(id, services);
    same(`the reports under ${id}`, events.map(({ service }) => service).sort(), expected);
    return events;
  });
}

// A page, and a way to the headers that it sent with an ID.
async function visit(stage, { url }) {
  const { page, errors, stop } = await stage.browser.page();
  stage.closing({ stop });
  const orders = new Map();
  page.on('request', (request) => {
    const headers = request.headers();
    if (headers['x-transaction-id']) orders.set(headers['x-transaction-id'], headers);
  });
  const sent = (id) => eventually(10, async () => {
    check(orders.has(id), `the browser reports no request with the ID ${id}`);
    return orders.get(id);
  });
  await page.goto(url);
  await page.waitForFunction(() => window.order);
  same('the page: errors nobody caught', errors, []);
  return { page, sent };
}

// The trace of all `events`.
function oneTrace(events) {
  const traces = new Set(events.map(traceOf));
  same(`the number of traces of ${events.length} events under ${events[0].id}`, traces.size, 1);
  const [trace] = traces;
  matches('a trace', trace, /^[0-9a-f]{32}$/);
  return trace;
}

// Checks that each of `services` received `trace`, and the baggage that the head of the trace sent. Our
// services pass the baggage on as it is. Those in Node.js may add sentry-sample_rand, which a page may
// leave out.
function handedOn(events, services, trace, { baggage }) {
  let sender = { baggage, isOurs: false };
  for (const service of services) {
    const headers = received(events, service);
    // The header has no sampling decision, since no program took one.
    matches(`sentry-trace that the ${service} received`, headers['sentry-trace'],
      new RegExp(`^${trace}-[0-9a-f]{16}$`));
    const [, span] = headers['sentry-trace'].split('-');
    for (const { data } of events.filter((event) => event.service === service)) {
      same(`the parent of what the ${service} reported`, data.contexts.trace.parent_span_id, span);
    }
    const [before, after] = [sender.baggage, headers.baggage].map(members);
    for (const member of after) matches(`baggage that the ${service} received`, member, MEMBER);
    check(after.includes(`sentry-trace_id=${trace}`),
      `the baggage that the ${service} received is of another trace: ${headers.baggage}`);
    const kept = sender.isOurs ? after : after.filter((member) => before.includes(member));
    same(`baggage that the ${service} received`, kept, before);
    sender = { baggage: headers.baggage, isOurs: isOurs(service) };
  }
}

function isOurs(service) {
  return service.startsWith('rust-');
}

// Both trace headers that a service received, as its events show them.
function received(events, service) {
  const { data } = events.find((event) => event.service === service);
  const headers = isOurs(service) ? data.contexts.received : data.request.headers;
  return { 'sentry-trace': headers['sentry-trace'], baggage: headers.baggage };
}

function members(baggage) {
  return (baggage ?? '').split(',').sort();
}

function traceOf({ data }) {
  return data.contexts.trace.trace_id;
}

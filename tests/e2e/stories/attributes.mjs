// Sentry's SDKs for JavaScript put tags on events and on performance transactions only. Logs and streamed spans have
// attributes. A page and two services in Node.js set both, and so all that they send in the trace of an order has
// the ID, also while two orders are under way.
import { bundlePage } from '../parts/bundle.mjs';
import { check, eventually, same } from '../parts/check.mjs';
import { holdUntilAllAreSent } from './overlap.mjs';

export const about = 'events, logs and spans of JavaScript have the ID';
const SERVICES = ['browser', 'node-front', 'node-kitchen'];
const RATE = { TRACES_RATE: '1' };
// A part of what each program sends for an order: service, type and title.
const EXPECTED = [
  'browser event: the order was answered 500',
  'browser log: ordering artisanal',
  'browser span: order artisanal',
  'browser span: POST 127.0.0.1',
  'node-front event: the next service answered 500',
  'node-front log: an order: artisanal',
  'node span: POST /.*/',
  'node span: POST 127.0.0.1',
  'node-kitchen event: the mustard is used up',
  'node-kitchen log: an order: artisanal',
  'node-kitchen transaction: POST',
];

export async function tell(stage) {
  const bundle = await bundlePage(stage.folder, stage.e2e);
  const relay = await stage.relay();
  const dsn = stage.project.dsn(relay.url);
  const env = { ...RATE, TRACE_LIFECYCLE: 'static' };
  const kitchen = await stage.node('node-kitchen', { dsn, env });
  const front = await stage.node('node-front', { dsn, env: RATE, next: kitchen.url, page: bundle });

  const { page, errors, stop } = await stage.browser.page();
  stage.closing({ stop });
  await page.goto(front.url);
  await page.waitForFunction(() => window.order);
  await holdUntilAllAreSent(page, 2);
  const orders = await page.evaluate(() => Promise.all([
    window.order('artisanal', { inOwnTrace: true }), window.order('artisanal', { inOwnTrace: true }),
  ]));
  same('the page: errors nobody caught', errors, []);
  const rows = [];
  for (const { id } of orders) {
    await stage.project.story(id, SERVICES);
    const items = await eventually(60, async () => sentUnder(relay, id));
    onlyThisId(items, id);
    rows.push({ what: `${items.length} items`, id, services: SERVICES });
  }
  return rows;
}

// All items in the trace of an order, once the expected ones are there.
function sentUnder(relay, id) {
  const items = relay.items.map(read).filter(Boolean);
  const trace = items.find((item) => item.type === 'event' && item.id === id)?.trace;
  const found = items.filter((item) => item.trace === trace);
  const missing = EXPECTED.filter((start) => !found.some(({ title }) => title.startsWith(start)));
  same(`what nobody sent in the trace of ${id}`, missing, []);
  return found;
}

function onlyThisId(items, id) {
  const others = items.filter((item) => item.id !== id).map((item) => `${item.title}, with ${item.id}`);
  same(`in the trace of ${id}, without this ID`, others, []);
}

// An item as a line, with its ID and trace. An event and a performance transaction have the tag, and a log and a span
// the attribute. A span does not name its server, but its SDK.
function read({ type, payload }) {
  const attribute = (name) => payload.attributes?.[name]?.value;
  const line = (sender, title, id, trace) => ({ type, title: `${sender} ${type}: ${title}`, id, trace });
  const { server_name: server = 'browser', tags, contexts, exception, trace_id: trace } = payload;
  switch (type) {
    case 'event':
      return line(server, exception.values.at(-1).value, tags?.transaction_id, contexts.trace.trace_id);
    case 'transaction':
      return line(server, payload.transaction, tags?.transaction_id, contexts.trace.trace_id);
    case 'log':
      return line(attribute('server.address') ?? 'browser', payload.body, attribute('transaction_id'), trace);
    case 'span':
      return line(attribute('sentry.sdk.name').split('.').at(-1), payload.name, attribute('transaction_id'), trace);
    default:
      return null;
  }
}

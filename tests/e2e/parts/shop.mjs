// The demo: its storefront, which starts its kitchen and its courier, and its kitchen alone.
import { check } from './check.mjs';
import { start } from './processes.mjs';

export const SERVED = 200;
export const FAILED = 502;
const HEADER = 'X-Transaction-ID';

export const newId = () => crypto.randomUUID().replaceAll('-', '');

// Opens the shop. The shop has completed its own first order when this resolves.
export async function openShop(name, program, { folder, dsn, args = [] }) {
  const env = { SENTRY_DSN: dsn, RUST_LOG: 'info' };
  const shop = start(name, program, ['--port', '0', ...args], { folder, env });
  const [, url] = await shop.ready(/^ *Order +(http:\/\/\S+)$/m);
  const [, id] = await shop.ready(/^Ordered one artisanal hot dog: .*X-Transaction-ID (\S+)$/m);
  // Where the demo shows its stories itself.
  const stories = /^ *Stories +(http:\/\/\S+)$/m.exec(shop.lines())?.[1];
  return { url, stories, firstId: id, process: shop, stop: () => shop.stop() };
}

// Opens the kitchen alone, for a chain in which another service calls it. It ends with its input.
export async function openKitchen(name, program, { folder, dsn }) {
  const env = { SENTRY_DSN: dsn };
  const kitchen = start(name, program, ['kitchen'], { folder, env, stdin: 'pipe' });
  const [, address] = await kitchen.ready(/^(127\.0\.0\.1:\d+)$/m);
  return { url: `http://${address}`, stop: () => kitchen.stop() };
}

// Orders as the page does. Without an ID, no header is sent.
export async function order(shop, dog, id) {
  const started = performance.now();
  const response = await send(shop, dog, id, AbortSignal.timeout(20_000));
  const text = await response.text();
  const took = performance.now() - started;
  return { ...head(response), text, took };
}

// Places an order that takes a while, and leaves as soon as the response has begun.
export async function abandon(shop, id) {
  const leaving = new AbortController();
  const response = await send(shop, 'grilled', id, leaving.signal);
  leaving.abort();
  return head(response);
}

function send(shop, dog, id, signal) {
  const headers = { 'Content-Type': 'application/json' };
  if (id !== undefined) headers[HEADER] = id;
  const body = JSON.stringify({ dog });
  return fetch(new URL('/orders', shop.url), { method: 'POST', headers, body, signal });
}

function head({ status, headers }) {
  const echoed = headers.get(HEADER);
  check(echoed, `the answer to an order (${status}) has no ${HEADER}`);
  return { status, echoed };
}

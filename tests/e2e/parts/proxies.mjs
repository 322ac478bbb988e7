// The steps of a proxy's story, the same for each proxy: before the demo's storefront, whose reports have the
// ID of the proxy's log, and before a stand-in, which shows what the proxy passed on.
import { randomUUID } from 'node:crypto';
import { connect } from 'node:http2';
import { exchange } from './by-hand.mjs';
import { check, matches, same } from './check.mjs';
import { FAILED, newId, order } from './shop.mjs';
import { StandIn } from './stand-in.mjs';

const SERVICES = ['storefront', 'kitchen'];
export const HEXADECIMAL = /^[0-9a-f]{32}$/;
export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

// The longest valid ID, with each kind of valid character.
const LONGEST = 'Az09-_.:+/=@~'.padEnd(200, '-urn:uuid:Root=1-67891233');
const KEPT = [
  'a', '7', '0012', '1e3', 'true', 'a.b', 'a:/b', '-x-', 'undefined1', 'nonexistent', 'Q09GRkVF==',
  '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'Root=1-67891233-abcdef012345678912345678',
  'urn:uuid:F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6', LONGEST,
];
// The values of the lines that are sent.
const REFUSED = {
  'no line': [],
  'an empty line': [''],
  zeros: ['0000'],
  'no letter and no digit': ['-_.:+/=@~'],
  ...Object.fromEntries(['undefined', 'null', 'NaN', 'NONE', 'Nil'].map((id) => [id, [id]])),
  'two dots': ['a..b'],
  'a URL': ['https://example.org/a'],
  'a space': ['one two'],
  'a tab': ['one\ttwo'],
  quotes: ['"one"'],
  'a list': ['one,two'],
  'a script': ['<script>alert(1)</script>'],
  'an encoded line break': ['a%0d%0aX-Other:%20b'],
  'values of proxies': ['$host{http.request.host}%[src]%REQ(HOST)%'],
  'a lookup': ['${jndi:ldap://127.0.0.1/a}'],
  'not ASCII': ['\u202eh\u00f6tdog'],
  '201 bytes': ['a'.repeat(201)],
  '7000 bytes': ['a'.repeat(7000)],
};
// Some proxies answer 400, and others pass the request on with an ID.
const MALFORMED = {
  'a continued line': 'five\r\n six', NUL: 'nu\0l', CR: 'c\rr', ESC: 'es\x1bc', DEL: 'de\x7fl',
};
// A service's answers, for the ID that it received, and the ID that the client has to get.
const ECHOES = {
  none: [() => [], (id) => id],
  'the ID twice': [(id) => [id, id], (id) => id],
  'another ID': [() => ['one-of-the-service'], () => 'one-of-the-service'],
  'a placeholder': [() => ['null'], (id) => id],
  'two words': [() => ['one two'], (id) => id],
  '201 bytes': [() => ['a'.repeat(201)], (id) => id],
};
const MANY = 40;

// The rule of the server layer.
function isValid(id) {
  return /^[A-Za-z0-9._:+/=@~-]{1,200}$/.test(id) && /[A-Za-z1-9]/.test(id)
    && !/\.\.|:\/\//.test(id) && !/^(undefined|null|nan|none|nil)$/i.test(id);
}

// Before the storefront. facts: see the stories of the proxies. The orders are few enough for the SDK's queue.
export async function beforeTheShop(stage, { start, generated }) {
  const shop = await stage.shop();
  const proxy = stage.closing(await start(stage.folder, shop.url));
  const orders = [
    { what: 'client with an ID', sent: newId() },
    { what: 'the longest valid ID', sent: LONGEST },
    { what: 'client without an ID' },
    { what: 'client with "undefined"', sent: 'undefined' },
    { what: 'client with "0000"', sent: '0000' },
    { what: 'client with a path', sent: '../../etc/passwd' },
  ];
  const ids = await Promise.all(orders.map((one) => agreed(proxy, one, generated)));
  same('different IDs of the orders', new Set(ids).size, orders.length);
  for (const id of ids) same(`the status in the log, ${id}`, (await proxy.logged(id)).status, FAILED);
  await stage.project.stories(ids, SERVICES);
  return orders.map(({ what }, n) => ({ what, id: ids[n], services: [proxy.name, ...SERVICES] }));
}

// Orders, and checks the ID in the response and in the kitchen.
async function agreed(proxy, { what, sent }, generated) {
  const { status, echoed: id, text } = await order(proxy, 'artisanal', sent);
  same(`${what}: the status`, status, FAILED);
  becomes(what, [id], isValid(sent ?? '') ? sent : generated);
  same(`${what}: the ID that the kitchen worked under`, JSON.parse(text).kitchenId, id);
  return id;
}

// Before a stand-in, and then before a service that is down.
export async function beforeAStandIn(stage, facts) {
  const standIn = stage.closing(await StandIn.open(facts.header));
  const proxy = stage.closing(await facts.start(stage.folder, standIn.url));
  const seen = new Seen(proxy, standIn);
  await passedOn(seen, facts);
  await echoed(seen, facts);
  await manyAtOnce(seen);
  await overHttp2(seen, facts);
  await badRequests(seen, facts);
  await standIn.stop();
  // At the same time, since a proxy may try several times.
  await Promise.all([['an ID', [newId()]], ['no ID', []], ['null', ['null']]].map(async ([what, sent]) => {
    const { status, ids } = await seen.get(`the service is down, ${what}`, sent);
    same(`the service is down, ${what}: the status`, status, facts.down);
    becomes(`the service is down, ${what}`, ids, isValid(sent[0] ?? '') ? sent[0] : facts.generated);
  }));
  await seen.allLogged();
  return [{ what: 'hostile', result: `${seen.count} requests, each with one ID in the log and in the answer` }];
}

async function passedOn(seen, { generated, keepsFirst = false }) {
  for (const id of KEPT) {
    const { status, ids, received } = await seen.get(id, [id]);
    same(`${id}: status, the ID that was passed on, the ID in the answer`, [status, received, ids], [200, [id], [id]]);
  }
  const made = [];
  for (const [what, sent] of Object.entries(REFUSED)) made.push(await replaced(seen, what, sent, generated));
  // The rule of the layer: lines that differ are replaced. A valid line may be the first or the last one.
  const twice = { 'two IDs': ['one', 'two'], 'a valid ID last': ['0', 'three'] };
  for (const [what, sent] of Object.entries(twice)) {
    if (keepsFirst && isValid(sent[0])) {
      const { ids, received } = await seen.get(what, sent);
      same(`${what}: the ID that was passed on, the ID in the answer`, [received, ids], [[sent[0]], [sent[0]]]);
    } else {
      made.push(await replaced(seen, what, sent, generated));
    }
  }
  same('IDs that were generated twice', made.length - new Set(made).size, 0);
  for (const [what, sent] of Object.entries(MALFORMED)) {
    const { status, ids, received } = await seen.get(what, [sent]);
    if (status === 400) continue;
    same(`${what}: the status`, status, 200);
    same(`${what}: the number of IDs that were passed on`, received?.length, 1);
    check(isValid(received[0]), `${what}: an invalid ID was passed on: ${JSON.stringify(received[0])}`);
    same(`${what}: the ID in the answer`, ids, received);
  }
}

async function replaced(seen, what, sent, generated) {
  const { status, ids, received } = await seen.get(what, sent);
  same(`${what}: the status`, status, 200);
  becomes(what, ids, generated);
  same(`${what}: the ID that was passed on`, received, ids);
  return ids[0];
}

async function echoed({ standIn, get }, { hangUp, generated }) {
  for (const [what, [echoes, expected]] of Object.entries(ECHOES)) {
    const id = newId();
    standIn.echoes = echoes;
    const { status, ids } = await get(what, [id]);
    same(`a service that sends ${what}: the status and the ID`, [status, ids], [200, [expected(id)]]);
  }
  // No rule says which of the two, or the ID that was passed on.
  standIn.echoes = () => ['first-of-two', 'second-of-two'];
  const id = newId();
  const { ids } = await get('two IDs', [id]);
  same('a service that sends two IDs: the number of IDs in the answer', ids.length, 1);
  check(['first-of-two', id].includes(ids[0]), `a service that sends two IDs: the ID in the answer is ${ids[0]}`);

  standIn.echoes = () => null;
  for (const sent of [[newId()], []]) {
    const answer = await get('the service hangs up', sent);
    same('a service that hangs up: the status', answer.status, hangUp);
    becomes('a service that hangs up', answer.ids, sent[0] ?? generated);
    same('a service that hangs up: the ID that was passed on', answer.received, answer.ids);
  }
  standIn.echoes = (last) => [last];
}

// Through connections that are used again.
async function manyAtOnce({ proxy, standIn, expect }) {
  await Promise.all(Array.from({ length: MANY }, async (_, n) => {
    const sent = randomUUID();
    const answer = await fetch(`${proxy.url}/many/${n}`, { headers: { [standIn.header]: sent } });
    await answer.text();
    same('one of many: the ID in the answer', answer.headers.get(standIn.header), sent);
    same('one of many: the ID that was passed on', standIn.received(`/many/${n}`), [sent]);
    expect(sent, 200);
  }));
}

async function overHttp2({ proxy, standIn, expect }, { generated }) {
  const name = standIn.header.toLowerCase();
  const session = connect(proxy.http2);
  try {
    for (const [what, sent] of [['valid', newId()], ['missing', undefined], ['placeholder', 'undefined']]) {
      const path = `/http2/${what}`;
      const stream = session.request({ ':path': path, ...(sent && { [name]: sent }) });
      const headers = await new Promise((answered, failed) => {
        session.once('error', failed);
        stream.once('error', failed).once('response', answered).resume();
      });
      same(`HTTP/2, ${what}: the status`, headers[':status'], 200);
      becomes(`HTTP/2, ${what}`, [headers[name]], what === 'valid' ? sent : generated);
      same(`HTTP/2, ${what}: the ID that was passed on`, standIn.received(path), [headers[name]]);
      expect(headers[name], 200);
    }
  } finally {
    session.destroy();
  }
}

// Requests that the proxy answers itself. Not each proxy sets the ID then.
async function badRequests(seen, { bad }) {
  for (const [what, { head = [], start, status: expected, hasId }] of Object.entries(bad)) {
    const { status, ids, received } = await seen.get(what, [newId()], { head, start });
    same(`${what}: status, the number of IDs, passed on`, [status, ids.length, received], [expected, hasId ? 1 : 0, undefined]);
    if (hasId) check(isValid(ids[0]), `${what}: the ID is ${ids[0]}`);
  }
}

// expected: the ID, or its pattern.
function becomes(what, ids, expected) {
  same(`${what}: the number of IDs in the answer`, ids.length, 1);
  if (typeof expected === 'string') same(`${what}: the ID in the answer`, ids[0], expected);
  else matches(`${what}: the ID in the answer`, ids[0], expected);
}

// Sends requests through the proxy, and keeps what the proxy has to log.
class Seen {
  count = 0;
  #expected = [];

  constructor(proxy, standIn) {
    Object.assign(this, { proxy, standIn });
  }

  // The status of the answer, its IDs, and the IDs that the stand-in received.
  get = async (what, sent, { head = [], start = 'GET' } = {}) => {
    this.count += 1;
    const path = `/${this.count}`;
    const lines = [
      `${start} ${path} HTTP/1.1`, `Host: ${new URL(this.proxy.url).host}`, 'Connection: close',
      ...sent.map((id) => `${this.standIn.header}: ${id}`), ...head,
    ];
    const { status, echoed: ids } = await exchange(this.proxy.url, lines, '', this.standIn.header);
    if (ids.length === 1) this.expect(ids[0], status);
    return { status, ids, received: this.standIn.received(path) };
  };

  expect = (id, status) => {
    this.#expected.push({ id, status });
  };

  async allLogged() {
    for (const { id, status } of this.#expected) {
      same(`the status in the log, ${id}`, (await this.proxy.logged(id)).status, status);
    }
  }
}

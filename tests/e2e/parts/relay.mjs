// A tracker before Bugsink, which answers at once. It keeps all items of the envelopes, since Bugsink drops those that
// are no events, and passes the envelopes on one after another.
import { createServer } from 'node:http';
import { gunzipSync } from 'node:zlib';
import { check, eventually, same } from './check.mjs';

export class Relay {
  #behind;
  #server = createServer((incoming, response) => this.#take(incoming, response));
  #passedOn = Promise.resolve();
  #items = [];

  static async open(behind) {
    const relay = new Relay();
    relay.#behind = behind;
    await new Promise((listening, failed) => {
      relay.#server.once('error', failed).listen(0, '127.0.0.1', listening);
    });
    return relay;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  // All items so far, each with its type and payload. An item of logs or of spans is a list, and its elements are
  // here one by one.
  get items() {
    return [...this.#items];
  }

  // The performance transactions of an ID, once there are `count`.
  async transactions(id, count) {
    return eventually(60, async () => {
      const transactions = this.#items.filter(({ type }) => type === 'transaction').map(({ payload }) => payload);
      const found = transactions.filter(({ tags }) => tags?.transaction_id === id);
      same(`the number of performance transactions under ${id}`, found.length, count);
      return found;
    });
  }

  async #take(incoming, response) {
    const { method, url } = incoming;
    const { 'x-sentry-auth': auth, 'content-type': type } = incoming.headers;
    // The page of another origin, whose SDK reads the answer.
    response.setHeader('Access-Control-Allow-Origin', '*');
    const parts = [];
    for await (const part of incoming) parts.push(part);
    const sent = Buffer.concat(parts);
    const body = incoming.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent;
    response.end('{}');
    this.#keep(body.toString());
    const headers = { 'X-Sentry-Auth': auth };
    if (type) headers['Content-Type'] = type;
    this.#passedOn = this.#passedOn.then(async () => {
      const answer = await fetch(new URL(url, this.#behind), { method, headers, body });
      await answer.arrayBuffer();
      check(answer.ok, `Bugsink answered ${answer.status} to a report`);
    }).catch((fault) => { this.fault ??= fault; });
  }

  // An envelope of an SDK: a line, and then two lines for each item.
  #keep(envelope) {
    const [, ...lines] = envelope.trimEnd().split('\n');
    for (let at = 0; at + 1 < lines.length; at += 2) {
      const { type } = JSON.parse(lines[at]);
      const payload = JSON.parse(lines[at + 1]);
      for (const one of payload.items ?? [payload]) this.#items.push({ type, payload: one });
    }
  }

  async stop() {
    await new Promise((closed) => {
      this.#server.close(closed);
      this.#server.closeAllConnections();
    });
    await this.#passedOn;
    if (this.fault) throw this.fault;
  }
}

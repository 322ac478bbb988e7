// A tracker before Bugsink, which answers at once. It keeps the performance transactions, which Bugsink
// drops, and passes the reports on one after another.
import { createServer } from 'node:http';
import { check, eventually, same } from './check.mjs';

export class Relay {
  #behind;
  #server = createServer((incoming, response) => this.#take(incoming, response));
  #passedOn = Promise.resolve();
  #transactions = [];

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

  // The performance transactions of an ID, once there are `count`.
  async transactions(id, count) {
    return eventually(60, async () => {
      const found = this.#transactions.filter(({ tags }) => tags?.transaction_id === id);
      same(`the number of performance transactions under ${id}`, found.length, count);
      return found;
    });
  }

  async #take(incoming, response) {
    const { method, url } = incoming;
    const { 'x-sentry-auth': auth, 'content-type': type } = incoming.headers;
    const parts = [];
    for await (const part of incoming) parts.push(part);
    const body = Buffer.concat(parts);
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

  // An envelope of the Rust SDK: a line, and then two lines for each item.
  #keep(envelope) {
    const [, ...lines] = envelope.trimEnd().split('\n');
    for (let at = 0; at + 1 < lines.length; at += 2) {
      if (JSON.parse(lines[at]).type === 'transaction') this.#transactions.push(JSON.parse(lines[at + 1]));
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

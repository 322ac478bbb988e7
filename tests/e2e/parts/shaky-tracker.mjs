// A tracker that fails in the way that a story sets. While it works, it passes all reports on to Bugsink.
import { createServer, request } from 'node:http';

const MISBEHAVIOUR = {
  hangs: () => {},
  'answers 429': (response) => response.writeHead(429, { 'Retry-After': '1' }).end(),
  'answers 500': (response) => response.writeHead(500).end(),
};

export class ShakyTracker {
  #server;
  #port = 0;
  #behind;
  #mode = 'works';

  // The number of reports that it received in each mode.
  reports = {};

  constructor(behind) {
    this.#behind = new URL(behind);
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  // 'works', 'is down', 'hangs', 'answers 429' or 'answers 500'.
  async turn(mode) {
    this.#mode = mode;
    // Requests that still wait for a response do not get one.
    this.#server?.closeAllConnections();
    if (mode === 'is down') await this.stop();
    else if (!this.#server) await this.#listen();
  }

  // Listens on a free port at first, and later on the same port, which the services know.
  async #listen() {
    const server = createServer((incoming, response) => this.#answer(incoming, response));
    await new Promise((listening, failed) => {
      server.once('error', failed).listen(this.#port, '127.0.0.1', listening);
    });
    this.#port = server.address().port;
    this.#server = server;
  }

  #answer(incoming, response) {
    this.reports[this.#mode] = (this.reports[this.#mode] ?? 0) + 1;
    const misbehave = MISBEHAVIOUR[this.#mode];
    if (misbehave) {
      incoming.resume();
      misbehave(response);
      return;
    }
    const { method, headers, url } = incoming;
    const passedOn = request(new URL(url, this.#behind), { method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passedOn.once('error', () => response.destroy());
    incoming.pipe(passedOn);
  }

  async stop() {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    await new Promise((closed) => {
      server.close(closed);
      server.closeAllConnections();
    });
  }
}

// Chromium, kept to loopback.
import { chromium } from 'playwright-core';
import { adopt, environment } from './processes.mjs';

const ARGS = [
  '--disable-background-networking', '--disable-component-update', '--disable-domain-reliability',
  '--disable-gpu', '--disable-quic', '--disable-sync', '--no-first-run', '--no-pings',
  // Any other request of a page fails at once.
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost',
];

export class Browser {
  static async open() {
    const launching = chromium.launchServer({
      executablePath: process.env.CHROMIUM,
      args: ARGS,
      env: environment(),
      host: '127.0.0.1',
      // The run itself ends it.
      handleSIGHUP: false,
      handleSIGINT: false,
      handleSIGTERM: false,
    });
    // The run ends the browser, too, if it is interrupted while the browser starts.
    adopt({ stop: async () => (await launching).kill() });
    const server = await launching;
    return new Browser(await chromium.connect(server.wsEndpoint()));
  }

  constructor(connection) {
    this.connection = connection;
  }

  // A page in a profile of its own, with Playwright's `options` of one. `answers` collects what it was
  // answered to its orders.
  async page(options) {
    const context = await this.connection.newContext({ viewport: { width: 1100, height: 900 }, ...options });
    const page = await context.newPage();
    const answers = [];
    const errors = [];
    page.on('response', (response) => {
      const request = response.request();
      if (new URL(request.url()).pathname !== '/orders') return;
      answers.push({
        sent: request.headers()['x-transaction-id'],
        echoed: response.headers()['x-transaction-id'],
        status: response.status(),
      });
    });
    page.on('pageerror', (error) => errors.push(error.message));
    return { page, answers, errors, stop: () => context.close() };
  }
}

// nginx before a storefront.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Broken, eventually } from './check.mjs';
import { freePort } from './ports.mjs';
import { start } from './processes.mjs';

const CONFIG = new URL('../proxies/nginx.conf', import.meta.url);
const ATTEMPTS = 5;
const PATIENCE = 30;

export async function startNginx(folder, storefront) {
  const own = join(folder, 'nginx');
  mkdirSync(own);
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const settings = { PORT: port, STOREFRONT: storefront.replace(/\/$/, '') };
    const config = readFileSync(CONFIG, 'utf8');
    writeFileSync(
      join(own, 'nginx.conf'),
      config.replace(/@([A-Z]+)@/g, (_, name) => settings[name]),
    );
    const server = start('nginx', 'nginx', ['-p', own, '-c', 'nginx.conf', '-e', 'stderr'], {
      folder,
      // Debian's folder for nginx, which is not on every user's path.
      env: { PATH: `${process.env.PATH}:/usr/sbin` },
    });
    try {
      await answers(server, port);
      return new Nginx(`http://127.0.0.1:${port}`, join(own, 'access.log'), server);
    } catch (error) {
      await server.stop();
      if (attempt === ATTEMPTS || !/Address already in use/.test(server.output)) throw error;
    }
  }
}

// Waits until nginx responds, since nginx prints nothing when it is ready.
async function answers(server, port) {
  let ended = false;
  server.ended.then(() => { ended = true; });
  await eventually(PATIENCE, async () => {
    if (ended) throw new Error(`nginx ended:\n${server.tail()}`);
    const answer = await fetch(`http://127.0.0.1:${port}/settings`).catch(() => null);
    if (!answer) throw new Broken(`nginx does not answer:\n${server.tail()}`);
    await answer.arrayBuffer();
  });
}

class Nginx {
  constructor(url, log, server) {
    Object.assign(this, { url, log, server });
  }

  // The log line of the one request with an ID: the start of the request, and the ID that nginx passed on
  // to the storefront. nginx writes the line after the response, so this waits for the line.
  async logged(id) {
    return eventually(PATIENCE, async () => {
      const lines = readFileSync(this.log, 'utf8').split('\n');
      const found = lines.filter((line) => line.endsWith(`transaction_id=${id}`));
      const last = lines.filter(Boolean).at(-1);
      if (found.length !== 1) {
        throw new Broken(
          `nginx's log: expected one line with transaction_id=${id}, and there are `
            + `${found.length}; the last line is ${JSON.stringify(last)}`,
        );
      }
      const [, request, passedOn] = /^(.*) passed_on=(\S*) /.exec(found[0]);
      return { request, passedOn };
    });
  }

  stop() {
    return this.server.stop();
  }
}

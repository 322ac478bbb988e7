// A proxy before a service. It runs the configuration of ../proxies, which users copy, at a free port of
// loopback. parts/nginx.mjs, haproxy.mjs, caddy.mjs and envoy.mjs start one each.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Broken, check, eventually } from './check.mjs';
import { freePort } from './ports.mjs';
import { start } from './processes.mjs';

const ATTEMPTS = 5;
const PATIENCE = 30;
let count = 0;

// kind: { name, header, file, program, values, write, log, read }, see the files of the proxies.
// service: the address of the service behind the proxy.
export async function startProxy(folder, service, kind) {
  for (let attempt = 1; ; attempt += 1) {
    count += 1;
    const own = join(folder, `${kind.name}-${count}`);
    mkdirSync(own);
    const port = await freePort();
    const http2Port = kind.http2Port ? await freePort() : port;
    const place = { own, port, http2Port, service: new URL(service).host };
    const text = readFileSync(new URL(`../proxies/${kind.file}`, import.meta.url), 'utf8');
    writeFileSync(join(own, kind.file), filledIn(kind, text, kind.values(place)));
    const args = kind.args(place, (name, contents) => writeFileSync(join(own, name), contents));
    // Debian's folder for proxies is not on every user's path.
    const env = { PATH: `${process.env.PATH}:/usr/sbin`, HOME: own, ...kind.env };
    const server = start(`${kind.name}-${count}`, kind.program ?? kind.name, args, { folder, env, cwd: own });
    try {
      const url = `http://127.0.0.1:${port}`;
      await answers(kind.name, server, url);
      return new Proxy(kind, own, url, `http://127.0.0.1:${http2Port}`, server);
    } catch (error) {
      await server.stop();
      if (attempt === ATTEMPTS || !/address already in use/i.test(server.output)) throw error;
    }
  }
}

// The configuration with the values of this run in place of the example's, each of which it has once.
function filledIn({ file }, text, values) {
  return Object.entries(values).reduce((filled, [shown, value]) => {
    const parts = filled.split(shown);
    check(parts.length === 2, `proxies/${file} has ${JSON.stringify(shown)} ${parts.length - 1} times`);
    return parts.join(value);
  }, text);
}

// Waits until the proxy responds, since not every proxy prints that it is ready.
async function answers(name, server, url) {
  let ended = false;
  server.ended.then(() => { ended = true; });
  await eventually(PATIENCE, async () => {
    if (ended) throw new Error(`${name} ended:\n${server.tail()}`);
    const answer = await fetch(`${url}/settings`).catch(() => null);
    if (!answer) throw new Broken(`${name} does not answer:\n${server.tail()}`);
    await answer.arrayBuffer();
  });
}

class Proxy {
  constructor(kind, own, url, http2, server) {
    Object.assign(this, { kind, name: kind.name, own, url, http2, server });
  }

  // The one line of the access log with an ID and a request of this pattern, as { id, status, request }. The proxy
  // writes the line after the response, so this waits for the line.
  async logged(id, request = /^/) {
    return eventually(PATIENCE, async () => {
      const entries = this.#log();
      const found = entries.filter((entry) => entry.id === id && request.test(entry.request));
      if (found.length !== 1) {
        throw new Broken(
          `the log of ${this.name}: expected one line with ${id}, and there are ${found.length}; `
            + `the last line is ${JSON.stringify(entries.at(-1))}`,
        );
      }
      return found[0];
    });
  }

  #log() {
    const { log, read } = this.kind;
    const text = log ? readFileSync(join(this.own, log), 'utf8') : this.server.lines();
    return text.split('\n').map(read).filter(Boolean);
  }

  stop() {
    return this.server.stop();
  }
}

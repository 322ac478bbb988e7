// A service in Node.js.
import { join } from 'node:path';
import { start } from './processes.mjs';

export async function startNode(name, e2e, { folder, dsn, next = '', page = '', env: more }) {
  const services = join(e2e, 'services');
  const args = ['--import', join(services, 'instrument.mjs'), join(services, 'service.mjs')];
  const env = { SENTRY_DSN: dsn, SERVICE: name, NEXT: next, PAGE: page, ...more };
  const service = start(name, process.execPath, args, { folder, env });
  const [, url] = await service.ready(/^listening on (http:\S+)$/m);
  return { url, stop: () => service.stop() };
}

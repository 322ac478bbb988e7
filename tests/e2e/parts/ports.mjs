// Ports for the programs that cannot choose one themselves and say which.
import { createServer } from 'node:net';

// One that nobody listens on now. Somebody may by the time it is used: be ready to try another.
export async function freePort() {
  const server = createServer();
  await new Promise((listening, failed) => {
    server.once('error', failed).listen(0, '127.0.0.1', listening);
  });
  const { port } = server.address();
  await new Promise((closed) => { server.close(closed); });
  return port;
}

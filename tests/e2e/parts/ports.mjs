// Ports for programs that cannot choose a free port themselves and print it.
import { createServer } from 'node:net';

// A port that is free now. Another program may take it before it is used, so the caller has to retry.
export async function freePort() {
  const server = createServer();
  await new Promise((listening, failed) => {
    server.once('error', failed).listen(0, '127.0.0.1', listening);
  });
  const { port } = server.address();
  await new Promise((closed) => { server.close(closed); });
  return port;
}

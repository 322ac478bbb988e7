// Sends requests over a bare socket, since no client would send them.
import { connect } from 'node:net';
import { check } from './check.mjs';

// Orders with `lines` in the head of the request. Returns the status, and the IDs of the response.
export async function orderByHand(url, dog, lines) {
  const { hostname, port } = new URL(url);
  const body = JSON.stringify({ dog });
  const head = [
    'POST /orders HTTP/1.1',
    `Host: ${hostname}:${port}`,
    'Connection: close',
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    ...lines,
  ];
  const answer = await new Promise((answered, failed) => {
    let text = '';
    const socket = connect(port, hostname, () => socket.write(`${head.join('\r\n')}\r\n\r\n${body}`));
    socket.setEncoding('latin1').setTimeout(20_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (more) => { text += more; });
    socket.once('error', failed);
    socket.once('end', () => answered(text));
  });
  const [start, ...headers] = answer.split('\r\n\r\n')[0].split('\r\n');
  check(start.startsWith('HTTP/1.1 '), `not an answer: ${start}`);
  const named = headers.map((line) => line.split(/: (.*)/s));
  const echoed = named.filter(([name]) => name.toLowerCase() === 'x-transaction-id');
  return { status: Number(start.split(' ')[1]), echoed: echoed.map(([, value]) => value) };
}

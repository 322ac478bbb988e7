// Sends requests over a bare socket, since no client would send them.
import { connect } from 'node:net';
import { check } from './check.mjs';

const PATIENCE = 20_000;

// Orders with `lines` in the head of the request. Returns the status, and the IDs of the response.
export async function orderByHand(url, dog, lines) {
  const body = JSON.stringify({ dog });
  const { status, echoed } = await exchange(url, [
    'POST /orders HTTP/1.1',
    `Host: ${new URL(url).host}`,
    'Connection: close',
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    ...lines,
  ], body);
  return { status, echoed };
}

// Sends a request with these lines, and reads the answer until the server closes the connection. Returns its
// status, and the values of each line of one header. An answer without a head has no status.
export async function exchange(url, lines, body = '', header = 'X-Transaction-ID') {
  const { hostname, port } = new URL(url);
  const answer = await new Promise((answered, failed) => {
    let text = '';
    const request = `${lines.join('\r\n')}\r\n\r\n${body}`;
    // A server may answer and reset the connection before it has read the whole request.
    const ended = (error) => (text ? answered(text) : failed(error ?? new Error('no answer')));
    const socket = connect(port, hostname, () => socket.write(request));
    socket.setEncoding('latin1').setTimeout(PATIENCE, () => socket.destroy(new Error('no answer in time')));
    socket.on('data', (more) => { text += more; });
    socket.once('error', ended);
    socket.once('end', () => ended());
  });
  const [start, ...headers] = answer.split('\r\n\r\n')[0].split('\r\n');
  check(/^HTTP\/1\.[01] \d{3}/.test(start), `not an answer: ${start}`);
  const named = headers.map((line) => line.split(/:[ \t]*(.*)/s));
  const echoed = named.filter(([name]) => name.toLowerCase() === header.toLowerCase());
  return { status: Number(start.split(' ')[1]), echoed: echoed.map(([, value]) => value) };
}

// Sends each case of cases.json to a server, byte by byte, and compares the outcome with the expected one.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';

const LONGEST_WAIT = 10_000;

// A tab is the one control character that HTTP allows in a value.
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;

/**
 * The cases. `lines` has the values of the header's lines, each character a byte. `expect` is one of
 *
 * - `kept`: the answer has the value, byte for byte, without the blanks around it;
 * - `replaced`: the answer has another ID, which no other answer had;
 * - `never`: the value does not come back; the request may be refused.
 *
 * With `policy`, a server may well decide otherwise. Without, a standard or the purpose of an ID decides.
 */
export const CASES = JSON.parse(readFileSync(new URL('cases.json', import.meta.url), 'utf8'))
  .map((one) => ({ ...one, lines: one.lines.map(bytes) }));

function bytes(line) {
  return typeof line === 'string' ? line : line.repeat.repeat(line.times);
}

/**
 * Sends all cases to the server at `host` and `port`, one after another. Returns a row for each: its `name`,
 * the `outcome`, and a `verdict`: `as expected`, `other policy` or `fails`.
 */
export async function conform({ host, port, header, path = '/' }) {
  const seen = new Set();
  const rows = [];
  for (const one of CASES) {
    const outcome = await outcomeOf({ host, port, header, path }, one, seen);
    rows.push({ name: one.name, outcome, expect: one.expect, verdict: verdictOn(one, outcome) });
  }
  return rows;
}

function verdictOn({ expect, policy }, outcome) {
  if (outcome === expect) return 'as expected';
  if (expect === 'never' && ['replaced', 'refused'].includes(outcome)) return 'as expected';
  // A part of the value without its control characters does no harm.
  if (expect === 'never' && outcome === 'altered') return 'other policy';
  return policy && ['kept', 'replaced', 'refused', 'altered'].includes(outcome) ? 'other policy' : 'fails';
}

async function outcomeOf({ host, port, header, path }, { lines }, seen) {
  const head = [
    `GET ${path} HTTP/1.1`, `Host: ${host.includes(':') ? `[${host}]` : host}:${port}`, 'Connection: close',
    ...lines.map((line) => `${header}: ${line}`), '', '',
  ].join('\r\n');
  const answer = await exchange(host, port, Buffer.from(head, 'latin1'));
  const [top, ...fields] = answer.split('\r\n\r\n')[0].split('\r\n');
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(top)?.[1]);
  if (!status) return 'no answer';
  if (status >= 500) return `status ${status}`;
  if (status >= 400) return 'refused';
  const echoes = fields
    .map((field) => /^([^:]+):[ \t]*(.*?)[ \t]*$/s.exec(field))
    .filter((field) => field?.[1].toLowerCase() === header.toLowerCase())
    .map((field) => field[2]);
  if (echoes.length !== 1) return `${echoes.length} IDs`;
  const [echo] = echoes;
  if (!echo) return 'an empty ID';
  const values = lines.map((line) => line.replace(/^[ \t]+|[ \t]+$/g, ''));
  if (values.every((value) => value === echo) && values.length) return 'kept';
  if (CONTROL.test(echo)) return 'a control character';
  // The first of two lines, or both in one: neither is a new ID.
  if (values.some((value) => value && stems(echo, value))) return 'altered';
  if (seen.has(echo)) return 'the ID of another request';
  seen.add(echo);
  return 'replaced';
}

// Whether `echo` was made of `value`: cut, cleaned, in another case, or joined with others. One or two characters
// prove nothing.
function stems(echo, value) {
  const plain = (text) => text.toLowerCase().replace(/[^0-9a-z]/g, '');
  const [short, long] = [plain(echo), plain(value)];
  const isIn = (part, whole) => part.length > 2 && whole.includes(part);
  return isIn(value, echo) || isIn(short, long) || (short === long && short !== '');
}

// Sends the bytes and returns all that comes back, each byte a character.
function exchange(host, port, head) {
  return new Promise((resolve) => {
    let answer = '';
    const end = () => { socket.destroy(); resolve(answer); };
    const socket = connect({ host, port }, () => socket.write(head));
    socket.setTimeout(LONGEST_WAIT, end);
    socket.setEncoding('latin1');
    socket.on('data', (text) => { answer += text; });
    // A server that refuses a long request closes the connection while the rest is sent.
    socket.on('error', end);
    socket.on('end', end);
    socket.on('close', end);
  });
}

/** Counts the rows by their verdict, for a table. */
export function summary(rows) {
  const count = (wanted) => rows.filter(wanted).length;
  const differs = rows.filter(({ verdict }) => verdict === 'other policy');
  const among = (...outcomes) => differs.filter(({ outcome }) => outcomes.includes(outcome)).length;
  return {
    asExpected: count(({ verdict }) => verdict === 'as expected'),
    keeps: among('kept'),
    replaces: among('replaced'),
    refuses: among('refused'),
    alters: among('altered'),
    fails: rows.filter(({ verdict }) => verdict === 'fails'),
  };
}

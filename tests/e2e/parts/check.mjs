// What a story says when something is not as it should be.
import { isDeepStrictEqual } from 'node:util';

// A broken story: its message says what is wrong, and is all that a reader needs to see of it.
export class Broken extends Error {
  name = 'Broken';
}

export function check(holds, message) {
  if (!holds) throw new Broken(message);
}

export function same(what, actual, expected) {
  check(
    isDeepStrictEqual(actual, expected),
    `${what}: expected ${JSON.stringify(expected)}, and it was ${JSON.stringify(actual)}`,
  );
}

export function matches(what, text, pattern) {
  check(pattern.test(text ?? ''), `${what}: ${JSON.stringify(text)} does not match ${pattern}`);
}

export function pause(milliseconds) {
  return new Promise((done) => { setTimeout(done, milliseconds); });
}

// Asks until `poll` has an answer; where it never has, the last reason why is the message.
export async function eventually(seconds, poll) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    try {
      return await poll();
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      if (Date.now() > end) throw new Broken(`${error.message} (waited ${seconds} s)`);
    }
    await pause(100);
  }
}

// The checks of the stories.
import { isDeepStrictEqual } from 'node:util';

// A check failed. The message names the failure, and a reader does not need the stack.
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

// Calls `poll` until it returns without a broken check. If that never happens, throws the last one.
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

// The processes of a run. Each leads a group of its own, so that it can be ended with its children
// by its id, and each carries a mark, so that one that got away can be found.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createWriteStream, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Broken, pause } from './check.mjs';

const MARK = `TRANSACTION_ID_RUN=${randomUUID()}`;
const PATIENCE = 60_000;
// The time for ended processes to disappear.
const PASSING = 5000;

const running = new Set();
let stopping = false;

// The environment of every process of the run. No proxy leads to loopback, and a tracker that the
// caller uses is not for the events of this run.
export function environment(more = {}) {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(SENTRY_.*|.*_proxy|RUST_LOG)$/i.test(name),
  );
  const [mark, value] = MARK.split('=');
  return { ...Object.fromEntries(inherited), [mark]: value, ...more };
}

class Process {
  constructor(name, child, log) {
    Object.assign(this, { name, child, log, output: '' });
    this.ended = new Promise((ended) => {
      // The program did not start.
      child.once('error', (error) => {
        this.output += error.message;
        ended('none');
      });
      child.once('close', (code, signal) => ended(signal ?? code));
    }).then((outcome) => {
      running.delete(this);
      return outcome;
    });
  }

  // Waits for the line of output that shows that the process is ready. Returns the match.
  async ready(pattern, patience = PATIENCE) {
    const end = Date.now() + patience;
    let outcome;
    this.ended.then((value) => { outcome = value; });
    for (;;) {
      const match = pattern.exec(this.lines());
      if (match) return match;
      if (outcome !== undefined) {
        throw new Broken(`${this.name} ended (${outcome}) before it was ready:\n${this.tail()}`);
      }
      if (Date.now() > end) {
        throw new Broken(`${this.name} was not ready in ${patience / 1000} s:\n${this.tail()}`);
      }
      await pause(20);
    }
  }

  // Its output so far, without a line that has only begun.
  lines() {
    return this.output.slice(0, this.output.lastIndexOf('\n') + 1);
  }

  tail() {
    return this.output.trimEnd().split('\n').slice(-12).join('\n');
  }

  // Sends SIGTERM, so that the process can end its own children. Kills the group once the process ended.
  async stop() {
    if (!running.has(this) || this.child.pid === undefined) return;
    const insist = () => signal(-this.child.pid, 'SIGKILL');
    const timer = setTimeout(insist, 8000);
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.once('exit', insist);
      signal(this.child.pid, 'SIGTERM');
    } else {
      insist();
    }
    await this.ended;
    clearTimeout(timer);
  }

  // Kills the group at once, as the kernel does when memory runs out.
  async kill() {
    if (running.has(this)) signal(-this.child.pid, 'SIGKILL');
    await this.ended;
  }
}

function signal(id, name) {
  try {
    process.kill(id, name);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

// Starts a program. Its output goes to a file of the folder.
export function start(name, command, args, { folder, env = {}, cwd, stdin = 'ignore' }) {
  if (stopping) throw new Broken(`${name} was not started: the run is being stopped`);
  const child = spawn(command, args, {
    cwd,
    detached: true,
    env: environment(env),
    stdio: [stdin, 'pipe', 'pipe'],
  });
  const log = join(folder, `${name}.log`);
  const file = createWriteStream(log, { flags: 'a' });
  const started = new Process(name, child, log);
  running.add(started);
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      file.write(text);
      started.output += text;
    });
  }
  started.ended.then(() => file.end());
  return started;
}

// Adds a process that another program started, such as the browser. stopAll() ends it, too.
export function adopt(process) {
  running.add(process);
}

export function isStopping() {
  return stopping;
}

export async function stopAll() {
  stopping = true;
  // The last one first, since a later process depends on earlier ones.
  for (const started of [...running].reverse()) await started.stop();
}

// Kills the processes of this run that are still there, and returns their ids. A process that was ended
// with its parent may take a moment to disappear.
export async function leftBehind() {
  const end = Date.now() + PASSING;
  let ids = found();
  while (ids.length && Date.now() < end) {
    await pause(50);
    ids = found();
  }
  for (const id of ids) signal(id, 'SIGKILL');
  return ids;
}

// The ids of the children of a process that have `argument`. Works on Linux only.
export function childrenOf({ child }, argument) {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((id) => {
    try {
      const [, parent] = /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${id}/status`, 'latin1'));
      const words = readFileSync(`/proc/${id}/cmdline`, 'latin1').split('\0');
      return Number(parent) === child.pid && words.includes(argument);
    } catch {
      // The process is gone.
      return false;
    }
  }).map(Number);
}

// Works on Linux only. Elsewhere it finds no process.
function found() {
  let ids;
  try {
    ids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  } catch {
    return [];
  }
  return ids.filter((id) => {
    try {
      return readFileSync(`/proc/${id}/environ`, 'latin1').includes(MARK);
    } catch {
      // The process is gone, or belongs to another user.
      return false;
    }
  }).map(Number);
}

// One run: starts the programs that all stories share, runs the stories one after another, ends all
// programs, and prints the outcome. Started by ./run.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Browser } from './parts/browser.mjs';
import { buildExample } from './parts/cargo.mjs';
import { Broken, pause } from './parts/check.mjs';
import { parse } from './parts/options.mjs';
import { isStopping, leftBehind, stopAll } from './parts/processes.mjs';
import { Stage } from './parts/stage.mjs';
import { table } from './parts/table.mjs';
import { Tracker } from './parts/tracker.mjs';
import * as attributes from './stories/attributes.mjs';
import * as accessibility from './stories/accessibility.mjs';
import * as caddy from './stories/caddy.mjs';
import * as chain from './stories/chain.mjs';
import * as closedTab from './stories/closed-tab.mjs';
import * as conformance from './stories/conformance.mjs';
import * as delivery from './stories/delivery.mjs';
import * as envoy from './stories/envoy.mjs';
import * as haproxy from './stories/haproxy.mjs';
import * as hostile from './stories/hostile.mjs';
import * as nats from './stories/nats.mjs';
import * as nginx from './stories/nginx.mjs';
import * as node from './stories/node.mjs';
import * as normaliser from './stories/normaliser.mjs';
import * as origins from './stories/origins.mjs';
import * as outage from './stories/outage.mjs';
import * as overlap from './stories/overlap.mjs';
import * as pageLoad from './stories/page-load.mjs';
import * as page from './stories/page.mjs';
import * as panic from './stories/panic.mjs';
import * as pictures from './stories/pictures.mjs';
import * as problem from './stories/problem.mjs';
import * as redis from './stories/redis.mjs';
import * as search from './stories/search.mjs';
import * as traces from './stories/traces.mjs';
import * as unreachable from './stories/unreachable.mjs';

// In the order in which they run. The normaliser comes last: it reads the events of the others.
const STORIES = {
  page, pictures, delivery, nginx, haproxy, caddy, envoy, conformance, node, chain, traces,
  origins, overlap, hostile, outage, panic, 'closed-tab': closedTab, nats, redis, problem,
  attributes, 'page-load': pageLoad, search, unreachable, accessibility, normaliser,
};
const LONGEST_STORY = 600;

const e2e = dirname(fileURLToPath(import.meta.url));
const root = resolve(e2e, '../..');

async function main() {
  let options;
  try {
    options = parse(process.argv.slice(2), STORIES, e2e);
  } catch (error) {
    console.error(`tests/e2e/run: ${error.message}`);
    return 2;
  }
  if (!options) return 0;
  const folder = mkdtempSync(join(e2e, '.cache/run-'));
  // Temporary files of other programs are in this folder, too, and are removed with it.
  process.env.TMPDIR = folder;
  const cleanUp = async () => {
    await stopAll();
    return nothingIsLeft();
  };
  for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) {
    process.once(signal, async () => {
      console.error(`\n${signal}: stopping`);
      await cleanUp();
      remove(folder);
      process.exit(code);
    });
  }

  let results;
  try {
    results = await tellAll({ ...options, folder });
  } catch (error) {
    if (isStopping()) await forever();
    console.error(said(error));
  }
  const isClean = await cleanUp();
  if (results) console.log(`\n${table(results)}`);
  if (results?.every(({ broken }) => !broken) && isClean) {
    if (!options.keep) remove(folder);
    return 0;
  }
  console.log(`The logs are in ${folder}`);
  return 1;
}

async function tellAll({ only, screenshots, folder }) {
  mkdirSync(screenshots, { recursive: true });
  let started = Date.now();
  console.log('building the demo and the tests');
  const demo = await buildExample(folder, root, 'hotdogs');
  for (const name of only) await STORIES[name].prepare?.({ folder, root });
  console.log(`built in ${seconds(started)} s`);

  started = Date.now();
  const tracker = await Tracker.open(folder, e2e, only);
  const browser = await Browser.open();
  console.log(`Bugsink and Chromium started in ${seconds(started)} s`);
  const projects = only.map((name) => tracker.project(name));
  const results = [];
  for (const [index, name] of only.entries()) {
    const own = join(folder, name);
    mkdirSync(own);
    const shared = { root, e2e, demo, browser, screenshots, projects };
    results.push(await tell(name, new Stage({ ...shared, folder: own, project: projects[index] })));
  }
  console.log(`the stories took ${seconds(started)} s`);
  return results;
}

async function tell(name, stage) {
  const started = Date.now();
  const { about, tell: story } = STORIES[name];
  const result = { name, about };
  try {
    result.rows = await Promise.race([story(stage), tooLong()]);
    await stage.project.allTagged();
  } catch (error) {
    result.broken = said(error);
  }
  await stage.close().catch((error) => { result.broken ??= said(error); });
  // A story that breaks because the run was interrupted is not reported.
  if (isStopping()) await forever();
  result.seconds = seconds(started);
  console.log(`${result.broken ? 'BROKEN' : 'ok'}  ${name} (${result.seconds} s)`);
  if (result.broken) console.log(result.broken.replace(/^/gm, '    '));
  return result;
}

async function tooLong() {
  await pause(LONGEST_STORY * 1000);
  throw new Broken(`the story took longer than ${LONGEST_STORY} s`);
}

function remove(folder) {
  // A program that was just ended may still have written to the folder.
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}

function forever() {
  return new Promise(() => {});
}

async function nothingIsLeft() {
  const ids = await leftBehind();
  if (!ids.length) return true;
  console.error(`processes that outlived the run: ${ids.join(', ')}`);
  return false;
}

// The text of an error. The message of a broken story is enough; any other error needs its stack.
function said(error) {
  return error instanceof Broken ? error.message : error.stack ?? String(error);
}

function seconds(since) {
  return Math.round((Date.now() - since) / 1000);
}

process.exit(await main());

// The parts that a story can open. The stage closes them at the end of the story.
import { join } from 'node:path';
import { startShop, startWorker } from './brokers.mjs';
import { startLink } from './link.mjs';
import { startNode } from './node.mjs';
import { Relay } from './relay.mjs';
import { openKitchen, openShop } from './shop.mjs';

export class Stage {
  #open = [];
  #count = 0;

  // name: the story's; folder: for logs; root: the repository; e2e: this directory; demo: the
  // program; project: the tracker's for this story; projects: those of all stories; browser;
  // screenshots: a folder.
  constructor(all) {
    Object.assign(this, all);
  }

  closing(opened) {
    this.#open.push(opened);
    return opened;
  }

  async shop({ dsn = this.project.dsn(), args } = {}) {
    return this.closing(await openShop(this.#log('shop'), this.demo, { ...this.#own(dsn), args }));
  }

  async kitchen() {
    return this.closing(await openKitchen(this.#log('kitchen'), this.demo, this.#own()));
  }

  // env: more variables.
  async node(name, { dsn = this.project.dsn(), next, page, env } = {}) {
    return this.closing(await startNode(name, this.e2e, { ...this.#own(dsn), next, page, env }));
  }

  async link(name, program, { next, trust, header }) {
    return this.closing(await startLink(name, program, { ...this.#own(), next, trust, header }));
  }

  async relay() {
    return this.closing(await Relay.open(this.project.tracker.url));
  }

  // start: startNats or startRedis.
  async broker(start) {
    return this.closing(await start(this.folder));
  }

  // A shop of examples/brokers. rate: of performance transactions.
  async brokerShop(program, { dsn = this.project.dsn(), broker, rate }) {
    const options = { ...this.#own(dsn), broker, rate };
    return this.closing(await startShop(this.#log('shop'), program, options));
  }

  // A worker of examples/brokers. seconds: the time that each order takes.
  async brokerWorker(program, { dsn = this.project.dsn(), broker, rate, seconds }) {
    const options = { ...this.#own(dsn), broker, rate, seconds };
    return this.closing(await startWorker(this.#log('worker'), program, options));
  }

  screenshot(page, name) {
    return page.screenshot({ path: join(this.screenshots, `${name}.png`), fullPage: true });
  }

  // Closes all parts, even if one of them fails.
  async close() {
    const faults = [];
    for (const opened of this.#open.reverse()) {
      await opened.stop().catch((fault) => faults.push(fault));
    }
    if (faults.length) throw faults[0];
  }

  #own(dsn = this.project.dsn()) {
    return { folder: this.folder, dsn };
  }

  // A story may open several programs of one name, one after another.
  #log(what) {
    this.#count += 1;
    return `${what}-${this.#count}`;
  }
}

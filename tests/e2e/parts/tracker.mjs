// Bugsink: takes the envelopes of Sentry's SDKs, and lists them through its API.
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Broken, check, eventually, same } from './check.mjs';
import { start } from './processes.mjs';

const PATIENCE = 60;

export class Tracker {
  // A tracker with a project for each of `names`.
  static async open(folder, e2e, names) {
    const own = join(folder, 'bugsink');
    mkdirSync(own);
    for (const database of ['events.sqlite3', 'tasks.sqlite3']) {
      copyFileSync(join(e2e, '.cache/bugsink', database), join(own, database));
    }
    const env = {
      BUGSINK_FOLDER: own,
      DJANGO_SETTINGS_MODULE: 'settings',
      PYTHONPATH: join(e2e, 'bugsink'),
      PYTHONDONTWRITEBYTECODE: '1',
    };
    const options = { folder, env, cwd: own };
    const program = (name) => join(e2e, '.cache/venv/bin', name);

    const seed = start('bugsink-seed', program('python'), [join(e2e, 'bugsink/seed.py'), ...names], options);
    const [, seeded] = await seed.ready(/^(\{.*\})$/m);
    await seed.ended;

    const server = start('bugsink', program('gunicorn'), [
      '--bind=127.0.0.1:0', '--workers=1', '--threads=4', '--no-control-socket',
      // Closes each connection after its response, so that no client uses one that was closed as idle.
      '--keep-alive=0',
      'bugsink.wsgi:application',
    ], options);
    const [, url] = await server.ready(/Listening at: (http:\/\/127\.0\.0\.1:\d+)/);
    const tracker = new Tracker(url, JSON.parse(seeded));
    await eventually(PATIENCE, async () => {
      const answer = await fetch(`${url}/health/ready`).catch(() => null);
      if (!answer?.ok) throw new Broken('Bugsink does not become ready');
    });
    return tracker;
  }

  constructor(url, { token, user, projects }) {
    Object.assign(this, { url, token, user, projects });
  }

  project(name) {
    const { id, key } = this.projects[name];
    return new Project(this, id, key);
  }

  async *pages(path) {
    let url = `${this.url}/api/canonical/0/${path}`;
    while (url) {
      const page = await this.get(url);
      yield* page.results;
      // Replaces the port of Bugsink's settings by the port that it listens on.
      url = page.next && new URL(new URL(page.next).pathname + new URL(page.next).search, this.url);
    }
  }

  async get(url) {
    const answer = await fetch(url, { headers: { Authorization: `Bearer ${this.token}` } });
    if (!answer.ok) throw new Error(`Bugsink answered ${answer.status} to ${url}`);
    return answer.json();
  }
}

class Project {
  #known = new Map();

  constructor(tracker, id, key) {
    Object.assign(this, { tracker, id, key });
  }

  // The address that the SDKs send to: the tracker's, or that of a server before the tracker.
  dsn(url = this.tracker.url) {
    const dsn = new URL(url);
    dsn.username = this.key;
    dsn.pathname = `/${this.id}`;
    return dsn.href;
  }

  // The address of a search for an ID, which the demo's page links to.
  searchUrl() {
    return `${this.tracker.url}/issues/${this.id}/?q=transaction_id:{id}`;
  }

  // All events so far, each with its service, its ID and its payload.
  async events() {
    const { tracker } = this;
    for await (const issue of tracker.pages(`issues/?project=${this.id}`)) {
      for await (const { id } of tracker.pages(`events/?issue=${issue.id}`)) {
        if (this.#known.has(id)) continue;
        const { data } = await tracker.get(`${tracker.url}/api/canonical/0/events/${id}/`);
        this.#known.set(id, { service: service(data), id: tags(data).transaction_id, data });
      }
    }
    return [...this.#known.values()];
  }

  // Waits until `services`, and no other, have reported under an ID. Returns the events.
  async story(id, services) {
    const [events] = await this.stories([id], services);
    return events;
  }

  // The same for several IDs, with fewer questions to the tracker.
  stories(ids, services) {
    return eventually(PATIENCE, async () => {
      const events = await this.events();
      return ids.map((id) => {
        const found = events.filter((event) => event.id === id);
        same(
          `the services with events under ${id}${elsewhere(events)}`,
          servicesOf(found),
          [...services].sort(),
        );
        return found;
      });
    });
  }

  // Checks that each event has an ID.
  async allTagged() {
    const without = elsewhere(await this.events());
    check(!without, `some reports have no ID${without}`);
  }
}

export function servicesOf(events) {
  return [...new Set(events.map((event) => event.service))].sort();
}

// The title of an event in one line: the outermost error, or the message.
export function title(data) {
  const { exception, logentry, message } = data;
  const errors = exception?.values ?? exception ?? [];
  const last = errors.at(-1);
  return last ? `${last.type}: ${last.value}` : logentry?.formatted ?? logentry?.message ?? message;
}

// A hint for a missing event: the titles of the events that have no ID.
function elsewhere(events) {
  const untagged = events.filter((event) => !event.id);
  const titles = untagged.map((event) => `${event.service}: ${title(event.data)}`);
  return titles.length ? ` (without any ID: ${titles.join('; ')})` : '';
}

function service(data) {
  return data.server_name ?? (data.platform === 'javascript' ? 'browser' : 'unnamed');
}

function tags(data) {
  return Array.isArray(data.tags) ? Object.fromEntries(data.tags) : data.tags ?? {};
}

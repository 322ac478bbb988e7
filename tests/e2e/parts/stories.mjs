// The stories of the demo's own collector, as its page follows them.
import { eventually, same } from './check.mjs';

export class Stories {
  #known = new Map();
  #leaving = new AbortController();

  static async open(url) {
    const stories = new Stories();
    const { signal } = stories.#leaving;
    const { body } = await fetch(new URL('/live', url), { signal });
    // The stream ends with the shop, or here.
    stories.#follow(body).catch(() => {});
    return stories;
  }

  async #follow(body) {
    let text = '';
    for await (const more of body.pipeThrough(new TextDecoderStream())) {
      const events = (text + more).split('\n\n');
      text = events.pop();
      for (const event of events) {
        const data = /^data: ?(.*)$/m.exec(event);
        if (!data) continue;
        const story = JSON.parse(data[1]);
        this.#known.set(story.id, story);
      }
    }
  }

  // The story of an ID, once it has a line for each of `expected`: its service and kind, such as
  // 'kitchen event', or its title.
  async told(id, expected) {
    return eventually(30, async () => {
      const story = this.#known.get(id);
      const lines = new Set(story?.lines.flatMap(({ service, kind, title }) => [`${service} ${kind}`, title]));
      const missing = expected.filter((line) => !lines.has(line));
      same(`the story of ${id}: what is missing`, missing, []);
      return story;
    });
  }

  async stop() {
    this.#leaving.abort();
  }
}

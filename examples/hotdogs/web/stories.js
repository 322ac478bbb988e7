// The stories of the collector, as they happen.
import { copyButton, element } from '/copy.js';

const stories = document.getElementById('stories');
const shown = new Map();

const live = new EventSource('/live');
live.addEventListener('open', () => say('on', 'Live'));
live.addEventListener('error', () => say('off', 'Not connected. Is the shop open?'));
live.addEventListener('story', (event) => show(JSON.parse(event.data)));
addEventListener('hashchange', choose);

function say(state, text) {
  const line = document.getElementById('live');
  line.dataset.state = state;
  line.textContent = text;
}

// Shows a story. The whole story comes each time it changes, and the story that changed last comes
// last.
function show(story) {
  const lines = story.lines.map((entry) => line(entry, story));
  const card = element('article', 'story', heading(story), element('ol', 'lines', ...lines));
  if (story.leftOut) card.append(element('p', 'quiet', `And ${story.leftOut} more.`));
  const before = shown.get(story.id);
  shown.set(story.id, card);
  // A story that is already shown keeps its place, since the reader may be in the middle of it.
  if (before) before.replaceWith(card);
  else stories.prepend(card);
  choose();
}

function heading(story) {
  const errors = story.lines.filter((line) => isError(line));
  const services = new Set(errors.map((line) => line.service));
  const count = errors.length
    ? `${plural(errors.length, 'error')} of ${plural(services.size, 'service')}`
    : 'No errors';
  const id = element('code', 'id', story.id);
  const link = element('a', '', id);
  link.href = `#${story.id}`;
  const head = element('header', '', element('h2', '', link), copyButton(story.id, id), element('p', 'quiet', count));
  if (story.traces.length) head.append(traces(story.traces));
  return head;
}

// Returns the one trace of a story, or all the traces into which the story falls apart.
function traces(traces) {
  if (traces.length === 1) {
    const [{ id }] = traces;
    const shown = traceId(id);
    return element('p', 'traces', 'One trace: ', shown, ' ', copyButton(id, shown, 'trace ID'));
  }
  const broken = element('div', 'traces broken', element('p', '', `${traces.length} traces, and not one:`));
  for (const { id, services } of traces) {
    const shown = traceId(id);
    broken.append(element('p', '', shown, ` ${services.join(', ')} `, copyButton(id, shown, 'trace ID')));
  }
  return broken;
}

// Shows the first digits of the ID of a trace, which are enough to compare traces. The title has all
// digits.
function traceId(id) {
  const shown = element('code', 'trace-id', `${id.slice(0, 8)}\u2026`);
  shown.title = id;
  return shown;
}

// Draws the time of a transaction or a span within the time of its story. Screen readers skip the bar, since the
// line has the time in words.
function bar({ time, end }, { lines }) {
  const first = Math.min(...lines.map((line) => line.time));
  const last = Math.max(...lines.map((line) => line.end ?? line.time));
  const percent = (milliseconds) => `${(100 * milliseconds) / Math.max(last - first, 1)}%`;
  const part = element('div', 'part');
  part.style.marginLeft = percent(time - first);
  part.style.width = percent(end - time);
  const all = element('div', 'bar', part);
  all.ariaHidden = 'true';
  return all;
}

function line(line, story) {
  const time = new Date(line.time);
  const clock = element('time', '', time.toLocaleTimeString([], { hour12: false }), element('small', '', `.${String(time.getMilliseconds()).padStart(3, '0')}`));
  clock.dateTime = time.toISOString();
  const service = element('span', 'service', line.service);
  const what = element('div', 'what', element('p', 'title', line.title));
  const level = line.kind === 'log' || line.kind === 'metric' ? `${line.level} ${line.kind}` : line.level;
  // A time has no level of its own, and the level of nearly every breadcrumb means nothing.
  const says = line.kind === 'breadcrumb' ? !['info', 'debug'].includes(level) : !line.end;
  if (says) what.prepend(element('span', 'level', level));
  for (const cause of line.causes ?? []) what.append(element('p', 'cause', `because of ${cause}`));
  if (line.note) what.append(element('p', 'note', line.note));
  if (line.place) what.append(element('p', 'place', `in ${line.place}`));
  if (line.end) what.append(bar(line, story));
  if (line.trace && story.traces.length > 1) what.append(element('p', 'place', 'trace ', traceId(line.trace)));
  const item = element('li', `line ${isError(line) ? 'error' : line.kind}`, clock, service, what);
  item.dataset.service = line.service;
  return item;
}

// Shows the one story that the address names, or all the stories if the address names none.
function choose() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const known = !wanted || shown.has(wanted);
  for (const [id, card] of shown) card.hidden = Boolean(wanted) && id !== wanted;
  document.getElementById('only').hidden = !wanted;
  const none = document.getElementById('none');
  none.hidden = wanted ? known : shown.size > 0;
  none.textContent = wanted
    ? `Nothing was reported under ${wanted} yet.`
    : 'Nothing yet. It appears here when something is ordered.';
}

function isError(line) {
  return line.kind === 'event' && (line.level === 'error' || line.level === 'fatal');
}

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

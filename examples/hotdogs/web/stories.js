// The stories of the collector, as they happen.
import { copyButton, element } from '/copy.js';
import { isWanted, searchable, startSearch, wanted } from '/search.js';

const stories = document.getElementById('stories');
// The parts of each story that the search looks at, and the card.
const shown = new Map();

const live = new EventSource('/live');
live.addEventListener('open', () => say('on', 'Live'));
live.addEventListener('error', () => say('off', 'Not connected. Is the shop open?'));
live.addEventListener('story', (event) => show(JSON.parse(event.data)));
startSearch(choose);
showTheWayBack();

// The shop's own tab is called "shop". The fragment keeps the orders there, since it loads nothing anew.
async function showTheWayBack() {
  const { shop } = await fetch('/settings').then((response) => response.json());
  const link = document.getElementById('shop');
  link.href = `${shop}#orders-title`;
  link.hidden = false;
}

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
  const before = shown.get(story.id)?.card;
  shown.set(story.id, { id: story.id, text: textOf(story), hasFailed: story.lines.some(hasFailed), card });
  // A story that is already shown keeps its place, since the reader may be in the middle of it.
  if (before) replace(before, card);
  else stories.prepend(card);
  choose();
}

// Replaces a card. If the focus was in it, it goes to the same link or button of the new card.
function replace(before, card) {
  const parts = (of) => [...of.querySelectorAll('a, button')];
  const focused = parts(before).indexOf(document.activeElement);
  before.replaceWith(card);
  if (focused >= 0) parts(card)[focused]?.focus();
}

function textOf({ lines }) {
  const texts = lines.flatMap(({ service, title, causes, note, place, madeBy }) => (
    [service, title, ...causes ?? [], note, place, madeBy]
  ));
  return searchable([...new Set(texts)].join('\n'));
}

function heading(story) {
  const errors = story.lines.filter((line) => isError(line));
  const services = new Set(errors.map((line) => line.service));
  const otherwise = story.lines.some(hasFailed) ? 'Failed, and no error was reported' : 'No errors';
  const count = errors.length
    ? `${plural(errors.length, 'error')} of ${plural(services.size, 'service')}`
    : otherwise;
  const id = element('code', 'id', story.id);
  const link = element('a', '', id);
  link.href = `#${encodeURIComponent(story.id)}`;
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

// Draws the time of a transaction or a span within the time of all in its story. Screen readers skip the bar, since
// the line has the time in words.
function bar({ start, end }, { lines }) {
  // The page load of a first order may be minutes before the order, and would leave no room for the bars.
  const timed = lines.filter((line) => line.end);
  const first = Math.min(...timed.map((line) => line.start));
  const last = Math.max(...timed.map((line) => line.end));
  const percent = (milliseconds) => `${(100 * milliseconds) / Math.max(last - first, 1)}%`;
  const part = element('div', 'part');
  part.style.marginLeft = percent(start - first);
  part.style.width = percent(end - start);
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
  const says = line.kind === 'breadcrumb' ? !['info', 'debug'].includes(level) : line.kind !== 'begin' && !line.end;
  if (says) what.prepend(element('span', 'level', level));
  for (const cause of line.causes ?? []) what.append(element('p', 'cause', `because of ${cause}`));
  if (line.note) what.append(element('p', 'note', line.note));
  if (line.place) what.append(element('p', 'place', `in ${line.place}`));
  if (line.madeBy) what.append(element('p', 'made-by', line.madeBy));
  if (line.end) what.append(bar(line, story));
  if (line.trace && story.traces.length > 1) what.append(element('p', 'place', 'trace ', traceId(line.trace)));
  const item = element('li', `line ${isError(line) ? 'error' : line.kind}`, clock, service, what);
  if (line.failed) item.classList.add('failed');
  item.dataset.service = line.service;
  return item;
}

// Shows the stories that are wanted, and says how many these are.
function choose() {
  let count = 0;
  for (const story of shown.values()) {
    const isShown = isWanted(story, shown);
    story.card.hidden = !isShown;
    if (isShown) count += 1;
  }
  const { isAll } = wanted();
  const all = plural(shown.size, 'story', 'stories');
  set('count', shown.size ? (isAll ? all : `${count} of ${all}`) : '');
  document.getElementById('all').hidden = isAll;
  document.getElementById('none').hidden = count > 0;
  set('none', noneOf(wanted()));
}

function noneOf({ text, onlyFailures, isAll }) {
  if (isAll) return 'Nothing yet. It appears here when something is ordered.';
  if (!text) return 'No story has a failure yet.';
  const asked = `\u201c${text}\u201d`;
  return onlyFailures ? `No story with ${asked} has a failure yet.` : `Nothing was reported with ${asked} yet.`;
}

// Screen readers read out a text that is set, even if it is the same.
function set(id, text) {
  const line = document.getElementById(id);
  if (line.textContent !== text) line.textContent = text;
}

function hasFailed(line) {
  return isError(line) || Boolean(line.failed);
}

function isError(line) {
  return line.kind === 'event' && (line.level === 'error' || line.level === 'fatal');
}

function plural(count, noun, nouns = `${noun}s`) {
  return `${count} ${count === 1 ? noun : nouns}`;
}

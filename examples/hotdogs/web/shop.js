// The front end of Sentry's guide: generates a transaction ID for each order, sends the ID with the
// order, and reports a failed order under its ID. The page also begins the trace of each order.
import { copyButton, element } from '/copy.js';
import { idOfNextOrder, pageId, pageTrace, reportUnderPageLoad, withId } from '/ids.js';

const HEADER = 'X-Transaction-ID';
const TAG = 'transaction_id';

// How long the tracker may take to answer a report.
const PATIENCE = 10_000;

// The page of stories leads back to the tab of this name.
window.name = 'shop';

const settings = fetch('/settings').then((response) => response.json()).catch(() => ({}));
const sentry = settings.then(loadSentry).catch(() => null);

document.getElementById('order').addEventListener('submit', (event) => {
  event.preventDefault();
  const choice = event.target.querySelector('input:checked');
  order(choice.value, choice.parentElement.querySelector('b').textContent);
});
showSettings();

class OrderFailed extends Error {
  name = 'OrderFailed';
}

async function order(dog, name) {
  const id = idOfNextOrder();
  const leave = new AbortController();
  const card = showPending(name, id);
  const trace = await beginTrace(dog, id);
  let response;
  try {
    response = await fetch('/orders', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', [HEADER]: id, ...trace.headers },
      body: JSON.stringify({ dog }),
      signal: leave.signal,
    });
    trace.span?.setAttribute('http.response.status_code', response.status);
    const answer = await (isStream(response)
      ? lastLine(response, (progress) => showProgress(card, name, progress, leave))
      : response.json().catch(withoutJson));
    if (!response.ok || !answer?.served) {
      throw new OrderFailed(answer?.error ?? `The storefront answered ${response.status}.`);
    }
    trace.span?.end();
    await showServed(card, name, id);
  } catch (error) {
    trace.span?.end();
    // A customer who leaves has not failed, so the page reports nothing. The storefront reports the
    // abandoned order, under the same ID.
    if (leave.signal.aborted) {
      await showAbandoned(card, name, id);
    } else {
      const failure = error instanceof OrderFailed ? error : outOfReach(error, response);
      await showFailed(card, name, id, failure, report(failure, id, trace));
    }
  }
}

// Returns the failure of an order whose answer did not come, or not all of it. In the report, the browser's own
// error is the cause.
function outOfReach(cause, response) {
  const message = response ? 'The shop stopped in the middle of its answer.' : 'The shop cannot be reached.';
  return new OrderFailed(message, { cause });
}

// An answer without JSON may come from a proxy, and its status says enough.
function withoutJson(error) {
  if (error instanceof SyntaxError) return {};
  throw error;
}

function isStream(response) {
  return response.headers.get('Content-Type') === 'application/x-ndjson';
}

// Reads lines of JSON as they come: shows the lines about progress, and returns the last line, the
// answer.
async function lastLine(response, show) {
  const chunks = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  let answer;
  for (;;) {
    const { value, done } = await chunks.read();
    if (done) break;
    const lines = (text + value).split('\n');
    text = lines.pop();
    for (const line of lines) {
      answer = JSON.parse(line);
      if (answer.progress) show(answer.progress);
    }
  }
  if (!answer || answer.progress) throw new OrderFailed('The storefront stopped in the middle.');
  return answer;
}

// Sets the tag on this one event. A tag for the page as a whole, as `setTag` sets it, could be the tag
// of another order as soon as two orders are under way. Returns a sentence about the report.
async function report(error, id, { span }) {
  const Sentry = await sentry;
  if (!Sentry) return 'This page cannot report it.';
  const capture = () => withId(Sentry, id, () => Sentry.captureException(error));
  const event = span ? Sentry.withActiveSpan(span, capture) : capture();
  return (await hasArrived(event)) ? 'This page reported it, too.' : 'The report of this page did not arrive.';
}

// The reports that were sent and not answered yet, each with the function that takes the answer.
const unanswered = new Map();

// Takes the answers to reports. The SDK's `flush` does not: it returns true for a report that got lost on its way.
function takeAnswers(client) {
  client.on('afterSendEvent', ({ event_id: event }, { statusCode } = {}) => {
    unanswered.get(event)?.(statusCode >= 200 && statusCode < 300);
  });
}

async function hasArrived(event) {
  const answer = new Promise((resolve) => {
    unanswered.set(event, resolve);
    setTimeout(resolve, PATIENCE, false);
  });
  return answer.finally(() => unanswered.delete(event));
}

// Begins a trace that the storefront and the kitchen continue. The SDK gives a page one trace for the
// whole visit, but an order is a story of its own. `order` ends the span with the answer; a streamed
// answer ends with its last line. Without the SDK, and before the SDK is loaded, the order goes out
// untraced. The first order goes on with the trace of the page load, since it has the same story.
async function beginTrace(dog, id) {
  const isFirst = id === pageId;
  const Sentry = await Promise.race([sentry, null]);
  if (!Sentry) return { headers: isFirst ? pageTrace : {} };
  const start = () => Sentry.startInactiveSpan({ name: `order ${dog}`, op: 'ui.action' });
  const span = withId(Sentry, id, () => (isFirst ? start() : Sentry.startNewTrace(start)));
  return { span, headers: Sentry.getTraceData({ span }) };
}

// Returns the SDK, or null where it cannot be had. Orders do not wait for the SDK.
async function loadSentry({ dsn, sdk }) {
  if (!sdk) return null;
  const script = document.createElement('script');
  script.src = sdk;
  script.crossOrigin = 'anonymous';
  const loaded = new Promise((resolve) => {
    script.onload = () => resolve(true);
    script.onerror = () => resolve(false);
    setTimeout(resolve, 10_000, false);
  });
  document.head.append(script);
  if (!(await loaded) || !window.Sentry) return null;
  const client = window.Sentry.init({
    dsn,
    // The events go through the shop itself, since ad blockers drop requests to a tracker.
    tunnel: '/tunnel',
    // `Dedupe` drops an error that looks like the one before, even if their IDs differ.
    integrations: (defaults) => defaults.filter(({ name }) => name !== 'Dedupe'),
    tracesSampleRate: 1,
    // Sends one transaction for each span that `beginTrace` starts, as the Rust SDK does.
    traceLifecycle: 'static',
    beforeBreadcrumb: markOrder,
    beforeSend: keepToOrder,
    beforeSendTransaction: keepToOrder,
  });
  reportUnderPageLoad(window.Sentry);
  takeAnswers(client);
  return window.Sentry;
}

// The SDK's breadcrumbs belong to the whole visit, but the story of an order needs only the requests of
// that order. `markOrder` keeps only requests, and marks each with the ID of its order. `keepToOrder`
// later removes the requests of other orders from an event.
function markOrder(breadcrumb, hint) {
  if (breadcrumb.category !== 'fetch') return null;
  const id = hint.input[1]?.headers?.[HEADER];
  if (id) breadcrumb.data = { ...breadcrumb.data, [TAG]: id };
  return breadcrumb;
}

function keepToOrder(event) {
  const id = event.tags?.[TAG];
  event.breadcrumbs = event.breadcrumbs?.filter(({ data }) => data?.[TAG] === id);
  return event;
}

async function showSettings() {
  const { stories, sdk, built } = await settings;
  if (stories) {
    const link = document.getElementById('stories');
    link.href = stories;
    link.hidden = false;
  }
  const line = document.getElementById('sdk');
  line.textContent = 'Loading Sentry\u2019s SDK\u2026';
  if (await sentry) {
    line.textContent = `This page reports with Sentry\u2019s SDK ${window.Sentry.SDK_VERSION}, `
      + (built ? 'built here.' : 'as hosted by Sentry.');
  } else {
    line.replaceChildren(
      `This page cannot report: ${new URL(sdk, location).host} did not give it Sentry\u2019s SDK. `
        + 'Orders work, and the services report theirs. To have the SDK here: ',
      element('code', '', 'npm --prefix examples/hotdogs/web run build'),
    );
  }
}

function showPending(name, id) {
  document.getElementById('none').hidden = true;
  const card = element('li', 'order pending', element('p', 'outcome', `${name}: in the kitchen\u2026`));
  card.dataset.transactionId = id;
  document.getElementById('orders').prepend(card);
  return card;
}

function showProgress(card, name, progress, leave) {
  let line = card.querySelector('.progress');
  if (!line) {
    line = element('p', 'progress');
    // A screen reader that reads out each turn would drown the rest of the list.
    line.ariaLive = 'off';
    const cancel = element('button', 'plain cancel', 'Leave');
    cancel.type = 'button';
    cancel.setAttribute('aria-label', `Leave without the ${name} hot dog`);
    cancel.addEventListener('click', () => leave.abort());
    card.replaceChildren(element('p', 'outcome', `${name}: being made\u2026`), element('p', 'row', line, cancel));
  }
  line.textContent = progress;
}

// The page knows no more than its answer. If the courier fails later, only the story has it.
async function showServed(card, name, id) {
  card.className = 'order served';
  const more = element('p', 'quiet', element('code', 'id', id), ' ');
  card.replaceChildren(element('p', 'outcome', `${name}: cooked, and on its way to you.`), more);
  const { stories, search } = await settings;
  if (stories || search) more.append(...whereToRead(id, { stories, search }));
}

async function showAbandoned(card, name, id) {
  const hadFocus = card.contains(document.activeElement);
  card.className = 'order abandoned';
  const code = element('code', 'id', id);
  const row = element('p', 'row', code, copyButton(id, code));
  const more = element('p', 'quiet');
  card.replaceChildren(element('p', 'outcome', `${name}: you left. The storefront noted it.`), row, more);
  // The button that was pressed is gone. The focus moves to the new button, so that the keyboard goes
  // on from the same place.
  if (hadFocus) row.querySelector('button').focus();
  more.append(...whereToRead(id, await settings));
}

async function showFailed(card, name, id, error, reported) {
  card.className = 'order failed';
  const outcome = element('p', 'outcome', `${name}: ${error.message}`);
  const code = element('code', 'id', id);
  // A shop that cannot be reached cannot show stories either.
  const isOpen = !error.cause;
  const support = element('p', '', isOpen ? 'Tell support this ID:' : 'Your ID is:');
  const row = element('p', 'row', code, copyButton(id, code));
  const more = element('p', 'quiet', 'Reporting it\u2026');
  card.replaceChildren(outcome, support, row, more);

  const { stories, search } = await settings;
  const where = isOpen || search ? whereToRead(id, { stories: isOpen && stories, search }) : [];
  more.replaceChildren(`${await reported} `, ...where);
}

// Returns a link to the story, to the tracker's search, or to both, and otherwise the words to search
// for. Each link has a tab of its own, and always the same one: if a link opened in this tab, the
// orders of this page would be gone.
function whereToRead(id, { stories, search }) {
  const link = (text, href, target) => Object.assign(element('a', '', text), { href, target });
  const links = [];
  if (stories) links.push(link('Read its story', `${stories}?q=${encodeURIComponent(id)}`, 'stories'), ' ');
  if (search) links.push(link('Find it in the tracker', search.replaceAll('{id}', encodeURIComponent(id)), 'tracker'));
  return links.length ? links : ['Search your tracker for ', element('code', '', `${TAG}:${id}`)];
}

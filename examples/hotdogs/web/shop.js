// The front end of Sentry's guide: it mints the transaction ID, sends it along, and reports what
// fails under it.
import { copyButton, element } from '/copy.js';

const HEADER = 'X-Transaction-ID';
const TAG = 'transaction_id';

const settings = fetch('/settings').then((response) => response.json());
const sentry = settings.then(loadSentry);

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
  const id = crypto.randomUUID().replaceAll('-', '');
  const card = showPending(name);
  try {
    const response = await fetch('/orders', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', [HEADER]: id },
      body: JSON.stringify({ dog }),
    });
    if (!response.ok) {
      const answer = await response.json().catch(() => ({}));
      throw new OrderFailed(answer.error ?? `The storefront answered ${response.status}.`);
    }
    showServed(card, name, id);
  } catch (error) {
    const reported = report(error, id);
    await showFailed(card, name, id, error, reported);
  }
}

// The tag goes with each event. Set for the page as a whole, as in `setTag`, it would be that of
// another order as soon as two are under way.
async function report(error, id) {
  const Sentry = await sentry;
  if (!Sentry) return false;
  Sentry.captureException(error, { tags: { [TAG]: id } });
  return Sentry.flush(5000);
}

// The SDK, or null where it cannot be had. Orders do not wait for it.
async function loadSentry({ dsn, sdk }) {
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
  window.Sentry.init({
    dsn,
    // Through the shop itself: ad blockers drop what goes to a tracker.
    tunnel: '/tunnel',
    // It drops an error that looks like the one before, whatever their IDs.
    integrations: (defaults) => defaults.filter(({ name }) => name !== 'Dedupe'),
  });
  return window.Sentry;
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

function showPending(name) {
  document.getElementById('none').hidden = true;
  const card = element('li', 'order pending', element('p', 'outcome', `${name}: in the kitchen\u2026`));
  document.getElementById('orders').prepend(card);
  return card;
}

function showServed(card, name, id) {
  card.className = 'order served';
  card.replaceChildren(
    element('p', 'outcome', `${name}: enjoy!`),
    element('p', 'quiet id', id),
  );
}

async function showFailed(card, name, id, error, reported) {
  card.className = 'order failed';
  const outcome = element('p', 'outcome', `${name}: ${error.message}`);
  const code = element('code', 'id', id);
  const support = element('p', '', 'Tell support this ID:');
  const row = element('p', 'row', code, copyButton(id, code));
  const more = element('p', 'quiet', 'Reporting it\u2026');
  card.replaceChildren(outcome, support, row, more);

  const { stories } = await settings;
  more.textContent = (await reported) ? 'This page reported it, too. ' : '';
  if (stories) {
    const link = element('a', '', 'Read its story');
    // In a tab of their own, and always the same one: the orders of this page would be gone with it.
    Object.assign(link, { href: `${stories}#${id}`, target: 'stories' });
    more.append(link);
  } else {
    more.append('Search your tracker for ', element('code', '', `${TAG}:${id}`));
  }
}

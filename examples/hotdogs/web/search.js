// The search of the page of stories: by an ID, a service or a text, and for failures. It is kept in the address, so
// that a link, a reload and a bookmark show the same stories.

const field = document.getElementById('search');
const failures = document.getElementById('failures');
const PREFIX = 'transaction_id:';

// Calls `changed` whenever other stories are wanted.
export function startSearch(changed) {
  const read = () => {
    readAddress();
    changed();
  };
  const write = () => {
    history.replaceState(null, '', address());
    changed();
  };
  field.addEventListener('input', write);
  failures.addEventListener('change', write);
  document.getElementById('all').addEventListener('click', () => {
    clear(write);
    // The button hides itself.
    field.focus();
  });
  field.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || event.isComposing) return;
    // Browsers empty the field of themselves, and some leave full screen as well.
    event.preventDefault();
    clear(write);
  });
  addEventListener('popstate', read);
  addEventListener('hashchange', read);
  read();
}

function clear(write) {
  field.value = '';
  failures.checked = false;
  write();
}

export function wanted() {
  const text = field.value.trim();
  return { text, onlyFailures: failures.checked, isAll: !text && !failures.checked };
}

// Whether the ID begins with the text, or all words of the text are in the story. The whole ID of a known story
// finds that story alone.
export function isWanted({ id, text: written, hasFailed }, ids) {
  const { text, onlyFailures } = wanted();
  if (onlyFailures && !hasFailed) return false;
  const asked = text.startsWith(PREFIX) ? text.slice(PREFIX.length) : text;
  if (ids.has(asked)) return id === asked;
  const words = searchable(asked).split(/\s+/);
  return searchable(id).startsWith(words.join(' ')) || words.every((word) => written.includes(word));
}

// Returns a text in the form in which texts are compared.
export function searchable(text) {
  return text.toLowerCase().replaceAll('\u2019', "'");
}

// Reads the address. What stands behind `#` is the ID of one story, and goes before all else.
function readAddress() {
  const asked = new URLSearchParams(location.search);
  const id = decode(location.hash.slice(1));
  field.value = id || asked.get('q') || '';
  failures.checked = !id && asked.has('failures');
  if (id) history.replaceState(null, '', address());
}

function address() {
  const { text, onlyFailures } = wanted();
  const asked = new URLSearchParams();
  if (text) asked.set('q', text);
  if (onlyFailures) asked.set('failures', 'only');
  return asked.size ? `?${asked}` : location.pathname;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

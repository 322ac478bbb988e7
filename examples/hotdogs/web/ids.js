// The ID and the trace of the response that brought this page, the IDs of the orders, and the way of an ID onto reports.
//
// A script cannot read the headers of its own page, except the metrics of `Server-Timing`. Where these are missing, the
// page load has neither an ID nor a trace.

const ID = 'transaction_id';
const TRACE = ['sentry-trace', 'baggage'];

// Returns the last metric of a name: a proxy may have written others before.
function metric(name) {
  const [page] = performance.getEntriesByType('navigation');
  return page?.serverTiming?.findLast((metric) => metric.name === name)?.description || null;
}

export const pageId = metric(ID);

const trace = TRACE.map((name) => [name, metric(name)]);
// Without the first header, the second one says nothing.
export const pageTrace = trace[0][1] ? Object.fromEntries(trace.filter(([, value]) => value)) : {};

// The first order of a visit belongs to the story of the page load. A page that the browser kept, and shows again
// later, has not been loaded then.
let next = pageId;
addEventListener('pageshow', ({ persisted }) => { if (persisted) next = null; });

export function idOfNextOrder() {
  const id = next ?? crypto.randomUUID().replaceAll('-', '');
  next = null;
  return id;
}

// Puts an ID on all that `run` captures and starts: on events and performance transactions as a tag, on logs and on
// streamed spans, which have no tags, as an attribute. Until `run` returns, its scope is the scope of everything on the
// page, so `run` is synchronous.
export function withId(Sentry, id, run) {
  return Sentry.withScope((scope) => {
    scope.setTag(ID, id).setAttributes({ [ID]: id });
    return run();
  });
}

// Has the SDK put the ID and the trace of the page load on all that is of no order, such as errors that nobody caught,
// and on those that happened before the SDK was there.
export function reportUnderPageLoad(Sentry) {
  const scope = Sentry.getCurrentScope();
  if (pageId) scope.setTag(ID, pageId).setAttributes({ [ID]: pageId });
  if (pageTrace['sentry-trace']) {
    const { 'sentry-trace': sentryTrace, baggage } = pageTrace;
    const continued = () => Sentry.getCurrentScope().getPropagationContext();
    scope.setPropagationContext(Sentry.continueTrace({ sentryTrace, baggage }, continued));
  }
  for (const error of window.earlyErrors?.stop() ?? []) Sentry.captureException(error, { mechanism: { handled: false } });
}

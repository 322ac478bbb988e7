// A page with Sentry's SDK as its documentation sets it up. Performance monitoring is off, unless the page has a
// rate of traces.
import * as Sentry from '@sentry/browser';

const [dsn, rate] = ['dsn', 'rate'].map((name) => document.querySelector(`meta[name=${name}]`).content);

Sentry.init({
  dsn,
  enableLogs: true,
  ...(rate && { tracesSampleRate: Number(rate) }),
  // `Dedupe` drops an error that looks like the one before, even if their IDs differ.
  integrations: (defaults) => [
    ...defaults.filter(({ name }) => name !== 'Dedupe'),
    // Continues the trace of the page's <meta>, and sends a trace with each request.
    Sentry.browserTracingIntegration(),
  ],
});

// Calls `run`, and gives the ID to all that `run` captures and starts: to events as a tag, to logs and spans as
// an attribute. Until `run` returns, its scope is the scope of everything on the page, so it is synchronous.
function withId(id, run) {
  return Sentry.withScope((scope) => {
    scope.setTag('transaction_id', id);
    scope.setAttributes({ transaction_id: id });
    return run();
  });
}

// Orders in the trace of the page, or in a trace of its own: the page has one for the whole visit.
window.order = async (dog, { inOwnTrace = false } = {}) => {
  const id = crypto.randomUUID().replaceAll('-', '');
  let answering;
  let trace;
  let span;
  const send = () => {
    span = Sentry.startInactiveSpan({ name: `order ${dog}`, op: 'ui.action' });
    Sentry.withActiveSpan(span, () => {
      Sentry.logger.info(`ordering ${dog}`);
      trace = Sentry.getTraceData();
      answering = fetch('/orders', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'X-Transaction-ID': id },
        body: JSON.stringify({ dog }),
      });
    });
  };
  withId(id, () => (inOwnTrace ? Sentry.startNewTrace(send) : send()));
  const { ok, status, headers } = await answering;
  const echoed = headers.get('X-Transaction-ID');
  if (!ok) {
    const report = () => Sentry.captureException(new Error(`the order was answered ${status}`));
    withId(id, () => {
      if (inOwnTrace) Sentry.continueTrace({ sentryTrace: trace['sentry-trace'], baggage: trace.baggage }, report);
      else report();
    });
  }
  span.end();
  return { id, status, echoed };
};

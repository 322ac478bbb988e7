// A page with Sentry's SDK as its documentation sets it up, and without performance monitoring.
import * as Sentry from '@sentry/browser';

Sentry.init({
  dsn: document.querySelector('meta[name=dsn]').content,
  // `Dedupe` drops an error that looks like the one before, even if their IDs differ.
  integrations: (defaults) => [
    ...defaults.filter(({ name }) => name !== 'Dedupe'),
    // Continues the trace of the page's <meta>, and sends a trace with each request.
    Sentry.browserTracingIntegration(),
  ],
});

// Orders in the trace of the page, or in a trace of its own: the page has one for the whole visit.
window.order = async (dog, { inOwnTrace = false } = {}) => {
  const id = crypto.randomUUID().replaceAll('-', '');
  let answering;
  let trace;
  const send = () => {
    trace = Sentry.getTraceData();
    answering = fetch('/orders', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Transaction-ID': id },
      body: JSON.stringify({ dog }),
    });
  };
  // The callback is synchronous: while a trace is current, it is the trace of everything on the page.
  if (inOwnTrace) Sentry.startNewTrace(send);
  else send();
  const { ok, status, headers } = await answering;
  const echoed = headers.get('X-Transaction-ID');
  if (!ok) {
    const report = () => Sentry.captureException(
      new Error(`the order was answered ${status}`),
      { tags: { transaction_id: id } },
    );
    if (inOwnTrace) Sentry.continueTrace({ sentryTrace: trace['sentry-trace'], baggage: trace.baggage }, report);
    else report();
  }
  return { id, status, echoed };
};

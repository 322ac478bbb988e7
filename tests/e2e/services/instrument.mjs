// Loaded before everything else (`node --import`), as Sentry asks for.
import * as Sentry from '@sentry/node';

const { SENTRY_DSN: dsn, SERVICE: serverName, TRACES_RATE: rate, TRACE_LIFECYCLE: traceLifecycle } = process.env;

Sentry.init({
  dsn,
  serverName,
  enableLogs: true,
  // Without a rate, performance monitoring is off.
  ...(rate && { tracesSampleRate: Number(rate) }),
  // "stream", the default, sends spans one by one; "static" sends performance transactions.
  ...(traceLifecycle && { traceLifecycle }),
  // `Dedupe` drops an error that looks like the one before, even if their IDs differ.
  integrations: (defaults) => defaults.filter(({ name }) => name !== 'Dedupe'),
});

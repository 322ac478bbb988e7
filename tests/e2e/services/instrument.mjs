// Loaded before everything else (`node --import`), as Sentry asks for.
import * as Sentry from '@sentry/node';

Sentry.init({
  dsn: process.env.SENTRY_DSN,
  serverName: process.env.SERVICE,
  // `Dedupe` drops an error that looks like the one before, even if their IDs differ.
  integrations: (defaults) => defaults.filter(({ name }) => name !== 'Dedupe'),
});

// Loaded before everything else (`node --import`), as Sentry asks for.
import * as Sentry from '@sentry/node';

Sentry.init({
  dsn: process.env.SENTRY_DSN,
  serverName: process.env.SERVICE,
  // It drops an error that looks like the one before, whatever their IDs.
  integrations: (defaults) => defaults.filter(({ name }) => name !== 'Dedupe'),
});

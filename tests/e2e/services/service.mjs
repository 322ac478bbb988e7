// A service in Node.js, written as in Sentry's guide "Trace errors through your stack using unique
// identifiers": it knows nothing of this crate. It takes orders at any path, and is
//
// - a kitchen, if no service comes after it,
// - a front, or a link of a chain, if $NEXT is the URL of the next service.
//
// Like the guide's services, it does not echo the ID. A front may serve a page as well, whose script is
// the file $PAGE.
import * as Sentry from '@sentry/node';
import express from 'express';

const { NEXT: next, PAGE: page, SENTRY_DSN: dsn, TRACES_RATE: rate = '' } = process.env;
const app = express();

if (page) {
  // The page continues the trace of the request for it.
  app.get('/', (_request, response) => {
    response.send(`<!doctype html><title>Shop</title><meta name="dsn" content="${dsn}">
      <meta name="rate" content="${rate}">
      ${Sentry.getTraceMetaTags()}<script type="module" src="/page.js"></script>`);
  });
  app.get('/page.js', (_request, response) => response.sendFile(page, { dotfiles: 'allow' }));
}

app.use((request, response, proceed) => {
  // The service that issues the request generates the ID.
  const id = request.header('X-Transaction-ID') ?? Math.random().toString(36).slice(2, 11);
  // Events have tags. Logs and streamed spans have attributes only.
  Sentry.setTag('transaction_id', id);
  Sentry.setAttributes({ transaction_id: id });
  response.locals.id = id;
  proceed();
});

app.post(/.*/, express.json(), async (request, response) => {
  const { id } = response.locals;
  const { dog } = request.body;
  Sentry.logger.info(`an order: ${dog}`);
  if (!next) {
    const isThere = Sentry.startSpan({ name: 'look for mustard' }, () => dog !== 'artisanal');
    if (!isThere) throw new Error('the mustard is used up');
    response.json({ id });
    return;
  }
  const answer = await fetch(next, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Transaction-ID': id },
    body: JSON.stringify({ dog }),
  });
  response.locals.echoed = answer.headers.get('X-Transaction-ID');
  if (!answer.ok) throw new Error(`the next service answered ${answer.status}`);
  response.json({ id, echoed: response.locals.echoed });
});

Sentry.setupExpressErrorHandler(app);
app.use((error, _request, response, _proceed) => {
  response.status(500).json({ error: error.message, ...response.locals });
});

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
process.once('SIGTERM', async () => {
  await Sentry.close(2000);
  process.exit();
});

// A server of the conformance suite: Express with express-request-id, as its documentation shows it.
import { createRequire } from 'node:module';

// The packages are those of the end-to-end run.
const from = createRequire(new URL('../../e2e/package.json', import.meta.url));
const express = from('express');
const { default: requestId } = await import(from.resolve('express-request-id'));

const app = express();
app.use(requestId());
app.get('/', (request, response) => { response.send('hello'); });
const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

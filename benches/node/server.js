// The server of Sentry's guide: reads the header, or makes an ID, and sets the tag for the request.
//
//   node server.js http|express bare|sentry
//
// prints its port, and runs until its standard input ends.

import { randomUUID } from "node:crypto";

const [kind, variant] = process.argv.slice(2);
const text = "hot dog";
const type = "text/plain; charset=utf-8";

/** Runs `serve` in the scope of a request, under its ID; where Sentry is off, just so. */
let inScope = (_request, _response, serve) => serve();

if (variant === "sentry") {
  const Sentry = await import("@sentry/node");
  Sentry.init({
    dsn: "https://public@sentry.invalid/1",
    // Throws everything away, as in the Rust servers.
    transport: (options) => Sentry.createTransport(options, async () => ({ statusCode: 200 })),
  });
  inScope = (request, response, serve) =>
    Sentry.withIsolationScope((scope) => {
      const id = request.headers["x-transaction-id"] ?? randomUUID();
      scope.setTag("transaction_id", id);
      response.setHeader("x-transaction-id", id);
      serve();
    });
}

let listener;
if (kind === "express") {
  const { default: express } = await import("express");
  listener = express();
  listener.use(inScope);
  listener.get("/order", (_request, response) => response.type(type).send(text));
} else {
  listener = (request, response) =>
    inScope(request, response, () => {
      response.setHeader("content-type", type);
      response.end(text);
    });
}

// After Sentry, which has to see the module before it is used.
const { createServer } = await import("node:http");
const server = createServer(listener).listen(0, "127.0.0.1", () => {
  console.log(server.address().port);
});
process.stdin.on("end", () => process.exit()).resume();

// The server of Sentry's guide. It reads or generates the ID, and sets the tag for the request.
//
//   node server.js http|express bare|sentry
//
// It prints its port, and runs until its standard input ends.

import { randomUUID } from "node:crypto";

const [kind, variant] = process.argv.slice(2);
const text = "hot dog";
const type = "text/plain; charset=utf-8";

/** Runs `next` under the ID of a request; where Sentry is off, just so. */
let underId = (_request, _response, next) => next();

if (variant === "sentry") {
  const Sentry = await import("@sentry/node");
  Sentry.init({
    dsn: "https://public@sentry.invalid/1",
    // The transport drops everything, as in the Rust servers.
    transport: (options) => Sentry.createTransport(options, async () => ({ statusCode: 200 })),
  });
  const setTag = (request, response) => {
    const id = request.headers["x-transaction-id"] ?? randomUUID();
    Sentry.setTag("transaction_id", id);
    response.setHeader("x-transaction-id", id);
  };
  if (kind === "express") {
    // The SDK gives each request a scope. A scope around `next` would not work: the next handlers do
    // not run in it.
    underId = (request, response, next) => {
      setTag(request, response);
      next();
    };
  } else {
    underId = (request, response, next) =>
      Sentry.withIsolationScope(() => {
        setTag(request, response);
        next();
      });
  }
}

let listener;
if (kind === "express") {
  const { default: express } = await import("express");
  listener = express();
  listener.use(underId);
  listener.get("/order", (_request, response) => response.type(type).send(text));
} else {
  listener = (request, response) =>
    underId(request, response, () => {
      response.setHeader("content-type", type);
      response.end(text);
    });
}

// Imported after Sentry, which has to see the module before it is used.
const { createServer } = await import("node:http");
const server = createServer(listener).listen(0, "127.0.0.1", () => {
  console.log(server.address().port);
});
process.stdin.on("end", () => process.exit()).resume();

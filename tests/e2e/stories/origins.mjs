// A page of another origin: the preflight lets the header through, and the page can read the echo.
import { createServer, request } from 'node:http';
import { matches, same } from '../parts/check.mjs';
import { FAILED, newId } from '../parts/shop.mjs';

export const about = 'a page of another origin';

export async function tell(stage) {
  const elsewhere = stage.closing(await serve((_, response) => {
    response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>Elsewhere</title>');
  }));
  // To a browser, `localhost` is another origin than 127.0.0.1.
  const origin = `http://localhost:${elsewhere.port}`;
  const visitor = stage.closing(await stage.browser.page());
  await visitor.page.goto(origin);

  const shop = await stage.shop({ args: ['--cors', origin] });
  const id = newId();
  const seen = await orderFrom(visitor.page, shop.url, id);
  same('a page of another origin: what it saw', seen, { status: FAILED, echoed: id });
  const services = ['storefront', 'kitchen'];
  await stage.project.story(id, services);

  return [
    { what: 'allowed and exposed', id, services },
    await withoutExposing(stage, visitor.page, shop),
    await withoutCors(stage, visitor.page),
  ];
}

// Without `expose_headers`, the page reads null. A proxy removes that header from the same storefront.
async function withoutExposing(stage, page, shop) {
  const proxy = stage.closing(await serve((incoming, response) => {
    const { method, headers, url } = incoming;
    const passedOn = request(new URL(url, shop.url), { method, headers }, (answer) => {
      delete answer.headers['access-control-expose-headers'];
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passedOn.once('error', () => response.destroy());
    incoming.pipe(passedOn);
  }));
  const id = newId();
  const seen = await orderFrom(page, `http://127.0.0.1:${proxy.port}`, id);
  same('without expose_headers: what the page saw', seen, { status: FAILED, echoed: null });
  const services = ['storefront', 'kitchen'];
  await stage.project.story(id, services);
  return { what: 'not exposed: reads null', id, services };
}

// Without a CorsLayer, the browser does not send the order.
async function withoutCors(stage, page) {
  const shop = await stage.shop();
  const id = newId();
  const { failed } = await orderFrom(page, shop.url, id);
  matches('without CORS: what the page saw', failed, /fetch/);
  const reported = (await stage.project.events()).filter((event) => event.id === id);
  same('without CORS: reports of an order that was never sent', reported.length, 0);
  return { what: 'without CORS: blocked', id, services: [] };
}

function orderFrom(page, url, id) {
  return page.evaluate(async ([url, id]) => {
    try {
      const answer = await fetch(new URL('/orders', url), {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'X-Transaction-ID': id },
        body: JSON.stringify({ dog: 'artisanal' }),
      });
      return { status: answer.status, echoed: answer.headers.get('X-Transaction-ID') };
    } catch (error) {
      return { failed: error.message };
    }
  }, [url, id]);
}

async function serve(answer) {
  const server = createServer(answer);
  await new Promise((listening) => { server.listen(0, '127.0.0.1', listening); });
  return {
    port: server.address().port,
    stop: () => new Promise((closed) => {
      server.close(closed);
      server.closeAllConnections();
    }),
  };
}

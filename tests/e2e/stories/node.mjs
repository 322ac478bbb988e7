// Services in Node.js, written as in Sentry's guide, on either side of ours.
import { same } from '../parts/check.mjs';
import { FAILED, newId, order } from '../parts/shop.mjs';

export const about = 'Node.js services as in the guide';

export async function tell(stage) {
  return [await behindOurClientLayer(stage), await beforeOurServerLayer(stage)];
}

async function behindOurClientLayer(stage) {
  const kitchen = await stage.node('node-kitchen');
  const shop = await stage.shop({ args: ['--kitchen-url', kitchen.url] });
  const id = newId();
  const { status, echoed } = await order(shop, 'artisanal', id);
  same('a kitchen in Node.js: the status', status, FAILED);
  same('a kitchen in Node.js: the echo', echoed, id);
  const services = ['storefront', 'node-kitchen'];
  await stage.project.story(id, services);
  return { what: 'Node.js behind', id, services };
}

async function beforeOurServerLayer(stage) {
  const shop = await stage.shop();
  const front = await stage.node('node-front', { next: new URL('/orders', shop.url).href });
  const { id, services } = await throughNode(stage, front, ['node-front', 'storefront', 'kitchen']);
  return { what: 'Node.js in front', id, services };
}

// Orders from a front in Node.js, which generates the ID. Our server layer echoes the same ID.
export async function throughNode(stage, front, services) {
  const answer = await fetch(front.url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ dog: 'artisanal' }),
  });
  const { id, echoed } = await answer.json();
  same('a front in Node.js: the status', answer.status, 500);
  same('a front in Node.js: the ID that our server layer echoed to it', echoed, id);
  await stage.project.story(id, services);
  return { id, services };
}

// Four services, Rust and Node.js in turn.
import { throughNode } from './node.mjs';

export const about = 'a chain of four services';

export async function tell(stage) {
  const kitchen = await stage.kitchen();
  const link = await stage.node('node-link', { next: `${kitchen.url}/cook` });
  const shop = await stage.shop({ args: ['--kitchen-url', link.url] });
  const front = await stage.node('node-front', { next: new URL('/orders', shop.url).href });
  const services = ['node-front', 'storefront', 'node-link', 'kitchen'];
  return [await throughNode(stage, front, services)];
}

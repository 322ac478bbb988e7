// Headers that no ordinary program sends. The order is served all the same, under a generated ID.
import { orderByHand } from '../parts/by-hand.mjs';
import { matches, same } from '../parts/check.mjs';
import { FAILED, SERVED } from '../parts/shop.mjs';

export const about = 'hostile headers';
const SERVICES = ['storefront', 'kitchen'];

const REFUSED = {
  'a script': ['<script>alert(1)</script>'],
  quotes: ['"\'><img src=x onerror=alert(1)>'],
  'a shell': ['$(reboot)`reboot`;reboot'],
  'a lookup': ['${jndi:ldap://127.0.0.1/a}'],
  'an encoded line break': ['a%0d%0aSet-Cookie:%20a=b'],
  'a path': ['../../etc/passwd'],
  'a URL': ['https://example.org/'],
  'a tab': ['one\ttwo'],
  'not ASCII': ['\u202eh\u00f6tdog'],
  'nothing at all': [''],
  'a placeholder': ['undefined'],
  '201 bytes': ['a'.repeat(201)],
  '8000 bytes': ['a'.repeat(8000)],
  'two that differ': ['0a1b2c3d', '4e5f6a7b'],
};
// The longest valid ID, with each kind of valid character.
const LONGEST = 'Az09-_.:+/=@~'.padEnd(200, '-urn:uuid:Root=1-67891233');

export async function tell(stage) {
  const shop = await stage.shop();
  const generated = [];
  // One after another, since the SDK's queue is short and drops reports that do not fit.
  for (const [what, lines] of Object.entries(REFUSED)) {
    generated.push(await refused(shop, what, lines));
  }
  same('IDs that were generated twice', generated.length - new Set(generated).size, 0);
  for (const id of generated) await stage.project.story(id, SERVICES);

  const { status, echoed } = await orderByHand(shop.url, 'artisanal', headers([LONGEST]));
  same('the longest ID: status and echo', [status, echoed], [FAILED, [LONGEST]]);
  await stage.project.story(LONGEST, SERVICES);
  return [
    { what: `one of ${generated.length}`, id: generated[0], services: SERVICES },
    { what: 'the longest valid one', id: LONGEST, services: SERVICES },
  ];
}

// Places an order that is served, and one that fails. Returns the ID of the second one.
async function refused(shop, what, lines) {
  const served = await orderByHand(shop.url, 'classic', headers(lines));
  same(`${what}: the status of an order that can be had`, served.status, SERVED);
  const failed = await orderByHand(shop.url, 'artisanal', headers(lines));
  same(`${what}: the status of an order that cannot`, failed.status, FAILED);
  for (const { echoed } of [served, failed]) {
    same(`${what}: the number of IDs in the answer`, echoed.length, 1);
    matches(`${what}: the ID in the answer`, echoed[0], /^[0-9a-f]{32}$/);
  }
  return failed.echoed[0];
}

function headers(ids) {
  return ids.map((id) => `X-Transaction-ID: ${id}`);
}

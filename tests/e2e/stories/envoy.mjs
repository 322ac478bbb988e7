// The same through Envoy: with our header beside its own `x-request-id`, and with its own header as ours.
import { buildExample } from '../parts/cargo.mjs';
import { check, matches, same } from '../parts/check.mjs';
import { SETTINGS, startEnvoy, startEnvoyWithItsHeader } from '../parts/envoy.mjs';
import { HEXADECIMAL, UUID, beforeAStandIn, beforeTheShop } from '../parts/proxies.mjs';
import { newId } from '../parts/shop.mjs';
import { StandIn } from '../parts/stand-in.mjs';

export const about = 'the same, through Envoy';

const ITS_HEADER = 'X-Request-ID';
const OF_THE_SERVICE = 'an-id-of-the-service';
const FACTS = {
  start: startEnvoy,
  generated: HEXADECIMAL,
  down: 503,
  hangUp: 503,
  bad: {
    'a line without a colon': { head: ['no colon'], status: 400, hasId: true },
    'a line that is too long': { head: [`X-Long: ${'a'.repeat(70_000)}`], status: 431, hasId: true },
  },
};
const FACTS_OF_ITS_HEADER = {
  ...FACTS,
  header: ITS_HEADER,
  start: startEnvoyWithItsHeader,
  // Envoy generates a missing ID, and the filter replaces an invalid one.
  generated: new RegExp(`${UUID.source}|${HEXADECIMAL.source}`),
};
let link;

export const prepare = async ({ folder, root }) => {
  link = await buildExample(folder, root, 'link');
};

export async function tell(stage) {
  return [
    ...await beforeTheShop(stage, FACTS),
    ...await beforeAStandIn(stage, FACTS),
    ...await beforeServicesWithItsHeader(stage),
    ...await beforeAStandIn(stage, FACTS_OF_ITS_HEADER),
    await withTheOpposite(
      stage, 'preserve_external_request_id: true', 'preserve_external_request_id: false',
      ({ sent, received, returned }) => received !== sent && UUID.test(received) && returned === OF_THE_SERVICE,
    ),
    // Envoy writes 9, a or b over the version of the UUID.
    await withTheOpposite(
      stage, 'pack_trace_reason: false', 'pack_trace_reason: true',
      ({ sent, received, returned }) => received === `${sent.slice(0, 14)}9${sent.slice(15)}`
        && returned === OF_THE_SERVICE,
    ),
    await withTheOpposite(
      stage, /^/, '          always_set_request_id_in_response: true\n',
      ({ sent, received, returned }) => received === sent && returned === sent,
    ),
  ];
}

// Two services whose layers have the name of Envoy's header. The second one calls a port that is closed.
async function beforeServicesWithItsHeader(stage) {
  const header = ITS_HEADER;
  const kitchen = await stage.link('rust-kitchen', link, { next: 'http://127.0.0.1:1', header });
  const store = await stage.link('rust-store', link, { next: kitchen.url, header });
  const envoy = stage.closing(await startEnvoyWithItsHeader(stage.folder, store.url));
  const services = ['rust-store', 'rust-kitchen'];
  // The last one is a UUID, into which Envoy would write its decision.
  const sent = [undefined, 'null', newId(), crypto.randomUUID()];
  const ids = await Promise.all(sent.map(async (id) => {
    const answer = await fetch(envoy.url, { headers: id ? { [header]: id } : {} });
    await answer.text();
    same(`${header} ${id}: the status`, answer.status, 502);
    return answer.headers.get(header);
  }));
  same(`${header}: the IDs in the answers`, ids.slice(2), sent.slice(2));
  for (const id of ids.slice(0, 2)) matches(`${header}: the ID in the answer`, id, FACTS_OF_ITS_HEADER.generated);
  for (const id of ids) same(`${header} ${id}: the status in the log`, (await envoy.logged(id)).status, 502);
  await stage.project.stories(ids, services);
  const rows = ids.map((id, n) => ({ what: `x-request-id: ${sent[n] ?? 'missing'}`, id, services: ['envoy', ...services] }));
  return [rows[0], rows.at(-1)];
}

// A setting that the guide has, or leaves out, for a reason: the opposite changes an ID. becomes: whether the
// ID that was received, and the one in the answer, changed as the guide describes.
async function withTheOpposite(stage, setting, opposite, becomes) {
  const standIn = stage.closing(await StandIn.open(ITS_HEADER));
  standIn.echoes = () => [OF_THE_SERVICE];
  const settings = SETTINGS.replace(setting, opposite);
  check(settings !== SETTINGS, `the guide's settings lack ${setting}`);
  const envoy = stage.closing(await startEnvoyWithItsHeader(stage.folder, standIn.url, settings));
  const sent = crypto.randomUUID();
  const answer = await fetch(`${envoy.url}/`, { headers: { [ITS_HEADER]: sent } });
  await answer.text();
  const [received] = standIn.received('/');
  const returned = answer.headers.get(ITS_HEADER);
  const result = `${sent}, passed on as ${received}, returned as ${returned}`;
  check(becomes({ sent, received, returned }), `with "${opposite}": ${result}`);
  return { what: `with "${opposite.trim()}"`, result };
}

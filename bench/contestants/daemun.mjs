// Daemun: the only file of the benchmark that knows how it is started and configured.
//
// `daemun serve` with a data directory of its own, one worker, no access log. The gateway's processes run on the
// contestant's core, supervisor and controller on the other. Everything that the comparison names is on: key check,
// mapping rule, rate limit, usage limit and count, metrics, reasons. What a front needs beyond that (words of the
// listener, certificate and domain, upgrades) is in LISTENER_WORDS and in frontOf(); a build that lacks it fails to
// start, refuses the document or fails the probe, and says so.
import fs from 'node:fs';
import path from 'node:path';
import { request, until } from '../lib/client.mjs';
import { Child, Failure, freePort, makeDirectory, nameOf, outputOf, pin, treeOf } from '../lib/processes.mjs';
import { goodStatus, probeFor } from '../lib/loads.mjs';
import { ROOT } from '../lib/tools.mjs';
import { HOST, KEY_COUNT, KEY_HEADER, LIMIT_PER_SECOND, PATH, headOf, keyOf } from '../lib/workload.mjs';

export const REVISION_HEADER = 'x-revision';

const KEEPER = 'daemun-gateway';
const READY = /^Daemun is ready/;
const START_MS = 30000;
const WRITES_AT_ONCE = 8;
const CAPS = { connections: 20000, exchanges: 20000, upstream_connections: 4000 };

const CERTIFICATE = 'bench';
const METHODS = ['GET', 'POST'];
const LISTENER_WORDS = { plain: '', tls: ' tls', http2: ' http2=on', upgrade: '' };

// All clients come from one address here, and thousands of them say nothing.
const LOBBY_OPTION = '--lobby-connections';
const LOBBY_WORDS = ['--connections=100000', `${LOBBY_OPTION}=20000`];

const serveArguments = ({ data, tokenFile, port, tlsPort, apiPort, adminPort, front, workers }) => [
  'serve',
  `--data=${data}`,
  `--master-token-file=${tokenFile}`,
  `--listen=127.0.0.1:${port}${LISTENER_WORDS[front]}`,
  ...(tlsPort ? [`--listen=127.0.0.1:${tlsPort}${LISTENER_WORDS.tls}`] : []),
  `--api=127.0.0.1:${apiPort}`,
  `--admin=127.0.0.1:${adminPort}`,
  `--workers=${workers}`,
  '--access-log=off',
  '--log-level=warn',
];

export const buildDirectory = () => process.env.DAEMUN_BUILD ?? path.join(ROOT, 'build/release');
export const binaryPath = () => path.join(buildDirectory(), 'src/bin/daemun');

const tenantName = (tenant) => `team-${tenant}`;
const productName = (product) => `items-${product}`;
// With one tenant the host is the other contestants' host, so that the request bytes are the same.
function hostOf(scale, tenant, product) {
  if (scale.parties) return scale.parties[tenant].host;
  return scale.tenants === 1 && product === 0 ? HOST : `p${product}.t${tenant}.bench.test`;
}

const keyFor = (scale, tenant, application) => scale.parties?.[tenant].key ?? keyOf(tenant * KEY_COUNT + application);

// The limit in words of a plan. A party with perMinute has the one that is reached at once.
function rateOf(scale, tenant) {
  const perMinute = scale.parties?.[tenant].perMinute;
  if (perMinute) return { rate: perMinute, per: 'minute', burst: perMinute };
  return { rate: LIMIT_PER_SECOND, per: 'second', burst: LIMIT_PER_SECOND };
}

// What the tenant's backend says beyond its endpoint.
const backendOf = (scale, tenant) => scale.parties?.[tenant].backend ?? scale.backend ?? {};

const revisionPolicy = (revision) => ({
  type: 'headers',
  response: [{ op: 'set', name: REVISION_HEADER, value: String(revision) }],
});

// The members of a tenant's document, and of each version in it, that this front wants.
function frontOf({ load, certificate }, scale, domains) {
  const front = scale.parties ? 'tls' : load.front;
  if (front === 'upgrade') return { tenant: {}, version: { upgrades: ['websocket'] } };
  if (front !== 'tls') return { tenant: {}, version: {} };
  const certificates = [{ name: CERTIFICATE, chain: certificate.chain, key: certificate.key }];
  const settings = domains.map((name) => ({ name, certificate: CERTIFICATE }));
  return { tenant: { certificates, domains: settings }, version: {} };
}

function productOf(scale, tenant, product, revision, version = {}) {
  return {
    name: productName(product),
    domains: [hostOf(scale, tenant, product)],
    versions: [
      {
        name: 'v1',
        path: '/',
        policies: [
          { type: 'api_key', in: ['header'], header: KEY_HEADER },
          ...(scale.hasRevisions ? [revisionPolicy(revision)] : []),
        ],
        mapping_rules: METHODS.map((method) => ({ method, pattern: '/v1/items/{id}' })),
        backends: [{ path: '/', backend: 'items' }],
        ...version,
      },
    ],
    plans: [
      {
        name: 'basic',
        limits: [{ metric: 'hits', period: 'day', value: 1e12 }],
        rate_limits: [{ metric: 'hits', ...rateOf(scale, tenant) }],
      },
    ],
  };
}

function documentOf(bench, scale, tenant) {
  const backendPort = scale.parties?.[tenant].backendPort ?? bench.backend.port;
  const numbers = Array.from({ length: scale.products }, (_, product) => product);
  const front = frontOf(bench, scale, numbers.map((product) => hostOf(scale, tenant, product)));
  const products = numbers.map((product) => productOf(scale, tenant, product, 0, front.version));
  return {
    daemun: 1,
    tenant: tenantName(tenant),
    ...front.tenant,
    grants: {
      domains: products.map(({ domains }) => ({ name: domains[0] })),
      endpoints: [{ address: '127.0.0.1', port: backendPort }],
    },
    backends: [{ name: 'items', endpoints: [{ host: '127.0.0.1', port: backendPort }], ...backendOf(scale, tenant) }],
    products,
    applications: Array.from({ length: scale.applications }, (_, application) => ({
      name: `app-${application}`,
      subscriptions: products.map(({ name }) => ({ product: name, plan: 'basic' })),
      credentials: [{ name: 'first', type: 'api_key', key: keyFor(scale, tenant, application) }],
    })),
  };
}

// The REST API with the master's token; anything but success is a failure.
function apiOf(port, token) {
  return async (method, target, body) => {
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    const text = JSON.stringify(body);
    const answer = await request({ port, method, path: `/api/v1${target}`, headers, body: text });
    if (answer.status < 200 || answer.status > 299)
      throw new Failure(`${method} ${target}: ${answer.status} ${answer.text.slice(0, 500)}`);
    return answer.text === '' ? null : JSON.parse(answer.text);
  };
}

async function addTenant(bench, api, scale, tenant) {
  await api('POST', '/tenants', { name: tenantName(tenant), caps: CAPS, ...scale.parties?.[tenant].tenant });
  await api('PUT', `/tenants/${tenantName(tenant)}/document?wait=live`, documentOf(bench, scale, tenant));
}

async function addTenants(bench, api, scale) {
  let next = 0;
  const worker = async () => {
    while (next < scale.tenants) await addTenant(bench, api, scale, next++);
  };
  await Promise.all(Array.from({ length: WRITES_AT_ONCE }, worker));
}

// All processes of the gateway: the keeper and what it started, loader and workers.
function gatewayPids(root) {
  const keeper = treeOf(root).find(({ pid }) => nameOf(pid) === KEEPER);
  if (!keeper) throw new Failure(`daemun serve has no child '${KEEPER}'`);
  return treeOf(keeper.pid).map(({ pid }) => pid);
}

function pinGateway(root, core) {
  for (const pid of gatewayPids(root)) pin(pid, core);
}

function wordsOf(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
  } catch {
    return []; // gone
  }
}

const wordAfter = (words, option) => words.find((word) => word.startsWith(option))?.slice(option.length);

// Process ids of workers, by their slot: of those that all share, or of a tenant's own.
function workersAmong(pids, cell = undefined) {
  const workers = [];
  for (const pid of pids) {
    const words = wordsOf(pid);
    if (!words.includes('--role=worker') || wordAfter(words, '--cell=') !== cell) continue;
    workers[Number(wordAfter(words, '--slot='))] = pid;
  }
  return workers.filter(Boolean);
}

// The sum of a metric's samples of one tenant.
function metricOf(text, name, tenant) {
  const samples = [...text.matchAll(new RegExp(`^${name}\\{([^}]*)\\} (\\S+)$`, 'gm'))];
  const own = samples.filter(([, labels]) => labels.split(',').includes(`tenant="${tenant}"`));
  return own.reduce((sum, [, , value]) => sum + Number(value), 0);
}

// scale: {tenants, products per tenant, applications per tenant, hasRevisions: change() is going to be called, parties: who
// the tenants are (lib/parties.mjs), served over TLS too, backend: members of a backend beyond its endpoint, workers}.
async function launch(bench, binary, scale, words) {
  const directory = makeDirectory('daemun');
  const places = {
    data: path.join(directory, 'data'),
    tokenFile: path.join(directory, 'token'),
    front: bench.load.front,
    ...{ port: await freePort(), apiPort: await freePort(), adminPort: await freePort() },
    tlsPort: scale.parties ? await freePort() : null,
    workers: scale.workers ?? 1,
  };
  const { apiPort, tokenFile } = places;
  const child = new Child(binary, [...serveArguments(places), ...words], { core: bench.cores.helpers });
  await child.line(READY, START_MS);
  return { places, child, api: apiOf(apiPort, fs.readFileSync(tokenFile, 'latin1').trim()) };
}

async function start(bench, binary, scale, words) {
  const { places, child, api } = await launch(bench, binary, scale, words);
  const { port, tlsPort, adminPort } = places;
  try {
    pinGateway(child.pid, bench.cores.contestant);
    await addTenants(bench, api, scale);
    const host = hostOf(scale, 0, 0);
    await until(goodStatus(bench), probeFor(bench, port, { host, key: keyFor(scale, 0, 0) }));
    await until(403, probeFor(bench, port, { host, key: 'unknown' }));
    pinGateway(child.pid, bench.cores.contestant);
  } catch (error) {
    throw child.failure(error.message);
  }

  const pids = gatewayPids(child.pid);
  const isGateway = new Set(pids);
  const callerOf = (tenant) => ({ host: hostOf(scale, tenant, 0), key: keyFor(scale, tenant, 0), path: PATH });
  const isUpgrade = bench.load.front === 'upgrade';
  const heads = Array.from({ length: scale.applications }, (_, application) =>
    headOf({ host: hostOf(scale, 0, 0), key: keyFor(scale, 0, application), isUpgrade }),
  );
  return {
    port,
    ports: { plain: port, tls: tlsPort, http2: port },
    heads,
    pids: () => pids,
    workers: workersAmong(pids),
    // Those of a dedicated party that are there now, or null.
    cellOf: (tenant) => {
      const own = workersAmong(gatewayPids(child.pid), tenantName(tenant));
      return own.length > 0 ? own : null;
    },
    // What each party, in their order, has of a metric.
    metrics: async (name) => {
      const { text } = await request({ port: adminPort, path: '/metrics' });
      return scale.parties.map((party, tenant) => metricOf(text, name, tenantName(tenant)));
    },
    helperPids: () => treeOf(child.pid).map(({ pid }) => pid).filter((pid) => !isGateway.has(pid)),
    stop: () => child.stop(),
    callerOf,
    headOf: (tenant) => headOf(callerOf(tenant)),
    // Gives the tenant's first product another revision and returns when that is live on every gateway.
    change: async (tenant, revision) => {
      const target = `/tenants/${tenantName(tenant)}/products/${productName(0)}?wait=live`;
      const { live } = await api('PUT', target, productOf(scale, tenant, 0, revision));
      if (!live || live.gateways !== live.of) throw new Failure(`PUT ${target}: not live: ${JSON.stringify(live)}`);
    },
  };
}

// What a request costs for fairness and containment, as far as something turns it off: words of `daemun serve`, or a member of a backend
// with what turns it on and off (undefined: left out). The limit of calls is one that 64 of them never reach. Of what a build does not have
// nothing is measured; what nothing turns off is in README.md.
const MECHANISMS = [
  { name: 'scheduler', title: 'the scheduler', words: ['--fairness=off'] },
  { name: 'overload', title: 'overload', words: ['--queue-delay-ms=0'] },
  { name: 'breaker', title: "the breaker's windows", member: 'breaker', on: { slow_ms: 5000 }, off: { mode: 'closed' } },
  { name: 'retry', title: 'retries', member: 'retry', on: { tries: 3 }, off: { tries: 1 } },
  { name: 'total_timeout', title: 'the total timeout', member: 'total_timeout_ms', on: 20000, off: 0 },
  { name: 'concurrency', title: 'the adaptive limit', member: 'concurrency', on: { limit: 'adaptive', min: 1000 }, off: undefined },
  { name: 'health', title: 'health checks', member: 'health', on: { path: PATH, interval_ms: 1000, timeout_ms: 500 }, off: undefined },
];

const isOption = (binary, word) => outputOf(binary, ['serve', '--help']).includes(word.split('=')[0]);

// What the build's resources are made of: {name: {property: …}}, of its own description.
export async function schemasOf(bench, { binary }) {
  const { child, api } = await launch(bench, binary, {}, []);
  const { components } = await api('GET', '/openapi.json');
  await child.stop();
  return Object.fromEntries(Object.entries(components.schemas).map(([name, { properties = {} }]) => [name, properties]));
}

// Members of a backend with all mechanisms on but those without.
const membersBut = (mechanisms, without) =>
  Object.fromEntries(
    mechanisms.filter(({ member }) => member).map((one) => [one.member, without.includes(one) ? one.off : one.on]),
  );

const SINGLE = { tenants: 1, products: 1, applications: KEY_COUNT };
const scaleOf = (parties, workers) => ({ tenants: parties.length, products: 1, applications: 1, parties, workers });

const lobbyWords = (binary) => (isOption(binary, LOBBY_OPTION) ? LOBBY_WORDS : []);

const contestantOf = (name, title, binary, words, backend = {}) => {
  const startWith = (bench, scale) => start(bench, binary, scale, [...lobbyWords(binary), ...words]);
  return {
    name,
    title,
    binary,
    start: (bench, scale = SINGLE) => startWith(bench, { backend, ...scale }),
    startFor: (bench, parties, { workers = 1 } = {}) => startWith(bench, scaleOf(parties, workers)),
  };
};

// The contestant made of this binary; null when it is not built.
export function daemun(binary = binaryPath(), title = 'daemun') {
  return fs.existsSync(binary) ? contestantOf('daemun', title, binary, []) : null;
}

// The same without its scheduler by tenant; null when the build has no word for that.
export function daemunUnfair({ binary }) {
  const [{ words }] = MECHANISMS;
  return isOption(binary, words[0]) ? contestantOf('daemun_unfair', 'daemun without its scheduler', binary, words) : null;
}

// The same with all mechanisms of fairness and containment, without each of them, and without any: {all, without: [{name, contestant}],
// none}.
export async function daemunMechanisms(bench, subject) {
  const { binary } = subject;
  const { Backend } = await schemasOf(bench, subject);
  const mechanisms = MECHANISMS.filter(
    ({ words = [], member }) => words.every((word) => isOption(binary, word)) && (!member || member in Backend),
  );
  const but = (name, title, without) => {
    const words = without.flatMap((one) => one.words ?? []);
    return contestantOf(`daemun_${name}`, `daemun ${title}`, binary, words, membersBut(mechanisms, without));
  };
  return {
    all: but('all', 'with everything on', []),
    without: mechanisms.map((one) => ({ name: one.name, contestant: but(`without_${one.name}`, `without ${one.title}`, [one]) })),
    none: but('none', 'without any of it', mechanisms),
  };
}

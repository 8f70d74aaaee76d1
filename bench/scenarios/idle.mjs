// User memory of idle client connections.
//
// Growth of the proportional resident memory of all processes of the data plane, from a state in which it has already
// served, to one with many more connections open and silent. In clear text two kinds: connections that never sent
// anything, and kept-alive ones after one request each; the larger figure counts. TLS connections after one request;
// WebSocket tunnels after one message there and back.
import { setTimeout as delay } from 'node:timers/promises';
import { cpuNs, memoryBytes } from '../lib/accounting.mjs';
import { Load, expectClean } from '../lib/load.mjs';
import { LOADS, withLoad } from '../lib/loads.mjs';
import { Failure } from '../lib/processes.mjs';
import { haproxyKeyLimit, haproxyPlain } from '../contestants/haproxy.mjs';
import { nginxPlain } from '../contestants/nginx.mjs';

const CONNECTIONS = 10000;
const TLS_CONNECTIONS = 8000;
const TUNNELS = 4000;
const WARM_UP = 64;
const HOLD_SECONDS = 120;
const READY_MS = 60000;
const SETTLE_MS = 300;
const SETTLE_TRIES = 20;
const SETTLE_QUIET = 9; // in a row: what is given back in quiet times has been

// Waits, within a bound, until the processes have had nothing to do for some seconds.
async function settle(pids) {
  for (let tries = 0, quiet = 0; tries < SETTLE_TRIES && quiet < SETTLE_QUIET; tries++) {
    const before = cpuNs(pids);
    await delay(SETTLE_MS);
    quiet = cpuNs(pids) - before < 0.02 * SETTLE_MS * 1e6 ? quiet + 1 : 0;
  }
}

// Clients like those to come, and away again. Those with one exchange each are let go once all have had it.
async function warmUp(bench, contestant, { port, heads }) {
  const isOnce = bench.load === LOADS.tunnel;
  const length = isOnce ? { seconds: 30, each: 1 } : { seconds: 1 };
  const load = new Load(bench, { port, heads, connections: WARM_UP, ...length });
  if (isOnce) await load.ready(READY_MS);
  else await load.child.end(10000);
  expectClean(await load.stop(), `${contestant.name}, warm-up`);
}

function expectOpen(counts, { connections, each, contestant }) {
  expectClean(counts, contestant.name);
  if (counts.open !== connections || counts.answered !== connections * each)
    throw new Failure(
      `${contestant.name}: ${counts.open} of ${connections} idle connections are open after ${counts.answered} answers`,
    );
}

// Bytes that each of the connections costs, silent after `each` exchanges.
async function growth(bench, contestant, connections, each) {
  const instance = await contestant.start(bench);
  const pids = instance.pids();
  await warmUp(bench, contestant, instance);
  await settle(pids);
  const before = memoryBytes(pids);
  const { port, heads } = instance;
  const load = new Load(bench, { port, heads, connections, seconds: HOLD_SECONDS, each });
  await load.ready(READY_MS);
  await settle(pids);
  const after = memoryBytes(pids);
  expectOpen(load.counts(), { connections, each, contestant });
  await load.stop();
  await instance.stop();
  return { bytes: Math.max(0, after - before) / connections, total: after };
}

async function measure(bench, contestant) {
  const { bytes: untouched } = await growth(bench, contestant, CONNECTIONS, 0);
  const { bytes: used } = await growth(bench, contestant, CONNECTIONS, 1);
  const note = `never used ${untouched.toFixed(0)}, after one request ${used.toFixed(0)}`;
  return { value: Math.round(Math.max(untouched, used)), unit: 'bytes', note };
}

export const idle = {
  name: 'idle',
  async run(bench) {
    const rows = [];
    const add = async (contestant, name) => {
      bench.say(`${CONNECTIONS} idle connections: ${contestant.title}`);
      const row = { name, ...(await measure(bench, contestant)) };
      bench.sayRow(row);
      rows.push(row);
    };
    if (bench.subject) await add(bench.subject, 'idle_connection_user_bytes');
    if (bench.goals) return { rows };
    for (const peer of [nginxPlain, haproxyKeyLimit]) await add(peer, `idle_connection_user_bytes_${peer.name}`);
    return { rows };
  },
};

const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);

// A row for each contestant, and the ratio to nginx. kind: {name, load, connections, what}.
async function compareIdle(wide, { name, load, connections, what }) {
  const bench = withLoad(wide, load);
  const rows = [];
  const add = (row) => {
    bench.sayRow(row);
    rows.push(row);
  };
  const bytesOf = async (contestant, label) => {
    bench.say(`${connections} ${what}: ${contestant.title}`);
    const { bytes, total } = await growth(bench, contestant, connections, 1);
    const note = `of user memory each; ${mib(total)} MiB in all`;
    add({ name: `${name}_bytes_${label}`, value: Math.round(bytes), unit: 'bytes', note });
    return bytes;
  };
  const nginx = await bytesOf({ ...nginxPlain, title: 'nginx' }, 'nginx');
  if (!bench.goals) await bytesOf({ ...haproxyPlain, title: 'haproxy' }, 'haproxy');
  if (!bench.subject) return { rows };
  const own = await bytesOf(bench.subject, 'daemun');
  const note = `${own.toFixed(0)} bytes each to ${nginx.toFixed(0)}`;
  add({ name: `${name}_memory_ratio_nginx`, value: own / nginx, unit: 'ratio', note });
  return { rows };
}

export const idleTls = {
  name: 'idle-tls',
  run: (bench) =>
    compareIdle(bench, {
      name: 'idle_tls',
      load: LOADS.tls,
      connections: TLS_CONNECTIONS,
      what: 'idle TLS connections',
    }),
};

export const idleWs = {
  name: 'idle-ws',
  run: (bench) =>
    compareIdle(bench, { name: 'idle_ws', load: LOADS.tunnel, connections: TUNNELS, what: 'idle WebSocket tunnels' }),
};

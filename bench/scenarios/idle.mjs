// User memory of idle client connections.
//
// Growth of the proportional resident memory of all processes of the data plane, from a state in which it has already
// served, to one with CONNECTIONS more connections open and silent. Two kinds: connections that never sent anything,
// and kept-alive ones after one request each. The larger figure counts.
import { setTimeout as delay } from 'node:timers/promises';
import { cpuNs, memoryBytes } from '../lib/accounting.mjs';
import { Load, expectClean } from '../lib/load.mjs';
import { Failure } from '../lib/processes.mjs';
import { haproxyKeyLimit } from '../contestants/haproxy.mjs';
import { nginxPlain } from '../contestants/nginx.mjs';

const CONNECTIONS = 10000;
const HOLD_SECONDS = 120;
const READY_MS = 60000;
const SETTLE_MS = 300;
const SETTLE_TRIES = 20;

// Waits, within a bound, until the processes have nothing more to do.
async function settle(pids) {
  for (let tries = 0; tries < SETTLE_TRIES; tries++) {
    const before = cpuNs(pids);
    await delay(SETTLE_MS);
    if (cpuNs(pids) - before < 0.02 * SETTLE_MS * 1e6) return;
  }
}

async function warmUp(bench, { port, heads }) {
  const load = new Load(bench, { port, heads, connections: 64, seconds: 1 });
  await load.child.end(10000);
  expectClean(await load.stop(), 'warm-up');
}

async function growth(bench, contestant, each) {
  const instance = await contestant.start(bench);
  const pids = instance.pids();
  await warmUp(bench, instance);
  await settle(pids);
  const before = memoryBytes(pids);
  const { port, heads } = instance;
  const load = new Load(bench, { port, heads, connections: CONNECTIONS, seconds: HOLD_SECONDS, each });
  await load.ready(READY_MS);
  await settle(pids);
  const after = memoryBytes(pids);
  const counts = load.counts();
  expectClean(counts, contestant.name);
  if (counts.open !== CONNECTIONS)
    throw new Failure(`${contestant.name}: only ${counts.open} of ${CONNECTIONS} idle connections are open`);
  await load.stop();
  await instance.stop();
  return Math.max(0, after - before) / CONNECTIONS;
}

async function measure(bench, contestant) {
  const untouched = await growth(bench, contestant, 0);
  const used = await growth(bench, contestant, 1);
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

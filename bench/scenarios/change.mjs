// How soon a change to one tenant among many is live, and whether anybody's request suffers from it.
//
// A tenant's product gets another value of a response header; the write waits until it is live, and the time of that
// one call is the figure. Each change is then looked for on the wire: an answer that still has the old value fails the
// run. All the while requests arrive at a constant rate, those of the changed tenants among them; every answer other
// than 2xx, every broken or refused connection and every request without an answer counts as failed.
import { setTimeout as delay } from 'node:timers/promises';
import { request } from '../lib/client.mjs';
import { nowNs } from '../lib/accounting.mjs';
import { Load } from '../lib/load.mjs';
import { foreignBetween, sample } from '../lib/rounds.mjs';
import { Failure } from '../lib/processes.mjs';
import { median, percentile } from '../lib/stats.mjs';
import { probeOf } from '../lib/workload.mjs';
import { REVISION_HEADER } from '../contestants/daemun.mjs';

const TENANTS = 1000;
const PRODUCTS = 10;
const CHANGES = 500;
const CHANGES_QUICK = 100;
const TENANTS_UNDER_LOAD = 64; // one per connection; the changes go round these
const RATE = 5000;
const RUN_SECONDS = 300;
const LEAD_MS = 1000; // of load before the first change and after the last

// Changes one tenant. Returns the milliseconds until it was live.
async function changeOne(instance, tenant, revision) {
  const start = nowNs();
  await instance.change(tenant, revision);
  const ms = (nowNs() - start) / 1e6;
  const { host, key } = instance.callerOf(tenant);
  const answer = await request(probeOf(instance.port, { host, key }));
  const seen = answer.headers[REVISION_HEADER];
  if (seen !== String(revision))
    throw new Failure(`tenant ${tenant}: revision ${revision} was said to be live, the answer has ${seen}`);
  return ms;
}

async function changeAll(bench, instance) {
  const count = bench.isQuick ? CHANGES_QUICK : CHANGES;
  const end = Date.now() + RUN_SECONDS * 1000 - 30000;
  const times = [];
  for (let revision = 1; revision <= count; revision++) {
    if (Date.now() > end) throw new Failure(`only ${times.length} of ${count} changes in ${RUN_SECONDS} s`);
    times.push(await changeOne(instance, (revision * 7) % TENANTS_UNDER_LOAD, revision));
  }
  return times;
}

export const change = {
  name: 'change',
  needsSubject: true,
  async run(bench) {
    bench.say(`${TENANTS} tenants with ${PRODUCTS} products each: starting`);
    const scale = { tenants: TENANTS, products: PRODUCTS, applications: 1, hasRevisions: true };
    const instance = await bench.subject.start(bench, scale);
    const heads = Array.from({ length: TENANTS_UNDER_LOAD }, (_, tenant) => instance.headOf(tenant));
    const options = { port: instance.port, heads, connections: TENANTS_UNDER_LOAD, seconds: RUN_SECONDS, rate: RATE };
    bench.say(`changing one tenant at a time under ${RATE} requests a second`);
    const load = new Load(bench, options);
    const sides = [{ instance, load }];
    await delay(LEAD_MS);
    const before = sample(bench, sides);
    const times = await changeAll(bench, instance);
    const shares = foreignBetween(before, sample(bench, sides)).map((share) => `${(share * 100).toFixed(1)}%`);
    await delay(LEAD_MS);
    const report = await load.stop();
    await instance.stop();
    const failed = report.non_2xx + report.failed + report.unconnected + report.unfinished;
    const latency = report.latency_us;
    const rest = `median ${median(times).toFixed(1)}, worst ${Math.max(...times).toFixed(1)}`;
    const rows = [
      {
        name: 'change_live_p99_ms',
        value: percentile(times, 0.99),
        unit: 'ms',
        note: `${times.length} changes, ${rest}; foreign ${shares.join(' and ')}`,
      },
      {
        name: 'change_failed_requests',
        value: failed,
        unit: 'requests',
        note: `of ${report.answered}; latency p50 ${latency.p50} µs, p99 ${latency.p99} µs, worst ${latency.max} µs`,
      },
    ];
    rows.forEach(bench.sayRow);
    return { rows };
  },
};

// One party asks politely, another as fast as it is answered: alone, under the flood, and under a flood whose every request is
// refused by the aggressor's limit. lib/isolation.mjs has the method.
import { nginxPlain } from '../contestants/nginx.mjs';
import { haproxyPlain } from '../contestants/haproxy.mjs';
import { daemunUnfair } from '../contestants/daemun.mjs';
import { beside } from '../lib/comparison.mjs';
import { errorRow, isolate, isolationTable, ratioRow, rivalRow, stopBackends } from '../lib/isolation.mjs';
import { Load, startBackend } from '../lib/load.mjs';
import { Failure } from '../lib/processes.mjs';
import { headFor, partyOf } from '../lib/parties.mjs';
import { lossOf } from '../lib/stats.mjs';

export const PEERS = [
  { ...nginxPlain, name: 'nginx', title: 'nginx' },
  { ...haproxyPlain, name: 'haproxy', title: 'haproxy' },
];

export const VICTIM = { rate: 200, connections: 4 };
export const victimText = `${VICTIM.rate} requests a second over ${VICTIM.connections} connections, with a backend of its own`;
const SECONDS = 4;
const SECONDS_MAX = 60;
const WARM_MS = 3000;
export const AGGRESSOR_CONNECTIONS = 256;
const PEERS_EVERY = 2;
const PER_MINUTE = 1;
const REFUSED_LEAST = 0.99;

const LOSS = 'flood_aggressor_loss';
const KINDS = { flood: 'flood', refused: 'flood_refused' };

// The peers are left out where one goal was asked for that is not about them.
export const peersOf = ({ goals }) => (goals && ![...goals].some((name) => name.includes('_to_')) ? [] : PEERS);
export const contestantsOf = (bench) => (bench.subject ? [...peersOf(bench), bench.subject] : PEERS);

// A closed loop of this party.
export async function startFlood(bench, instance, party, connections = AGGRESSOR_CONNECTIONS) {
  const heads = [headFor(party)];
  const load = new Load(bench, { port: instance.ports.plain, heads, connections, seconds: SECONDS_MAX });
  await load.warm(WARM_MS);
  return load;
}

function expectRefusals({ attack }) {
  if (attack.refusedRate >= REFUSED_LEAST * attack.rate) return;
  throw new Failure(`of ${attack.rate} requests a second only ${attack.refusedRate} were refused by the limit`);
}

function expectSuccess({ attack }) {
  if (attack.rate > 0 && attack.refusedRate === 0) return;
  throw new Failure(`of ${attack.rate} requests a second of the flood ${attack.refusedRate} were refused`);
}

function settingOf(backends) {
  const victim = partyOf('victim', backends.victim);
  const aggressor = partyOf('aggressor', backends.aggressor);
  const refused = partyOf('refused', backends.aggressor, { perMinute: PER_MINUTE });
  return {
    parties: [victim, aggressor, refused],
    backends: Object.values(backends),
    victim: ({ ports }) => ({ ...VICTIM, port: ports.plain, heads: [headFor(victim)], seconds: SECONDS }),
    phases: [
      { name: 'alone' },
      { name: 'flood', start: (bench, instance) => startFlood(bench, instance, aggressor), check: expectSuccess },
      { name: 'refused', start: (bench, instance) => startFlood(bench, instance, refused), check: expectRefusals },
    ],
    peersEvery: PEERS_EVERY,
  };
}

function rowsOf(bench, all) {
  const rounds = all.get(bench.subject.name);
  return Object.entries(KINDS).flatMap(([phase, kind]) => [
    ...['p50', 'p99'].map((share) => ratioRow(`${kind}_${share}_ratio`, rounds, share, phase, 'alone')),
    ...peersOf(bench).flatMap(({ name }) =>
      ['p50', 'p99'].map((share) => rivalRow(`${kind}_${share}_to_${name}`, rounds, all.get(name), share, phase)),
    ),
    errorRow(`${kind}_victim_errors`, rounds, [phase]),
  ]);
}

const peerRows = (bench, all) =>
  peersOf(bench).flatMap(({ name }) =>
    Object.entries(KINDS).flatMap(([phase, kind]) => [
      ...['p50', 'p99'].map((share) => ratioRow(`${kind}_${share}_ratio_${name}`, all.get(name), share, phase, 'alone')),
      errorRow(`${kind}_victim_errors_${name}`, all.get(name), [phase]),
    ]),
  );

// What the aggressor loses by the scheduler when nobody else asks: at saturation throughput is what CPU per request leaves.
async function lossRows(bench) {
  const unfair = daemunUnfair(bench.subject);
  if (!unfair) {
    bench.say('this build cannot do without its scheduler: what fairness costs an aggressor alone is not measured');
    return [];
  }
  const crowded = { ...bench, connections: AGGRESSOR_CONNECTIONS };
  const cost = await beside(crowded, bench.subject, unfair, 'flood_aggressor_cpu_ratio');
  const { low, high, confidence } = cost.interval;
  const interval = { low: lossOf(low), high: lossOf(high), confidence };
  const { min, max, rounds } = cost.spread;
  const row = { ...cost, name: LOSS, value: lossOf(cost.value), interval, spread: { rounds, min: lossOf(min), max: lossOf(max) } };
  bench.sayRow(row);
  return [row, cost];
}

async function isolation(bench) {
  const { rate, connections } = VICTIM;
  bench.say(`victim: ${rate} requests/s on ${connections} connections; aggressor: ${AGGRESSOR_CONNECTIONS} connections in a closed loop`);
  const backends = { victim: await startBackend(bench, { isRealtime: true }), aggressor: await startBackend(bench) };
  const setting = settingOf(backends);
  const contestants = contestantsOf(bench);
  const all = await isolate(bench, contestants, setting);
  await stopBackends(setting);
  const rows = [...(bench.subject ? rowsOf(bench, all) : []), ...peerRows(bench, all)];
  rows.forEach(bench.sayRow);
  const about =
    `Victim: ${victimText}. Aggressor: ${AGGRESSOR_CONNECTIONS} connections in a closed loop (*flood*), the same with a limit of ` +
    `${PER_MINUTE} request a minute (*refused*). One worker.`;
  return { rows, tables: [isolationTable('Flood: one victim, one aggressor', about, contestants, setting.phases, all)] };
}

export const flood = {
  name: 'flood',
  async run(bench) {
    const isLossAsked = !bench.goals || bench.goals.has(LOSS);
    const { rows, tables } = bench.goals && isLossAsked ? { rows: [], tables: [] } : await isolation(bench);
    if (bench.subject && isLossAsked) rows.push(...(await lossRows(bench)));
    return { rows, tables };
  },
};

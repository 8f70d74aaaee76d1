// A hundred equal parties: ninety-nine ask for half of their share of what the contestant can do, one asks for a hundred times its
// share. The share is measured at each start: a hundredth of what that one gets with nobody beside it. lib/isolation.mjs has
// the method; the victim is ninety-nine clients.
import { setTimeout as delay } from 'node:timers/promises';
import { nowNs } from '../lib/accounting.mjs';
import { disturbedIn, errorRow, figures, isolate, isolationTable, rateText, ratioRow, rowOf, stopBackends } from '../lib/isolation.mjs';
import { startBackend } from '../lib/load.mjs';
import { headFor, partyOf } from '../lib/parties.mjs';
import { jain, median } from '../lib/stats.mjs';
import { contestantsOf, peersOf, startFlood } from './flood.mjs';

const PARTIES = 100;
const OF_SHARE = 0.5;
const EACH = 1; // connection of each of the others: who is made to wait behind a crowd gets less through it
const AGGRESSOR_CONNECTIONS = 4 * PARTIES;
const SECONDS = 4;
const CAPACITY_MS = 1000;
const PEERS_EVERY = 3;

async function capacityOf(bench, instance, aggressor) {
  const load = await startFlood(bench, instance, aggressor, AGGRESSOR_CONNECTIONS);
  const [from, first] = [nowNs(), load.counts().answered];
  await delay(CAPACITY_MS);
  const rate = ((load.counts().answered - first) / (nowNs() - from)) * 1e9;
  await load.stop();
  return rate;
}

function settingOf(backends) {
  const others = Array.from({ length: PARTIES - 1 }, (_, index) => partyOf(`party-${index}`, backends.victim));
  const aggressor = partyOf('aggressor', backends.aggressor);
  const flood = (bench, instance) => startFlood(bench, instance, aggressor, AGGRESSOR_CONNECTIONS);
  const rates = new Map(); // by instance: what the others ask for, together
  return {
    parties: [...others, aggressor],
    backends: Object.values(backends),
    prepare: async (bench, instance) => {
      const capacity = await capacityOf(bench, instance, aggressor);
      rates.set(instance, Math.max(1, Math.round((capacity * OF_SHARE * others.length) / PARTIES)));
      bench.sayDetail(`${rateText(capacity)} alone; the others ask for ${rateText(rates.get(instance))} together`);
    },
    victim: (instance) => {
      const heads = others.map((party) => headFor(party));
      return { port: instance.ports.plain, heads, rate: rates.get(instance), connections: EACH, seconds: SECONDS };
    },
    phases: [{ name: 'alone' }, { name: 'crowd', start: flood }],
    peersEvery: PEERS_EVERY,
  };
}

function rowsOf(rounds, suffix = '') {
  const asked = median(figures(rounds, (round) => round?.crowd.asked)) / SECONDS;
  const fairness = rowOf(`many_jain${suffix}`, 'ratio', figures(rounds, (round) => round && jain(round.crowd.by_client)), disturbedIn(rounds));
  return [
    { ...fairness, note: `${PARTIES - 1} ask for ${rateText(asked)} together` },
    errorRow(`many_unanswered${suffix}`, rounds, ['crowd']),
    ...['p50', 'p99'].map((share) => ratioRow(`many_${share}_ratio${suffix}`, rounds, share, 'crowd', 'alone')),
  ];
}

export const many = {
  name: 'many',
  async run(bench) {
    bench.say(`${PARTIES} parties: one asks for ${PARTIES} times its share, the others for ${OF_SHARE} of theirs`);
    const backends = { victim: await startBackend(bench, { isRealtime: true }), aggressor: await startBackend(bench) };
    const setting = settingOf(backends);
    const contestants = contestantsOf(bench);
    const all = await isolate(bench, contestants, setting);
    await stopBackends(setting);
    const rows = bench.subject ? rowsOf(all.get(bench.subject.name)) : [];
    rows.push(...peersOf(bench).flatMap(({ name }) => rowsOf(all.get(name), `_${name}`)));
    rows.forEach(bench.sayRow);
    const about =
      `Victim: ${PARTIES - 1} parties with a connection each, that ask for ${OF_SHARE} of their share together at a constant rate. Aggressor: ` +
      `one like them, ${AGGRESSOR_CONNECTIONS} connections in a closed loop. One worker.`;
    return { rows, tables: [isolationTable('Many: one among a hundred asks for everything', about, contestants, setting.phases, all)] };
  },
};

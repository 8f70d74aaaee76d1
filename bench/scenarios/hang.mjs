// One party asks politely while another has a great many requests outstanding at a backend that takes a second for each.
// lib/isolation.mjs has the method. All are sent at once at the start, and so the answers come in bursts.
import { setTimeout as delay } from 'node:timers/promises';
import { disturbedIn, errorRow, isolate, isolationTable, ratioRow, rowOf, stopBackends } from '../lib/isolation.mjs';
import { Load, startBackend } from '../lib/load.mjs';
import { Failure } from '../lib/processes.mjs';
import { headFor, partyOf } from '../lib/parties.mjs';
import { intervalText } from '../lib/report.mjs';
import { medianInterval } from '../lib/stats.mjs';
import { VICTIM, contestantsOf, peersOf, victimText } from './flood.mjs';

const OUTSTANDING = 2000;
const OUTSTANDING_LEAST = 0.9; // at a moment in which answers and requests may be under way
const DELAY_MS = 1000;
const SECONDS = 5;
const SECONDS_MAX = 60;
const WARM_MS = 10000;
const PEERS_EVERY = 3;

// Resolves when all have had an answer and are waiting for the next.
async function startHanging(bench, instance, party) {
  const options = { port: instance.ports.plain, heads: [headFor(party)], connections: OUTSTANDING, seconds: SECONDS_MAX };
  const load = new Load(bench, options);
  const end = Date.now() + WARM_MS;
  for (let counts = load.counts(); counts.answered < OUTSTANDING && Date.now() < end; counts = load.counts()) await delay(50);
  return load;
}

function expectOutstanding({ attack: { counts } }) {
  if (counts.in_flight >= OUTSTANDING_LEAST * OUTSTANDING) return;
  throw new Failure(`${counts.in_flight} requests were outstanding, not ${OUTSTANDING}: ${JSON.stringify(counts)}`);
}

function settingOf(backends) {
  const victim = partyOf('victim', backends.victim);
  const aggressor = partyOf('aggressor', backends.aggressor);
  return {
    parties: [victim, aggressor],
    backends: Object.values(backends),
    victim: ({ ports }) => ({ ...VICTIM, port: ports.plain, heads: [headFor(victim)], seconds: SECONDS }),
    phases: [
      { name: 'alone' },
      { name: 'hang', start: (bench, instance) => startHanging(bench, instance, aggressor), check: expectOutstanding },
    ],
    peersEvery: PEERS_EVERY,
  };
}

// The 99th percentile under the hang, to the end of the interval in which that of alone is.
function toInterval(rounds) {
  const of = (phase) => rounds.map((round) => round[phase].latency_us.p99);
  const alone = medianInterval(of('alone'));
  const row = rowOf('hang_p99_to_interval', 'ratio', of('hang').map((p99) => p99 / alone.high), disturbedIn(rounds));
  return { ...row, note: `alone ${intervalText(alone, 0)} µs` };
}

function rowsOf(rounds) {
  const aggressor = rounds.reduce((sum, { hang: { attack } }) => sum + attack.counts.non_2xx + attack.counts.failed, 0);
  return [
    ratioRow('hang_p50_ratio', rounds, 'p50', 'hang', 'alone'),
    toInterval(rounds),
    ratioRow('hang_p99_ratio', rounds, 'p99', 'hang', 'alone'),
    errorRow('hang_victim_errors', rounds, ['hang']),
    { name: 'hang_aggressor_errors', value: aggressor, unit: 'requests', note: `${OUTSTANDING} outstanding` },
  ];
}

const peerRows = (bench, all) =>
  peersOf(bench).flatMap(({ name }) => [
    ...['p50', 'p99'].map((share) => ratioRow(`hang_${share}_ratio_${name}`, all.get(name), share, 'hang', 'alone')),
    errorRow(`hang_victim_errors_${name}`, all.get(name), ['hang']),
  ]);

export const hang = {
  name: 'hang',
  async run(bench) {
    bench.say(`victim: ${VICTIM.rate} requests/s; aggressor: ${OUTSTANDING} requests outstanding, ${DELAY_MS} ms each`);
    const backends = {
      victim: await startBackend(bench, { isRealtime: true }),
      aggressor: await startBackend(bench, { delayMs: DELAY_MS }),
    };
    const setting = settingOf(backends);
    const contestants = contestantsOf(bench);
    const all = await isolate(bench, contestants, setting);
    await stopBackends(setting);
    const rows = [...(bench.subject ? rowsOf(all.get(bench.subject.name)) : []), ...peerRows(bench, all)];
    rows.forEach(bench.sayRow);
    const about = `Victim: ${victimText}. Aggressor: ${OUTSTANDING} requests outstanding at a backend that takes ${DELAY_MS} ms for each. One worker.`;
    return { rows, tables: [isolationTable('Hang: the aggressor waits for its backend', about, contestants, setting.phases, all)] };
  },
};

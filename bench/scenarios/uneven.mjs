// Two workers, and connections that are not spread evenly over them. Flows are a worker's own, so that a victim on the worker with the
// crowd must be as well off as with one worker, and of two equal floods the one that is on both workers gets more: how much, is measured.
// lib/isolation.mjs has the method, lib/spread.mjs how a connection comes to a worker.
//
// Both workers share the contestant's core, which the kernel divides between them; README.md says what that can't show.
import { nowNs } from '../lib/accounting.mjs';
import { disturbedIn, errorRow, figures, isolate, isolationTable, rateText, ratioRow, rowOf, stopBackends } from '../lib/isolation.mjs';
import { Load, startBackend } from '../lib/load.mjs';
import { Failure } from '../lib/processes.mjs';
import { headFor, partyOf } from '../lib/parties.mjs';
import { ownersOf, portsFor } from '../lib/spread.mjs';
import { AGGRESSOR_CONNECTIONS, PEERS, VICTIM, victimText } from './flood.mjs';

const WORKERS = 2;
const ROUNDS_MAX = 3;
const PEERS_EVERY = 3;
const SECONDS = 3;
const SECONDS_MAX = 60;
const WARM_MS = 3000;
const HALF = AGGRESSOR_CONNECTIONS / 2;
const TENTH = Math.round(AGGRESSOR_CONNECTIONS / 10);

// How many of its connections are on each worker.
const SPREADS = {
  even: [HALF, HALF],
  'nine to one': [AGGRESSOR_CONNECTIONS - TENTH, TENTH],
  'all on one': [AGGRESSOR_CONNECTIONS, 0],
};
const VICTIM_SPREAD = [VICTIM.connections / 2, VICTIM.connections / 2];
const ON_BOTH = [HALF / 2, HALF / 2];
const ON_ONE = [HALF, 0];
const CPU = 'daemun_tenant_cpu_seconds_total';

const sumOf = (counts) => counts.reduce((sum, count) => sum + count, 0);
const canChoose = ({ workers }) => workers?.length === WORKERS;

// The ports from which connections come to the workers as they should, where somebody can say; null: as the contestant spreads them.
async function portsOf(instance, spread) {
  return canChoose(instance) ? portsFor({ port: instance.ports.plain, pids: instance.workers }, spread) : null;
}

// The phase is not what it says unless the connections are where they should be.
function expectSpread({ ports, workers }, from, spread) {
  if (from === null) return;
  const owners = ownersOf(ports.plain, workers, from);
  const counts = spread.map((_, worker) => owners.filter((one) => one === worker).length);
  if (counts.join() !== spread.join()) throw new Failure(`connections are spread ${counts.join(' to ')}, not ${spread.join(' to ')}`);
}

async function startSpread(bench, instance, party, spread) {
  const ports = await portsOf(instance, spread);
  const options = { port: instance.ports.plain, heads: [headFor(party)], connections: sumOf(spread), seconds: SECONDS_MAX, ports };
  const load = new Load(bench, options);
  await load.warm(WARM_MS);
  expectSpread(instance, ports, spread);
  return load;
}

// Two equal parties flood, one on both workers, one on one. Its report has what each got from now on: answers, and CPU time by the ledger
// of whoever has one.
async function startTwoFloods(bench, instance, parties, indexes) {
  const loads = [];
  for (const [i, spread] of [ON_BOTH, ON_ONE].entries()) loads.push(await startSpread(bench, instance, parties[indexes[i]], spread));
  const read = async () => {
    const cpu = await instance.metrics?.(CPU);
    return { at: nowNs(), answered: loads.map((load) => load.counts().answered), cpu: cpu && indexes.map((index) => cpu[index]) };
  };
  const first = await read();
  return {
    pid: loads[0].pid,
    otherPids: [loads[1].pid],
    counts: () => {
      const [a, b] = loads.map((load) => load.counts());
      return Object.fromEntries(Object.keys(a).map((name) => [name, a[name] + b[name]]));
    },
    stop: async () => {
      const last = await read();
      for (const load of loads) await load.stop();
      const grown = (name) => last[name]?.map((value, index) => value - first[name][index]);
      return { seconds: (last.at - first.at) / 1e9, answered: grown('answered'), cpu: grown('cpu'), isChosen: canChoose(instance) };
    },
  };
}

// Of the one that is on one worker.
const shareOf = ([onBoth, onOne]) => onOne / (onBoth + onOne);

function aboutTwoFloods(attack, { seconds, answered, cpu, isChosen }) {
  const [onBoth, onOne] = answered.map((count) => rateText(count / seconds));
  const shares = cpu ? `; CPU ${cpu.map((one) => `${((one / sumOf(cpu)) * 100).toFixed(0)}%`).join(' and ')}` : '';
  return `${isChosen ? `on both ${onBoth}, on one ${onOne}` : `${onBoth} and ${onOne}`}${shares}`;
}

function expectSuccess({ attack }) {
  if (attack.rate > 0 && attack.refusedRate === 0) return;
  throw new Failure(`of ${attack.rate} requests a second of the flood ${attack.refusedRate} were refused`);
}

const TWO_FLOODS = 'two floods';

function settingOf(backends) {
  const parties = [partyOf('victim', backends.victim), partyOf('aggressor', backends.aggressor), partyOf('rival', backends.aggressor)];
  const [victim, aggressor] = parties;
  const floods = Object.entries(SPREADS).map(([name, spread]) => ({
    name,
    start: (bench, instance) => startSpread(bench, instance, aggressor, spread),
    check: expectSuccess,
    isFor: (instance) => spread === SPREADS.even || canChoose(instance),
  }));
  const two = (bench, instance) => startTwoFloods(bench, instance, parties, [1, 2]);
  return {
    parties,
    backends: Object.values(backends),
    options: { workers: WORKERS },
    victim: async (instance) => {
      const ports = await portsOf(instance, VICTIM_SPREAD);
      return { ...VICTIM, port: instance.ports.plain, heads: [headFor(victim)], seconds: SECONDS, ports };
    },
    phases: [{ name: 'alone' }, ...floods, { name: TWO_FLOODS, start: two, check: expectSuccess, about: aboutTwoFloods }],
    peersEvery: PEERS_EVERY,
  };
}

const oneWorker = (contestant) => ({
  ...contestant,
  name: `${contestant.name}_one_worker`,
  title: `${contestant.title}, one worker`,
  startFor: (bench, parties) => contestant.startFor(bench, parties),
});

const slug = (text) => text.replaceAll(/\W+/g, '_');

function shareRow(name, rounds, of) {
  const values = figures(rounds, (round) => round && of(round[TWO_FLOODS].attack.report)).map(shareOf);
  return { ...rowOf(name, 'ratio', values, disturbedIn(rounds)), note: 'of two equal floods, the one that is on one worker where it can be' };
}

// Of the subject also its ratios; the others' are in the table.
function rowsOf(rounds, suffix) {
  const first = rounds.find(Boolean);
  const spreads = Object.keys(SPREADS).filter((phase) => first[phase]);
  const ratio = (phase, share) => ratioRow(`uneven_${slug(phase)}_${share}_ratio`, rounds, share, phase, 'alone');
  const rows = suffix === '' ? spreads.flatMap((phase) => ['p50', 'p99'].map((share) => ratio(phase, share))) : [];
  rows.push(errorRow(`uneven_victim_errors${suffix}`, rounds, [...spreads, TWO_FLOODS]));
  rows.push(shareRow(`uneven_share_of_answers${suffix}`, rounds, ({ answered }) => answered));
  if (first[TWO_FLOODS].attack.report.cpu) rows.push(shareRow(`uneven_share_of_cpu${suffix}`, rounds, ({ cpu }) => cpu));
  return rows;
}

const ABOUT =
  `Victim: ${victimText}, half of them on each worker. Aggressor: ${AGGRESSOR_CONNECTIONS} connections in a closed loop, ` +
  `${Object.entries(SPREADS).map(([name, spread]) => `${spread.join(' and ')} on the workers (*${name}*)`).join(', ')}; or two of ${HALF} ` +
  `connections each, one on both workers and one on one (*${TWO_FLOODS}*). Two workers (haproxy: threads, which spread all connections ` +
  'themselves: *even*) on one core: what a second core would give is not in these figures.';

export const uneven = {
  name: 'uneven',
  async run(wide) {
    const bench = { ...wide, rounds: Math.min(wide.rounds, ROUNDS_MAX) };
    bench.say(`${WORKERS} workers, and an aggressor whose connections are spread ${Object.keys(SPREADS).join(', ')}`);
    const backends = { victim: await startBackend(bench, { isRealtime: true }), aggressor: await startBackend(bench) };
    const setting = settingOf(backends);
    const contestants = bench.subject ? [...PEERS, oneWorker(bench.subject), bench.subject] : PEERS;
    const all = await isolate(bench, contestants, setting);
    await stopBackends(setting);
    const suffixOf = ({ name }) => (name === bench.subject?.name ? '' : `_${name.replace(`${bench.subject?.name}_`, '')}`);
    const rows = [...contestants].reverse().flatMap((one) => rowsOf(all.get(one.name), suffixOf(one)));
    rows.forEach(bench.sayRow);
    return { rows, tables: [isolationTable('Uneven: two workers', ABOUT, contestants, setting.phases, all)] };
  },
};

// Isolation: what one party (the victim) feels of another (the aggressor) on the same contestant.
//
// A phase is one run of the victim while the aggressor does what the phase is about, or nothing. A round is all phases of one
// contestant, started anew, in an order that turns from round to round; contestants take turns within a round too. Ratios
// are taken within a round, so that what wanders on the machine goes out of them.
//
// The victim and its backend run at a real-time priority on the helpers' core: their own wait for a processor that the
// aggressor's clients and backend keep busy would be measured otherwise.
import { setTimeout as delay } from 'node:timers/promises';
import { Victim } from './load.mjs';
import { Failure } from './processes.mjs';
import { intervalText } from './report.mjs';
import { foreignBetween, foreignness, sample, waitForQuiet } from './rounds.mjs';
import { median, medianInterval, summary } from './stats.mjs';

const TRIES = 2; // for a phase in which nothing foreign runs
const EDGE_MS = 150; // of a run at both ends, not looked at for what else ran
const GRACE_MS = 20000;

const elapsedSeconds = (before, after) => (after.at - before.at) / 1e9;

// What the helpers' core is used for beside the victim.
function accountOf(instance, victim, aggressor, backends) {
  const others = [...backends.map(({ pid }) => pid), ...(aggressor ? [aggressor.pid, ...(aggressor.otherPids ?? [])] : [])];
  const helperPids = () => [...(instance.helperPids?.() ?? []), ...others];
  return [{ instance: { pids: instance.pids, helperPids }, load: victim }];
}

async function runVictim(bench, instance, { victim: optionsOf, backends }, aggressor) {
  const options = await optionsOf(instance);
  const { seconds } = options;
  const victim = new Victim(bench, options);
  const sides = accountOf(instance, victim, aggressor, backends);
  await delay(EDGE_MS);
  const before = sample(bench, sides);
  const first = aggressor?.counts?.();
  await delay(seconds * 1000 - 2 * EDGE_MS);
  const after = sample(bench, sides);
  const last = aggressor?.counts?.();
  const report = await victim.finish(seconds * 1000 + GRACE_MS);
  const grown = (name) => (last ? (last[name] - first[name]) / elapsedSeconds(before, after) : 0);
  const attack = { rate: grown('answered'), refusedRate: grown('non_2xx'), counts: last };
  return { ...report, foreign: foreignBetween(before, after), attack: aggressor && attack };
}

export const rateText = (rate) => `${Math.round(rate)}/s`;

const aboutFlood = ({ rate, refusedRate }) =>
  refusedRate > 0 ? `${rateText(rate)}, ${rateText(refusedRate)} of it refused` : rateText(rate);

async function runPhase(bench, instance, setting, phase) {
  const aggressor = phase.start ? await phase.start(bench, instance) : null;
  let report = null;
  let result;
  try {
    result = await runVictim(bench, instance, setting, aggressor);
    phase.check?.(result);
  } finally {
    report = await aggressor?.stop();
  }
  if (aggressor) Object.assign(result.attack, { report, about: (phase.about ?? aboutFlood)(result.attack, report) });
  return result;
}

// Of several tries the least disturbed.
async function runQuietly(bench, instance, setting, phase) {
  let best = null;
  for (let tries = 0; tries < TRIES; tries++) {
    await waitForQuiet(bench);
    const result = await runPhase(bench, instance, setting, phase);
    if (!best || foreignness(result.foreign) < foreignness(best.foreign)) best = result;
    if (foreignness(best.foreign) <= 1) break;
  }
  return { ...best, isDisturbed: foreignness(best.foreign) > 1 };
}

export const errorsOf = ({ asked, answered }) => asked - answered;

function sayPhase(bench, contestant, phase, result) {
  const { p50, p99, max } = result.latency_us;
  const { attack, foreign, delay_us: own, isDisturbed } = result;
  const aggressor = attack ? `; aggressor ${attack.about}` : '';
  const others = foreign.map((share) => `${(share * 100).toFixed(1)}%`).join(' and ');
  bench.sayDetail(
    `${contestant.name}, ${phase.name}: victim p50 ${p50} µs, p99 ${p99} µs, longest ${max} µs, ${errorsOf(result)} of ${result.asked} ` +
      `in error, own delay p99 ${own.p99} µs${aggressor}; foreign ${others}${isDisturbed ? ', DISTURBED' : ''}`,
  );
}

const turned = (list, by) => list.map((_, index) => list[(index + by) % list.length]);

async function runRound(bench, contestant, setting, round) {
  const instance = await contestant.startFor(bench, setting.parties, setting.options);
  await setting.prepare?.(bench, instance);
  const results = {};
  const phases = setting.phases.filter(({ isFor }) => isFor?.(instance) ?? true);
  for (const phase of turned(phases, round)) {
    const result = await runQuietly(bench, instance, setting, phase);
    sayPhase(bench, contestant, phase, result);
    results[phase.name] = result;
  }
  await instance.stop();
  return results;
}

// setting:
//   parties, backends: what serves them; options: for startFor() of the contestants
//   prepare(bench, instance): before the first phase
//   victim(instance): options of the victim, or their promise
//   phases: the first is the victim alone; each {name,
//     start(bench, instance): resolves with the aggressor, {pid, otherPids: where it is several, stop(), counts()}; left out: nobody
//     check(result): throws when the phase was not what it says
//     about(attack, report of stop()): the aggressor in words
//     isFor(instance): false where the phase can't be}
//   peersEvery: in which rounds the peers take part
// Resolves with a map from the contestant's name to its rounds, {phase: result}, with gaps where it took no part.
export async function isolate(bench, contestants, setting) {
  const all = new Map(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round < bench.rounds; round++) {
    for (const contestant of turned(contestants, round)) {
      const isPeer = contestant !== bench.subject;
      if (bench.subject && isPeer && round % (setting.peersEvery ?? 1) !== 0) continue;
      all.get(contestant.name)[round] = await runRound(bench, contestant, setting, round);
    }
  }
  return all;
}

// Stops what served the parties.
export async function stopBackends({ backends }) {
  for (const backend of backends) await backend.stop();
}

// A figure of each round in which it could be taken; of(round) reads it.
export const figures = (rounds, of) => rounds.map((round) => of(round)).filter((value) => value !== undefined);

export const disturbedIn = (rounds) =>
  rounds.filter((round) => round && Object.values(round).some(({ isDisturbed }) => isDisturbed)).length;

// The row of a figure over rounds: its median, and where that is.
export function rowOf(name, unit, values, disturbed = 0) {
  if (values.length === 0) throw new Failure(`${name}: no round has it`);
  return { name, value: median(values), unit, spread: summary(values), interval: medianInterval(values), disturbed };
}

// Of the victim's time at `share` ('p50', 'p99') in one phase, to that in another.
export function ratioRow(name, rounds, share, phase, base) {
  const of = (round) => round && round[phase].latency_us[share] / round[base].latency_us[share];
  return rowOf(name, 'ratio', figures(rounds, of), disturbedIn(rounds));
}

// The same phase of two contestants, in the rounds in which both took part.
export function rivalRow(name, rounds, others, share, phase) {
  const of = (round, index) => others[index] && round[phase].latency_us[share] / others[index][phase].latency_us[share];
  const values = rounds.map((round, index) => round && of(round, index)).filter((value) => value !== undefined);
  return rowOf(name, 'ratio', values, disturbedIn(rounds));
}

// Requests of the victim that were not answered with success in time, in all rounds of the phases.
export function errorRow(name, rounds, phases) {
  const results = rounds.filter(Boolean).flatMap((round) => phases.map((phase) => round[phase]));
  const sum = (of) => results.reduce((total, result) => total + of(result), 0);
  const kinds = ['refused', 'failed', 'late'].map((kind) => `${sum((result) => result[kind])} ${kind}`).join(', ');
  return { name, value: sum(errorsOf), unit: 'requests', note: `of ${sum(({ asked }) => asked)}: ${kinds}` };
}

// The victim's time at `share` in a phase: its median over the rounds, where that is, and the median of its ratio to that of alone in the
// same round.
function timeCells(rounds, phases, phase, share) {
  const of = (round, { name }) => round[name].latency_us[share];
  const values = rounds.map((round) => of(round, phase));
  const toAlone = median(rounds.map((round) => of(round, phase) / of(round, phases[0])));
  return [median(values).toFixed(0), intervalText(medianInterval(values), 0), phase === phases[0] ? '' : toAlone.toFixed(2)];
}

// Of the round in the middle.
function attackCell(results) {
  const attacks = results.map(({ attack }) => attack).filter(Boolean);
  attacks.sort((a, b) => a.rate - b.rate);
  return attacks[Math.floor(attacks.length / 2)]?.about ?? '';
}

// Everybody's victim and aggressor, phase by phase; the first phase is the victim alone. text: who they are.
export function isolationTable(title, about, contestants, phases, all) {
  const text = `${about} Times are medians over the rounds; *to alone* is the median of the ratios within the rounds.`;
  const rows = contestants.flatMap(({ name, title: ofRow }) => {
    const rounds = all.get(name).filter(Boolean);
    const had = phases.filter((phase) => rounds.some((round) => round[phase.name]));
    return had.map((phase) => {
      const results = rounds.map((round) => round[phase.name]);
      const errors = results.reduce((sum, result) => sum + errorsOf(result), 0);
      const times = ['p50', 'p99'].flatMap((share) => timeCells(rounds, phases, phase, share));
      const own = median(results.map(({ delay_us: { p99 } }) => p99)).toFixed(0);
      return [ofRow, phase.name, ...times, String(errors), own, attackCell(results), String(rounds.length)];
    });
  });
  const times = ['p50', 'p99'].flatMap((share) => [`victim ${share} µs`, 'its interval', 'to alone']);
  const head = ['contestant', 'phase', ...times, 'victim errors', 'own delay p99 µs', 'aggressor', 'rounds'];
  return { title, text, head, rows };
}

// Rounds: windows of time in which contestants at saturation are charged for what they used per request.
//
// Side by side: two contestants share one core at the same moment, each with clients of its own, so whatever disturbs one
// disturbs the other; each round gives one ratio. In turn: each contestant has the core alone, one after the other, and
// a round gives one figure per contestant.
//
// A round counts when both cores belonged to the benchmark: what they were busy beyond the time of its own processes
// is foreign, the hypervisor's steal included.
import { setTimeout as delay } from 'node:timers/promises';
import { coreTimes, cpuNs, networkThreadOf, nowNs } from './accounting.mjs';
import { Load, expectClean } from './load.mjs';

const WARM_UP_MS = 700;
const ROUNDS_PER_START = 3; // processes are started anew after so many, since each start has luck of its own
const FOREIGN_MAX = 0.03; // share of a core
const TRIES_PER_ROUND = 3;
const QUIET_SHARE = 0.08;
const QUIET_WAIT_MS = 15000;
const LOAD_SECONDS = 600;

// Waits, within a bound, until both cores are nearly idle.
async function waitForQuiet(bench) {
  const cores = [bench.cores.contestant, bench.cores.helpers];
  const end = Date.now() + QUIET_WAIT_MS;
  for (;;) {
    const start = nowNs();
    const before = cores.map((core) => coreTimes(core).busyNs);
    await delay(400);
    const shares = cores.map((core, index) => (coreTimes(core).busyNs - before[index]) / (nowNs() - start));
    if (Math.max(...shares) < QUIET_SHARE || Date.now() > end) return;
  }
}

// The accounts of the sides, [{instance, load}], at this moment.
export function sample(bench, sides) {
  const perSide = sides.map(({ instance, load }) => ({ counts: load.counts(), cpu: cpuNs(instance.pids()) }));
  const helpers = [process.pid, bench.backend.pid, ...sides.map(({ load }) => load.pid)];
  for (const { instance } of sides) helpers.push(...(instance.helperPids?.() ?? []));
  return {
    at: nowNs(),
    sides: perSide,
    helperCpu: cpuNs([...helpers, ...networkThreadOf(bench.cores.helpers)]),
    networkCpu: cpuNs(networkThreadOf(bench.cores.contestant)),
    contestantCore: coreTimes(bench.cores.contestant),
    helperCore: coreTimes(bench.cores.helpers),
  };
}

// The share of a core that went to others between two samples, on the core where it was more.
export function foreignBetween(before, after) {
  const own = after.sides.reduce((sum, { cpu }, index) => sum + cpu - before.sides[index].cpu, 0);
  const contestants = own + after.networkCpu - before.networkCpu;
  const helpers = after.helperCpu - before.helperCpu;
  const onFirst = after.contestantCore.busyNs - before.contestantCore.busyNs - contestants;
  const onSecond = after.helperCore.busyNs - before.helperCore.busyNs - helpers;
  return Math.max(0, onFirst, onSecond) / (after.at - before.at);
}

// One window: {us: [CPU microseconds per request of each side], foreign, idle, rate}, shares of a core.
async function measure(bench, sides, windowMs) {
  const before = sample(bench, sides);
  await delay(windowMs);
  const after = sample(bench, sides);
  const elapsed = after.at - before.at;
  const cpu = sides.map((_, index) => after.sides[index].cpu - before.sides[index].cpu);
  const requests = sides.map((_, index) => after.sides[index].counts.answered - before.sides[index].counts.answered);
  sides.forEach(({ contestant }, index) => expectClean(after.sides[index].counts, contestant.name));
  const round = {
    us: cpu.map((value, index) => value / 1000 / requests[index]),
    foreign: foreignBetween(before, after),
    idle: (after.contestantCore.idleNs - before.contestantCore.idleNs) / elapsed,
    rate: (requests.reduce((sum, value) => sum + value, 0) / elapsed) * 1e9,
  };
  bench.sayRound(sides.map(({ contestant }) => contestant.name), round);
  return round;
}

// The processes must run before their load does. Returns the sides of a round; close() ends them.
async function openSides(bench, contestants) {
  const sides = [];
  for (const contestant of contestants) sides.push({ contestant, instance: await contestant.start(bench) });
  return sides;
}

async function startLoads(bench, sides) {
  for (const side of sides) {
    const { port, heads } = side.instance;
    side.load = new Load(bench, { port, heads, connections: bench.connections, seconds: LOAD_SECONDS });
  }
  await delay(WARM_UP_MS);
}

async function stopLoads(sides) {
  await Promise.all(sides.map(({ load }) => load.stop()));
}

async function closeSides(sides) {
  for (const { instance } of sides) await instance.stop();
}

// Of the rounds measured, the wanted number: the undisturbed ones, and where these do not suffice the least disturbed.
function choose(rounds, wanted) {
  const clean = rounds.filter((round) => round.foreign <= FOREIGN_MAX);
  const chosen = [...rounds].sort((a, b) => a.foreign - b.foreign).slice(0, wanted);
  return {
    rounds: clean.length >= wanted ? clean.slice(0, wanted) : chosen,
    discarded: rounds.length - wanted,
    disturbed: Math.max(0, wanted - clean.length),
  };
}

const isClean = (round) => round.foreign <= FOREIGN_MAX;

// Runs contestants a and b on one core at the same time. Returns {rounds: [{us, foreign, idle, rate}], discarded,
// disturbed}, us being [a, b].
export async function sideBySide(bench, a, b) {
  const all = [];
  const triesMax = bench.rounds * TRIES_PER_ROUND;
  let clean = 0;
  for (let start = 0; clean < bench.rounds && all.length < triesMax; start++) {
    await waitForQuiet(bench);
    const isSwapped = start % 2 === 1;
    const sides = await openSides(bench, isSwapped ? [b, a] : [a, b]);
    await startLoads(bench, sides);
    for (let count = 0; count < ROUNDS_PER_START && clean < bench.rounds && all.length < triesMax; count++) {
      const round = await measure(bench, sides, bench.windowMs);
      if (isSwapped) round.us.reverse();
      all.push(round);
      clean += isClean(round);
    }
    await stopLoads(sides);
    await closeSides(sides);
  }
  return choose(all, Math.min(bench.rounds, all.length));
}

// Runs the contestants one after the other, round after round. Returns by name what sideBySide() returns, us being [x].
export async function inTurn(bench, contestants) {
  const sides = await openSides(bench, contestants);
  const all = new Map(contestants.map(({ name }) => [name, []]));
  const triesMax = bench.rounds * TRIES_PER_ROUND;
  const lacks = () => [...all.values()].some((rounds) => rounds.filter(isClean).length < bench.rounds);
  for (let round = 0; round < triesMax && (round < bench.rounds || lacks()); round++) {
    if (round >= bench.rounds) await waitForQuiet(bench);
    for (const side of sides) {
      const rounds = all.get(side.contestant.name);
      if (rounds.filter(isClean).length >= bench.rounds) continue;
      await startLoads(bench, [side]);
      rounds.push(await measure(bench, [side], bench.windowMs / 2));
      await stopLoads([side]);
    }
  }
  await closeSides(sides);
  return new Map([...all].map(([name, rounds]) => [name, choose(rounds, Math.min(bench.rounds, rounds.length))]));
}

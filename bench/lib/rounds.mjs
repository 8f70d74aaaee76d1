// Rounds: windows of time in which contestants at saturation are charged for what they used per request.
//
// Side by side: two contestants share one core at the same moment, each with clients of its own, so whatever disturbs
// one disturbs the other; each round gives one ratio. In turn: each contestant has the core alone, in short slices.
//
// A round counts when both cores belonged to the benchmark: what they were busy beyond the time of its own processes
// is foreign, the hypervisor's steal included.
import { setTimeout as delay } from 'node:timers/promises';
import { cpuNs, idleNs, networkThreadOf, nowNs } from './accounting.mjs';
import { Load, expectClean, startFiller } from './load.mjs';
import { Failure } from './processes.mjs';

const WARM_UP_MS = 700;
const WARM_MAX_MS = 10000; // for loads that are not warm by then
const IDLE_MAX = 0.2; // above it the contestants were not at saturation
const US_MIN = 1; // no proxy needs less than this for a request; who seems to is charged for the wrong processes
const FOREIGN_MAX = [0.04, 0.12]; // shares of the contestant's core and of the helpers', see README.md
const TRIES_PER_ROUND = 2;
const SETTLE_MS = 30; // of a load that was frozen
const SLICE_MS = 100;
const CYCLES_PER_ROUND = 4;
export const STARTS = 3; // each start has luck of its own
const QUIET_SHARE = 0.08;
const QUIET_WAIT_MS = 8000;
const LOAD_SECONDS = 600;

// Waits, within a bound, until both cores are nearly idle.
export async function waitForQuiet(bench) {
  const cores = [bench.cores.contestant, bench.cores.helpers];
  const end = Date.now() + QUIET_WAIT_MS;
  for (;;) {
    const start = nowNs();
    const before = cores.map(idleNs);
    await delay(400);
    const shares = cores.map((core, index) => 1 - (idleNs(core) - before[index]) / (nowNs() - start));
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
    fillerCpu: bench.filler ? cpuNs([bench.filler.pid]) : 0,
    contestantIdle: idleNs(bench.cores.contestant),
    helperIdle: idleNs(bench.cores.helpers),
  };
}

// What went to others between two samples, as shares of the contestant's core and of the helpers'.
export function foreignBetween(before, after) {
  const elapsed = after.at - before.at;
  const grown = (name) => after[name] - before[name];
  const own = after.sides.reduce((sum, { cpu }, index) => sum + cpu - before.sides[index].cpu, 0);
  const onFirst = elapsed - grown('contestantIdle') - grown('fillerCpu') - own - grown('networkCpu');
  const onSecond = elapsed - grown('helperIdle') - grown('helperCpu');
  return [onFirst, onSecond].map((ns) => Math.max(0, ns) / elapsed);
}

function expectSound(sides, before, after) {
  sides.forEach(({ contestant, load }, index) => {
    const [first, last] = [before, after].map((one) => one.sides[index].counts);
    expectClean(last, contestant.name);
    const fault = load.faultOf(first, last);
    if (fault) throw new Failure(`${contestant.name}: ${fault}`);
  });
}

// One window: {us: [CPU microseconds per request of each side], foreign, idle, isFilled, rate}, shares of a core. What
// the filler took is idle.
async function measure(bench, sides, windowMs) {
  const before = sample(bench, sides);
  await delay(windowMs);
  const after = sample(bench, sides);
  const elapsed = after.at - before.at;
  const cpu = sides.map((_, index) => after.sides[index].cpu - before.sides[index].cpu);
  const requests = sides.map((_, index) => after.sides[index].counts.answered - before.sides[index].counts.answered);
  expectSound(sides, before, after);
  const round = {
    us: cpu.map((value, index) => value / 1000 / requests[index]),
    foreign: foreignBetween(before, after),
    idle: (after.contestantIdle + after.fillerCpu - before.contestantIdle - before.fillerCpu) / elapsed,
    isFilled: bench.load.isFilled,
    rate: (requests.reduce((sum, value) => sum + value, 0) / elapsed) * 1e9,
  };
  const wrong = sides.findIndex((_, index) => !(round.us[index] >= US_MIN));
  if (wrong >= 0) throw new Failure(`${sides[wrong].contestant.name}: ${round.us[wrong]} µs a request cannot be`);
  bench.sayRound(sides.map(({ contestant }) => contestant.name), round);
  return round;
}

// Starts the contestants. Their loads follow with startLoads().
async function openSides(bench, contestants) {
  const sides = [];
  for (const contestant of contestants) sides.push({ contestant, instance: await contestant.start(bench) });
  return sides;
}

// The filler, where the load wants one. It takes nothing from whoever starts meanwhile.
async function fill(bench) {
  bench.filler = bench.load.isFilled ? await startFiller(bench) : null;
}

async function unfill(bench) {
  await bench.filler?.stop();
  bench.filler = null;
}

async function startLoads(bench, sides) {
  for (const side of sides) {
    const { port, heads } = side.instance;
    side.load = new Load(bench, { port, heads, connections: bench.connections, seconds: LOAD_SECONDS });
  }
  await delay(WARM_UP_MS);
  for (const { load } of sides) await load.warm(WARM_MAX_MS);
}

async function stopLoads(sides) {
  await Promise.all(sides.map(({ load }) => load.stop()));
}

async function closeSides(sides) {
  for (const { instance } of sides) await instance.stop();
}

// How far what else ran goes to the bound; above 1 the window was disturbed.
export const foreignness = (foreign) => Math.max(...foreign.map((share, core) => share / FOREIGN_MAX[core]));

const disturbance = ({ foreign, idle, isFilled }) => Math.max(isFilled ? 0 : idle / IDLE_MAX, foreignness(foreign));
const isClean = (round) => disturbance(round) <= 1;

// Of the rounds measured, the wanted number: the undisturbed ones, and where these do not suffice the least disturbed.
function choose(rounds, wanted) {
  const clean = rounds.filter(isClean);
  const chosen = [...rounds].sort((a, b) => disturbance(a) - disturbance(b)).slice(0, wanted);
  return {
    rounds: clean.length >= wanted ? clean.slice(0, wanted) : chosen,
    discarded: rounds.length - wanted,
    disturbed: Math.max(0, wanted - clean.length),
  };
}

// Runs contestants a and b on one core at the same time. Both are started anew for each round, since each start has
// luck of its own, and in alternating order. Returns {rounds: [{us, foreign, idle, rate}], discarded, disturbed}, us
// being [a, b].
export async function sideBySide(bench, a, b) {
  const all = [];
  while (all.filter(isClean).length < bench.rounds && all.length < bench.rounds * TRIES_PER_ROUND) {
    const isSwapped = all.length % 2 === 1;
    await waitForQuiet(bench);
    const sides = await openSides(bench, isSwapped ? [b, a] : [a, b]);
    await fill(bench);
    await startLoads(bench, sides);
    const round = await measure(bench, sides, bench.windowMs);
    if (isSwapped) round.us.reverse();
    all.push(round);
    await stopLoads(sides);
    await unfill(bench);
    await closeSides(sides);
  }
  return choose(all, Math.min(bench.rounds, all.length));
}

// One slice of a contestant whose load was frozen until now.
async function slice(bench, side) {
  side.load.thaw();
  await delay(SETTLE_MS);
  const round = await measure(bench, [side], SLICE_MS);
  side.load.freeze();
  return round;
}

// The contestants' slices of one start: [[round of each contestant] of each cycle].
async function cyclesOfOneStart(bench, contestants) {
  const sides = await openSides(bench, contestants);
  for (const side of sides) {
    await startLoads(bench, [side]);
    side.load.freeze();
  }
  await fill(bench);
  const cycles = [];
  for (let cycle = 0; cycle < bench.rounds * (bench.cyclesPerRound ?? CYCLES_PER_ROUND); cycle++) {
    const rounds = [];
    for (let k = 0; k < sides.length; k++) {
      const index = (cycle + k) % sides.length;
      rounds[index] = await slice(bench, sides[index]);
    }
    cycles.push(rounds);
  }
  await unfill(bench);
  for (const side of sides) side.load.thaw();
  await stopLoads(sides);
  await closeSides(sides);
  return cycles;
}

// Runs the contestants one after the other in slices of a tenth of a second, the loads of the others frozen: each has the
// core alone, and yet so soon after one another that what disturbs one disturbs all. Returns by name {us, ratios, idle,
// rate}, each a list by slice; ratios are to the first contestant in the same cycle.
export async function inTurn(bench, contestants) {
  const cycles = [];
  for (let start = 0; start < STARTS; start++) cycles.push(...(await cyclesOfOneStart(bench, contestants)));
  const listsOf = (index) => ({
    us: cycles.map((rounds) => rounds[index].us[0]),
    ratios: cycles.map((rounds) => rounds[index].us[0] / rounds[0].us[0]),
    idle: cycles.map((rounds) => rounds[index].idle),
    rate: cycles.map((rounds) => rounds[index].rate),
  });
  return new Map(contestants.map(({ name }, index) => [name, listsOf(index)]));
}

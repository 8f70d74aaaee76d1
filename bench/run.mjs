// The benchmark. README.md beside this file has the method.
import path from 'node:path';
import { parseArgs } from 'node:util';
import { daemun, binaryPath } from './contestants/daemun.mjs';
import { beside } from './lib/comparison.mjs';
import { GOALS, judge } from './lib/goals.mjs';
import { makeCertificate } from './lib/certificate.mjs';
import { startBackend } from './lib/load.mjs';
import { LOADS, withLoad } from './lib/loads.mjs';
import { Failure, pin, raisePriority, stopChildren } from './lib/processes.mjs';
import { formatValue, remarkOf, render, write } from './lib/report.mjs';
import { inTurn } from './lib/rounds.mjs';
import { summary } from './lib/stats.mjs';
import { buildPrograms, ensureTools, machine, versions } from './lib/tools.mjs';
import { prove } from './proof.mjs';
import { breaker } from './scenarios/breaker.mjs';
import { cell } from './scenarios/cell.mjs';
import { change } from './scenarios/change.mjs';
import { cost } from './scenarios/cost.mjs';
import { cpu } from './scenarios/cpu.mjs';
import { edge } from './scenarios/edge.mjs';
import { flood } from './scenarios/flood.mjs';
import { h2Attack } from './scenarios/h2_attack.mjs';
import { hang } from './scenarios/hang.mjs';
import { idle, idleTls, idleWs } from './scenarios/idle.mjs';
import { many } from './scenarios/many.mjs';
import { slow } from './scenarios/slow.mjs';
import { uneven } from './scenarios/uneven.mjs';

const SCENARIOS = [cpu, ...edge, idle, idleTls, idleWs, change, h2Attack, flood, hang, many, slow, uneven, breaker, cell, cost];
const ROUNDS = 9;
const ROUNDS_QUICK = 3;
const WINDOW_MS = 2000;
const TOTAL_MS = 100 * 60 * 1000;
const EDGE_NAMES = edge.map(({ name }) => name);

const HELP = `usage: bench/run [options]

Runs Daemun beside a bare relay, nginx and haproxy and holds the figures against their goals.
Writes bench/results/latest.json and a page with the date.

  --quick            ${ROUNDS_QUICK} rounds instead of ${ROUNDS}, fewer changes
  --only NAME        one scenario or one goal; writes nothing
  --peers            relay, nginx and haproxy without Daemun; writes nothing
  --vs BINARY        this build of Daemun beside another one, with the clients of --only cpu (the default),
                     ${EDGE_NAMES.join(', ')}; writes nothing, exit 1 above --max-ratio
  --max-ratio R      for --vs (default 1.02)
  --prove            no figures: the loads beside nginx's access log and against servers that they must complain about;
                     exit 1 when a case fails
  --strict           exit 1 when a goal is missed
  --rounds N         rounds per figure
  --connections N    connections per contestant (default 64, which the goals are for; h2 keeps its
                     ${LOADS.h2.connections})
  --cores A,B        A for the contestant, B for load and backend (default 0,1)
  --verbose          every round, with what else ran in it
  --help

Scenarios: ${SCENARIOS.map(({ name }) => name).join(', ')}
Goals: ${GOALS.map(({ name }) => name).join(', ')}

Exit status: 0 measured, 1 a measurement failed (or see --vs, --strict), 2 wrong usage.
`;

class UsageError extends Error {}

function integerOf(values, name, min, max) {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < min || value > max)
    throw new UsageError(`--${name}: expected a whole number from ${min} to ${max}, got '${values[name]}'`);
  return value;
}

function coresOf(text) {
  const match = /^(\d+),(\d+)$/.exec(text);
  if (!match || match[1] === match[2])
    throw new UsageError(`--cores: expected two different cores as in 0,1, got '${text}'`);
  return { contestant: Number(match[1]), helpers: Number(match[2]) };
}

// Which scenarios, and which goals of theirs (null: all, and what is informative too).
function selectionOf(only) {
  if (only === undefined) return { scenarios: SCENARIOS, goals: null };
  const scenario = SCENARIOS.find(({ name }) => name === only);
  if (scenario) return { scenarios: [scenario], goals: null };
  const goal = GOALS.find(({ name }) => name === only);
  if (!goal) throw new UsageError(`--only: there is no scenario and no goal '${only}'`);
  return { scenarios: SCENARIOS.filter(({ name }) => name === goal.scenario), goals: new Set([only]) };
}

function readOptions() {
  const text = { type: 'string' };
  const flag = { type: 'boolean', default: false };
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        ...{ quick: flag, peers: flag, strict: flag, verbose: flag, help: flag, prove: flag },
        ...{ only: text, vs: text, rounds: text },
        'max-ratio': { ...text, default: '1.02' },
        connections: { ...text, default: '64' },
        cores: { ...text, default: '0,1' },
      },
    }));
  } catch (error) {
    throw new UsageError(error.message);
  }
  values.rounds ??= String(values.quick ? ROUNDS_QUICK : ROUNDS);
  const maxRatio = Number(values['max-ratio']);
  if (!(maxRatio > 0)) throw new UsageError(`--max-ratio: expected a number above 0, got '${values['max-ratio']}'`);
  return {
    ...values,
    ...selectionOf(values.only),
    maxRatio,
    rounds: integerOf(values, 'rounds', 1, 99),
    connections: integerOf(values, 'connections', 1, 4096),
    cores: coresOf(values.cores),
  };
}

const say = (text) => process.stdout.write(`==> ${text}\n`);

function sayRow(row) {
  const unit = row.unit === 'ratio' ? '' : ` ${row.unit}`;
  process.stdout.write(`    ${row.name} ${formatValue(row.value, row.unit)}${unit}  ${remarkOf(row)}\n`);
}

function sayRound(names, { us, foreign, idle, rate }) {
  const figures = us.map((value, index) => `${names[index]} ${value.toFixed(2)} µs`).join(', ');
  const others = foreign.map((share) => `${(share * 100).toFixed(1)}%`).join(' and ');
  const shares = `foreign ${others}, idle ${(idle * 100).toFixed(1)}%`;
  process.stdout.write(`    round: ${figures}; ${shares}, ${Math.round(rate)} requests/s\n`);
}

async function prepare(options) {
  ensureTools(say);
  pin(process.pid, options.cores.helpers);
  raisePriority();
  const { cores, connections, rounds, goals, quick, verbose } = options;
  const isAlone = options.scenarios.length === 1;
  const bench = { cores, connections, rounds, goals, isAlone, isQuick: quick, windowMs: WINDOW_MS, say, sayRow };
  bench.sayRound = verbose ? sayRound : () => {};
  bench.sayDetail = verbose ? (text) => process.stdout.write(`    ${text}\n`) : () => {};
  bench.programs = buildPrograms();
  bench.certificate = makeCertificate();
  bench.backend = await startBackend(bench);
  return withLoad(bench, LOADS.plain);
}

function requireDaemun(binary, title) {
  const contestant = daemun(path.resolve(binary), title);
  if (!contestant) throw new Failure(`${binary} is not there. Build it (make), or measure the peers alone (--peers)`);
  return contestant;
}

// The clients with which two builds are compared.
function loadOf({ only = 'cpu' }) {
  if (only !== 'cpu' && !EDGE_NAMES.includes(only))
    throw new UsageError(`--vs: with --only, expected cpu, ${EDGE_NAMES.join(', ')}, got '${only}'`);
  return LOADS[only] ?? LOADS.plain;
}

async function compareBuilds(wide, options) {
  const bench = withLoad(wide, loadOf(options));
  const ours = requireDaemun(binaryPath(), 'this build');
  const theirs = requireDaemun(options.vs, 'the other build');
  const row = await beside(bench, ours, theirs, 'cpu_ratio_vs');
  say('in turn: this build and the other build');
  const turns = summary((await inTurn(bench, [{ ...theirs, name: 'other' }, ours])).get(ours.name).ratios);
  sayRow({ name: 'cpu_ratio_vs_in_turn', value: turns.median, unit: 'ratio', spread: turns });
  const isKept = Math.max(row.value, turns.median) <= options.maxRatio;
  say(`at most ${options.maxRatio}: ${isKept ? 'kept' : 'missed'}`);
  return isKept ? 0 : 1;
}

const timeText = (ms) => `${Math.floor(ms / 60000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, '0')}`;

// Runs the scenarios. A scenario that fails is said so and leaves its goals unmeasured; the others still run.
async function runScenarios(bench, options) {
  const result = { rows: [], turns: [], tables: [], times: [], hasFailed: false };
  const begin = Date.now();
  for (const scenario of options.scenarios) {
    if (scenario.needsSubject && !bench.subject) continue;
    const start = Date.now();
    try {
      const { rows, turns = [], tables = [] } = await scenario.run(bench);
      result.rows.push(...rows);
      result.turns.push(...turns);
      result.tables.push(...tables);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      process.stderr.write(`bench: ${scenario.name}: ${error.message}\n`);
      result.hasFailed = true;
      await stopChildren((pid) => pid === bench.backend.pid);
    }
    result.times.push([scenario.name, timeText(Date.now() - start)]);
  }
  result.times.push(['all', timeText(Date.now() - begin)]);
  return result;
}

async function measure(bench, options) {
  bench.subject = options.peers ? null : requireDaemun(binaryPath());
  const { rows, turns, tables, times, hasFailed } = await runScenarios(bench, options);
  const measured = new Map(rows.map((row) => [row.name, row]));
  const names = new Set(GOALS.map(({ name }) => name));
  const asked = GOALS.filter(({ name, scenario }) =>
    options.goals ? options.goals.has(name) : options.scenarios.some((one) => one.name === scenario),
  );
  const goals = options.peers ? [] : judge(measured, asked);
  const date = new Date().toISOString().slice(0, 10);
  const others = rows.filter(({ name }) => !names.has(name));
  const about = { machine: machine(), versions: versions(bench.subject?.binary), date, isQuick: options.quick };
  const ofTimes = { title: 'How long it took', head: ['scenario', 'minutes'], rows: times };
  const text = render({ goals, measured, others, tables: [...tables, ofTimes], turns, ...about });
  process.stdout.write(`\n${text}\n`);
  if (!options.peers && options.only === undefined) for (const file of write(goals, text, date)) say(`wrote ${file}`);
  return hasFailed || (options.strict && goals.some(({ ok }) => !ok)) ? 1 : 0;
}

async function main() {
  const options = readOptions();
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  setTimeout(() => {
    process.stderr.write(`bench: stopped after ${TOTAL_MS / 60000} minutes\n`);
    process.exit(1);
  }, TOTAL_MS).unref();
  const bench = await prepare(options);
  if (options.prove) return (await prove(bench)) === 0 ? 0 : 1;
  return options.vs ? compareBuilds(bench, options) : measure(bench, options);
}

main().then(
  (status) => process.exit(status),
  (error) => {
    const isUsage = error instanceof UsageError;
    const isKnown = isUsage || error instanceof Failure;
    process.stderr.write(`bench: ${isKnown ? error.message : error.stack}\n`);
    if (isUsage) process.stderr.write("bench: 'bench/run --help' says what there is\n");
    process.exit(isUsage ? 2 : 1);
  },
);

// A dedicated tenant whose worker process is killed (SIGKILL) under load, again and again: what a neighbour on the shared workers hears of
// it, and how long it is until the cell serves again.
import { setTimeout as delay } from 'node:timers/promises';
import { schemasOf } from '../contestants/daemun.mjs';
import { Load, Victim, startBackend } from '../lib/load.mjs';
import { headFor, partyOf } from '../lib/parties.mjs';
import { Failure } from '../lib/processes.mjs';
import { intervalText } from '../lib/report.mjs';
import { median, medianInterval } from '../lib/stats.mjs';
import { VICTIM } from './flood.mjs';

const ROUNDS_MAX = 3;
const KILLS = 5; // in a row; each is answered with a longer pause
const CONNECTIONS = 64;
const BETWEEN_MS = 300;
const BACK_MS = 20000;
const SECONDS_MAX = 300;
const LOOK_MS = 2;

// Resolves with the first value of `check` that is one.
async function until(what, check) {
  for (const end = Date.now() + BACK_MS; Date.now() < end; await delay(LOOK_MS)) {
    const value = check();
    if (value) return value;
  }
  throw new Failure(`${what}: not in ${BACK_MS} ms`);
}

// Successes, since the shared workers refuse what they can't hand over.
const successesOf = ({ answered, non_2xx: refused }) => answered - refused;

function untilAnswered(load) {
  const before = successesOf(load.counts());
  return until('an answer of the dedicated tenant', () => successesOf(load.counts()) > before);
}

// Kills what serves the tenant. Resolves with the milliseconds until its load was answered again.
async function killOnce(instance, tenant, load) {
  const pids = await until('a process of the dedicated tenant', () => instance.cellOf(tenant));
  const { failed } = load.counts();
  const start = Date.now();
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  await until('the end of its connections', () => load.counts().failed >= failed + CONNECTIONS);
  await untilAnswered(load);
  const ms = Date.now() - start;
  await delay(BETWEEN_MS);
  return ms;
}

async function runRound(bench, backends) {
  const parties = [partyOf('beside', backends.own), partyOf('dedicated', backends.dedicated, { tenant: { tenancy: 'dedicated' } })];
  const instance = await bench.subject.startFor(bench, parties);
  const [victim, dedicated] = parties;
  const port = instance.ports.plain;
  const load = new Load(bench, { port, heads: [headFor(dedicated)], connections: CONNECTIONS, seconds: SECONDS_MAX });
  await untilAnswered(load);
  const neighbour = new Victim(bench, { ...VICTIM, port, heads: [headFor(victim)], seconds: SECONDS_MAX });
  const back = [];
  while (back.length < KILLS) back.push(await killOnce(instance, 1, load));
  const report = await neighbour.stop();
  const lost = await load.stop();
  await instance.stop();
  bench.sayDetail(`killed ${KILLS} times: answered again after ${back.join(', ')} ms; neighbour ${report.answered} of ${report.asked}`);
  return { back, report, lost };
}

function rowsOf(rounds) {
  const sum = (of) => rounds.reduce((total, round) => total + of(round), 0);
  const back = rounds.flatMap((round) => round.back);
  const asked = sum(({ report }) => report.asked);
  const note = `of ${asked}, while the cell was killed ${KILLS * rounds.length} times under ${CONNECTIONS} connections in a closed loop`;
  const failed = sum(({ lost }) => lost.failed + lost.non_2xx);
  return [
    { name: 'cell_neighbour_errors', value: asked - sum(({ report }) => report.answered), unit: 'requests', note },
    { name: 'cell_back_ms', value: median(back), unit: 'ms', note: `${intervalText(medianInterval(back), 0)}, at most ${Math.max(...back)}` },
    { name: 'cell_own_errors', value: failed, unit: 'requests', note: "the dedicated tenant's, in hand or refused meanwhile" },
  ];
}

export const cell = {
  name: 'cell',
  needsSubject: true,
  async run(bench) {
    const { Tenant } = await schemasOf(bench, bench.subject);
    if (!('tenancy' in Tenant)) {
      bench.say('this build has no dedicated tenants: what the death of a cell costs others is not measured');
      return { rows: [] };
    }
    bench.say(`a dedicated tenant whose worker is killed ${KILLS} times under load, and a neighbour`);
    const backends = { own: await startBackend(bench, { isRealtime: true }), dedicated: await startBackend(bench) };
    const rounds = [];
    while (rounds.length < Math.min(bench.rounds, ROUNDS_MAX)) rounds.push(await runRound(bench, backends));
    for (const backend of Object.values(backends)) await backend.stop();
    const rows = rowsOf(rounds);
    rows.forEach(bench.sayRow);
    return { rows };
  },
};

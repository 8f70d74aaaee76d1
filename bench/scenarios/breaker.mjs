// A backend that dies and heals, seen by its callers through the whole program: how many of their requests fail in each worker before it
// is cut off, and how many calls it takes until it is back. Meanwhile neighbours ask, one of them at the same address.
//
// Callers ask one request after the other, one caller on each worker (lib/spread.mjs), so that what is counted is the breaker's doing and
// not how many were on their way. What a crowd sends on top of that is measured beside. That innocent backends are not cut off is
// tests/unit/gateway/test_breaker.c's: 10,000 random ones.
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { Fickle, sickBackend } from '../lib/fickle.mjs';
import { Load, Victim, startBackend } from '../lib/load.mjs';
import { headFor, partyOf } from '../lib/parties.mjs';
import { Failure } from '../lib/processes.mjs';
import { portsFor } from '../lib/spread.mjs';
import { KEY_HEADER, PATH } from '../lib/workload.mjs';
import { VICTIM } from './flood.mjs';

const WORKERS = 2;
const ROUNDS_MAX = 3;
const KINDS = ['refuses', 'hangs', 'fails'];
const RESPONSE_TIMEOUT_MS = 200; // of the backends that die
const WELL_CALLS = 20;
const FAILED_MAX = 100;
const DEAD_MS = 2000;
const PAUSE_MS = 5;
const BACK_MS = 30000;
const BACK_CALLS = 50;
const CROWD = 64;
const CROWD_MS = 500;
const SECONDS_MAX = 300;
const REPORT_MS = 10000;

// One request after the other on one connection, from one port.
class Caller {
  constructor({ ports }, party, localPort) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const headers = { Host: party.host, [KEY_HEADER]: party.key };
    this.options = { host: '127.0.0.1', port: ports.plain, path: PATH, headers, agent, localPort, localAddress: '127.0.0.1' };
  }

  // What became of it: 'ok', the gateway's reason, or the status.
  call() {
    return new Promise((resolve, reject) => {
      const request = http.get(this.options, (response) => {
        response.resume();
        const { statusCode, headers } = response;
        response.on('end', () => resolve(statusCode === 200 ? 'ok' : (headers['daemun-reason'] ?? String(statusCode))));
      });
      request.on('error', reject);
    });
  }

  end() {
    this.options.agent.destroy();
  }
}

const REFUSED = 'circuit_open';

async function expectWell(caller) {
  for (let i = 0; i < WELL_CALLS; i++) {
    const outcome = await caller.call();
    if (outcome !== 'ok') throw new Failure(`a backend that is well was answered for with ${outcome}`);
  }
}

// How many calls fail until one is refused.
async function failUntilCut(caller) {
  for (let failed = 0; failed < FAILED_MAX; failed++) if ((await caller.call()) === REFUSED) return failed;
  return FAILED_MAX;
}

// How many calls are let through in a time.
async function letThrough(caller, ms) {
  let count = 0;
  for (const end = Date.now() + ms; Date.now() < end; await delay(PAUSE_MS)) count += (await caller.call()) !== REFUSED;
  return count;
}

// Asks until so many behind one another are answered. How many were let through before the first of them and with it, how many of these
// failed, and how long it took.
async function askUntilBack(caller) {
  const start = Date.now();
  const found = { probes: 0, failed: 0, ms: 0 };
  let run = 0;
  let through = 0;
  while (run < BACK_CALLS) {
    const outcome = await caller.call();
    if (outcome === 'ok' && run++ === 0) Object.assign(found, { probes: through + 1, ms: Date.now() - start });
    if (outcome !== 'ok') run = 0;
    through += outcome !== REFUSED;
    found.failed += outcome !== REFUSED && outcome !== 'ok';
    if (Date.now() > start + BACK_MS) throw new Failure(`not back in ${BACK_MS} ms`);
    if (outcome === REFUSED) await delay(PAUSE_MS);
  }
  return found;
}

// Dies and heals once. Figures by worker.
async function runKind(instance, kind, party, fickle) {
  const ports = await portsFor({ port: instance.ports.plain, pids: instance.workers }, Array(WORKERS).fill(1));
  const callers = ports.map((port) => new Caller(instance, party, port));
  const all = (act) => Promise.all(callers.map(act));
  await all(expectWell);
  await fickle.be(kind);
  const failed = await all(failUntilCut);
  const probes = await all((caller) => letThrough(caller, DEAD_MS));
  await fickle.be('well');
  const back = await all(askUntilBack);
  callers.forEach((caller) => caller.end());
  return { failed, probes, back };
}

// How many requests of a crowd's reach a backend that fails, by worker, until it is cut off.
async function runCrowd(bench, instance, party, fickle) {
  const options = { port: instance.ports.plain, heads: [headFor(party)], connections: CROWD, seconds: SECONDS_MAX };
  const load = new Load(bench, options);
  await load.warm(REPORT_MS);
  await fickle.be('fails');
  await delay(CROWD_MS);
  const { reached } = fickle;
  await load.stop();
  await fickle.be('well');
  return reached / WORKERS;
}

// Ask at a constant rate until they are stopped: one with its own backend, one at the address of a backend that dies.
function startNeighbours(bench, instance, parties) {
  const port = instance.ports.plain;
  return parties.map((party) => new Victim(bench, { ...VICTIM, port, heads: [headFor(party)], seconds: SECONDS_MAX }));
}

async function runRound(bench, backends) {
  const sick = Object.fromEntries(
    [...KINDS, 'crowd'].map((name) => {
      const backend = { ...sickBackend, response_timeout_ms: RESPONSE_TIMEOUT_MS };
      return [name, partyOf(`sick-${name}`, backends[name], { backend })];
    }),
  );
  const innocents = [partyOf('beside', backends.own), partyOf('same-address', backends.fails)];
  const instance = await bench.subject.startFor(bench, [...innocents, ...Object.values(sick)], { workers: WORKERS });
  const neighbours = startNeighbours(bench, instance, innocents);
  const kinds = {};
  for (const kind of KINDS) {
    kinds[kind] = await runKind(instance, kind, sick[kind], backends[kind]);
    bench.sayDetail(`${kind}: ${JSON.stringify(kinds[kind])}`);
  }
  const crowd = await runCrowd(bench, instance, sick.crowd, backends.crowd);
  const reports = await Promise.all(neighbours.map((neighbour) => neighbour.stop()));
  await instance.stop();
  return { kinds, crowd, reports };
}

const worst = (rounds, of) => Math.max(...rounds.flatMap(({ kinds }) => Object.values(kinds).flatMap(of)));
const byKind = (rounds, of) => KINDS.map((kind) => `${kind} ${Math.max(...rounds.flatMap(({ kinds }) => of(kinds[kind])))}`).join(', ');

function rowsOf(rounds) {
  const failed = ({ failed: counts }) => counts;
  const probes = ({ back }) => back.map((one) => one.probes);
  const lost = ({ back }) => back.map((one) => one.failed);
  const reports = rounds.flatMap((round) => round.reports);
  const [asked, answered] = ['asked', 'answered'].map((name) => reports.reduce((sum, report) => sum + report[name], 0));
  const worstOf = (of) => ({ value: worst(rounds, of), unit: 'requests', note: `most of ${rounds.length} rounds: ${byKind(rounds, of)}` });
  return [
    { name: 'breaker_failed_per_worker', ...worstOf(failed) },
    { name: 'breaker_probes_to_close', ...worstOf(probes) },
    { name: 'breaker_failed_after_healing', ...worstOf(lost) },
    { name: 'breaker_neighbour_errors', value: asked - answered, unit: 'requests', note: `of ${asked}, half of them at the address of one that fails` },
    {
      name: 'breaker_reached_by_crowd_per_worker',
      value: Math.max(...rounds.map(({ crowd }) => crowd)),
      unit: 'requests',
      note: `of ${CROWD} connections in a closed loop, in ${CROWD_MS} ms`,
    },
  ];
}

function tableOf(rounds) {
  const text =
    `A backend of a team dies and heals ${DEAD_MS} ms after it was cut off; ${WORKERS} workers, a caller on each; figures are by worker, of all rounds. ` +
    'nginx and haproxy do not leave the only server of an upstream alone, and are not measured.';
  const rows = KINDS.map((kind) => {
    const all = rounds.map(({ kinds }) => kinds[kind]);
    const back = (name) => all.flatMap((one) => one.back.map((of) => of[name])).join(', ');
    const list = (name) => all.flatMap((one) => one[name]).join(', ');
    return [kind, list('failed'), list('probes'), back('probes'), back('failed'), back('ms')];
  });
  const head = ['the backend', 'failed until cut off', `let through in ${DEAD_MS} ms`, 'calls until it is back', 'failed of these', 'ms until it is back'];
  return { title: 'Breaker: a backend that dies', text, head, rows };
}

export const breaker = {
  name: 'breaker',
  needsSubject: true,
  async run(bench) {
    bench.say(`${WORKERS} workers, a backend that ${KINDS.join(', ')}, and neighbours`);
    const backends = { own: await startBackend(bench, { isRealtime: true }) };
    for (const name of [...KINDS, 'crowd']) backends[name] = await Fickle.start();
    const rounds = [];
    while (rounds.length < Math.min(bench.rounds, ROUNDS_MAX)) rounds.push(await runRound(bench, backends));
    for (const backend of Object.values(backends)) await backend.stop();
    const rows = rowsOf(rounds);
    rows.forEach(bench.sayRow);
    return { rows, tables: [tableOf(rounds)] };
  },
};

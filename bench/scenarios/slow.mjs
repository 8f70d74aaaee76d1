// What a victim feels of one party that is slow or big, or that resets, and of one that floods with TLS handshakes; in the last the
// victim makes handshakes, too. lib/isolation.mjs has the method, slow.c the clients, attacker.mjs the resets.
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errorRow, isolate, isolationTable, ratioRow, stopBackends } from '../lib/isolation.mjs';
import { Load, Slow, startBackend } from '../lib/load.mjs';
import { LOADS, withLoad } from '../lib/loads.mjs';
import { Child, Failure } from '../lib/processes.mjs';
import { headFor, partyOf } from '../lib/parties.mjs';
import { ROOT } from '../lib/tools.mjs';
import { fieldsOf } from '../lib/workload.mjs';
import { VICTIM, contestantsOf, peersOf, victimText } from './flood.mjs';

const SECONDS = 3;
const SECONDS_MAX = 60;
const ROUNDS_MAX = 7;
const PEERS_EVERY = 4;
const OPEN_MS = 3000;
const BIG_BYTES = 1e9;
const SLOW_BYTES = 1e6;
const RESETS = 'rapid reset';
const HANDSHAKES_AT_A_TIME = 64;
const HANDSHAKE_VICTIM = { rate: 50, connections: 8, isOnce: true };

// kind: of slow.c. bodyBytes: what the request announces. isBig: from the backend with a big body.
const SLOW = [
  { name: 'slow heads', kind: 'head', connections: 1000 },
  { name: 'slow bodies', kind: 'body', connections: 1000, bodyBytes: SLOW_BYTES },
  { name: 'slow readers', kind: 'reader', connections: 500, isBig: true },
  { name: '1 GB up', kind: 'upload', connections: 8, bodyBytes: BIG_BYTES },
  { name: '1 GB down', kind: 'download', connections: 8, isBig: true },
];

// Resolves when the connections are open. Those that the contestant refuses are its right.
async function startSlow(bench, { ports }, { kind, connections, bodyBytes = null }, party) {
  const head = headFor(party, bodyBytes);
  const slow = new Slow(bench, { port: ports.plain, head, connections, seconds: SECONDS_MAX, kind });
  const end = Date.now() + OPEN_MS;
  while (slow.child.status === null && slow.counts().open < connections && Date.now() < end) await delay(20);
  return slow;
}

// Behind the victim by its niceness, as in h2_attack.mjs.
async function startResets(bench, { ports }, party) {
  const args = [path.join(ROOT, 'bench/attacker.mjs'), String(ports.http2), RESETS, JSON.stringify(fieldsOf(headFor(party)))];
  const child = new Child('nice', ['-n', '19', process.execPath, ...args], { core: bench.cores.helpers });
  await child.line(/^ready$/);
  const stop = async () => {
    await child.stop();
    return JSON.parse(child.lines.at(-1));
  };
  return { pid: child.pid, stop };
}

const aboutResets = (attack, { connections, ended }) => `${connections} connections, ${ended} of them ended`;

const aboutSlow = ({ counts }, { seconds, bytes, reconnects, unconnected }) =>
  `${counts.open} open, ${reconnects + unconnected} lost or refused, ${(bytes / seconds / 1e6).toFixed(1)} MB/s`;

async function startHandshakes(bench, { ports }, party) {
  const crowded = withLoad(bench, { ...LOADS.handshake, args: ['--tls', party.host, '--once'] });
  const options = { port: ports.tls, heads: [headFor(party)], connections: HANDSHAKES_AT_A_TIME, seconds: SECONDS_MAX };
  const load = new Load(crowded, options);
  await load.warm(OPEN_MS);
  return load;
}

function expectAttack({ attack: { counts } }) {
  const { open, reconnects, unconnected } = counts;
  if (open + reconnects + unconnected === 0) throw new Failure('the aggressor has not opened a connection');
}

function settingOf(backends) {
  const victim = partyOf('victim', backends.victim);
  const aggressor = partyOf('aggressor', backends.aggressor);
  const big = partyOf('big', backends.big);
  const slowPhase = (attack) => ({
    name: attack.name,
    start: (bench, instance) => startSlow(bench, instance, attack, attack.isBig ? big : aggressor),
    check: expectAttack,
    about: aboutSlow,
  });
  const startReset = (bench, instance) => startResets(bench, instance, aggressor);
  const resets = { name: 'HTTP/2 resets', start: startReset, about: aboutResets };
  return {
    parties: [victim, aggressor, big],
    backends: Object.values(backends),
    victim: ({ ports }) => ({ ...VICTIM, port: ports.plain, heads: [headFor(victim)], seconds: SECONDS }),
    phases: [{ name: 'alone' }, ...SLOW.map(slowPhase), resets],
    peersEvery: PEERS_EVERY,
  };
}

// The victim and the aggressor of the handshakes, on the same backends.
function handshakeSettingOf(setting) {
  const [victim, aggressor] = setting.parties;
  const heads = [headFor(victim)];
  return {
    ...setting,
    victim: ({ ports }) => ({ ...HANDSHAKE_VICTIM, port: ports.tls, heads, tls: victim.host, seconds: SECONDS }),
    phases: [
      { name: 'alone' },
      { name: 'handshakes', start: (bench, instance) => startHandshakes(bench, instance, aggressor), check: expectAttack },
    ],
  };
}

const slug = (text) => text.toLowerCase().replaceAll(/\W+/g, '_');

// Each attack's ratios, and as what counts those of the attack that is felt most.
function slowRows(rounds, phases, suffix) {
  const attacks = phases.slice(1).map(({ name }) => name);
  const worst = [];
  const each = [];
  for (const share of ['p50', 'p99']) {
    const rows = attacks.map((name) => ratioRow(`slow_${slug(name)}_${share}_ratio${suffix}`, rounds, share, name, 'alone'));
    const index = rows.reduce((best, { value }, at) => (value > rows[best].value ? at : best), 0);
    worst.push({ ...rows[index], name: `slow_${share}_ratio${suffix}`, note: attacks[index] });
    each.push(...rows);
  }
  return [...worst, errorRow(`slow_victim_errors${suffix}`, rounds, attacks), ...each];
}

const handshakeRows = (rounds, suffix) => [
  ...['p50', 'p99'].map((share) => ratioRow(`slow_handshakes_${share}_ratio${suffix}`, rounds, share, 'handshakes', 'alone')),
  errorRow(`slow_handshakes_unserved${suffix}`, rounds, ['handshakes']),
];

const aboutSlowly =
  `Victim: ${victimText}. Aggressor: ${SLOW.map(({ name, connections }) => `${name} (${connections} connections)`).join(', ')}; resets of ` +
  'HTTP/2 on four connections. One worker.';
const aboutHandshakes =
  `Victim: ${HANDSHAKE_VICTIM.rate} full TLS handshakes a second with a request each, from when one was due to the answer. Aggressor: ` +
  `${HANDSHAKES_AT_A_TIME} at a time, likewise. One worker.`;

export const slow = {
  name: 'slow',
  async run(wide) {
    const bench = { ...wide, rounds: Math.min(wide.rounds, ROUNDS_MAX) };
    bench.say(`one party is slow or big, resets, or floods with handshakes: ${SLOW.map(({ name }) => name).join(', ')}, ${RESETS}`);
    const backends = {
      victim: await startBackend(bench, { isRealtime: true }),
      aggressor: await startBackend(bench),
      big: await startBackend(bench, { bodyBytes: BIG_BYTES }),
    };
    const setting = settingOf(backends);
    const handshakes = handshakeSettingOf(setting);
    const contestants = contestantsOf(bench);
    const ofSlow = await isolate(bench, contestants, setting);
    const ofHandshakes = await isolate(bench, contestants, handshakes);
    await stopBackends(setting);
    const rowsOf = (name, suffix) => [
      ...slowRows(ofSlow.get(name), setting.phases, suffix),
      ...handshakeRows(ofHandshakes.get(name), suffix),
    ];
    const rows = bench.subject ? rowsOf(bench.subject.name, '') : [];
    rows.push(...peersOf(bench).flatMap(({ name }) => rowsOf(name, `_${name}`)));
    rows.forEach(bench.sayRow);
    return {
      rows,
      tables: [
        isolationTable('Slow and big', aboutSlowly, contestants, setting.phases, ofSlow),
        isolationTable('Handshakes: both victim and aggressor make them', aboutHandshakes, contestants, handshakes.phases, ofHandshakes),
      ],
    };
  },
};

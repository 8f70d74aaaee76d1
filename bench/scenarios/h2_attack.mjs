// What attacks on HTTP/2 cost a polite client on another connection: answers at a constant rate well below saturation, undisturbed and
// under each attack in turn, round after round, for Daemun, nginx and haproxy. Attackers share the core of load and backend, behind
// them by their niceness, so that what the polite client loses it loses at the contestant.
import path from 'node:path';
import { haproxyPlain } from '../contestants/haproxy.mjs';
import { nginxPlain } from '../contestants/nginx.mjs';
import { LOADS, withLoad } from '../lib/loads.mjs';
import { Child } from '../lib/processes.mjs';
import { median, summary } from '../lib/stats.mjs';
import { ROOT } from '../lib/tools.mjs';
import { fieldsOf } from '../lib/workload.mjs';

const ATTACKS = [
  'rapid reset', 'rapid reset, behind one another', 'made you reset, by windows', 'CONTINUATION flood', 'SETTINGS flood', 'PING flood', 'PRIORITY flood', 'empty DATA',
  'header bomb', 'windows opened by crumbs', 'WINDOW_UPDATE flood',
];
const RATE = 1000;
const SECONDS = 1;
const ROUNDS = 5;
const ROUNDS_QUICK = 1;
const GRACE_MS = 20000;

const program = (name) => path.join(ROOT, 'bench', name);

function startNode(bench, args, niceness) {
  return new Child('nice', ['-n', String(niceness), process.execPath, ...args.map(String)], { core: bench.cores.helpers });
}

async function askPolitely(bench, { port, fields }) {
  const child = startNode(bench, [program('polite.mjs'), port, RATE, SECONDS, fields], 0);
  await child.end(SECONDS * 1000 + GRACE_MS);
  if (child.status !== 0) throw child.failure('could not ask');
  return JSON.parse(child.lines.at(-1));
}

async function underAttack(bench, target, name) {
  const child = startNode(bench, [program('attacker.mjs'), target.port, name, target.fields], 19);
  try {
    await child.line(/^ready$/);
    const result = await askPolitely(bench, target);
    process.kill(child.pid, 'SIGTERM');
    await child.end(GRACE_MS);
    return { ...result, attack: JSON.parse(child.lines.at(-1)) };
  } finally {
    await child.stop();
  }
}

const ms = (value) => (value === null ? 'none' : value.toFixed(1));

function sayResult(bench, name, what, { asked, answered, p50_ms: p50, p99_ms: p99, max_ms: max, attack }) {
  const about = attack ? `; ${attack.connections} connections, ${attack.ended} ended, ${attack.rounds} rounds` : '';
  bench.say(`${name}, ${what}: ${answered} of ${asked} answered, p50 ${ms(p50)} ms, p99 ${ms(p99)} ms, longest ${ms(max)} ms${about}`);
}

// An answer that never came was later than any that did.
const lateness = (result) => (result.answered < result.asked ? Infinity : result.p99_ms);

async function attackOnce(bench, contestant, target) {
  const calm = await askPolitely(bench, target);
  const results = new Map();
  sayResult(bench, contestant.name, 'undisturbed', calm);
  for (const name of ATTACKS) {
    const result = await underAttack(bench, target, name);
    sayResult(bench, contestant.name, name, result);
    results.set(name, { ...result, ratio: lateness(result) / lateness(calm) });
  }
  return { calm, results };
}

async function measure(bench, contestant) {
  const { port, heads, stop } = await contestant.start(bench);
  const target = { port, fields: JSON.stringify(fieldsOf(heads[0])) };
  const rounds = [];
  try {
    await askPolitely(bench, target);
    for (let i = 0; i < (bench.isQuick ? ROUNDS_QUICK : ROUNDS); i++) rounds.push(await attackOnce(bench, contestant, target));
  } finally {
    await stop();
  }
  return rounds;
}

const slug = (text) => text.replaceAll(/\W+/g, '_');

function rowsOf({ name: contestant }, rounds) {
  const of = (attack) => rounds.map(({ results }) => results.get(attack));
  const calm = median(rounds.map((round) => round.calm.p99_ms));
  const rows = [{ name: `h2_attack_${contestant}_undisturbed_p99_ms`, value: calm, unit: 'ms' }];
  for (const attack of ATTACKS) {
    const spread = summary(of(attack).map(({ ratio }) => ratio));
    rows.push({ name: `h2_attack_${contestant}_${slug(attack)}`, value: spread.median, unit: 'ratio', spread });
  }
  return rows;
}

// Of the attack that is felt most.
function goalRows(rounds, rows) {
  const all = rounds.flatMap(({ results }) => [...results.values()]);
  const worst = rows.filter(({ unit }) => unit === 'ratio').sort((a, b) => b.value - a.value)[0];
  const unanswered = all.reduce((sum, { asked, answered }) => sum + asked - answered, 0);
  return [
    { name: 'h2_attack_p99_ratio', value: worst.value, unit: 'ratio', spread: worst.spread },
    { name: 'h2_attack_unanswered', value: unanswered, unit: 'requests', note: `${ATTACKS.length} attacks, ${RATE} requests/s` },
  ];
}

export const h2Attack = {
  name: 'h2-attack',
  async run(wide) {
    const bench = withLoad(wide, LOADS.h2);
    bench.say('a polite client under attacks on HTTP/2');
    const rows = [];
    if (bench.subject) {
      const rounds = await measure(bench, bench.subject);
      const own = rowsOf(bench.subject, rounds);
      rows.push(...goalRows(rounds, own), ...own);
    }
    if (bench.goals) return { rows };
    for (const peer of [nginxPlain, haproxyPlain]) rows.push(...rowsOf(peer, await measure(bench, peer)));
    return { rows };
  },
};

// What attacks on HTTP/2 cost a polite client on another connection: answers at a constant rate well below saturation, undisturbed and
// under each attack, for Daemun, nginx and haproxy in turn. Attackers share the core of load and backend, behind them by their
// niceness, so that what the polite client loses it loses at the contestant. No goal: the figures are informative.
import path from 'node:path';
import { haproxyPlain } from '../contestants/haproxy.mjs';
import { nginxPlain } from '../contestants/nginx.mjs';
import { LOADS, withLoad } from '../lib/loads.mjs';
import { Child, Failure } from '../lib/processes.mjs';
import { ROOT } from '../lib/tools.mjs';

const ATTACKS = [
  'rapid reset', 'made you reset, by windows', 'CONTINUATION flood', 'SETTINGS flood', 'PING flood', 'PRIORITY flood', 'empty DATA',
  'header bomb', 'windows opened by crumbs', 'WINDOW_UPDATE flood',
];
const RATE = 1000;
const SECONDS = 3;
const SECONDS_QUICK = 1;
const GRACE_MS = 20000;

const program = (name) => path.join(ROOT, 'bench', name);

// The fields of HTTP/2 for a head of HTTP/1.1.
function fieldsOf(head) {
  const [first, ...lines] = head.trim().split('\r\n');
  const [method, target] = first.split(' ');
  const fields = { ':method': method, ':scheme': 'http', ':path': target };
  for (const line of lines) {
    const [name, value] = line.split(': ');
    fields[name.toLowerCase() === 'host' ? ':authority' : name.toLowerCase()] = value;
  }
  return fields;
}

// Pseudo fields come first.
const ordered = (fields) => Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (b[0] === ':') - (a[0] === ':')));

function startNode(bench, args, niceness) {
  return new Child('nice', ['-n', String(niceness), process.execPath, ...args.map(String)], { core: bench.cores.helpers });
}

async function askPolitely(bench, port, fields, seconds) {
  const child = startNode(bench, [program('polite.mjs'), port, RATE, seconds, fields], 0);
  await child.end(seconds * 1000 + GRACE_MS);
  if (child.status !== 0) throw child.failure('could not ask');
  return JSON.parse(child.lines.at(-1));
}

async function underAttack(bench, { port, fields, seconds }, name) {
  const child = startNode(bench, [program('attacker.mjs'), port, name, fields], 19);
  try {
    await child.line(/^ready$/);
    const result = await askPolitely(bench, port, fields, seconds);
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

const rowOf = (name, what, kind, value, unit) => ({ name: `h2_attack_${name}_${what.replaceAll(/\W+/g, '_')}_${kind}`, value, unit });

async function measure(bench, contestant, seconds) {
  const { port, heads, stop } = await contestant.start(bench);
  const fields = JSON.stringify(ordered(fieldsOf(heads[0])));
  const rows = [];
  const note = (what, result) => {
    sayResult(bench, contestant.name, what, result);
    rows.push(rowOf(contestant.name, what, 'answered', (100 * result.answered) / result.asked, '%'));
    rows.push(rowOf(contestant.name, what, 'p99_ms', result.p99_ms ?? 0, 'ms'));
  };
  try {
    await askPolitely(bench, port, fields, 1);
    note('undisturbed', await askPolitely(bench, port, fields, seconds));
    for (const name of ATTACKS) note(name, await underAttack(bench, { port, fields, seconds }, name));
  } finally {
    await stop();
  }
  return rows;
}

export const h2Attack = {
  name: 'h2-attack',
  isAside: true, // only when it is asked for
  async run(wide) {
    const bench = withLoad(wide, LOADS.h2);
    bench.say('a polite client under attacks on HTTP/2');
    const rows = [];
    for (const contestant of [...(bench.subject ? [bench.subject] : []), nginxPlain, haproxyPlain]) {
      try {
        rows.push(...(await measure(bench, contestant, bench.isQuick ? SECONDS_QUICK : SECONDS)));
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        bench.say(`${contestant.name}: ${error.message}`);
      }
    }
    return { rows };
  },
};

// CPU time per request at saturation, beside each peer and in turn with all of them.
import { inTurn, sideBySide } from '../lib/rounds.mjs';
import { median, summary } from '../lib/stats.mjs';
import { haproxyKeyLimit, haproxyPlain } from '../contestants/haproxy.mjs';
import { nginxKeyLimit, nginxPlain } from '../contestants/nginx.mjs';
import { relay } from '../contestants/relay.mjs';

const PEERS = [relay, nginxPlain, nginxKeyLimit, haproxyPlain, haproxyKeyLimit];
const INFORMATIVE = new Set(['nginx_key_limit', 'haproxy_plain']);

function pairRow(name, pair) {
  const { rounds, discarded, disturbed } = pair;
  const spread = summary(rounds.map(({ us }) => us[0] / us[1]));
  return { name, value: spread.median, unit: 'ratio', spread, discarded, disturbed, rounds };
}

async function beside(bench, a, b, name) {
  const row = pairRow(name, await sideBySide(bench, a, b));
  bench.sayRow(row);
  return row;
}

function pairsOf(bench) {
  const { subject } = bench;
  if (!subject)
    return [
      ...PEERS.slice(1).map((peer) => [peer, relay, `${peer.name}_to_relay`]),
      [nginxPlain, nginxPlain, 'same_program_twice'],
    ];
  const pairs = PEERS.map((peer) => [subject, peer, `cpu_ratio_${peer.name}`]);
  if (bench.goals) return pairs.filter(([, , name]) => bench.goals.has(name));
  if (bench.isQuick) return pairs.filter(([, peer]) => !INFORMATIVE.has(peer.name));
  return [...pairs, [subject, subject, 'same_program_twice']];
}

function turnTable(results, contestants) {
  return contestants.map(({ name, title }) => {
    const { us, ratios, idle, rate } = results.get(name);
    return { title, spread: summary(us), ratios: summary(ratios), idle: median(idle), rate: median(rate) };
  });
}

export const cpu = {
  name: 'cpu',
  async run(bench) {
    const rows = [];
    for (const [a, b, name] of pairsOf(bench)) {
      bench.say(`side by side: ${a.title} and ${b.title}`);
      rows.push(await beside(bench, a, b, name));
    }
    if (bench.goals) return { rows };
    const contestants = bench.subject ? [...PEERS, bench.subject] : PEERS;
    bench.say('in turn: all contestants');
    return { rows, turns: turnTable(await inTurn(bench, contestants), contestants) };
  },
};

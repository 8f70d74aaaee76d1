// CPU time per request at saturation, beside each peer and in turn with all of them.
import { beside, inTurnTable } from '../lib/comparison.mjs';
import { haproxyKeyLimit, haproxyPlain } from '../contestants/haproxy.mjs';
import { nginxKeyLimit, nginxPlain } from '../contestants/nginx.mjs';
import { relay } from '../contestants/relay.mjs';

const PEERS = [relay, nginxPlain, nginxKeyLimit, haproxyPlain, haproxyKeyLimit];
const INFORMATIVE = new Set(['nginx_key_limit', 'haproxy_plain']);

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

export const cpu = {
  name: 'cpu',
  async run(bench) {
    const rows = [];
    for (const [a, b, name] of pairsOf(bench)) {
      rows.push(await beside(bench, a, b, name));
    }
    if (bench.goals) return { rows };
    const contestants = bench.subject ? [...PEERS, bench.subject] : PEERS;
    return { rows, turns: [await inTurnTable(bench, contestants, 'HTTP/1.1 in clear text')] };
  },
};

// CPU time at the edge: TLS requests, TLS handshakes, HTTP/2 streams. The method is that of cpu.mjs with other clients.
//
// tls        HTTP/1.1 kept alive over TLS 1.3
// handshake  a connection each: full TLS 1.3 handshake (ECDSA P-256), one request, close_notify and FIN from the client
// resume     the same with the ticket of the connection before (PSK with a key exchange)
// h2         HTTP/2 in clear text, STREAMS streams always open on each of a few connections
import { beside, inTurnTable } from '../lib/comparison.mjs';
import { LOADS, STREAMS, withLoad } from '../lib/loads.mjs';
import { haproxyPlain } from '../contestants/haproxy.mjs';
import { nginxPlain } from '../contestants/nginx.mjs';

const PEERS = [
  { ...nginxPlain, title: 'nginx', short: 'nginx' },
  { ...haproxyPlain, title: 'haproxy', short: 'haproxy' },
];

const CYCLES_PER_ROUND = 2; // in turn; half of what the figures in clear text get, for the sake of time

const TITLES = {
  tls: 'HTTP/1.1 over TLS 1.3',
  handshake: 'full TLS 1.3 handshakes, one request each',
  resume: 'resumed TLS 1.3 handshakes, one request each',
  h2: `HTTP/2 in clear text, ${STREAMS} streams a connection`,
};

// Which peers a scenario has a goal for; the others are compared in turn only.
const RIVALS = { tls: ['nginx'], handshake: ['nginx'], resume: ['nginx'], h2: ['nginx', 'haproxy'] };

// One program against itself is measured where this scenario is all that was asked for.
function pairsOf(bench, name) {
  const [nginx, haproxy] = PEERS;
  const twice = (one) => [one, one, `${name}_same_program_twice`];
  if (!bench.subject) return [[haproxy, nginx, `${name}_haproxy_to_nginx`], twice(nginx)];
  const rivals = PEERS.filter(({ short }) => RIVALS[name].includes(short));
  const pairs = rivals.map((peer) => [bench.subject, peer, `${name}_cpu_ratio_${peer.short}`]);
  if (bench.goals) return pairs.filter(([, , goal]) => bench.goals.has(goal));
  return bench.isAlone ? [...pairs, twice(bench.subject)] : pairs;
}

const edgeScenario = (name) => ({
  name,
  async run(wide) {
    const bench = { ...withLoad(wide, LOADS[name]), cyclesPerRound: CYCLES_PER_ROUND };
    bench.say(TITLES[name]);
    const rows = [];
    for (const [a, b, row] of pairsOf(bench, name)) rows.push(await beside(bench, a, b, row));
    if (bench.goals) return { rows };
    const contestants = bench.subject ? [...PEERS, bench.subject] : PEERS;
    return { rows, turns: [await inTurnTable(bench, contestants, TITLES[name])] };
  },
});

export const edge = ['tls', 'handshake', 'resume', 'h2'].map(edgeScenario);

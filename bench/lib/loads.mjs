// The kinds of load: what the clients speak, and what must have come about for a figure to count.
//
// A kind is {front, program, args, connections, unit, isFilled, isWarm, faultOf}. `front` is what the contestants must
// offer: 'plain', 'tls', 'http2' or 'upgrade'. `connections` is null where --connections says. With isFilled the clients
// need more time than the contestant, and a filler keeps its core awake. isWarm(counts, connections): all connections
// have been used, so that what follows is the steady state. faultOf({grown, now, connections}) looks at the counts of a
// window and says what is wrong with it, or returns null.
import { HOST, probeOf } from './workload.mjs';

export const STREAMS = 32;

const plain = {
  front: 'plain',
  program: 'load',
  args: [],
  connections: null,
  unit: 'request',
  isFilled: false,
  isWarm: ({ answered }, connections) => answered >= 2 * connections,
  faultOf: () => null,
};

const tls = {
  ...plain,
  front: 'tls',
  args: ['--tls', HOST],
  // The first handshake on each place is a full one, whatever follows.
  isWarm: ({ handshakes, resumed }, connections) => handshakes - resumed >= connections,
  faultOf({ grown, now, connections }) {
    if (grown.handshakes === 0 && now.handshakes === connections) return null;
    return `${now.handshakes} handshakes for ${connections} connections that were to be kept alive`;
  },
};

// Each connection has made one handshake and then had one answer, but for those that are between the two.
const areInStep = ({ grown, connections }) => Math.abs(grown.handshakes - grown.answered) <= connections;

const handshake = {
  ...tls,
  args: ['--tls', HOST, '--once'],
  unit: 'connection',
  isFilled: true,
  faultOf(window) {
    const { grown, now } = window;
    if (now.resumed === 0 && areInStep(window)) return null;
    return `${grown.handshakes} handshakes for ${grown.answered} answers, ${now.resumed} of them resumed`;
  },
};

const resume = {
  ...handshake,
  args: ['--tls', HOST, '--once', '--resume'],
  faultOf(window) {
    const { grown } = window;
    if (grown.resumed === grown.handshakes && areInStep(window)) return null;
    return `${grown.resumed} of ${grown.handshakes} handshakes were resumed, for ${grown.answered} answers`;
  },
};

// A stream that ends makes place for the next in the same moment, in which a sample may fall.
const h2 = {
  ...plain,
  front: 'http2',
  program: 'load_h2',
  args: ['--streams', STREAMS],
  connections: 4,
  faultOf({ now, connections }) {
    const wanted = connections * STREAMS;
    if (now.in_flight >= wanted - 1 && now.in_flight <= wanted && now.open === connections) return null;
    return `${now.in_flight} requests in flight on ${now.open} connections, expected ${wanted} on ${connections}`;
  },
};

const tunnel = { ...plain, front: 'upgrade', args: ['--tunnel'] };

export const LOADS = { plain, tls, handshake, resume, h2, tunnel };

// The benchmark with another kind of load.
export const withLoad = (bench, load) => ({ ...bench, load, connections: load.connections ?? bench.connections });

// The small client's request for this kind of load, from the front that it wants.
export function probeFor({ load, certificate }, port, caller) {
  const probe = probeOf(port, { ...caller, isUpgrade: load.front === 'upgrade' });
  if (load.front === 'tls') return { ...probe, tls: { ca: certificate.chain, servername: HOST } };
  return { ...probe, isHttp2: load.front === 'http2' };
}

// The status with which such a request is answered when all is well.
export const goodStatus = ({ load }) => (load.front === 'upgrade' ? 101 : 200);

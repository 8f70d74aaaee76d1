// Which worker takes a connection. With a listening socket for each worker (SO_REUSEPORT) the kernel decides by the two addresses alone,
// so that whoever comes again from the same port comes to the same worker: a port is tried, and kept for a client when it leads where
// that one is to be.
import fs from 'node:fs';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from './processes.mjs';

// Below those that the kernel gives out, each used again late enough that nothing of its former connection is left.
const FIRST = 12000;
const LAST = 31999;
const AT_ONCE = 128;
const TRIES = 40;
const WAIT_MS = 5000;

let next = FIRST;

function nextPort() {
  const port = next;
  next = next === LAST ? FIRST : next + 1;
  return port;
}

// 127.0.0.1:PORT as /proc/net/tcp writes it.
const hexOf = (port) => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;

// The sockets of connections that come to `port`, by the port that they come from: {clientPort: inode}.
function socketsAt(port) {
  const found = {};
  const to = hexOf(port);
  for (const line of fs.readFileSync('/proc/net/tcp', 'latin1').split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    if (fields[1] === to && fields[9] !== '0') found[parseInt(fields[2].slice(9), 16)] = fields[9];
  }
  return found;
}

function inodesOf(pid) {
  const directory = `/proc/${pid}/fd`;
  const inodes = new Set();
  for (const fd of fs.readdirSync(directory)) {
    try {
      const match = /^socket:\[(\d+)\]$/.exec(fs.readlinkSync(`${directory}/${fd}`));
      if (match) inodes.add(match[1]);
    } catch {
      // closed meanwhile
    }
  }
  return inodes;
}

// The worker, as an index into pids, that has the connection from each of the ports; -1 where none has.
export function ownersOf(port, pids, from) {
  const sockets = socketsAt(port);
  const byWorker = pids.map(inodesOf);
  return from.map((one) => byWorker.findIndex((inodes) => inodes.has(sockets[one])));
}

function open(port, localPort) {
  return new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port, localAddress: '127.0.0.1', localPort });
    socket.on('connect', () => resolve(socket));
    socket.on('error', () => resolve(null)); // the port is somebody's
  });
}

// Tries some ports at once: [[port, worker], …] of those that could be had. Nothing is left of the connections: they are reset.
async function tryPorts(port, pids) {
  const sockets = (await Promise.all(Array.from({ length: AT_ONCE }, () => open(port, nextPort())))).filter(Boolean);
  const from = sockets.map(({ localPort }) => localPort);
  const end = Date.now() + WAIT_MS;
  let owners = ownersOf(port, pids, from);
  for (; owners.includes(-1) && Date.now() < end; owners = ownersOf(port, pids, from)) await delay(5);
  for (const socket of sockets) socket.resetAndDestroy();
  return from.map((one, index) => [one, owners[index]]).filter(([, worker]) => worker >= 0);
}

// counts: how many connections each worker is to have. Resolves with that many ports, the workers taking turns as long as each of them
// wants more.
export async function portsFor({ port, pids }, counts) {
  const found = counts.map(() => []);
  const isMissing = () => found.some((ports, worker) => ports.length < counts[worker]);
  for (let tries = 0; isMissing(); tries++) {
    if (tries === TRIES) throw new Failure(`port ${port}: of ${pids.length} workers one takes no connections`);
    for (const [one, worker] of await tryPorts(port, pids)) if (found[worker].length < counts[worker]) found[worker].push(one);
  }
  const ports = [];
  for (let turn = 0; turn < Math.max(...counts); turn++) for (const list of found) if (turn < list.length) ports.push(list[turn]);
  return ports;
}

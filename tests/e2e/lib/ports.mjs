// Ports of 127.0.0.1 that were free a moment ago. They lie below those that the kernel gives to outgoing connections, so
// that a program which is stopped finds its port free when it starts again.
import net from 'node:net';

const FIRST = 10000;
const LAST = 32000;
const given = new Set();

function isFree(port) {
  return new Promise((resolve) => {
    const server = net.createServer().on('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

export async function freePort() {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
}

// What clients of Node take for every name: the address that is listened on here.
export const lookup = (name, options, done) =>
  options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);

// Ports of 127.0.0.1 that were free a moment ago and were not given out before.
import net from 'node:net';

const given = new Set();

export async function freePort() {
  for (;;) {
    const port = await new Promise((resolve, reject) => {
      const server = net.createServer().on('error', reject);
      server.listen(0, '127.0.0.1', () => {
        const { port: found } = server.address();
        server.close(() => resolve(found));
      });
    });
    if (given.has(port)) continue;
    given.add(port);
    return port;
  }
}

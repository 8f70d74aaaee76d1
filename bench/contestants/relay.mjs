// The bare relay (relay.c): recv, send, recv, send.
import { Child } from '../lib/processes.mjs';
import { defaultHeads } from '../lib/workload.mjs';

export const relay = {
  name: 'relay',
  title: 'bare relay',
  short: 'relay',
  async start(bench) {
    const child = new Child(bench.programs.relay, [String(bench.backend.port)], { core: bench.cores.contestant });
    const port = Number((await child.line(/^port (\d+)$/))[1]);
    return { port, heads: defaultHeads(), pids: () => [child.pid], stop: () => child.stop() };
  },
};

// The load generator and the backend as the harness sees them.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Child, Failure, makeDirectory } from './processes.mjs';
import { BODY_BYTES } from './workload.mjs';

// struct dm_counts of counts.h
const FIELDS = ['answered', 'non_2xx', 'failed', 'reconnects', 'unconnected', 'open'];
FIELDS.push('handshakes', 'resumed', 'in_flight');
const GRACE_MS = 10000;

let directory = null;
let fileCount = 0;

function newFile(kind) {
  directory ??= makeDirectory('load');
  fileCount += 1;
  return path.join(directory, `${kind}-${fileCount}`);
}

export class Load {
  // Of the kind that bench.load is. With rate: that many requests a second, with each: that many per connection and
  // then silence, else closed loop.
  constructor(bench, { port, heads, connections, seconds, rate = null, each = null, isRealtime = false }) {
    const requests = newFile('requests');
    const counters = newFile('counters');
    const { program, args: kindArgs } = bench.load;
    const args = ['--to', port, '--requests', requests, '--connections', connections, '--seconds', seconds];
    args.push('--counters', counters, ...kindArgs);
    if (rate !== null) args.push('--rate', rate);
    if (each !== null) args.push('--each', each);
    fs.writeFileSync(requests, heads.slice(0, connections).join(''));
    fs.writeFileSync(counters, Buffer.alloc(FIELDS.length * 8));
    this.kind = bench.load;
    this.connections = connections;
    this.child = new Child(bench.programs[program], args.map(String), { core: bench.cores.helpers, isRealtime });
    this.pid = this.child.pid;
    this.fd = fs.openSync(counters, 'r');
  }

  // The counts at this moment.
  counts() {
    const bytes = Buffer.alloc(FIELDS.length * 8);
    fs.readSync(this.fd, bytes, 0, bytes.length, 0);
    return Object.fromEntries(FIELDS.map((name, index) => [name, Number(bytes.readBigUInt64LE(index * 8))]));
  }

  // Resolves when all connections have been used, or when that can't be waited for: the counts then say why.
  async warm(timeoutMs) {
    const end = Date.now() + timeoutMs;
    while (this.child.status === null && Date.now() < end) {
      const counts = this.counts();
      if (this.kind.isWarm(counts, this.connections) || counts.unconnected + counts.failed > 0) return;
      await delay(10);
    }
  }

  // What is wrong with the window between two counts, or null.
  faultOf(before, now) {
    const grown = Object.fromEntries(FIELDS.map((name) => [name, now[name] - before[name]]));
    return this.kind.faultOf({ grown, now, connections: this.connections });
  }

  // Nothing is sent or read until thawed.
  freeze() {
    process.kill(this.pid, 'SIGSTOP');
  }

  thaw() {
    process.kill(this.pid, 'SIGCONT');
  }

  // Resolves when all connections of a load with `each` are silent.
  ready(timeoutMs) {
    return this.child.line(/^ready$/, timeoutMs);
  }

  // Ends the load and resolves with its report, the last line it printed.
  async stop() {
    if (this.child.status === null) process.kill(this.child.pid, 'SIGTERM');
    await this.child.end(GRACE_MS);
    fs.closeSync(this.fd);
    if (this.child.status !== 0) throw this.child.failure(`ended with ${this.child.status}`);
    return JSON.parse(this.child.lines[this.child.lines.length - 1]);
  }
}

// The load must have been answered with nothing but success.
export function expectClean(counts, name) {
  const { non_2xx: refused, failed, unconnected, reconnects } = counts;
  if (refused + failed + unconnected + reconnects > 0)
    throw new Failure(
      `${name}: ${refused} answers were not 2xx, ${failed} requests failed, ` +
        `${unconnected} connections or handshakes were refused, ${reconnects} closed`,
    );
}

// Keeps the contestant's core awake until it is stopped.
export async function startFiller(bench) {
  const child = new Child(bench.programs.filler, [], { core: bench.cores.contestant });
  await child.line(/^ready$/);
  return child;
}

export async function startBackend(bench) {
  const child = new Child(bench.programs.backend, [String(BODY_BYTES)], { core: bench.cores.helpers });
  const port = Number((await child.line(/^port (\d+)$/))[1]);
  return { pid: child.pid, port, stop: () => child.stop() };
}

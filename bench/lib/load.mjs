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

// A running load generator, one of the C programs that take requests and counters as files and end with a line of JSON.
class Generator {
  // ports: those that its connections come from (lib/spread.mjs), or nothing: any.
  constructor(bench, program, { port, heads, seconds, isRealtime = false, ports = null }, args) {
    const requests = newFile('requests');
    const counters = newFile('counters');
    const words = ['--to', port, '--requests', requests, '--seconds', seconds, '--counters', counters, ...args];
    fs.writeFileSync(requests, heads.join(''));
    if (ports !== null) {
      const file = newFile('ports');
      fs.writeFileSync(file, ports.map((one) => `${one}\n`).join(''));
      words.push('--from', file);
    }
    fs.writeFileSync(counters, Buffer.alloc(FIELDS.length * 8));
    this.child = new Child(bench.programs[program], words.map(String), { core: bench.cores.helpers, isRealtime });
    this.pid = this.child.pid;
    this.fd = fs.openSync(counters, 'r');
  }

  // The counts at this moment.
  counts() {
    const bytes = Buffer.alloc(FIELDS.length * 8);
    fs.readSync(this.fd, bytes, 0, bytes.length, 0);
    return Object.fromEntries(FIELDS.map((name, index) => [name, Number(bytes.readBigUInt64LE(index * 8))]));
  }

  // Ends it and resolves with its report, the last line it printed.
  stop() {
    if (this.child.status === null) process.kill(this.child.pid, 'SIGTERM');
    return this.finish(GRACE_MS);
  }

  // Resolves with its report when it has ended by itself.
  async finish(timeoutMs) {
    await this.child.end(timeoutMs);
    fs.closeSync(this.fd);
    if (this.child.status !== 0) throw this.child.failure(`ended with ${this.child.status}`);
    return JSON.parse(this.child.lines[this.child.lines.length - 1]);
  }
}

export class Load extends Generator {
  // Of the kind that bench.load is. With rate: that many requests a second, with each: that many per connection and
  // then silence, else closed loop.
  constructor(bench, { port, heads, connections, seconds, rate = null, each = null, isRealtime = false, ports = null }) {
    const { program, args } = bench.load;
    const words = ['--connections', connections, ...args];
    if (rate !== null) words.push('--rate', rate);
    if (each !== null) words.push('--each', each);
    super(bench, program, { port, heads: heads.slice(0, connections), seconds, isRealtime, ports }, words);
    this.kind = bench.load;
    this.connections = connections;
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
}

// Who asks at a constant rate and must not suffer: victim.c says what it does and reports. At a real-time priority, where
// that is allowed. One head for each client.
export class Victim extends Generator {
  constructor(bench, { port, heads, rate, connections, seconds, isOnce = false, tls = null, ports = null }) {
    const words = ['--rate', rate, '--connections', connections];
    if (tls !== null) words.push('--tls', tls);
    if (isOnce) words.push('--once');
    super(bench, 'victim', { port, heads, seconds, isRealtime: true, ports }, words);
  }
}

// Connections that are slow or big, of a kind of slow.c.
export class Slow extends Generator {
  constructor(bench, { port, head, connections, seconds, kind }) {
    super(bench, 'slow', { port, heads: [head], seconds }, ['--kind', kind, '--connections', connections]);
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

// delayMs: that long before each answer.
export async function startBackend(bench, { bodyBytes = BODY_BYTES, delayMs = 0, isRealtime = false } = {}) {
  const args = [bodyBytes, delayMs].map(String);
  const child = new Child(bench.programs.backend, args, { core: bench.cores.helpers, isRealtime });
  const port = Number((await child.line(/^port (\d+)$/))[1]);
  return { pid: child.pid, port, stop: () => child.stop() };
}

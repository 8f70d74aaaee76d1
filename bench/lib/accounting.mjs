// What the kernel says about time and memory of processes and cores.
import fs from 'node:fs';
import { execFileSync } from 'node:child_process';
import { Failure, nameOf } from './processes.mjs';

const TICK_NS = 1e9 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

export function nowNs() {
  return Number(process.hrtime.bigint());
}

// Nanoseconds that the threads of the processes have run. The kernel brings a running thread's figure up to date at
// its timer tick, so one reading may lack a tick (4 ms here).
export function cpuNs(pids) {
  let total = 0;
  for (const pid of pids) {
    let threads;
    try {
      threads = fs.readdirSync(`/proc/${pid}/task`);
    } catch {
      throw new Failure(`process ${pid} of a contestant is gone`);
    }
    for (const thread of threads) {
      try {
        total += Number(fs.readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ', 1)[0]);
      } catch {
        // a thread that has just ended
      }
    }
  }
  return total;
}

// {busyNs, idleNs, stealNs} of one core since boot. Busy includes what the hypervisor took.
export function coreTimes(core) {
  const line = fs
    .readFileSync('/proc/stat', 'latin1')
    .split('\n')
    .find((text) => text.startsWith(`cpu${core} `));
  if (!line) throw new Failure(`core ${core} is not there`);
  // user nice system idle iowait irq softirq steal; guest time is part of user
  const ticks = line.split(/\s+/).slice(1, 9).map(Number);
  const idle = ticks[3] + ticks[4];
  const all = ticks.reduce((sum, value) => sum + value, 0);
  return { busyNs: (all - idle) * TICK_NS, idleNs: idle * TICK_NS, stealNs: ticks[7] * TICK_NS };
}

// The kernel's network thread of a core: what it does, it does for the benchmark.
export function networkThreadOf(core) {
  for (const entry of fs.readdirSync('/proc')) if (/^\d+$/.test(entry) && nameOf(entry) === `ksoftirqd/${core}`) return [Number(entry)];
  return [];
}

// User memory of the processes in bytes: their proportional share of every resident page.
export function memoryBytes(pids) {
  let total = 0;
  for (const pid of pids) {
    const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
    total += Number(/^Pss:\s+(\d+) kB$/m.exec(text)[1]) * 1024;
  }
  return total;
}

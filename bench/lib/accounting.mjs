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

// Nanoseconds that a core has been idle since boot. The kernel measures idle time exactly, but only samples what the
// rest is made of, so what was busy is best had as elapsed less idle; that includes what the hypervisor took.
export function idleNs(core) {
  const line = fs
    .readFileSync('/proc/stat', 'latin1')
    .split('\n')
    .find((text) => text.startsWith(`cpu${core} `));
  if (!line) throw new Failure(`core ${core} is not there`);
  const [, , , idle, iowait] = line.split(/\s+/).slice(1).map(Number); // user nice system idle iowait ...
  return (idle + iowait) * TICK_NS;
}

// The kernel's network thread of a core: what it does, it does for the benchmark.
export function networkThreadOf(core) {
  const isThread = (entry) => /^\d+$/.test(entry) && nameOf(entry) === `ksoftirqd/${core}`;
  return fs.readdirSync('/proc').filter(isThread).map(Number);
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

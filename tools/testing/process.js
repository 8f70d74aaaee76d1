// Running commands: output to a log file, a limit in time, no process left behind.
'use strict';
const fs = require('fs');
const path = require('path');
const { spawn, spawnSync } = require('child_process');

const ROOT = path.resolve(__dirname, '../..');
const LOGS = path.join(ROOT, 'build/logs');
const running = new Set();

function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (e) {
    if (e.code !== 'ESRCH') throw e;
  }
}

for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15]])
  process.on(signal, () => {
    running.forEach(killGroup);
    process.exit(128 + number);
  });

// Runs argv in the project's root; resolves to { isOk, why, output }, and never rejects. stdout and stderr go to
// build/logs/NAME.log. After limitS seconds, and at the end, its whole process group is killed.
function run(name, argv, { env = {}, limitS = 600 } = {}) {
  fs.mkdirSync(LOGS, { recursive: true });
  const log = path.join(LOGS, `${name}.log`);
  const fd = fs.openSync(log, 'w');
  return new Promise((resolve) => {
    const child = spawn(argv[0], argv.slice(1), {
      cwd: ROOT,
      env: { ...process.env, ...env },
      detached: true, // a process group of its own
      stdio: ['ignore', fd, fd],
    });
    let why = '';
    const finish = () => {
      fs.closeSync(fd);
      resolve({ isOk: why === '', why, output: fs.readFileSync(log, 'utf8') });
    };
    child.on('error', (e) => {
      why = e.message;
      if (child.pid === undefined) finish();
    });
    if (child.pid === undefined) return;
    running.add(child.pid);
    const timer = setTimeout(() => {
      why = `not finished after ${limitS} s`;
      killGroup(child.pid);
    }, limitS * 1000);
    child.on('exit', (status, signal) => {
      clearTimeout(timer);
      if (status !== 0 && why === '') why = signal ? `killed by ${signal}` : `exit status ${status}`;
      killGroup(child.pid);
      running.delete(child.pid);
      finish();
    });
  });
}

function tail(text, lines) {
  const all = text.trimEnd().split('\n');
  const cut = all.length > lines ? [`[… ${all.length - lines} lines before, see build/logs]`] : [];
  return cut.concat(all.slice(-lines)).join('\n');
}

// The sanitizers of gcc 12 and clang 14 do not start where the kernel randomises more than 28 bits of addresses.
// Returns what to put in front of a command there.
function sanitizerPrefix() {
  let bits = 0;
  try {
    bits = Number(fs.readFileSync('/proc/sys/vm/mmap_rnd_bits', 'utf8'));
  } catch {
    // not readable: nothing to do about it
  }
  return bits > 28 && spawnSync('setarch', ['-R', 'true']).status === 0 ? ['setarch', '-R'] : [];
}

module.exports = { ROOT, LOGS, run, tail, sanitizerPrefix };

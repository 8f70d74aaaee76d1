// Running commands: output to a log file, a limit in time, no process left behind.
'use strict';
const fs = require('fs');
const path = require('path');
const { spawn, spawnSync } = require('child_process');

const ROOT = path.resolve(__dirname, '../..');
const LOGS = path.join(ROOT, 'build/logs');
const GRACE_MS = 5000;
const running = new Set(); // leaders of process groups
let isInterrupted = false;

// Whether there was such a group.
function signalGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
    return true;
  } catch (e) {
    if (e.code !== 'ESRCH') throw e;
    return false;
  }
}

// Asks a group to end, so that it takes away what it made; kills what is left of it later.
async function endGroup(pid) {
  const end = Date.now() + GRACE_MS;
  signalGroup(pid, 'SIGTERM');
  while (signalGroup(pid, 0) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  signalGroup(pid, 'SIGKILL');
}

// The first signal ends the groups in order, a second one at once.
async function interrupt(status) {
  if (isInterrupted) running.forEach((pid) => signalGroup(pid, 'SIGKILL'));
  else {
    isInterrupted = true;
    await Promise.all([...running].map(endGroup));
  }
  process.exit(status);
}

process.on('SIGINT', () => interrupt(130));
process.on('SIGTERM', () => interrupt(143));
process.on('SIGHUP', () => interrupt(129));

// Runs argv in the project's root; resolves to { isOk, why, output }, and never rejects. stdout and stderr go to
// build/logs/NAME.log. After limitS seconds, and at the end, its whole process group is ended.
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
    let ending;
    const timer = setTimeout(() => {
      why = `not finished after ${limitS} s`;
      ending = endGroup(child.pid);
    }, limitS * 1000);
    child.on('exit', async (status, signal) => {
      if (isInterrupted) return; // nothing follows
      clearTimeout(timer);
      if (status !== 0 && why === '') why = signal ? `killed by ${signal}` : `exit status ${status}`;
      await ending;
      signalGroup(child.pid, 'SIGKILL');
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

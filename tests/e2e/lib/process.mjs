// Processes of the programs under test: started with their output kept, found again by their data directory, and gone
// when the test file ends, for whatever reason. Nothing is ever killed by name.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { Hopeless, until, within } from './wait.mjs';

const OUTPUT_MAX = 4 << 20;
const started = []; // every Program of this test file, for its logs
const directories = [];

// The path of a program under test; a path stays what it is.
export function program(name) {
  if (name.includes('/')) return name;
  const build = process.env.DAEMUN_BUILD;
  if (!build) throw new Error('DAEMUN_BUILD must name the build directory to test');
  return path.join(build, 'src/bin', name);
}

// Memory is not what it is elsewhere where a sanitizer keeps what was freed.
export function hasSanitizer() {
  return fs.readFileSync(program('daemun-gateway')).includes('__asan_init');
}

// A directory that goes when the test file ends. Its path is short: Unix sockets below it have to fit into 107 bytes.
export function makeDirectory() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'dm-'));
  directories.push(directory);
  return directory;
}

// --- /proc ----------------------------------------------------------------------------------------------------------

function readProc(pid, file) {
  try {
    return fs.readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

export function isAlive(pid) {
  const stat = readProc(pid, 'stat');
  return stat !== '' && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

// Resident bytes of a process.
export function residentBytes(pid) {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readProc(pid, 'status'))?.[1] ?? 0) * 1024;
}

// [{pid, args}] of living processes that have `text` in an argument.
export function findProcesses(text) {
  const found = [];
  for (const entry of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    const args = readProc(entry, 'cmdline').split('\0').filter(Boolean);
    if (args.some((arg) => arg.includes(text)) && isAlive(Number(entry))) found.push({ pid: Number(entry), args });
  }
  return found;
}

export function kill(pid, signal = 'SIGKILL') {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

export const whenGone = (pid) => until(`the end of process ${pid}`, () => !isAlive(pid));

// --- programs -------------------------------------------------------------------------------------------------------

export class Program {
  // env: on top of the test's own.
  constructor(name, args, { env = {}, cwd } = {}) {
    this.name = name;
    this.args = args;
    this.stdout = '';
    this.stderr = '';
    this.status = undefined; // exit status, or the name of the signal
    this.child = spawn(program(name), args, { cwd, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    this.pid = this.child.pid;
    this.child.stdin.on('error', () => {});
    this.child.stdout.setEncoding('utf8').on('data', (text) => (this.stdout = (this.stdout + text).slice(-OUTPUT_MAX)));
    this.child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr = (this.stderr + text).slice(-OUTPUT_MAX)));
    this.ended = new Promise((resolve) => {
      this.child.on('error', (error) => resolve((this.status = error.message)));
      this.child.on('exit', (status, signal) => resolve((this.status = status ?? signal)));
    });
    this.closed = new Promise((resolve) => {
      this.child.on('error', resolve);
      this.child.on('close', resolve);
    });
    started.push(this);
  }

  isRunning() {
    return this.status === undefined;
  }

  kill(signal = 'SIGKILL') {
    if (this.isRunning()) kill(this.pid, signal);
  }

  // Resolves with the exit status.
  whenEnded() {
    return within(`the end of ${this.name}`, this.ended);
  }

  async stop(signal = 'SIGTERM') {
    this.kill(signal);
    return this.whenEnded();
  }

  // The lines of JSON that it logged with this event.
  logged(event) {
    return this.stderr
      .split('\n')
      .filter((line) => line.startsWith('{') && line.includes(event))
      .map((line) => JSON.parse(line))
      .filter((entry) => entry.event === event);
  }

  // Resolves with the result of `find`, called with the whole program after it said more, or fails when it ends first.
  says(what, find) {
    return until(`${this.name} to say ${what}`, () => {
      const found = find(this);
      if (!found && !this.isRunning())
        throw new Hopeless(`${this.name} ended (${this.status}): ${this.stderr.slice(-500)}`);
      return found;
    });
  }
}

// Runs a program to its end: {status, stdout, stderr}.
export async function run(name, args, { input, ...options } = {}) {
  const one = new Program(name, args, options);
  one.child.stdin.end(input);
  const status = await one.whenEnded();
  await within(`the output of ${name}`, one.closed);
  return { status, stdout: one.stdout, stderr: one.stderr };
}

// --- the end --------------------------------------------------------------------------------------------------------

// What the programs of this test file said last, for the report of a failure.
export function recentLogs(lines = 40) {
  return started
    .map((one) => {
      const said = `${one.stdout}${one.stderr}`.trimEnd().split('\n').slice(-lines).join('\n  ');
      return `--- ${one.name} ${one.args.join(' ')}\n--- ${one.isRunning() ? 'running' : `ended: ${one.status}`}\n  ${said}`;
    })
    .join('\n');
}

// Workers outlive their keeper, so what runs in our directories is looked for, besides what was started here.
function killAll() {
  for (const one of started) one.kill('SIGKILL');
  for (const directory of directories) for (const { pid } of findProcesses(`${directory}/`)) kill(pid);
}

export function cleanUp() {
  for (let round = 0; round < 3; round++) killAll(); // a supervisor may have been about to start another
  for (const directory of directories.splice(0)) fs.rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}

process.on('exit', cleanUp);
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
  ['SIGHUP', 1],
])
  process.on(signal, () => process.exit(128 + number));

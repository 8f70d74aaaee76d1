// Child processes of the benchmark, and the promise that none outlives it.
//
// A child is killed, with all its descendants, by its process id when the harness exits for whatever reason; the kernel
// kills the direct child also when the harness itself is killed with SIGKILL. Nothing is ever killed by name.
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { spawn, spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

const STOP_MS = 5000;
const OUTPUT_MAX = 64 * 1024;

const children = new Set();
const directories = new Set();

export class Failure extends Error {}

// The fields of /proc/PID/stat that follow the name, or null when the process is gone.
function statOf(pid) {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

const parentOf = (stat) => Number(stat[1]);
const startOf = (stat) => stat[19];

export function nameOf(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/comm`, 'latin1').trim();
  } catch {
    return '';
  }
}

// All living descendants of pid, itself first, as [{pid, start}]; start tells a process from a later one of that id.
export function treeOf(root) {
  const byParent = new Map();
  const stats = new Map();
  for (const entry of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = statOf(entry);
    if (!stat) continue;
    const pid = Number(entry);
    stats.set(pid, stat);
    const siblings = byParent.get(parentOf(stat)) ?? [];
    siblings.push(pid);
    byParent.set(parentOf(stat), siblings);
  }
  const tree = [];
  const queue = stats.has(root) ? [root] : [];
  while (queue.length > 0) {
    const pid = queue.shift();
    tree.push({ pid, start: startOf(stats.get(pid)) });
    queue.push(...(byParent.get(pid) ?? []));
  }
  return tree;
}

function isAlive({ pid, start }) {
  const stat = statOf(pid);
  return stat !== null && startOf(stat) === start && stat[0] !== 'Z';
}

function killEach(processes, signal) {
  for (const one of processes) {
    if (!isAlive(one)) continue;
    try {
      process.kill(one.pid, signal);
    } catch {
      // gone in the meantime
    }
  }
}

function cleanUp() {
  for (const child of children) killEach(treeOf(child.pid), 'SIGKILL');
  children.clear();
  for (const directory of directories) fs.rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  directories.clear();
}

process.on('exit', cleanUp);
for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15], ['SIGHUP', 1]])
  process.on(signal, () => process.exit(128 + number));

// Stops what was started and left behind, for example by a scenario that failed.
export async function stopChildren(isKept = () => false) {
  for (const child of [...children]) if (!isKept(child.pid)) await child.stop();
}

// A directory that goes when the harness does.
export function makeDirectory(name) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), `daemun-bench-${name}-`));
  directories.add(directory);
  return directory;
}

function chosenPort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const given = new Set();

// A port of 127.0.0.1 that was free a moment ago; each only once.
export async function freePort() {
  for (;;) {
    const port = await chosenPort();
    if (given.has(port)) continue;
    given.add(port);
    return port;
  }
}

// The path of a program, looked up as root's shell would, or null.
export function findProgram(name) {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/local/sbin'];
  for (const folder of folders) {
    const file = path.join(folder, name);
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return file;
    } catch {
      // not there
    }
  }
  return null;
}

// What the command prints on both outputs, trimmed; throws with that text when it fails.
export function outputOf(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: 'utf8', timeout: 120000, ...options });
  const text = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim();
  if (result.error || result.status !== 0)
    throw new Failure(`${path.basename(command)} ${args.join(' ')}: ${result.error?.message ?? text}`);
  return text;
}

// Binds every thread of a running process to one core.
export function pin(pid, core) {
  outputOf('taskset', ['-a', '-c', '-p', String(core), String(pid)]);
}

const NICENESS = -10;
let isRaised = false;

// The harness comes before the other processes of its core, so that it reads in time; its children do not inherit that.
export function raisePriority() {
  try {
    os.setPriority(NICENESS);
    isRaised = true;
  } catch {
    // not root: readings come a little later
  }
}

let canBeRealtime = null;

export function mayBeRealtime() {
  canBeRealtime ??= spawnSync('chrt', ['-f', '10', 'true']).status === 0;
  return canBeRealtime;
}

// A running program. `lines` are those it printed on standard output so far, `errors` the end of its standard error.
export class Child {
  constructor(command, args, { core = null, isRealtime = false, cwd, env } = {}) {
    const words = ['setpriv', '--pdeathsig', 'KILL', '--'];
    if (core !== null) words.push('taskset', '-c', String(core));
    if (isRealtime && mayBeRealtime()) words.push('chrt', '-f', '10');
    else if (isRaised) words.push('nice', '-n', String(-NICENESS));
    words.push(command, ...args);
    this.name = path.basename(command);
    this.lines = [];
    this.errors = '';
    this.status = null;
    this.waiters = [];
    this.process = spawn(words[0], words.slice(1), { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.pid = this.process.pid;
    this.hasEnded = new Promise((resolve) => this.process.on('close', resolve));
    this.process.on('error', (error) => (this.errors += error.message));
    this.process.on('close', (status, signal) => this.onClose(status ?? signal));
    this.process.stderr.setEncoding('utf8').on('data', (text) => this.onErrors(text));
    this.process.stdout.setEncoding('utf8').on('data', (text) => this.onOutput(text));
    if (this.pid) children.add(this);
  }

  onOutput(text) {
    const parts = ((this.rest ?? '') + text).split('\n');
    this.rest = parts.pop();
    this.lines.push(...parts);
    if (this.lines.length > 10000) this.lines.splice(0, 5000);
    this.wake();
  }

  onErrors(text) {
    this.errors = (this.errors + text).slice(-OUTPUT_MAX);
    this.wake();
  }

  onClose(status) {
    this.status = status;
    children.delete(this);
    this.wake();
  }

  wake() {
    for (const waiter of this.waiters.splice(0)) waiter();
  }

  // The error for a child that ended, or did not do its part in time.
  failure(text) {
    const said = (this.errors.trim() || this.lines.slice(-5).join('\n')).split('\n').slice(-8).join('\n');
    return new Failure(`${this.name}: ${text}${said ? `:\n${said}` : ''}`);
  }

  // Resolves with the match of the first line, printed before or after the call, that fits the pattern.
  async line(pattern, timeoutMs = 10000) {
    const until = Date.now() + timeoutMs;
    for (;;) {
      for (const line of this.lines) {
        const match = pattern.exec(line);
        if (match) return match;
      }
      if (this.status !== null) throw this.failure(`ended (${this.status}) before it printed ${pattern}`);
      if (Date.now() >= until) throw this.failure(`did not print ${pattern} within ${timeoutMs} ms`);
      await Promise.race([new Promise((resolve) => this.waiters.push(resolve)), delay(until - Date.now() + 1)]);
    }
  }

  // Resolves when the child has ended, by itself or, after timeoutMs, by force.
  async end(timeoutMs) {
    const timer = setTimeout(() => killEach(treeOf(this.pid), 'SIGKILL'), timeoutMs);
    await this.hasEnded;
    clearTimeout(timer);
    return this.status;
  }

  // Asks the child to end, and sees to it that nothing of its tree is left.
  async stop(signal = 'SIGTERM') {
    if (!this.pid || this.status !== null) return;
    const tree = treeOf(this.pid);
    killEach(tree.slice(0, 1), signal);
    await this.end(STOP_MS);
    const until = Date.now() + STOP_MS;
    while (tree.some(isAlive) && Date.now() < until) await delay(10);
    killEach(tree, 'SIGKILL');
  }
}

// The processes of the tour: daemun serve and the two services; where they listen and what is kept between two runs.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { quoted } from './show.mjs';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const FIXED_PORTS = { gateway: 8080, api: 9080, admin: 9090, orders: 9101, catalog: 9102 };
const STOP_MS = 40000;

export class StageError extends Error {}

function isFree(port) {
  return new Promise((resolve) => {
    const server = net.createServer().on('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

// Below those that the kernel gives to outgoing connections: nobody gets it by chance before it is used.
async function freePort(taken) {
  for (;;) {
    const port = 10000 + Math.floor(Math.random() * 22000);
    if (!taken.includes(port) && (await isFree(port))) return port;
  }
}

async function choosePorts(isAuto) {
  if (!isAuto) return { ...FIXED_PORTS };
  const ports = {};
  for (const name of Object.keys(FIXED_PORTS)) ports[name] = await freePort(Object.values(ports));
  return ports;
}

async function checkFree(name, port) {
  if (!(await isFree(port)))
    throw new StageError(`port ${port} (${name}) is in use; stop what listens there, or try --ports auto`);
}

// The command line of a living process, '' when there is none.
function commandLine(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, test, limitMs) {
  const end = performance.now() + limitMs;
  while (!(await test())) {
    if (performance.now() > end) throw new StageError(`${what} did not happen within ${limitMs / 1000} s`);
    await pause(20);
  }
}

function answers(port) {
  return new Promise((resolve) => {
    const request = http.get({ host: '127.0.0.1', port, path: '/health', timeout: 1000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}

export class Stage {
  constructor(data, ports, isAuto) {
    this.data = data;
    this.isAuto = isAuto;
    this.ports = ports;
    this.children = []; // [{name, child}], in the order of their start
    this.bin = path.join(process.env.DAEMUN_BUILD ?? path.join(ROOT, 'build/release'), 'src/bin');
    this.daemunPath = path.join(this.bin, 'daemun');
  }

  static async open({ isAuto }) {
    const data = path.resolve(process.env.DAEMUN_DATA ?? path.join(ROOT, 'build/run-data'));
    const stage = new Stage(data, await choosePorts(isAuto), isAuto);
    if (!fs.existsSync(stage.daemunPath))
      throw new StageError(`${stage.daemunPath} is not there; build first (make), or say where with DAEMUN_BUILD`);
    fs.mkdirSync(path.join(data, 'tour'), { recursive: true, mode: 0o700 });
    await stage.stopLeftOvers();
    for (const [name, port] of Object.entries(stage.ports)) await checkFree(name, port);
    return stage;
  }

  file(name) {
    return path.join(this.data, 'tour', name);
  }

  // The address of the gateway, the API, …
  url(name) {
    return `http://127.0.0.1:${this.ports[name]}`;
  }

  // --- processes ------------------------------------------------------------------------------------------------

  // Each leads a group of its own: Ctrl-C reaches the tour alone, which then ends them in order.
  start(name, program, args, env = {}) {
    const log = fs.openSync(this.file(`${name}.log`), 'w', 0o600);
    const child = spawn(program, args, {
      cwd: ROOT,
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, ...env },
    });
    fs.closeSync(log);
    child.on('error', () => {});
    this.children.push({ name, child });
    this.remember();
    return child;
  }

  log(name) {
    return fs.readFileSync(this.file(`${name}.log`), 'utf8');
  }

  async startService(name) {
    const child = this.start(name, process.execPath, [`examples/${name}/service.mjs`], { PORT: String(this.ports[name]) });
    await until(`the start of the ${name} service`, async () => {
      if (child.exitCode !== null) throw new StageError(`the ${name} service did not start:\n${this.log(name)}`);
      return answers(this.ports[name]);
    }, 20000);
  }

  async startDaemun() {
    const { gateway, api, admin } = this.ports;
    const child = this.start('serve', this.daemunPath, [
      'serve', '--data', this.data,
      '--listen', `127.0.0.1:${gateway}`, '--api', `127.0.0.1:${api}`, '--admin', `127.0.0.1:${admin}`,
      '--master-token-file', this.file('master.token'), '--log-format', 'text',
    ]);
    await until('the start of daemun serve', () => {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new StageError(`daemun serve did not start:\n${this.log('serve')}`);
      return this.log('serve').includes('Daemun is ready.');
    }, 60000);
  }

  async stopOne({ name, child }) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    const timer = setTimeout(() => {
      console.error(`${name} did not stop within ${STOP_MS / 1000} s and is killed`);
      child.kill('SIGKILL');
    }, STOP_MS);
    await ended;
    clearTimeout(timer);
  }

  // Daemun first: it may have requests in hand that a service answers.
  async stop() {
    for (const one of this.children.splice(0).reverse()) await this.stopOne(one);
    fs.rmSync(this.file('processes.json'), { force: true });
  }

  // --- what an earlier tour that was killed left running -----------------------------------------------------------

  remember() {
    const list = this.children
      .filter(({ child }) => child.pid !== undefined)
      .map(({ name, child }) => ({ name, pid: child.pid, commandLine: child.spawnargs.join(' ') }));
    fs.writeFileSync(this.file('processes.json'), JSON.stringify(list), { mode: 0o600 });
  }

  async stopLeftOvers() {
    let list = [];
    try {
      list = JSON.parse(fs.readFileSync(this.file('processes.json'), 'utf8'));
    } catch {
      return;
    }
    for (const { name, pid, commandLine: expected } of list.reverse()) {
      if (commandLine(pid) !== expected) continue;
      console.log(`An earlier tour left ${name} running (process ${pid}); stopping it.`);
      process.kill(pid, 'SIGTERM');
      await until(`the end of ${name}`, () => commandLine(pid) !== expected, STOP_MS);
    }
    fs.rmSync(this.file('processes.json'), { force: true });
  }

  // --- the command line ---------------------------------------------------------------------------------------------

  // The environment of a person at a shell, signed in as `who` (the name of a token file).
  environment(who) {
    return {
      PATH: `${this.bin}:${process.env.PATH}`,
      HOME: this.data,
      DAEMUN_SERVER: this.url('api'),
      DAEMUN_TOKEN: fs.readFileSync(this.file(`${who}.token`), 'utf8').trim(),
    };
  }

  // Runs one line of shell, or daemun with arguments. Returns {code, text}, both streams together.
  shell(who, line) {
    return this.run('bash', ['-c', `{ ${line}; } 2>&1`], who);
  }

  daemun(who, args) {
    return this.run(this.daemunPath, args, who);
  }

  run(program, args, who) {
    const result = spawnSync(program, args, { cwd: ROOT, encoding: 'utf8', env: this.environment(who) });
    if (result.error) throw new StageError(`${program} can't be run: ${result.error.message}`);
    return { code: result.status, text: result.stdout + result.stderr };
  }

  // A file of the examples as a shell's line names it. On other ports than those in the files it is a copy with these.
  sample(name) {
    if (!this.isAuto) return `examples/${name}`;
    const copy = this.file(name);
    const text = fs.readFileSync(path.join(ROOT, 'examples', name), 'utf8');
    fs.mkdirSync(path.dirname(copy), { recursive: true });
    fs.writeFileSync(copy, text.replace(/port: (9101|9102)/g, (_, port) => `port: ${this.ports[port === '9101' ? 'orders' : 'catalog']}`));
    return quoted(copy);
  }
}

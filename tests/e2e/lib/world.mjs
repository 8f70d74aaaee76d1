// A controller with gateways, as a test file wants it: directories, ports, tokens and addresses in one place.
import fs from 'node:fs';
import path from 'node:path';
import { Api } from './api.mjs';
import { freePort } from './ports.mjs';
import { Program, findProcesses, kill, makeDirectory } from './process.mjs';
import { Hopeless, until } from './wait.mjs';
import { fetchText } from './http.mjs';

export class Controller {
  constructor(directory = makeDirectory()) {
    this.data = path.join(directory, 'd');
    this.tokenFile = path.join(directory, 'token');
    this.link = path.join(this.data, 'run/controller.sock');
  }

  async start(extra = [], options = {}) {
    this.port ??= await freePort();
    const args = ['--data', this.data, '--listen', `127.0.0.1:${this.port}`, '--master-token-file', this.tokenFile];
    this.process = new Program('daemun-controller', [...args, '--log-format', 'json', ...extra], options);
    const [ready] = await this.process.says(
      'where it listens',
      (one) => one.logged('ready').length > 0 && one.logged('ready')
    );
    [this.origin] = /http:\S+$/.exec(ready.message);
    await until('the master token', () => fs.existsSync(this.tokenFile));
    this.token = fs.readFileSync(this.tokenFile, 'utf8').trim();
    this.api = new Api(this.origin, this.token);
    return this;
  }

  stop(signal) {
    return this.process.stop(signal);
  }
}

export class Gateway {
  // link: path of the controller's socket, or null.
  constructor(link, { workers = 2, directory = makeDirectory(), id, program = 'daemun-gateway' } = {}) {
    this.data = path.join(directory, 'g');
    this.link = link;
    this.workers = workers;
    this.id = id;
    this.program = program;
  }

  async start(extra = [], { isWaiting = true, ...options } = {}) {
    this.port ??= await freePort();
    this.adminPort ??= await freePort();
    const args = ['--data', this.data, '--listen', `127.0.0.1:${this.port}`, '--workers', String(this.workers)];
    args.push('--admin', `127.0.0.1:${this.adminPort}`, '--log-format', 'json');
    if (this.link) args.push('--controller', `unix:${this.link}`);
    if (this.id) args.push('--id', this.id);
    this.process = new Program(this.program, [...args, ...extra], options);
    if (isWaiting) await this.whenReady();
    return this;
  }

  // Every worker takes requests.
  whenReady() {
    return until('the gateway to be ready', async () => {
      if (!this.process.isRunning())
        throw new Hopeless(`the gateway ended (${this.process.status}): ${this.process.stderr.slice(-500)}`);
      return (await this.get('/healthz')).status === 200 && (await this.metric('daemun_worker_up')) >= this.workers;
    });
  }

  get(target) {
    return fetchText(`http://127.0.0.1:${this.adminPort}${target}`);
  }

  // The sum of a metric's samples that have these labels.
  async metric(name, labels = {}) {
    return sumOf((await this.get('/metrics')).text, name, labels);
  }

  // {keeper, loader, workers: [pid by slot], cells: {tenant: [pid by slot]}} of what runs now.
  pids() {
    const found = { workers: [], cells: {} };
    for (const { pid, args } of findProcesses(this.data)) {
      if (!/daemun-gateway$/.test(args[0])) continue;
      const role = optionOf(args, '--role') ?? 'keeper';
      const cell = optionOf(args, '--cell');
      if (cell) (found.cells[cell] ??= [])[Number(optionOf(args, '--slot'))] = pid;
      else if (role === 'worker') found.workers[Number(optionOf(args, '--slot'))] = pid;
      else found[role] = pid;
    }
    return found;
  }

  // Of /status: [{slot, pid, is_serving, is_former, is_leaving, …}] of every worker process.
  async workerStates() {
    return JSON.parse((await this.get('/status')).text).workers;
  }

  // Of /status: {tenant, is_serving, …} of a dedicated tenant's own workers.
  async cellState(tenant) {
    return JSON.parse((await this.get('/status')).text).cells.find((one) => one.tenant === tenant);
  }

  stop(signal) {
    return this.process.stop(signal);
  }

  // The kernel takes it all, at once.
  async killAll() {
    const { keeper, loader, workers, cells } = this.pids();
    for (const pid of [keeper, loader, ...workers, ...Object.values(cells).flat()]) if (pid) kill(pid);
    await until('the end of the gateway', () => findProcesses(this.data).length === 0);
    if (this.process.isRunning()) await this.process.whenEnded();
  }

  // Every line of the access log, of all workers, or of those that served in one slot.
  accessLog(slot = '') {
    const directory = path.join(this.data, 'log');
    return fs
      .readdirSync(directory)
      .filter((file) => file.startsWith(`access-${slot}`))
      .flatMap((file) => fs.readFileSync(path.join(directory, file), 'utf8').split('\n').filter(Boolean))
      .map((line) => JSON.parse(line));
  }
}

function optionOf(args, name) {
  const at = args.findIndex((arg) => arg === name || arg.startsWith(`${name}=`));
  if (at < 0) return undefined;
  return args[at].includes('=') ? args[at].slice(name.length + 1) : args[at + 1];
}

// Of Prometheus' text format.
export function sumOf(text, name, labels = {}) {
  let sum = 0;
  for (const line of text.split('\n')) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match || match[1] !== name) continue;
    const has = Object.entries(labels).every(([key, value]) => (match[2] ?? '').includes(`${key}="${value}"`));
    if (has) sum += Number(match[3]);
  }
  return sum;
}

export class World {
  static async start({ gateways = 1, workers = 2, gatewayArgs = [], gatewayOptions, program } = {}) {
    const world = new World();
    world.controller = await new Controller().start();
    world.api = world.controller.api;
    world.gateways = [];
    for (let i = 0; i < gateways; i++) {
      const gateway = new Gateway(world.controller.link, { workers, id: `gateway-${i + 1}`, program });
      world.gateways.push(gateway);
      await gateway.start(gatewayArgs, gatewayOptions);
    }
    world.gateway = world.gateways[0];
    if (gateways > 0) await world.whenLinked();
    return world;
  }

  // The controller sees all gateways.
  async whenLinked() {
    await until('the gateways to be linked', async () => {
      const status = await this.api.must('GET', '/status');
      return status.gateways.filter((one) => one.connected).length === this.gateways.length;
    });
  }
}

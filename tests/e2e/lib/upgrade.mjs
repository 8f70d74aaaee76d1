// Upgrades of a gateway, and clients that count what fails meanwhile.
import fs from 'node:fs';
import path from 'node:path';
import { makeDirectory, program } from './process.mjs';
import { until, within } from './wait.mjs';

// --- programs -------------------------------------------------------------------------------------------------------

// A copy of the gateway's program in a place of its own: for World.start({ program }).
export function placeProgram() {
  const file = path.join(makeDirectory(), 'daemun-gateway');
  install(file);
  return file;
}

// Puts a program in the place of the one that runs, as a package manager does: another file under the same name.
export function install(file, content = fs.readFileSync(program('daemun-gateway'))) {
  fs.writeFileSync(`${file}.new`, content, { mode: 0o755 });
  fs.renameSync(`${file}.new`, file);
}

export const pidsOf = (states) => states.map(({ pid }) => pid);

// Every slot is served by a process that was not there before, and those are gone or about to.
export function whenReplaced(gateway, before, { isAllGone = false } = {}) {
  return until('the workers to be replaced', async () => {
    const states = await gateway.workerStates();
    const serving = states.filter((one) => one.is_serving && !one.is_former && !before.includes(one.pid));
    const left = states.filter((one) => before.includes(one.pid));
    return (
      serving.length === gateway.workers && left.every((one) => one.is_leaving) && (!isAllGone || left.length === 0)
    );
  });
}

// The workers that were there before.
export async function upgrade(gateway, options) {
  const before = pidsOf(await gateway.workerStates());
  install(gateway.program);
  gateway.process.kill('SIGUSR2');
  await whenReplaced(gateway, before, options);
  return before;
}

// --- load -----------------------------------------------------------------------------------------------------------

const loads = new Set(); // of failed tests some go on

// In a suite's after().
export function endLoads() {
  for (const load of loads) load.isOver = true;
}

// Requests of many clients: how many are done, and why the failed ones failed. `add` starts a client, an async function that makes
// requests until load.isOver, each in `count`.
export class Load {
  constructor() {
    Object.assign(this, { done: 0, failed: [], isOver: false, clients: [] });
    loads.add(this);
  }

  add(client) {
    this.clients.push(client(this));
  }

  async count(request) {
    try {
      await request();
    } catch (error) {
      this.failed.push(error.syscall ? error.code : error.message);
    }
    this.done++;
  }

  more(n) {
    const from = this.done;
    return until(`${n} more requests`, () => this.isOver || this.done >= from + n);
  }

  async stop() {
    this.isOver = true;
    await within('the clients', Promise.all(this.clients));
    return this;
  }
}

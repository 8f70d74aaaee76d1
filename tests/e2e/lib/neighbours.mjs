// Teams that share workers: one that must lose nothing (the victim), and clients that do to another's worker what hurts.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { Agent } from 'undici';
import { RawClient, ask } from './http.mjs';
import { domainOf, headOf, keyOf } from './team.mjs';
import { kill } from './process.mjs';
import { Polite } from './polite.mjs';
import { unreadFrom } from './sockets.mjs';
import { until } from './wait.mjs';

// Asks for its team, over connections that are kept, and takes nothing for an answer but what its own backend says of its own request:
// backends tell their name and what they saw (startUpstream({ name })).
export class Victim extends Polite {
  // when(): called at each answer; what it throws is a failure, too.
  constructor(port, name, { atATime = 2, when = () => {} } = {}) {
    const dispatcher = new Agent({ connections: atATime, pipelining: 1, headersTimeout: 120000, bodyTimeout: 120000 });
    let count = 0;
    super(async () => {
      const path = `/${name}/${count++}`;
      const { status, text } = await ask(port, { host: domainOf(name), key: keyOf(name), path, dispatcher });
      assert.equal(status, 200, text);
      const seen = JSON.parse(text);
      assert.deepEqual([seen.name, seen.path], [name, path], 'what it asked for, by its own backend');
      when();
    }, atATime);
    this.dispatcher = dispatcher;
  }

  async stopUnharmed() {
    await super.stopUnharmed();
    await this.dispatcher.close();
    return this.answered;
  }

  // So many more answers, and none other than it must be; how many there were in all. It has ended then, whatever happened.
  async asks(n) {
    try {
      await this.goOn(n);
      return await this.stopUnharmed();
    } finally {
      this.isGoing = false;
    }
  }
}

const COUNTED = /HTTP\/1\.1 (\d{3}) /g;
const STATUS_LINE_BYTES = 'HTTP/1.1 200 '.length;

// Connections that always have so many requests of one head out, pipelined: what is answered is asked again.
export class Flood {
  static async start(port, head, { connections = 16, depth = 8 } = {}) {
    const flood = new Flood(head, depth);
    flood.clients = await Promise.all(Array.from({ length: connections }, () => RawClient.open(port)));
    for (const client of flood.clients) flood.#begin(client.socket);
    return flood;
  }

  constructor(head, depth) {
    this.head = head;
    this.depth = depth;
    this.asked = 0;
    this.answered = 0;
    this.statuses = {};
    this.isGoing = true;
  }

  #begin(socket) {
    let rest = '';
    socket.removeAllListeners('data');
    socket.on('data', (data) => {
      const text = rest + data.toString('latin1');
      let end = 0;
      let answers = 0;
      for (const match of text.matchAll(COUNTED)) {
        this.statuses[match[1]] = (this.statuses[match[1]] ?? 0) + 1;
        end = match.index + match[0].length;
        answers++;
      }
      rest = text.slice(Math.max(end, text.length - STATUS_LINE_BYTES + 1));
      this.answered += answers;
      if (this.isGoing) this.#send(socket, answers);
    });
    this.#send(socket, this.depth);
  }

  #send(socket, count) {
    if (count === 0) return;
    this.asked += count;
    socket.write(this.head.repeat(count), 'latin1');
  }

  get outstanding() {
    return this.asked - this.answered;
  }

  // Resolves with how many were asked, when each has its answer.
  async stop() {
    this.isGoing = false;
    await until('the answers that are out', () => {
      assert.ok(this.clients.every((client) => !client.isEnded), 'its connections stand');
      return this.outstanding === 0;
    });
    return this.asked;
  }

  close() {
    this.isGoing = false;
    for (const client of this.clients) client.close();
  }
}

// A request that the gateway answers itself with success: the preflight of a team with the policy below.
export const answersPreflights = { type: 'cors', allow_origins: ['*'] };
export const preflightOf = (name, target = '/') =>
  headOf(name, { method: 'OPTIONS', target, fields: ['Origin: https://app.test', 'Access-Control-Request-Method: GET'] });

// [client, text], each sent in this order, are there, all of it, before a worker does anything about them. The keeper takes no notice: it
// sleeps on until `seen` has resolved.
export async function sendToSleeping(gateway, messages, seen) {
  const { keeper, workers } = gateway.pids();
  kill(keeper, 'SIGSTOP');
  workers.forEach((pid) => kill(pid, 'SIGSTOP'));
  try {
    for (const [client, text] of messages) await client.send(text);
    for (const [{ socket }, text] of messages)
      await until('a message to be there', () => unreadFrom(gateway.port, socket.localPort) === text.length);
    workers.forEach((pid) => kill(pid, 'SIGCONT'));
    await seen();
  } finally {
    [...workers, keeper].forEach((pid) => kill(pid, 'SIGCONT'));
  }
}

// Nanoseconds that a process has run, by the kernel.
export function cpuNsOf(pid) {
  const threads = fs.readdirSync(`/proc/${pid}/task`);
  const read = (thread) => fs.readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1');
  return threads.reduce((sum, thread) => sum + Number(read(thread).split(' ', 1)[0]), 0);
}

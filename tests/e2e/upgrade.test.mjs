// A new program takes over from the one that runs, and processes die meanwhile: no request is refused, and none fails but
// what a killed worker had in hand. No client here tries anything twice.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Pool } from 'undici';
import { RawClient, ask } from './lib/http.mjs';
import { hasSanitizer, isAlive, kill, makeDirectory, program, whenGone } from './lib/process.mjs';
import { freePort } from './lib/ports.mjs';
import { ownerOf } from './lib/sockets.mjs';
import { after, suite, test } from './lib/testing.mjs';
import { apiKey, domainOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { Load, endLoads, install, pidsOf, placeProgram, upgrade, whenReplaced } from './lib/upgrade.mjs';
import { deferred, until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const name = 'orders';
const head = `GET / HTTP/1.1\r\nHost: ${domainOf(name)}\r\nX-API-Key: ${keyOf(name)}\r\n\r\n`;
const call = (world, options = {}) => ask(world.gateway.port, { host: domainOf(name), key: keyOf(name), ...options });

async function start({ gatewayArgs = [], plan = {}, ...options } = {}) {
  const world = await World.start({
    gatewayArgs: ['--drain-ms', '4000', ...gatewayArgs],
    program: placeProgram(),
    ...options,
  });
  world.gatewayArgs = ['--drain-ms', '4000', ...gatewayArgs];
  world.upstream = await startUpstream();
  await world.api.apply(teamFile(name, world.upstream.port, { plan }));
  return world;
}

// --- load -----------------------------------------------------------------------------------------------------------

// Kept connections of undici, at all times one request each.
function pooledLoad(world, load, connections = 4) {
  const pool = new Pool(`http://127.0.0.1:${world.gateway.port}`, { connections, pipelining: 1 });
  const clients = Array.from({ length: connections }, async () => {
    while (!load.isOver)
      await load.count(async () => {
        const answer = await call(world, { dispatcher: pool });
        assert.equal(answer.status, 200);
      });
  });
  return Promise.all(clients).then(() => pool.destroy());
}

// A connection for each request.
async function freshLoad(world, load) {
  while (!load.isOver)
    await load.count(async () => {
      const client = await RawClient.open(world.gateway.port);
      await client.send(head);
      const answer = await client.response();
      client.close();
      assert.equal(answer.status, 200);
    });
}

// Sockets that rest between two requests while others make many, and believe in what the gateway said of the connection.
async function restingLoad(world, load, rest) {
  let client;
  while (!load.isOver) {
    await load.count(async () => {
      client ??= await RawClient.open(world.gateway.port);
      const { localPort } = client.socket;
      try {
        await client.send(head);
        const answer = await client.response();
        assert.equal(answer.status, 200);
        if (/close/i.test(answer.headers.connection ?? '')) {
          await client.whenClosed();
          client = undefined;
        }
      } catch (error) {
        client = undefined;
        throw Object.assign(error, { localPort });
      }
    });
    await load.more(rest);
  }
  client?.close();
}

function startLoad(world, { pooled = 4, fresh = 2, resting = 4 } = {}) {
  const load = new Load();
  load.add(() => pooledLoad(world, load, pooled));
  for (let i = 0; i < fresh; i++) load.add(() => freshLoad(world, load));
  for (let i = 0; i < resting; i++) load.add(() => restingLoad(world, load, 50 * (i + 1)));
  return load;
}

const open = (world, count) => Promise.all(Array.from({ length: count }, () => RawClient.open(world.gateway.port)));

// Requests until an answer says that it is the last; then the connection ends, and not before. All answers.
async function untilLast(client) {
  const answers = [];
  do {
    await client.send(head);
    answers.push(await client.response());
    assert.equal(answers.at(-1).status, 200);
  } while (answers.at(-1).headers.connection !== 'close');
  await client.whenClosed();
  return answers;
}

async function assertAnswered(clients, status = 200) {
  for (const client of clients) {
    assert.equal((await client.response()).status, status);
    client.close();
  }
}

suite('upgrade', () => {
  closeUpstreamsAfter();
  after(endLoads);

  test('three upgrades under load: nothing is refused, nothing fails, and the keeper keeps its process id', async () => {
    const world = await start({ workers: 3 });
    const { keeper } = world.gateway.pids();
    const load = startLoad(world);
    for (let round = 0; round < 3; round++) {
      await load.more(200);
      const before = await upgrade(world.gateway, { isAllGone: true });
      assert.ok(before.every((pid) => !isAlive(pid)));
    }
    await load.more(200);
    const { failed, done } = await load.stop();
    assert.deepEqual(failed, [], `of ${done} requests`);
    assert.equal(world.gateway.pids().keeper, keeper);
    assert.equal((await world.gateway.workerStates()).length, 3);
    assert.ok(done > 1000);
  });

  test('an idle client is served by the former worker, which then ends the connection politely', async () => {
    const world = await start({ gatewayArgs: ['--drain-ms', '60000'] });
    const clients = await open(world, 8);
    for (const client of clients) {
      await client.send(head);
      assert.equal((await client.response()).status, 200);
    }
    const before = await upgrade(world.gateway);
    for (const client of clients) {
      assert.ok(ownerOf(world.gateway.port, client.socket.localPort, before), 'the former one has it');
      await untilLast(client);
    }
    for (const pid of before) await whenGone(pid);
  });

  test('an upgrade that comes while the one before drains waits for it', async () => {
    const world = await start();
    const load = startLoad(world);
    const idle = await open(world, 6);
    for (const client of idle) {
      await client.send(head);
      assert.equal((await client.response()).status, 200);
    }
    const first = await upgrade(world.gateway);
    assert.ok(first.some(isAlive), 'they wait for the idle clients');
    const second = await upgrade(world.gateway, { isAllGone: true });
    for (const pid of [...first, ...second]) await whenGone(pid);
    await load.more(100);
    assert.deepEqual((await load.stop()).failed, []);
  });

  test('a stream lives through the upgrade, until the time that was given', async () => {
    const world = await start({ gatewayArgs: ['--drain-ms', '5000'] });
    const held = [];
    world.upstream.respond = (request, response) => {
      response.write('begun ');
      held.push(response);
    };
    const [first, second] = await open(world, 2);
    for (const client of [first, second]) {
      await client.send(head);
      await client.receives('the beginning', (text) => text.includes('begun'));
    }
    const before = await upgrade(world.gateway);
    held[0].end('ended');
    held[1].write('more ');
    const whole = (text) => text.includes('ended') || text.includes('more');
    await first.receives('the rest', whole);
    await second.receives('the rest', whole);
    await second.whenClosed();
    assert.doesNotMatch(second.text, /\r\n0\r\n\r\n$/, 'a stream that was cut does not look whole');
    for (const pid of before) await whenGone(pid);
  });

  test('workers, keeper and loader are killed during upgrades: only what killed workers had in hand fails', async () => {
    const world = await start({ workers: 3 });
    const load = startLoad(world, { pooled: 6 });
    let inHand = 0;
    for (let round = 0; round < 3; round++) {
      await load.more(100);
      const before = pidsOf(await world.gateway.workerStates());
      install(world.gateway.program);
      world.gateway.process.kill('SIGUSR2');
      await load.more(20 * round);
      const { loader, workers } = world.gateway.pids();
      if (loader) kill(loader);
      const victim = workers.find(Boolean);
      inHand += 12; // every client has at most one request in hand
      kill(victim);
      await world.gateway.process.stop('SIGKILL');
      await load.more(50);
      await world.gateway.start(world.gatewayArgs, { isWaiting: false });
      await whenReplaced(world.gateway, [...before, victim], { isAllGone: true });
    }
    await load.more(100);
    const { failed, done } = await load.stop();
    assert.ok(failed.length <= inHand, `${failed.length} of ${done} failed: ${failed.slice(0, 20)}`);
    assert.ok(
      failed.every((error) => error !== 'ECONNREFUSED'),
      `nothing is refused: ${failed}`
    );
    assert.ok(done > 600);
  });

  test('connections that wait for a worker which is killed are served by others', async () => {
    const world = await start({ workers: 3 });
    const { workers } = world.gateway.pids();
    for (const pid of workers) kill(pid, 'SIGSTOP');
    const clients = await open(world, 60);
    for (const client of clients) await client.send(head);
    for (const pid of workers) kill(pid);
    await assertAnswered(clients);
  });

  test('connections that wait for a worker which hangs are served by a neighbour, without its death', async () => {
    const world = await start({ workers: 2 });
    const [, hung] = world.gateway.pids().workers;
    kill(hung, 'SIGSTOP');
    const clients = await open(world, 40);
    for (const client of clients) await client.send(head);
    await assertAnswered(clients);
    kill(hung, 'SIGCONT');
    await until('both to serve', async () => (await world.gateway.workerStates()).every((one) => one.is_serving));
    assert.equal((await call(world)).status, 200);
  });

  test('a keeper that was killed has the sockets back, and a worker that dies then loses nobody', async () => {
    const world = await start();
    const { keeper, workers } = world.gateway.pids();
    kill(keeper);
    await whenGone(keeper);
    await world.gateway.start(world.gatewayArgs);
    assert.deepEqual(world.gateway.pids().workers, workers, 'they are adopted');
    for (const pid of workers) kill(pid, 'SIGSTOP');
    const clients = await open(world, 40);
    for (const client of clients) await client.send(head);
    for (const pid of workers) kill(pid);
    await assertAnswered(clients);
  });

  test('the keeper steps aside, and the next one brings other options', async () => {
    const world = await start({ workers: 3 });
    const load = startLoad(world);
    await load.more(100);
    const before = pidsOf(await world.gateway.workerStates());
    assert.equal(await world.gateway.stop('SIGUSR1'), 0);
    assert.ok(before.every(isAlive));
    await load.more(100);
    const extra = await freePort();
    world.gateway.workers = 2;
    await world.gateway.start([...world.gatewayArgs, '--listen', `127.0.0.1:${extra}`], { isWaiting: false });
    await whenReplaced(world.gateway, before, { isAllGone: true });
    assert.equal((await ask(extra, { host: domainOf(name), key: keyOf(name) })).status, 200);
    await load.more(100);
    assert.deepEqual((await load.stop()).failed, []);

    const again = pidsOf(await world.gateway.workerStates());
    assert.equal(again.length, 2);
    assert.equal(await world.gateway.stop('SIGUSR1'), 0);
    await world.gateway.start(world.gatewayArgs, { isWaiting: false });
    await whenReplaced(world.gateway, again, { isAllGone: true });
    await assert.rejects(ask(extra, { host: domainOf(name) }), { code: 'ECONNREFUSED' });
    assert.equal((await call(world)).status, 200);
  });

  test('the same program with the same options replaces nobody', async () => {
    const world = await start();
    const { keeper, workers } = world.gateway.pids();
    world.gateway.process.kill('SIGUSR2');
    await until('the next keeper', () => world.gateway.process.logged('keeper_started').length === 2);
    await world.gateway.whenReady();
    assert.deepEqual(world.gateway.pids().workers, workers);
    assert.equal(world.gateway.pids().keeper, keeper);
  });

  test('a worker that is told to end goes once another serves', async () => {
    const world = await start();
    const load = startLoad(world);
    await load.more(100);
    const { workers } = world.gateway.pids();
    for (const pid of workers) {
      kill(pid, 'SIGTERM');
      await whenGone(pid);
      await load.more(50);
    }
    await whenReplaced(world.gateway, workers, { isAllGone: true });
    assert.deepEqual((await load.stop()).failed, []);
  });

  test('limits and usage are exact over upgrades', async () => {
    const plan = { limits: [{ metric: 'hits', period: 'eternity', value: 600 }] };
    const world = await start({ workers: 3, plan });
    const statuses = { 200: 0, 429: 0 };
    let isOver = false;
    const pool = new Pool(`http://127.0.0.1:${world.gateway.port}`, { connections: 6 });
    const clients = Array.from({ length: 6 }, async () => {
      while (!isOver) statuses[(await call(world, { dispatcher: pool })).status]++;
    });
    await until('the first', () => statuses[200] > 50);
    await upgrade(world.gateway, { isAllGone: true });
    await until('all that may', () => statuses[429] > 0);
    await upgrade(world.gateway, { isAllGone: true });
    const refused = statuses[429];
    await until('more', () => statuses[429] > refused + 50);
    isOver = true;
    await Promise.all(clients);
    await pool.destroy();
    assert.equal(statuses[200], 600);
    const hits = async () => (await world.api.must('GET', `/tenants/${name}/usage`)).items.find((one) => one.metric === 'hits')?.count;
    await until('the usage', async () => (await hits()) >= 600);
    assert.equal(await hits(), 600);
    assert.equal(await world.gateway.metric('daemun_requests_total', { tenant: name }), statuses[200] + statuses[429]);
  });

  test('a change is live on all workers during an upgrade, also on those that drain', async () => {
    const world = await start({ gatewayArgs: ['--drain-ms', '60000'] });
    const [client] = await open(world, 1);
    await client.send(head);
    assert.equal((await client.response()).status, 200);
    await upgrade(world.gateway);
    const policies = [apiKey, { type: 'headers', response: [{ op: 'set', name: 'X-Round', value: '2' }] }];
    const { live } = await world.api.apply(teamFile(name, world.upstream.port, { policies }));
    assert.deepEqual(live.refused, []);
    assert.equal(live.gateways, 1);
    assert.equal((await call(world)).headers['x-round'], '2');
    for (const answer of await untilLast(client)) assert.equal(answer.headers['x-round'], '2');
  });

  for (const [what, content, why] of [
    ['is no program', Buffer.from('not a program\n'), /Exec format error/],
    ['refuses', Buffer.from('#!/bin/sh\nexit 3\n'), /exit 3/],
    ['dies', Buffer.from('#!/bin/sh\nkill -SEGV $$\n'), /signal 11/],
  ])
    test(`a program that ${what} does not take over, and an alarm says so`, async () => {
      const world = await start();
      const before = pidsOf(await world.gateway.workerStates());
      const load = startLoad(world);
      install(world.gateway.program, content);
      world.gateway.process.kill('SIGUSR2');
      const [refusal] = await until('the refusal', () => {
        const said = world.gateway.process.logged('upgrade_refused');
        return said.length > 0 && said;
      });
      assert.match(refusal.message, why);
      assert.equal(await world.gateway.metric('daemun_upgrades_refused_total'), 1);
      await load.more(100);
      assert.deepEqual((await load.stop()).failed, []);
      assert.deepEqual(pidsOf(await world.gateway.workerStates()), before);
      await upgrade(world.gateway); // the next one that can, does
    });

  test('a program that is gone when it is to take over: the present one goes on', async () => {
    const world = await start();
    const { keeper, workers } = world.gateway.pids();
    const load = startLoad(world);
    install(world.gateway.program, Buffer.from('#!/bin/sh\nrm "$0"\n'));
    world.gateway.process.kill('SIGUSR2');
    await until('the keeper to be back', () => world.gateway.process.logged('keeper_started').length === 2);
    assert.match(world.gateway.process.stderr, /can't be run: No such file or directory; this program goes on/);
    await world.gateway.whenReady();
    assert.deepEqual(world.gateway.pids().workers, workers);
    assert.equal(world.gateway.pids().keeper, keeper);
    await load.more(100);
    assert.deepEqual((await load.stop()).failed, []);
  });

  test(
    'a program whose workers die: the former ones stay in service, with an alarm, until a sound one comes',
    { skip: hasSanitizer() && 'it wants to be preloaded first' },
    async () => {
      const world = await start();
      const directory = makeDirectory();
      const source = fileURLToPath(new URL('lib/crash_workers.c', import.meta.url));
      execFileSync('cc', ['-shared', '-fPIC', '-D_GNU_SOURCE', '-o', path.join(directory, 'crash.so'), source]);
      fs.writeFileSync(path.join(directory, 'real'), fs.readFileSync(program('daemun-gateway')), { mode: 0o755 });
      const before = pidsOf(await world.gateway.workerStates());
      const load = startLoad(world);
      install(
        world.gateway.program,
        Buffer.from(`#!/bin/bash\nLD_PRELOAD=${directory}/crash.so exec -a "$0" ${directory}/real "$@"\n`)
      );
      world.gateway.process.kill('SIGUSR2');
      await until('the alarm', () => world.gateway.process.logged('upgrade_stuck').length >= 4);
      await until('both alarms', async () => (await world.gateway.metric('daemun_worker_former')) === 2);
      assert.equal((await world.gateway.get('/healthz')).status, 200);
      await load.more(100);
      const states = await world.gateway.workerStates();
      assert.deepEqual(
        states.filter((one) => one.is_former && one.is_serving).map(({ pid }) => pid).sort(),
        before.sort()
      );
      install(world.gateway.program);
      world.gateway.process.kill('SIGUSR2');
      await until('the sound one', async () =>
        (await world.gateway.workerStates()).every((one) => one.is_serving && !one.is_former)
      );
      assert.deepEqual((await load.stop()).failed, []);
    }
  );

  test('SIGTERM: connections that wait are still served, and the exit is clean', async () => {
    const world = await start();
    const { workers } = world.gateway.pids();
    for (const pid of workers) kill(pid, 'SIGSTOP');
    const clients = await open(world, 40);
    for (const client of clients) await client.send(head);
    world.gateway.process.kill('SIGTERM');
    for (const pid of workers) kill(pid, 'SIGCONT');
    for (const client of clients) assert.equal((await client.response()).status, 200);
    for (const client of clients) await client.whenClosed();
    assert.equal(await world.gateway.process.whenEnded(), 0);
  });

  test('SIGTERM under load: whoever was let in is answered', async () => {
    const world = await start();
    const load = startLoad(world, { resting: 0 }); // who rests for long is told by the end of the connection
    await load.more(200);
    world.gateway.process.kill('SIGTERM');
    assert.equal(await world.gateway.process.whenEnded(), 0);
    const { failed } = await load.stop();
    assert.deepEqual(
      failed.filter((error) => error !== 'ECONNREFUSED'),
      []
    );
  });

  test('a second SIGTERM does not wait', async () => {
    const world = await start({ gatewayArgs: ['--drain-ms', '600000'] });
    const held = deferred();
    world.upstream.respond = (request, response) => held.promise.then(() => response.end());
    const [client] = await open(world, 1);
    await client.send(head);
    await until('the request in flight', () => world.upstream.requests.length === 1);
    world.gateway.process.kill('SIGTERM');
    await until('the first to be heard', () => world.gateway.process.logged('keeper_stopping').length === 1);
    world.gateway.process.kill('SIGTERM');
    assert.equal(await world.gateway.process.whenEnded(), 0);
    await client.whenClosed();
    held.resolve();
  });
});

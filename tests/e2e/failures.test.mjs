// What happens to traffic and configuration when processes die, stop, or find damaged files.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Pool } from 'undici';
import { RawClient, ask } from './lib/http.mjs';
import { hasSanitizer, isAlive, kill, whenGone } from './lib/process.mjs';
import { ownerOf } from './lib/sockets.mjs';
import { suite, test } from './lib/testing.mjs';
import { apiKey, domainOf, headOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { deferred, until, within } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const call = (world, name, options = {}) =>
  ask(world.gateway.port, { host: domainOf(name), key: keyOf(name), ...options });
const rounded = (port, round) =>
  teamFile('orders', port, {
    policies: [apiKey, { type: 'headers', response: [{ op: 'set', name: 'X-Round', value: String(round) }] }],
  });

// A world of its own with teams that one service serves.
async function start(teams = ['orders', 'catalog'], options = {}, planOf = () => ({})) {
  const world = await World.start(options);
  world.upstream = await startUpstream();
  for (const name of teams) {
    const file = teamFile(name, world.upstream.port, { plan: planOf(name) });
    await (world.gateway ? world.api.apply(file) : world.api.store(file));
  }
  return world;
}

// Requests on kept connections until stop(): {count, failed}.
function startLoad(world, name, connections = 6) {
  const pool = new Pool(`http://127.0.0.1:${world.gateway.port}`, { connections });
  const load = { count: 0, failed: [] };
  let isOver = false;
  const workers = Array.from({ length: connections }, async () => {
    while (!isOver) {
      const answer = await call(world, name, { dispatcher: pool }).catch((error) => ({
        status: error.code ?? error.message,
      }));
      load.count++;
      if (answer.status !== 200) load.failed.push(answer.status);
    }
  });
  load.more = (n) => {
    const from = load.count;
    return until(`${n} more requests`, () => load.count >= from + n);
  };
  load.stop = async () => {
    isOver = true;
    await Promise.all(workers);
    await pool.destroy();
    return load;
  };
  return load;
}

// Kept connections with a request behind them, some on each worker: [{client, pid}].
async function connectToAll(world, name) {
  const { workers } = world.gateway.pids();
  const connections = [];
  while (connections.length < 6 || !workers.every((pid) => connections.some((one) => one.pid === pid))) {
    assert.ok(connections.length < 200, 'the kernel gives every worker connections');
    const client = await RawClient.open(world.gateway.port);
    await client.send(headOf(name));
    assert.equal((await client.response()).status, 200);
    connections.push({ client, pid: ownerOf(world.gateway.port, client.socket.localPort, workers) });
  }
  assert.ok(connections.every(({ pid }) => pid !== undefined));
  return connections;
}

async function assertServes({ client }, name) {
  await client.send(headOf(name));
  assert.equal((await client.response()).status, 200);
}

suite('failures', () => {
  closeUpstreamsAfter();

  // --- the controller -----------------------------------------------------------------------------------------------

  test('the controller dies: traffic is untouched, and changes go on when it is back', async () => {
    const world = await start();
    const load = startLoad(world, 'orders');
    await load.more(50);
    await world.controller.stop('SIGKILL');
    await until('the gateway to notice', async () => (await world.gateway.metric('daemun_link_up')) === 0);
    await load.more(300);
    await world.controller.start();
    await world.whenLinked();
    assert.equal((await world.controller.api.apply(rounded(world.upstream.port, 1))).live.gateways, 1);
    await load.more(50);
    assert.deepEqual((await load.stop()).failed, []);
    assert.equal((await call(world, 'orders')).headers['x-round'], '1');
  });

  test('a gateway starts from disk with the controller dead, after a stop and after a crash', async () => {
    const world = await start();
    await world.controller.stop('SIGKILL');
    assert.equal(await world.gateway.stop(), 0);
    await world.gateway.start();
    for (const name of ['orders', 'catalog']) assert.equal((await call(world, name)).status, 200);
    assert.equal((await call(world, 'orders', { key: 'wrong' })).reason, 'auth_invalid');
    await world.gateway.killAll();
    await world.gateway.start();
    for (const name of ['orders', 'catalog']) assert.equal((await call(world, name)).status, 200);
  });

  test('of a thousand acknowledged writes none is lost when the controller is killed among them', async () => {
    const teams = Array.from({ length: 20 }, (_, i) => `team-${i}`);
    const world = await start(teams, { gateways: 0 });
    const { api } = world.controller;
    const acknowledged = [];
    let next = 0;
    const writer = async () => {
      for (;;) {
        const name = `/tenants/team-${next % teams.length}/backends/w-${next++}`;
        const answer = await api.put(name, { endpoints: [{ host: '127.0.0.1', port: world.upstream.port }] });
        assert.equal(answer.status, 201, answer.text);
        acknowledged.push(name);
        if (acknowledged.length === 1000) world.controller.process.kill('SIGKILL');
      }
    };
    const writers = Array.from({ length: 8 }, () => writer().catch((error) => error));
    const errors = await within('the writers', Promise.all(writers));
    assert.ok(acknowledged.length >= 1000, `only ${acknowledged.length}: ${errors[0]?.message}`);
    await world.controller.process.whenEnded();
    await world.controller.start();
    const there = new Set();
    for (const team of teams)
      for (const { name } of await world.controller.api.all(`/tenants/${team}/backends`))
        there.add(`/tenants/${team}/backends/${name}`);
    assert.deepEqual(
      acknowledged.filter((name) => !there.has(name)),
      []
    );
    const { intact, changes, count } = await world.controller.api.must('GET', '/changes/verification');
    assert.equal(intact, true);
    assert.ok((changes ?? count) >= 1000);
  });

  test('a controller that comes back with an older database: traffic stays, and the next change goes live', async () => {
    const world = await start();
    const copy = `${world.controller.data}-copy`;
    await world.controller.stop();
    fs.cpSync(world.controller.data, copy, { recursive: true });
    await world.controller.start();
    for (let round = 1; round <= 3; round++) await world.controller.api.apply(rounded(world.upstream.port, round));
    await world.controller.stop('SIGKILL');
    fs.rmSync(world.controller.data, { recursive: true });
    fs.renameSync(copy, world.controller.data);
    await world.controller.start();
    await world.whenLinked();
    assert.equal((await call(world, 'orders')).status, 200);
    assert.equal((await world.controller.api.apply(rounded(world.upstream.port, 9))).live.gateways, 1);
    assert.equal((await call(world, 'orders')).headers['x-round'], '9');
  });

  // --- parts of the gateway -----------------------------------------------------------------------------------------

  test('a worker dies: only its own connections are cut, and another takes its place; limits go on', async () => {
    const plan = (name) => (name === 'catalog' ? { limits: [{ metric: 'hits', period: 'eternity', value: 5 }] } : {});
    const world = await start(['orders', 'catalog'], {}, plan);
    for (let round = 0; round < 2; round++) {
      const connections = await connectToAll(world, 'orders');
      const limited = await call(world, 'catalog');
      assert.equal(limited.status, 200);
      const victim = world.gateway.pids().workers[round];
      kill(victim);
      for (const connection of connections) {
        if (connection.pid === victim) await connection.client.whenClosed();
        else await assertServes(connection, 'orders');
      }
      const successor = await until('its successor', async () => {
        const pid = world.gateway.pids().workers[round];
        return pid !== victim && (await world.gateway.get('/healthz')).status === 200 && pid;
      });
      assert.equal(await world.gateway.metric('daemun_worker_restarts_total'), round + 1);
      const again = await connectToAll(world, 'orders');
      assert.ok(
        again.some(({ pid }) => pid === successor),
        'the successor takes connections'
      );
      for (const { client } of [...connections, ...again]) client.close();
    }
    const rest = await Promise.all(Array.from({ length: 12 }, () => call(world, 'catalog')));
    assert.equal(rest.filter(({ status }) => status === 200).length, 3, 'what was counted stays counted');
  });

  test('the loader dies: nobody notices, and the next change goes live', async () => {
    const world = await start();
    const load = startLoad(world, 'orders');
    await load.more(20);
    for (let round = 1; round <= 3; round++) {
      const { loader } = world.gateway.pids();
      kill(loader);
      await whenGone(loader);
      assert.equal((await world.api.apply(rounded(world.upstream.port, round))).live.gateways, 1);
    }
    assert.deepEqual((await load.stop()).failed, []);
    assert.equal((await call(world, 'orders')).headers['x-round'], '3');
  });

  test('the keeper dies: connections and requests in flight stay, and the next keeper adopts the workers', async () => {
    const world = await start();
    const held = deferred();
    world.upstream.respond = (request, response, seen) =>
      seen.path === '/held' ? held.promise.then(() => response.end('held')) : response.end('ok');
    const connections = await connectToAll(world, 'orders');
    const long = call(world, 'orders', { path: '/held' });
    await until('the request at the backend', () => world.upstream.requests.some((seen) => seen.path === '/held'));

    const { workers, keeper } = world.gateway.pids();
    kill(keeper);
    await whenGone(keeper);
    for (const connection of connections) await assertServes(connection, 'orders');
    for (let i = 0; i < 8; i++) assert.equal((await call(world, 'catalog')).status, 200);

    await world.gateway.start();
    await world.whenLinked();
    assert.deepEqual(world.gateway.pids().workers, workers);
    const status = JSON.parse((await world.gateway.get('/status')).text);
    assert.ok(
      status.workers.every((worker) => worker.is_adopted && worker.is_serving),
      JSON.stringify(status.workers)
    );
    assert.equal((await world.api.apply(rounded(world.upstream.port, 1))).live.gateways, 1);
    for (const connection of connections) await assertServes(connection, 'orders');
    held.resolve();
    assert.equal((await within('the held answer', long)).text, 'held');

    kill(workers[0]);
    await until('another worker', async () => {
      const pid = world.gateway.pids().workers[0];
      return pid && pid !== workers[0] && (await world.gateway.get('/healthz')).status === 200;
    });
    assert.equal((await call(world, 'orders')).status, 200);
    for (const { client } of connections) client.close();
    assert.equal(await world.gateway.stop(), 0);
    assert.deepEqual(workers.filter(isAlive), []);
  });

  test('keeper and a worker die together: the other serves, the next keeper fills the place', async () => {
    const world = await start();
    const { keeper, workers } = world.gateway.pids();
    kill(keeper);
    kill(workers[0]);
    await whenGone(keeper);
    await whenGone(workers[0]);
    for (let i = 0; i < 8; i++) assert.equal((await call(world, 'orders')).status, 200);
    await world.gateway.start();
    const now = world.gateway.pids().workers;
    assert.equal(now[1], workers[1]);
    assert.notEqual(now[0], workers[0]);
    assert.equal((await call(world, 'orders')).status, 200);
  });

  // --- stopping -----------------------------------------------------------------------------------------------------

  test('SIGTERM: what is in flight is finished, what comes is refused, then it ends', async () => {
    const world = await start(['orders']);
    const held = deferred();
    world.upstream.respond = (request, response) => {
      response.write('begun ');
      held.promise.then(() => response.end('ended'));
    };
    const idle = await RawClient.open(world.gateway.port);
    const long = call(world, 'orders');
    await until('the request in flight', () => world.upstream.requests.length === 1);
    world.gateway.process.kill('SIGTERM');
    await idle.whenClosed();
    await until('both workers to refuse connections', () =>
      RawClient.open(world.gateway.port).then(
        (client) => client.close(),
        () => true
      )
    );
    assert.ok(world.gateway.process.isRunning());
    held.resolve();
    const answer = await within('the answer in flight', long);
    assert.equal(answer.text, 'begun ended');
    assert.equal(await world.gateway.process.whenEnded(), 0);
  });

  test('SIGTERM and a request that never ends: answered after the time that was given', async () => {
    const world = await start(['orders'], { gatewayArgs: ['--drain-ms', '300'] });
    world.upstream.respond = () => {};
    const long = call(world, 'orders');
    await until('the request in flight', () => world.upstream.requests.length === 1);
    assert.equal(await world.gateway.stop(), 0);
    const { status, reason } = await long;
    assert.deepEqual({ status, reason }, { status: 503, reason: 'draining' });
  });

  test('SIGTERM to the controller while a write waits for live', async () => {
    const world = await start(['orders']);
    const { keeper } = world.gateway.pids();
    kill(keeper, 'SIGSTOP');
    const waiting = world.api.put(
      '/tenants/orders/products/main?wait=live&timeout_ms=1000',
      rounded(world.upstream.port, 1).products[0]
    );
    await until(
      'the write to be stored',
      async () => (await world.api.must('GET', '/tenants/orders/products/main')).versions[0].policies.length === 2
    );
    world.controller.process.kill('SIGTERM');
    const answer = await waiting;
    kill(keeper, 'SIGCONT');
    assert.equal(answer.status, 200, answer.text);
    assert.equal(await world.controller.process.whenEnded(), 0);
  });

  // --- two gateways -------------------------------------------------------------------------------------------------

  test('two gateways: live on 2 of 2, and which one lags', async () => {
    const world = await start(['orders'], { gateways: 2 });
    const [first, second] = world.gateways;
    const change = (round, timeout = 60000) =>
      world.api.must(
        'PUT',
        `/tenants/orders/products/main?wait=live&timeout_ms=${timeout}`,
        rounded(world.upstream.port, round).products[0]
      );
    assert.deepEqual((await change(1)).live, { gateways: 2, of: 2, lagging: [], refused: [] });
    for (const { port } of [first, second])
      assert.equal((await ask(port, { host: 'orders.test', key: keyOf('orders') })).headers['x-round'], '1');

    const { keeper } = second.pids();
    kill(keeper, 'SIGSTOP');
    assert.deepEqual((await change(2, 200)).live, { gateways: 1, of: 2, lagging: ['gateway-2'], refused: [] });
    const release = (await world.api.must('GET', '/tenants/orders/status')).units.find(
      (unit) => unit.kind === 'release'
    );
    assert.equal(release.live, 1);
    assert.deepEqual(release.gateways.map(({ gateway, state }) => `${gateway} ${state === 'live'}`).sort(), [
      'gateway-1 true',
      'gateway-2 false',
    ]);
    assert.equal(
      (await ask(second.port, { host: 'orders.test', key: keyOf('orders') })).headers['x-round'],
      '1',
      'it serves what it has'
    );

    kill(keeper, 'SIGCONT');
    await until('both', async () =>
      (await world.api.must('GET', '/tenants/orders/status')).units.every((unit) => unit.live === 2)
    );
    assert.equal((await ask(second.port, { host: 'orders.test', key: keyOf('orders') })).headers['x-round'], '2');

    await second.killAll();
    await until(
      'the controller to notice',
      async () => !(await world.api.must('GET', '/status')).gateways.find(({ id }) => id === 'gateway-2').connected
    );
    assert.deepEqual((await change(3, 200)).live.lagging, ['gateway-2']);
    await second.start();
    await until('both', async () =>
      (await world.api.must('GET', '/tenants/orders/status')).units.every((unit) => unit.live === 2)
    );
    assert.equal((await ask(second.port, { host: 'orders.test', key: keyOf('orders') })).headers['x-round'], '3');
  });

  test('a gateway that is gone for good is deleted, and nobody waits for it any more', async () => {
    const world = await start(['orders'], { gateways: 2 });
    const [, second] = world.gateways;
    const change = (round, timeout = 60000) =>
      world.api.must(
        'PUT',
        `/tenants/orders/products/main?wait=live&timeout_ms=${timeout}`,
        rounded(world.upstream.port, round).products[0]
      );
    assert.equal((await world.api.delete('/gateways/gateway-2')).body.reason, 'in_use');
    await second.killAll();
    await until(
      'the controller to notice',
      async () => !(await world.api.must('GET', '/status')).gateways.find(({ id }) => id === 'gateway-2').connected
    );
    assert.deepEqual((await change(1, 200)).live, { gateways: 1, of: 2, lagging: ['gateway-2'], refused: [] });
    assert.equal((await world.api.delete('/gateways/gateway-2')).status, 204);
    assert.deepEqual((await change(2)).live, { gateways: 1, of: 1, lagging: [], refused: [] });
    assert.equal((await world.api.delete('/gateways/gateway-2')).status, 404);

    await second.start();
    await until('it to count again', async () =>
      (await world.api.must('GET', '/tenants/orders/status')).units.every((unit) => unit.live === 2 && unit.of === 2)
    );
    assert.equal((await ask(second.port, { host: 'orders.test', key: keyOf('orders') })).headers['x-round'], '2');
  });

  // --- damaged files ------------------------------------------------------------------------------------------------

  const flip = (bytes, at) => {
    const copy = Buffer.from(bytes);
    copy[at] ^= 0x40;
    return copy;
  };
  const damages = {
    'cut in half': (bytes) => bytes.subarray(0, bytes.length >> 1),
    'cut in its header': (bytes) => bytes.subarray(0, 10),
    empty: () => Buffer.alloc(0),
    'with a flipped bit in its body': (bytes) => flip(bytes, bytes.length - 5),
    'with a flipped bit in its middle': (bytes) => flip(bytes, bytes.length >> 1),
    'of another format version': (bytes) => flip(bytes, 8),
    'that is something else': () => Buffer.from('not what it should be\n'.repeat(50)),
    'with more behind it': (bytes) => Buffer.concat([bytes, Buffer.from('more')]),
  };

  test('damaged units are compiled again, with an alarm; damaged documents do no harm beside sound units', async () => {
    const world = await start();
    await world.controller.stop();
    await world.gateway.stop();
    const folders = ['units', 'documents'].map((folder) => path.join(world.gateway.data, folder));
    const sound = folders.flatMap((folder) =>
      fs.readdirSync(folder).map((file) => [path.join(folder, file), fs.readFileSync(path.join(folder, file))])
    );
    for (const [what, damage] of Object.entries(damages))
      for (const folder of folders) {
        for (const [file, bytes] of sound)
          fs.writeFileSync(file, file.startsWith(`${folder}/orders.`) ? damage(bytes) : bytes);
        await world.gateway.start();
        for (const name of ['orders', 'catalog'])
          assert.equal((await call(world, name)).status, 200, `${folder} ${what}: ${name}`);
        const alarms = world.gateway.process.stderr
          .split('\n')
          .filter((line) => /"level":"(warn|error)"/.test(line) && line.includes('orders'));
        assert.ok(alarms.length >= 3, `${folder} ${what}: an alarm for each file, not ${alarms.length}`);
        assert.equal(await world.gateway.stop(), 0);
      }
  });

  // By renaming, as a backup does that is put back: who maps the former file has it whole.
  const replace = (world, file, bytes) => {
    const fresh = path.join(world.gateway.data, 'fresh');
    fs.writeFileSync(fresh, bytes);
    fs.renameSync(fresh, file);
  };
  const unitOf = async (world, name, kind = 'release') =>
    JSON.parse((await world.gateway.get('/status')).text).tenants.find((tenant) => tenant.name === name)[kind];
  const isMended = async (world) => {
    const unit = await unitOf(world, 'orders');
    return !unit.is_damaged && unit.workers === 2;
  };
  const releaseIn = async (world) =>
    (await world.api.must('GET', '/tenants/orders/status')).units.find((unit) => unit.kind === 'release');
  const assertAllServe = async (world, name) => {
    for (let i = 0; i < 12; i++) assert.equal((await call(world, name)).status, 200);
  };

  test('a unit is damaged while it is served and a worker dies: compiled again, and told as it is meanwhile', async () => {
    const world = await start();
    const file = path.join(world.gateway.data, 'units/orders.release');
    const whats = ['with a flipped bit in its body', 'empty', 'of another format version'];
    for (const [round, what] of whats.entries()) {
      const { loader, workers } = world.gateway.pids();
      kill(loader, 'SIGSTOP');
      replace(world, file, damages[what](fs.readFileSync(file)));
      kill(workers[round % 2]);
      await until('the alarm', async () => (await world.gateway.metric('daemun_units_damaged', { tenant: 'orders' })) === 1);
      assert.equal((await unitOf(world, 'orders')).workers, 1, what);
      await until('the controller to know', async () => (await releaseIn(world)).live === 0);
      assert.equal((await unitOf(world, 'catalog')).workers, 2);
      await assertAllServe(world, 'catalog');
      kill(loader, 'SIGCONT');
      await until('the unit on both workers', () => isMended(world));
      await until('the controller to know', async () => (await releaseIn(world)).live === 1);
      await assertAllServe(world, 'orders');
      assert.equal(await world.gateway.metric('daemun_units_mended_total'), round + 1);
      assert.equal(world.gateway.pids().workers[(round + 1) % 2], workers[(round + 1) % 2]);
    }
  });

  test('a team is removed while its damaged unit is compiled again: it stays removed', async () => {
    const world = await start();
    const file = path.join(world.gateway.data, 'units/orders.release');
    const { loader, workers } = world.gateway.pids();
    kill(loader, 'SIGSTOP');
    replace(world, file, 'damaged');
    kill(workers[0]);
    await until('the alarm', async () => (await world.gateway.metric('daemun_units_damaged')) === 1);
    await world.api.must('DELETE', '/tenants/orders');
    await until('the team to be gone', async () => (await call(world, 'orders')).reason === 'host_unknown');
    kill(loader, 'SIGCONT');
    await world.api.apply(teamFile('catalog', world.upstream.port, { backend: { idle_timeout_ms: 1234 } }));
    assert.ok(!fs.existsSync(file));
    assert.equal((await call(world, 'orders')).reason, 'host_unknown');
    await assertAllServe(world, 'catalog');
  });

  const isReported = { skip: hasSanitizer() && 'it takes the end of a worker for a fault of the program' };
  test('a unit that workers map is cut in place: they may die of it, and serve again', isReported, async () => {
    const world = await start();
    fs.truncateSync(path.join(world.gateway.data, 'units/orders.release'), 0);
    await until('both workers to have been started again', async () => {
      await call(world, 'orders').catch((error) => error);
      return (await world.gateway.metric('daemun_worker_restarts_total')) >= 2 && (await isMended(world));
    });
    await assertAllServe(world, 'orders');
    await assertAllServe(world, 'catalog');
  });

  test('unit and document are damaged while served: who has it serves on, and the controller sends it again', async () => {
    const world = await start();
    const [unit, document] = ['units', 'documents'].map((folder) =>
      path.join(world.gateway.data, folder, 'orders.release')
    );
    await world.controller.stop();
    for (const file of [unit, document]) replace(world, file, 'damaged');
    const survivor = (await connectToAll(world, 'orders')).find(({ pid }) => pid === world.gateway.pids().workers[1]);
    kill(world.gateway.pids().workers[0]);
    await until('the alarm', async () => (await world.gateway.metric('daemun_units_damaged', { tenant: 'orders' })) === 1);
    assert.equal((await unitOf(world, 'orders')).workers, 1);
    await assertServes(survivor, 'orders');
    await world.controller.start();
    await until('the sound state from the controller', () => isMended(world));
    await assertAllServe(world, 'orders');
  });

  test('one team’s files are all damaged and the controller is dead: it alone is without a release, not unknown', async () => {
    const world = await start();
    await world.controller.stop();
    await world.gateway.stop();
    for (const folder of ['units', 'documents'])
      fs.writeFileSync(path.join(world.gateway.data, folder, 'orders.release'), 'damaged');
    await world.gateway.start();
    assert.equal((await call(world, 'catalog')).status, 200);
    const answer = await call(world, 'orders');
    assert.equal(answer.status, 503);
    assert.equal(answer.reason, 'no_release');
    assert.equal(await world.gateway.metric('daemun_units_damaged', { tenant: 'orders' }), 1);
    await world.controller.start();
    await until('the sound state from the controller', async () => (await call(world, 'orders')).status === 200);
    assert.equal(await world.gateway.metric('daemun_units_damaged', { tenant: 'orders' }), 0);
  });

  test('grants that are damaged open nothing: the team waits, others are served', async () => {
    const world = await start();
    await world.controller.stop();
    await world.gateway.stop();
    for (const folder of ['units', 'documents'])
      fs.writeFileSync(path.join(world.gateway.data, folder, 'orders.grants'), 'damaged');
    await world.gateway.start();
    assert.equal((await call(world, 'catalog')).status, 200);
    assert.ok([404, 502, 503].includes((await call(world, 'orders')).status));
    assert.equal(
      world.upstream.requests.filter((seen) => seen.headers['x-forwarded-host'] === 'orders.test').length,
      0
    );
    await world.controller.start();
    await until('the sound state from the controller', async () => (await call(world, 'orders')).status === 200);
  });

  test('another controller’s documents are not taken', async () => {
    const world = await start(['orders']);
    await world.controller.stop();
    const key = path.join(world.controller.data, 'controller/keys/signing.key');
    fs.rmSync(path.join(world.controller.data), { recursive: true });
    await world.controller.start();
    assert.ok(fs.existsSync(key));
    await until('the gateway to refuse it', () =>
      /key/.test(world.gateway.process.logged('controller_refused').map(String).join() + world.gateway.process.stderr)
    );
    assert.equal((await call(world, 'orders')).status, 200);
  });
});

// Dedicated tenants: worker processes of their own behind the same port, and what becomes of the others when these crash, hang or go.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http2 from 'node:http2';
import path from 'node:path';
import tls from 'node:tls';
import { once } from 'node:events';
import { WebSocket, WebSocketServer } from 'ws';
import * as rpc from './lib/grpc.mjs';
import { RawClient, ask } from './lib/http.mjs';
import { Pki } from './lib/pki.mjs';
import { Polite } from './lib/polite.mjs';
import { freePort } from './lib/ports.mjs';
import { isAlive, kill, whenGone } from './lib/process.mjs';
import { after, before, suite, test } from './lib/testing.mjs';
import { domainOf, fieldsOf, headOf, keyOf, LIVE, teamFile, withCertificate } from './lib/team.mjs';
import { install, placeProgram } from './lib/upgrade.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const isRoot = process.getuid() === 0;
const CGROUP = '/sys/fs/cgroup';
const hasControllers = ['cpu', 'memory'].every((one) => isWritable(`${CGROUP}/${one}/cgroup.procs`)); // of version 1

function isWritable(file) {
  try {
    fs.accessSync(file, fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const UID_BASE = 1_900_000_000; // nobody's
const patch = (world, name, body) => world.api.must('PATCH', `/tenants/${name}${LIVE}`, body);

async function dedicate(world, name, cell = {}) {
  await patch(world, name, { tenancy: 'dedicated', cell });
  await until(`the cell of ${name} to serve`, async () => (await world.gateway.cellState(name))?.is_serving);
}

async function share(world, name) {
  await patch(world, name, { tenancy: 'shared' });
  await until(`the cell of ${name} to be gone`, async () => (await world.gateway.cellState(name)) === undefined);
}

const call = (world, name, options = {}) => ask(world.gateway.port, { host: domainOf(name), key: keyOf(name), ...options });

// One request after another that must all be answered.
const polite = (world, name, atATime = 4) =>
  new Polite(async () => {
    const answer = await call(world, name);
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.reason ?? ''} ${answer.text.slice(0, 100)}`);
  }, atATime);

function readProc(pid, file) {
  return fs.readFileSync(`/proc/${pid}/${file}`, 'latin1');
}

// Lines of the access log that processes of the cell wrote, and those that others did.
function linesOf(gateway, name) {
  const directory = path.join(gateway.data, 'log');
  const counts = { own: 0, others: 0 };
  for (const file of fs.readdirSync(directory)) {
    const lines = fs.readFileSync(path.join(directory, file), 'utf8').split('\n').filter((line) => line.includes(`"tenant":"${name}"`));
    counts[file.includes(`-${name}.jsonl`) ? 'own' : 'others'] += lines.length;
  }
  return counts;
}

suite('cells', () => {
  closeUpstreamsAfter();
  let world, gateway, gatewayArgs, pki, tlsPort, frontPort, orders, catalog, service;

  async function openSecurely(name) {
    const socket = tls.connect({ host: '127.0.0.1', port: tlsPort, servername: domainOf(name), ca: pki.root.certificate });
    const client = new RawClient(socket);
    await once(socket, 'secureConnect');
    return client;
  }

  // Requests on one connection, until the gateway says that it ends.
  function keptClient(open) {
    let client;
    const loop = new Polite(async () => {
      client ??= await open();
      await client.send(headOf('orders'));
      const answer = await client.response();
      assert.equal(answer.status, 200);
      if (/close/i.test(answer.headers.connection ?? '')) client = void client.socket.destroy();
    });
    return Object.assign(loop, { close: () => client?.socket.destroy() });
  }

  before(async () => {
    pki = new Pki();
    tlsPort = await freePort();
    frontPort = await freePort();
    gatewayArgs = ['--listen', `127.0.0.1:${tlsPort} tls`, '--listen', `127.0.0.1:${frontPort} trusted-fronts=127.0.0.1`];
    gatewayArgs.push(...(isRoot ? ['--cell-uid-base', String(UID_BASE)] : []), ...(hasControllers ? ['--cgroup', CGROUP] : []));
    world = await World.start({ workers: 2, program: placeProgram(), gatewayArgs: [...gatewayArgs, '--drain-ms', '5000'] });
    gateway = world.gateway;
    orders = await startUpstream({ name: 'orders' });
    catalog = await startUpstream({ name: 'catalog' });
    service = await rpc.startService();
    const sockets = new WebSocketServer({ server: orders.server });
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(`echo ${data}`)));
    for (const [name, upstream] of Object.entries({ orders, catalog })) {
      const leaf = pki.issue([domainOf(name)]);
      await world.api.apply(
        teamFile(name, upstream.port, { ...withCertificate(name, leaf), version: { upgrades: ['websocket'] } })
      );
    }
    const leaf = pki.issue([domainOf('streams')]);
    await world.api.apply(
      teamFile('streams', service.port, { ...withCertificate('streams', leaf), backend: { protocol: 'http2' } })
    );
  });

  after(() => service.server.forceShutdown());

  test('serves a dedicated tenant by processes of its own, and the others as before', async () => {
    await dedicate(world, 'orders');
    assert.equal((await call(world, 'orders')).status, 200);
    assert.equal((await call(world, 'catalog')).status, 200);
    const { cells, workers } = gateway.pids();
    const [pid] = cells.orders;
    assert.deepEqual(Object.keys(cells), ['orders']);
    assert.ok(isAlive(pid));
    const uid = Number(/^Uid:\s+(\d+)/m.exec(readProc(pid, 'status'))[1]);
    const state = await gateway.cellState('orders');
    assert.equal(state.uid, uid);
    assert.equal(state.has_own_user, isRoot);
    if (isRoot) {
      assert.notEqual(uid, Number(/^Uid:\s+(\d+)/m.exec(readProc(workers[0], 'status'))[1]));
      assert.match(readProc(pid, 'status'), /^CapEff:\s+0+$/m);
      assert.match(readProc(pid, 'status'), /^NoNewPrivs:\s+1$/m);
      assert.match(readProc(pid, 'status'), /^Groups:\s*$/m);
    }
    await until('the log', () => linesOf(gateway, 'orders').own === 1);
    assert.equal(linesOf(gateway, 'orders').others, 0);
    assert.equal(await gateway.metric('daemun_requests_total', { tenant: 'orders' }), 1);
    assert.equal(await gateway.metric('daemun_cell_handed_over_total', { tenant: 'orders' }), 1);
    assert.equal(await gateway.metric('daemun_cell_up', { tenant: 'orders' }), 1);
  });

  test('maps nothing of other tenants into a cell, nor lets it open anything of theirs', async () => {
    const [pid] = gateway.pids().cells.orders;
    const mapped = readProc(pid, 'maps')
      .split('\n')
      .map((line) => line.slice(73).trim())
      .filter((file) => file.startsWith(gateway.data));
    assert.ok(mapped.some((file) => /units\/orders\.release/.test(file)), mapped.join());
    for (const file of mapped) assert.ok(/units\/orders\./.test(file) || /\/cells\/\d+\/(run|pages)\//.test(file), file);
    for (const entry of fs.readdirSync(`/proc/${pid}/fd`)) {
      const target = fs.readlinkSync(`/proc/${pid}/fd/${entry}`);
      assert.ok(!target.startsWith(gateway.data) || /\/cells\/\d+\/(run|pages)\//.test(target), target);
    }
  });

  test('tells a cell by its server name', async () => {
    const before = await gateway.metric('daemun_cell_handed_over_total', { tenant: 'orders' });
    for (const [name, upstream] of Object.entries({ orders, catalog })) {
      const client = await openSecurely(name);
      for (let i = 0; i < 2; i++) {
        await client.send(headOf(name));
        const answer = await client.response();
        assert.equal(answer.status, 200);
        assert.equal(JSON.parse(answer.text ?? answer.body).name, upstream === orders ? 'orders' : 'catalog');
      }
      client.socket.destroy();
    }
    assert.equal(await gateway.metric('daemun_cell_handed_over_total', { tenant: 'orders' }), before + 1);
  });

  test('is misdirected where one connection of TLS is used for two tenants', async () => {
    const statuses = {};
    for (const [mine, other] of [['orders', 'catalog'], ['catalog', 'orders']]) {
      const client = await openSecurely(mine);
      await client.send(headOf(other));
      statuses[mine] = (await client.response()).status;
      client.socket.destroy();
    }
    assert.deepEqual(statuses, { orders: 404, catalog: 421 }); // a cell knows of no other tenant
  });

  test('takes heads in pieces and requests behind one another', async () => {
    const client = await RawClient.open(gateway.port);
    const head = headOf('orders');
    client.socket.setNoDelay(true);
    for (let at = 0; at < head.length; at += 20) {
      await client.send(head.slice(at, at + 20));
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal((await client.response()).status, 200);
    client.socket.destroy();
    const piped = await RawClient.open(gateway.port);
    await piped.send(headOf('orders') + headOf('orders', { target: '/b' }) + headOf('orders', { target: '/c' }));
    for (const target of ['/', '/b', '/c']) {
      const answer = await piped.response();
      assert.equal(JSON.parse(answer.text ?? answer.body).url, target);
    }
    piped.socket.destroy();
  });

  test('relays HTTP/2 in clear text', async () => {
    const session = http2.connect(`http://127.0.0.1:${gateway.port}`);
    const relayed = await gateway.metric('daemun_cell_relayed_total', { tenant: 'orders' });
    for (let i = 0; i < 3; i++) {
      const stream = session.request({ ...fieldsOf('orders', 'POST', '/x'), 'content-type': 'text/plain' });
      stream.end('body');
      const [head] = await once(stream, 'response');
      assert.equal(head[':status'], 200);
      stream.setEncoding('utf8');
      let text = '';
      for await (const part of stream) text += part;
      assert.equal(JSON.parse(text).body, 'body');
    }
    session.close();
    assert.equal(await gateway.metric('daemun_cell_relayed_total', { tenant: 'orders' }), relayed + 3);
  });

  test('relays each request of a balancer that mixes tenants', async () => {
    const client = await RawClient.open(frontPort);
    for (const name of ['orders', 'catalog', 'orders', 'catalog']) {
      await client.send(headOf(name, { fields: ['X-Forwarded-For: 192.0.2.7', 'X-Request-Id: from-the-front'] }));
      const answer = await client.response();
      assert.equal(answer.status, 200);
      const seen = JSON.parse(answer.text ?? answer.body);
      assert.equal(seen.name, name);
      assert.equal(seen.headers['x-forwarded-for'], '192.0.2.7, 127.0.0.1');
      assert.equal(seen.headers['x-request-id'], 'from-the-front');
    }
    client.socket.destroy();
  });

  for (const [what, port] of Object.entries({ 'handed over': () => gateway.port, relayed: () => frontPort }))
    test(`carries WebSocket, ${what}`, async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${port()}/`, { headers: { host: domainOf('orders'), 'x-api-key': keyOf('orders') } });
      await once(socket, 'open');
      socket.send('hello');
      const [data] = await once(socket, 'message');
      assert.equal(String(data), 'echo hello');
      socket.close(1000);
      await once(socket, 'close');
    });

  for (const [what, secure] of Object.entries({ 'handed over': true, relayed: false }))
    test(`carries gRPC, ${what}`, async () => {
      await dedicate(world, 'streams');
      const credentials = secure
        ? rpc.grpc.credentials.createSsl(Buffer.from(pki.root.certificate))
        : rpc.grpc.credentials.createInsecure();
      const client = rpc.connect(secure ? tlsPort : gateway.port, domainOf('streams'), { credentials });
      const fields = { 'x-api-key': keyOf('streams') };
      const answer = await rpc.ask(client, 'Ask', { a: 1 }, fields);
      assert.deepEqual(answer.message, { a: 1 });
      assert.equal(answer.status.metadata.get('length')[0], '0');
      const failed = await rpc.ask(client, 'Fail', { code: 9, details: 'no' }, fields);
      assert.equal(failed.status.code, 9);
      const listed = await rpc.collect(client.List({ count: 50 }, rpc.metadata(fields)));
      assert.equal(listed.messages.length, 50);
      client.close();
    });

  test('carries streams of events, relayed, as they come', async () => {
    orders.respond = (request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: one\n\n');
      orders.more = () => response.end('data: two\n\n');
    };
    const client = await RawClient.open(frontPort);
    await client.send(headOf('orders'));
    await client.receives('the first event', (text) => text.includes('data: one\n\n'));
    orders.more();
    await client.receives('the second event', (text) => text.includes('data: two\n\n') && text.endsWith('0\r\n\r\n'));
    client.socket.destroy();
    orders.respond = undefined;
  });

  test('loses no request of others when a cell is killed, and brings it back', async () => {
    const others = polite(world, 'catalog');
    const front = new Polite(async () => {
      const client = await RawClient.open(frontPort);
      await client.send(headOf('catalog'));
      const answer = await client.response();
      client.socket.destroy();
      assert.equal(answer.status, 200);
    }, 2);
    // The tenant's own callers go on too, and may lose what its process had in hand.
    let isOver = false;
    const own = Promise.all(
      Array.from({ length: 4 }, async () => {
        while (!isOver) await call(world, 'orders').catch(() => {});
      })
    );
    for (let i = 0; i < 3; i++) {
      await others.goOn(50);
      const [pid] = gateway.pids().cells.orders;
      kill(pid);
      await whenGone(pid);
      await until('another process', async () => {
        const [next] = gateway.pids().cells.orders ?? [];
        return next && next !== pid && (await gateway.cellState('orders')).is_serving;
      });
      await until('an answer', async () => (await call(world, 'orders')).status === 200);
    }
    isOver = true;
    await own;
    for (const one of [others, front]) await one.stopUnharmed();
    assert.equal((await gateway.cellState('orders')).crashes, 3);
    assert.equal(await gateway.metric('daemun_cell_crashes_total', { tenant: 'orders' }), 3);
  });

  test('holds a cell back that crashes again and again, says so, and lets it be', async () => {
    const others = polite(world, 'catalog');
    const waits = [];
    let state;
    await until('the cell to be held back', async () => {
      for (const pid of gateway.pids().cells.orders ?? []) if (pid) kill(pid);
      state = await gateway.cellState('orders');
      return state.is_held_back && gateway.process.logged('cell_crashes').some(({ message }) => /again in \d{4,} ms/.test(message));
    });
    assert.equal(state.has_alarm, true);
    // It is started again in a second at the earliest; the controller hears of it before.
    const isLive = async (name) => (await world.api.must('GET', `/tenants/${name}/status`)).units.every(({ live, of }) => live === of);
    await until('the controller to know', async () => !(await isLive('orders')));
    assert.equal(await isLive('catalog'), true);
    for (const line of gateway.process.logged('cell_crashes')) waits.push(Number(/again in (\d+) ms/.exec(line.message)[1]));
    assert.ok(waits.length >= 3);
    for (let i = 1; i < waits.length; i++) assert.ok(waits[i] > waits[i - 1], waits.join());
    assert.equal(await gateway.metric('daemun_cell_held_back', { tenant: 'orders' }), 1);
    const answer = await call(world, 'orders');
    assert.equal(answer.status, 503);
    assert.equal(answer.reason, 'cell_unavailable');
    const socket = tls.connect({ host: '127.0.0.1', port: tlsPort, servername: domainOf('orders'), ca: pki.root.certificate });
    const [failure] = await once(socket, 'error');
    assert.match(failure.message, /alert internal error|alert number 80/);
    await until('the cell to be back', async () => (await call(world, 'orders')).status === 200);
    assert.equal((await gateway.cellState('orders')).is_held_back, false);
    await others.goOn(20);
    await others.stopUnharmed();
  });

  test('loses no request of others while a cell is stopped, and ends it', async () => {
    const others = polite(world, 'catalog');
    await until('the cell to serve', async () => (await gateway.cellState('orders')).is_serving);
    const [pid] = gateway.pids().cells.orders;
    kill(pid, 'SIGSTOP');
    // They wait for the next process, or are dropped where the cell is held back.
    const waiting = Array.from({ length: 20 }, () => call(world, 'orders').then(({ status }) => status, ({ code }) => code));
    await others.goOn(50);
    await whenGone(pid);
    for (const came of await Promise.all(waiting)) assert.ok([200, 503, 'ECONNRESET', 'UND_ERR_SOCKET'].includes(came), String(came));
    await others.goOn(20);
    await others.stopUnharmed();
    await until('an answer', async () => (await call(world, 'orders')).status === 200);
  });

  test('moves a tenant to a cell and back without a failed request', async () => {
    await share(world, 'orders');
    const kept = keptClient(() => RawClient.open(gateway.port));
    const secure = keptClient(() => openSecurely('orders'));
    const all = [polite(world, 'orders'), polite(world, 'catalog', 1), kept, secure];
    for (let round = 0; round < 2; round++) {
      for (const one of all) await one.goOn(20);
      await dedicate(world, 'orders', { workers: 1 + round });
      for (const one of all) await one.goOn(20);
      await share(world, 'orders');
    }
    for (const one of all) await one.goOn(20);
    for (const one of all) await one.stopUnharmed();
    for (const one of [kept, secure]) one.close();
  });

  test('changes the number of a cell’s workers without a failed request', async () => {
    await dedicate(world, 'orders', { workers: 1 });
    const own = polite(world, 'orders');
    for (const workers of [3, 2]) {
      await patch(world, 'orders', { cell: { workers } });
      await until(`${workers} workers`, () => (gateway.pids().cells.orders ?? []).filter(Boolean).length === workers);
      await own.goOn(50);
    }
    await own.stopUnharmed();
  });

  test('replaces cells by those of a new program, or of other options, without a failed request', async () => {
    const own = [polite(world, 'orders'), keptClient(() => RawClient.open(gateway.port)), keptClient(() => openSecurely('orders'))];
    const others = polite(world, 'catalog');
    for (let round = 0; round < 2; round++) {
      const { workers, cells } = gateway.pids();
      const former = [...workers, ...cells.orders, ...cells.streams];
      install(gateway.program);
      gateway.process.kill('SIGUSR2');
      for (const pid of former) await whenGone(pid);
      for (const one of [...own, others]) await one.goOn(20);
      assert.equal((await gateway.cellState('orders')).is_serving, true);
    }
    for (const one of [...own, others]) await one.stopUnharmed();
    for (const one of own.slice(1)) one.close();
  });

  const why = !hasControllers && 'no controllers of version 1 that are ours to use';
  test('bounds a cell by control groups', { skip: why }, async () => {
    await patch(world, 'orders', { cell: { cpu_percent: 150, cpu_weight: 50, memory_bytes: 1 << 30 } });
    const group = (controller) => `${CGROUP}/${controller}/daemun-${gateway.id}/cell-orders`;
    const held = (controller, file) => Number(fs.readFileSync(`${group(controller)}/${file}`, 'utf8'));
    await until('the bounds', () => held('cpu', 'cpu.cfs_quota_us') === 150000);
    assert.equal(held('cpu', 'cpu.shares'), 512);
    assert.equal(held('memory', 'memory.limit_in_bytes'), 1 << 30);
    for (const pid of gateway.pids().cells.orders)
      for (const controller of ['cpu', 'memory'])
        assert.ok(readProc(pid, 'cgroup').split('\n').some((line) => line.includes(`:${controller}:`) && line.endsWith('/cell-orders')));
    assert.equal((await gateway.cellState('orders')).cgroup_version, 1);
  });

  test('finds its cells again when the keeper dies', async () => {
    const own = polite(world, 'orders');
    const others = polite(world, 'catalog');
    const before = gateway.pids();
    kill(before.keeper);
    await gateway.process.whenEnded();
    await own.goOn(20);
    await gateway.start([...gatewayArgs, '--drain-ms', '5000']);
    await until('the cell to be known', async () => (await gateway.cellState('orders'))?.is_serving);
    assert.deepEqual(gateway.pids().cells.orders, before.cells.orders);
    for (const one of [own, others]) await one.goOn(20);
    for (const one of [own, others]) await one.stopUnharmed();
    await world.whenLinked();
    await patch(world, 'orders', { description: 'still told of changes' });
  });

  test('ends with all its cells', async () => {
    const { cells } = gateway.pids();
    assert.ok(cells.orders.length > 0);
    assert.equal(await gateway.stop(), 0);
    for (const pid of cells.orders) await whenGone(pid);
    if (hasControllers) assert.equal(fs.existsSync(`${CGROUP}/cpu/daemun-${gateway.id}`), false);
  });
});

// Starting, stopping, starting again, and what is said when that can't be.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { filesBelow, filesWith } from './lib/files.mjs';
import { execute } from './lib/sqlite.mjs';
import { Controller, Gateway, World } from './lib/world.mjs';
import { ask } from './lib/http.mjs';
import { Program, findProcesses, makeDirectory, run } from './lib/process.mjs';
import { suite, test, before } from './lib/testing.mjs';
import { keyOf, teamFile } from './lib/team.mjs';
import { freePort } from './lib/ports.mjs';
import { startUpstream, closeUpstreamsAfter } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';

// A program that can't start says why in one sentence and fails.
function assertRefusal({ status, stdout, stderr }, name, pattern, wantedStatus) {
  const said = stderr.split('\n').filter((line) => line && !line.startsWith('{'));
  assert.equal(status, wantedStatus, `exit status; it said ${stderr}${stdout}`);
  assert.equal(said.length, 1, `one sentence, not ${JSON.stringify(said)}`);
  assert.match(said[0], new RegExp(`^${name}: `));
  assert.match(said[0], pattern);
}

const controllerArgs = (data, port = 0) => ['--data', data, '--listen', `127.0.0.1:${port}`, '--log-format', 'json'];

async function gatewayArgs(data, { port, adminPort } = {}) {
  const listen = ['--listen', `127.0.0.1:${port ?? (await freePort())}`];
  return ['--data', data, ...listen, '--admin', `127.0.0.1:${adminPort ?? (await freePort())}`, '--workers', '1'];
}

// A listener of someone else; resolves to its port.
function occupyPort(t) {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => resolve(server.address().port));
    t.after(() => server.close());
  });
}

suite('lifecycle', () => {
  closeUpstreamsAfter();
  let world, upstream;

  before(async () => {
    upstream = await startUpstream();
    world = await World.start();
    await world.api.apply(teamFile('orders', upstream.port));
  });

  test('a request goes through the gate', async () => {
    const answer = await ask(world.gateway.port, { host: 'orders.test', key: keyOf('orders'), path: '/hello' });
    assert.equal(answer.status, 200);
    assert.equal(answer.json.path, '/hello');
  });

  test('the master token is shown once, on standard output, when no file is asked for', async () => {
    const data = path.join(makeDirectory(), 'd');
    const first = new Program('daemun-controller', controllerArgs(data));
    const [token] = await first.says(
      'the token',
      (one) => one.logged('ready').length && /dmt_[\w-]{43}/.exec(one.stdout)
    );
    await first.stop();
    assert.equal(first.stdout.split(token).length, 2);
    assert.ok(!first.stderr.includes(token));
    assert.deepEqual(filesWith([data], token), []);

    const second = new Program('daemun-controller', controllerArgs(data));
    await second.says('that it is ready', (one) => one.logged('ready').length);
    await second.stop();
    assert.ok(!/dmt_/.test(second.stdout + second.stderr));
  });

  test('the file of the master token is for its owner alone', () => {
    assert.equal(fs.statSync(world.controller.tokenFile).mode & 0o777, 0o600);
  });

  test('tokens and API keys are nowhere on disk, and in no log', async () => {
    const { api, controller, gateway } = world;
    const team = await api.must('POST', '/tenants/orders/tokens', { name: 'ci', role: 'tenant_admin' });
    const made = await api.must('POST', '/tenants/orders/applications/app/credentials?wait=live', { name: 'second' });
    assert.ok(team.token.length > 20 && made.key.length > 20);
    const asked = await ask(gateway.port, { host: 'orders.test', path: `/secret?user_key=${made.key}` });
    assert.equal(asked.status, 200);
    await until('its line in the access log', () => gateway.accessLog().some((line) => line.path === '/secret'));
    for (const secret of [controller.token, team.token, made.key, keyOf('orders')]) {
      assert.deepEqual(filesWith([controller.data, gateway.data], secret), []);
      for (const one of [controller.process, gateway.process]) assert.ok(!(one.stdout + one.stderr).includes(secret));
    }
  });

  test('key files and database are for their owner alone', () => {
    const files = [...filesBelow(world.controller.data), ...filesBelow(path.join(world.gateway.data, 'documents'))];
    assert.ok(files.length > 3);
    for (const file of files) assert.equal(fs.statSync(file).mode & 0o077, 0, file);
  });

  test('what the gateway has in memory gets into no core file', () => {
    const { keeper, loader, workers } = world.gateway.pids();
    for (const pid of [keeper, loader, ...workers]) {
      assert.match(fs.readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max core file size +0 +0 /m);
      assert.equal(Number(`0x${fs.readFileSync(`/proc/${pid}/coredump_filter`, 'utf8').trim()}`), 0);
    }
  });

  test('stopped and started again, both are as they were', async () => {
    const { controller, gateway } = world;
    const before = await world.api.must('GET', '/tenants/orders/document');
    assert.equal(await gateway.stop(), 0);
    assert.deepEqual(findProcesses(gateway.data), []);
    assert.equal(await controller.stop(), 0);
    await controller.start();
    await gateway.start();
    await world.whenLinked();
    world.api = controller.api;
    assert.deepEqual(await world.api.must('GET', '/tenants/orders/document'), before);
    assert.equal((await ask(gateway.port, { host: 'orders.test', key: keyOf('orders') })).status, 200);
    const status = await world.api.must('GET', '/tenants/orders/status');
    assert.ok(
      status.units.every((unit) => unit.live === 1 && unit.of === 1),
      JSON.stringify(status)
    );
  });

  test('a data directory may be relative', async () => {
    const directory = makeDirectory();
    const one = new Program('daemun-controller', controllerArgs('data'), { cwd: directory });
    await one.says('that it is ready', (it) => it.logged('ready').length);
    assert.equal(await one.stop(), 0);
    assert.ok(fs.existsSync(path.join(directory, 'data/controller/daemun.db')));
  });

  test('a second controller on a data directory is refused', async () => {
    const answer = await run('daemun-controller', controllerArgs(world.controller.data));
    assertRefusal(answer, 'daemun-controller', /another controller runs on the data directory/, 1);
  });

  test('a second gateway on a data directory is refused', async () => {
    const answer = await run('daemun-gateway', await gatewayArgs(world.gateway.data));
    assertRefusal(answer, 'daemun-gateway', /is the keeper of .* already/, 1);
  });

  test('a port in use: the controller', async (t) => {
    const port = await occupyPort(t);
    const answer = await run('daemun-controller', controllerArgs(path.join(makeDirectory(), 'd'), port));
    assertRefusal(answer, 'daemun-controller', new RegExp(`127\\.0\\.0\\.1:${port}.*in use`), 1);
    assert.ok(!/dmt_/.test(answer.stdout), 'no token is made by a start that fails');
  });

  test('a port in use: the gateway', async (t) => {
    const port = await occupyPort(t);
    const answer = await run('daemun-gateway', await gatewayArgs(path.join(makeDirectory(), 'g'), { port }));
    assertRefusal(answer, 'daemun-gateway', new RegExp(`127\\.0\\.0\\.1:${port}.*in use`), 1);
  });

  test('a port in use: the metrics of the gateway', async (t) => {
    const adminPort = await occupyPort(t);
    const answer = await run('daemun-gateway', await gatewayArgs(path.join(makeDirectory(), 'g'), { adminPort }));
    assertRefusal(answer, 'daemun-gateway', new RegExp(`127\\.0\\.0\\.1:${adminPort}.*in use`), 1);
  });

  test('a data directory that can not be made', async () => {
    const file = path.join(makeDirectory(), 'file');
    fs.writeFileSync(file, 'not a directory');
    const controller = await run('daemun-controller', controllerArgs(path.join(file, 'd')));
    assertRefusal(controller, 'daemun-controller', /file.*: Not a directory/, 1);
    const gateway = await run('daemun-gateway', await gatewayArgs(path.join(file, 'g')));
    assertRefusal(gateway, 'daemun-gateway', /file.*Not a directory/, 1);
  });

  test('a data directory that can not be written', { skip: unwritable() ? false : 'there is none' }, async () => {
    const controller = await run('daemun-controller', controllerArgs(path.join(unwritable(), 'd')));
    assertRefusal(controller, 'daemun-controller', /directory/, 1);
    const gateway = await run('daemun-gateway', await gatewayArgs(path.join(unwritable(), 'g')));
    assertRefusal(gateway, 'daemun-gateway', /--data: /, 1);
  });

  test('a database of a newer schema is refused and left as it is', async () => {
    const controller = await new Controller().start();
    await controller.stop();
    const file = path.join(controller.data, 'controller/daemun.db');
    execute(file, 'INSERT INTO schema_version (version) VALUES (9999)');
    const before = fs.readFileSync(file);
    const answer = await run('daemun-controller', controllerArgs(controller.data));
    assertRefusal(answer, 'daemun-controller', /schema version 9999.*start the newer program/, 1);
    assert.ok(fs.readFileSync(file).equals(before));
  });

  test('a damaged database is refused', async () => {
    const controller = await new Controller().start();
    await controller.stop();
    fs.writeFileSync(path.join(controller.data, 'controller/daemun.db'), 'x'.repeat(8192));
    const answer = await run('daemun-controller', controllerArgs(controller.data));
    assertRefusal(answer, 'daemun-controller', /daemun\.db.*not a database/, 1);
  });

  test('a missing or damaged key file is refused, not made anew', async () => {
    const controller = await new Controller().start();
    await controller.stop();
    const key = path.join(controller.data, 'controller/keys/sealing.key');
    const kept = fs.readFileSync(key);
    fs.writeFileSync(key, kept.subarray(0, 20));
    assertRefusal(
      await run('daemun-controller', controllerArgs(controller.data)),
      'daemun-controller',
      /sealing\.key' is damaged/,
      1
    );
    fs.rmSync(key);
    assertRefusal(
      await run('daemun-controller', controllerArgs(controller.data)),
      'daemun-controller',
      /sealing\.key' is missing.*backup/,
      1
    );
    assert.ok(!fs.existsSync(key));
    fs.writeFileSync(key, kept, { mode: 0o600 });
    await controller.start();
    assert.equal((await controller.api.get('/whoami')).status, 200);
    await controller.stop();
  });

  const wrongUsage = [
    ['daemun-controller', ['--colour'], /--colour/],
    ['daemun-controller', ['--listen', 'nowhere'], /--listen must be ADDRESS:PORT.*'nowhere'/],
    ['daemun-controller', ['--threads', 'many'], /--threads must be a number.*'many'/],
    ['daemun-controller', ['--log-level', 'loud'], /--log-level must be debug, info, warn or error.*'loud'/],
    ['daemun-controller', ['start'], /'start'/],
    ['daemun-gateway', ['--data', '/tmp/x', '--colour', 'red'], /unknown option '--colour'/],
    ['daemun-gateway', [], /--data/],
    ['daemun-gateway', ['--data', '/tmp/x', '--workers', '0'], /--workers: expected a number from 1.*'0'/],
    ['daemun-gateway', ['--data', '/tmp/x', '--listen', '127.0.0.1:0'], /--listen: .*port from 1 to 65535/],
    ['daemun-gateway', ['--data', '/tmp/x', '--controller', '127.0.0.1:1'], /--controller: expected unix:/],
    ['daemun-gateway', ['--data', '/tmp/x', '--workers'], /--workers: expected a value/],
  ];
  for (const [name, args, pattern] of wrongUsage)
    test(`wrong usage: ${name} ${args.join(' ')}`, async () => assertRefusal(await run(name, args), name, pattern, 2));

  for (const name of ['daemun-controller', 'daemun-gateway'])
    test(`${name} says its version, and how it is used`, async () => {
      const version = await run(name, ['--version']);
      assert.equal(version.status, 0);
      assert.match(version.stdout, new RegExp(`^${name} \\d+\\.\\d+\\.\\d+\\n$`));
      const help = await run(name, ['--help']);
      assert.equal(help.status, 0);
      assert.match(help.stdout, /--data DIR/);
      assert.equal(help.stderr, '');
    });

  test('a gateway without anything on disk, and without a controller, says 404 host_unknown', async () => {
    const gateway = await new Gateway(null, { workers: 1 }).start();
    const answer = await ask(gateway.port, { host: 'nobody.test' });
    assert.equal(answer.status, 404);
    assert.equal(answer.reason, 'host_unknown');
    assert.equal(await gateway.stop(), 0);
  });
});

// A directory that even root can't write to.
function unwritable() {
  return ['/sys/kernel', '/proc'].find((directory) => fs.existsSync(directory));
}

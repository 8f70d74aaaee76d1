// `daemun serve`: controller and gateway as one; and the tour that `make run` takes.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Api } from './lib/api.mjs';
import { RawClient, ask, fetchText } from './lib/http.mjs';
import { freePort } from './lib/ports.mjs';
import { Program, findProcesses, kill, makeDirectory, run, whenGone } from './lib/process.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { domainOf, headOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';

const PATIENCE_MS = 15000; // of daemun serve, before it complains
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

suite('serve', () => {
  closeUpstreamsAfter();
  let data, ports, serve, servesSince, api, token, upstream;

  const args = () => [
    'serve',
    '--data',
    data,
    '--listen',
    `127.0.0.1:${ports.listen}`,
    '--listen',
    `127.0.0.1:${ports.second}`,
    '--listen',
    `127.0.0.1:${ports.secure} tls`,
    '--api',
    `127.0.0.1:${ports.api}`,
    '--admin',
    `127.0.0.1:${ports.admin}`,
    '--workers',
    '2',
    '--body-max',
    '1000',
    '--log-format',
    'json',
  ];
  const call = () => ask(ports.listen, { host: domainOf('orders'), key: keyOf('orders') });
  const isReady = async () => (await fetchText(`http://127.0.0.1:${ports.admin}/healthz`)).status === 200;

  async function startServe() {
    serve = new Program('daemun', args());
    servesSince = Date.now();
    await serve.says('that it is ready', (one) => one.stdout.includes('Daemun is ready.'));
  }

  // {controller, keeper, loader, workers: [pid]}
  function pids() {
    const found = { workers: [] };
    for (const { pid, args: words } of findProcesses(data)) {
      const role = words.find((word) => word.startsWith('--role='))?.slice(7);
      if (/daemun-controller$/.test(words[0])) found.controller = pid;
      else if (role === 'worker') found.workers.push(pid);
      else if (/daemun-gateway$/.test(words[0])) found[role ?? 'keeper'] = pid;
    }
    return found;
  }

  function assertSaysWhere() {
    for (const [name, port] of Object.entries(ports)) {
      const url = `${name === 'secure' ? 'https' : 'http'}://127.0.0.1:${port}`;
      assert.ok(serve.stdout.includes(url), serve.stdout);
    }
    assert.ok(serve.stdout.includes(data));
  }

  before(async () => {
    data = path.join(makeDirectory(), 'data');
    ports = {};
    for (const name of ['listen', 'second', 'secure', 'api', 'admin']) ports[name] = await freePort();
    upstream = await startUpstream();
    await startServe();
  });

  test('the first start shows a token, and says where everything is', async () => {
    [token] = /dmt_[\w-]{43}/.exec(serve.stdout);
    assertSaysWhere();
    api = new Api(`http://127.0.0.1:${ports.api}`, token);
    await api.apply(teamFile('orders', upstream.port));
    assert.equal((await call()).status, 200);
  });

  test('bounds for clients reach the gateway', async () => {
    const post = (bytes) =>
      ask(ports.listen, { host: domainOf('orders'), key: keyOf('orders'), method: 'POST', body: 'b'.repeat(bytes) });
    assert.equal((await post(1000)).status, 200);
    assert.equal((await post(1001)).reason, 'body_too_large');
  });

  test('each process has a name of its own for ps and top', () => {
    const nameOf = (pid) => fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
    const { controller, keeper, loader, workers } = pids();
    assert.deepEqual([controller, keeper, loader].map(nameOf), ['daemun-controll', 'daemun-gateway', 'dm-loader']);
    assert.deepEqual(workers.map(nameOf).sort(), ['dm-worker-0', 'dm-worker-1']);
  });

  test('whatever is killed is back by itself', async () => {
    for (const role of ['controller', 'keeper', 'loader', 'worker']) {
      const before = role === 'worker' ? pids().workers[0] : pids()[role];
      kill(before);
      await whenGone(before);
      assert.equal((await call()).status, 200, `${role} is gone and traffic goes on`);
      await until(`another ${role}`, async () => {
        const now = pids();
        return (
          (role === 'worker'
            ? now.workers.length === 2 && !now.workers.includes(before)
            : now[role] && now[role] !== before) && (await isReady())
        );
      });
      const answer = await until('the API', () =>
        api.apply(teamFile('orders', upstream.port, { backend: { idle_timeout_ms: before } }))
      );
      assert.deepEqual([answer.live.gateways, answer.live.of], [1, 1]);
      assert.equal((await call()).status, 200);
    }
  });

  test('a process that dies long after the start is given its time to answer', async () => {
    await until('the end of the time that a start is given', () => Date.now() - servesSince > PATIENCE_MS);
    const { controller } = pids();
    kill(controller);
    await until('another controller', async () => {
      const now = pids().controller;
      return now && now !== controller && (await api.get('/whoami')).status === 200;
    });
    assert.match(serve.stderr, /daemun-controller ended .*; starting it again/);
    assert.doesNotMatch(serve.stderr, /has not answered/);
  });

  test('the supervisor is killed: all serve on, and the next one takes them over', async () => {
    const before = pids();
    serve.kill('SIGKILL');
    await serve.whenEnded();
    assert.equal((await call()).status, 200);
    assert.equal((await api.get('/whoami')).status, 200);
    await startServe();
    assert.deepEqual(pids(), before);
    assertSaysWhere();
    assert.equal((await call()).status, 200);
  });

  test('SIGUSR2: all become their next programs, with the gateway serving on', async () => {
    const before = pids();
    const client = await RawClient.open(ports.listen);
    await client.send(headOf('orders'));
    assert.equal((await client.response()).status, 200);
    serve.kill('SIGUSR2');
    await until('the next supervisor', () => serve.stdout.split('Daemun is ready.').length === 3);
    const now = pids();
    assert.notEqual(now.controller, before.controller);
    assert.equal(now.keeper, before.keeper, 'it keeps its process id');
    assert.notEqual(now.loader, before.loader, 'and is another program');
    assert.ok(serve.isRunning());
    await client.send(headOf('orders'));
    assert.equal((await client.response()).status, 200);
    client.close();
    assert.equal((await until('the API', () => api.get('/whoami'))).status, 200);
  });

  test('a second one on the same data is refused', async () => {
    const answer = await run('daemun', args());
    assert.notEqual(answer.status, 0);
    assert.match(answer.stderr, /^daemun: .*/m);
    assert.equal((await call()).status, 200);
  });

  test('SIGTERM stops everything, and a new start finds everything', async () => {
    assert.equal(await serve.stop(), 0);
    assert.deepEqual(findProcesses(data), []);
    await startServe();
    assert.ok(!/dmt_/.test(serve.stdout));
    assert.equal((await call()).status, 200);
    assert.equal((await api.get('/whoami')).status, 200);
    assert.equal(await serve.stop('SIGINT'), 0);
    assert.deepEqual(findProcesses(data), []);
  });

  test('a port in use: said before anything is started', async () => {
    for (const name of Object.keys(ports)) {
      const other = path.join(makeDirectory(), 'data');
      const words = args().map((word) => word.replace(data, other).replace(String(ports[name]), String(upstream.port)));
      const answer = await run('daemun', words);
      assert.notEqual(answer.status, 0);
      assert.match(answer.stderr, new RegExp(`^daemun: 127.0.0.1:${upstream.port} is in use.*\n$`));
      assert.equal(answer.stdout, '');
      assert.deepEqual(findProcesses(other), []);
      assert.deepEqual(fs.readdirSync(other), ['run']);
    }
  });

  test('an option that can’t be: said before anything is made', async () => {
    const bad = [
      ['--workers', '0'],
      ['--workers', '257'],
      ['--workers', 'many'],
      ['--trusted-fronts', '10.0.0.0/8,10.0.0.1/8'],
      ['--body-max', '1M'],
      ['--idle-timeout-ms', '3600001'],
      ['--listen', 'here'],
    ];
    for (const [option, value] of bad) {
      const other = path.join(makeDirectory(), 'data');
      const answer = await run('daemun', ['serve', '--data', other, option, value]);
      assert.equal(answer.status, 2, option);
      assert.match(answer.stderr, new RegExp(`^daemun: ${option}.*\n$`));
      assert.equal(answer.stdout, '');
      assert.ok(!fs.existsSync(other));
    }
  });

  test('the tour does what it says, and shows the master token at its first start only', async (t) => {
    const directory = makeDirectory();
    const tokenFile = path.join(directory, 'tour/master.token');
    for (const isFirst of [true, false]) {
      const tour = new Program(path.join(ROOT, 'examples/tour/run'), ['--once', '--ports', 'auto'], {
        cwd: ROOT,
        env: { DAEMUN_DATA: directory, NO_COLOR: '1' },
      });
      t.after(() => tour.stop()); // it ends what it started
      assert.equal(await tour.whenEnded(), 0);
      assert.ok(!tour.stdout.includes('✗'));
      for (const word of ['auth_missing', 'auth_invalid', '429', 'live']) assert.ok(tour.stdout.includes(word), word);
      await until('the end of all that it started', () => findProcesses(`${directory}/`).length === 0);
      assert.equal(tour.stdout.split(fs.readFileSync(tokenFile, 'utf8').trim()).length - 1, isFirst ? 1 : 0);
      assert.equal(fs.statSync(tokenFile).mode & 0o777, 0o600);
    }
  });
});

// Clients that abuse HTTP/2: their connection ends early, with a name for it in the metrics; the worker lives; a polite client of
// another tenant, on the same worker, is answered as ever.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { attacks } from './lib/h2-attacks.mjs';
import {
  block, CANCEL, DATA, END_HEADERS, ENHANCE_YOUR_CALM, frame, H2Socket, headers, HEADERS, PREFACE, setting,
} from './lib/h2.mjs';
import { Polite } from './lib/polite.mjs';
import { freePort } from './lib/ports.mjs';
import { after, before, suite, test } from './lib/testing.mjs';
import { fieldsOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const LARGE_BYTES = 300000;
const CONNECTIONS = 3; // of an attack, one after the other
const POLITE_AT_A_TIME = 4;
const INITIAL_WINDOW_SIZE = 4;

const requestOf = (name, path) => ({ ':scheme': 'http', ...fieldsOf(name, 'GET', path) });

// Asks and asks, on one connection; that it ended is a failure.
function startPolite(port) {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const ask = () =>
    new Promise((resolve, reject) => {
      const stream = session.request(requestOf('polite', '/'));
      let status;
      stream.on('response', (head) => (status = head[':status']));
      stream.on('error', reject);
      stream.on('close', () =>
        status === 200 && stream.rstCode === 0 ? resolve() : reject(new Error(`status ${status}, code ${stream.rstCode}`))
      );
      stream.resume();
    });
  const polite = new Polite(ask, POLITE_AT_A_TIME);
  session.on('error', (error) => polite.failures.push(error.message));
  session.on('close', () => polite.isGoing && polite.failures.push('the connection ended'));
  return Object.assign(polite, { session });
}

suite('h2-attacks', () => {
  closeUpstreamsAfter();
  let world, gateway, port, hasty, pid, polite;
  const fields = { get: requestOf('rude', '/'), large: requestOf('rude', '/large') };
  const hastyLimits = 'head-timeout-ms=1500 idle-timeout-ms=3000 body-timeout-ms=1500';

  const refused = (reason) => gateway.metric('daemun_listener_http2_refused_total', { reason });
  const open = (to) => gateway.metric('daemun_listener_connections', { listener: `127.0.0.1:${to}` });
  const late = (what) => gateway.metric('daemun_listener_timeouts_total', { what });

  before(async () => {
    const upstream = await startUpstream({
      respond: (request, response, seen) => response.end(seen.path === '/large' ? 'x'.repeat(LARGE_BYTES) : 'hello'),
    });
    hasty = await freePort();
    world = await World.start({ workers: 1, gatewayArgs: ['--listen', `127.0.0.1:${hasty} ${hastyLimits}`] });
    gateway = world.gateway;
    for (const name of ['polite', 'rude']) await world.api.apply(teamFile(name, upstream.port));
    port = gateway.port;
    [pid] = gateway.pids().workers;
    polite = startPolite(port);
    await polite.goOn(50);
  });

  after(async () => {
    await polite?.stop();
    polite?.session.close();
  });

  // The worker is the one that it was, and the polite client has missed nothing.
  async function check() {
    await polite.goOn(50);
    assert.deepEqual(polite.failures, []);
    assert.deepEqual(gateway.pids().workers, [pid]);
  }

  for (const attack of attacks)
    test(attack.name, async () => {
      const before = await refused(attack.reason);
      for (let i = 0; i < CONNECTIONS; i++) {
        const socket = await H2Socket.open(port, { settings: attack.settings });
        await socket.flood(attack.rounds, (round) => attack.round(round, fields));
        await socket.whenEnded();
        assert.ok([undefined, ENHANCE_YOUR_CALM].includes(socket.goaway), `GOAWAY ${socket.goaway}`);
      }
      assert.equal((await refused(attack.reason)) - before, CONNECTIONS);
      await check();
    });

  // --- slowness, where little time is given ---

  test('half a preface', async () => {
    const before = await late('head');
    const socket = await H2Socket.open(hasty, { isBare: true });
    socket.write(PREFACE.subarray(0, 12));
    await socket.whenEnded();
    assert.equal((await late('head')) - before, 1);
    await check();
  });

  test('half the head of a frame', async () => {
    const before = await late('idle');
    const socket = await H2Socket.open(hasty);
    socket.write(headers(1, fields.get).subarray(0, 5));
    await socket.whenEnded();
    assert.equal((await late('idle')) - before, 1);
    await check();
  });

  test('half a header block', async () => {
    const before = await refused('slow_streams');
    const socket = await H2Socket.open(hasty);
    socket.write(headers(1, fields.get).subarray(0, 30));
    await socket.whenEnded();
    assert.equal(socket.goaway, ENHANCE_YOUR_CALM);
    assert.equal((await refused('slow_streams')) - before, 1);
    await check();
  });

  test('a header block byte by byte', async () => {
    const bytes = headers(1, { ...fields.get, filler: 'x'.repeat(1000) });
    const socket = await H2Socket.open(hasty);
    let at = 0;
    const dripping = setInterval(() => at < bytes.length && socket.write(bytes.subarray(at, ++at)), 50);
    await socket.whenEnded();
    clearInterval(dripping);
    assert.equal(socket.goaway, ENHANCE_YOUR_CALM);
    await check();
  });

  test('responses that no window is opened for', async () => {
    const before = await refused('slow_streams');
    const socket = await H2Socket.open(hasty, { settings: setting(INITIAL_WINDOW_SIZE, 0) });
    for (let i = 0; i < 100; i++) socket.write(headers(2 * i + 1, fields.large));
    await until('the end of every stream', () => socket.resets.length === 100);
    assert.ok(socket.resets.every(({ code }) => code === CANCEL));
    assert.equal((await refused('slow_streams')) - before, 100);
    await socket.whenEnded();
    await check();
  });

  test('responses that are not read', async () => {
    const before = await late('reader');
    const socket = await H2Socket.open(hasty, { reads: false, settings: setting(INITIAL_WINDOW_SIZE, 0x7fffffff) });
    socket.write(frame(8, 0, 0, Buffer.from([0x7f, 0, 0, 0])));
    for (let i = 0; i < 100; i++) socket.write(headers(2 * i + 1, fields.large));
    await until('the end of patience', async () => (await late('reader')) > before);
    await until('the end of the connection', async () => (await open(hasty)) === 0);
    socket.close();
    await check();
  });

  test('a body by single bytes', async () => {
    const before = await refused('slow_streams');
    const socket = await H2Socket.open(hasty);
    socket.write(frame(HEADERS, END_HEADERS, 1, block({ ...fields.get, ':method': 'POST' })));
    const dripping = setInterval(() => socket.write(frame(DATA, 0, 1, Buffer.from('x'))), 100);
    await until('an answer', () => socket.answers.includes(1));
    clearInterval(dripping);
    assert.equal((await refused('slow_streams')) - before, 1);
    socket.close();
    await check();
  });
});

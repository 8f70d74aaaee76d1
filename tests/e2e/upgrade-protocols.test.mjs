// An upgrade, and an end, under clients of every kind at once: TLS, HTTP/2, gRPC, WebSocket, server-sent events. Nothing is refused,
// nothing fails, idle clients are told that it is over in their own protocol, tunnels live until the time to drain is over. No
// client here sends anything twice.
import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import tls from 'node:tls';
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { Pool } from 'undici';
import * as rpc from './lib/grpc.mjs';
import * as h2 from './lib/h2.mjs';
import { ask } from './lib/http.mjs';
import { Pki } from './lib/pki.mjs';
import { freePort } from './lib/ports.mjs';
import { isAlive, kill, whenGone } from './lib/process.mjs';
import { domainOf, keyOf, teamFile } from './lib/team.mjs';
import { after, before, suite, test } from './lib/testing.mjs';
import { Load, endLoads, placeProgram, upgrade } from './lib/upgrade.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { deferred, until, within } from './lib/wait.mjs';
import { closeWebSocketsAfter, connectHttp1, connectHttp2, connectSession, startWebSockets } from './lib/websocket.mjs';
import { World } from './lib/world.mjs';

const { status: codes } = rpc.grpc;
const STREAMS = 4; // of each session at a time

suite('upgrade-protocols', () => {
  closeUpstreamsAfter();
  closeWebSocketsAfter();
  let pki, leaf, web, sockets, service;
  const closers = [];

  before(async () => {
    pki = new Pki();
    leaf = pki.issue(['web', 'chat', 'calls'].map(domainOf));
    web = await startUpstream({
      respond: (request, response) => {
        if (request.url === '/never') return undefined;
        if (request.url !== '/events') return response.end('answer');
        response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
        web.sources.push(response);
      },
    });
    web.sources = [];
    sockets = await startWebSockets();
    service = await rpc.startService();
  });

  after(() => {
    endLoads();
    closers.forEach((close) => close());
    service.server.forceShutdown();
  });

  const fileOf = (team, port, more) =>
    teamFile(team, port, {
      certificates: [{ name: 'main', chain: leaf.chain, key: leaf.key }],
      domains: [{ name: domainOf(team), certificate: 'main' }],
      ...more,
    });

  async function start({ drainMs = 8000, workers = 2 } = {}) {
    const securePort = await freePort();
    const args = ['--drain-ms', String(drainMs), '--listen', `127.0.0.1:${securePort} tls`];
    const world = await World.start({ workers, gatewayArgs: args, program: placeProgram() });
    world.gatewayArgs = args;
    world.port = world.gateway.port;
    world.securePort = securePort;
    await world.api.apply(fileOf('web', web.port));
    await world.api.apply(fileOf('chat', sockets.port, { version: { upgrades: ['websocket'] } }));
    await world.api.apply(fileOf('calls', service.port, { backend: { protocol: 'http2' } }));
    return world;
  }

  const trust = (team) => ({ ca: pki.root.certificate, servername: domainOf(team) });
  const headersOf = (team) => ({ host: domainOf(team), 'x-api-key': keyOf(team) });
  const fieldsOf = (team) => ({ ':authority': domainOf(team), 'x-api-key': keyOf(team) });
  const clear = (world) => [`http://127.0.0.1:${world.port}`];
  const secure = (world, team) => [`https://127.0.0.1:${world.securePort}`, trust(team)];

  // --- clients that make requests -----------------------------------------------------------------------------------

  async function pooledInTls(world, load, connections = 4) {
    const pool = new Pool(`https://127.0.0.1:${world.securePort}`, { connections, pipelining: 1, connect: trust('web') });
    const one = async () => {
      while (!load.isOver)
        await load.count(async () => {
          const { statusCode, body } = await pool.request({ path: '/', method: 'GET', headers: headersOf('web') });
          assert.equal(await body.text(), 'answer');
          assert.equal(statusCode, 200);
        });
    };
    await Promise.all(Array.from({ length: connections }, one));
    await pool.destroy();
  }

  async function freshInTls(world, load) {
    while (!load.isOver)
      await load.count(async () => {
        const request = https.get({ port: world.securePort, agent: false, headers: headersOf('web'), ...trust('web') });
        const [response] = await once(request, 'response');
        assert.equal(response.statusCode, 200);
        response.resume();
        await once(response, 'end');
      });
  }

  // Streams of a client written by hand, which knows what it has sent when GOAWAY comes: that is answered, to the last one.
  async function rawStreams(world, load) {
    while (!load.isOver)
      await load.count(async () => {
        const socket = await h2.H2Socket.open(world.port, { isPolite: true });
        const sent = [];
        while (!load.isOver && !socket.isClosed && socket.goaway === undefined) {
          if (sent.length - socket.ends.length < STREAMS) {
            sent.push(2 * sent.length + 1);
            socket.write(h2.headers(sent.at(-1), http2Fields));
          }
          await new Promise(setImmediate);
        }
        await until('every answer', () => socket.isClosed || socket.ends.length === sent.length);
        assert.deepEqual([...socket.ends].sort((a, b) => a - b), sent);
        assert.deepEqual(socket.resets, []);
        assert.equal(socket.goaway ?? 0, 0);
        assert.equal(socket.failure, undefined);
        load.told = (load.told ?? 0) + (socket.goaway === 0);
        socket.close();
      });
  }

  function request(session, fields) {
    return new Promise((resolve, reject) => {
      const stream = session.request(fields);
      let status, text = '';
      stream.setEncoding('utf8');
      stream.on('response', (head) => (status = head[':status']));
      stream.on('data', (part) => (text += part));
      stream.on('error', reject);
      stream.on('close', () => (stream.rstCode ? reject(new Error(`reset: ${stream.rstCode}`)) : resolve({ status, text })));
    });
  }

  // Streams of one session at a time; behind a GOAWAY, of the next one. What Node had not sent when GOAWAY came it gives back as
  // refused (RFC 9113, 6.8), and is asked on the next session. What ends a session otherwise is a failure.
  async function manyStreams(load, origin, options) {
    let session;
    const sessions = [];
    const current = () => {
      if (session && !session.closed && !session.destroyed) return session;
      const made = (session = http2.connect(origin, options));
      const ended = deferred();
      sessions.push(within('the end of a session', ended.promise));
      made.on('close', ended.resolve);
      made.on('error', (error) => load.failed.push(`session: ${error.code ?? error.message}`));
      made.on('goaway', (code) => code && load.failed.push(`GOAWAY ${code}`));
      return made;
    };
    const one = async () => {
      while (!load.isOver)
        await load.count(async () => {
          const used = current();
          const answer = await request(used, fieldsOf('web')).catch((error) => {
            if (!used.closed || !/REFUSED_STREAM/.test(error.message)) throw error;
            return request(current(), fieldsOf('web'));
          });
          assert.deepEqual(answer, { status: 200, text: 'answer' });
        });
    };
    await Promise.all(Array.from({ length: STREAMS }, one));
    session.close();
    await Promise.all(sessions);
    load.sessions = (load.sessions ?? 0) + sessions.length;
  }

  function rpcClient(world, isTls) {
    const credentials = isTls
      ? rpc.grpc.credentials.createSsl(Buffer.from(pki.root.certificate))
      : rpc.grpc.credentials.createInsecure();
    const options = { credentials, 'grpc.enable_retries': 1 }; // without a policy: of what was never sent
    const client = rpc.connect(isTls ? world.securePort : world.port, domainOf('calls'), options);
    closers.push(() => client.close());
    return client;
  }

  async function unaryCalls(world, load, isTls) {
    const client = rpcClient(world, isTls);
    while (!load.isOver)
      await load.count(async () => {
        const { status } = await rpc.ask(client, 'Ask', { a: 1 }, { 'x-api-key': keyOf('calls') });
        assert.equal(status.code, codes.OK, `${status.code}: ${status.details}`);
      });
  }

  function startLoad(world) {
    const load = new Load();
    load.add(() => pooledInTls(world, load));
    load.add(() => freshInTls(world, load));
    load.add(() => rawStreams(world, load));
    load.add(() => manyStreams(load, ...clear(world)));
    load.add(() => manyStreams(load, ...secure(world, 'web')));
    load.add(() => unaryCalls(world, load, false));
    load.add(() => unaryCalls(world, load, true));
    return load;
  }

  // --- what goes on for long: {name, say(text), hears(text), end(), whenWhole(), whenCut()} ------------------------------

  const nextSource = (seen) => until('a request at the backend', () => web.sources.length > seen && web.sources.at(-1));

  function events(name, source, stream) {
    const got = { text: '', isEnded: false };
    stream.setEncoding('utf8');
    stream.on('data', (part) => (got.text += part));
    stream.on('end', () => (got.isEnded = true));
    stream.on('error', (error) => (got.error = error));
    return {
      name,
      say: (text) => source.write(`data: ${text}\n\n`),
      hears: (text) => until(`${text} on ${name}`, () => got.text.endsWith(`data: ${text}\n\n`)),
      end: () => source.end(),
      whenWhole: () => until(`the end of ${name}`, () => assert.equal(got.error, undefined) ?? got.isEnded),
      async whenCut() {
        await until(`the end of ${name}`, () => stream.closed);
        assert.ok(got.error && !got.isEnded, `${name} looks whole`);
      },
    };
  }

  async function eventsOverHttp1(world) {
    const seen = web.sources.length;
    const options = { port: world.securePort, path: '/events', agent: false, headers: headersOf('web'), ...trust('web') };
    const [response] = await within('an answer', once(https.get(options), 'response'));
    return events('events over HTTP/1.1 in TLS', await nextSource(seen), response);
  }

  async function eventsOverHttp2(world, name, origin, options) {
    const seen = web.sources.length;
    const session = http2.connect(origin, options);
    closers.push(() => session.destroy());
    const stream = session.request({ ...fieldsOf('web'), ':path': '/events' });
    await within('an answer', once(stream, 'response'));
    return events(name, await nextSource(seen), stream);
  }

  async function messages(world, isTls) {
    const fields = new rpc.grpc.Metadata();
    fields.set('x-api-key', keyOf('calls'));
    const seen = service.calls.length;
    const call = rpcClient(world, isTls).Hang({}, fields);
    const result = rpc.collect(call);
    const heard = [];
    call.on('data', (message) => heard.push(message.text));
    const isCalled = (one) => one.method === 'Hang';
    const source = await until('the call', () => service.calls.slice(seen).find(isCalled));
    const name = `gRPC in ${isTls ? 'TLS' : 'clear text'}`;
    return {
      name,
      say: (text) => source.call.write({ text }),
      hears: (text) => until(`${text} on ${name}`, () => heard.at(-1) === text),
      end: () => source.call.end(),
      whenWhole: async () => assert.equal((await within(name, result)).status.code, codes.OK),
      async whenCut() {
        const { status } = await within(name, result);
        assert.equal(status.code, codes.UNAVAILABLE, `${name}: ${status.code} ${status.details}`);
        assert.match(status.details, /^The gateway was stopped or upgraded/);
      },
    };
  }

  const streams = async (world) => [
    await eventsOverHttp1(world),
    await eventsOverHttp2(world, 'events over HTTP/2', ...clear(world)),
    await eventsOverHttp2(world, 'events over HTTP/2 in TLS', ...secure(world, 'web')),
    await messages(world, false),
    await messages(world, true),
  ];

  async function tunnel(name, connecting) {
    const [client, server] = await Promise.all([connecting, sockets.next()]);
    const failures = [];
    for (const end of [client, server]) end.on('error', (error) => failures.push(error));
    return {
      name,
      client,
      server,
      async echoes(text) {
        for (const [from, to] of [[client, server], [server, client]]) {
          from.send(text);
          assert.equal(await to.next(), text, name);
        }
      },
      async whenGoingAway() {
        for (const end of [client, server])
          assert.deepEqual(await end.whenClosed(), { code: 1001, reason: 'draining' }, name);
        assert.deepEqual(failures, [], name);
      },
    };
  }

  // Over a session that says how it ended.
  async function tunnelOnSession(name, origin, options) {
    const session = await connectSession(origin, options);
    const ended = { codes: [] };
    session.on('goaway', (code) => ended.codes.push(code));
    session.on('error', (error) => (ended.error = error));
    const made = await tunnel(name, connectHttp2(session, '/chat', { headers: fieldsOf('chat') }));
    made.whenSessionEnded = async () => {
      await until(`the end of the session of ${name}`, () => session.destroyed);
      assert.equal(ended.error, undefined, name);
      assert.ok(ended.codes.length > 0 && ended.codes.every((code) => code === http2.constants.NGHTTP2_NO_ERROR), name);
    };
    return made;
  }

  const tunnels = async (world) => [
    await tunnel('ws', connectHttp1(`ws://127.0.0.1:${world.port}`, '/chat', { headers: headersOf('chat') })),
    await tunnel('wss', connectHttp1(`wss://127.0.0.1:${world.securePort}`, '/chat', { headers: headersOf('chat'), tls: trust('chat') })),
    await tunnelOnSession('ws over HTTP/2', ...clear(world)),
    await tunnelOnSession('ws over HTTP/2 in TLS', ...secure(world, 'chat')),
  ];

  async function allSay(long, text) {
    for (const one of long) one.say(text);
    for (const one of long) await one.hears(text);
  }

  async function allEnd(long) {
    for (const one of long) one.end();
    for (const one of long) await one.whenWhole();
  }

  // --- clients that rest ----------------------------------------------------------------------------------------------

  // openssl's own client, on a connection that rests. Its exit code is 0 when the server says close_notify, and is not when the
  // connection ends without it, or is reset.
  async function restingInTls(world, { alpn = 'http/1.1', first = '', until: begun }) {
    const args = ['s_client', '-connect', `127.0.0.1:${world.securePort}`, '-servername', domainOf('web'), '-alpn', alpn, '-quiet'];
    const child = spawn('openssl', [...args, '-CAfile', pki.rootFile, '-verify_return_error'], { stdio: 'pipe' });
    const got = { bytes: Buffer.alloc(0), said: '' };
    child.stdout.on('data', (data) => (got.bytes = Buffer.concat([got.bytes, data])));
    child.stderr.on('data', (data) => (got.said += data));
    child.stdin.on('error', () => {});
    closers.push(() => child.kill('SIGKILL'));
    const ended = once(child, 'exit').then(([code]) => (got.code = code));
    child.stdin.write(first);
    await until(`openssl to speak ${alpn}`, () => begun(got.bytes));
    got.whenEnded = () => within('the end of openssl', ended);
    return got;
  }

  const http1Head = `GET / HTTP/1.1\r\n${Object.entries(headersOf('web')).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
  const http2Fields = { ':method': 'GET', ':scheme': 'http', ':path': '/', ...fieldsOf('web') };
  const http2Head = Buffer.concat([
    h2.PREFACE,
    h2.frame(h2.SETTINGS, 0, 0),
    h2.headers(1, { ...http2Fields, ':scheme': 'https' }),
  ]);

  // [{type, payload}] of whole frames.
  function framesOf(bytes) {
    const frames = [];
    for (let at = 0; at + 9 <= bytes.length; ) {
      const end = at + 9 + bytes.readUIntBE(at, 3);
      if (end <= bytes.length) frames.push({ type: bytes[at + 3], flags: bytes[at + 4], payload: bytes.subarray(at + 9, end) });
      at = end;
    }
    return frames;
  }

  const isAnswered = (bytes) => framesOf(bytes).some(({ type, flags }) => type === h2.DATA && flags & h2.END_STREAM);
  const goawaysOf = (bytes) => framesOf(bytes).filter(({ type }) => type === h2.GOAWAY).map(({ payload }) => payload.readUInt32BE(4));

  const resting = async (world) => ({
    http1: await restingInTls(world, { first: http1Head, until: (bytes) => bytes.toString().includes('answer') }),
    http2: await restingInTls(world, { alpn: 'h2', first: http2Head, until: isAnswered }),
    silent: await h2.H2Socket.open(world.port),
    session: http2.connect(...clear(world)),
    secureSession: http2.connect(...secure(world, 'web')),
  });

  // Told in the words of TLS and HTTP/2, and never by a reset.
  async function assertToldPolitely({ http1, http2: second, silent, session, secureSession }) {
    assert.equal(await http1.whenEnded(), 0, http1.said);
    assert.equal(await second.whenEnded(), 0, second.said);
    const told = goawaysOf(second.bytes);
    assert.ok(told.length > 0 && told.every((code) => code === 0), `GOAWAY ${told}`);
    await silent.whenEnded();
    assert.equal(silent.goaway, 0);
    assert.equal(silent.failure, undefined);
    for (const one of [session, secureSession]) {
      await until('the end of a session', () => one.destroyed);
      assert.deepEqual(one.told, [0]);
    }
  }

  async function restAll(world) {
    const clients = await resting(world);
    for (const one of [clients.session, clients.secureSession]) {
      one.told = [];
      one.on('goaway', (code) => one.told.push(code));
      one.on('error', (error) => one.told.push(error.code));
      closers.push(() => one.destroy());
      assert.equal((await request(one, fieldsOf('web'))).status, 200);
    }
    await until('the settings of the silent one', () => clients.silent.hasSettings);
    return clients;
  }

  // --- tests ------------------------------------------------------------------------------------------------------------

  test('an upgrade: requests, streams and tunnels of every protocol go on', async () => {
    const world = await start();
    const load = startLoad(world);
    await load.more(300);
    const [long, open] = [await streams(world), await tunnels(world)];
    await allSay(long, 'before');
    for (const one of open) await one.echoes('before');

    const former = await upgrade(world.gateway);
    await allSay(long, 'after');
    for (const one of open) await one.echoes('after');
    assert.ok(former.some(isAlive), 'the former workers have them');
    await allEnd(long);
    await load.more(300);

    for (const one of open) await one.whenGoingAway();
    for (const one of open) await one.whenSessionEnded?.();
    for (const pid of former) await whenGone(pid);
    await load.more(100);
    const { failed, done } = await load.stop();
    assert.deepEqual(failed, [], `of ${done} requests`);
  });

  test('three upgrades in a row under requests of every protocol', async () => {
    const world = await start({ workers: 3 });
    const load = startLoad(world);
    for (let round = 0; round < 3; round++) {
      await load.more(300);
      await upgrade(world.gateway, { isAllGone: true });
    }
    await load.more(300);
    const { failed, done, sessions, told } = await load.stop();
    assert.deepEqual(failed, [], `of ${done} requests`);
    assert.ok(told >= 3, 'GOAWAY for each generation');
    assert.deepEqual(world.gateway.process.logged('keeper_parts_late'), []);
    assert.ok(sessions >= 2 * 4, 'a session of HTTP/2 of each kind for each generation');
  });

  test('an upgrade: clients that rest are told so', async () => {
    const world = await start({ drainMs: 2000 });
    const clients = await restAll(world);
    const former = await upgrade(world.gateway);
    await assertToldPolitely(clients);
    for (const pid of former) await whenGone(pid);
  });

  test('an upgrade: what is not over when the time is does not look whole, and what has no answer yet gets one', async () => {
    const world = await start({ drainMs: 1500 });
    const long = await streams(world);
    await allSay(long, 'before');
    const unanswered = [
      ask(world.port, { host: domainOf('web'), key: keyOf('web'), path: '/never' }),
      ...[clear(world), secure(world, 'web')].map(async ([origin, options]) => {
        const session = http2.connect(origin, options);
        closers.push(() => session.destroy());
        return request(session, { ...fieldsOf('web'), ':path': '/never' });
      }),
    ];
    await until('the requests at the backend', () => web.requests.filter(({ path }) => path === '/never').length === 3);
    const former = await upgrade(world.gateway);
    for (const one of long) await one.whenCut();
    for (const { status, text } of await within('answers', Promise.all(unanswered))) {
      assert.equal(status, 503);
      assert.equal(JSON.parse(text).reason, 'draining');
    }
    for (const pid of former) await whenGone(pid);
    const reasons = world.gateway.accessLog().filter(({ reason }) => reason).map(({ reason }) => reason);
    assert.deepEqual(reasons, Array.from({ length: long.length + unanswered.length }, () => 'draining'));
  });

  test('an end: streams finish, tunnels are told, clients that rest as well', async () => {
    const world = await start();
    const [long, open, clients] = [await streams(world), await tunnels(world), await restAll(world)];
    await allSay(long, 'before');
    for (const one of open) await one.echoes('before');
    world.gateway.process.kill('SIGTERM');
    await until('the end to begin', () => world.gateway.process.logged('keeper_stopping').length > 0);
    await assertToldPolitely(clients);
    await allSay(long, 'after');
    for (const one of open) await one.echoes('after');
    await allEnd(long);
    for (const one of open) await one.whenGoingAway();
    for (const one of open) await one.whenSessionEnded?.();
    assert.equal(await world.gateway.process.whenEnded(), 0);
  });

  test('an end under load: whoever was let in is answered', async () => {
    const world = await start();
    const load = startLoad(world);
    await load.more(300);
    world.gateway.process.kill('SIGTERM');
    assert.equal(await world.gateway.process.whenEnded(), 0);
    const { failed } = await load.stop();
    assert.deepEqual(failed.filter((why) => !/ECONNREFUSED/.test(why)), []);
  });

  // --- sessions of TLS ----------------------------------------------------------------------------------------------------

  // A handshake and a request; {isResumed, session}, with the ticket that came last.
  async function visit(world, version, session) {
    const socket = tls.connect({ port: world.securePort, ...trust('web'), session, minVersion: version, maxVersion: version });
    const got = { isResumed: undefined, session };
    const done = deferred();
    let text = '';
    socket.setEncoding('latin1');
    socket.on('session', (ticket) => (got.session = ticket));
    socket.on('error', done.reject);
    socket.on('data', (part) => (text += part).endsWith('answer') && done.resolve());
    await within('a handshake', once(socket, 'secureConnect'));
    got.isResumed = socket.isSessionReused();
    socket.write(http1Head);
    await within('an answer', done.promise);
    socket.destroy();
    assert.ok(got.session, 'a ticket came');
    return got;
  }

  for (const version of ['TLSv1.3', 'TLSv1.2'])
    test(`a session of ${version} is resumed by workers and keepers that come later, and not after the last of them`, async () => {
      const world = await start();
      const { session } = await visit(world, version);
      const assertResumed = async (what) => {
        for (let i = 0; i < 4; i++) assert.equal((await visit(world, version, session)).isResumed, true, what);
      };
      await assertResumed('by either worker');
      await upgrade(world.gateway, { isAllGone: true });
      await assertResumed('after an upgrade');

      const { workers } = world.gateway.pids();
      await world.gateway.stop('SIGKILL');
      await world.gateway.start(world.gatewayArgs);
      for (const pid of workers) kill(pid);
      await until('other workers', async () => {
        const states = await world.gateway.workerStates();
        return states.length === 2 && states.every((one) => one.is_serving && !workers.includes(one.pid));
      });
      await assertResumed('after the death of the keeper, and then of the workers');

      await world.gateway.stop();
      await world.gateway.start(world.gatewayArgs);
      assert.equal((await visit(world, version, session)).isResumed, false, 'after the end of all');
    });
});

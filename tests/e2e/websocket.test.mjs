// WebSocket, and any other protocol that connections are upgraded to, through the gate: with `ws` on both ends, over HTTP/1.1 and
// extended CONNECT, in clear text and in TLS, to backends of both versions.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { RawClient, ask } from './lib/http.mjs';
import { Pki } from './lib/pki.mjs';
import { freePort } from './lib/ports.mjs';
import { hasSanitizer, residentBytes } from './lib/process.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { domainOf, keyOf, teamFile, withCertificate } from './lib/team.mjs';
import { closeUpstreamsAfter, startRawUpstream } from './lib/upstream.mjs';
import { until, within } from './lib/wait.mjs';
import {
  closeWebSocketsAfter,
  connectHttp1,
  connectHttp2,
  connectSession,
  connectStream,
  startWebSockets,
} from './lib/websocket.mjs';
import { World } from './lib/world.mjs';

const MEGABYTE = 1 << 20;
const BIG = 40; // more than the kernel's buffers take
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');

suite('websocket', () => {
  closeUpstreamsAfter();
  closeWebSocketsAfter();
  let world, port, securePort, pki;
  const backends = {};

  const headersOf = (team, more = {}) => ({ host: domainOf(team), 'x-api-key': keyOf(team), ...more });

  // The four ways to the gate. Each connects to the team's path; `reuses` says that connections are kept.
  const ways = {
    'HTTP/1.1': (team, path, options) =>
      connectHttp1(`ws://127.0.0.1:${port}`, path, { ...options, headers: headersOf(team, options?.headers) }),
    'HTTP/1.1 in TLS': (team, path, options) =>
      connectHttp1(`wss://127.0.0.1:${securePort}`, path, {
        ...options,
        headers: headersOf(team, options?.headers),
        tls: { ca: pki.root.certificate, servername: domainOf(team) },
      }),
    'HTTP/2': async (team, path, options) =>
      connectHttp2(await connectSession(`http://127.0.0.1:${port}`), path, forHttp2(team, options)),
    'HTTP/2 in TLS': async (team, path, options) => {
      const tls = { ca: pki.root.certificate, servername: domainOf(team) };
      return connectHttp2(await connectSession(`https://127.0.0.1:${securePort}`, tls), path, forHttp2(team, options));
    },
  };

  function forHttp2(team, options) {
    const { host, ...headers } = headersOf(team, options?.headers);
    return { ...options, headers: { ':authority': host, ...headers } };
  }

  // A tunnel from end to end: what the client and the backend have of it.
  async function connect(way, team, path = '/chat', options) {
    const [client, server] = await Promise.all([ways[way](team, path, options), backends[team].next()]);
    return { client, server };
  }

  function eachWay(name, body) {
    for (const way of Object.keys(ways))
      for (const team of ['first', 'second'])
        test(`${name}: ${way} to ${team === 'first' ? 'HTTP/1.1' : 'HTTP/2'}`, () => body(way, team));
  }

  async function apply(team, backend, more = {}) {
    const protocol = backend === backends.second ? { protocol: 'http2' } : {};
    const endpoints = [{ host: '127.0.0.1', port: backend.port }];
    const service = (name, limits = {}) => ({ name, endpoints, ...protocol, ...limits });
    const leaf = pki.issue([domainOf(team)]);
    const { version = {}, ...file } = more;
    await world.api.apply(
      teamFile(team, backend.port, {
        backends: [
          service('service'),
          service('short', { tunnel_idle_timeout_ms: 400 }),
          service('old', { tunnel_total_ms: 400 }),
        ],
        ...withCertificate(team, leaf),
        version: {
          upgrades: ['websocket', 'made-up'],
          mapping_rules: [{ method: 'ANY', pattern: '/' }],
          backends: [
            { path: '/', backend: 'service' },
            { path: '/short', backend: 'short' },
            { path: '/old', backend: 'old' },
          ],
          ...version,
        },
        ...file,
      })
    );
  }

  before(async () => {
    pki = new Pki();
    backends.first = await startWebSockets();
    backends.second = await startWebSockets({ isHttp2: true });
    securePort = await freePort();
    world = await World.start({ workers: 2, gatewayArgs: ['--listen', `127.0.0.1:${securePort} tls`] });
    port = world.gateway.port;
    for (const team of ['first', 'second']) await apply(team, backends[team]);
  });

  // --- messages -----------------------------------------------------------------------------------------------------

  eachWay('messages of all kinds', async (way, team) => {
    const { client, server } = await connect(way, team, '/chat?a=1', { protocols: ['chat.v2', 'chat.v1'] });
    assert.equal(client.protocol, 'chat.v2');
    assert.equal(server.protocol, 'chat.v2');
    const seen = backends[team].requests.at(-1);
    assert.equal(seen.url, '/chat?a=1');
    assert.equal(seen.headers['x-api-key'], undefined);
    const bytes = randomBytes(70000);
    for (const [from, to] of [[client, server], [server, client]]) {
      from.send('grüße');
      assert.equal(await to.next(), 'grüße');
      from.send('');
      assert.equal(await to.next(), '');
      from.send(bytes);
      assert.equal(digest(await to.next()), digest(bytes));
      from.send('a', { fin: false });
      from.send('b', { fin: false });
      from.ping('between');
      from.send('c', { fin: true });
      const [[pong]] = await Promise.all([within('a pong', once(from, 'pong')), to.next().then((text) => assert.equal(text, 'abc'))]);
      assert.equal(pong.toString(), 'between');
    }
    client.close();
    await client.whenClosed();
  });

  eachWay('compression of messages is between the two ends', async (way, team) => {
    const { client, server } = await connect(way, team, '/chat', { perMessageDeflate: true });
    assert.match(client.extensions, /permessage-deflate/);
    assert.equal(server.extensions, client.extensions);
    const text = 'compressible '.repeat(20000);
    client.send(text);
    assert.equal(await server.next(), text);
    server.send(text);
    assert.equal(await client.next(), text);
    client.close();
    await server.whenClosed();
  });

  for (const [way, team] of [['HTTP/1.1', 'first'], ['HTTP/1.1 in TLS', 'first'], ['HTTP/2', 'second'], ['HTTP/2', 'first'], ['HTTP/1.1', 'second']]) {
    test(`${BIG} megabytes both ways at once, to readers that stop for a while: ${way} to ${team}`, async () => {
      const { client, server } = await connect(way, team);
      const block = randomBytes(MEGABYTE);
      const { workers } = world.gateway.pids();
      const residents = workers.map(residentBytes);
      client.pause();
      server.pause();
      for (let i = 0; i < BIG; i++) {
        client.send(block);
        server.send(block);
      }
      // the kernel's buffers are full on the whole way, and nothing moves any more
      let left;
      await until('both to be held up', () => {
        const now = [client.bufferedAmount, server.bufferedAmount, ...workers.map(residentBytes)].join();
        const isSame = now === left;
        left = now;
        return isSame && client.bufferedAmount > MEGABYTE && server.bufferedAmount > MEGABYTE;
      });
      const growth = Math.max(...workers.map((pid, i) => residentBytes(pid) - residents[i]));
      assert.ok(hasSanitizer() || growth < 8 * MEGABYTE, `a worker grew by ${growth} bytes`);
      client.resume();
      server.resume();
      for (let i = 0; i < BIG; i++) {
        assert.equal(digest(await client.next()), digest(block));
        assert.equal(digest(await server.next()), digest(block));
      }
      client.close();
      await server.whenClosed();
    });
  }

  // --- ends ---------------------------------------------------------------------------------------------------------

  eachWay('close codes and reasons arrive', async (way, team) => {
    for (const [closes, other, code] of [['client', 'server', 4001], ['server', 'client', 3007]]) {
      const ends = await connect(way, team);
      ends[closes].close(code, 'because');
      assert.deepEqual(await ends[other].whenClosed(), { code, reason: 'because' });
      assert.deepEqual(await ends[closes].whenClosed(), { code, reason: 'because' });
    }
  });

  eachWay('an end that breaks off reaches the other', async (way, team) => {
    for (const [breaks, other] of [['client', 'server'], ['server', 'client']]) {
      const ends = await connect(way, team);
      ends[breaks].send('last');
      assert.equal(await ends[other].next(), 'last');
      ends[breaks].terminate();
      assert.equal((await ends[other].whenClosed()).code, 1006);
    }
    await until('the tunnels to be gone', async () => (await world.gateway.metric('daemun_tunnels', { tenant: team })) === 0);
  });

  eachWay('silence ends it with a word to both', async (way, team) => {
    const { client, server } = await connect(way, team, '/short');
    const ends = await Promise.all([client.whenClosed(), server.whenClosed()]);
    assert.deepEqual(ends, [{ code: 1001, reason: 'tunnel_idle' }, { code: 1001, reason: 'tunnel_idle' }]);
  });

  eachWay('its longest life ends it with a word to both', async (way, team) => {
    const { client, server } = await connect(way, team, '/old');
    client.on('message', () => client.readyState === 1 && client.send('again'));
    server.on('message', () => server.readyState === 1 && server.send('again'));
    client.send('again');
    const ends = await Promise.all([client.whenClosed(), server.whenClosed()]);
    assert.deepEqual(ends, [{ code: 1001, reason: 'tunnel_expired' }, { code: 1001, reason: 'tunnel_expired' }]);
  });

  // --- who may ------------------------------------------------------------------------------------------------------

  eachWay('a backend that refuses has answered', async (way, team) => {
    for (const status of [401, 403, 404, 426]) {
      const refused = await ways[way](team, `/refuse/${status}`).catch((error) => error);
      assert.equal(refused.status, status);
      assert.equal(refused.headers['x-why'], 'backend');
      assert.equal(refused.headers['daemun-reason'], undefined);
      assert.equal(refused.text, 'no');
    }
  });

  test('a 200 is an answer of HTTP/1.1, and can be none of extended CONNECT, where it would open the tunnel', async () => {
    const answered = await ways['HTTP/1.1']('first', '/refuse/200').catch((error) => error);
    assert.equal(answered.status, 200);
    assert.equal(answered.text, 'no');
    const refused = await ways['HTTP/2']('first', '/refuse/200').catch((error) => error);
    assert.equal(refused.status, 502);
    assert.equal(refused.headers['daemun-reason'], 'backend_bad_response');
  });

  test('a key that a caller of HTTP/2 sends is none', async () => {
    const { client, server } = await connect('HTTP/2', 'first', '/own-key', { headers: { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' } });
    const key = backends.first.requests.at(-1).headers['sec-websocket-key'];
    assert.match(key, /^[A-Za-z0-9+/]{22}==$/);
    assert.notEqual(key, 'dGhlIHNhbXBsZSBub25jZQ==');
    client.send('hello');
    assert.equal(await server.next(), 'hello');
    client.close();
  });

  test('keys, rules and limits hold at the upgrade, and the backend hears nothing of it', async () => {
    const backend = await startWebSockets();
    backends.third = backend;
    await apply('third', backend, {
      version: {
        mapping_rules: [
          { method: 'GET', pattern: '/chat' },
          { method: 'GET', pattern: '/refuse' },
        ],
      },
      plan: { limits: [{ metric: 'hits', period: 'hour', value: 2 }] },
    });
    for (const way of Object.keys(ways)) {
      const without = await ways[way]('third', '/chat', { headers: { 'x-api-key': '' } }).catch((error) => error);
      assert.deepEqual([without.status, without.headers['daemun-reason']], [401, 'auth_missing'], way);
      const wrong = await ways[way]('third', '/chat', { headers: { 'x-api-key': keyOf('first') } }).catch((error) => error);
      assert.deepEqual([wrong.status, wrong.headers['daemun-reason']], [403, 'auth_invalid'], way);
      const unknown = await ways[way]('third', '/elsewhere').catch((error) => error);
      assert.deepEqual([unknown.status, unknown.headers['daemun-reason']], [404, 'no_mapping_rule'], way);
    }
    assert.equal(backend.requests.length, 0);
    for (const way of ['HTTP/1.1', 'HTTP/2']) {
      const { client, server } = await connect(way, 'third');
      client.close();
      await server.whenClosed();
    }
    for (const way of Object.keys(ways)) {
      const over = await ways[way]('third', '/chat').catch((error) => error);
      assert.deepEqual([over.status, over.headers['daemun-reason']], [429, 'limit_exceeded'], way);
    }
    assert.equal(backend.requests.length, 2);
  });

  test('a version that does not name the protocol refuses it', async () => {
    const backend = await startWebSockets();
    backends.fourth = backend;
    await apply('fourth', backend, { version: { upgrades: ['made-up'] } });
    for (const way of Object.keys(ways)) {
      const refused = await ways[way]('fourth', '/chat').catch((error) => error);
      assert.deepEqual([refused.status, refused.headers['daemun-reason']], [403, 'upgrade_not_allowed'], way);
    }
    assert.equal(backend.requests.length, 0);
    assert.equal((await ask(port, { host: domainOf('fourth'), key: keyOf('fourth') })).status, 200);
  });

  // --- other protocols ----------------------------------------------------------------------------------------------

  // A backend that agrees to a protocol that nobody knows, and hands out the socket.
  async function startMadeUp(team) {
    const arrived = [];
    const upstream = await startRawUpstream((socket) => {
      let head = '';
      socket.on('data', function read(data) {
        head += data.toString('latin1');
        if (!head.includes('\r\n\r\n')) return;
        socket.off('data', read);
        socket.head = head;
        socket.parts = [];
        socket.on('data', (part) => socket.parts.push(part));
        socket.on('end', () => (socket.hasEnd = true));
        const [, protocol] = /\r\nUpgrade: (.*)\r\n/.exec(head);
        socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`);
        arrived.push(socket);
      });
    });
    backends[team] = upstream;
    await apply(team, upstream);
    return { next: () => until('the backend to be asked', () => arrived.shift()) };
  }

  test('any protocol goes through as bytes, and each side ends its own direction', async () => {
    const backend = await startMadeUp('raw');
    const bytes = randomBytes(3 * MEGABYTE);
    const client = await RawClient.open(port, { allowHalfOpen: true });
    const fields = [`Host: ${domainOf('raw')}`, `X-API-Key: ${keyOf('raw')}`, 'Connection: upgrade', 'Upgrade: made-up/3'];
    client.socket.write(`GET /x HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`);
    const server = await backend.next();
    assert.match(server.head, /\r\nUpgrade: made-up\/3\r\n/);
    await client.receives('the answer', (text) => text.startsWith('HTTP/1.1 101 ') && text.endsWith('\r\n\r\n'));
    client.received = Buffer.alloc(0);
    client.socket.end(bytes);
    await until('all of it, and the end', () => server.hasEnd && Buffer.concat(server.parts).length === bytes.length);
    assert.equal(digest(Buffer.concat(server.parts)), digest(bytes));
    server.write('GET / HTTP/1.1\r\n\r\n');
    await client.receives('what looks like a request', (text) => text === 'GET / HTTP/1.1\r\n\r\n');
    client.received = Buffer.alloc(0);
    server.end(bytes);
    await client.whenClosed();
    assert.equal(client.error, undefined);
    assert.equal(digest(client.received), digest(bytes));
  });

  test('the same from a stream of HTTP/2', async () => {
    const backend = await startMadeUp('rawtwo');
    const bytes = randomBytes(3 * MEGABYTE);
    const session = await connectSession(`http://127.0.0.1:${port}`);
    const fields = { ':protocol': 'made-up', ':path': '/x', ':authority': domainOf('rawtwo'), 'x-api-key': keyOf('rawtwo') };
    const [{ stream }, server] = await Promise.all([connectStream(session, fields), backend.next()]);
    const parts = [];
    stream.on('data', (part) => parts.push(part));
    stream.end(bytes);
    await until('all of it, and the end', () => server.hasEnd && Buffer.concat(server.parts).length === bytes.length);
    assert.equal(digest(Buffer.concat(server.parts)), digest(bytes));
    server.end(bytes);
    await within('the end of the stream', once(stream, 'close'));
    assert.equal(stream.rstCode, 0);
    assert.equal(digest(Buffer.concat(parts)), digest(bytes));
    assert.equal(session.closed || session.destroyed, false);
  });

  test('a reset of either side is one of the other', async () => {
    const backend = await startMadeUp('rawbreak');
    const request = [`Host: ${domainOf('rawbreak')}`, `X-API-Key: ${keyOf('rawbreak')}`, 'Connection: upgrade', 'Upgrade: made-up/3'];
    for (const who of ['client', 'server']) {
      const client = net.connect(port, '127.0.0.1');
      client.on('error', () => {});
      client.write(`GET /x HTTP/1.1\r\n${request.join('\r\n')}\r\n\r\n`);
      await within('the answer', once(client, 'data'));
      client.resume();
      const server = await backend.next();
      const ends = { client, server };
      const other = ends[who === 'client' ? 'server' : 'client'];
      const failed = within('the reset', once(other, 'error'));
      ends[who].resetAndDestroy();
      assert.equal((await failed)[0].code, 'ECONNRESET', who);
    }
  });

  // Node's client ends a stream before it resets it, and its server hears nothing behind an end.
  test('a reset of the backend is one of the stream of HTTP/2, and a session that is gone one of the backend', async () => {
    const backend = await startMadeUp('rawbreaktwo');
    const session = await connectSession(`http://127.0.0.1:${port}`);
    const authority = domainOf('rawbreaktwo');
    const fields = { ':protocol': 'made-up', ':path': '/x', ':authority': authority, 'x-api-key': keyOf('rawbreaktwo') };
    const connect = () => Promise.all([connectStream(session, fields), backend.next()]);
    const [{ stream }, server] = await connect();
    const closed = within('the end of the stream', once(stream, 'close'));
    server.resetAndDestroy();
    await closed;
    assert.equal(stream.rstCode, http2.constants.NGHTTP2_CANCEL, 'RFC 8441, 5');
    const [, other] = await connect();
    const failed = within('the reset', once(other, 'error'));
    session.destroy();
    assert.equal((await failed)[0].code, 'ECONNRESET');
  });

  // --- what operators see -------------------------------------------------------------------------------------------

  test('the log has a line when it ends, and the metrics count it', async () => {
    const before = await world.gateway.metric('daemun_tunnels_total', { tenant: 'first' });
    const { client, server } = await connect('HTTP/2', 'first', '/logged');
    assert.equal(await world.gateway.metric('daemun_tunnels', { tenant: 'first' }), 1);
    assert.equal(await world.gateway.metric('daemun_tunnels_total', { tenant: 'first' }), before + 1);
    client.send(Buffer.alloc(100000));
    server.send(Buffer.alloc(200000));
    await Promise.all([client.next(), server.next()]);
    client.close();
    await server.whenClosed();
    const line = await until('its line', () => world.gateway.accessLog().find((one) => one.path === '/logged'));
    assert.equal(line.protocol, 'websocket');
    assert.equal(line.status, 101);
    assert.equal(line.reason, undefined);
    assert.equal(line.application, 'app');
    assert.ok(line.bytes_in > 100000 && line.bytes_in < 110000, JSON.stringify(line));
    assert.ok(line.bytes_out > 200000 && line.bytes_out < 210000, JSON.stringify(line));
    assert.ok(line.duration_us > 0);
    const idle = await until('a line of one that was silent', () => world.gateway.accessLog().find((one) => one.path === '/short'));
    assert.equal(idle.reason, 'tunnel_idle');
    assert.ok((await world.gateway.metric('daemun_refusals_total', { tenant: 'first', reason: 'tunnel_idle' })) >= 4);
  });

  test('idle ones cost little memory', { skip: hasSanitizer() }, async () => {
    const COUNT = 1500;
    const total = () => world.gateway.pids().workers.reduce((sum, pid) => sum + residentBytes(pid), 0);
    const { client, server } = await connect('HTTP/1.1', 'first');
    const bytesBefore = total();
    const all = [{ client, server }];
    for (let i = 0; i < COUNT; i += 50)
      all.push(...(await Promise.all(Array.from({ length: 50 }, () => connect('HTTP/1.1', 'first')))));
    const each = (total() - bytesBefore) / COUNT;
    console.log(`an idle tunnel: ${Math.round(each)} bytes of resident memory`);
    assert.ok(each < 8000, `${each} bytes each`);
    for (const one of all) one.client.terminate();
    await until('the tunnels to be gone', async () => (await world.gateway.metric('daemun_tunnels', { tenant: 'first' })) === 0);
  });

  // Last: nobody serves behind it.
  test('a gateway that stops lets them live to the bound, and then says goodbye', async () => {
    await world.gateway.stop();
    await world.gateway.start(['--listen', `127.0.0.1:${securePort} tls`, '--drain-ms=4000']);
    const tunnels = [];
    for (const way of Object.keys(ways))
      for (const team of ['first', 'second']) tunnels.push(await connect(way, team));
    const stopped = world.gateway.stop('SIGTERM');
    await until('the workers to drain', async () => {
      const socket = net.connect(port, '127.0.0.1');
      const isRefused = await new Promise((resolve) => {
        socket.on('connect', () => resolve(false));
        socket.on('error', () => resolve(true));
      });
      socket.destroy();
      return isRefused;
    });
    for (const { client, server } of tunnels) {
      client.send('still');
      assert.equal(await server.next(), 'still');
    }
    for (const { client, server } of tunnels) {
      assert.deepEqual(await client.whenClosed(), { code: 1001, reason: 'draining' });
      assert.deepEqual(await server.whenClosed(), { code: 1001, reason: 'draining' });
    }
    await stopped;
  });
});

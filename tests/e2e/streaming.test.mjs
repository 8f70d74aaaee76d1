// Responses that go on: server-sent events and long polls, over HTTP/1.1 and HTTP/2, in clear text and in TLS, from backends that frame
// them in each way there is. What comes goes out at once, and who goes away is told to the other side.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import zlib from 'node:zlib';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { RawClient, ask } from './lib/http.mjs';
import { Pki } from './lib/pki.mjs';
import { freePort } from './lib/ports.mjs';
import { after, before, suite, test } from './lib/testing.mjs';
import { domainOf, headOf, keyOf, teamFile, withCertificate } from './lib/team.mjs';
import { closeUpstreamsAfter, startRawUpstream, startUpstream } from './lib/upstream.mjs';
import { deferred, until, within } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const EVENTS = 20;
const event = (n) => `id: ${n}\ndata: ${'x'.repeat(n)}\n\n`;

suite('streaming', () => {
  closeUpstreamsAfter();
  let world, port, securePort, pki;
  const sources = {}; // by team: {next(): a stream that a request opened}
  const closers = [];

  // --- backends: each hands out {write, end, whenGone} for each request it gets -------------------------------------

  function queue() {
    const waiting = [];
    const arrived = [];
    return {
      put: (one) => (waiting.length ? waiting.shift()(one) : arrived.push(one)),
      next: () => within('a request', new Promise((resolve) => (arrived.length ? resolve(arrived.shift()) : waiting.push(resolve)))),
    };
  }

  function source(stream, begin) {
    const gone = deferred();
    stream.on('close', gone.resolve);
    stream.on('error', () => {});
    return { begin, write: (text) => stream.write(text), end: () => stream.end(), destroy: () => (stream.socket ?? stream).destroy(), whenGone: () => within('the end', gone.promise) };
  }

  const FIELDS = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' };

  async function startChunked() {
    const { put, next } = queue();
    const upstream = await startUpstream({
      isStreaming: true,
      respond: (request, response) => put(source(response, () => response.writeHead(200, FIELDS).flushHeaders())),
    });
    return { port: upstream.port, next };
  }

  async function startCloseFramed() {
    const { put, next } = queue();
    const upstream = await startRawUpstream((socket) => {
      let head = '';
      socket.on('data', (data) => {
        head += data.toString('latin1');
        if (head.endsWith('\r\n\r\n'))
          put(source(socket, () => socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n')));
      });
      socket.on('end', () => socket.destroy());
    });
    return { port: upstream.port, next };
  }

  async function startHttp2() {
    const { put, next } = queue();
    const server = http2.createServer();
    const sessions = new Set();
    server.on('session', (session) => sessions.add(session));
    server.on('stream', (stream) => put(source(stream, () => stream.respond({ ':status': 200, ...FIELDS }))));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closers.push(() => {
      for (const session of sessions) session.destroy();
      server.close();
    });
    return { port: server.address().port, next, isHttp2: true };
  }

  // --- clients: {text, close, whenClosed}; text grows, isCut says that the end was none -----------------------------

  function reader(stream, close) {
    const seen = { text: '', isEnded: false, isCut: false, close };
    stream.setEncoding('utf8');
    stream.on('data', (text) => (seen.text += text));
    stream.on('end', () => (seen.isEnded = true));
    stream.on('error', () => (seen.isCut = true));
    stream.on('aborted', () => (seen.isCut = true));
    return seen;
  }

  const headersOf = (team) => ({ 'x-api-key': keyOf(team), accept: 'text/event-stream' });

  async function getHttp1(client, team, path, options) {
    const request = client.request({ host: '127.0.0.1', path, headers: { host: domainOf(team), ...headersOf(team) }, agent: false, ...options });
    request.on('error', () => {});
    request.end();
    return {
      close: () => request.destroy(),
      answer: once(request, 'response').then(([response]) => reader(response, () => request.destroy())),
    };
  }

  async function getHttp2(origin, team, path, options) {
    const session = http2.connect(origin, options);
    session.on('error', () => {});
    closers.push(() => session.destroy());
    const stream = session.request({ ':path': path, ':authority': domainOf(team), ...headersOf(team) });
    stream.on('error', () => {});
    const close = () => session.destroy();
    return {
      close,
      reset: () => stream.close(http2.constants.NGHTTP2_CANCEL),
      answer: once(stream, 'response').then(() => reader(stream, close)),
    };
  }

  const ways = {
    'HTTP/1.1': (team, path) => getHttp1(http, team, path, { port }),
    'HTTP/1.1 in TLS': (team, path) =>
      getHttp1(https, team, path, { port: securePort, servername: domainOf(team), ca: pki.root.certificate }),
    'HTTP/2': (team, path) => getHttp2(`http://127.0.0.1:${port}`, team, path),
    'HTTP/2 in TLS': (team, path) =>
      getHttp2(`https://127.0.0.1:${securePort}`, team, path, { servername: domainOf(team), ca: pki.root.certificate }),
  };

  function eachWay(name, teams, body) {
    for (const way of Object.keys(ways)) for (const team of teams) test(`${name}: ${way}, ${team}`, () => body(way, team));
  }

  // A stream that has begun.
  async function open(way, team, path = '/events') {
    const request = await ways[way](team, path);
    const server = await sources[team].next();
    server.begin();
    const client = await within('an answer', request.answer);
    return { client, server, request };
  }

  async function apply(team, backend, options = {}) {
    const leaf = pki.issue([domainOf(team)]);
    sources[team] = backend;
    await world.api.apply(
      teamFile(team, backend.port, {
        ...withCertificate(team, leaf),
        ...options,
        backend: { ...(backend.isHttp2 ? { protocol: 'http2' } : {}), ...options.backend },
      })
    );
  }

  before(async () => {
    pki = new Pki();
    securePort = await freePort();
    const args = ['--listen', `127.0.0.1:${securePort} tls`, '--half-closed-timeout-ms=1000'];
    world = await World.start({ workers: 2, gatewayArgs: args });
    port = world.gateway.port;
    await apply('chunked', await startChunked());
    await apply('closing', await startCloseFramed());
    await apply('second', await startHttp2());
    await apply('short', await startChunked(), { backend: { idle_timeout_ms: 1000 } });
    await apply('shorttwo', await startHttp2(), { backend: { idle_timeout_ms: 1000 } });
  });

  after(() => closers.forEach((close) => close()));

  eachWay('each event comes before the next is sent', ['chunked', 'closing', 'second'], async (way, team) => {
    const { client, server } = await open(way, team);
    let sent = '';
    for (let n = 0; n < EVENTS; n++) {
      server.write(event(n));
      sent += event(n);
      await until(`event ${n}`, () => client.text === sent);
      assert.equal(client.isEnded, false);
    }
    server.end();
    await until('the end', () => client.isEnded);
    assert.equal(client.isCut, false);
    assert.equal(client.text, sent);
  });

  test('events are not held back by compression', async () => {
    const policies = [
      { type: 'api_key', in: ['header'], header: 'X-API-Key' },
      { type: 'compression', algorithms: ['gzip'], content_types: ['text/event-stream'], min_bytes: 0, with_credentials: true },
    ];
    await apply('packed', await startChunked(), { policies });
    const request = http.request({ host: '127.0.0.1', port, path: '/', agent: false, headers: { host: domainOf('packed'), ...headersOf('packed'), 'accept-encoding': 'gzip' } });
    request.end();
    const server = await sources.packed.next();
    server.begin();
    server.write(event(0));
    const [response] = await within('an answer', once(request, 'response'));
    assert.equal(response.headers['content-encoding'], 'gzip');
    const client = reader(response.pipe(zlib.createGunzip({ flush: zlib.constants.Z_SYNC_FLUSH })), () => request.destroy());
    for (let n = 1; n < EVENTS; n++) {
      await until(`event ${n - 1}`, () => client.text.endsWith(event(n - 1)));
      server.write(event(n));
    }
    client.close();
    await server.whenGone();
  });

  // --- who goes away ------------------------------------------------------------------------------------------------

  eachWay('a client that goes away ends a silent stream at the backend', ['chunked', 'closing', 'second'], async (way, team) => {
    const { client, server } = await open(way, team, `/gone/${way.replaceAll(' ', '-')}`);
    server.write(event(1));
    await until('an event', () => client.text === event(1));
    client.close();
    await server.whenGone();
    const line = await until('its line', () => world.gateway.accessLog().find((one) => one.path === `/gone/${way.replaceAll(' ', '-')}` && one.tenant === team));
    assert.equal(line.reason, 'client_closed');
  });

  eachWay('a client that goes away before the answer ends a long poll', ['chunked', 'second'], async (way, team) => {
    const request = await ways[way](team, '/poll');
    request.answer.catch(() => {});
    const server = await sources[team].next();
    request.close();
    await server.whenGone();
  });

  for (const team of ['chunked', 'second'])
    test(`a stream of HTTP/2 that is reset ends the backend’s, and no other: ${team}`, async () => {
      const one = await open('HTTP/2', team);
      const other = await open('HTTP/2', team);
      one.request.reset();
      await one.server.whenGone();
      other.server.write(event(3));
      await until('an event', () => other.client.text === event(3));
      other.client.close();
      await other.server.whenGone();
    });

  test('a backend that goes away cuts the stream off', async () => {
    for (const way of Object.keys(ways))
      for (const team of ['chunked', 'second']) {
        const request = await ways[way](team, '/cut');
        const server = await sources[team].next();
        server.begin();
        const client = await within('an answer', request.answer);
        server.write(event(1));
        await until('an event', () => client.text === event(1));
        server.destroy();
        await until(`the cut: ${way}, ${team}`, () => client.isCut);
        assert.equal(client.isEnded, false);
      }
  });

  // A client may end its side behind its request, as nc and some health checkers do.
  test('a client that has only ended its side gets the rest', async () => {
    for (const team of ['chunked', 'closing', 'second']) {
      const client = await RawClient.open(port, { allowHalfOpen: true });
      client.socket.end(headOf(team, { target: '/half' }));
      const server = await sources[team].next();
      server.begin();
      for (let n = 1; n < EVENTS; n++) {
        server.write(event(n));
        await client.receives(`event ${n}`, (text) => text.includes(event(n)));
      }
      server.end();
      const text = await client.whenClosed();
      assert.equal(client.error, undefined);
      assert.match(text, team === 'closing' ? /x\n\n\r\n0\r\n\r\n$/ : /\r\n0\r\n\r\n$/);
    }
  });

  // --- time ---------------------------------------------------------------------------------------------------------

  eachWay('a stream lives as long as the backend is not silent for too long', ['short', 'shorttwo'], async (way, team) => {
    const { client, server } = await open(way, team, '/silent');
    for (let n = 1; n < EVENTS; n++) {
      server.write(event(n));
      await until(`event ${n}`, () => client.text.endsWith(event(n)));
    }
    await until('the cut', () => client.isCut);
    assert.equal(client.isEnded, false);
    await server.whenGone();
    const line = await until('its line', () => world.gateway.accessLog().find((one) => one.path === '/silent' && one.tenant === team));
    assert.equal(line.reason, 'backend_closed');
  });

  eachWay('a long poll is answered when there is something to say', ['chunked', 'second'], async (way, team) => {
    const polls = await Promise.all(Array.from({ length: 10 }, () => ways[way](team, '/poll')));
    const servers = await Promise.all(polls.map(() => sources[team].next()));
    assert.equal((await ask(port, { host: domainOf(team), path: '/', key: 'wrong' })).status, 403); // others are served
    for (const server of servers) {
      server.begin();
      server.write('news');
      server.end();
    }
    for (const poll of polls) {
      const client = await within('an answer', poll.answer);
      await until('the end', () => client.isEnded);
      assert.equal(client.text, 'news');
    }
  });
});

// What one team may hold of a gateway and take with one request or connection, by its caps; and clients that are slow. Below, beyond,
// and what another team notices of it: nothing.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import tls from 'node:tls';
import { RawClient, ask } from './lib/http.mjs';
import { Pki } from './lib/pki.mjs';
import { Polite } from './lib/polite.mjs';
import { freePort, lookup } from './lib/ports.mjs';
import { after, before, suite, test } from './lib/testing.mjs';
import { domainOf, fieldsOf, headOf, keyOf, LIVE, teamFile, withCertificate } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until, within } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const LARGE = 64 << 20;

const get = (name, target = '/') => headOf(name, { target });
const post = (name, fields) => headOf(name, { method: 'POST', fields });

// A backend that answers when it is told to, and sends LARGE bytes for /large.
async function startPatientUpstream() {
  const held = [];
  const upstream = await startUpstream({
    respond(request, response, seen) {
      if (seen.path === '/held') held.push(response);
      else if (seen.path === '/large') response.end(Buffer.alloc(LARGE));
      else response.end('ok');
    },
  });
  upstream.held = held;
  upstream.release = () => held.splice(0).forEach((response) => response.end('ok'));
  return upstream;
}

// Each of its answers must be 200.
const polite = (port, name) =>
  new Polite(async () => assert.equal((await ask(port, { host: domainOf(name), key: keyOf(name) })).status, 200));

class Http2 {
  static open(origin, options) {
    return new Http2(http2.connect(origin, options)).opened;
  }

  constructor(session) {
    this.session = session;
    this.isClosed = false;
    session.on('error', (error) => (this.error = error));
    session.on('close', () => (this.isClosed = true));
    this.opened = once(session, 'remoteSettings').then(() => this);
  }

  // {status, reason, text, code}; code of a reset, when there was one.
  async ask(headers, body) {
    const stream = this.session.request(headers, { endStream: body === undefined });
    const answer = { text: '' };
    stream.on('response', (got) => {
      answer.status = got[':status'];
      answer.reason = got['daemun-reason'];
    });
    stream.on('data', (data) => (answer.text += data));
    stream.on('error', () => {});
    if (body !== undefined) stream.end(body);
    await within('the end of a stream', new Promise((resolve) => stream.on('close', resolve)));
    answer.code = stream.rstCode;
    return answer;
  }

  close() {
    this.session.destroy();
  }
}

suite('limits', () => {
  closeUpstreamsAfter();
  let world, upstream, port, tlsPort, slowPort, pki;
  const open = [];

  const keep = (one) => {
    open.push(one);
    return one;
  };
  const closeAll = () => open.splice(0).forEach((one) => one.close());
  const metric = (name, labels) => world.gateway.metric(name, labels);
  const refusedOf = (cap) => metric('daemun_tenant_refused_total', { tenant: 'capped', cap });

  // Returns once they are live on every worker, and nothing of the test before is left.
  async function cap(caps) {
    closeAll();
    upstream.release();
    await until('the connections of the test before to be gone', async () => {
      return (await metric('daemun_tenant_connections', { tenant: 'capped' })) === 0;
    });
    const all = Object.fromEntries(Object.keys(defaults).map((name) => [name, 0]));
    const answer = await world.api.patch(`/tenants/capped${LIVE}`, { caps: { ...all, ...caps } });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.body.live.gateways, 1, answer.text);
  }
  let defaults;

  const connect = async (to = port) => keep(await RawClient.open(to));

  async function asks(client, text) {
    await client.send(text);
    return client.response();
  }

  async function othersAreServed() {
    const answer = await ask(port, { host: domainOf('free'), key: keyOf('free') });
    assert.equal(answer.status, 200, answer.text);
  }

  before(async () => {
    upstream = await startPatientUpstream();
    [tlsPort, slowPort] = [await freePort(), await freePort()];
    world = await World.start({
      workers: 2,
      gatewayArgs: [
        `--listen=127.0.0.1:${tlsPort} tls`,
        `--listen=127.0.0.1:${slowPort} head-timeout-ms=400 body-timeout-ms=400 idle-timeout-ms=400`,
      ],
    });
    port = world.gateway.port;
    pki = new Pki();
    for (const name of ['capped', 'free']) {
      const leaf = pki.issue([domainOf(name)]);
      await world.api.apply(teamFile(name, upstream.port, withCertificate(name, leaf)));
    }
    defaults = (await world.api.must('GET', '/tenants/capped')).caps;
  });

  after(closeAll);

  // --- what is held -------------------------------------------------------------------------------------------------

  test('connections, over all workers: refused with a reason and closed, and others are served', async () => {
    await cap({ connections: 3 });
    const clients = [await connect(), await connect(), await connect()];
    for (const client of clients) assert.equal((await asks(client, get('capped'))).status, 200);
    assert.equal(await metric('daemun_tenant_connections', { tenant: 'capped' }), 3);
    const answer = await asks(await connect(), get('capped'));
    assert.equal(answer.status, 503);
    assert.equal(answer.reason, 'too_many_connections');
    assert.equal(answer.headers.connection, 'close');
    assert.equal(answer.headers['retry-after'], '1');
    assert.equal(await open.at(-1).whenClosed(), '');
    assert.equal(await refusedOf('connections'), 1);
    assert.equal(await metric('daemun_refusals_total', { tenant: 'capped', reason: 'too_many_connections' }), 1);
    await othersAreServed();
    assert.equal((await asks(clients[0], get('capped'))).status, 200, 'those that there are stay');
    clients[1].close();
    await until('room for another', async () => (await asks(await connect(), get('capped'))).status === 200);
  });

  test('connections of TLS are refused in the handshake', async () => {
    await cap({ connections: 1 });
    const options = (name) => ({ host: '127.0.0.1', port: tlsPort, servername: domainOf(name), ca: pki.root.certificate });
    const first = keep(tls.connect(options('capped')));
    first.close = () => first.destroy();
    await once(first, 'secureConnect');
    const before = await refusedOf('connections');
    const second = tls.connect(options('capped'));
    const [error] = await once(second, 'error');
    assert.match(error.message, /alert internal error/);
    assert.equal(await refusedOf('connections'), before + 1);
    assert.equal(await metric('daemun_worker_tls_failures_total', { reason: 'refused' }), 1);
    const other = tls.connect(options('free'));
    await once(other, 'secureConnect');
    other.destroy();
    first.destroy();
    await until('room for another', async () => {
      const again = tls.connect(options('capped'));
      const outcome = await Promise.race([once(again, 'secureConnect').then(() => 'in'), once(again, 'error')]);
      again.destroy();
      return outcome === 'in';
    });
  });

  test('connections of HTTP/2 are told goodbye', async () => {
    await cap({ connections: 1 });
    assert.equal((await asks(await connect(), get('capped'))).status, 200);
    const client = keep(await Http2.open(`http://127.0.0.1:${port}`));
    const answer = await client.ask(fieldsOf('capped'));
    assert.equal(answer.status, 503);
    assert.equal(answer.reason, 'too_many_connections');
    await until('the end of the connection', () => client.isClosed);
  });

  test('requests in flight, over all workers', async () => {
    await cap({ exchanges: 2 });
    const held = [await connect(), await connect()];
    for (const client of held) await client.send(get('capped', '/held'));
    await until('two requests at the backend', () => upstream.held.length === 2);
    assert.equal(await metric('daemun_requests_in_flight', { tenant: 'capped' }), 2);
    const client = await connect();
    const answer = await asks(client, get('capped'));
    assert.equal(answer.status, 503);
    assert.equal(answer.reason, 'tenant_over_cap');
    assert.equal(answer.headers['retry-after'], '1');
    assert.equal(await refusedOf('exchanges'), 1);
    await othersAreServed();
    upstream.release();
    for (const one of held) assert.equal((await one.response()).status, 200);
    assert.equal((await asks(client, get('capped'))).status, 200, 'on the same connection');
  });

  test('buffers, over all workers: a caller that does not read stops what begins, and its end lets it go on', async () => {
    await cap({ buffered_bytes: 1 });
    const buffered = () => metric('daemun_tenant_buffered_bytes', { tenant: 'capped' });
    const slow = await connect();
    slow.socket.pause();
    await slow.send(get('capped', '/large'));
    await until('something to be held', async () => (await buffered()) > 0);
    const answer = await asks(await connect(), get('capped'));
    assert.equal(answer.status, 503);
    assert.equal(answer.reason, 'tenant_over_cap');
    assert.equal(await refusedOf('buffered_bytes'), 1);
    await othersAreServed();
    slow.close();
    await until('nothing to be held', async () => (await buffered()) === 0);
    assert.equal((await asks(await connect(), get('capped'))).status, 200);
  });

  test('connections to backends', async () => {
    await cap({ upstream_connections: 1 });
    const upstreamConnections = () => metric('daemun_tenant_upstream_connections', { tenant: 'capped' });
    await until('what was kept before to be given up', async () => (await upstreamConnections()) === 0);
    const holder = await connect();
    await holder.send(get('capped', '/held'));
    await until('a request at the backend', () => upstream.held.length === 1);
    assert.equal(await upstreamConnections(), 1);
    const client = await connect();
    const answer = await asks(client, get('capped'));
    assert.equal(answer.status, 503);
    assert.equal(answer.reason, 'tenant_over_cap');
    assert.equal(await refusedOf('upstream_connections'), 1);
    await othersAreServed();
    upstream.release();
    assert.equal((await holder.response()).status, 200);
    for (let i = 0; i < 20; i++)
      assert.equal((await asks(await connect(), get('capped'))).status, 200, 'one after the other, on whatever worker');
  });

  test('streams of a connection: clients are told, and what comes above is refused', async () => {
    await cap({ streams: 2 });
    const client = keep(await Http2.open(`http://127.0.0.1:${port}`));
    const answers = Array.from({ length: 4 }, () => client.ask(fieldsOf('capped', 'GET', '/held')));
    await until('two requests at the backend', () => upstream.held.length === 2);
    await until('the refusals', async () => (await refusedOf('streams')) === 2);
    upstream.release();
    const codes = (await Promise.all(answers)).map((answer) => answer.status ?? answer.code);
    assert.deepEqual(codes.sort(), [200, 200, 7, 7]);
    assert.equal(client.session.remoteSettings.maxConcurrentStreams, 2);
    assert.equal(await metric('daemun_refusals_total', { tenant: 'capped', reason: 'too_many_streams' }), 2);
    assert.equal((await client.ask(fieldsOf('capped'))).status, 200);
    const secure = keep(
      await Http2.open(`https://${domainOf('capped')}:${tlsPort}`, {
        ca: pki.root.certificate,
        lookup,
      })
    );
    assert.equal(secure.session.remoteSettings.maxConcurrentStreams, 2, 'from the start, where the name is known');
    const free = keep(await Http2.open(`http://127.0.0.1:${port}`));
    assert.equal((await free.ask(fieldsOf('free'))).status, 200);
    assert.equal(free.session.remoteSettings.maxConcurrentStreams, 128);
  });

  // --- what a request may take --------------------------------------------------------------------------------------

  const heads = [
    ['header_bytes', 350, { 'x-long': 'x'.repeat(300) }, '/', 431, 'header_too_large'],
    ['headers', 8, Object.fromEntries([1, 2, 3, 4, 5, 6, 7].map((i) => [`x-${i}`, 'x'])), '/', 431, 'header_too_large'],
    ['url_bytes', 100, {}, `/${'x'.repeat(100)}`, 414, 'uri_too_long'],
  ];
  for (const [name, value, headers, path, status, reason] of heads)
    test(`${name} of a head, over both versions`, async () => {
      await cap({ [name]: value });
      const team = (one) => ({ host: domainOf(one), key: keyOf(one) });
      const client = keep(await Http2.open(`http://127.0.0.1:${port}`));
      assert.equal((await ask(port, team('capped'))).status, 200);
      assert.equal((await client.ask(fieldsOf('capped'))).status, 200);
      const answer = await ask(port, { ...team('capped'), headers, path });
      assert.equal(answer.status, status, answer.text);
      assert.equal(answer.reason, reason);
      const second = await client.ask({ ...fieldsOf('capped', 'GET', path), ...headers });
      assert.equal(second.status, status);
      assert.equal(second.reason, reason);
      assert.equal(await refusedOf(name), 2);
      assert.equal((await ask(port, { ...team('free'), headers, path })).status, 200);
    });

  test('body_bytes, with a length and in chunks, over both versions', async () => {
    await cap({ body_bytes: 10 });
    const refused = async (answer) => {
      assert.equal(answer.status, 413);
      assert.equal(answer.reason, 'body_too_large');
    };
    for (const [fields, small, large] of [
      [['Content-Length: 10'], '0123456789', ''],
      [['Transfer-Encoding: chunked'], 'a\r\n0123456789\r\n0\r\n\r\n', 'b\r\n0123456789a\r\n0\r\n\r\n'],
    ]) {
      assert.equal((await asks(await connect(), post('capped', fields) + small)).status, 200);
      const above = fields.map((field) => field.replace('10', '11'));
      await refused(await asks(await connect(), post('capped', above) + large));
      assert.equal((await asks(await connect(), post('free', fields) + small)).status, 200);
    }
    const client = keep(await Http2.open(`http://127.0.0.1:${port}`));
    assert.equal((await client.ask(fieldsOf('capped', 'POST'), '0123456789')).status, 200);
    await refused(await client.ask(fieldsOf('capped', 'POST'), '0123456789a'));
    await refused(await client.ask({ ...fieldsOf('capped', 'POST'), 'content-length': 11 }, '0123456789a'));
    assert.equal(await refusedOf('body_bytes'), 4);
  });

  test('a cap allows nothing that the listener does not', async () => {
    await cap({ url_bytes: 1 << 20, headers: 10000, header_bytes: 1 << 20, streams: 1000 });
    const answer = await ask(port, { host: domainOf('capped'), key: keyOf('capped'), path: `/${'x'.repeat(8192)}` });
    assert.equal(answer.status, 414);
    const client = keep(await Http2.open(`http://127.0.0.1:${port}`));
    assert.equal((await client.ask(fieldsOf('capped'))).status, 200);
    assert.equal(client.session.remoteSettings.maxConcurrentStreams, 128);
  });

  // --- times --------------------------------------------------------------------------------------------------------

  const timeouts = (what) => metric('daemun_tenant_timeouts_total', { tenant: 'capped', what });

  test('idle, head and body timeouts of a team', async () => {
    await cap({ idle_timeout_ms: 300, head_timeout_ms: 300, body_timeout_ms: 300 });
    const other = await connect();
    assert.equal((await asks(other, get('free'))).status, 200);
    const idle = await connect();
    assert.equal((await asks(idle, get('capped'))).status, 200);
    assert.equal(await idle.whenClosed(), '');
    const head = await connect();
    assert.equal((await asks(head, get('capped'))).status, 200);
    const late = await asks(head, 'GET / HT');
    assert.equal(late.status, 408);
    assert.equal(late.reason, 'request_timeout');
    const body = await asks(await connect(), `${post('capped', ['Content-Length: 9'])}abc`);
    assert.equal(body.status, 408);
    const client = keep(await Http2.open(`http://127.0.0.1:${port}`));
    assert.equal((await client.ask(fieldsOf('capped'))).status, 200);
    await until('the end of the connection', () => client.isClosed);
    assert.deepEqual([await timeouts('idle'), await timeouts('head'), await timeouts('body')], [2, 1, 1]);
    assert.equal((await asks(other, get('free'))).status, 200, "the other team's has the listener's time");
  });

  // --- slow clients -------------------------------------------------------------------------------------------------

  const listenerTimeouts = (what) => metric('daemun_listener_timeouts_total', { listener: `127.0.0.1:${slowPort}`, what });

  // Returns when the listener has counted one more.
  async function isCounted(what, act) {
    const before = await listenerTimeouts(what);
    const neighbour = polite(slowPort, 'free');
    const result = await act();
    await until(`one more that was too slow: ${what}`, async () => (await listenerTimeouts(what)) === before + 1);
    await neighbour.stopUnharmed();
    return result;
  }

  test('a slow head', async () => {
    await cap({});
    const answer = await isCounted('head', async () => asks(await connect(slowPort), 'GET / HTTP/1.1\r\nHost'));
    assert.equal(answer.status, 408);
    assert.equal(answer.reason, 'request_timeout');
  });

  test('a slow head of HTTP/2', async () => {
    const client = await connect(slowPort);
    await isCounted('head', async () => {
      await client.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0'); // preface, SETTINGS
      await client.send('\0\0\x01\x01\x01\0\0\0\x01\x82'); // HEADERS on stream 1 that others are to follow
      await client.whenClosed();
    });
    assert.ok(client.text.includes('\x07\0\0\0\0\0'), 'GOAWAY');
  });

  test('a slow body', async () => {
    const answer = await isCounted('body', async () =>
      asks(await connect(slowPort), `${post('capped', ['Content-Length: 9'])}abc`)
    );
    assert.equal(answer.status, 408);
    assert.equal(answer.reason, 'request_timeout');
  });

  test('a slow body of HTTP/2, and the other streams go on', async () => {
    const client = keep(await Http2.open(`http://127.0.0.1:${slowPort}`));
    const stream = client.session.request(fieldsOf('capped', 'POST'), { endStream: false });
    const response = once(stream, 'response');
    stream.on('error', () => {});
    stream.write('abc');
    const [headers] = await isCounted('body', () => within('an answer', response));
    assert.equal(headers[':status'], 408);
    assert.equal(headers['daemun-reason'], 'request_timeout');
    assert.equal((await client.ask(fieldsOf('capped'))).status, 200);
  });

  test('a slow reader', async () => {
    const client = await connect(slowPort);
    client.socket.pause();
    await isCounted('reader', () => client.send(get('capped', '/large')));
    client.socket.resume();
    const text = await client.whenClosed();
    assert.ok(text.length < LARGE, 'it was cut off');
    await until('the line in the access log', () =>
      world.gateway.accessLog().some((line) => line.path === '/large' && line.reason === 'client_closed')
    );
  });

  test('a slow reader of HTTP/2, and the other streams go on', async () => {
    const client = keep(await Http2.open(`http://127.0.0.1:${slowPort}`));
    const stream = client.session.request(fieldsOf('capped', 'GET', '/large'));
    const response = once(stream, 'response');
    const closed = new Promise((resolve) => stream.on('close', resolve));
    stream.on('error', () => {});
    await isCounted('reader', () => within('a response', response));
    stream.resume();
    await within('the end of the stream', closed);
    assert.equal(stream.rstCode, http2.constants.NGHTTP2_CANCEL);
    assert.equal((await client.ask(fieldsOf('capped'))).status, 200);
  });
});

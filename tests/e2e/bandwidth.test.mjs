// A team's bandwidth, over two workers: bodies and tunnels of both protocols come whole, not sooner than it allows, and nobody else waits.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import { before, suite, test } from './lib/testing.mjs';
import { apiKey, domainOf, fieldsOf, keyOf, LIVE, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { closeWebSocketsAfter, connectHttp1, startWebSockets } from './lib/websocket.mjs';
import { World } from './lib/world.mjs';

const RATE = 256 << 10; // bytes a second
const HELD = 64 << 10; // at once
const PIECES = 64 << 10; // what workers may have taken ahead, with room to spare
const SIZE = 384 << 10;
const LEAST_S = (SIZE - HELD - PIECES) / RATE;

const text = Buffer.from(Array.from({ length: SIZE }, (_, i) => 97 + ((i * 7919) % 26)));

suite('bandwidth', () => {
  closeUpstreamsAfter();
  closeWebSocketsAfter();
  let world, port, upstream, sockets;

  const metric = (name, tenant) => world.gateway.metric(`daemun_tenant_bandwidth_waits_${name}_total`, { tenant });
  const headers = (team) => ({ host: domainOf(team), 'x-api-key': keyOf(team) });

  async function bodyOf(stream) {
    const parts = [];
    for await (const part of stream) parts.push(part);
    return Buffer.concat(parts);
  }

  async function ask(team, method, path, body, more = {}) {
    const request = http.request({ port, method, path, agent: false, headers: { ...headers(team), ...more } });
    request.end(body);
    const [response] = await once(request, 'response');
    return { status: response.statusCode, headers: response.headers, body: await bodyOf(response) };
  }

  async function askHttp2(session, team, method, path, body) {
    const stream = session.request({ ...fieldsOf(team, method, path) }, { endStream: !body });
    if (body) stream.end(body);
    const [head] = await once(stream, 'response');
    return { status: head[':status'], body: await bodyOf(stream) };
  }

  // Takes at least as long as the team's bandwidth says.
  async function slowly(what, work) {
    const begun = process.hrtime.bigint();
    const result = await work();
    const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
    assert.ok(seconds >= LEAST_S, `${what}: ${seconds} s is less than ${LEAST_S} s`);
    return result;
  }

  async function respond(request, response) {
    if (request.url === '/text') {
      response.writeHead(200, { 'content-type': 'text/plain', 'content-length': text.length });
      response.end(text);
      return;
    }
    const body = await bodyOf(request);
    response.end(`${body.length} ${body.equals(text)}`);
  }

  before(async () => {
    world = await World.start({ workers: 2 });
    port = world.gateway.port;
    upstream = await startUpstream({ respond, isStreaming: true });
    sockets = await startWebSockets();
    const compression = { type: 'compression', algorithms: ['gzip'], min_bytes: 1024 };
    await world.api.apply(teamFile('slow', upstream.port));
    await world.api.apply(teamFile('packed', upstream.port, { policies: [apiKey, compression] }));
    await world.api.apply(teamFile('tunnels', sockets.port, { version: { upgrades: ['websocket'] } }));
    await world.api.apply(teamFile('free', upstream.port));
    for (const name of ['slow', 'tunnels'])
      await world.api.must('PATCH', `/tenants/${name}${LIVE}`, {
        caps: { bandwidth_in_bytes: RATE, bandwidth_out_bytes: RATE },
      });
  });

  test('uploads', async () => {
    const answer = await slowly('an upload', () => ask('slow', 'POST', '/', text));
    assert.equal(answer.body.toString(), `${SIZE} true`);
    assert.ok((await metric('in', 'slow')) > 0);
    const chunked = await slowly('a chunked one', () => ask('slow', 'POST', '/', text, { 'transfer-encoding': 'chunked' }));
    assert.equal(chunked.body.toString(), `${SIZE} true`);
  });

  test('downloads', async () => {
    const answer = await slowly('a download', () => ask('slow', 'GET', '/text'));
    assert.ok(answer.body.equals(text));
    assert.ok((await metric('out', 'slow')) > 0);
  });

  test('several at once share it, over all workers', async () => {
    const quarter = text.subarray(0, SIZE / 8);
    const answers = await slowly('eight of an eighth', () =>
      Promise.all(Array.from({ length: 8 }, () => ask('slow', 'POST', '/', quarter)))
    );
    for (const answer of answers) assert.equal(answer.body.toString(), `${SIZE / 8} false`);
  });

  test('HTTP/2', async () => {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    const up = await slowly('an upload', () => askHttp2(session, 'slow', 'POST', '/', text));
    assert.equal(up.body.toString(), `${SIZE} true`);
    const down = await slowly('a download', () => askHttp2(session, 'slow', 'GET', '/text'));
    assert.ok(down.body.equals(text));
    session.close();
  });

  test('tunnels, in both directions', async () => {
    const [client, server] = await Promise.all([
      connectHttp1(`ws://127.0.0.1:${port}`, '/', { headers: headers('tunnels') }),
      sockets.next(),
    ]);
    for (const [from, to] of [[client, server], [server, client]]) {
      const message = once(to, 'message');
      await slowly('a message', async () => {
        from.send(text);
        assert.ok((await message)[0].equals(text));
      });
    }
    client.close();
    await once(client, 'close');
  });

  test('what is compressed counts as it goes out', async () => {
    await world.api.must('PATCH', `/tenants/packed${LIVE}`, { caps: { bandwidth_out_bytes: 64 << 10 } });
    const answers = [];
    for (let i = 0; i < 3; i++) answers.push(await ask('packed', 'GET', '/text', null, { 'accept-encoding': 'gzip' }));
    for (const answer of answers) assert.equal(answer.headers['content-encoding'], 'gzip');
    const packed = answers.reduce((sum, answer) => sum + answer.body.length, 0);
    const waits = await metric('out', 'packed');
    assert.equal(waits > 0, packed > HELD, `${packed} bytes and ${waits} waits`);
  });

  test('nobody else waits', async () => {
    const flood = Array.from({ length: 4 }, () => ask('slow', 'POST', '/', text));
    const answer = await ask('free', 'POST', '/', text);
    assert.equal(answer.body.toString(), `${SIZE} true`);
    assert.equal(await metric('in', 'free'), 0);
    await world.api.must('PATCH', `/tenants/slow${LIVE}`, { caps: { bandwidth_in_bytes: 0, bandwidth_out_bytes: 0 } });
    for (const one of flood) assert.equal((await one).body.toString(), `${SIZE} true`);
  });

  test('a bound that no body could keep is refused', async () => {
    for (const [caps, pointer] of [
      [{ bandwidth_in_bytes: 1000 }, '/caps/bandwidth_in_bytes'],
      [{ bandwidth_out_bytes: 2000, body_rate_bytes: 4000 }, '/caps/bandwidth_out_bytes'],
    ]) {
      const answer = await world.api.patch('/tenants/free', { caps });
      assert.equal(answer.status, 422, answer.text);
      assert.deepEqual(answer.body.errors.map((error) => error.pointer), [pointer]);
    }
  });
});

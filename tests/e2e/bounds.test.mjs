// What a client may take of time and bytes, with a gateway whose bounds are small.
import assert from 'node:assert/strict';
import { RawClient } from './lib/http.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { headOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const BODY_MAX = 1000;
const gatewayArgs = [
  `--body-max=${BODY_MAX}`,
  '--head-timeout-ms=500',
  '--body-timeout-ms=500',
  '--idle-timeout-ms=500',
  '--body-rate=0',
];

suite('bounds', () => {
  closeUpstreamsAfter();
  let world, upstream;

  const head = (method, fields = []) => headOf('plain', { method, target: '/b', fields });
  const chunk = (bytes) => `${bytes.toString(16)}\r\n${'b'.repeat(bytes)}\r\n`;

  async function refused(client, status, reason) {
    const answer = await client.response();
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.reason, reason);
    assert.equal(answer.headers.connection, 'close');
    assert.equal(JSON.parse(answer.text).status, status);
    await client.whenClosed();
    const [line] = await until('the line in the access log', () => {
      const lines = world.gateway.accessLog().filter((one) => one.request_id === answer.headers['x-request-id']);
      return lines.length > 0 && lines;
    });
    assert.equal(line.status, status);
    assert.equal(line.reason, reason);
    return line;
  }

  before(async () => {
    world = await World.start({ workers: 1, gatewayArgs });
    upstream = await startUpstream();
    await world.api.apply(teamFile('plain', upstream.port));
  });

  test('a body of the largest size goes through, with a length and in chunks', async () => {
    for (const [field, body] of [
      [`Content-Length: ${BODY_MAX}`, 'b'.repeat(BODY_MAX)],
      ['Transfer-Encoding: chunked', `${chunk(BODY_MAX - 1)}${chunk(1)}0\r\n\r\n`],
    ]) {
      const client = await RawClient.open(world.gateway.port);
      await client.send(head('POST', [field]) + body);
      assert.equal((await client.response()).status, 200);
      client.close();
    }
  });

  test('a body that says that it is larger is refused before it comes, and the backend sees nothing', async () => {
    upstream.clear();
    const client = await RawClient.open(world.gateway.port);
    await client.send(head('POST', [`Content-Length: ${BODY_MAX + 1}`]));
    const line = await refused(client, 413, 'body_too_large');
    assert.equal(line.fault, 'body_too_large');
    assert.equal(upstream.requests.length, 0);
  });

  test('a body that turns out to be larger is refused', async () => {
    const client = await RawClient.open(world.gateway.port);
    await client.send(head('POST', ['Transfer-Encoding: chunked']) + chunk(BODY_MAX));
    await client.send(chunk(1));
    await refused(client, 413, 'body_too_large');
  });

  test('a body that stops is refused as too slow, and not said to be the end of the client', async () => {
    const client = await RawClient.open(world.gateway.port);
    await client.send(`${head('POST', ['Content-Length: 10'])}12345`);
    await refused(client, 408, 'request_timeout');
  });

  test('a head that stops is refused as too slow', async () => {
    const client = await RawClient.open(world.gateway.port);
    await client.send('GET / HTTP/1.1\r\nHost: plain.test\r\n');
    await refused(client, 408, 'request_timeout');
  });

  test('a connection that nobody uses is closed', async () => {
    const client = await RawClient.open(world.gateway.port);
    await client.send(head('GET'));
    assert.equal((await client.response()).status, 200);
    assert.equal(await client.whenClosed(), '');
  });
});

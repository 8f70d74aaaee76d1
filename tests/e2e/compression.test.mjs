// Compressed responses, read by curl, undici, and Node's own client and zlib.
import assert from 'node:assert/strict';
import http from 'node:http';
import zlib from 'node:zlib';
import { createHash } from 'node:crypto';
import { Agent, fetch } from 'undici';
import { curl } from './lib/http.mjs';
import { lookup } from './lib/ports.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { apiKey, curlFieldsOf, domainOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { deferred, within } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const BIG = 50 << 20;
const text = JSON.stringify(Array.from({ length: 500 }, (_, i) => ({ id: i, name: `row ${i % 7}`, ok: true })));
const decoders = { gzip: zlib.createGunzip, br: zlib.createBrotliDecompress };

suite('compression', () => {
  closeUpstreamsAfter();
  let world, port;

  async function team(name, respond, members = {}) {
    const upstream = await startUpstream({ respond });
    const policies = [apiKey, { type: 'compression', ...members }];
    await world.api.apply(teamFile(name, upstream.port, { policies }));
    return upstream;
  }

  // The response as it comes, body undecoded.
  const ask = (name, headers = {}, { method = 'GET' } = {}) =>
    within(
      'a response',
      new Promise((resolve, reject) => {
        const options = {
          port,
          method,
          agent: false,
          headers: { host: domainOf(name), 'x-api-key': keyOf(name), ...headers },
        };
        http.request(options, resolve).on('error', reject).end();
      })
    );

  async function bytesOf(stream) {
    const parts = [];
    for await (const part of stream) parts.push(part);
    return Buffer.concat(parts);
  }

  const send = (headers = {}) => (request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length, etag: '"v1"', ...headers });
    response.end(request.method === 'HEAD' ? undefined : text);
  };

  before(async () => {
    world = await World.start({ workers: 2 });
    port = world.gateway.port;
    await team('plain', send());
  });

  for (const coding of ['gzip', 'br']) {
    test(`${coding}: head and body`, async () => {
      const response = await ask('plain', { 'accept-encoding': coding });
      assert.equal(response.headers['content-encoding'], coding);
      assert.equal(response.headers.vary, 'Accept-Encoding');
      assert.equal(response.headers.etag, 'W/"v1"');
      assert.equal(response.headers['content-length'], undefined);
      const raw = await bytesOf(response);
      assert.ok(raw.length < text.length / 4, `${raw.length} bytes`);
      assert.equal((coding === 'br' ? zlib.brotliDecompressSync(raw) : zlib.gunzipSync(raw)).toString(), text);
    });

    test(`${coding}: an event arrives before the next is sent`, async () => {
      const gate = deferred();
      const name = `events-${coding}`;
      await team(
        name,
        async (request, response) => {
          response.writeHead(200, { 'content-type': 'text/event-stream' });
          response.write('data: one\n\n');
          await gate.promise;
          response.end('data: two\n\n');
        },
        { content_types: ['text/event-stream'] }
      );
      const response = await ask(name, { 'accept-encoding': coding });
      assert.equal(response.headers['content-encoding'], coding);
      const decoded = response.pipe(decoders[coding]());
      let got = '';
      const first = deferred();
      const all = deferred();
      decoded.on('data', (data) => {
        got += data;
        if (got.endsWith('one\n\n')) first.resolve();
      });
      decoded.on('end', all.resolve);
      await within('the first event', first.promise);
      gate.resolve();
      await within('the end', all.promise);
      assert.equal(got, 'data: one\n\ndata: two\n\n');
    });

    test(`${coding}: a backend that breaks off is no clean end`, async () => {
      const name = `broken-${coding}`;
      await team(name, (request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' });
        response.write(text, () => response.destroy());
      });
      const response = await ask(name, { 'accept-encoding': coding });
      assert.equal(response.headers['content-encoding'], coding);
      await assert.rejects(within('the cut', bytesOf(response)), /aborted|ECONNRESET/);
    });

    test(`${coding}: 50 MB to a reader that pauses`, async () => {
      const name = `big-${coding}`;
      const sent = createHash('sha256');
      await team(
        name,
        async (request, response) => {
          response.writeHead(200, { 'content-type': 'text/plain' });
          for (let i = 0; i < BIG >> 20; i++) {
            const block = Buffer.alloc(1 << 20, `${i} some text, ${i * 7919} more of it. `);
            sent.update(block);
            if (!response.write(block)) await new Promise((resolve) => response.once('drain', resolve));
          }
          response.end();
        },
        { level: 1 }
      );
      const response = await ask(name, { 'accept-encoding': coding });
      const got = createHash('sha256');
      let bytes = 0;
      for await (const part of response.pipe(decoders[coding]({ chunkSize: 1 << 16 }))) {
        got.update(part);
        bytes += part.length;
        await new Promise(setImmediate);
      }
      assert.equal(bytes, BIG);
      assert.equal(got.digest('hex'), sent.digest('hex'));
    });
  }

  test('curl --compressed', async () => {
    const headers = curlFieldsOf('plain');
    const { status, stdout } = await curl(['--compressed', '-i', ...headers, `http://127.0.0.1:${port}/`]);
    assert.equal(status, 0);
    assert.match(stdout, /\r\nContent-Encoding: (br|gzip)\r\n/);
    assert.ok(stdout.endsWith(text));
  });

  test('fetch of undici', async () => {
    const dispatcher = new Agent({ connect: { lookup } });
    const headers = { 'x-api-key': keyOf('plain') };
    const response = await fetch(`http://${domainOf('plain')}:${port}/`, { headers, dispatcher });
    assert.match(response.headers.get('content-encoding'), /^(br|gzip)$/);
    assert.equal(await response.text(), text);
    await dispatcher.close();
  });

  test('HEAD tells what GET does', async () => {
    const response = await ask('plain', { 'accept-encoding': 'gzip' }, { method: 'HEAD' });
    assert.equal((await bytesOf(response)).length, 0);
    assert.equal(response.headers['content-encoding'], 'gzip');
    assert.equal(response.headers.etag, 'W/"v1"');
    assert.equal(response.headers['content-length'], undefined);
  });

  const untouched = async (what, name, headers, vary) => {
    const response = await ask(name, { 'accept-encoding': 'br, gzip', ...headers });
    assert.equal((await bytesOf(response)).toString(), text, what);
    assert.equal(response.headers['content-encoding'], undefined, what);
    assert.equal(response.headers['content-length'], String(text.length), what);
    assert.equal(response.headers.etag, '"v1"', what);
    assert.equal(response.headers.vary, vary, what);
  };

  test('credentials of a browser, and responses for one caller', async () => {
    await untouched('a cookie', 'plain', { cookie: 'session=1' });
    await untouched('authorization', 'plain', { authorization: 'Bearer x' });
    await team('private', send({ 'cache-control': 'private' }));
    await untouched('private', 'private', {});
    await team('login', send({ 'set-cookie': 'session=1' }));
    await untouched('set-cookie', 'login', {});
  });

  test('with_credentials', async () => {
    await team('public', send({ 'set-cookie': 'seen=1' }), { with_credentials: true });
    const response = await ask('public', { 'accept-encoding': 'gzip', cookie: 'session=1' });
    assert.equal(response.headers['content-encoding'], 'gzip');
    assert.equal(zlib.gunzipSync(await bytesOf(response)).toString(), text);
  });

  test('ranges and callers that do not accept', async () => {
    await untouched('a range', 'plain', { range: 'bytes=0-9' }, 'Accept-Encoding');
    await untouched('identity', 'plain', { 'accept-encoding': 'identity' }, 'Accept-Encoding');
    await untouched('q=0', 'plain', { 'accept-encoding': 'gzip;q=0, br;q=0' }, 'Accept-Encoding');
  });

  test('the tag that a client got matches at the backend', async () => {
    const upstream = await team('tagged', (request, response) => {
      const isSame = (request.headers['if-none-match'] ?? '').replace(/^W\//, '') === '"v1"';
      if (!isSame) return send()(request, response);
      response.writeHead(304, { etag: '"v1"' });
      response.end();
    });
    const { headers } = await ask('tagged', { 'accept-encoding': 'br' });
    const again = await ask('tagged', { 'accept-encoding': 'br', 'if-none-match': headers.etag });
    again.resume();
    assert.equal(again.statusCode, 304);
    assert.equal(again.headers.etag, headers.etag);
    assert.equal(again.headers.vary, 'Accept-Encoding');
    assert.equal(upstream.last().headers['if-none-match'], 'W/"v1"');
  });
});

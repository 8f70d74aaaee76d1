// HTTP/1 through the gate, with clients and backends that nobody here wrote, and with bytes that no client would send.
import assert from 'node:assert/strict';
import http from 'node:http';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { Client, request as undiciRequest } from 'undici';
import { RawClient, ask, curl } from './lib/http.mjs';
import { hasSanitizer, residentBytes } from './lib/process.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { curlFieldsOf, domainOf, headOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startRawUpstream, startUpstream } from './lib/upstream.mjs';
import { deferred, until, within } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const MEGABYTE = 1 << 20;
const BIG = 100; // megabytes
const RESIDENT_MAX = 24 * MEGABYTE; // growth of one worker over a transfer

// A megabyte that differs from the others.
function block(number) {
  const bytes = Buffer.alloc(MEGABYTE, number & 255);
  bytes.writeUInt32BE(number);
  return bytes;
}

function digestOfBlocks(count) {
  const hash = createHash('sha256');
  for (let i = 0; i < count; i++) hash.update(block(i));
  return hash.digest('hex');
}

function* blocks(count) {
  for (let i = 0; i < count; i++) yield block(i);
}

suite('http', () => {
  closeUpstreamsAfter();
  let world, port, upstream;

  const head = (method, target, fields = [], version = '1.1') => headOf('plain', { method, target, fields, version });
  const call = (name, options = {}) => ask(port, { host: domainOf(name), key: keyOf(name), ...options });
  const url = (path = '/') => `http://127.0.0.1:${port}${path}`;

  async function team(name, options, fileOptions) {
    const service = await (typeof options === 'function' ? startRawUpstream(options) : startUpstream(options));
    await world.api.apply(teamFile(name, service.port, fileOptions));
    return service;
  }

  before(async () => {
    world = await World.start({ workers: 2 });
    port = world.gateway.port;
    upstream = await team('plain', {});
  });

  // --- connections --------------------------------------------------------------------------------------------------

  test('undici pipelines on one connection, and answers come in order', async () => {
    const client = new Client(url(''), { pipelining: 10 });
    const headers = { host: 'plain.test', 'x-api-key': keyOf('plain') };
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const { statusCode, body } = await client.request({ path: `/n/${i}`, method: 'GET', headers });
        return [statusCode, (await body.json()).path];
      })
    );
    await client.close();
    assert.deepEqual(
      answers,
      Array.from({ length: 200 }, (_, i) => [200, `/n/${i}`])
    );
  });

  test('pipelined requests with bodies, in one write', async () => {
    const client = await RawClient.open(port);
    const one = (i) => `${head('POST', `/p/${i}`, [`Content-Length: ${String(i).length}`])}${i}`;
    await client.send(Array.from({ length: 20 }, (_, i) => one(i)).join(''));
    for (let i = 0; i < 20; i++) {
      const answer = await client.response();
      assert.equal(answer.status, 200);
      const { path, body } = JSON.parse(answer.text);
      assert.deepEqual([path, body], [`/p/${i}`, String(i)]);
    }
    client.close();
  });

  test('a connection is kept, until the client says close', async () => {
    const client = await RawClient.open(port);
    for (let i = 0; i < 5; i++) {
      await client.send(head('GET', `/${i}`));
      const answer = await client.response();
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.connection, undefined);
    }
    await client.send(head('GET', '/last', ['Connection: close']));
    const last = await client.response();
    assert.equal(last.headers.connection, 'close');
    await client.whenClosed();
  });

  test('connections to the backend are kept too', async () => {
    const service = await team('kept', {});
    const client = new Client(url(''));
    for (let i = 0; i < 30; i++) await call('kept', { dispatcher: client });
    await client.close();
    assert.equal(service.requests.length, 30);
    assert.ok(service.connections <= 2, `${service.connections} connections`);
  });

  test('a kept connection that the backend has closed costs no request', async () => {
    const service = await team('closing', (socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        socket.once('data', () => socket.destroy()); // a second request finds nobody
      });
    });
    const client = new Client(url(''));
    for (let i = 0; i < 10; i++) assert.equal((await call('closing', { dispatcher: client })).status, 200);
    await client.close();
    assert.ok(service.connections >= 10);
  });

  test('a client that goes away takes its request to the backend along', async () => {
    const gone = deferred();
    const service = await team('leaving', (socket) => socket.on('close', () => gone.resolve()));
    const client = await RawClient.open(port);
    await client.send(head('GET', '/').replaceAll('plain', 'leaving'));
    await until('the request at the backend', () => service.received().includes('GET / '));
    client.socket.resetAndDestroy(); // a mere FIN may be half a close
    await within('the end of the connection to the backend', gone.promise);
    await until(
      'the counters',
      async () =>
        (await world.gateway.metric('daemun_refusals_total', { tenant: 'leaving', reason: 'client_closed' })) === 1
    );
  });

  test('a client that shuts down its side still gets the answer', async () => {
    const held = deferred();
    await team('half', { respond: (request, response) => held.promise.then(() => response.end('for you')) });
    const client = await RawClient.open(port, { allowHalfOpen: true });
    client.socket.end(head('GET', '/', ['Connection: close']).replaceAll('plain', 'half'));
    await until(
      'the request in flight',
      async () => (await world.gateway.metric('daemun_requests_in_flight', { tenant: 'half' })) === 1
    );
    held.resolve();
    const answer = await client.response();
    assert.equal(answer.text, 'for you');
    client.close();
  });

  // --- bodies -------------------------------------------------------------------------------------------------------

  // The most that a worker's resident memory grew while `act` ran.
  async function growthDuring(act) {
    const { workers } = world.gateway.pids();
    const before = workers.map(residentBytes);
    let most = 0;
    const look = () => workers.forEach((pid, i) => (most = Math.max(most, residentBytes(pid) - before[i])));
    const timer = setInterval(look, 20);
    try {
      await act();
      look();
    } finally {
      clearInterval(timer);
    }
    return most;
  }

  function assertBounded(growth) {
    if (hasSanitizer()) return;
    assert.ok(growth < RESIDENT_MAX, `a worker grew by ${(growth / MEGABYTE).toFixed(1)} MB`);
  }

  test(`an upload of ${BIG} MB streams through, in bounded memory`, async () => {
    await team('upload', {
      isStreaming: true,
      respond: async (request, response) => {
        const hash = createHash('sha256');
        for await (const part of request) hash.update(part);
        response.end(hash.digest('hex'));
      },
    });
    for (const [how, headers] of [
      ['chunked', {}],
      ['with a length', { 'content-length': String(BIG * MEGABYTE) }],
    ]) {
      const growth = await growthDuring(async () => {
        const answer = await call('upload', { method: 'PUT', body: Readable.from(blocks(BIG)), headers });
        assert.equal(answer.text, digestOfBlocks(BIG), how);
      });
      assertBounded(growth);
    }
  });

  test(`a download of ${BIG} MB to a client that stops reading for a while, in bounded memory`, async () => {
    let sink;
    const service = await team('download', {
      respond: (request, response) => {
        sink = response;
        Readable.from(blocks(BIG)).pipe(response);
      },
    });
    const growth = await growthDuring(async () => {
      const { body } = await undiciRequest(url(), {
        headers: { host: 'download.test', 'x-api-key': keyOf('download') },
      });
      const hash = createHash('sha256');
      let stalls = 0;
      await until('the backend to be held up', () => {
        stalls = sink.writableNeedDrain ? stalls + 1 : 0;
        return stalls > 10;
      });
      for await (const part of body) hash.update(part);
      assert.equal(hash.digest('hex'), digestOfBlocks(BIG));
    });
    assertBounded(growth);
    assert.equal(service.requests.length, 1);
  });

  test('a body goes on while it comes: the first part is there before the last is sent', async () => {
    const rest = deferred();
    await team('trickle', {
      isStreaming: true,
      respond: (request, response) => {
        request.once('data', (first) => {
          response.write(`got ${first}`);
          rest.promise.then(() => response.end(' end'));
        });
      },
    });
    const client = await RawClient.open(port);
    await client.send(
      head('POST', '/', ['Transfer-Encoding: chunked']).replaceAll('plain', 'trickle') + '3\r\none\r\n'
    );
    await client.receives('the first part of the answer', (text) => text.includes('got one'));
    await client.send('3\r\ntwo\r\n0\r\n\r\n');
    rest.resolve();
    const answer = await client.response();
    assert.equal(answer.text, 'got one end');
    client.close();
  });

  test('chunked bodies with trailers, both ways', async () => {
    await team('trailing', {
      respond: (request, response, seen) => {
        response.setHeader('Trailer', 'X-Sum');
        response.write(
          JSON.stringify({ body: seen.body, trailers: request.trailers, announced: request.headers.trailer })
        );
        response.addTrailers({ 'X-Sum': '42' });
        response.end();
      },
    });
    const client = await RawClient.open(port);
    const fields = ['Transfer-Encoding: chunked', 'Trailer: X-Check'];
    await client.send(
      `${head('POST', '/', fields).replaceAll('plain', 'trailing')}5;ext="a"\r\nhello\r\n6\r\n world\r\n0\r\nX-Check: yes\r\n\r\n`
    );
    const answer = await client.response();
    const seen = JSON.parse(answer.text);
    assert.equal(seen.body, 'hello world');
    assert.equal(seen.trailers['x-check'], 'yes');
    assert.deepEqual(answer.trailers, ['X-Sum: 42']);
    client.close();
  });

  test('Expect: 100-continue, as curl does it', async () => {
    const payload = 'x'.repeat(300000);
    const args = [
      '-v',
      '-X',
      'POST',
      '-H',
      'Expect: 100-continue',
      '--expect100-timeout',
      '60',
      '--data-binary',
      '@-',
      url('/up'),
    ];
    const good = await curl([...curlFieldsOf('plain'), ...args], { input: payload });
    assert.equal(good.status, 0, good.stderr);
    assert.match(good.stderr, /< HTTP\/1\.1 100 Continue/);
    assert.equal(JSON.parse(good.stdout).body.length, payload.length);
    assert.equal(JSON.parse(good.stdout).headers.expect, undefined);

    const refused = await curl(['-H', 'Host: plain.test', '-H', 'X-API-Key: wrong', ...args], { input: payload });
    assert.ok(!/100 Continue/.test(refused.stderr), 'nothing is asked for that is refused');
    assert.match(refused.stderr, /< HTTP\/1\.1 403/);
    const unknown = await curl([
      ...curlFieldsOf('plain'),
      '-H',
      'Expect: 200-maybe',
      '-d',
      'x',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      url(),
    ]);
    assert.equal(unknown.stdout, '417');
  });

  test('an answer that comes before the request is through', async () => {
    await team('early', {
      isStreaming: true,
      respond: (request, response) => response.writeHead(413, { connection: 'close' }).end('too much'),
    });
    const client = await RawClient.open(port);
    await client.send(head('POST', '/', ['Content-Length: 1000']).replaceAll('plain', 'early') + 'some');
    const answer = await client.response();
    assert.equal(answer.status, 413);
    assert.equal(answer.text, 'too much');
    client.close();
  });

  test('HEAD, 204 and 304 have no body, and the connection goes on', async () => {
    await team('bodiless', {
      respond: (request, response, seen) => {
        if (seen.path === '/304') return response.writeHead(304, { etag: '"x"', 'content-length': '77' }).end();
        if (seen.path === '/204') return response.writeHead(204).end();
        return response
          .writeHead(200, { 'content-length': '12345' })
          .end(seen.method === 'HEAD' ? undefined : 'x'.repeat(12345));
      },
    });
    const client = await RawClient.open(port);
    const ask = async (method, target) => {
      await client.send(head(method, target).replaceAll('plain', 'bodiless'));
      return client.response({ hasBody: method !== 'HEAD' });
    };
    const headed = await ask('HEAD', '/');
    assert.equal(headed.status, 200);
    assert.equal(headed.headers['content-length'], '12345');
    const unchanged = await ask('GET', '/304');
    assert.equal(unchanged.status, 304);
    assert.equal(unchanged.headers.etag, '"x"');
    const empty = await ask('GET', '/204');
    assert.equal(empty.status, 204);
    assert.equal(empty.headers['content-length'], undefined);
    assert.equal((await ask('GET', '/')).body.length, 12345);
    client.close();
  });

  test('a refusal of a request with a large body is heard', async () => {
    const answer = await call('plain', { key: 'wrong', method: 'POST', body: Buffer.alloc(60000) });
    assert.equal(answer.status, 403);
  });

  // --- slowly -------------------------------------------------------------------------------------------------------

  test('a request that comes byte by byte', async () => {
    const client = await RawClient.open(port, { noDelay: true });
    const text = `${head('POST', '/slow', ['Content-Length: 5'])}hello`;
    for (const byte of text) await client.send(byte);
    const answer = await client.response();
    assert.equal(answer.status, 200, answer.text);
    assert.equal(JSON.parse(answer.text).body, 'hello');
    client.close();
  });

  test('an answer that comes byte by byte', async () => {
    const text = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n5\r\nhello\r\n0\r\nX-T: t\r\n\r\n';
    await team('dribble', (socket) => {
      socket.setNoDelay(true);
      socket.on('data', async () => {
        for (const byte of text) await new Promise((resolve) => socket.write(byte, resolve));
      });
    });
    for (let i = 0; i < 3; i++) assert.equal((await call('dribble')).text, 'hello');
  });

  // --- other versions and forms -------------------------------------------------------------------------------------

  test('HTTP/1.0, as curl speaks it', async () => {
    await team('chunky', { respond: (request, response) => response.write('a') && response.end('b') });
    const answer = await curl(['-0', '-i', ...curlFieldsOf('chunky'), url()]);
    assert.equal(answer.status, 0, answer.stderr);
    assert.match(answer.stdout, /^HTTP\/1\.[01] 200 /);
    assert.ok(!/transfer-encoding/i.test(answer.stdout));
    assert.match(answer.stdout, /\r\n\r\nab$/);

    const client = await RawClient.open(port);
    await client.send(head('GET', '/', ['Connection: keep-alive'], '1.0'));
    const kept = await client.response();
    assert.equal(kept.status, 200);
    assert.match(kept.headers.connection, /keep-alive/i);
    await client.send(head('GET', '/', [], '1.0'));
    assert.equal((await client.response()).status, 200);
    await client.whenClosed();
  });

  test('a backend that speaks HTTP/1.0, until it closes', async () => {
    await team('ancient', (socket) =>
      socket.once('data', () => socket.end('HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold body'))
    );
    for (let i = 0; i < 2; i++) {
      const answer = await call('ancient');
      assert.equal(answer.status, 200);
      assert.equal(answer.text, 'old body');
    }
  });

  test('103 Early Hints go through', async () => {
    await team('hints', (socket) =>
      socket.once('data', () =>
        socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      )
    );
    const client = await RawClient.open(port);
    await client.send(head('GET', '/').replaceAll('plain', 'hints'));
    const hint = await client.response();
    assert.equal(hint.status, 103);
    assert.equal(hint.headers.link, '</a.css>');
    assert.equal((await client.response()).text, 'ok');
    client.close();
  });

  test('the authority of an absolute target counts, whatever Host says', async () => {
    const client = await RawClient.open(port);
    await client.send(
      `GET http://plain.test/abs?x HTTP/1.1\r\nHost: nobody.test\r\nX-API-Key: ${keyOf('plain')}\r\n\r\n`
    );
    const seen = JSON.parse((await client.response()).text);
    assert.equal(seen.url, '/abs?x');
    assert.equal(seen.headers['x-forwarded-host'], 'plain.test');
    client.close();
  });

  test('what belongs to one connection is not forwarded', async () => {
    const fields = [
      'Connection: X-Mine, keep-alive',
      'X-Mine: secret',
      'Keep-Alive: timeout=5',
      'Proxy-Connection: close',
      'TE: trailers',
      'Upgrade: websocket',
      'X-Other: stays',
    ];
    const client = await RawClient.open(port);
    await client.send(head('GET', '/', fields));
    const { headers } = JSON.parse((await client.response()).text);
    for (const name of ['x-mine', 'keep-alive', 'proxy-connection', 'upgrade'])
      assert.equal(headers[name], undefined, name);
    assert.equal(headers['x-other'], 'stays');
    client.close();
  });

  test('fields that come more than once stay so; methods nobody knows go through', async () => {
    const client = await RawClient.open(port);
    await client.send(head('PURGE', '/', ['Accept: a', 'Cookie: a=1', 'Accept: b', 'X-Empty:']));
    const seen = JSON.parse((await client.response()).text);
    assert.equal(seen.method, 'PURGE');
    assert.deepEqual(
      seen.rawHeaders.filter((_, i, all) => /^accept$/i.test(all[i - 1] ?? '')),
      ['a', 'b']
    );
    assert.equal(seen.headers['x-empty'], '');
    client.close();
  });

  test('Node’s own client, with an agent that keeps connections', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
    const one = (i) =>
      new Promise((resolve, reject) => {
        const headers = { host: 'plain.test', 'x-api-key': keyOf('plain') };
        const request = http.request(
          { port, host: '127.0.0.1', path: `/node/${i}`, method: 'POST', headers, agent },
          (response) => {
            let text = '';
            response
              .setEncoding('utf8')
              .on('data', (part) => (text += part))
              .on('end', () => resolve(JSON.parse(text)));
          }
        );
        request.on('error', reject);
        request.write('part one, ');
        request.end(`part ${i}`);
      });
    const all = await Promise.all(Array.from({ length: 60 }, (_, i) => one(i)));
    all.forEach((seen, i) => assert.deepEqual([seen.path, seen.body], [`/node/${i}`, `part one, part ${i}`]));
    agent.destroy();
  });

  // --- what is no request -------------------------------------------------------------------------------------------

  const key = `X-API-Key: ${keyOf('plain')}\r\n`;
  const host = `Host: plain.test\r\n${key}`;
  const malformed = {
    'bad_request_line|bad_version': 'GET / HTTP/1.1 \r\n' + host + '\r\n',
    bad_method: 'G@T / HTTP/1.1\r\n' + host + '\r\n',
    connect_refused: 'CONNECT plain.test:80 HTTP/1.1\r\n' + host + '\r\n',
    'bad_target (no slash)': 'GET foo HTTP/1.1\r\n' + host + '\r\n',
    'bad_target (not ASCII)': 'GET /\xe9 HTTP/1.1\r\n' + host + '\r\n',
    target_fragment: 'GET /a#b HTTP/1.1\r\n' + host + '\r\n',
    target_userinfo: 'GET http://a@plain.test/ HTTP/1.1\r\n' + host + '\r\n',
    bad_escape: 'GET /%zz HTTP/1.1\r\n' + host + '\r\n',
    escaped_control: 'GET /%00 HTTP/1.1\r\n' + host + '\r\n',
    path_above_root: 'GET /../../etc/passwd HTTP/1.1\r\n' + host + '\r\n',
    'path_above_root (escaped)': 'GET /a/%2e%2e/%2e%2e/b HTTP/1.1\r\n' + host + '\r\n',
    no_host: 'GET / HTTP/1.1\r\n' + key + '\r\n',
    duplicate_host: 'GET / HTTP/1.1\r\n' + host + 'Host: catalog.test\r\n\r\n',
    bad_host: 'GET / HTTP/1.1\r\nHost: a b\r\n' + key + '\r\n',
    space_before_colon: 'GET / HTTP/1.1\r\n' + host + 'X-A : b\r\n\r\n',
    obs_fold: 'GET / HTTP/1.1\r\n' + host + 'X-A: b\r\n c\r\n\r\n',
    bare_lf: 'GET / HTTP/1.1\n' + host + '\r\n',
    bare_cr: 'GET / HTTP/1.1\r\n' + host + 'X-A: b\rc\r\n\r\n',
    'bad_field_value|bad_byte (NUL)': 'GET / HTTP/1.1\r\n' + host + 'X-A: b\0c\r\n\r\n',
    'bad_field_name|bad_byte': 'GET / HTTP/1.1\r\n' + host + 'X(A): b\r\n\r\n',
    empty_field_name: 'GET / HTTP/1.1\r\n' + host + ': b\r\n\r\n',
    length_and_encoding:
      'POST / HTTP/1.1\r\n' + host + 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'length_and_encoding (the other way round)':
      'POST / HTTP/1.1\r\n' + host + 'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n',
    duplicate_content_length: 'POST / HTTP/1.1\r\n' + host + 'Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello',
    'bad_content_length (list)': 'POST / HTTP/1.1\r\n' + host + 'Content-Length: 5, 5\r\n\r\nhello',
    'bad_content_length (sign)': 'POST / HTTP/1.1\r\n' + host + 'Content-Length: +5\r\n\r\nhello',
    'bad_content_length (hexadecimal)': 'POST / HTTP/1.1\r\n' + host + 'Content-Length: 0x5\r\n\r\nhello',
    'bad_transfer_encoding (unknown)': 'POST / HTTP/1.1\r\n' + host + 'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
    'bad_transfer_encoding (gzip)': 'POST / HTTP/1.1\r\n' + host + 'Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'bad_transfer_encoding (twice)':
      'POST / HTTP/1.1\r\n' + host + 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n',
    encoding_in_http10: 'POST / HTTP/1.0\r\n' + host + 'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    connection_names_field: 'GET / HTTP/1.1\r\n' + host + 'Connection: Host\r\n\r\n',
  };
  for (const [name, text] of Object.entries(malformed))
    test(`400 and closed: ${name}`, async () => {
      upstream.clear();
      const client = await RawClient.open(port);
      await client.send(`${text}GET /smuggled HTTP/1.1\r\n${host}\r\n`);
      const answer = await client.response();
      assert.equal(answer.status, 400, answer.text);
      assert.equal(answer.reason, 'bad_request');
      assert.equal(answer.headers.connection, 'close');
      const problem = JSON.parse(answer.text);
      assert.equal(problem.reason, 'bad_request');
      if (!/host$/.test(name)) assert.match(problem.fault, new RegExp(`^(${name.replace(/ .*/, '')})$`));
      assert.equal((await client.whenClosed()).length, 0, 'nothing behind it is answered');
      assert.deepEqual(
        upstream.requests.map((seen) => seen.url),
        []
      );
    });

  test('a bad request behind a good one: the good one is answered, the connection closed', async () => {
    upstream.clear();
    const client = await RawClient.open(port);
    await client.send(`${head('GET', '/good')}GET / HTTP/1.1\r\nHost : x\r\n\r\n${head('GET', '/smuggled')}`);
    assert.equal((await client.response()).status, 200);
    assert.equal((await client.response()).status, 400);
    await client.whenClosed();
    assert.deepEqual(
      upstream.requests.map((seen) => seen.url),
      ['/good']
    );
  });

  const badBodies = {
    'chunk size that is no number': 'zz\r\nhello\r\n0\r\n\r\n',
    'chunk size with a sign': '+5\r\nhello\r\n0\r\n\r\n',
    'chunk size with a prefix': '0x5\r\nhello\r\n0\r\n\r\n',
    'chunk size too large': 'fffffffffffffffff\r\nhello\r\n0\r\n\r\n',
    'chunk longer than its size': '4\r\nhello\r\n0\r\n\r\n',
    'chunk size ended by a bare LF': '5\nhello\r\n0\r\n\r\n',
    'extension with a bare CR': '5;a\rb\r\nhello\r\n0\r\n\r\n',
    'trailer that frames': '5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n',
    'trailer with a space before the colon': '5\r\nhello\r\n0\r\nX-A : b\r\n\r\n',
  };
  for (const [name, body] of Object.entries(badBodies))
    test(`a bad body is never whole at the backend: ${name}`, async () => {
      const service = await startRawUpstream(() => {});
      const tenant = `body-${Object.keys(badBodies).indexOf(name)}`;
      await world.api.apply(teamFile(tenant, service.port));
      const client = await RawClient.open(port);
      const text = head('POST', '/', ['Transfer-Encoding: chunked']).replaceAll('plain', tenant);
      await client.send(`${text}${body}GET /smuggled HTTP/1.1\r\n${host}\r\n`);
      const rest = await client.whenClosed();
      assert.ok(rest === '' || /^HTTP\/1\.1 400 /.test(rest), rest);
      const next = await RawClient.open(port);
      await next.send(head('GET', '/next').replaceAll('plain', tenant));
      await until('the next request', () => service.received().includes('GET /next '));
      const [before] = service.received().split('GET /next ');
      assert.ok(!before.includes('smuggled'));
      assert.ok(!/\r\n0\r\n\r\n$/.test(before), JSON.stringify(before));
      if (before !== '') await until('the backend to be left', () => service.sockets.size === 1);
      next.close();
    });

  test('a bad body in the bytes of its head: the backend sees nothing, on a kept connection either', async () => {
    const service = await team('at-once', (socket) => {
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
    });
    const client = await RawClient.open(port);
    await client.send(head('GET', '/first').replaceAll('plain', 'at-once'));
    assert.equal((await client.response()).status, 200);
    await client.send(`${head('POST', '/bad', ['Transfer-Encoding: chunked']).replaceAll('plain', 'at-once')}zz\r\n`);
    const answer = await client.response();
    assert.equal(answer.status, 400);
    assert.equal(JSON.parse(answer.text).fault, 'bad_chunk_size');
    await client.whenClosed();
    const next = await RawClient.open(port);
    await next.send(head('GET', '/next').replaceAll('plain', 'at-once'));
    await until('the next request', () => service.received().includes('GET /next '));
    assert.ok(!service.received().includes('/bad'), service.received());
    next.close();
  });

  test('what is wrong with a backend’s answer is in the access log, and there alone', async () => {
    await team('wrong', (socket) => {
      socket.once('data', () =>
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n')
      );
    });
    const answer = await call('wrong');
    assert.equal(answer.status, 502);
    assert.equal(JSON.parse(answer.text).fault, undefined);
    const [line] = await until('the line in the access log', () => {
      const lines = world.gateway.accessLog().filter((one) => one.request_id === answer.headers['x-request-id']);
      return lines.length > 0 && lines;
    });
    assert.equal(line.reason, 'backend_bad_response');
    assert.equal(line.fault, 'length_and_encoding');
  });

  test('too long: target, fields, one field, their number; an unknown version', async () => {
    const cases = [
      [head('GET', `/${'a'.repeat(9000)}`), 414, 'uri_too_long'],
      [head('GET', '/', [`X-A: ${'a'.repeat(40000)}`]), 431, 'header_too_large'],
      [
        head(
          'GET',
          '/',
          Array.from({ length: 200 }, (_, i) => `X-${i}: a`)
        ),
        431,
        'header_too_large',
      ],
      [`${'G'.repeat(40)} / HTTP/1.1\r\nHost: plain.test\r\n\r\n`, 400, 'bad_request'],
      ['GET / HTTP/2.7\r\nHost: plain.test\r\n\r\n', 505, 'http_version'],
    ];
    upstream.clear();
    for (const [text, status, reason] of cases) {
      const client = await RawClient.open(port);
      await client.send(text);
      const answer = await client.response();
      assert.equal(answer.status, status);
      assert.equal(answer.reason, reason);
      assert.equal(JSON.parse(answer.text).status, status);
      await client.whenClosed();
    }
    assert.equal(upstream.requests.length, 0);
    assert.equal((await call('plain', { path: `/${'a'.repeat(7000)}` })).status, 200);
  });

  test('TLS, SSH and noise on the port hurt nobody', async () => {
    for (const noise of [
      '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
      'SSH-2.0-x\r\n\r\n',
      '\0\0\0\0\r\n\r\n',
      '\r\n\r\n\r\n\r\n',
    ]) {
      const client = await RawClient.open(port);
      await client.send(noise);
      client.socket.end();
      await client.whenClosed();
    }
    assert.equal((await call('plain')).status, 200);
  });

  test('a key that is in the header twice', async () => {
    upstream.clear();
    const client = await RawClient.open(port);
    await client.send(head('GET', '/', ['X-API-Key: another']));
    const answer = await client.response();
    if (answer.status === 200) assert.ok(!answer.text.includes('another'), 'what was checked is what is forwarded');
    client.close();
  });
});

// HTTP/2 through the gate with prior knowledge on a plain port: Node's client, curl, nghttp and h2load, none written here.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import http2 from 'node:http2';
import { promisify } from 'node:util';
import { ask, curl } from './lib/http.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { curlFieldsOf, domainOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { within } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const run = promisify(execFile);
const MEGABYTE = 1 << 20;

// What comes goes back at /echo; elsewhere, what was seen.
function respond(request, response, seen) {
  if (seen.path === '/echo') {
    response.writeHead(200);
    request.pipe(response);
  } else {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(seen));
  }
}

suite('http2', () => {
  closeUpstreamsAfter();
  let world, port, upstream;

  const headers = (fields = {}) => ({ ':authority': domainOf('plain'), 'x-api-key': keyOf('plain'), ...fields });

  function open() {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on('error', () => {}); // requests tell
    return session;
  }

  // One request; everything of its answer.
  function call(session, fields, body) {
    return within(
      'an answer',
      new Promise((resolve, reject) => {
        const stream = session.request(headers(fields), { endStream: body === undefined });
        const answer = { chunks: [], informed: [] };
        stream.on('headers', (h) => answer.informed.push(h[':status']));
        stream.on('response', (h) => Object.assign(answer, { status: h[':status'], headers: h }));
        stream.on('trailers', (h) => (answer.trailers = h));
        stream.on('data', (chunk) => answer.chunks.push(chunk));
        stream.on('error', reject);
        stream.on('close', () => resolve({ ...answer, code: stream.rstCode, body: Buffer.concat(answer.chunks) }));
        if (body !== undefined) stream.end(body);
      })
    );
  }

  before(async () => {
    world = await World.start({ workers: 2 });
    port = world.gateway.port;
    upstream = await startUpstream({ isStreaming: true, respond });
    await world.api.apply(teamFile('plain', upstream.port));
  });

  test('a thousand requests at a time on one connection of Node', async () => {
    const session = open();
    const answers = await Promise.all(Array.from({ length: 1000 }, (_, i) => call(session, { ':path': `/n/${i}` })));
    assert.deepEqual(
      answers.map((a) => [a.status, JSON.parse(a.body).path]),
      answers.map((_, i) => [200, `/n/${i}`])
    );
    session.close();
  });

  test('the backend reads what HTTP/1.1 would have said', async () => {
    const session = open();
    const answer = await call(session, { ':path': '/h?x=1', cookie: ['a=1', 'b=2'], 'x-one': 'one', te: 'trailers' });
    const seen = JSON.parse(answer.body);
    assert.equal(seen.headers.cookie, 'a=1; b=2');
    assert.equal(seen.headers['x-one'], 'one');
    assert.equal(seen.headers.te, undefined);
    assert.match(seen.headers.via, /^2 daemun/);
    assert.ok(answer.headers['x-request-id']);
    session.close();
  });

  test('bodies go both ways, byte for byte', async () => {
    const session = open();
    const body = randomBytes(MEGABYTE);
    const sha = createHash('sha256').update(body).digest('hex');
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => call(session, { ':method': 'POST', ':path': '/echo' }, body))
    );
    for (const answer of answers)
      assert.equal(createHash('sha256').update(answer.body).digest('hex'), sha);
    session.close();
  });

  test('the gateway refuses with its own words', async () => {
    const session = open();
    const answer = await call(session, { 'x-api-key': 'wrong' });
    assert.equal(answer.status, 403);
    assert.equal(JSON.parse(answer.body).reason, 'auth_invalid');
    const lost = await call(session, { ':authority': 'nobody.test' });
    assert.equal(lost.status, 404);
    session.close();
  });

  test('curl, with and without a body', async () => {
    const flags = ['--http2-prior-knowledge', ...curlFieldsOf('plain')];
    const plain = await curl([...flags, '-w', '%{http_version} %{http_code}', '-o', '/dev/null', `http://127.0.0.1:${port}/`]);
    assert.equal(plain.stdout, '2 200');
    const posted = await curl([...flags, '-d', 'hello', `http://127.0.0.1:${port}/echo`]);
    assert.equal(posted.stdout, 'hello');
  });

  test('curl asks for an upgrade to h2c and is answered in HTTP/1.1', async () => {
    const answer = await curl(['--http2', ...curlFieldsOf('plain'),
      '-w', '%{http_version} %{http_code}', '-o', '/dev/null', `http://127.0.0.1:${port}/`]);
    assert.equal(answer.stdout, '1.1 200');
  });

  test('nghttp', async () => {
    const { stdout } = await run('nghttp', ['-nv', '-H', `:authority: ${domainOf('plain')}`, '-H',
      `x-api-key: ${keyOf('plain')}`, `http://127.0.0.1:${port}/`]);
    assert.match(stdout, /:status: 200/);
    assert.match(stdout, /SETTINGS_ENABLE_CONNECT_PROTOCOL\(0x08\):1/);
    assert.match(stdout, /error_code=NO_ERROR/);
  });

  test('h2load: every request succeeds, on many connections and streams', async () => {
    const { stdout } = await run('h2load', ['-n', '20000', '-c', '8', '-m', '32', '-H', `:authority: ${domainOf('plain')}`,
      '-H', `x-api-key: ${keyOf('plain')}`, `http://127.0.0.1:${port}/`]);
    assert.match(stdout, /requests: 20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout/);
    assert.match(stdout, /status codes: 20000 2xx/);
  });

  test('both versions on one port', async () => {
    const answer = await ask(port, { host: domainOf('plain'), key: keyOf('plain') });
    assert.equal(answer.status, 200);
  });
});

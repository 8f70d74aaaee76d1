// Backends that speak HTTP/2: Node's own server, in clear text and behind TLS.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import { after, before, cutsWhatIsInHand, suite, test } from './lib/testing.mjs';
import { ask } from './lib/http.mjs';
import { Pki } from './lib/pki.mjs';
import { domainOf, keyOf, teamFile } from './lib/team.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const sha = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');

suite('backend-http2', () => {
  let world, plain, secure, pki;

  // A server that echoes what it got; /sum answers the digest of the body, with its length as a trailer.
  async function serve(server) {
    const backend = { server, sessions: new Set(), requests: 0, all: 0 };
    server.on('session', (session) => {
      backend.all++;
      backend.sessions.add(session);
      session.on('close', () => backend.sessions.delete(session));
    });
    server.on('stream', (stream, headers) => {
      const parts = [];
      backend.requests++;
      stream.on('error', () => {});
      stream.on('data', (part) => parts.push(part));
      stream.on('end', () => {
        const body = Buffer.concat(parts);
        if (headers[':path'] === '/big') {
          stream.respond({ ':status': 200 });
          stream.end(Buffer.alloc(5_000_000, 7));
          return;
        }
        stream.respond({ ':status': 200, 'content-type': 'application/json' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'x-length': String(body.length) }));
        stream.end(JSON.stringify({ headers, digest: sha(body) }));
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    backend.port = server.address().port;
    return backend;
  }

  const call = (name, options = {}) => ask(world.gateway.port, { host: domainOf(name), key: keyOf(name), ...options });

  before(async () => {
    pki = new Pki();
    const leaf = pki.issue(['localhost']);
    plain = await serve(http2.createServer());
    secure = await serve(http2.createSecureServer({ key: leaf.key, cert: leaf.chain }));
    world = await World.start({ workers: 1 });
    await world.api.apply(teamFile('plain', plain.port, { backend: { protocol: 'http2' } }));
    const tls = { ca: pki.root.certificate, server_name: 'localhost' };
    await world.api.apply(teamFile('secure', secure.port, { backend: { protocol: 'http2', tls } }));
  });

  after(() => {
    for (const { server, sessions } of [plain, secure]) {
      for (const session of sessions) session.destroy();
      server.close();
    }
  });

  for (const [name, scheme] of [
    ['plain', 'http'],
    ['secure', 'https'],
  ]) {
    test(`${name}: requests share connections`, async () => {
      const backend = name === 'plain' ? plain : secure;
      const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => call(name, { path: `/${i}` })));
      for (const [i, answer] of answers.entries()) {
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.json.headers[':path'], `/${i}`);
        assert.equal(answer.json.headers[':scheme'], scheme);
        assert.equal(answer.json.headers.te, 'trailers');
        assert.equal(answer.json.headers.connection, undefined);
      }
      assert.ok(backend.all <= 2, `${backend.all} connections`);
    });

    test(`${name}: large bodies both ways`, async () => {
      const body = crypto.randomBytes(3_000_000);
      const answer = await call(name, { method: 'POST', path: '/sum', body });
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.json.digest, sha(body));
      const big = await call(name, { path: '/big' });
      assert.equal(big.text.length, 5_000_000);
    });
  }

  test('trailers arrive', async () => {
    const headers = { host: domainOf('plain'), 'x-api-key': keyOf('plain'), te: 'trailers' };
    const request = http.request({ port: world.gateway.port, method: 'POST', path: '/t', headers });
    request.end('12345');
    const [response] = await once(request, 'response');
    response.resume();
    await once(response, 'end');
    assert.equal(response.trailers['x-length'], '5');
  });

  test('a backend that goes away fails nobody', { skip: cutsWhatIsInHand }, async () => {
    const failed = [];
    let isOver = false;
    const worker = async () => {
      while (!isOver) {
        const answer = await call('plain', { method: 'POST', path: '/w', body: 'x' });
        if (answer.status !== 200) failed.push(answer.text);
      }
    };
    const workers = Array.from({ length: 8 }, worker);
    for (let i = 0; i < 5; i++) {
      const before = plain.requests;
      for (const session of plain.sessions) session.close(); // GOAWAY, and what is in hand goes through
      await until('requests on other connections', () => plain.requests > before + 50);
    }
    isOver = true;
    await Promise.all(workers);
    assert.deepEqual(failed, []);
  });
});

// Teams' domains over TLS as callers meet them: certificates by name, their rotation, tickets, client certificates, whose
// connection it is, redirects.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import http2 from 'node:http2';
import tls from 'node:tls';
import { Pki } from './lib/pki.mjs';
import { freePort } from './lib/ports.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { keyOf, LIVE, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';


suite('tls', () => {
  closeUpstreamsAfter();
  let world, pki, upstream, port, bare, clear;
  const leafs = {};

  // One connection of TLS, read until the other side closes or `until` was seen.
  function connect(servername, options = {}) {
    const socket = tls.connect({ host: '127.0.0.1', port, servername, ca: pki.root.certificate, ...options });
    socket.text = '';
    socket.setEncoding('latin1');
    socket.on('data', (text) => (socket.text += text));
    socket.on('error', (error) => (socket.failure = error));
    return socket;
  }

  async function opened(servername, options) {
    const socket = connect(servername, options);
    await once(socket, 'secureConnect');
    return socket;
  }

  // The answer to one request on the connection: {status, text}.
  async function ask(socket, host, { path = '/', headers = '' } = {}) {
    const before = socket.text.length;
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${headers}\r\n`);
    await until('an answer', () => {
      const text = socket.text.slice(before);
      const head = text.indexOf('\r\n\r\n');
      if (head < 0) return socket.failure ?? false;
      return text.length - head - 4 >= Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
    });
    const text = socket.text.slice(before);
    return { text, status: Number(/^HTTP\/1.1 (\d+)/.exec(text)?.[1]) };
  }

  const key = (name) => `X-API-Key: ${keyOf(name)}\r\n`;

  function curl(to, ...args) {
    return new Promise((resolve) => {
      const all = ['--silent', '--show-error', '--cacert', pki.rootFile, '--connect-to', `::127.0.0.1:${to}`, ...args];
      execFile('curl', all, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, stdout, stderr }));
    });
  }

  async function file(name, extra) {
    const grants = {
      domains: [{ name: `${name}.test` }, { name: `*.${name}.shop` }],
      endpoints: [{ address: '127.0.0.1', port: upstream.port }],
    };
    const product = { domains: [`${name}.test`, `*.${name}.shop`] };
    const made = await world.api.put(`/tenants/${name}/document${LIVE}`, teamFile(name, upstream.port, { grants, product, ...extra }));
    assert.ok(made.status < 300, made.text);
    assert.equal(made.body.live.gateways, made.body.live.of, made.text);
  }

  const certificate = (name, leaf) => ({ name, chain: leaf.chain, key: leaf.key });

  before(async () => {
    upstream = await startUpstream();
    port = await freePort();
    bare = await freePort();
    const listeners = [`127.0.0.1:${port} tls`, `127.0.0.1:${bare} tls http2=off`];
    world = await World.start({ workers: 2, gatewayArgs: listeners.flatMap((one) => ['--listen', one]) });
    clear = world.gateway.port;
    pki = new Pki();
    leafs.alpha = pki.issue(['alpha.test', 'pay.alpha.shop', 'must.alpha.shop', 'may.alpha.shop']);
    leafs.wide = pki.issue(['*.alpha.shop']);
    leafs.beta = pki.issue(['beta.test']);
    for (const name of ['alpha', 'beta', 'gamma']) await world.api.must('POST', '/tenants', { name });
    await file('alpha', {
      certificates: [certificate('main', leafs.alpha), certificate('wide', leafs.wide)],
      domains: [
        { name: 'alpha.test', certificate: 'main', hsts_max_age_s: 600, redirect_to_https: true },
        { name: '*.alpha.shop', certificate: 'wide' },
        { name: 'must.alpha.shop', certificate: 'main', client_certificate: 'required', client_ca: pki.root.certificate },
        { name: 'may.alpha.shop', certificate: 'main', client_certificate: 'optional', client_ca: pki.root.certificate },
        { name: 'new.alpha.shop', certificate: 'wide', tls_min_version: '1.3', http2: false },
      ],
    });
    await file('beta', { certificates: [certificate('main', leafs.beta)], domains: [{ name: 'beta.test' }] });
  });

  test('the certificate is the one of the name', async () => {
    for (const [name, leaf] of [['alpha.test', leafs.alpha], ['x.alpha.shop', leafs.wide], ['beta.test', leafs.beta]]) {
      const socket = await opened(name);
      assert.equal(socket.getPeerCertificate().fingerprint256.replaceAll(':', '').toLowerCase(), pki.fingerprint(leaf), name);
      assert.equal(socket.getProtocol(), 'TLSv1.3');
      socket.destroy();
    }
  });

  test('a request goes through, and the backend is told how it came', async () => {
    const socket = await opened('alpha.test');
    const { status, text } = await ask(socket, 'alpha.test', { headers: key('alpha') });
    assert.equal(status, 200, text);
    assert.match(text, /strict-transport-security: max-age=600\r\n/i);
    const seen = upstream.requests.at(-1);
    assert.equal(seen.headers['x-forwarded-proto'], 'https');
    assert.match(seen.headers.forwarded, /proto=https/);
    assert.equal((await ask(socket, 'alpha.test', { headers: key('alpha') })).status, 200, 'kept alive');
    socket.destroy();
  });

  test('a name that nobody serves, and none at all, are refused in the handshake', async () => {
    for (const name of ['nobody.test', '']) {
      const socket = connect(name);
      await until('the end', () => socket.failure);
      assert.match(String(socket.failure), /unrecognized.name|alert number 112/i, name);
    }
    assert.ok((await world.gateway.metric('daemun_worker_tls_failures_total', { reason: 'unrecognized_name' })) >= 2);
  });

  test('versions below 1.2, and below what a domain asks, are refused', async () => {
    const old = connect('alpha.test', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' });
    await until('the end', () => old.failure);
    const two = await opened('alpha.test', { maxVersion: 'TLSv1.2' });
    assert.equal(two.getProtocol(), 'TLSv1.2');
    two.destroy();
    const below = connect('new.alpha.shop', { maxVersion: 'TLSv1.2' });
    await until('the end', () => below.failure);
    assert.equal((await opened('new.alpha.shop')).getProtocol(), 'TLSv1.3');
  });

  test('curl is content with chain and name', async () => {
    const answer = await curl(port, '-i', '-H', key('alpha').trim(), 'https://pay.alpha.shop/');
    assert.match(answer.stdout, /^HTTP\/\S+ 200/, answer.stderr);
    const wrong = await curl(port, 'https://a.b.alpha.shop/');
    assert.equal(wrong.code, 60, 'the wildcard of a certificate stands for one label');
  });

  test('ALPN offers HTTP/2 where the domain has it', async () => {
    const both = { ALPNProtocols: ['h2', 'http/1.1'] };
    assert.equal((await opened('alpha.test', both)).alpnProtocol, 'h2');
    assert.equal((await opened('new.alpha.shop', both)).alpnProtocol, 'http/1.1');
  });

  test('a listener without HTTP/2 offers none, whatever the domain has', async () => {
    const socket = await opened('alpha.test', { port: bare, ALPNProtocols: ['h2', 'http/1.1'] });
    assert.equal(socket.alpnProtocol, 'http/1.1');
    assert.equal((await ask(socket, 'alpha.test', { headers: key('alpha') })).status, 200);
    socket.destroy();
  });

  test('HTTP/1.0 clients that say so are served', async () => {
    const answer = await curl(port, '--http1.0', '--include', '--header', key('alpha').trim(), 'https://alpha.test/');
    assert.match(answer.stdout, /^HTTP\/\S+ 200/, answer.stderr);
  });

  test('a connection is its tenant’s: others’ names are 421', async () => {
    const socket = await opened('alpha.test');
    assert.equal((await ask(socket, 'beta.test', { headers: key('beta') })).status, 421);
    assert.equal((await ask(socket, 'x.alpha.shop', { headers: key('alpha') })).status, 200, 'its own other names are fine');
    const other = await ask(socket, 'may.alpha.shop', { headers: key('alpha') });
    assert.equal(other.status, 421, 'not under other rules for client certificates');
    assert.match(other.text, /daemun-reason: misdirected_request/i);
    assert.equal((await ask(socket, 'alpha.test', { headers: key('alpha') })).status, 200);
    socket.destroy();
  });

  test('what a domain asks of TLS holds for connections that were made for a sibling', async () => {
    const two = await opened('x.alpha.shop', { maxVersion: 'TLSv1.2' });
    assert.equal((await ask(two, 'new.alpha.shop', { headers: key('alpha') })).status, 421, 'below its version');
    assert.equal((await ask(two, 'x.alpha.shop', { headers: key('alpha') })).status, 200);
    two.destroy();
    const three = await opened('x.alpha.shop');
    assert.equal((await ask(three, 'new.alpha.shop', { headers: key('alpha') })).status, 200);
    three.destroy();
    const client = http2.connect('https://x.alpha.shop', { createConnection: () => connect('x.alpha.shop', { ALPNProtocols: ['h2'] }) });
    const over = async (host) => {
      const stream = client.request({ ':authority': host, 'x-api-key': keyOf('alpha') });
      const [headers] = await once(stream, 'response');
      stream.destroy();
      return headers[':status'];
    };
    assert.equal(await over('new.alpha.shop'), 421, 'it has no HTTP/2');
    assert.equal(await over('x.alpha.shop'), 200);
    client.destroy();
  });

  test('client certificates: required, optional, wrong', async () => {
    const client = pki.issue([], { subject: '/O=Caller/CN=robot', isClient: true });
    const shown = { cert: client.certificate, key: client.key };
    const bare = connect('must.alpha.shop');
    await until('the end', () => bare.failure);
    assert.match(String(bare.failure), /certificate.required|alert number 116/i);
    const right = await opened('must.alpha.shop', shown);
    assert.equal((await ask(right, 'must.alpha.shop', { headers: key('alpha') })).status, 200);
    assert.equal((await ask(await opened('may.alpha.shop'), 'may.alpha.shop', { headers: key('alpha') })).status, 200);
    const other = new Pki();
    const stranger = other.issue([], { subject: '/CN=stranger', isClient: true });
    const wrong = connect('may.alpha.shop', { cert: stranger.certificate, key: stranger.key });
    await until('the end', () => wrong.failure);
    assert.match(String(wrong.failure), /unknown.ca|alert number 48/i);
    const reasons = { reason: 'client_certificate_missing' };
    assert.ok((await world.gateway.metric('daemun_worker_tls_failures_total', reasons)) >= 1);
  });

  test('a client certificate tells applications apart, and the backend is told which it was', async () => {
    const robot = pki.issue([], { subject: '/O=Caller/CN=robot', isClient: true });
    const clerk = pki.issue([], { subject: '/O=Caller/CN=clerk', isClient: true });
    const nobody = pki.issue([], { subject: '/O=Caller/CN=nobody', isClient: true });
    const ofApp = (name, credential) => ({
      name,
      subscriptions: [{ product: 'main', plan: 'basic' }],
      credentials: [{ name: 'first', type: 'client_certificate', ...credential }],
    });
    await file('gamma', {
      policies: [{ type: 'client_certificate', forward_header: 'X-Caller' }],
      applications: [ofApp('robot', { fingerprint: pki.fingerprint(robot) }), ofApp('clerk', { subject: 'CN=clerk,O=Caller' })],
      certificates: [certificate('main', pki.issue(['gamma.test']))],
      domains: [{ name: 'gamma.test', client_certificate: 'optional', client_ca: pki.root.certificate }],
    });
    const by = async (leaf) => ask(await opened('gamma.test', { cert: leaf?.certificate, key: leaf?.key }), 'gamma.test', { headers: 'X-Caller: forged\r\n' });
    assert.equal((await by(robot)).status, 200);
    assert.equal(upstream.requests.at(-1).headers['x-caller'], `fingerprint:${pki.fingerprint(robot)}`);
    assert.equal((await by(clerk)).status, 200);
    assert.equal(upstream.requests.at(-1).headers['x-caller'], 'subject:CN=clerk,O=Caller');
    assert.match((await by(nobody)).text, /^HTTP\/1.1 403 [^]*daemun-reason: auth_invalid/i);
    assert.match((await by(undefined)).text, /^HTTP\/1.1 401 [^]*daemun-reason: auth_missing/i);
  });

  test('responses to a client certificate are compressed only where a team says so; one that opens nothing is no secret', async () => {
    const robot = pki.issue([], { subject: '/CN=robot', isClient: true });
    const shown = { cert: robot.certificate, key: robot.key };
    const ofKey = { name: 'keyed', subscriptions: [{ product: 'main', plan: 'basic' }], credentials: [{ name: 'first', type: 'api_key', key: keyOf('gamma') }] };
    const ofCertificate = { ...ofKey, name: 'robot', credentials: [{ name: 'first', type: 'client_certificate', fingerprint: pki.fingerprint(robot) }] };
    const encodingFor = async (policy, compression) => {
      await file('gamma', {
        policies: [policy, { type: 'compression', min_bytes: 1, ...compression }],
        applications: [ofKey, ofCertificate],
        certificates: [certificate('main', pki.issue(['gamma.test']))],
        domains: [{ name: 'gamma.test', client_certificate: 'optional', client_ca: pki.root.certificate }],
      });
      const socket = await opened('gamma.test', shown);
      const { text, status } = await ask(socket, 'gamma.test', { headers: `${key('gamma')}Accept-Encoding: gzip\r\n` });
      socket.destroy();
      assert.equal(status, 200, text);
      return /content-encoding: (.*)\r\n/i.exec(text)?.[1];
    };
    assert.equal(await encodingFor({ type: 'client_certificate' }), undefined);
    assert.equal(await encodingFor({ type: 'client_certificate' }, { with_credentials: true }), 'gzip');
    assert.equal(await encodingFor({ type: 'api_key' }), 'gzip');
  });

  test('a ticket resumes on every worker, and not for another domain', async () => {
    const first = await opened('alpha.test');
    const [session] = await once(first, 'session');
    first.destroy();
    for (let i = 0; i < 8; i++) {
      const again = await opened('alpha.test', { session });
      assert.equal(again.isSessionReused(), true, `connection ${i}`);
      again.destroy();
    }
    const elsewhere = await opened('x.alpha.shop', { session });
    assert.equal(elsewhere.isSessionReused(), false);
    elsewhere.destroy();
  });

  test('a new certificate is there with the next handshake, and no connection is dropped', async () => {
    const kept = await opened('beta.test');
    assert.equal((await ask(kept, 'beta.test', { headers: key('beta') })).status, 200);
    const renewed = pki.issue(['beta.test']);
    const put = await world.api.put(`/tenants/beta/certificates/main${LIVE}`, { chain: renewed.chain, key: renewed.key });
    assert.equal(put.status, 200, put.text);
    assert.equal(put.body.live.gateways, put.body.live.of, put.text);
    const fresh = await opened('beta.test');
    assert.equal(fresh.getPeerCertificate().fingerprint256.replaceAll(':', '').toLowerCase(), pki.fingerprint(renewed));
    assert.equal((await ask(kept, 'beta.test', { headers: key('beta') })).status, 200, 'the old connection lives on');
  });

  test('plain HTTP is sent to https where the domain says so', async () => {
    const get = await curl(clear, '-i', 'http://alpha.test/a?b=c');
    assert.match(get.stdout, /^HTTP\/1.1 301 /);
    assert.match(get.stdout, /location: https:\/\/alpha\.test\/a\?b=c\r\n/i);
    assert.doesNotMatch(get.stdout, /strict-transport-security/i);
    const post = await curl(clear, '-i', '-d', 'x', 'http://alpha.test/a');
    assert.match(post.stdout, /^HTTP\/1.1 308 /);
    const must = await curl(clear, '-i', 'http://must.alpha.shop/');
    assert.match(must.stdout, /^HTTP\/1.1 403 [^]*daemun-reason: client_certificate_required/i);
  });

  test('above its handshakes a second a team is refused, and nobody else', async () => {
    const { gateway } = world;
    const metric = (name, labels) => gateway.metric(name, labels);
    const begun = await metric('daemun_tenant_tls_handshakes_total', { tenant: 'beta' });
    await world.api.must('PATCH', `/tenants/beta${LIVE}`, { caps: { handshakes: 1 } });
    const sockets = Array.from({ length: 12 }, () => connect('beta.test'));
    await Promise.all(sockets.map((socket) => once(socket, 'secureConnect').catch(() => null)));
    const failures = sockets.filter((socket) => socket.failure).map((socket) => socket.failure.code);
    assert.ok(failures.length >= 1 && failures.length < sockets.length, `${failures.length} of ${sockets.length}`);
    for (const code of failures) assert.equal(code, 'ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR');
    assert.equal(await metric('daemun_tenant_refused_total', { tenant: 'beta', cap: 'handshakes' }), failures.length);
    const grown = (await metric('daemun_tenant_tls_handshakes_total', { tenant: 'beta' })) - begun;
    assert.equal(grown, sockets.length - failures.length);
    for (const socket of sockets) socket.destroy();
    const other = await opened('alpha.test');
    assert.equal((await ask(other, 'alpha.test', { headers: key('alpha') })).status, 200);
    other.destroy();
    await world.api.must('PATCH', `/tenants/beta${LIVE}`, { caps: { handshakes: 0 } });
    (await opened('beta.test')).destroy();
  });

  test('certificates and their keys are there after a restart, with the controller gone', async () => {
    await world.controller.stop();
    await world.gateway.killAll();
    await world.gateway.start(['--listen', `127.0.0.1:${port} tls`]);
    const socket = await opened('alpha.test');
    assert.equal((await ask(socket, 'alpha.test', { headers: key('alpha') })).status, 200);
    socket.destroy();
  });
});

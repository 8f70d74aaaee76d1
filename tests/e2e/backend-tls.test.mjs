// Backends with TLS: verified, or told why not; shown a certificate of the team's, and its renewal.
import assert from 'node:assert/strict';
import https from 'node:https';
import { after } from 'node:test';
import { Pki } from './lib/pki.mjs';
import { fetchText } from './lib/http.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { domainOf, keyOf, teamFile } from './lib/team.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

suite('backend-tls', () => {
  let world, pki;
  const servers = [];

  // A backend that wants a certificate of the root's and says whose it got.
  async function startBackend(leaf, options) {
    const server = https.createServer({ cert: leaf.chain, key: leaf.key, ...options }, (request, response) => {
      const { socket } = request;
      const shown = socket.getPeerCertificate()?.fingerprint256?.replaceAll(':', '').toLowerCase() ?? 'none';
      response.end(JSON.stringify({ shown, name: socket.servername, isReused: socket.isSessionReused() }));
    });
    servers.push(server);
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return server.address().port;
  }

  async function apply(port, tls, extra = {}) {
    const answer = await world.api.put('/tenants/alpha/document?wait=live&timeout_ms=60000', teamFile('alpha', port, { backend: { tls }, ...extra }));
    assert.ok(answer.status < 300, answer.text);
    assert.equal(answer.body.live.gateways, answer.body.live.of, answer.text);
  }

  const ask = (path = '/') =>
    fetchText(`http://127.0.0.1:${world.gateway.port}${path}`, { headers: { host: domainOf('alpha'), 'x-api-key': keyOf('alpha') } });

  // What an operator reads of a call that failed.
  async function failureOf(path) {
    const answer = await ask(path);
    assert.equal(answer.status, 502, answer.text);
    assert.match(answer.text, /"backend_tls"/);
    return (await until('its line', () => world.gateway.accessLog().find((line) => line.path === path))).backend_tls_error;
  }

  before(async () => {
    world = await World.start({ workers: 1 });
    pki = new Pki();
    await world.api.must('POST', '/tenants', { name: 'alpha' });
  });
  after(() => servers.forEach((server) => server.close() && server.closeAllConnections()));

  test('a backend is verified: issuer and name', async () => {
    const port = await startBackend(pki.issue(['inner.test']));
    await apply(port, { ca: pki.root.certificate, server_name: 'inner.test' });
    const good = await ask();
    assert.equal(good.status, 200, good.text);
    assert.equal(JSON.parse(good.text).name, 'inner.test');
    await apply(port, { ca: pki.root.certificate, server_name: 'other.test' });
    assert.equal(await failureOf('/wrong-name'), 'certificate_host_mismatch');
    await apply(port, { server_name: 'inner.test' });
    assert.equal(await failureOf('/wrong-issuer'), 'certificate_unknown_issuer', 'the system does not know the issuer');
    assert.equal(await world.gateway.metric('daemun_upstream_tls_failures_total', { tenant: 'alpha', reason: 'certificate_host_mismatch' }), 1);
    assert.equal(await world.gateway.metric('daemun_upstream_tls_failures_total', { tenant: 'alpha', reason: 'certificate_unknown_issuer' }), 1);
    await apply(port, { server_name: 'other.test', verify: false });
    assert.equal((await ask()).status, 200);
  });

  test('a backend is shown the team’s certificate, and its renewal at once', async () => {
    const port = await startBackend(pki.issue(['inner.test']), { requestCert: true, rejectUnauthorized: true, ca: pki.root.certificate });
    await apply(port, { ca: pki.root.certificate, server_name: 'inner.test' });
    assert.equal(await failureOf('/shows-none'), 'alert_certificate_required');
    const tls = { ca: pki.root.certificate, server_name: 'inner.test', client_certificate: 'mine' };
    const first = pki.issue([], { subject: '/CN=alpha', isClient: true });
    await apply(port, tls, { certificates: [{ name: 'mine', chain: first.chain, key: first.key }] });
    assert.equal(JSON.parse((await ask()).text).shown, pki.fingerprint(first));
    const second = pki.issue([], { subject: '/CN=alpha', isClient: true });
    const put = await world.api.put('/tenants/alpha/certificates/mine?wait=live&timeout_ms=60000', { chain: second.chain, key: second.key });
    assert.equal(put.status, 200, put.text);
    assert.equal(JSON.parse((await ask()).text).shown, pki.fingerprint(second));
    const health = { interval_ms: 200, timeout_ms: 200 }; // checks show it too
    const patch = await world.api.patch('/tenants/alpha/backends/service?wait=live&timeout_ms=60000', { health });
    assert.equal(patch.status, 200, patch.text);
    const checks = (result) => world.gateway.metric('daemun_endpoint_checks_total', { tenant: 'alpha', result });
    await until('checks that pass', async () => (await checks('passed')) > 2);
    assert.equal((await checks('failed')) + (await checks('skipped')), 0);
  });
});

// What a change does to traffic: releases under load, teams that go, egress that the master opens and closes.
import assert from 'node:assert/strict';
import { Pool } from 'undici';
import { assertRefused, startGate } from './lib/gate.mjs';
import { apiKey, domainOf, keyOf, teamFile } from './lib/team.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { deferred, until, within } from './lib/wait.mjs';

suite('changes', () => {
  closeUpstreamsAfter();
  let world, api, services, team, call;

  before(async () => {
    ({ world, api, services, team, call } = await startGate());
  });

  // --- changes under load -----------------------------------------------------------------------------------------------

  test('changes go live while keep-alive load runs, and no request fails', async () => {
    const file = await team('loaded');
    const pool = new Pool(`http://127.0.0.1:${world.gateway.port}`, { connections: 8 });
    const seen = { count: 0, failed: [] };
    let isOver = false;
    const load = Array.from({ length: 8 }, async () => {
      while (!isOver) {
        const answer = await call('loaded', { dispatcher: pool }).catch((error) => ({ status: error.message }));
        seen.count++;
        if (answer.status !== 200) seen.failed.push(answer.status);
      }
    });
    try {
      await until('load', () => seen.count > 50);
      for (let round = 1; round <= 25; round++) {
        const product = structuredClone(file.products[0]);
        product.versions[0].policies = [
          apiKey,
          { type: 'headers', response: [{ op: 'set', name: 'X-Round', value: String(round) }] },
        ];
        const { live } = await api.must('PUT', '/tenants/loaded/products/main?wait=live', product);
        assert.deepEqual(live, { gateways: 1, of: 1, lagging: [], refused: [] });
        // live is live: on whichever worker the next connections come
        for (let i = 0; i < 4; i++) assert.equal((await call('loaded')).headers['x-round'], String(round));
      }
    } finally {
      isOver = true;
      await Promise.all(load);
      await pool.destroy();
    }
    assert.deepEqual(seen.failed, []);
  });

  test('a request in flight keeps the configuration that it began with', async () => {
    const held = deferred();
    const response = (value) => ({
      policies: [apiKey, { type: 'headers', response: [{ op: 'set', name: 'X-Unit', value }] }],
    });
    await team('pinned', response('old'), {
      respond: (request, answer, seen) => {
        if (seen.path !== '/held') return answer.end('quick');
        answer.write('begun');
        held.promise.then(() => answer.end(' and ended'));
      },
    });
    const long = call('pinned', { path: '/held' });
    await until('the request at the backend', () => services.pinned.requests.some((seen) => seen.path === '/held'));
    await api.apply(teamFile('pinned', services.pinned.port, response('new')));
    assert.equal((await call('pinned')).headers['x-unit'], 'new');
    await api.must('DELETE', '/tenants/pinned?wait=live');
    assertRefused(await call('pinned'), 404, 'host_unknown');
    held.resolve();
    const answer = await within('the held answer', long);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['x-unit'], 'old');
    assert.equal(answer.text, 'begun and ended');
  });

  test('a request in flight whose answer has not begun keeps it too', async () => {
    const held = deferred();
    const response = (value) => ({
      policies: [apiKey, { type: 'headers', response: [{ op: 'set', name: 'X-Unit', value }] }],
    });
    await team('waiting', response('old'), {
      respond: (request, answer) => held.promise.then(() => answer.end('late')),
    });
    const long = call('waiting');
    await until('the request at the backend', () => services.waiting.requests.length === 1);
    const file = teamFile('waiting', services.waiting.port, {
      ...response('new'),
      version: { backends: [], path: '/other' },
    });
    await api.apply(file);
    held.resolve();
    const answer = await within('the held answer', long);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['x-unit'], 'old');
  });

  test('a suspended team is refused, and served again', async () => {
    await team('paused');
    await api.must('PATCH', '/tenants/paused?wait=live', { state: 'suspended' });
    assertRefused(await call('paused'), 403, 'tenant_suspended');
    assert.equal((await call('orders')).status, 200);
    await api.must('PATCH', '/tenants/paused?wait=live', { state: 'active' });
    assert.equal((await call('paused')).status, 200);
  });

  test('a deleted team is gone; one of the same name starts with nothing', async () => {
    await team('gone');
    assert.equal((await call('gone')).status, 200);
    await api.must('DELETE', '/tenants/gone?wait=live');
    assertRefused(await call('gone'), 404, 'host_unknown');
    await team('gone', { applications: [] });
    assertRefused(await call('gone'), 403, 'auth_invalid');
  });

  test('a domain that the master takes back is no longer served', async () => {
    await team('moved');
    await api.must('PATCH', '/tenants/moved/grants?wait=live', { domains: [] });
    assertRefused(await call('moved'), 404, 'host_unknown');
    const second = await startUpstream({ name: 'successor' });
    const successor = teamFile('successor', second.port);
    successor.grants.domains.push({ name: domainOf('moved') });
    successor.products[0].domains.push(domainOf('moved'));
    await api.apply(successor);
    assertRefused(await call('moved'), 403, 'auth_invalid');
    assert.equal((await call('moved', { key: keyOf('successor') })).json.name, 'successor');
  });

  // --- egress -----------------------------------------------------------------------------------------------------------

  test('the other team’s address and port are refused by the API', async () => {
    const endpoints = [{ host: '127.0.0.1', port: services.catalog.port }];
    const answer = await api.put('/tenants/orders/backends/spy', { endpoints });
    assert.equal(answer.status, 403, answer.text);
    assert.equal(answer.body.reason, 'not_granted');
    assert.equal(answer.body.errors[0].pointer, '/endpoints/0');
  });

  test('… and by a name, by the gateway, on the address it resolves to', async () => {
    services.catalog.clear();
    const file = teamFile('sneaky', services.catalog.port);
    file.grants.endpoints = [{ address: '127.0.0.2', port: services.catalog.port }];
    file.backends[0].endpoints = [{ host: 'localhost', port: services.catalog.port }];
    await api.apply(file);
    assertRefused(await call('sneaky'), 502, 'egress_not_approved');
    assert.equal(services.catalog.requests.length, 0);
  });

  test('special addresses are opened by no wide grant: not by the API, not by a name', async () => {
    const service = await startUpstream();
    const file = teamFile('wide', service.port);
    file.grants.endpoints = [
      { address: '0.0.0.0/0', port: 0 },
      { address: '::/0', port: 0 },
    ];
    file.backends[0].endpoints = [{ host: 'localhost', port: service.port }];
    await api.apply(file);
    for (const host of [
      '169.254.169.254',
      '169.254.0.1',
      '127.0.0.1',
      '0.0.0.0',
      '::1',
      'fe80::1',
      '::ffff:127.0.0.1',
      '224.0.0.1',
      'fd00:ec2::254',
    ]) {
      const answer = await api.put('/tenants/wide/backends/spy', { endpoints: [{ host, port: 80 }] });
      assert.equal(answer.status, 403, `${host}: ${answer.status} ${answer.text}`);
      assert.equal(answer.body.reason, 'not_granted');
    }
    assertRefused(await call('wide'), 502, 'egress_not_approved');
    assert.equal(service.requests.length, 0);
    file.grants.endpoints.push({ address: '127.0.0.0/8', port: service.port }, { address: '::1', port: service.port });
    await api.apply(file);
    assert.equal((await call('wide')).status, 200);
  });

  test('an endpoint that the master takes back is not reached any more, by no kept connection either', async () => {
    await team('withdrawn');
    const pool = new Pool(`http://127.0.0.1:${world.gateway.port}`, { connections: 4 });
    await Promise.all(Array.from({ length: 8 }, () => call('withdrawn', { dispatcher: pool })));
    await api.must('PATCH', '/tenants/withdrawn/grants?wait=live', { endpoints: [] });
    services.withdrawn.clear();
    for (let i = 0; i < 8; i++)
      assertRefused(await call('withdrawn', { dispatcher: pool }), 502, 'egress_not_approved');
    assert.equal(services.withdrawn.requests.length, 0);
    await pool.destroy();
  });

  test('a name without an address', async () => {
    const file = teamFile('nameless', 9999, {
      backends: [{ name: 'service', endpoints: [{ host: 'no-such-host.invalid', port: 9999 }] }],
    });
    await api.apply(file);
    assertRefused(await call('nameless'), 502, 'backend_unresolved');
  });
});

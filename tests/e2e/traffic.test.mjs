// Two teams behind one gate: who gets through, where to, and what is seen of it.
import assert from 'node:assert/strict';
import { assertRefused, basic, everywhere, startGate } from './lib/gate.mjs';
import { application, keyOf, teamFile } from './lib/team.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { closeUpstreamsAfter, startRawUpstream, startUpstream } from './lib/upstream.mjs';
import { until, within } from './lib/wait.mjs';

suite('traffic', () => {
  closeUpstreamsAfter();
  let world, api, services, team, call, flood;

  before(async () => {
    ({ world, api, services, team, call, flood } = await startGate());
  });

  // --- keys -------------------------------------------------------------------------------------------------------------

  test('the right key reaches the own service', async () => {
    for (const name of ['orders', 'catalog']) {
      const answer = await call(name, { path: '/a?b=c' });
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.json.name, name);
      assert.equal(answer.json.url, '/a?b=c');
    }
  });

  test('no key, a wrong key, the other team’s key', async () => {
    services.orders.clear();
    const missing = await call('orders', { key: undefined });
    assertRefused(missing, 401, 'auth_missing');
    assert.match(missing.headers['www-authenticate'], /realm="main"/);
    assertRefused(await call('orders', { key: '' }), 401, 'auth_missing');
    assertRefused(await call('orders', { key: 'wrong' }), 403, 'auth_invalid');
    assertRefused(await call('orders', { key: keyOf('catalog') }), 403, 'auth_invalid');
    assertRefused(await call('orders', { key: 'x'.repeat(5000) }), 403, 'auth_invalid');
    assert.equal(services.orders.requests.length, 0);
  });

  test('a key in a header, in the query, as user of Basic; never forwarded', async () => {
    await team('places', { policies: [everywhere] });
    const key = keyOf('places');
    const places = [
      [{ headers: { 'x-api-key': key } }, '/p?a=1'],
      [{ path: `/p?a=1&user_key=${key}` }, '/p?a=1'],
      [{ path: `/p?user_key=${key}&a=1` }, '/p?a=1'],
      [{ path: `/p?user_key=${key}` }, '/p'],
      [{ headers: { authorization: basic(key) } }, '/p?a=1'],
      [{ headers: { authorization: basic(key, 'secret') } }, '/p?a=1'],
      [{ headers: { 'x-api-key': key }, path: `/p?user_key=${key}&a=1` }, '/p?a=1'],
    ];
    for (const [how, url] of places) {
      const answer = await call('places', { key: undefined, path: '/p?a=1', ...how });
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.json.url, url);
      assert.ok(!answer.text.includes(key) && !answer.text.includes('authorization'), answer.text);
    }
  });

  test('a key is forwarded when that is asked for', async () => {
    await team('forwarded', { policies: [{ ...everywhere, forward: true }] });
    const key = keyOf('forwarded');
    assert.equal((await call('forwarded')).json.headers['x-api-key'], key);
    assert.equal(
      (await call('forwarded', { key: undefined, path: `/?user_key=${key}` })).json.url,
      `/?user_key=${key}`
    );
  });

  test('only the named places count, under their own names', async () => {
    await team('named', { policies: [{ type: 'api_key', in: ['header'], header: 'app_token' }] });
    const key = keyOf('named');
    assert.equal((await call('named', { key: undefined, headers: { app_token: key } })).status, 200);
    assertRefused(await call('named'), 401, 'auth_missing');
    assertRefused(await call('named', { key: undefined, path: `/?user_key=${key}` }), 401, 'auth_missing');
    assertRefused(await call('named', { key: undefined, headers: { 'app-token': key } }), 400, 'bad_request');
    assertRefused(await call('orders', { headers: { some_header: 'x' } }), 400, 'bad_request');
  });

  test('a new key, a revoked one, a suspended application, one without the product', async () => {
    const file = await team('apps');
    const { key } = await api.must('POST', '/tenants/apps/applications/app/credentials?wait=live', { name: 'more' });
    assert.equal((await call('apps', { key })).status, 200);
    await api.must('DELETE', '/tenants/apps/applications/app/credentials/first?wait=live');
    assertRefused(await call('apps'), 403, 'auth_invalid');
    assert.equal((await call('apps', { key })).status, 200);
    await api.must('PATCH', '/tenants/apps/applications/app?wait=live', { state: 'suspended' });
    assertRefused(await call('apps', { key }), 403, 'application_suspended');
    await api.must('PATCH', '/tenants/apps/applications/app?wait=live', { state: 'active', subscriptions: [] });
    assertRefused(await call('apps', { key }), 403, 'not_subscribed');
    await api.must('PATCH', '/tenants/apps/applications/app?wait=live', {
      subscriptions: file.applications[0].subscriptions,
    });
    assert.equal((await call('apps', { key })).status, 200);
  });

  // --- where to ---------------------------------------------------------------------------------------------------------

  test('hosts: unknown ones, upper case, with a port, with a dot at the end; wildcards, of which the exact wins', async () => {
    assertRefused(await call('nobody'), 404, 'host_unknown');
    for (const host of ['ORDERS.test', `orders.test:${world.gateway.port}`, 'orders.test.'])
      assert.equal((await call('orders', { host })).status, 200, host);
    const wild = await startUpstream({ name: 'wild' });
    const file = teamFile('wild', wild.port);
    file.grants.domains = [{ name: '*.shop.test' }, { name: 'exact.shop.test' }];
    file.products[0].domains = ['*.shop.test'];
    file.products.push({
      ...file.products[0],
      name: 'exact',
      domains: ['exact.shop.test'],
      versions: [{ ...file.products[0].versions[0], name: 'v9' }],
    });
    await api.apply(file);
    assert.equal((await call('wild', { host: 'a.shop.test' })).status, 200);
    assert.equal((await call('wild', { host: 'a.b.shop.test' })).status, 200);
    assertRefused(await call('wild', { host: 'shop.test' }), 404, 'host_unknown');
    assertRefused(await call('wild', { host: 'exact.shop.test' }), 403, 'not_subscribed');
  });

  test('versions and mounts by whole segments, the longest wins; base paths', async () => {
    const upstream = await startUpstream();
    const file = teamFile('paths', upstream.port);
    const [first] = file.products[0].versions;
    file.backends.push({ name: 'based', endpoints: file.backends[0].endpoints, base_path: '/base/x' });
    file.products[0].versions = [
      { ...first, name: 'v1', path: '/v1' },
      {
        ...first,
        name: 'v10',
        path: '/v10',
        backends: [
          { path: '/in', backend: 'service' },
          { path: '/in/deep', backend: 'based' },
        ],
      },
    ];
    await api.apply(file);
    const url = async (path) => (await call('paths', { path })).json.url;
    assert.equal(await url('/v1/a/b?c'), '/a/b?c');
    assert.equal(await url('/v1'), '/');
    assert.equal(await url('/v10/in/a'), '/a');
    assert.equal(await url('/v10/in/deep/a%20b'), '/base/x/a%20b');
    assert.equal(await url('/v10/in/deeper'), '/deeper');
    assertRefused(await call('paths', { path: '/v11/a' }), 404, 'no_version');
    assertRefused(await call('paths', { path: '/v10/out' }), 404, 'no_backend');
    assert.equal(await url('/v1/a//b/./c/../d'), '/a/b/d');
  });

  test('what the backend is told about the caller', async () => {
    const { headers } = (
      await call('orders', {
        headers: { 'x-forwarded-for': '1.2.3.4', forwarded: 'for=1.2.3.4', 'x-real-ip': '1.2.3.4' },
      })
    ).json;
    assert.equal(headers['x-forwarded-for'], '127.0.0.1');
    assert.equal(headers['x-forwarded-host'], 'orders.test');
    assert.equal(headers['x-forwarded-proto'], 'http');
    assert.equal(headers.forwarded, 'for=127.0.0.1;host="orders.test";proto=http');
    assert.equal(headers.via, '1.1 daemun');
    assert.equal(headers['x-real-ip'], undefined);
    assert.match(headers['x-request-id'], /^[0-9a-f]{32}$/);
    assert.equal(headers.host, `127.0.0.1:${services.orders.port}`);
    assert.ok(!JSON.stringify(headers).includes('1.2.3.4'));
  });

  test('the Host that a backend wants', async () => {
    await team('hosted', { backend: { host_header: 'inner.example:8080' } });
    assert.equal((await call('hosted')).json.headers.host, 'inner.example:8080');
  });

  test('several endpoints share by weight; one of weight 0 gets none; a dead one is passed over', async () => {
    const all = await Promise.all(['a', 'b', 'c'].map((name) => startUpstream({ name })));
    const file = teamFile('several', all[0].port);
    file.grants.endpoints = all.map(({ port }) => ({ address: '127.0.0.1', port }));
    file.backends[0].endpoints = all.map(({ port }, i) => ({ host: '127.0.0.1', port, weight: [3, 1, 0][i] }));
    await api.apply(file);
    assert.deepEqual(await flood('several', 80), { 200: 80 });
    const [a, b, c] = all.map((one) => one.requests.length);
    assert.equal(c, 0);
    assert.ok(b > 0 && a > b, `${a} and ${b}`);
    await all[0].close();
    assert.deepEqual(await flood('several', 40), { 200: 40 });
  });

  // --- backends that fail -----------------------------------------------------------------------------------------------

  test('backends that do not answer: unreachable, too slow, no HTTP, gone before or within the answer', async () => {
    const closed = await startUpstream();
    await closed.close();
    await api.apply(teamFile('closed', closed.port));
    assertRefused(await call('closed'), 502, 'backend_unreachable');

    const mute = await startRawUpstream(() => {});
    await api.apply(teamFile('mute', mute.port, { backend: { response_timeout_ms: 50 } }));
    assertRefused(await call('mute'), 504, 'backend_timeout');

    const answers = {
      babble: 'SSH-2.0-babble\r\n\r\n',
      leave: '',
      both: 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    };
    for (const [name, text] of Object.entries(answers)) {
      const upstream = await startRawUpstream((socket) => socket.once('data', () => socket.end(text)));
      await api.apply(teamFile(name, upstream.port));
      assertRefused(await call(name), 502, 'backend_bad_response');
    }

    const cut = await startRawUpstream((socket) =>
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'))
    );
    await api.apply(teamFile('cut', cut.port));
    await assert.rejects(call('cut'), 'the caller sees that the answer is not whole');
    assert.equal((await call('orders')).status, 200);
  });

  // --- seen from outside ------------------------------------------------------------------------------------------------

  test('the access log: a line of JSON for each request, without secrets', async () => {
    const name = 'logged';
    await team(name);
    const good = await call(name, {
      method: 'POST',
      path: '/things?user_key=spy',
      body: 'four',
      headers: { 'content-type': 'text/plain' },
    });
    const bad = await call(name, { path: '/denied', key: 'wrong' });
    const lines = await until('both lines', () => {
      const found = world.gateway.accessLog().filter((line) => line.tenant === name);
      return found.length === 2 && found;
    });
    const byId = (answer) => lines.find((line) => line.request_id === answer.headers['x-request-id']);
    const line = byId(good);
    for (const [member, value] of Object.entries({
      product: 'main',
      version: 'v1',
      application: 'app',
      backend: 'service',
      client: '127.0.0.1',
      method: 'POST',
      path: '/things',
      status: 200,
    }))
      assert.equal(line[member], value, member);
    assert.match(line.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.ok(
      line.bytes_in > 4 && line.bytes_out > 0 && line.duration_us > 0 && line.backend_us >= 0,
      JSON.stringify(line)
    );
    assert.equal(line.reason, undefined);
    assert.equal(byId(bad).reason, 'auth_invalid');
    assert.equal(byId(bad).status, 403);
    assert.equal(byId(bad).application, undefined);
    assert.ok(!JSON.stringify(lines).includes('spy') && !JSON.stringify(lines).includes(keyOf(name)));
  });

  test('Prometheus of the gateway: counters of each tenant, of workers, of the link', async () => {
    const name = 'metrics';
    await team(name);
    for (let i = 0; i < 3; i++) await call(name, { method: 'POST', body: 'x'.repeat(1000) });
    await call(name, { key: 'wrong' });
    const { gateway } = world;
    const tenant = { tenant: name };
    await until('the counters', async () => (await gateway.metric('daemun_requests_total', tenant)) === 4);
    assert.equal(await gateway.metric('daemun_responses_total', { ...tenant, class: '2xx' }), 3);
    assert.equal(await gateway.metric('daemun_refusals_total', { ...tenant, reason: 'auth_invalid' }), 1);
    assert.equal(await gateway.metric('daemun_request_duration_seconds_count', tenant), 4);
    assert.equal(await gateway.metric('daemun_requests_in_flight', tenant), 0);
    for (const counter of ['received', 'sent', 'upstream_received', 'upstream_sent'])
      assert.ok((await gateway.metric(`daemun_${counter}_bytes_total`, tenant)) > 0, counter);
    assert.ok((await gateway.metric('daemun_upstream_sent_bytes_total', tenant)) > 3000);
    assert.equal(await gateway.metric('daemun_link_up'), 1);
    const { headers, text } = await gateway.get('/metrics');
    assert.match(headers['content-type'], /^text\/plain; version=0\.0\.4/);
    for (const line of text.trimEnd().split('\n'))
      assert.match(line, /^# (HELP|TYPE) \w+ .+$|^\w+(\{.*\})? [\d.eE+-]+$/);
    assert.ok(!text.includes(keyOf(name)));
  });

  test('what is live is told for each unit and gateway', async () => {
    const { units, gateways } = await api.must('GET', '/tenants/orders/status');
    assert.deepEqual(units.map((unit) => unit.kind).sort(), ['applications', 'domains', 'grants', 'release']);
    for (const unit of units) {
      assert.equal(unit.live, 1);
      assert.equal(unit.gateways[0].state, 'live');
      assert.equal(unit.gateways[0].live.sequence, unit.sequence);
    }
    assert.deepEqual(gateways, [{ id: 'gateway-1', connected: true }]);
  });
});

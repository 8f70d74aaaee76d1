// Two teams behind one gate: who gets through, where to, and what is counted.
import assert from 'node:assert/strict';
import { Pool } from 'undici';
import { ask } from './lib/http.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { apiKey, application, domainOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startRawUpstream, startUpstream } from './lib/upstream.mjs';
import { deferred, until, within } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const everywhere = { ...apiKey, in: ['header', 'query', 'basic'] };
const basic = (user, password = '') => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

suite('traffic', () => {
  closeUpstreamsAfter();
  let world, api;
  const services = {};

  // A team of its own for one test.
  async function team(name, options = {}, upstreamOptions = {}) {
    services[name] = await startUpstream({ name, ...upstreamOptions });
    const file = teamFile(name, services[name].port, options);
    await api.apply(file);
    return file;
  }
  const call = (name, options = {}) => ask(world.gateway.port, { host: domainOf(name), key: keyOf(name), ...options });

  function assertRefused(answer, status, reason) {
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.reason, reason);
    assert.equal(answer.headers['content-type'], 'application/problem+json');
    const problem = answer.json;
    assert.equal(problem.status, status);
    assert.equal(problem.reason, reason);
    assert.equal(problem.request_id, answer.headers['x-request-id']);
    assert.match(problem.request_id, /^[0-9a-f]{32}$/);
  }

  // Requests on connections of their own, `count` at `once`; their statuses with how many there were of each.
  async function flood(name, count, options = {}, once = 16) {
    const tally = {};
    let rest = count;
    const worker = async () => {
      while (rest-- > 0) {
        const { status, reason } = await call(name, options);
        const key = reason ? `${status} ${reason}` : String(status);
        tally[key] = (tally[key] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: once }, worker));
    return tally;
  }

  async function usageOf(name) {
    const totals = {};
    for (const { metric, count } of (await api.must('GET', `/tenants/${name}/usage`)).items)
      totals[metric] = (totals[metric] ?? 0) + count;
    return totals;
  }

  before(async () => {
    world = await World.start({ workers: 2 });
    api = world.api;
    await team('orders');
    await team('catalog');
  });

  // --- keys ---------------------------------------------------------------------------------------------------------

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

  // --- where to -----------------------------------------------------------------------------------------------------

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

  // --- changes under load -------------------------------------------------------------------------------------------

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

  // --- egress -------------------------------------------------------------------------------------------------------

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

  // --- limits -------------------------------------------------------------------------------------------------------

  test('a usage limit is exact across workers', async () => {
    await team('limited', { plan: { limits: [{ metric: 'hits', period: 'eternity', value: 50 }] } });
    assert.deepEqual(await flood('limited', 130, {}, 24), { 200: 50, '429 limit_exceeded': 80 });
    assert.equal(services.limited.requests.length, 50);
    const both = await Promise.all(
      [0, 1].map((worker) => world.gateway.metric('daemun_worker_connections_total', { worker }))
    );
    assert.ok(
      both.every((n) => n > 0),
      `both workers took connections: ${both}`
    );
    await until('the usage of all', async () => (await usageOf('limited')).hits === 50);
  });

  test('a rate limit lets its burst through, exactly, and says when to come again', async () => {
    await team('paced', { plan: { rate_limits: [{ metric: 'hits', rate: 1, per: 'day', burst: 20 }] } });
    assert.deepEqual(await flood('paced', 60, {}, 24), { 200: 20, '429 rate_limited': 40 });
    const answer = await call('paced');
    assertRefused(answer, 429, 'rate_limited');
    assert.ok(Number(answer.headers['retry-after']) > 3600);
  });

  test('limits are each application’s own; a plan that opens more opens it at once', async () => {
    const plan = { limits: [{ metric: 'hits', period: 'year', value: 3 }] };
    const applications = [application('one', 'limits-key-one'), application('two', 'limits-key-two')];
    const file = await team('counted', { plan, applications });
    for (const key of ['limits-key-one', 'limits-key-two'])
      assert.deepEqual(await flood('counted', 5, { key }), { 200: 3, '429 limit_exceeded': 2 });
    file.products[0].plans[0].limits[0].value = 5;
    await api.apply(file);
    assert.deepEqual(await flood('counted', 5, { key: 'limits-key-one' }), { 200: 2, '429 limit_exceeded': 3 });
  });

  test('methods count as hits too, deltas add up, 0 closes', async () => {
    const file = teamFile('metered', (await startUpstream()).port);
    file.products[0].metrics = [{ name: 'list', parent: 'hits' }, { name: 'bytes' }, { name: 'closed' }];
    file.products[0].versions[0].mapping_rules = [
      { method: 'GET', pattern: '/list', metric: 'list', delta: 2 },
      { method: 'GET', pattern: '/list/all', metric: 'bytes', delta: 7 },
      { method: 'GET', pattern: '/closed', metric: 'closed' },
    ];
    file.products[0].plans[0].limits = [
      { metric: 'hits', period: 'month', value: 5 },
      { metric: 'closed', period: 'minute', value: 0 },
    ];
    await api.apply(file);
    assert.equal((await call('metered', { path: '/list' })).status, 200);
    assert.equal((await call('metered', { path: '/list/all' })).status, 200);
    assertRefused(await call('metered', { path: '/list' }), 429, 'limit_exceeded');
    assertRefused(await call('metered', { path: '/closed' }), 429, 'limit_exceeded');
    assertRefused(await call('metered', { path: '/else' }), 404, 'no_mapping_rule');
    await until('the usage of what went through', async () => {
      const usage = await usageOf('metered');
      return usage.bytes === 7 && usage.list === 4 && usage.hits === 4;
    });
    assert.equal((await usageOf('metered')).closed ?? 0, 0);
  });

  test('usage can be asked for by product, application and metric, in steps', async () => {
    await until('the usage', async () => (await usageOf('metered')).list === 4);
    const one = await api.must('GET', '/tenants/metered/usage?product=main&application=app&metric=list&step=day');
    assert.equal(one.items.length, 1);
    assert.equal(one.items[0].application, 'app');
    assert.equal(one.items[0].product, 'main');
    assert.equal(one.items[0].count, 4);
    assert.deepEqual((await api.must('GET', '/tenants/metered/usage?application=nobody')).items, []);
    assert.equal((await api.get('/tenants/metered/usage?step=fortnight')).status, 422);
  });

  // --- wording and policies -----------------------------------------------------------------------------------------

  test('each version words its refusals itself', async () => {
    const upstream = await startUpstream();
    const file = teamFile('worded', upstream.port);
    const [first] = file.products[0].versions;
    const errors = {
      auth_missing: { status: 418, content_type: 'application/json', body: '{"error":"key?"}' },
      auth_invalid: { body: 'who are you?' },
      no_mapping_rule: { status: 410 },
    };
    file.products[0].versions = [
      { ...first, name: 'v1', path: '/v1', errors, mapping_rules: [{ method: 'GET', pattern: '/a' }] },
      { ...first, name: 'v2', path: '/v2' },
    ];
    await api.apply(file);
    const missing = await call('worded', { path: '/v1/a', key: undefined });
    assert.equal(missing.status, 418);
    assert.equal(missing.headers['content-type'], 'application/json');
    assert.equal(missing.text, '{"error":"key?"}');
    assert.equal(missing.reason, 'auth_missing');
    const invalid = await call('worded', { path: '/v1/a', key: 'wrong' });
    assert.equal(invalid.status, 403);
    assert.equal(invalid.headers['content-type'], 'text/plain; charset=utf-8');
    assert.equal(invalid.text, 'who are you?');
    assertRefused(await call('worded', { path: '/v1/b' }), 410, 'no_mapping_rule');
    assertRefused(await call('worded', { path: '/v2/a', key: undefined }), 401, 'auth_missing');
  });

  test('headers: set, add, push, delete, on requests and responses', async () => {
    const ops = [
      { op: 'set', name: 'X-Set', value: 'new' },
      { op: 'add', name: 'X-Add', value: 'second' },
      { op: 'add', name: 'X-Add-None', value: 'never' },
      { op: 'push', name: 'X-Push', value: 'pushed' },
      { op: 'delete', name: 'X-Delete' },
    ];
    const answerHeaders = ['X-Set', 'old', 'X-Set', 'older', 'X-Add', 'first', 'X-Delete', 'secret', 'X-Kept', 'kept'];
    await team(
      'headed',
      { policies: [apiKey, { type: 'headers', request: ops, response: ops }] },
      {
        respond: (request, response, seen) => response.writeHead(200, answerHeaders).end(JSON.stringify(seen)),
      }
    );
    const answer = await call('headed', {
      headers: { 'x-set': 'old', 'x-add': 'first', 'x-delete': 'secret', 'x-kept': 'kept' },
    });
    for (const headers of [answer.headers, answer.json.headers]) {
      assert.equal(headers['x-set'], 'new');
      assert.deepEqual([headers['x-add']].flat().join(', '), 'first, second');
      assert.equal(headers['x-add-none'], undefined);
      assert.equal(headers['x-push'], 'pushed');
      assert.equal(headers['x-delete'], undefined);
      assert.equal(headers['x-kept'], 'kept');
    }
  });

  test('ip_check: allow and deny', async () => {
    await team('listed', { policies: [apiKey, { type: 'ip_check', mode: 'allow', addresses: ['10.0.0.0/8'] }] });
    assertRefused(await call('listed'), 403, 'ip_denied');
    await api.apply(
      teamFile('listed', services.listed.port, {
        policies: [{ type: 'ip_check', mode: 'allow', addresses: ['127.0.0.0/8', '10.0.0.0/8'] }, apiKey],
      })
    );
    assert.equal((await call('listed')).status, 200);
    await api.apply(
      teamFile('listed', services.listed.port, {
        policies: [{ type: 'ip_check', mode: 'deny', addresses: ['127.0.0.1'] }, apiKey],
      })
    );
    assertRefused(await call('listed', { key: undefined }), 403, 'ip_denied');
  });

  test('cors: preflights, answers, refusals', async () => {
    const cors = {
      type: 'cors',
      allow_origins: ['https://app.example'],
      allow_methods: ['GET', 'PUT'],
      expose_headers: ['X-Total'],
      allow_credentials: true,
      max_age_s: 600,
    };
    await team('shared', { policies: [cors, apiKey] });
    services.shared.clear();
    const origin = { origin: 'https://app.example' };
    const preflight = {
      method: 'OPTIONS',
      key: undefined,
      headers: { ...origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'x-api-key' },
    };
    const allowed = await call('shared', preflight);
    assert.equal(allowed.status, 204);
    assert.equal(allowed.headers['access-control-allow-origin'], origin.origin);
    assert.equal(allowed.headers['access-control-allow-methods'], 'GET, PUT');
    assert.equal(allowed.headers['access-control-allow-headers'], 'x-api-key');
    assert.equal(allowed.headers['access-control-allow-credentials'], 'true');
    assert.equal(allowed.headers['access-control-max-age'], '600');
    assert.match(allowed.headers.vary, /Origin/i);
    const other = await call('shared', {
      ...preflight,
      headers: { ...preflight.headers, origin: 'https://evil.example' },
    });
    assert.equal(other.headers['access-control-allow-origin'], undefined);
    assert.equal(services.shared.requests.length, 0, 'no preflight reaches the backend');
    const answer = await call('shared', { headers: origin });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['access-control-allow-origin'], origin.origin);
    assert.equal(answer.headers['access-control-expose-headers'], 'X-Total');
    const refused = await call('shared', { headers: origin, key: 'wrong' });
    assertRefused(refused, 403, 'auth_invalid');
    assert.equal(refused.headers['access-control-allow-origin'], origin.origin, 'the page may read why');
  });

  // --- backends that fail -------------------------------------------------------------------------------------------

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

  // --- seen from outside --------------------------------------------------------------------------------------------

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

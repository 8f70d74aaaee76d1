// What a version or a plan does with a request: limits, wording, headers, addresses, cors.
import assert from 'node:assert/strict';
import { assertRefused, startGate } from './lib/gate.mjs';
import { apiKey, application, teamFile } from './lib/team.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';

suite('policies', () => {
  closeUpstreamsAfter();
  let world, api, services, team, call, flood, usageOf;

  before(async () => {
    ({ world, api, services, team, call, flood, usageOf } = await startGate());
  });

  // --- limits -----------------------------------------------------------------------------------------------------------

  test('a usage limit is exact across workers', async () => {
    await team('limited', { plan: { limits: [{ metric: 'hits', period: 'eternity', value: 50 }] } });
    assert.deepEqual(await flood('limited', 130, {}, 24), { 200: 50, '429 limit_exceeded': 80 });
    assert.equal(services.limited.requests.length, 50);
    const connections = () =>
      Promise.all([0, 1].map((worker) => world.gateway.metric('daemun_worker_connections_total', { worker })));
    await until('connections to both workers', async () => (await connections()).every((n) => n > 0));
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

  // --- wording and policies ---------------------------------------------------------------------------------------------

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
});

// What the API refuses, and how it names the place.
import assert from 'node:assert/strict';
import { RawClient } from './lib/http.mjs';
import { apiKey, application, teamFile } from './lib/team.mjs';
import { assertProblem, backend, PORT, product, startTenants } from './lib/tenants.mjs';
import { before, suite, test } from './lib/testing.mjs';

suite('api-refusals', () => {
  let controller, api, own;

  before(async () => {
    ({ controller, api, own } = await startTenants());
  });

  const version = (change) => ({ ...product('thing'), versions: [{ ...product('thing').versions[0], ...change }] });
  const faults = [
    [
      'backends',
      { ...backend, connect_timeout: 1 },
      ['/connect_timeout'],
      /unknown member 'connect_timeout', did you mean 'connect_timeout_ms'\?/,
    ],
    ['backends', {}, [''], /'endpoints' is required/],
    ['backends', { endpoints: [] }, ['/endpoints'], /at least 1|must have/],
    ['backends', { endpoints: [{ host: '127.0.0.1', port: 70000 }] }, ['/endpoints/0/port'], /70000/],
    ['backends', { endpoints: [{ host: 'Not A Host', port: PORT }] }, ['/endpoints/0/host'], /Not A Host/],
    [
      'backends',
      { endpoints: [{ host: '127.0.0.1', port: PORT, weigth: 2 }] },
      ['/endpoints/0/weigth'],
      /did you mean 'weight'/,
    ],
    [
      'backends',
      { ...backend, base_path: '/a/../b', connect_timeout_ms: 'x' },
      ['/base_path', '/connect_timeout_ms'],
      /must/,
    ],
    ['backends', { ...backend, name: 'other' }, ['/name'], /must be 'thing'/],
    ['products', version({ policies: [] }), ['/versions/0/policies'], /./],
    ['products', version({ policies: [{ type: 'api_kee' }] }), ['/versions/0/policies/0/type'], /api_key/],
    ['products', version({ policies: [apiKey, apiKey] }), ['/versions/0/policies/1'], /./],
    [
      'products',
      version({ mapping_rules: [{ method: 'GET', pattern: 'no-slash' }] }),
      ['/versions/0/mapping_rules/0/pattern'],
      /no-slash/,
    ],
    [
      'products',
      version({ mapping_rules: [{ method: 'GET', pattern: '/', metric: 'nope' }] }),
      ['/versions/0/mapping_rules/0/metric'],
      /nope/,
    ],
    ['products', version({ backends: [{ backend: 'nope' }] }), ['/versions/0/backends/0/backend'], /nope/],
    [
      'products',
      version({ errors: { limit_exceded: { status: 429 } } }),
      ['/versions/0/errors/limit_exceded'],
      /limit_exceeded/,
    ],
    [
      'products',
      version({ errors: { limit_exceeded: { status: 200 } } }),
      ['/versions/0/errors/limit_exceeded/status'],
      /200/,
    ],
    ['products', { ...product('thing'), plans: [{ name: 'a' }, { name: 'a' }] }, ['/plans/1/name'], /'a'/],
    [
      'products',
      { ...product('thing'), plans: [{ name: 'a', limits: [{ period: 'fortnight', value: 1 }] }] },
      ['/plans/0/limits/0/period'],
      /fortnight/,
    ],
    ['applications', { subscriptions: [{ product: 'main', plan: 'nope' }] }, ['/subscriptions/0/plan'], /nope/],
    ['applications', { subscriptions: [{ product: 'nope', plan: 'basic' }] }, ['/subscriptions/0/product'], /nope/],
    ['applications', { credentials: [{ name: 'a', key: 'with space' }] }, ['/credentials/0/key'], /./],
    ['applications', { state: 'actve' }, ['/state'], /active/],
  ];
  for (const [kind, body, pointers, detail] of faults)
    test(`422 for ${kind}: ${pointers.join(' and ') || 'the whole'} ${detail.source}`, async () => {
      const answer = await own().put(`/tenants/alpha/${kind}/thing`, body);
      assertProblem(answer, 422, 'invalid', pointers);
      assert.match(answer.body.errors.map((error) => error.detail).join('\n'), detail);
      assert.equal((await own().get(`/tenants/alpha/${kind}/thing`)).status, 404);
    });

  test('what lies outside the grants is refused, with the member at fault', async () => {
    const endpoints = [...backend.endpoints, { host: '127.0.0.1', port: PORT + 1 }];
    assertProblem(await own().put('/tenants/alpha/backends/thing', { endpoints }), 403, 'not_granted', [
      '/endpoints/1',
    ]);
    assertProblem(
      await own().put('/tenants/alpha/products/thing', product('thing', ['beta.test'])),
      403,
      'not_granted',
      ['/domains/0']
    );
  });

  test('a domain belongs to one tenant', async () => {
    const grants = (await api.get('/tenants/beta/grants')).body;
    const answer = await api.put('/tenants/beta/grants', {
      ...grants,
      domains: [...grants.domains, { name: 'alpha.test' }],
    });
    assertProblem(answer, 409, 'domain_taken', ['/domains/1/name']);
    assert.deepEqual((await api.get('/tenants/beta/grants')).body, grants);
  });

  test('what others need is not deleted', async () => {
    assertProblem(await own().delete('/tenants/alpha/backends/service'), 409, 'in_use');
    assertProblem(await own().delete('/tenants/alpha/products/main'), 409, 'in_use');
    assert.equal((await own().get('/tenants/alpha/backends/service')).status, 200);
  });

  test('a file with a fault changes nothing at all', async () => {
    const before = await own().get('/tenants/alpha/document');
    const changes = (await own().all('/tenants/alpha/changes')).length;
    const sequences = async () => (await api.must('GET', '/tenants/alpha/status')).units.map((unit) => unit.sequence);
    const was = await sequences();
    const file = teamFile('alpha', PORT);
    file.backends.push({ name: 'late', ...backend });
    file.applications.push({ ...application('late', 'late-key'), subscriptions: [{ product: 'main', plan: 'nope' }] });
    const answer = await own().put('/tenants/alpha/document', file);
    assertProblem(answer, 422, 'invalid', ['/applications/1/subscriptions/0/plan']);
    const after = await own().get('/tenants/alpha/document');
    assert.deepEqual(after.body, before.body);
    assert.equal(after.headers.etag, before.headers.etag);
    assert.equal((await own().all('/tenants/alpha/changes')).length, changes);
    assert.deepEqual(await sequences(), was);
  });

  test('at most sixteen faults are told at once, and how many there are', async () => {
    const endpoints = Array.from({ length: 30 }, () => ({ host: '127.0.0.1', port: 'x' }));
    const answer = await own().put('/tenants/alpha/backends/thing', { endpoints });
    assertProblem(answer, 422, 'invalid');
    assert.equal(answer.body.errors.length, 16);
    assert.equal(answer.body.errors_total, 30);
  });

  test('a dry run says what would change and changes nothing', async () => {
    const before = (await own().get('/tenants/alpha/document')).body;
    const file = teamFile('alpha', PORT, { version: { path: '/v1' } });
    delete file.applications[0].credentials;
    const answer = await own().must('PUT', '/tenants/alpha/document?dry_run=true', file);
    assert.equal(answer.dry_run, true);
    assert.deepEqual(answer.changes, [
      { op: 'changed', pointer: '/products/main/versions/v1/path', before: '/', after: '/v1' },
    ]);
    assert.deepEqual((await own().get('/tenants/alpha/document')).body, before);
  });

  test('bodies: not JSON, not an object, twice the same member, too deep, too large, of another type', async () => {
    const path = '/tenants/alpha/backends/thing';
    assertProblem(await own().put(path, '{"endpoints":'), 400, 'malformed');
    assertProblem(await own().put(path, '{"base_path":"/","base_path":"/x"}'), 400, 'malformed');
    assertProblem(await own().put(path, '['.repeat(100) + ']'.repeat(100)), 400, 'malformed');
    assertProblem(await own().put(path, '[]'), 422, 'invalid', ['']);
    assertProblem(await own().put(path, `{"description":"${'x'.repeat(2 << 20)}"}`), 413, 'too_large');
    const typed = { headers: { 'content-type': 'text/csv' } };
    assertProblem(await own().put(path, 'a,b', typed), 415, 'unsupported_media_type');
  });

  test('unknown paths are 404, other methods 405 with Allow, HEAD is GET without its body', async () => {
    assertProblem(await own().get('/nothing'), 404, 'not_found');
    const answer = await own().call('DELETE', '/tenants');
    assertProblem(answer, 405, 'method_not_allowed');
    assert.equal(answer.headers.allow, 'GET, HEAD, POST');
    const head = await own().call('HEAD', '/tenants/alpha');
    const get = await own().get('/tenants/alpha');
    assert.equal(head.status, 200);
    assert.equal(head.text, '');
    assert.equal(head.headers.etag, get.headers.etag);
    assert.equal(head.headers['content-length'], String(Buffer.byteLength(get.text)));
  });

  test('a request that is no HTTP is 400', async () => {
    const client = await RawClient.open(controller.port);
    await client.send('GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n');
    const answer = await client.response();
    assert.equal(answer.status, 400);
    assert.equal(JSON.parse(answer.text).reason, 'malformed');
    await client.whenClosed();
  });

  test('a parameter that the route does not take is refused by name, and nothing is written', async () => {
    const backend = { name: 'asked', endpoints: [{ host: '127.0.0.1', port: 7 }] };
    for (const [query, detail] of [
      ['wiat=live', "there is no parameter 'wiat' here, did you mean 'wait'?"],
      ['wait=live&limit=5', "there is no parameter 'limit' here"],
      ['%77iat=live', "there is no parameter 'wiat' here, did you mean 'wait'?"],
    ]) {
      const answer = await api.put(`/tenants/alpha/backends/asked?${query}`, backend);
      assert.equal(answer.status, 422, answer.text);
      assert.equal(answer.body.errors[0].detail, detail);
    }
    assert.equal((await api.get('/tenants/alpha/backends/asked')).status, 404);
    assert.match((await api.get('/tenants/alpha/usage?form=2026-11-01T00:00:00Z')).text, /did you mean 'from'/);
    assert.equal((await api.call('GET', '/healthz?t=1', undefined, { isAbsolute: true })).status, 200);
  });

  test('wait: what is no state, and a time that is none, are refused', async () => {
    assertProblem(await own().put('/tenants/alpha/backends/thing?wait=yes', backend), 422, 'invalid');
    assertProblem(await own().put('/tenants/alpha/backends/thing?wait=live&timeout_ms=x', backend), 422, 'invalid');
    assert.equal((await own().get('/tenants/alpha/backends/thing')).status, 404);
    const answer = await own().put('/tenants/alpha/backends/thing?wait=live&timeout_ms=0', backend);
    assert.equal(answer.status, 201);
    assert.deepEqual(answer.body.live, { gateways: 0, of: 0, lagging: [], refused: [] });
    await own().must('DELETE', '/tenants/alpha/backends/thing');
  });
});

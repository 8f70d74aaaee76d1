// The controller's API as its callers meet it.
import assert from 'node:assert/strict';
import { Controller } from './lib/world.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { Pki } from './lib/pki.mjs';
import { apiKey, application, domainOf, keyOf, teamFile } from './lib/team.mjs';
import { RawClient } from './lib/http.mjs';
import { until } from './lib/wait.mjs';

const PORT = 9101; // of backends that nobody asks here
const NAMES = ['alpha', 'beta'];

const backend = { endpoints: [{ host: '127.0.0.1', port: PORT }] };
const product = (name, domains = []) => ({ ...teamFile(name, PORT).products[0], name, domains });

function assertProblem(answer, status, reason, pointers) {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.headers['content-type'], 'application/problem+json');
  assert.equal(answer.body.status, status);
  assert.equal(answer.body.reason, reason);
  assert.ok(answer.body.title && answer.body.type.endsWith(reason) && answer.body.request_id);
  if (pointers) assert.deepEqual(answer.body.errors.map((error) => error.pointer).sort(), [...pointers].sort());
}

suite('api', () => {
  let controller, api;
  const tokens = {}; // of each tenant's admin

  before(async () => {
    controller = await new Controller().start();
    api = controller.api;
    for (const name of NAMES) {
      await api.must('POST', '/tenants', { name });
      await api.must('PUT', `/tenants/${name}/document`, teamFile(name, PORT));
      tokens[name] = (await api.must('POST', `/tenants/${name}/tokens`, { name: 'admin', role: 'tenant_admin' })).token;
    }
  });

  const own = (name = 'alpha') => api.as(tokens[name]);

  // --- make, read, change, delete -----------------------------------------------------------------------------------

  const kinds = [
    ['backends', { ...backend, connect_timeout_ms: 200 }, { connect_timeout_ms: 300 }],
    ['products', { description: 'one', plans: [{ name: 'p' }] }, { description: 'two' }],
    [
      'applications',
      { description: 'one', subscriptions: [{ product: 'main', plan: 'basic' }] },
      { description: 'two' },
    ],
  ];
  for (const [kind, body, change] of kinds)
    test(`${kind}: make, read, replace, change, list, delete`, async () => {
      const path = `/tenants/alpha/${kind}/thing`;
      const made = await own().put(path, body);
      assert.equal(made.status, 201, made.text);
      const [member] = Object.keys(change);
      assert.equal(made.body[member], body[member]);
      assert.equal(made.body.name, 'thing');

      const read = await own().get(path);
      assert.equal(read.headers.etag, made.headers.etag);
      const again = await own().put(path, read.body);
      assert.equal(again.status, 200);
      assert.equal(again.headers.etag, read.headers.etag, 'what GET gave changes nothing');

      const changed = await own().patch(path, change);
      assert.equal(changed.status, 200, changed.text);
      assert.notEqual(changed.headers.etag, read.headers.etag);
      assert.deepEqual((await own().get(path)).body, { ...read.body, ...change });

      assert.ok((await own().all(`/tenants/alpha/${kind}`)).some((item) => item.name === 'thing'));
      assert.equal((await own().delete(path)).status, 204);
      assertProblem(await own().get(path), 404, 'not_found');
      assertProblem(await own().delete(path), 404, 'not_found');
      assert.ok(!(await own().all(`/tenants/alpha/${kind}`)).some((item) => item.name === 'thing'));
    });

  test('tenants: make, read, replace, change, list, delete; a name that comes again is another tenant', async () => {
    const made = await api.post('/tenants', { name: 'gamma', description: 'one' });
    assert.equal(made.status, 201);
    assert.equal(made.headers.location, '/api/v1/tenants/gamma');
    assertProblem(await api.post('/tenants', { name: 'gamma' }), 409, 'exists');
    assert.equal((await api.patch('/tenants/gamma', { weight: 7 })).status, 200);
    const read = await api.get('/tenants/gamma');
    assert.equal(read.body.weight, 7);
    assert.equal(read.body.description, 'one');
    await api.must('PUT', '/tenants/gamma/document', teamFile('gamma', PORT));
    assert.ok((await api.all('/tenants')).some((tenant) => tenant.name === 'gamma'));
    assert.equal((await api.delete('/tenants/gamma')).status, 204);
    assertProblem(await api.get('/tenants/gamma'), 404, 'not_found');

    const second = await api.must('PUT', '/tenants/gamma', {});
    assert.notEqual(second.id, read.body.id);
    assert.deepEqual(await api.must('GET', '/tenants/gamma/document'), { daemun: 1, tenant: 'gamma', grants: {} });
    await api.must('DELETE', '/tenants/gamma');
  });

  test('a tenant knows its compat date: that of its creation', async () => {
    const tenant = await api.must('GET', '/tenants/alpha');
    assert.equal(tenant.compat_date, tenant.created_at.slice(0, 10));
  });

  test('grants: read, replace, change', async () => {
    const read = await api.get('/tenants/beta/grants');
    const changed = await api.patch('/tenants/beta/grants', {
      domains: [...read.body.domains, { name: 'new.beta.test' }],
    });
    assert.equal(changed.status, 200, changed.text);
    assert.deepEqual(changed.body.endpoints, read.body.endpoints);
    assert.equal(changed.body.domains.length, 2);
    assert.equal((await api.put('/tenants/beta/grants', read.body)).status, 200);
    assert.deepEqual((await api.get('/tenants/beta/grants')).body, read.body);
  });

  test('credentials: a key that is left out is generated and shown once', async () => {
    const path = '/tenants/alpha/applications/app/credentials';
    const made = await own().post(path, { name: 'generated' });
    assert.equal(made.status, 201, made.text);
    assert.ok(made.body.key.length >= 32);
    assert.match(made.headers.location, /\/credentials\/generated$/);
    const given = await own().post(path, { name: 'given', key: 'a-key-of-our-own' });
    assert.equal(given.status, 201);
    assert.equal(given.body.key, undefined, 'what the caller gave is not said again');
    const everything = [
      path,
      '/tenants/alpha/applications/app',
      '/tenants/alpha/document',
      '/tenants/alpha/changes',
      '/changes',
    ];
    for (const one of everything) {
      const { text } = await api.get(one);
      assert.ok(!text.includes(made.body.key) && !text.includes('a-key-of-our-own'), one);
    }
    assert.deepEqual(
      (await own().all(path, 1)).map((item) => item.name),
      ['first', 'generated', 'given']
    );
    assertProblem(await own().post(path, { name: 'given', key: 'another' }), 409, 'exists');
    assertProblem(await own().post(path, { name: 'third', key: 'a-key-of-our-own' }), 409, 'key_in_use');
    assert.equal((await own().delete(`${path}/given`)).status, 204);
    assert.equal((await own().delete(`${path}/generated`)).status, 204);
    assertProblem(await own().delete(`${path}/generated`), 404, 'not_found');
  });

  test('two tenants may have the same key', async () => {
    for (const name of NAMES) {
      const path = `/tenants/${name}/applications/app/credentials`;
      assert.equal((await own(name).post(path, { name: 'same', key: 'the-same-key' })).status, 201);
      assert.equal((await own(name).delete(`${path}/same`)).status, 204);
    }
  });

  // --- tokens -------------------------------------------------------------------------------------------------------

  test('tokens: made, shown once, used, revoked', async () => {
    const made = await own().post('/tenants/alpha/tokens', { name: 'ci', role: 'tenant_admin' });
    assert.equal(made.status, 201, made.text);
    assert.match(made.body.token, /^dmt_/);
    const as = api.as(made.body.token);
    assert.deepEqual((await as.get('/whoami')).body, { name: 'ci', role: 'tenant_admin', tenant: 'alpha' });
    const listed = await own().all('/tenants/alpha/tokens', 1);
    assert.deepEqual(
      listed.map((item) => item.name),
      ['admin', 'ci']
    );
    assert.ok(listed.every((item) => !('token' in item)));
    assert.equal((await own().delete(`/tenants/alpha/tokens/${made.body.id}`)).status, 204);
    assertProblem(await as.get('/whoami'), 401, 'unauthenticated');
  });

  test('a token that expires ends', async () => {
    assertProblem(
      await own().post('/tenants/alpha/tokens', {
        name: 'old',
        role: 'tenant_admin',
        expires_at: '2020-01-01T00:00:00Z',
      }),
      422,
      'invalid',
      ['/expires_at']
    );
    const soon = new Date(Date.now() + 1500).toISOString().slice(0, 19) + 'Z';
    const made = await own().post('/tenants/alpha/tokens', { name: 'soon', role: 'tenant_admin', expires_at: soon });
    if (made.status === 422) return; // the second was over before the request came
    const answer = await until('the end of the token', async () => {
      const one = await api.as(made.body.token).get('/whoami');
      return one.status !== 200 && one;
    });
    assertProblem(answer, 401, 'unauthenticated');
    assert.match(answer.body.detail, /expired/);
  });

  test('without a token, with another scheme, or with a wrong one: 401', async () => {
    for (const headers of [
      {},
      { authorization: 'Basic YTpi' },
      { authorization: 'Bearer dmt_short' },
      { authorization: `Bearer ${'dmt_'.padEnd(47, 'A')}` },
    ]) {
      const answer = await api.as(undefined).get('/tenants', { headers });
      assertProblem(answer, 401, 'unauthenticated');
      assert.match(answer.headers['www-authenticate'], /^Bearer/);
    }
  });

  test('a tenant admin makes no master, and no token of another tenant', async () => {
    assertProblem(await own().post('/tenants/alpha/tokens', { name: 'x', role: 'master_admin' }), 422, 'invalid', [
      '/role',
    ]);
    assertProblem(
      await own().post('/tenants/alpha/tokens', { name: 'x', role: 'tenant_admin', tenant: 'beta' }),
      422,
      'invalid',
      ['/tenant']
    );
    assertProblem(await own().post('/tokens', { name: 'x', role: 'master_admin' }), 403, 'master_only');
  });

  test('a tenant can not revoke another tenant’s token, nor the master’s', async () => {
    const [foreign] = await api.all('/tenants/beta/tokens');
    assertProblem(await own().delete(`/tenants/alpha/tokens/${foreign.id}`), 404, 'not_found');
    assertProblem(await own().delete('/tenants/alpha/tokens/1'), 404, 'not_found');
    assert.equal((await own('beta').get('/whoami')).status, 200);
  });

  // --- conditions ---------------------------------------------------------------------------------------------------

  test('If-Match: the second of two writers is told', async () => {
    const path = '/tenants/alpha/backends/raced';
    const { headers } = await own().put(path, backend);
    const match = { headers: { 'if-match': headers.etag } };
    assert.equal((await own().put(path, { ...backend, idle_timeout_ms: 1 }, match)).status, 200);
    for (const late of [
      own().put(path, backend, match),
      own().patch(path, { base_path: '/x' }, match),
      own().delete(path, match),
    ])
      assertProblem(await late, 412, 'precondition_failed');
    assert.equal((await own().get(path)).body.idle_timeout_ms, 1);
    assertProblem(await own().put(path, backend, { headers: { 'if-none-match': '*' } }), 412, 'precondition_failed');
    assertProblem(
      await own().put('/tenants/alpha/backends/none', backend, { headers: { 'if-match': '*' } }),
      412,
      'precondition_failed'
    );
    assert.equal((await own().delete(path, { headers: { 'if-match': '*' } })).status, 204);
  });

  test('If-Match of tenants, grants and documents', async () => {
    for (const path of ['/tenants/beta', '/tenants/beta/grants', '/tenants/beta/document']) {
      const read = await api.get(path);
      assert.match(read.headers.etag, /^"\d+"$/, path);
      assertProblem(
        await api.put(path, read.body, { headers: { 'if-match': '"999999"' } }),
        412,
        'precondition_failed'
      );
      const same = await api.put(path, read.body, { headers: { 'if-match': read.headers.etag } });
      assert.equal(same.status, 200, same.text);
    }
  });

  test('of many writers at once with one ETag, one wins', async () => {
    const path = '/tenants/alpha/backends/contended';
    const { headers } = await own().put(path, backend);
    const writers = Array.from({ length: 8 }, (_, i) =>
      own().put(path, { ...backend, idle_timeout_ms: i + 1 }, { headers: { 'if-match': headers.etag } })
    );
    const statuses = (await Promise.all(writers)).map((answer) => answer.status).sort();
    assert.deepEqual(statuses, [200, ...Array(7).fill(412)]);
    await own().must('DELETE', path);
  });

  // --- pages --------------------------------------------------------------------------------------------------------

  test('pages stay whole while others write', async () => {
    const path = '/tenants/beta/backends';
    const names = Array.from({ length: 23 }, (_, i) => `page-${String(i).padStart(2, '0')}`);
    await Promise.all(names.map((name) => own('beta').must('PUT', `${path}/${name}`, backend)));
    const seen = [];
    let cursor = '';
    for (let page = 0; ; page++) {
      const got = await own('beta').must('GET', `${path}?limit=5${cursor && `&cursor=${cursor}`}`);
      seen.push(...got.items.map((item) => item.name));
      if (!got.next) break;
      cursor = got.next;
      await own('beta').must('PUT', `${path}/page-00-new-${page}`, backend); // before the cursor
      if (page === 1) await own('beta').must('DELETE', `${path}/${seen[seen.length - 1]}`); // what the cursor stands at
    }
    assert.deepEqual(
      seen.filter((name) => names.includes(name)),
      names
    );
    assert.equal(new Set(seen).size, seen.length);
  });

  test('a page has bounds, and a cursor that is none is refused', async () => {
    assert.equal((await own('beta').must('GET', '/tenants/beta/backends?limit=2')).items.length, 2);
    for (const query of ['limit=0', 'limit=100000', 'limit=x', 'cursor=%21%21'])
      assertProblem(await own('beta').get(`/tenants/beta/backends?${query}`), 422, 'invalid');
  });

  // --- refusals -----------------------------------------------------------------------------------------------------

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

  // --- tenants apart ------------------------------------------------------------------------------------------------

  const fill = (path, tenant) =>
    path
      .replace('/api/v1', '')
      .replace('{tenant}', tenant)
      .replace('{name}', 'app')
      .replace('{credential}', 'first')
      .replace('{id}', '1');

  async function operations() {
    const { paths } = (await api.get('/openapi.json')).body;
    return Object.entries(paths).flatMap(([path, item]) =>
      Object.entries(item)
        .filter(([method]) => /^(get|put|post|patch|delete)$/.test(method))
        .map(([method, operation]) => ({ path, method: method.toUpperCase(), operation }))
    );
  }

  test('another tenant’s things are 404 in every route, as if they were not there', async () => {
    const routes = (await operations()).filter(({ path }) => path.includes('{tenant}'));
    assert.ok(routes.length >= 30);
    const before = (await api.get('/tenants/alpha/document')).text;
    const plain = (answer, name) => JSON.stringify({ ...answer.body, request_id: '' }).replaceAll(`'${name}'`, "'x'");
    for (const { path, method } of routes) {
      const body = /PUT|POST|PATCH/.test(method) ? {} : undefined;
      const foreign = await own('beta').call(method, fill(path, 'alpha'), body);
      assertProblem(foreign, 404, 'not_found');
      const missing = await own('beta').call(method, fill(path, 'no-such-team'), body);
      assert.equal(plain(foreign, 'alpha'), plain(missing, 'no-such-team'), `${method} ${path}`);
    }
    assert.equal((await api.get('/tenants/alpha/document')).text, before);
  });

  test('what is the master’s is 403 with the reason, in every route', async () => {
    const only = (await operations()).filter(({ operation }) => JSON.stringify(operation).includes('aster'));
    const routes = only.filter(({ path }) => /grants|tokens|status|changes|tenants/.test(path));
    const denied = [];
    for (const { path, method } of routes) {
      const answer = await own().call(method, fill(path, 'alpha'), /PUT|POST|PATCH/.test(method) ? {} : undefined);
      if (answer.status === 403) denied.push(`${method} ${path.replace('/api/v1', '')}`);
      if (answer.status === 403) assertProblem(answer, 403, 'master_only');
    }
    const wanted = ['POST /tenants', 'PUT /tenants/{tenant}', 'PATCH /tenants/{tenant}', 'DELETE /tenants/{tenant}'];
    wanted.push(
      'PUT /tenants/{tenant}/grants',
      'PATCH /tenants/{tenant}/grants',
      'GET /status',
      'GET /changes',
      'GET /tokens'
    );
    for (const one of [...wanted, 'GET /changes/verification', 'POST /tokens', 'DELETE /tokens/{id}']) {
      const [method, path] = one.split(' ');
      assertProblem(
        await own().call(method, fill(path, 'alpha'), /PUT|POST|PATCH/.test(method) ? {} : undefined),
        403,
        'master_only'
      );
    }
    assert.ok(denied.length > 0, 'the description says which routes are the master’s');
  });

  test('a tenant sees itself alone', async () => {
    assert.deepEqual(
      (await own().all('/tenants')).map((tenant) => tenant.name),
      ['alpha']
    );
    const changes = await own().all('/tenants/alpha/changes');
    assert.ok(changes.length > 0 && changes.every((change) => change.tenant === 'alpha'));
    for (const path of ['/tenants/alpha/status', '/tenants/alpha/usage', '/tenants/alpha/tokens', '/tenants'])
      assert.ok(!(await own().get(path)).text.includes('beta'), path);
  });

  test('a tenant admin that applies a file with other grants is refused; with the same, or none, not', async () => {
    const file = (await own().get('/tenants/alpha/document')).body;
    assert.equal((await own().put('/tenants/alpha/document', file)).status, 200);
    const { grants, ...without } = file;
    assert.equal((await own().put('/tenants/alpha/document', without)).status, 200);
    const more = { ...file, grants: { ...grants, domains: [...grants.domains, { name: 'more.test' }] } };
    assertProblem(await own().put('/tenants/alpha/document', more), 403, 'master_only');
  });

  test('a suspended tenant reads, and changes nothing', async () => {
    await api.must('PATCH', '/tenants/beta', { state: 'suspended' });
    assert.equal((await own('beta').get('/tenants/beta/document')).status, 200);
    assertProblem(await own('beta').put('/tenants/beta/backends/thing', backend), 403, 'tenant_suspended');
    await api.must('PATCH', '/tenants/beta', { state: 'active' });
    assert.equal((await own('beta').put('/tenants/beta/backends/thing', backend)).status, 201);
    await own('beta').must('DELETE', '/tenants/beta/backends/thing');
  });

  // --- once, and recorded -------------------------------------------------------------------------------------------

  test('an idempotency key makes a write happen once', async () => {
    const path = '/tenants/alpha/applications/app/credentials';
    const options = { headers: { 'idempotency-key': 'once-1' } };
    const first = await own().post(path, { name: 'once' }, options);
    const second = await own().post(path, { name: 'once' }, options);
    assert.equal(first.status, 201, first.text);
    assert.equal(second.status, 201, second.text);
    assert.deepEqual(second.body, first.body);
    assert.equal(second.headers['idempotency-replayed'], 'true');
    assertProblem(await own().post(path, { name: 'other' }, options), 422, 'idempotency_key_reused');
    assert.equal(
      (await own('beta').post('/tenants/beta/applications/app/credentials', { name: 'once' }, options)).status,
      201
    );
    await own().must('DELETE', `${path}/once`);
  });

  test('many at once with one idempotency key make one thing', async () => {
    const options = { headers: { 'idempotency-key': 'once-2' } };
    const all = await Promise.all(
      Array.from({ length: 6 }, () =>
        own().post('/tenants/alpha/tokens', { name: 'race', role: 'tenant_admin' }, options)
      )
    );
    assert.deepEqual([...new Set(all.map((answer) => `${answer.status} ${answer.body.token}`))].length, 1);
    assert.equal((await own().all('/tenants/alpha/tokens')).filter((token) => token.name === 'race').length, 1);
  });

  test('every write leaves a change record: who, what, what is different', async () => {
    const path = '/tenants/alpha/backends/recorded';
    const options = { headers: { 'x-request-id': 'my-request-1' } };
    await own().put(path, backend, options);
    await own().patch(path, { base_path: '/x' }, options);
    await own().delete(path, options);
    const [deleted, updated, created] = (await own().must('GET', '/tenants/alpha/changes?limit=3')).items;
    assert.deepEqual(
      [created, updated, deleted].map((change) => change.action),
      ['create', 'update', 'delete']
    );
    for (const change of [created, updated, deleted]) {
      assert.equal(change.kind, 'backend');
      assert.equal(change.name, 'recorded');
      assert.equal(change.actor, 'admin');
      assert.equal(change.request_id, 'my-request-1');
    }
    assert.deepEqual(updated.details, [{ pointer: '/base_path', before: '/', after: '/x' }]);
    assert.ok(created.sequence < updated.sequence && updated.sequence < deleted.sequence);
    assert.deepEqual(await api.must('GET', '/changes/verification').then((answer) => answer.intact), true);
  });

  // --- description and metrics --------------------------------------------------------------------------------------

  test('openapi.json is OpenAPI 3.1: every reference resolves, every operation is whole', async () => {
    const document = (await api.as(undefined).get('/openapi.json')).body;
    assert.match(document.openapi, /^3\.1\.\d+$/);
    assert.ok(document.info.title && document.info.version);
    const resolve = (ref) =>
      ref
        .slice(2)
        .split('/')
        .reduce((node, key) => node?.[key.replace(/~1/g, '/').replace(/~0/g, '~')], document);
    let references = 0;
    JSON.stringify(document, (key, value) => {
      if (key === '$ref') assert.ok(resolve(value), `${value} resolves`);
      references += key === '$ref';
      return value;
    });
    assert.ok(references > 20);
    const ids = [];
    for (const { path, method, operation } of await operations()) {
      assert.ok(operation.operationId && operation.summary, `${method} ${path}`);
      ids.push(operation.operationId);
      assert.ok(
        Object.keys(operation.responses).some((status) => /^2\d\d$/.test(status)),
        `${method} ${path}`
      );
      const all = [...(document.paths[path].parameters ?? []), ...(operation.parameters ?? [])];
      const parameters = all.map((one) => (one.$ref ? resolve(one.$ref) : one));
      for (const [, name] of path.matchAll(/\{(\w+)\}/g))
        assert.ok(
          parameters.some((one) => one.in === 'path' && one.name === name && one.required),
          `${path} ${name}`
        );
      for (const one of parameters) assert.ok(one.name && one.in && one.schema, `${method} ${path}`);
    }
    assert.equal(new Set(ids).size, ids.length);
  });

  test('every route of openapi.json answers', async () => {
    await api.must('POST', '/tenants', { name: 'walked' });
    await api.must('PUT', '/tenants/walked/document', teamFile('walked', 9102));
    const { chain, key } = new Pki().issue([domainOf('walked')]);
    await api.must('PUT', '/tenants/walked/certificates/app', { chain, key });
    await api.must('PUT', `/tenants/walked/domains/${domainOf('walked')}`, {});
    for (const { path, method, operation } of await operations()) {
      if (method === 'DELETE' && /tenants\/\{tenant\}$|tokens|gateways/.test(path)) continue; // tested elsewhere
      const isAbsolute = !path.startsWith('/api/v1');
      const target = fill(path, 'walked')
        .replace('backends/app', 'backends/service')
        .replace('products/app', 'products/main')
        .replace('domains/app', `domains/${domainOf('walked')}`);
      if (target.endsWith('/credentials'))
        await api.put('/tenants/walked/applications/app', application('app', 'walked-key'));
      const body = method === 'PUT' ? (await api.get(target)).body : /POST|PATCH/.test(method) ? {} : undefined;
      const answer = await api.call(method, target, body, { isAbsolute });
      assert.ok(
        [200, 201, 204, 409, 422].includes(answer.status),
        `${method} ${path}: ${answer.status} ${answer.text}`
      );
      if (answer.status < 300)
        assert.ok(operation.responses[answer.status] || operation.responses[200], `${method} ${path} ${answer.status}`);
    }
    await api.must('DELETE', '/tenants/walked');
  });

  test('what the API gives fits what openapi.json says it may', async () => {
    const { components } = (await api.get('/openapi.json')).body;
    const given = {
      Tenant: await api.must('GET', '/tenants/alpha'),
      Grants: await api.must('GET', '/tenants/alpha/grants'),
      Backend: await api.must('GET', '/tenants/alpha/backends/service'),
      Product: await api.must('GET', '/tenants/alpha/products/main'),
      Application: await api.must('GET', '/tenants/alpha/applications/app'),
      Change: (await api.must('GET', '/changes?limit=1')).items[0],
    };
    for (const [name, value] of Object.entries(given)) {
      const known = Object.keys(components.schemas[name].properties);
      for (const member of Object.keys(value)) assert.ok(known.includes(member), `${name} has no member '${member}'`);
    }
  });

  test('healthz needs no token, metrics are Prometheus and name tenants for the master alone', async () => {
    const health = await api.as(undefined).get('/healthz', { isAbsolute: true });
    assert.equal(health.status, 200);
    assert.equal(health.body.status, 'ok');
    const metrics = await api.as(undefined).get('/metrics', { isAbsolute: true });
    assert.match(metrics.headers['content-type'], /^text\/plain; version=0\.0\.4/);
    for (const line of metrics.text.trimEnd().split('\n'))
      assert.match(line, /^# (HELP|TYPE) \w+ .+$|^\w+(\{[^}]*\}.*)? [\d.eE+-]+$/);
    assert.match(
      metrics.text,
      /^daemun_controller_requests_total\{route="GET \/api\/v1\/tenants",status="2xx"\} \d+$/m
    );
    for (const unseen of [metrics, await own('beta').get('/metrics', { isAbsolute: true })])
      assert.ok(!unseen.text.includes('alpha'));
    assert.ok((await api.get('/metrics', { isAbsolute: true })).text.includes('tenant="alpha"'));
    assert.ok(!metrics.text.includes(keyOf('alpha')));
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

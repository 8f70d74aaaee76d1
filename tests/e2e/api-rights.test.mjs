// Who may do what in the API: tokens, tenants apart, what is the master's.
import assert from 'node:assert/strict';
import { assertProblem, backend, fill, operations, startTenants } from './lib/tenants.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { until } from './lib/wait.mjs';

suite('api-rights', () => {
  let api, own;

  before(async () => {
    ({ api, own } = await startTenants());
  });

  // --- tokens -----------------------------------------------------------------------------------------------------------

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

  // --- tenants apart ----------------------------------------------------------------------------------------------------

  test('another tenant’s things are 404 in every route, as if they were not there', async () => {
    const routes = (await operations(api)).filter(({ path }) => path.includes('{tenant}'));
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
    const only = (await operations(api)).filter(({ operation }) => JSON.stringify(operation).includes('aster'));
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
});

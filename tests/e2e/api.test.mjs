// The controller's API as its callers meet it: make, read, change, delete; conditions, pages, change records.
import assert from 'node:assert/strict';
import { teamFile } from './lib/team.mjs';
import { assertProblem, backend, NAMES, PORT, startTenants } from './lib/tenants.mjs';
import { before, suite, test } from './lib/testing.mjs';

suite('api', () => {
  let api, own;

  before(async () => {
    ({ api, own } = await startTenants());
  });

  // --- make, read, change, delete ---------------------------------------------------------------------------------------

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

  // --- conditions -------------------------------------------------------------------------------------------------------

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

  // --- pages ------------------------------------------------------------------------------------------------------------

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

  // --- once, and recorded -----------------------------------------------------------------------------------------------

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
});

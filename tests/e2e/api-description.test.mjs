// What the API says of itself: openapi.json, health, metrics.
import assert from 'node:assert/strict';
import { Pki } from './lib/pki.mjs';
import { application, domainOf, keyOf, teamFile } from './lib/team.mjs';
import { fill, operations, startTenants } from './lib/tenants.mjs';
import { before, suite, test } from './lib/testing.mjs';

suite('api-description', () => {
  let api, own;

  before(async () => {
    ({ api, own } = await startTenants());
  });

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
    for (const { path, method, operation } of await operations(api)) {
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
    for (const { path, method, operation } of await operations(api)) {
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
});

// A controller alone, with two tenants and an admin of each, for tests of its API.
import assert from 'node:assert/strict';
import { teamFile } from './team.mjs';
import { Controller } from './world.mjs';

export const PORT = 9101; // of backends that nobody asks
export const NAMES = ['alpha', 'beta'];

export const backend = { endpoints: [{ host: '127.0.0.1', port: PORT }] };
export const product = (name, domains = []) => ({ ...teamFile(name, PORT).products[0], name, domains });

export function assertProblem(answer, status, reason, pointers) {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.headers['content-type'], 'application/problem+json');
  assert.equal(answer.body.status, status);
  assert.equal(answer.body.reason, reason);
  assert.ok(answer.body.title && answer.body.type.endsWith(reason) && answer.body.request_id);
  if (pointers) assert.deepEqual(answer.body.errors.map((error) => error.pointer).sort(), [...pointers].sort());
}

// {controller, api, own(name)}: the API as the master, and as the tenant's admin.
export async function startTenants() {
  const controller = await new Controller().start();
  const { api } = controller;
  const tokens = {};
  for (const name of NAMES) {
    await api.must('POST', '/tenants', { name });
    await api.must('PUT', `/tenants/${name}/document`, teamFile(name, PORT));
    tokens[name] = (await api.must('POST', `/tenants/${name}/tokens`, { name: 'admin', role: 'tenant_admin' })).token;
  }
  return { controller, api, own: (name = 'alpha') => api.as(tokens[name]) };
}

// A path of openapi.json with its places filled.
export const fill = (path, tenant) =>
  path
    .replace('/api/v1', '')
    .replace('{tenant}', tenant)
    .replace('{name}', 'app')
    .replace('{credential}', 'first')
    .replace('{id}', '1');

// Every operation that openapi.json describes.
export async function operations(api) {
  const { paths } = (await api.get('/openapi.json')).body;
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([method]) => /^(get|put|post|patch|delete)$/.test(method))
      .map(([method, operation]) => ({ path, method: method.toUpperCase(), operation }))
  );
}

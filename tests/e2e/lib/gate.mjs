// A world with two workers and two teams, "orders" and "catalog", each with its own service.
import assert from 'node:assert/strict';
import { ask } from './http.mjs';
import { apiKey, domainOf, keyOf, teamFile } from './team.mjs';
import { startUpstream } from './upstream.mjs';
import { World } from './world.mjs';

export const everywhere = { ...apiKey, in: ['header', 'query', 'basic'] };
export const basic = (user, password = '') => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

export function assertRefused(answer, status, reason) {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.reason, reason);
  assert.equal(answer.headers['content-type'], 'application/problem+json');
  const problem = answer.json;
  assert.equal(problem.status, status);
  assert.equal(problem.reason, reason);
  assert.equal(problem.request_id, answer.headers['x-request-id']);
  assert.match(problem.request_id, /^[0-9a-f]{32}$/);
}

// {world, api, services (by name), team, call, flood, usageOf}.
export async function startGate() {
  const world = await World.start({ workers: 2 });
  const { api } = world;
  const services = {};

  // A team of its own for one test.
  async function team(name, options = {}, upstreamOptions = {}) {
    services[name] = await startUpstream({ name, ...upstreamOptions });
    const file = teamFile(name, services[name].port, options);
    await api.apply(file);
    return file;
  }
  const call = (name, options = {}) => ask(world.gateway.port, { host: domainOf(name), key: keyOf(name), ...options });

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

  await team('orders');
  await team('catalog');
  return { world, api, services, team, call, flood, usageOf };
}

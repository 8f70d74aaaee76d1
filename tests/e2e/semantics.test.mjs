// What 3scale configurations mean, case by case (cases/README.md).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { ask } from './lib/http.mjs';
import { before, suite, test, together } from './lib/testing.mjs';
import { keyOf, teamFile, domainOf } from './lib/team.mjs';
import { credentialOf, translate } from './lib/threescale.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const read = (name) => JSON.parse(fs.readFileSync(new URL(`cases/${name}`, import.meta.url), 'utf8'));
const { cases } = read('gateway-semantics.json');
const excused = read('excused.json');

const UNDERSTOOD = {
  request: ['method', 'path', 'headers', 'body'],
  expect: ['status', 'body', 'headers', 'backend', 'upstream'],
  backend: ['called', 'usage', 'path', 'args', 'args_contain', 'headers'],
  upstream: ['called', 'path', 'query_args'],
};

// Data functions of the cases, as far as these areas use them.
function evaluate(value) {
  if (value?.$concat) return value.$concat.map(evaluate).join('');
  if (value?.$repeat) return value.$repeat[0].repeat(value.$repeat[1]);
  if (value !== null && typeof value === 'object') throw new Error(`unknown data function ${JSON.stringify(value)}`);
  return value;
}

// The usage that the step is to count, from either way to say it; undefined: not said.
function usageWanted(backend) {
  if (!backend) return undefined;
  if (backend.called === false) return {};
  if (backend.usage) return backend.usage;
  if (!backend.args) return undefined;
  const usage = Object.entries(backend.args).filter(([name]) => name.startsWith('usage['));
  return Object.fromEntries(usage.map(([name, value]) => [name.slice(6, -1), Number(value)]));
}

function assertUnderstood(step) {
  for (const [kind, object] of [
    ['request', step.request],
    ['expect', step.expect],
    ['backend', step.expect.backend],
    ['upstream', step.expect.upstream],
  ])
    for (const member of Object.keys(object ?? {}))
      assert.ok(UNDERSTOOD[kind].includes(member), `${kind}.${member} is understood`);
}

suite('semantics', () => {
  closeUpstreamsAfter();
  let world;
  const unused = []; // tenants that nothing is to be counted for

  before(async () => {
    world = await World.start({ workers: 2 });
  });

  test('every case is run or excused, and nothing else is excused', () => {
    const ids = cases.map((one) => one.id);
    assert.equal(new Set(ids).size, ids.length);
    assert.deepEqual(
      Object.keys(excused).filter((id) => !ids.includes(id)),
      []
    );
    assert.ok(Object.values(excused).every((reason) => reason.length > 5));
    assert.ok(ids.length - Object.keys(excused).length >= 20);
  });

  // A tenant of its own for each step, so that its usage is the step's.
  async function runStep(one, step, number) {
    const tenant = `${one.id}-${number}`.toLowerCase();
    const upstream = await startUpstream();
    const { proxy } = one.config.services[0];
    const credential = credentialOf(proxy, step.request);
    const isRefusal = step.expect.status >= 400;
    const target = { tenant, domain: `${tenant}.test`, port: upstream.port };
    await world.api.apply(translate(one.config, target, credential && !isRefusal ? [credential] : []));

    const { method, path, headers, body } = step.request;
    const answer = await ask(world.gateway.port, { host: target.domain, method, path, headers, body: evaluate(body) });
    assertAnswer(answer, step.expect, method);
    assertUpstream(upstream, step.expect);
    await assertUsage(tenant, step.expect, credential);
    await upstream.close();
  }

  function assertAnswer(answer, expect, method) {
    assert.equal(answer.status, expect.status, answer.text);
    if (expect.body !== undefined && method !== 'HEAD') assert.equal(answer.text, expect.body);
    for (const [name, value] of Object.entries(expect.headers ?? {}))
      assert.equal(answer.headers[name.toLowerCase()], value ?? undefined, name);
  }

  function assertUpstream(upstream, { status, upstream: wanted = { called: status < 400 } }) {
    assert.equal(upstream.requests.length, wanted.called ? 1 : 0, 'requests at the upstream');
    if (wanted.path) assert.equal(upstream.last().path, wanted.path);
    if (wanted.query_args) assert.deepEqual(upstream.last().query, wanted.query_args);
  }

  async function assertUsage(tenant, expect, credential) {
    const wanted = usageWanted(expect.backend);
    if (wanted === undefined) return;
    const totals = async () => {
      const { items } = await world.api.must('GET', `/tenants/${tenant}/usage`);
      assert.ok(
        items.every((item) => item.application === 'app-1'),
        `counted for the application of '${credential}'`
      );
      return Object.fromEntries(items.map((item) => [item.metric, item.count]));
    };
    if (Object.keys(wanted).length === 0) unused.push(tenant);
    else await until('the usage', async () => Object.keys(await totals()).length > 0);
    assert.deepEqual(await totals(), wanted);
  }

  together('cases', () => {
    for (const one of cases)
      test(`${one.id}: ${one.title}`, { skip: excused[one.id] ?? false }, async () => {
        one.steps.forEach(assertUnderstood);
        await Promise.all(one.steps.map((step, i) => runStep(one, step, i + 1)));
      });
  });

  test('what was refused is not counted later either', async () => {
    assert.ok(unused.length > 5);
    const upstream = await startUpstream();
    await world.api.apply(teamFile('marker', upstream.port));
    const calls = 40; // enough for each worker to have some
    for (let i = 0; i < calls; i++) await ask(world.gateway.port, { host: domainOf('marker'), key: keyOf('marker') });
    await until('what every worker counted after the cases', async () => {
      const { items } = await world.api.must('GET', '/tenants/marker/usage');
      return items.length === 1 && items[0].count === calls;
    });
    for (const tenant of unused) assert.deepEqual((await world.api.must('GET', `/tenants/${tenant}/usage`)).items, []);
  });
});

// Two hundred teams on one gateway: set up, changed one by one, and started again from disk.
import assert from 'node:assert/strict';
import { ask } from './lib/http.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { apiKey, application, domainOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { World } from './lib/world.mjs';

const TEAMS = 200;
const PRODUCTS = 3;
const AT_ONCE = 8;

suite('scale', () => {
  closeUpstreamsAfter();
  let world, upstream;
  const names = Array.from({ length: TEAMS }, (_, i) => `team-${i}`);

  const domains = (name) =>
    Array.from({ length: PRODUCTS }, (_, i) => (i === 0 ? domainOf(name) : `p${i}.${domainOf(name)}`));

  function fileOf(name) {
    const file = teamFile(name, upstream.port);
    file.grants.domains = domains(name).map((domain) => ({ name: domain }));
    file.products = domains(name).map((domain, i) => ({
      ...file.products[0],
      name: `product-${i}`,
      domains: [domain],
    }));
    file.applications = [
      {
        ...application('app', keyOf(name)),
        subscriptions: file.products.map((product) => ({ product: product.name, plan: 'basic' })),
      },
    ];
    return file;
  }

  async function each(items, act) {
    const rest = [...items];
    const worker = async () => {
      while (rest.length > 0) await act(rest.shift());
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  const assertAllServe = () =>
    each(names, async (name) => {
      for (const host of domains(name)) {
        const answer = await ask(world.gateway.port, { host, key: keyOf(name) });
        assert.equal(answer.status, 200, `${host}: ${answer.text}`);
        assert.equal(answer.json.headers['x-forwarded-host'], host);
      }
    });

  before(async () => {
    upstream = await startUpstream();
    world = await World.start({ workers: 2 });
    await each(names, (name) => world.api.apply(fileOf(name)));
  });

  test(`${TEAMS} teams with ${PRODUCTS} products each are served, each with its own key`, async () => {
    await assertAllServe();
    for (let i = 0; i < 20; i++)
      assert.equal(
        (await ask(world.gateway.port, { host: domainOf(names[i]), key: keyOf(names[i + 1]) })).reason,
        'auth_invalid'
      );
  });

  test('a change to one is a change to one', async () => {
    const before = await world.api.must('GET', '/status');
    assert.equal(before.units.length, TEAMS * 4);
    const applied = await world.gateway.metric('daemun_documents_accepted_total');
    const file = fileOf('team-7');
    file.products[1].versions[0] = {
      ...file.products[1].versions[0],
      policies: [apiKey, { type: 'headers', response: [{ op: 'set', name: 'X-New', value: 'yes' }] }],
    };
    await world.api.must('PUT', '/tenants/team-7/products/product-1?wait=live', file.products[1]);
    assert.equal(await world.gateway.metric('daemun_documents_accepted_total'), applied + 1);
    const after = await world.api.must('GET', '/status');
    const marks = (status) => new Map(status.units.map((unit) => [`${unit.tenant} ${unit.kind}`, unit.sequence]));
    const was = marks(before);
    assert.deepEqual(
      [...marks(after)].filter(([key, sequence]) => was.get(key) !== sequence).map(([key]) => key),
      ['team-7 release']
    );
    assert.equal(
      (await ask(world.gateway.port, { host: 'p1.team-7.test', key: keyOf('team-7') })).headers['x-new'],
      'yes'
    );
  });

  test('lists of all go page by page', async () => {
    const all = await world.api.all('/tenants', 50);
    assert.deepEqual(all.map((tenant) => tenant.name).sort(), [...names].sort());
  });

  test('the gateway starts from disk with the controller dead, and serves all', async () => {
    await world.controller.stop('SIGKILL');
    await world.gateway.stop();
    await world.gateway.start();
    await assertAllServe();
    assert.equal(await world.gateway.metric('daemun_documents_accepted_total'), 0, 'nothing had to be compiled');
  });

  test('the controller starts again, and finds all live', async () => {
    await world.controller.start();
    await world.whenLinked();
    const { units } = await world.controller.api.must('GET', '/status');
    assert.equal(units.length, TEAMS * 4);
    assert.ok(units.every((unit) => unit.live === 1));
  });
});

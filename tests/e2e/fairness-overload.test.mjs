// A team that asks for more than a worker can do in time is refused some of it; another one on the same worker nothing.
import assert from 'node:assert/strict';
import { Flood, Victim, answersPreflights, preflightOf } from './lib/neighbours.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { apiKey, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const QUEUE_DELAY_MS = 20;
// What is out together takes a worker longer than that, and comes in pieces that each take it more than a quantum.
const CONNECTIONS = 48;
const DEPTH = 300;

suite('fairness-overload', () => {
  closeUpstreamsAfter();
  let world, gateway;

  const metric = (name, tenant, labels = {}) => gateway.metric(name, { tenant, ...labels });
  const shed = (tenant) => metric('daemun_tenant_shed_requests_total', tenant);

  before(async () => {
    world = await World.start({ workers: 1, gatewayArgs: [`--queue-delay-ms=${QUEUE_DELAY_MS}`] });
    gateway = world.gateway;
    for (const name of ['victim', 'aggressor']) {
      const service = await startUpstream({ name });
      await world.api.apply(teamFile(name, service.port, { policies: [answersPreflights, apiKey] }));
    }
  });

  test('of a crowd that waits too long some are told so, with a reason and a count, and the victim is not', async () => {
    const flood = await Flood.start(gateway.port, preflightOf('aggressor'), { connections: CONNECTIONS, depth: DEPTH });
    try {
      await until('some to be refused', async () => (await shed('aggressor')) > 0);
      await new Victim(gateway.port, 'victim').asks(60);
      const asked = await flood.stop();
      const refused = flood.statuses[503];
      assert.deepEqual(flood.statuses, { 204: asked - refused, 503: refused });
      assert.ok(flood.statuses[204] > 0);
      await until('all of it to be counted', async () => (await shed('aggressor')) === refused);
      assert.equal(await metric('daemun_refusals_total', 'aggressor', { reason: 'overloaded' }), refused);
    } finally {
      flood.close();
    }
    assert.equal(await shed('victim'), 0);
    assert.equal(await metric('daemun_refusals_total', 'victim'), 0);
  });
});

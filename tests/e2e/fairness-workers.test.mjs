// Two workers, and a team whose connections are all on one of them: another team, with connections on both, is answered on both.
import assert from 'node:assert/strict';
import { RawClient } from './lib/http.mjs';
import { answersPreflights, preflightOf, sendToSleeping } from './lib/neighbours.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { apiKey, headOf, teamFile } from './lib/team.mjs';
import { ownerOf } from './lib/sockets.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const WORKERS = 2;
const CROWD = 12; // connections
const REQUESTS = 30; // on each

suite('fairness-workers', () => {
  closeUpstreamsAfter();
  let world, gateway, port, workers;

  before(async () => {
    world = await World.start({ workers: WORKERS });
    gateway = world.gateway;
    ({ port } = gateway);
    ({ workers } = gateway.pids());
    for (const name of ['victim', 'aggressor']) {
      const service = await startUpstream({ name });
      await world.api.apply(teamFile(name, service.port, { policies: [answersPreflights, apiKey] }));
    }
  });

  // The kernel spreads connections: one that went elsewhere is closed and tried again.
  async function connectTo(worker) {
    for (;;) {
      const client = await RawClient.open(port);
      const owner = await until('somebody to take the connection', () => ownerOf(port, client.socket.localPort, workers));
      if (owner === worker) return client;
      client.close();
    }
  }

  async function asks(client, text, status) {
    await client.send(text);
    const answer = await client.response();
    assert.equal(answer.status, status);
    return answer;
  }

  test('on the worker with the crowd it comes before the crowd, and on the other one too', async () => {
    const target = '/uneven';
    const crowd = [];
    for (let i = 0; i < CROWD; i++) crowd.push(await connectTo(workers[0]));
    const victims = [await connectTo(workers[0]), await connectTo(workers[1])];
    for (const client of crowd) await asks(client, preflightOf('aggressor'), 204);
    for (const client of victims) await asks(client, preflightOf('victim'), 204);
    const messages = crowd.map((client) => [client, preflightOf('aggressor', target).repeat(REQUESTS)]);
    messages.push(...victims.map((client) => [client, preflightOf('victim', target)]));
    await sendToSleeping(gateway, messages, async () => {
      for (const client of victims) assert.equal((await client.response()).status, 204);
    });
    for (const client of crowd) for (let i = 0; i < REQUESTS; i++) assert.equal((await client.response()).status, 204);
    const [crowded, other] = await until('their lines', () => {
      const found = [0, 1].map((slot) => gateway.accessLog(slot).filter(({ path }) => path === target));
      return found[0].length === CROWD * REQUESTS + 1 && found[1].length === 1 && found;
    });
    const place = crowded.findIndex(({ tenant }) => tenant === 'victim');
    assert.ok(place < crowded.length / 4, `${place} of ${crowded.length} requests came before`);
    assert.equal(other[0].tenant, 'victim');
    for (const client of victims) assert.equal((await asks(client, headOf('victim', { target: '/victim' }), 200)).headers['content-type'], 'application/json');
    [...crowd, ...victims].forEach((client) => client.close());
    assert.equal(await gateway.metric('daemun_refusals_total', { tenant: 'victim' }), 0);
    assert.deepEqual(gateway.pids().workers, workers, 'the workers are those that they were');
  });
});

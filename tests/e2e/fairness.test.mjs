// What a team feels of another one that floods, that is refused, or whose backend hangs, on the same worker: no error, none of its
// requests behind the other's crowd, nothing on its account. bench/ has the times.
import assert from 'node:assert/strict';
import { RawClient, ask } from './lib/http.mjs';
import { Flood, Victim, answersPreflights, cpuNsOf, preflightOf, sendToSleeping } from './lib/neighbours.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { LIVE, apiKey, domainOf, headOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const VICTIM_ASKS = 60; // under a flood
const FLOOD_CONNECTIONS = 16;
const HANGING = 300;
const CAPPED = { exchanges: 100, queue: 50, queue_ms: 60000 };
const CROWD = { connections: 12, requests: 30 }; // queued at once; their lines in the access log fit into its pipe
const EQUALS = Array.from({ length: 20 }, (_, i) => `equal-${i}`);
const NS = 1e9;
const ANSWERS_ALL = '--queue-delay-ms=0'; // a flood, too, however long it waits; fairness-overload.test.mjs has it otherwise

suite('fairness', () => {
  closeUpstreamsAfter();
  let world, gateway, port, pid;
  const services = {};

  const metric = (name, labels) => gateway.metric(name, labels);
  const cpuOf = (tenant) => metric('daemun_tenant_cpu_seconds_total', { tenant });
  const requestsOf = (tenant) => metric('daemun_requests_total', { tenant });
  const refusedOf = (tenant, reason) => metric('daemun_refusals_total', { tenant, ...(reason ? { reason } : {}) });

  // A team with a backend of its own that tells its name, but for /held: that it answers when it is told to.
  async function team(name, options = {}) {
    const held = [];
    const service = (services[name] = await startUpstream({
      name,
      respond(request, response, seen) {
        if (seen.path === '/held') held.push(response);
        else response.end(JSON.stringify(seen));
      },
    }));
    service.held = held;
    service.release = () => held.splice(0).forEach((response) => response.end('released'));
    await world.api.apply(teamFile(name, service.port, { policies: [answersPreflights, apiKey], ...options }));
  }

  before(async () => {
    world = await World.start({ workers: 1, gatewayArgs: [ANSWERS_ALL] });
    gateway = world.gateway;
    ({ port } = gateway);
    [pid] = gateway.pids().workers;
    await team('victim');
    await team('aggressor', { backend: { response_timeout_ms: 600000 } });
    await Promise.all(EQUALS.map((name) => team(name)));
    await team('refused', { plan: { limits: [{ metric: 'hits', period: 'eternity', value: 1 }] } });
  });

  // The worker is the one that it was; the victim was refused nothing, holds nothing, and its backend saw nobody else.
  async function check() {
    assert.deepEqual(gateway.pids().workers, [pid]);
    assert.equal(await refusedOf('victim'), 0);
    assert.equal(await metric('daemun_tenant_refused_total', { tenant: 'victim' }), 0);
    assert.equal(await metric('daemun_tenant_waits_total', { tenant: 'victim' }), 0);
    const { requests } = services.victim;
    assert.ok(requests.every(({ path }) => path.startsWith('/victim/')), 'its backend saw nobody else');
  }

  // What happens beside a flood of the team, and how many requests that was. Nothing of it is left, whatever happens.
  async function beside(aggressor, depth, act) {
    const flood = await Flood.start(port, headOf(aggressor), { connections: FLOOD_CONNECTIONS, depth });
    try {
      return [await act(flood), await flood.stop()];
    } finally {
      flood.close();
    }
  }

  // So many answers to the victim while requests of the other are out at any time. What both did, and what they were charged.
  async function underFlood(aggressor, depth, asks = VICTIM_ASKS) {
    const teams = ['victim', aggressor];
    const read = () => Promise.all(teams.flatMap((name) => [requestsOf(name), cpuOf(name)]));
    const first = await read();
    let flood;
    const when = () => assert.ok(flood.outstanding > 0, 'the aggressor asks all the time');
    const [answered, asked] = await beside(aggressor, depth, async (one) => {
      flood = one;
      return new Victim(port, 'victim', { when }).asks(asks);
    });
    return until('all of it to be counted', async () => {
      const grown = (await read()).map((value, index) => value - first[index]);
      const [requests, cpu, theirRequests, theirCpu] = grown;
      assert.deepEqual([requests, theirRequests], [answered, asked]);
      return { requests, cpu, theirRequests, theirCpu, statuses: flood.statuses };
    });
  }

  // --- floods -------------------------------------------------------------------------------------------------------

  test('a flood: the victim is answered all the while, and who floods pays for it', async () => {
    const { requests, cpu, theirRequests, theirCpu, statuses } = await underFlood('aggressor', 8);
    assert.deepEqual(statuses, { 200: theirRequests }, 'every request of the flood is answered, too');
    assert.ok(theirCpu > 3 * cpu, `${theirRequests} requests: ${theirCpu} s of CPU time; of the victim ${requests}: ${cpu} s`);
    await check();
  });

  test('a flood that is refused by its limit: likewise, and no backend hears of it', async () => {
    const { requests, cpu, theirRequests, theirCpu, statuses } = await underFlood('refused', 32);
    assert.deepEqual(statuses, { 200: 1, 429: theirRequests - 1 });
    assert.equal(await refusedOf('refused', 'limit_exceeded'), theirRequests - 1);
    assert.equal(services.refused.requests.length, 1);
    assert.ok(theirCpu > 3 * cpu, `${theirRequests} requests: ${theirCpu} s of CPU time; of the victim ${requests}: ${cpu} s`);
    await check();
  });

  test('all accounts together are what the kernel says that the worker has run', async () => {
    const accounts = ['daemun_tenant_cpu_seconds_total', 'daemun_worker_lobby_cpu_seconds_total', 'daemun_worker_platform_cpu_seconds_total'];
    const sum = async () => (await Promise.all(accounts.map((name) => metric(name)))).reduce((total, value) => total + value, 0);
    const [before, kernelBefore] = [await sum(), cpuNsOf(pid) / NS];
    await beside('refused', 32, () => until('half a second of CPU time', () => cpuNsOf(pid) / NS > kernelBefore + 0.5));
    await until('the last of it to be told', async () => {
      const [all, kernel] = [(await sum()) - before, cpuNsOf(pid) / NS - kernelBefore];
      if (Math.abs(all / kernel - 1) > 0.03) throw new Error(`${all} s on all accounts, ${kernel} s by the kernel`);
      return true;
    });
  });

  // --- order --------------------------------------------------------------------------------------------------------

  // A crowd of the aggressor's requests and behind it one of each of these teams, all there before the worker looks; all of a kind that
  // the gateway answers itself. Resolves with the places of the teams' lines in the worker's log, and how many lines there are.
  async function queueBehindCrowd(names, mark) {
    const target = `/${mark}`;
    const crowd = await Promise.all(Array.from({ length: CROWD.connections }, () => RawClient.open(port)));
    const others = await Promise.all(names.map(() => RawClient.open(port)));
    const isWarm = async (client, name, to) => {
      await client.send(preflightOf(name, to));
      assert.equal((await client.response()).status, 204);
    };
    await Promise.all([...crowd.map((client) => isWarm(client, 'aggressor')), ...others.map((client, i) => isWarm(client, names[i]))]);
    await until('what was logged before to be on disk', async () => {
      await isWarm(crowd[0], 'aggressor', `${target}-before`);
      return gateway.accessLog().some(({ path }) => path === `${target}-before`);
    });
    const messages = crowd.map((client) => [client, preflightOf('aggressor', target).repeat(CROWD.requests)]);
    messages.push(...others.map((client, i) => [client, preflightOf(names[i], target)]));
    await sendToSleeping(gateway, messages, async () => {
      for (const client of others) assert.equal((await client.response()).status, 204);
    });
    for (const client of crowd) for (let i = 0; i < CROWD.requests; i++) assert.equal((await client.response()).status, 204);
    [...crowd, ...others].forEach((client) => client.close());
    const count = CROWD.connections * CROWD.requests + names.length;
    const lines = await until('their lines', () => {
      const found = gateway.accessLog().filter(({ path }) => path === target);
      return found.length === count && found;
    });
    return { places: names.map((name) => lines.findIndex(({ tenant }) => tenant === name)), count };
  }

  test('a request behind a crowd of another’s is answered before the crowd', async () => {
    const { places, count } = await queueBehindCrowd(['victim'], 'one-behind');
    assert.ok(places[0] < count / 4, `${places[0]} of ${count} requests came before`);
  });

  test('so are those of many equal teams, one each', async () => {
    const { places, count } = await queueBehindCrowd(EQUALS, 'many-behind');
    assert.ok(Math.max(...places) < count / 2, `${Math.max(...places)} of ${count} requests came before the last of them`);
  });

  test('many equal teams under a flood: each is answered all that it asks', async () => {
    await beside('refused', 32, async (flood) => {
      const when = () => assert.ok(flood.outstanding > 0, 'the aggressor asks all the time');
      await Promise.all(EQUALS.map((name) => new Victim(port, name, { atATime: 1, when }).asks(10)));
    });
    for (const name of EQUALS) {
      assert.equal(await refusedOf(name), 0);
      assert.ok(services[name].requests.every(({ path }) => path.startsWith(`/${name}/`)), 'nobody else’s');
    }
    await check();
  });

  // --- backends that hang -------------------------------------------------------------------------------------------

  async function hang(count) {
    const clients = await Promise.all(Array.from({ length: count }, () => RawClient.open(port)));
    for (const client of clients) await client.send(headOf('aggressor', { target: '/held' }));
    return clients;
  }

  const inFlight = (tenant) => metric('daemun_requests_in_flight', { tenant });
  const waiting = () => metric('daemun_tenant_waiting', { tenant: 'aggressor', cap: 'exchanges' });

  async function victimIsWell() {
    await new Victim(port, 'victim').asks(60);
    await check();
  }

  test('a backend that hangs: hundreds of requests wait for it, and the victim’s for nothing', async () => {
    const clients = await hang(HANGING);
    await until('all at the backend', () => services.aggressor.held.length === HANGING);
    await victimIsWell();
    assert.equal(services.aggressor.held.length, HANGING, 'all the while');
    assert.equal(await inFlight('aggressor'), HANGING);
    assert.equal(await metric('daemun_tenant_upstream_connections', { tenant: 'aggressor' }), HANGING);
    services.aggressor.release();
    for (const client of clients) assert.equal((await client.response()).text, 'released');
    clients.forEach((client) => client.close());
    await until('none to be in flight', async () => (await inFlight('aggressor')) === 0);
  });

  test('a backend that hangs, above the caps: some wait for room, the others are told so, the victim notices neither', async () => {
    const changed = await world.api.patch(`/tenants/aggressor${LIVE}`, { caps: CAPPED });
    assert.equal(changed.status, 200, changed.text);
    const before = { refused: await refusedOf('aggressor', 'tenant_over_cap'), waits: await waitsOf() };
    const clients = await hang(HANGING);
    const beyond = HANGING - CAPPED.exchanges - CAPPED.queue;
    await until('the refusals', async () => (await refusedOf('aggressor', 'tenant_over_cap')) - before.refused === beyond);
    await until('the others at the backend', () => services.aggressor.held.length === CAPPED.exchanges);
    assert.equal(await waiting(), CAPPED.queue);
    await victimIsWell();
    assert.deepEqual([services.aggressor.held.length, await waiting()], [CAPPED.exchanges, CAPPED.queue], 'all the while');
    let isReleasing = true;
    const released = (async () => {
      for (; isReleasing; await until('more', () => !isReleasing || services.aggressor.held.length > 0)) services.aggressor.release();
    })();
    const answers = await Promise.all(clients.map((client) => client.response()));
    isReleasing = false;
    await released;
    const refused = answers.filter(({ status }) => status === 503);
    assert.equal(answers.filter(({ status }) => status === 200).length, HANGING - beyond);
    assert.equal(refused.length, beyond);
    assert.ok(refused.every(({ reason, headers }) => reason === 'tenant_over_cap' && Number(headers['retry-after']) >= 1));
    assert.equal((await waitsOf()) - before.waits, CAPPED.queue);
    assert.equal(await metric('daemun_tenant_waits_expired_total', { tenant: 'aggressor' }), 0);
    clients.forEach((client) => client.close());
    await check();
  });

  const waitsOf = () => metric('daemun_tenant_waits_total', { tenant: 'aggressor', cap: 'exchanges' });
});

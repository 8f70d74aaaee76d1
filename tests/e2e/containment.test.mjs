// Backends that fail: their callers are told at once, the backend is left alone, neighbours notice nothing.
import assert from 'node:assert/strict';
import { ask } from './lib/http.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { LIVE, domainOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const WORKERS = 2;

suite('containment', () => {
  let world;
  closeUpstreamsAfter();

  before(async () => {
    world = await World.start({ workers: WORKERS });
  });

  const call = (name, path = '/') => ask(world.gateway.port, { host: domainOf(name), key: keyOf(name), path });
  const metric = (metric, tenant, labels = {}) => world.gateway.metric(metric, { tenant, ...labels });
  const events = (event, tenant) => world.gateway.process.logged(event).filter((one) => one.tenant === tenant);
  const setBreaker = async (name, breaker) => {
    const answer = await world.api.patch(`/tenants/${name}/backends/service${LIVE}`, { breaker });
    assert.ok(answer.status < 300, answer.text);
  };

  // How often each reason was answered; undefined: the backend answered.
  async function callTimes(n, name, path) {
    const reasons = {};
    for (let i = 0; i < n; i++) {
      const { reason } = await call(name, path);
      reasons[reason] = (reasons[reason] ?? 0) + 1;
    }
    return reasons;
  }

  test('a dead backend gets ten calls of each worker, and one when it is back', async () => {
    const service = await startUpstream();
    await world.api.apply(teamFile('dying', service.port, { backend: { breaker: { open_ms: 60000, open_max_ms: 60000 } } }));
    assert.equal((await call('dying')).status, 200);
    await service.close();
    const reasons = await callTimes(200, 'dying');
    assert.ok(reasons.backend_unreachable <= 10 * WORKERS, JSON.stringify(reasons));
    assert.equal(reasons.backend_unreachable + reasons.circuit_open, 200, JSON.stringify(reasons));
    const refused = await call('dying');
    assert.equal(refused.status, 503);
    assert.equal(refused.json.reason, 'circuit_open');
    assert.ok(Number(refused.headers['retry-after']) > 1, 'the time that is left');
    await until('every worker knows', async () => (await metric('daemun_circuits_open', 'dying')) === WORKERS);
    assert.equal(await metric('daemun_circuit_changes_total', 'dying', { state: 'open' }), 1, 'one change of all workers');
    const [event] = await until('the event', () => events('circuit_opened', 'dying').length > 0 && events('circuit_opened', 'dying'));
    assert.equal(event.cause, 'consecutive_failures');
    assert.equal(event.backend, 'service');
    assert.match(event.message, /the last 10 failed behind one another; 0 of 1 endpoints out of turn; open for 60000 ms/);

    const back = await startUpstream({ port: service.port });
    await setBreaker('dying', { mode: 'closed' }); // by hand: nobody waits for the minute
    await setBreaker('dying', { mode: 'auto', open_ms: 10, open_max_ms: 10 });
    assert.deepEqual(await callTimes(20, 'dying'), { undefined: 20 });
    await until('every worker knows', async () => (await metric('daemun_circuits_open', 'dying')) === 0);
    await back.close();
    await callTimes(40, 'dying');
    assert.ok((await metric('daemun_circuits_open', 'dying')) >= 1);
    await startUpstream({ port: service.port });
    await until('it is closed again by itself', async () => {
      await call('dying');
      return (await metric('daemun_circuits_open', 'dying')) === 0;
    });
    await until('the API tells that a probe closed it', async () => {
      const { gateways } = await world.api.must('GET', '/tenants/dying/backends/service/circuit');
      return gateways[0].changes[0].to === 'closed' && gateways[0].changes[0].cause === 'probe';
    });
  });

  test('what one team’s calls come to counts for no other at the same address', async () => {
    const service = await startUpstream({
      respond: (request, response) => response.writeHead(request.url === '/bad' ? 503 : 200).end('said'),
    });
    await world.api.apply(teamFile('guilty', service.port));
    await world.api.apply(teamFile('innocent', service.port));
    for (let i = 0; i < 30; i++) {
      await call('guilty', '/bad');
      assert.equal((await call('innocent')).status, 200);
    }
    assert.ok((await metric('daemun_refusals_total', 'guilty', { reason: 'circuit_open' })) > 0);
    assert.equal(await metric('daemun_circuit_changes_total', 'innocent'), 0);
    assert.equal(await metric('daemun_refusals_total', 'innocent'), 0);
  });

  test('a circuit is opened and closed by hand, on every worker', async () => {
    const service = await startUpstream();
    await world.api.apply(teamFile('by-hand', service.port));
    await setBreaker('by-hand', { mode: 'open' });
    assert.deepEqual(await callTimes(20, 'by-hand'), { circuit_open: 20 });
    assert.equal(service.requests.length, 0);
    await until('every worker knows', async () => (await metric('daemun_circuits_open', 'by-hand')) === WORKERS);
    assert.equal(await metric('daemun_circuit_changes_total', 'by-hand', { state: 'open' }), 1);
    await setBreaker('by-hand', { mode: 'auto' });
    assert.deepEqual(await callTimes(20, 'by-hand'), { undefined: 20 });
  });

  test('a backend is given so many calls at a time; the others wait, and are refused beyond the queue', async () => {
    const held = [];
    const service = await startUpstream({ respond: (request, response) => held.push(response) });
    const concurrency = { limit: 'adaptive', min: 1, max: 1 }; // of each worker
    await world.api.apply(teamFile('narrow', service.port, { backend: { concurrency } }));
    const answer = await world.api.patch(`/tenants/narrow${LIVE}`, { caps: { queue: 2, queue_ms: 60000 } });
    assert.ok(answer.status < 300, answer.text);
    const calls = [];
    const ends = { busy: 0, said: 0 };
    // one in flight in each worker, two that wait: what comes then is refused
    while (ends.busy === 0) {
      assert.ok(calls.length < 200, 'somebody is refused');
      calls.push(
        call('narrow').then((one) => {
          if (one.status === 200) ends.said++;
          else if (one.reason === 'backend_busy' && one.headers['retry-after'] === '1') ends.busy++;
          else assert.fail(`${one.status} ${one.text}`);
        })
      );
      await new Promise(setImmediate);
    }
    assert.ok(held.length <= WORKERS, 'at a time');
    assert.equal(await metric('daemun_tenant_waiting', 'narrow', { cap: 'backend' }), 2);
    assert.equal(await metric('daemun_backend_calls_in_flight', 'narrow'), held.length);
    service.respond = undefined;
    let done = false;
    const all = Promise.all(calls).then(() => (done = true));
    await until('all are answered', () => {
      for (const response of held.splice(0)) response.end('said');
      return done;
    });
    await all;
    assert.equal(await metric('daemun_backend_calls_in_flight', 'narrow'), 0);
    assert.ok((await metric('daemun_refusals_total', 'narrow', { reason: 'backend_busy' })) >= 1);
  });

  test('settings that contradict one another are refused, with the pointer', async () => {
    const service = await startUpstream();
    await world.api.apply(teamFile('contrary', service.port));
    for (const [change, pointer] of [
      [{ breaker: { open_ms: 2000, open_max_ms: 1000 } }, '/breaker/open_max_ms'],
      [{ breaker: { slow_ms: 1000 }, response_timeout_ms: 1000 }, '/breaker/slow_ms'],
      [{ outlier: { eject_ms: 2000, eject_max_ms: 1000 } }, '/outlier/eject_max_ms'],
      [{ concurrency: { min: 10, max: 9 } }, '/concurrency/max'],
      [{ balance: { method: 'hash', hash_by: 'header' } }, '/balance'],
      [{ health: { interval_ms: 1000, timeout_ms: 2000 } }, '/health/timeout_ms'],
      [{ health: { type: 'grpc' } }, '/health/type'],
      [{ fallback: { status: 204, body: 'x' } }, '/fallback/body'],
    ]) {
      const answer = await world.api.patch('/tenants/contrary/backends/service', change);
      assert.equal(answer.status, 422, answer.text);
      assert.deepEqual(answer.body.errors.map((one) => one.pointer), [pointer]);
    }
  });

  test('of several endpoints, one that is dead costs callers nothing', async () => {
    const [good, dead] = await Promise.all([startUpstream(), startUpstream()]);
    const endpoints = [good, dead].map(({ port }) => ({ host: '127.0.0.1', port }));
    const file = teamFile('several', good.port, { backend: { endpoints } });
    file.grants.endpoints.push({ address: '127.0.0.1', port: dead.port });
    await world.api.apply(file);
    await dead.close();
    assert.deepEqual(await callTimes(60, 'several'), { undefined: 60 });
    assert.equal(good.requests.length, 60);
    assert.ok((await metric('daemun_endpoints_out_total', 'several')) >= 1);
    assert.equal(await metric('daemun_circuit_changes_total', 'several'), 0, 'the backend is well');
  });

  test('an endpoint whose checks fail gets no requests, on any worker, until they pass again', async () => {
    let isSick = false;
    const well = await startUpstream();
    const sick = await startUpstream({
      respond: ({ url }, response) => response.writeHead(url === '/health' && isSick ? 503 : 200).end('said'),
    });
    const asked = () => sick.requests.filter(({ url }) => url !== '/health').length;
    const checks = () => sick.requests.filter(({ url }) => url === '/health');
    const file = teamFile('checked', well.port, {
      backend: {
        endpoints: [well, sick].map(({ port }) => ({ host: '127.0.0.1', port })),
        health: { path: '/health', interval_ms: 200, timeout_ms: 200 },
        outlier: { slow_start_ms: 0 },
        host_header: 'service.internal',
      },
    });
    file.grants.endpoints.push({ address: '127.0.0.1', port: sick.port });
    await world.api.apply(file);
    await until('checks', () => checks().length > 3);
    assert.equal(checks()[0].headers.host, 'service.internal');
    await callTimes(40, 'checked');
    assert.ok(asked() > 0);
    isSick = true;
    await until('every worker knows', async () => (await metric('daemun_endpoints_unhealthy', 'checked')) === WORKERS);
    const before = asked();
    assert.deepEqual(await callTimes(40, 'checked'), { undefined: 40 });
    assert.equal(asked(), before);
    isSick = false;
    await until('every worker knows', async () => (await metric('daemun_endpoints_unhealthy', 'checked')) === 0);
    await callTimes(40, 'checked');
    assert.ok(asked() > before);
    assert.equal(await metric('daemun_endpoint_health_changes_total', 'checked', { state: 'unhealthy' }), 1, 'told by one');
    assert.ok((await metric('daemun_endpoint_checks_total', 'checked', { result: 'failed' })) >= 3);
    const [event] = await until('the event', () => events('endpoint_unhealthy', 'checked').length > 0 && events('endpoint_unhealthy', 'checked'));
    assert.equal(event.cause, 'status');
    assert.match(event.message, /out of turn after 3 checks behind one another; the last took \d+ ms, status 503/);
    await until('the other event', () => events('endpoint_healthy', 'checked').length === 1);
  });

  test('what a backend falls back on, where it can’t be used', async () => {
    const service = await startUpstream();
    const fallback = { content_type: 'application/json', body: '{"items":[]}' };
    await world.api.apply(teamFile('falling', service.port, { backend: { fallback } }));
    assert.equal((await call('falling')).headers['daemun-reason'], undefined);
    await service.close();
    for (const reason of ['backend_unreachable', 'circuit_open']) {
      if (reason === 'circuit_open') await setBreaker('falling', { mode: 'open' });
      const answer = await call('falling');
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.json, { items: [] });
      assert.equal(answer.headers['daemun-reason'], reason);
      assert.ok((await metric('daemun_refusals_total', 'falling', { reason })) >= 1);
    }
    assert.equal(await metric('daemun_fallback_answers_total', 'falling'), 2);
    assert.equal(await metric('daemun_responses_total', 'falling', { class: '5xx' }), 0);
  });
});

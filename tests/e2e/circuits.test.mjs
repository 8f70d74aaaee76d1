// Circuits of backends, live: what the API and the command line tell of them, by hand without a release, and what is left when
// processes die.
import assert from 'node:assert/strict';
import { ask } from './lib/http.mjs';
import { kill, makeDirectory, run, whenGone } from './lib/process.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { domainOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const WORKERS = 2;
const PATIENT = { breaker: { open_ms: 600000, open_max_ms: 600000 } };
const QUICK = { breaker: { open_ms: 10, open_max_ms: 10 } };

suite('circuits', () => {
  let world;
  closeUpstreamsAfter();

  before(async () => {
    world = await World.start({ gateways: 2, workers: WORKERS });
  });

  const pathOf = (name, backend = 'service') => `/tenants/${name}/backends/${backend}/circuit`;
  const circuitOf = async (name) => world.api.must('GET', pathOf(name));
  const on = (circuit, gateway) => circuit.gateways.find((one) => one.gateway === gateway.id);
  const call = (name, gateway = world.gateway) => ask(gateway.port, { host: domainOf(name), key: keyOf(name) });
  const stateMetric = (name) => world.gateway.metric('daemun_circuit_state', { tenant: name, backend: 'service' });

  // A team whose backend is dead; `port` is where it was.
  async function startDead(name, backend) {
    const service = await startUpstream();
    await world.api.apply(teamFile(name, service.port, { backend }));
    assert.equal((await call(name)).status, 200);
    await service.close();
    return service.port;
  }
  // Until the backend is cut off; how many calls that took.
  async function callUntilOpen(name) {
    for (let n = 1; n <= 10 * WORKERS + 1; n++) if ((await call(name)).reason === 'circuit_open') return n - 1;
    assert.fail('the circuit does not open');
  }

  test('the API tells of it on each gateway, with the evidence, and metrics say the state', async () => {
    const port = await startDead('watched', QUICK);
    const still = await circuitOf('watched');
    assert.deepEqual(
      { backend: still.backend, state: still.state, hold: still.hold, changes: still.gateways.map((one) => one.changes) },
      { backend: 'service', state: 'closed', hold: null, changes: [[], []] }
    );
    await callUntilOpen('watched');
    const circuit = await until('the API to tell of it', async () => {
      const now = await circuitOf('watched');
      return on(now, world.gateways[0]).changes.length > 0 && now;
    });
    const [here, there] = world.gateways.map((gateway) => on(circuit, gateway));
    const first = here.changes.at(-1);
    const { at, lasted_ms, calls, ...evidence } = first;
    assert.deepEqual(evidence, {
      number: 1, from: 'closed', to: 'open', cause: 'consecutive_failures', open_ms: 10,
      failed: 10, slow: 0, consecutive: 10, endpoints: 1, endpoints_out: 0,
    });
    assert.ok(calls === 10 || calls === 11, 'of one worker, perhaps the one that saw the call that went well');
    assert.ok(lasted_ms >= 0);
    assert.ok(Math.abs(Date.now() - Date.parse(at)) < 60000, at);
    assert.equal(there.state, 'closed', 'gateways find out for themselves');

    await startUpstream({ port });
    await until('it is closed again', async () => (await call('watched')).status === 200);
    await until('the API knows', async () => on(await circuitOf('watched'), world.gateway).changes[0].to === 'closed');
    const [closed, probing] = on(await circuitOf('watched'), world.gateway).changes;
    assert.deepEqual([closed.cause, probing.to, probing.cause], ['probe', 'half_open', 'time']);
    assert.equal((await circuitOf('watched')).state, 'closed');
    assert.equal(await stateMetric('watched'), 0);
    assert.match((await world.gateway.get('/metrics')).text, /^daemun_circuit_state\{tenant="watched",backend="service"\} 0$/m);
  });

  test('of two workers of which one dies, the other knows, and so does the next', async () => {
    await startDead('outliving', PATIENT);
    await callUntilOpen('outliving');
    assert.equal(await stateMetric('outliving'), 1);
    for (const pid of world.gateway.pids().workers) {
      kill(pid);
      await whenGone(pid);
      await until('all workers serve', async () => (await world.gateway.get('/healthz')).status === 200);
      for (let i = 0; i < 10; i++) assert.equal((await call('outliving')).reason, 'circuit_open');
    }
    const { keeper } = world.gateway.pids();
    kill(keeper);
    await whenGone(keeper);
    await world.gateway.start();
    await world.whenLinked();
    const here = await until('the next keeper tells of it', async () => {
      const now = on(await circuitOf('outliving'), world.gateway);
      return now.state === 'open' && now;
    });
    assert.equal(here.changes.length, 1);
    assert.ok(Date.parse(here.probe_at) - Date.parse(here.since) === 600000);
  });

  test('it is held open and closed by hand on every gateway, recorded, and over restarts', async () => {
    const service = await startUpstream();
    await world.api.apply(teamFile('by-hand', service.port));
    const answer = await world.api.must('PUT', pathOf('by-hand'), { state: 'open', minutes: 5 });
    assert.equal(answer.hold.state, 'open');
    assert.ok(Math.abs(Date.parse(answer.hold.until) - Date.now() - 300000) < 60000);
    for (const gateway of world.gateways)
      await until('refused', async () => (await call('by-hand', gateway)).reason === 'circuit_open');
    const asked = service.requests.length; // before the gateways heard
    for (const gateway of world.gateways)
      for (let i = 0; i < 10; i++) assert.equal((await call('by-hand', gateway)).reason, 'circuit_open');
    assert.equal(service.requests.length, asked);
    await until('told', async () => (await circuitOf('by-hand')).gateways.every((one) => one.state === 'open' && one.held));
    assert.equal(on(await circuitOf('by-hand'), world.gateway).changes[0].cause, 'hand');

    // a release changes nothing of it, nor does the end of the controller or of a gateway
    await world.api.apply(teamFile('by-hand', service.port, { backend: { connect_timeout_ms: 999 } }));
    assert.equal((await call('by-hand')).reason, 'circuit_open');
    await world.gateways[1].killAll();
    await world.controller.process.kill('SIGKILL');
    await world.controller.process.whenEnded();
    await world.controller.start();
    world.api = world.controller.api;
    await world.gateways[1].start();
    await world.whenLinked();
    assert.equal((await circuitOf('by-hand')).hold.state, 'open');
    for (const gateway of world.gateways) assert.equal((await call('by-hand', gateway)).reason, 'circuit_open');

    await world.api.must('PUT', pathOf('by-hand'), { state: 'auto' });
    for (const gateway of world.gateways) await until('let through', async () => (await call('by-hand', gateway)).status === 200);
    assert.equal((await circuitOf('by-hand')).hold, null);
    const [ended, begun] = (await world.api.all('/tenants/by-hand/changes')).filter((one) => one.kind === 'circuit');
    assert.deepEqual(
      [begun, ended].map((one) => [one.name, one.action, one.details[0]]),
      [
        ['service', 'update', { pointer: '/state', before: 'auto', after: 'open' }],
        ['service', 'update', { pointer: '/state', before: 'open', after: 'auto' }],
      ]
    );
  });

  test('a gateway that was away hears that it is over', async () => {
    const service = await startUpstream();
    await world.api.apply(teamFile('away', service.port));
    await world.api.must('PUT', pathOf('away'), { state: 'open' });
    const away = world.gateways[1];
    await until('refused', async () => (await call('away', away)).reason === 'circuit_open');
    await world.controller.stop();
    assert.equal((await call('away', away)).reason, 'circuit_open', 'also without a controller');
    await away.killAll();
    await world.controller.start();
    world.api = world.controller.api;
    await world.api.must('PUT', pathOf('away'), { state: 'auto' });
    await away.start();
    await world.whenLinked();
    await until('let through', async () => (await call('away', away)).status === 200);
  });

  test('nobody sees or holds another’s', async () => {
    const service = await startUpstream();
    for (const name of ['mine', 'theirs']) await world.api.apply(teamFile(name, service.port));
    const { token } = await world.api.must('POST', '/tenants/mine/tokens', { name: 'team', role: 'tenant_admin' });
    const team = world.api.as(token);
    assert.equal((await team.get(pathOf('mine'))).status, 200);
    assert.equal((await team.put(pathOf('mine'), { state: 'closed', minutes: 1 })).status, 200);
    for (const path of [pathOf('theirs'), pathOf('nobodys'), pathOf('mine', 'missing')])
      for (const answer of [await team.get(path), await team.put(path, { state: 'open' })]) {
        assert.equal(answer.status, 404, path);
        assert.equal(answer.body.reason, 'not_found');
      }
    assert.equal((await circuitOf('theirs')).hold, null);
    assert.equal((await call('theirs')).status, 200);
    assert.ok(!JSON.stringify(await team.must('GET', pathOf('mine'))).includes('theirs'));
    for (const [body, pointer] of [
      [{ state: 'half_open' }, '/state'],
      [{}, ''],
      [{ state: 'open', minutes: 0 }, '/minutes'],
      [{ state: 'open', minutes: 1441 }, '/minutes'],
      [{ state: 'open', hours: 1 }, '/hours'],
    ]) {
      const answer = await team.put(pathOf('mine'), body);
      assert.equal(answer.status, 422, answer.text);
      assert.deepEqual(answer.body.errors.map((one) => one.pointer), [pointer]);
    }
    // a tenant that takes the name of one that is gone begins with nothing of it
    await startDead('namesake', PATIENT);
    await callUntilOpen('namesake');
    await until('told', async () => (await circuitOf('namesake')).state === 'open');
    await world.api.must('PUT', pathOf('namesake'), { state: 'open' });
    await world.api.must('DELETE', '/tenants/namesake?wait=live&timeout_ms=60000');
    await world.api.apply(teamFile('namesake', service.port));
    assert.equal((await call('namesake')).status, 200);
    const after = await circuitOf('namesake');
    assert.deepEqual([after.state, after.hold, after.gateways.flatMap((one) => one.changes)], ['closed', null, []]);
  });

  test('daemun circuit shows it and holds it', async () => {
    const service = await startUpstream();
    const directory = makeDirectory();
    await world.api.apply(teamFile('shown', service.port));
    const env = { DAEMUN_SERVER: world.controller.origin, DAEMUN_TOKEN: world.controller.token, HOME: directory, NO_COLOR: '1' };
    const daemun = async (args, status = 0) => {
      const answer = await run('daemun', ['circuit', '--tenant', 'shown', ...args], { env, cwd: directory });
      assert.equal(answer.status, status, answer.stdout + answer.stderr);
      return answer;
    };
    assert.match((await daemun(['service'])).stdout, /GATEWAY +CONNECTED +STATE[^\n]*\ngateway-\d +yes +closed +no/);
    assert.match((await daemun(['service', 'open', '--minutes', '7'])).stdout, /service is held open/);
    await until('refused', async () => (await call('shown')).reason === 'circuit_open');
    await until('shown', async () => /gateway-1 +yes +open +yes/.test((await daemun(['service'])).stdout));
    const { stdout } = await daemun(['service']);
    assert.match(stdout, /CHANGED AT[^\n]*\n[^\n]*gateway-\d +open +hand/);
    assert.match(stdout, /Held open until 20/);
    assert.equal(JSON.parse((await daemun(['service', '-o', 'json'])).stdout).hold.state, 'open');
    await daemun(['service', 'auto']);
    await until('let through', async () => (await call('shown')).status === 200);
    await daemun(['service', 'ajar'], 2);
    await daemun(['service', 'open', '--minutes', '0'], 2);
    await daemun(['missing'], 3);
  });
});

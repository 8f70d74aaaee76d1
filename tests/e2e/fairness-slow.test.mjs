// What a team feels of another one whose clients are slow or big, hang up, reset, or flood with handshakes, on the same worker: nothing.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import tls from 'node:tls';
import { H2Socket } from './lib/h2.mjs';
import { attacks } from './lib/h2-attacks.mjs';
import { RawClient } from './lib/http.mjs';
import { Victim } from './lib/neighbours.mjs';
import { Pki } from './lib/pki.mjs';
import { Polite } from './lib/polite.mjs';
import { freePort } from './lib/ports.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { domainOf, fieldsOf, headOf, teamFile, withCertificate } from './lib/team.mjs';
import { closeUpstreamsAfter, startRawUpstream, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const HEADS = 150;
const BODIES = 100;
const READERS = 50;
const LARGE = Buffer.alloc(8 << 20);
const UPLOADS = 4;
const DOWNLOADS = 4;
const GIGABYTE = 1e9;
const CHUNK = Buffer.alloc(64 << 10);
const CUTS = 60; // of each kind
const RESETTERS = 4;
const HANDSHAKES_AT_A_TIME = 16;
const PATIENT = 'head-timeout-ms=3600000 idle-timeout-ms=3600000 body-timeout-ms=3600000 body-rate=0';
const HASTY = 'head-timeout-ms=1000 idle-timeout-ms=3600000 body-timeout-ms=1000';

suite('fairness-slow', () => {
  closeUpstreamsAfter();
  let world, gateway, port, patient, hasty, secure, pki, pid, service;

  const metric = (name, labels) => gateway.metric(name, labels);
  const connectionsOf = (tenant) => metric('daemun_tenant_connections', { tenant });
  const inFlight = (tenant) => metric('daemun_requests_in_flight', { tenant });
  const bufferedBy = (tenant) => metric('daemun_tenant_buffered_bytes', { tenant });
  const timeouts = (what) => metric('daemun_tenant_timeouts_total', { tenant: 'slow', what });
  const post = (name, length) => headOf(name, { method: 'POST', fields: [`Content-Length: ${length}`] });

  before(async () => {
    [patient, hasty, secure] = [await freePort(), await freePort(), await freePort()];
    const listen = [`127.0.0.1:${patient} ${PATIENT}`, `127.0.0.1:${hasty} ${HASTY}`, `127.0.0.1:${secure} tls`];
    world = await World.start({ workers: 1, gatewayArgs: [...listen.map((one) => `--listen=${one}`), '--queue-delay-ms=0'] });
    gateway = world.gateway;
    ({ port } = gateway);
    [pid] = gateway.pids().workers;
    pki = new Pki();
    service = await startUpstream({ name: 'victim' });
    const large = await startUpstream({
      respond: (request, response, seen) => response.end(seen.path === '/large' ? LARGE : 'ok'),
    });
    for (const [name, at] of [['victim', service.port], ['slow', large.port]])
      await world.api.apply(teamFile(name, at, withCertificate(name, pki.issue([domainOf(name)]))));
  });

  async function check() {
    assert.deepEqual(gateway.pids().workers, [pid]);
    assert.equal(await metric('daemun_refusals_total', { tenant: 'victim' }), 0);
    assert.equal(await metric('daemun_tenant_refused_total', { tenant: 'victim' }), 0);
    assert.equal(await metric('daemun_tenant_timeouts_total', { tenant: 'victim' }), 0);
    assert.ok(service.requests.every(({ path }) => path.startsWith('/victim/')), 'its backend saw nobody else');
  }

  async function victimIsWell() {
    await new Victim(port, 'victim').asks(60);
    await check();
  }

  const connectMany = (to, count) => Promise.all(Array.from({ length: count }, () => RawClient.open(to)));

  // A connection that is the team's: it has named it.
  async function connectAs(to, count) {
    const clients = await connectMany(to, count);
    await Promise.all(
      clients.map(async (client) => {
        await client.send(headOf('slow'));
        assert.equal((await client.response()).status, 200);
      })
    );
    return clients;
  }

  async function goneFrom(what, act) {
    await act();
    await until(`nothing to be left of ${what}`, async () => (await connectionsOf('slow')) + (await inFlight('slow')) + (await bufferedBy('slow')) === 0);
  }

  // --- slow and big -------------------------------------------------------------------------------------------------

  test('slow heads, slow bodies and slow readers, hundreds at a time: the victim is answered, and holds nothing of it', async () => {
    const heads = await connectAs(patient, HEADS);
    const bodies = await connectAs(patient, BODIES);
    const readers = await connectAs(patient, READERS);
    for (const client of heads) await client.send(headOf('slow').slice(0, 20));
    for (const client of bodies) await client.send(`${post('slow', 1000)}abc`);
    for (const client of readers) {
      client.socket.pause();
      await client.send(headOf('slow', { target: '/large' }));
    }
    await until('all of them to be on', async () => (await inFlight('slow')) === BODIES + READERS && (await bufferedBy('slow')) > 0);
    assert.equal(await connectionsOf('slow'), HEADS + BODIES + READERS);
    await victimIsWell();
    assert.equal(await connectionsOf('slow'), HEADS + BODIES + READERS, 'all the while');
    assert.equal(await bufferedBy('victim'), 0);
    await goneFrom('the slow', () => [...heads, ...bodies, ...readers].forEach((client) => client.close()));
  });

  test('slow heads and bodies beyond their time: each is told so and counted, and the victim is answered meanwhile', async () => {
    const first = [await timeouts('head'), await timeouts('body')];
    const victim = new Victim(port, 'victim');
    const heads = await connectAs(hasty, HEADS);
    const bodies = await connectAs(hasty, BODIES);
    for (const client of heads) await client.send(headOf('slow').slice(0, 20));
    for (const client of bodies) await client.send(`${post('slow', 1000)}abc`);
    for (const client of [...heads, ...bodies]) {
      const { status, reason } = await client.response();
      assert.deepEqual([status, reason], [408, 'request_timeout']);
    }
    await until('all of them to be counted', async () => {
      return (await timeouts('head')) - first[0] === HEADS && (await timeouts('body')) - first[1] === BODIES;
    });
    await victim.goOn();
    await victim.stopUnharmed();
    await goneFrom('them', () => [...heads, ...bodies].forEach((client) => client.close()));
    await check();
  });

  test('uploads and downloads without end', async () => {
    let sunk = 0;
    const endless = await startRawUpstream((socket) => {
      socket.once('data', (data) => {
        const isUpload = data.toString('latin1').startsWith('POST');
        socket.on('data', (more) => (sunk += more.length));
        if (isUpload) return;
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${GIGABYTE}\r\n\r\n`);
        const pour = () => {
          while (!socket.destroyed && socket.write(CHUNK));
        };
        socket.on('drain', pour);
        pour();
      });
    });
    await world.api.apply(teamFile('big', endless.port));
    const [uploads, downloads] = [await connectMany(port, UPLOADS), await connectMany(port, DOWNLOADS)];
    let drunk = 0;
    for (const client of uploads) {
      await client.send(headOf('big', { method: 'POST', fields: [`Content-Length: ${GIGABYTE}`] }));
      const pour = () => {
        while (!client.socket.destroyed && client.socket.write(CHUNK));
      };
      client.socket.on('drain', pour);
      pour();
    }
    for (const client of downloads) {
      client.socket.removeAllListeners('data');
      client.socket.on('data', (data) => (drunk += data.length));
      await client.send(headOf('big'));
    }
    await until('both to flow', () => sunk > LARGE.length && drunk > LARGE.length);
    const victim = new Victim(port, 'victim');
    await victim.goOn(60);
    const [sunkBefore, drunkBefore] = [sunk, drunk];
    await until('both to flow on, while the victim is answered', () => sunk > sunkBefore + LARGE.length && drunk > drunkBefore + LARGE.length);
    await victim.goOn();
    assert.ok([...uploads, ...downloads].every((client) => !client.isEnded));
    await victim.stopUnharmed();
    [...uploads, ...downloads].forEach((client) => client.close());
    await until('nothing of them to be left', async () => (await inFlight('big')) === 0 && (await bufferedBy('big')) === 0);
    await check();
  });

  // --- who hangs up -------------------------------------------------------------------------------------------------

  const cutAt = {
    'in a head': (client) => client.send(headOf('slow').slice(0, 30)),
    'in a body': (client) => client.send(`${post('slow', 1000)}abc`),
    'behind a request': (client) => client.send(headOf('slow')),
    'in a response': async (client) => {
      client.socket.removeAllListeners('data');
      const begun = once(client.socket, 'data');
      await client.send(headOf('slow', { target: '/large' }));
      await begun;
    },
  };

  test('connections that are reset, in a head, a body, behind a request and in a response', async () => {
    const victim = new Victim(port, 'victim');
    for (const act of Object.values(cutAt)) {
      const clients = await connectAs(port, CUTS);
      await Promise.all(clients.map(act));
      clients.forEach((client) => client.socket.resetAndDestroy());
    }
    await goneFrom('those that hung up', () => victim.goOn());
    await victim.stopUnharmed();
    await check();
  });

  test('connections of HTTP/2 that reset and reset', async () => {
    const attack = attacks.find(({ name }) => name === 'rapid reset');
    const fields = { get: { ':scheme': 'http', ...fieldsOf('slow') } };
    const first = await metric('daemun_listener_http2_refused_total', { reason: attack.reason });
    let isGoing = true;
    let ended = 0;
    const reset = async () => {
      for (; isGoing; ended++) {
        const socket = await H2Socket.open(port);
        await socket.flood(attack.rounds, (round) => attack.round(round, fields));
        await socket.whenEnded();
      }
    };
    const resetters = Array.from({ length: RESETTERS }, reset);
    const victim = new Victim(port, 'victim');
    await victim.goOn(60);
    await until('every one to have been ended', () => ended >= 2 * RESETTERS);
    isGoing = false;
    await Promise.all(resetters);
    await victim.stopUnharmed();
    assert.equal((await metric('daemun_listener_http2_refused_total', { reason: attack.reason })) - first, ended);
    await goneFrom('the streams', () => check());
  });

  // --- handshakes ---------------------------------------------------------------------------------------------------

  // A full handshake of TLS 1.3 and its request, until the answer is whole.
  const handshakeAs = (name) => () =>
    new Promise((resolve, reject) => {
      const host = domainOf(name);
      const socket = tls.connect({ host: '127.0.0.1', port: secure, servername: host, ca: pki.root.certificate, ALPNProtocols: ['http/1.1'] });
      let text = '';
      socket.on('secureConnect', () => socket.write(headOf(name, { target: `/${name}/tls`, fields: ['Connection: close'] })));
      socket.on('data', (data) => (text += data));
      socket.on('error', reject);
      socket.on('close', () => (text.startsWith('HTTP/1.1 200') ? resolve() : reject(new Error(`answer: ${text.slice(0, 80)}`))));
    });

  test('a flood of handshakes: the victim’s are all served, and who makes them pays for them', async () => {
    const handshakes = () => metric('daemun_worker_tls_handshakes_total');
    const cpuOf = (tenant) => metric('daemun_tenant_cpu_seconds_total', { tenant });
    const read = () => Promise.all([handshakes(), cpuOf('victim'), cpuOf('slow')]);
    const first = await read();
    const flood = new Polite(handshakeAs('slow'), HANDSHAKES_AT_A_TIME);
    const victim = new Polite(handshakeAs('victim'));
    await victim.goOn(25);
    await flood.goOn(8 * HANDSHAKES_AT_A_TIME);
    await victim.stopUnharmed();
    await flood.stopUnharmed();
    await goneFrom('the flood', async () => {});
    const [made, own, theirs] = (await read()).map((value, index) => value - first[index]);
    assert.equal(made, victim.answered + flood.answered, 'all of them full ones');
    assert.ok(flood.answered > victim.answered && theirs > own, `${flood.answered}: ${theirs} s, the victim’s ${victim.answered}: ${own} s`);
    await check();
  });
});

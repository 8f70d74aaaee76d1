// The ledger: what the accounts say is what the kernel and the peers say, within 3 %. CPU time of the workers against the kernel's,
// bytes against what clients' and backends' sockets moved.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import http from 'node:http';
import http2 from 'node:http2';
import tls from 'node:tls';
import { Pki } from './lib/pki.mjs';
import { freePort } from './lib/ports.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { domainOf, fieldsOf, headOf, keyOf, teamFile, withCertificate } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const TEAMS = ['one', 'two'];
const BODY = 'x'.repeat(20000);

suite('ledger', () => {
  closeUpstreamsAfter();
  let world, port, tlsPort, upstream, pki;
  const atBackends = new Set();

  // A sample of all accounts.
  async function accounts() {
    const { text } = await world.gateway.get('/metrics');
    const sum = (name) =>
      [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+-]+)$`, 'gm'))].reduce((n, [, value]) => n + Number(value), 0);
    return {
      cpu:
        sum('daemun_tenant_cpu_seconds_total') +
        sum('daemun_worker_lobby_cpu_seconds_total') +
        sum('daemun_worker_platform_cpu_seconds_total'),
      tenants: sum('daemun_tenant_cpu_seconds_total'),
      in: sum('daemun_received_bytes_total') + sum('daemun_worker_lobby_received_bytes_total'),
      out: sum('daemun_sent_bytes_total') + sum('daemun_worker_lobby_sent_bytes_total'),
      lobby: sum('daemun_worker_lobby_received_bytes_total'),
      upstreamIn: sum('daemun_upstream_received_bytes_total'),
      upstreamOut: sum('daemun_upstream_sent_bytes_total'),
      handshakes: sum('daemun_tenant_tls_handshakes_total'),
      timers: sum('daemun_worker_platform_timers_total'),
    };
  }

  // Seconds that the kernel says the workers have run.
  const kernelSeconds = () =>
    world.gateway
      .pids()
      .workers.flatMap((pid) => fs.readdirSync(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}/schedstat`))
      .reduce((sum, file) => sum + Number(fs.readFileSync(file, 'latin1').split(' ')[0]) / 1e9, 0);

  function near(what, told, real) {
    assert.ok(Math.abs(told - real) <= 0.03 * real, `${what}: the ledger has ${told}, it was ${real}`);
  }

  const opened = async (socket, event = 'connect') => (await once(socket, event), socket);
  const dial = (to) => opened(net.connect(to, '127.0.0.1'));

  async function finish(socket) {
    const ended = once(socket, 'close');
    socket.destroy();
    await ended;
  }

  async function readAnswer(socket) {
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (part) => (text += part));
    const isWhole = () => {
      const head = text.indexOf('\r\n\r\n');
      return head >= 0 && text.length >= head + 4 + Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
    };
    while (!isWhole()) await once(socket, 'data');
    return text;
  }

  before(async () => {
    upstream = await startUpstream({ respond: (request, response) => response.end(BODY) });
    upstream.server.on('connection', (socket) => atBackends.add(socket));
    tlsPort = await freePort();
    world = await World.start({ workers: 2, gatewayArgs: [`--listen=127.0.0.1:${tlsPort} tls`] });
    port = world.gateway.port;
    pki = new Pki();
    for (const name of TEAMS) await world.api.apply(teamFile(name, upstream.port, withCertificate(name, pki.issue([domainOf(name)]))));
  });

  // Every way to be a client, one connection each; returns {read, written} of all sockets.
  async function clients() {
    const moved = { read: 0, written: 0 };
    const count = (socket) => {
      moved.read += socket.bytesRead;
      moved.written += socket.bytesWritten;
    };
    for (const team of TEAMS) {
      const plain = await dial(port);
      plain.write(headOf(team, { method: 'POST', fields: [`Content-Length: ${BODY.length}`] }) + BODY);
      assert.match(await readAnswer(plain), /^HTTP\/1.1 200/);
      count(plain);
      await finish(plain);

      const raw = await dial(port);
      const session = http2.connect(`http://127.0.0.1:${port}`, { createConnection: () => raw });
      for (let i = 0; i < 5; i++) {
        const stream = session.request(fieldsOf(team, 'POST'), { endStream: false });
        stream.end(BODY);
        stream.resume();
        await once(stream, 'end');
      }
      session.close();
      await once(session, 'close');
      count(raw);

      const below = await dial(tlsPort);
      const secure = tls.connect({ socket: below, servername: domainOf(team), ca: pki.root.certificate });
      await once(secure, 'secureConnect');
      secure.write(headOf(team));
      assert.match(await readAnswer(secure), /^HTTP\/1.1 200/);
      count(below);
      await finish(secure);
    }
    const nobody = await dial(port);
    nobody.write(`POST / HTTP/1.1\r\nHost: nobody.test\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`);
    assert.match(await readAnswer(nobody), /^HTTP\/1.1 404/);
    count(nobody);
    await finish(nobody);
    return moved;
  }

  test('bytes are those that sockets moved', async () => {
    const begin = await accounts();
    const backends = () =>
      [...atBackends].reduce((sum, one) => ({ read: sum.read + one.bytesRead, written: sum.written + one.bytesWritten }), { read: 0, written: 0 });
    const beforeBackends = backends();
    const moved = { read: 0, written: 0 };
    for (let i = 0; i < 5; i++) {
      const more = await clients();
      moved.read += more.read;
      moved.written += more.written;
    }
    const end = await until('all to be counted', async () => {
      const now = await accounts();
      return now.lobby - begin.lobby >= 5 * BODY.length && now;
    });
    const behind = backends();
    near('bytes from clients', end.in - begin.in, moved.written);
    near('bytes to clients', end.out - begin.out, moved.read);
    near('bytes to backends', end.upstreamOut - begin.upstreamOut, behind.read - beforeBackends.read);
    near('bytes from backends', end.upstreamIn - begin.upstreamIn, behind.written - beforeBackends.written);
    assert.equal(end.handshakes - begin.handshakes, 5 * TEAMS.length);
    await until('timers to come due', async () => (await accounts()).timers > 0); // of the worker itself, every second
  });

  test("CPU time is the kernel's", async () => {
    const agents = Object.fromEntries(TEAMS.map((team) => [team, new http.Agent({ keepAlive: true, maxSockets: 8 })]));
    const ask = (team) =>
      new Promise((resolve, reject) => {
        http
          .get({ port, agent: agents[team], headers: { host: domainOf(team), 'x-api-key': keyOf(team) } }, (response) => {
            response.resume();
            response.on('end', () => resolve(response.statusCode));
          })
          .on('error', reject);
      });
    const [begin, kernelBegin] = [await accounts(), kernelSeconds()];
    let [end, kernelEnd] = [begin, kernelBegin];
    while (kernelEnd - kernelBegin < 0.3) {
      const statuses = await Promise.all(Array.from({ length: 200 }, (_, i) => ask(TEAMS[i % 2])));
      assert.ok(statuses.every((status) => status === 200));
      [end, kernelEnd] = [await accounts(), kernelSeconds()];
    }
    near('CPU seconds', end.cpu - begin.cpu, kernelEnd - kernelBegin);
    assert.ok(end.tenants > begin.tenants);
    for (const agent of Object.values(agents)) agent.destroy();
  });
});

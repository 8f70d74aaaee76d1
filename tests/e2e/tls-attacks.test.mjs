// What is no handshake, is half of one, or asks for another one: the connection ends, the worker lives, a polite client of another
// tenant goes on.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import { Pki } from './lib/pki.mjs';
import { Polite } from './lib/polite.mjs';
import { freePort } from './lib/ports.mjs';
import { after, before, suite, test } from './lib/testing.mjs';
import { domainOf, headOf, teamFile, withCertificate } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until, within } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const HALVES = 500; // handshakes that stop behind their first flight
const REFUSED = 300; // full ones for a name that nobody has
const GARBAGE = [
  ['text', Buffer.from('GET / HTTP/1.1\r\nHost: polite.test\r\n\r\n')],
  ['the preface of HTTP/2', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')],
  ['zeros', Buffer.alloc(600)],
  ['a record of a version that is none', Buffer.from('16ffff0005010000010a', 'hex')],
  ['a record longer than one may be', Buffer.from('160301ffff0100fffb0303', 'hex')],
  ['a ClientHello of SSL 2', Buffer.from(`802e0100020015000000100100800200800300800400800500800600400700c0${'aa'.repeat(16)}`, 'hex')],
  ['an alert', Buffer.from('15030100020246', 'hex')],
  ['data before a handshake', Buffer.from('1703030005aaaaaaaaaa', 'hex')],
  ['a ClientHello that ends inside of its session', Buffer.from(`160301002a01000026${'03'.repeat(34)}20aaaaaa`, 'hex')],
  ['a ServerHello', Buffer.from(`160303002c020000280303${'00'.repeat(33)}1301000000`, 'hex')],
];

suite('tls-attacks', () => {
  closeUpstreamsAfter();
  let world, gateway, pki, port, pid, polite;

  const failures = () => gateway.metric('daemun_worker_tls_failures_total');

  function connect(servername, options) {
    return tls.connect({ host: '127.0.0.1', port, servername, ca: pki.root.certificate, ...options });
  }

  // A whole connection with a request.
  const askOnce = () =>
    new Promise((resolve, reject) => {
      const socket = connect(domainOf('polite'), { ALPNProtocols: ['http/1.1'] });
      let text = '';
      socket.on('secureConnect', () => socket.write(headOf('polite', { fields: ['Connection: close'] })));
      socket.on('data', (data) => (text += data));
      socket.on('error', reject);
      socket.on('end', () => socket.destroy());
      socket.on('close', () => (text.startsWith('HTTP/1.1 200') ? resolve() : reject(new Error(`answer: ${text.slice(0, 80)}`))));
    });

  before(async () => {
    const upstream = await startUpstream();
    pki = new Pki();
    port = await freePort();
    world = await World.start({ workers: 1, gatewayArgs: ['--listen', `127.0.0.1:${port} tls head-timeout-ms=2000`] });
    gateway = world.gateway;
    for (const name of ['polite', 'rude']) {
      const leaf = pki.issue([domainOf(name)]);
      await world.api.apply(teamFile(name, upstream.port, withCertificate(name, leaf)));
    }
    [pid] = gateway.pids().workers;
    polite = new Polite(askOnce);
    await polite.goOn();
  });

  after(async () => {
    await polite?.stop();
  });

  async function check() {
    await polite.goOn();
    assert.deepEqual(polite.failures, []);
    assert.deepEqual(gateway.pids().workers, [pid]);
  }

  // Sends the bytes, and is told when the other side has ended it.
  async function send(bytes) {
    const socket = net.connect({ port, host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.resume();
    await once(socket, 'connect');
    socket.write(bytes);
    return { socket, ended: new Promise((resolve) => socket.on('close', resolve)) };
  }

  // The first flight of a real client.
  function firstFlight(servername) {
    return new Promise((resolve) => {
      const server = net.createServer((socket) =>
        socket.once('data', (data) => {
          socket.destroy();
          server.close();
          resolve(data);
        })
      );
      server.listen(0, '127.0.0.1', () => {
        const client = tls.connect({ port: server.address().port, host: '127.0.0.1', servername });
        client.on('error', () => {});
      });
    });
  }

  for (const [name, bytes] of GARBAGE)
    test(`${name} in place of a handshake`, async () => {
      const before = await failures();
      const { ended } = await send(bytes);
      await within('the end', ended);
      assert.equal((await failures()) - before, 1);
      await check();
    });

  test('a ClientHello with one bit turned, at every byte', async () => {
    const hello = await firstFlight(domainOf('rude'));
    for (let at = 0; at < hello.length; at++) {
      const turned = Buffer.from(hello);
      turned[at] ^= 0x80;
      const { socket } = await send(turned);
      socket.end();
    }
    await check();
  });

  test('many handshakes that stop behind their first flight', async () => {
    const hello = await firstFlight(domainOf('rude'));
    const halves = await Promise.all(Array.from({ length: HALVES }, () => send(hello)));
    await check();
    await within('the end of all', Promise.all(halves.map((half) => half.ended))); // head-timeout-ms
    await check();
  });

  test('half a ClientHello', async () => {
    const hello = await firstFlight(domainOf('rude'));
    const halves = await Promise.all(Array.from({ length: HALVES }, () => send(hello.subarray(0, hello.length >> 1))));
    await within('the end of all', Promise.all(halves.map((half) => half.ended)));
    await check();
  });

  test('many handshakes for a name that nobody has', async () => {
    const hello = await firstFlight('nobody.test');
    const before = await gateway.metric('daemun_worker_tls_failures_total', { reason: 'unrecognized_name' });
    const sent = await Promise.all(Array.from({ length: REFUSED }, () => send(hello)));
    await within('the end of all', Promise.all(sent.map((one) => one.ended)));
    const now = await gateway.metric('daemun_worker_tls_failures_total', { reason: 'unrecognized_name' });
    assert.equal(now - before, REFUSED);
    await check();
  });

  test('renegotiation (TLS 1.2) is refused', async () => {
    const client = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', domainOf('rude'), '-tls1_2', '-legacy_renegotiation']);
    let text = '';
    client.stdout.on('data', (data) => (text += data));
    client.stderr.on('data', (data) => (text += data));
    client.stdin.on('error', () => {});
    const exited = once(client, 'exit');
    await until('the handshake', () => text.includes('Verify return code'));
    client.stdin.write('R\n');
    await until('the refusal', () => /no renegotiation|write:errno|RENEGOTIATING[^]*(error|closed)/i.test(text));
    client.kill();
    await exited;
    await check();
  });

  test('a KeyUpdate flood (TLS 1.3) is read, and the worker goes on', async () => {
    const client = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', domainOf('rude'), '-tls1_3']);
    client.stdout.resume();
    client.stderr.resume();
    client.stdin.on('error', () => {});
    const exited = once(client, 'exit');
    for (let i = 0; i < 200; i++) client.stdin.write('K\n');
    await check();
    client.kill();
    await exited;
    await check();
  });

  test('a compression, and versions, that nobody should take', async () => {
    for (const options of [['-tls1'], ['-tls1_1'], ['-tls1_2', '-cipher', 'NULL:aNULL:eNULL:RC4:3DES:EXPORT@SECLEVEL=0']]) {
      const client = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', domainOf('rude'), ...options]);
      client.stdout.resume();
      client.stderr.resume();
      client.stdin.end();
      const [code] = await within('the end', once(client, 'exit'));
      assert.notEqual(code, 0, options.join(' '));
    }
    await check();
  });
});

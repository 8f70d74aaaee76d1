// Where a gateway listens and what holds there: IPv6, sockets in the file system, PROXY headers, limits of a listener.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { ask, curl, RawClient } from './lib/http.mjs';
import { freePort } from './lib/ports.mjs';
import { makeDirectory, run } from './lib/process.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { apiKey, curlFieldsOf, headOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { Controller, Gateway, World } from './lib/world.mjs';

function hasIpv6() {
  return new Promise((resolve) => {
    const server = net.createServer().on('error', () => resolve(false));
    server.listen(0, '::1', () => server.close(() => resolve(true)));
  });
}

const isV6 = await hasIpv6();
const ipv6 = { skip: isV6 ? false : 'this machine has no IPv6' };
const v2Signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

// A PROXY header of version 2 for a connection from 2001:db8::a, port 1234.
const proxyV6 = Buffer.concat([
  v2Signature,
  Buffer.from('21210024', 'hex'),
  Buffer.from(`20010db8${'0'.repeat(23)}a20010db8${'0'.repeat(22)}ff04d20050`, 'hex'),
]).toString('latin1');

suite('listeners', () => {
  closeUpstreamsAfter();
  const directory = makeDirectory();
  const socket = path.join(directory, 'gate.sock');
  const ports = {};
  let world, gateway, upstream;

  const head = (fields = [], method = 'GET', target = '/b') => headOf('plain', { method, target, fields });
  const seen = (answer) => JSON.parse(answer.text).headers;
  const metric = (name, listener, labels = {}) => gateway.metric(`daemun_listener_${name}`, { listener, ...labels });

  // The line of the access log for an answer.
  async function logged(answer) {
    const [line] = await until('the line in the access log', () => {
      const lines = gateway.accessLog().filter((one) => one.request_id === answer.headers['x-request-id']);
      return lines.length > 0 && lines;
    });
    return line;
  }

  async function sendRaw(port, bytes, options) {
    const client = await RawClient.open(port, options);
    await client.send(bytes);
    const answer = await client.response();
    client.close();
    return answer;
  }

  before(async () => {
    for (const name of ['both', 'proxied', 'mixed', 'small', 'crowded', 'lobby']) ports[name] = await freePort();
    world = await World.start({
      workers: 2,
      gatewayArgs: [
        '--header-bytes=20000',
        `--listen=*:${ports.both}`,
        `--listen=unix:${socket} trusted-fronts=unix:`,
        `--listen=127.0.0.1:${ports.proxied} proxy-protocol=127.0.0.0/8 trusted-fronts=192.0.2.7 head-timeout-ms=700`,
        `--listen=127.0.0.1:${ports.mixed} proxy-protocol=10.0.0.0/8`,
        `--listen=127.0.0.1:${ports.small} body-max=10 header-bytes=1024 headers=8 url-bytes=64 idle-timeout-ms=300`,
        `--listen=127.0.0.1:${ports.crowded} connections=1`,
        `--listen=127.0.0.1:${ports.lobby} lobby-connections=2`,
      ],
    });
    gateway = world.gateway;
    upstream = await startUpstream();
    await world.api.apply(teamFile('plain', upstream.port));
  });

  // --- IPv6 -----------------------------------------------------------------------------------------------------------

  test('one address for both families: each caller is known by its own address', async () => {
    const answer = await ask(ports.both, { host: 'plain.test', key: keyOf('plain') });
    assert.equal(answer.status, 200);
    assert.equal((await logged(answer)).client, '127.0.0.1');
    assert.equal(seen(answer)['x-forwarded-for'], '127.0.0.1');
  });

  test('IPv6: in the log, in Forwarded and X-Forwarded-For, with curl and with a Host that is an address', ipv6, async () => {
    const answer = await sendRaw(ports.both, head(['Connection: close']), { host: '::1' });
    assert.equal(answer.status, 200);
    assert.equal((await logged(answer)).client, '::1');
    assert.equal(seen(answer)['x-forwarded-for'], '::1');
    assert.match(seen(answer).forwarded, /^for="\[::1\]";host="plain\.test"/);
    const { status, stdout } = await curl([
      '-g',
      ...curlFieldsOf('plain'),
      `http://[::1]:${ports.both}/b`,
    ]);
    assert.equal(status, 0);
    assert.equal(JSON.parse(stdout).headers['x-forwarded-for'], '::1');
    const unknown = await curl(['-g', '-o', '/dev/null', '-w', '%{http_code}', `http://[::1]:${ports.both}/`]);
    assert.equal(unknown.stdout, '404');
  });

  test('IPv6: a backend, and a rule of addresses', ipv6, async () => {
    const backend = await startUpstream({ host: '::1' });
    const ipCheck = { type: 'ip_check', mode: 'allow', addresses: ['::1', '2001:db8::/32'] };
    const six = teamFile('six', backend.port, { policies: [ipCheck, apiKey] });
    six.grants.endpoints = [{ address: '::1', port: backend.port }];
    six.backends[0].endpoints = [{ host: '::1', port: backend.port }];
    await world.api.apply(six);
    const request = headOf('six');
    const answer = await sendRaw(ports.both, request, { host: '::1' });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(seen(answer).host, `[::1]:${backend.port}`);
    const denied = await sendRaw(ports.both, request);
    assert.equal(denied.reason, 'ip_denied');
  });

  test('IPv6: metrics, the API and the command line', ipv6, async () => {
    const adminPort = await freePort();
    const other = new Gateway(null, { workers: 1 });
    await other.start([`--admin=[::1]:${adminPort}`], { isWaiting: false });
    await until('metrics on [::1]', async () => {
      const { stdout } = await curl(['-g', `http://[::1]:${adminPort}/metrics`]);
      return /daemun_worker_up\{worker="0"\} 1/.test(stdout);
    });
    await other.stop();
    const controller = new Controller();
    await controller.start([`--listen=[::1]:${await freePort()}`]);
    assert.match(controller.origin, /^http:\/\/\[::1\]:\d+$/);
    assert.equal((await controller.api.must('GET', '/status')).gateways.length, 0);
    const env = { ...process.env, DAEMUN_TOKEN: controller.token };
    const status = await run('daemun', ['status', '--server', controller.origin], { env });
    assert.equal(status.status, 0, status.stderr);
    await controller.stop();
  });

  // --- sockets in the file system ---------------------------------------------------------------------------------------

  const overSocket = (extra = []) =>
    curl(['--unix-socket', socket, '-i', '-H', `X-API-Key: ${keyOf('plain')}`, ...extra, 'http://plain.test/b']);
  const idIn = (stdout) => /^x-request-id: (\S+)/im.exec(stdout)[1];

  test('a socket in the file system: who calls has no address', async () => {
    assert.equal(fs.statSync(socket).mode & 0o7777, 0o660);
    const { status, stdout } = await overSocket();
    assert.equal(status, 0);
    assert.match(stdout, /^HTTP\/1\.1 200/);
    const headers = JSON.parse(stdout.slice(stdout.indexOf('\r\n\r\n'))).headers;
    assert.equal(headers['x-forwarded-for'], 'unknown');
    assert.match(headers.forwarded, /^for=unknown;/);
    assert.equal((await logged({ headers: { 'x-request-id': idIn(stdout) } })).client, 'unix:');
    assert.ok((await metric('connections_total', `unix:${socket}`)) >= 1);
  });

  test('a trusted front behind a socket says for whom it calls', async () => {
    const { stdout } = await overSocket(['-H', 'X-Forwarded-For: 2001:db8::7']);
    assert.equal((await logged({ headers: { 'x-request-id': idIn(stdout) } })).client, '2001:db8::7');
  });

  test('a socket that another process listens on is left alone, one of a dead process replaced, ours gone at the end', async () => {
    const mine = path.join(makeDirectory(), 'mine.sock');
    const listens = [`--listen=unix:${mine}`];
    const first = await new Gateway(null, { workers: 1 }).start(listens);
    const second = new Gateway(null, { workers: 1 });
    await second.start(listens, { isWaiting: false });
    assert.notEqual(await second.process.whenEnded(), 0);
    assert.match(second.process.stderr, /mine\.sock: the address is in use by another process/);
    await first.killAll();
    assert.ok(fs.existsSync(mine));
    await first.start(listens);
    const { stdout } = await curl(['--unix-socket', mine, '-o', '/dev/null', '-w', '%{http_code}', 'http://x/']);
    assert.equal(stdout, '404');
    await first.stop();
    assert.ok(!fs.existsSync(mine));
  });

  // --- PROXY headers ----------------------------------------------------------------------------------------------------

  test('a PROXY header of version 1, by curl: the address in it is the caller', async () => {
    const { status, stdout } = await curl([
      '--haproxy-protocol',
      '-i',
      ...curlFieldsOf('plain'),
      `http://127.0.0.1:${ports.proxied}/b`,
    ]);
    assert.equal(status, 0);
    assert.match(stdout, /^HTTP\/1\.1 200/);
  });

  test('PROXY headers name the caller, in log and headers, and pieces do not matter', async () => {
    for (const [bytes, client] of [
      ['PROXY TCP4 198.51.100.9 192.0.2.1 4711 80\r\n', '198.51.100.9'],
      ['PROXY TCP6 2001:db8::9 2001:db8::1 4711 80\r\n', '2001:db8::9'],
      ['PROXY UNKNOWN\r\n', '127.0.0.1'],
      [proxyV6, '2001:db8::a'],
    ]) {
      const client1 = await RawClient.open(ports.proxied);
      for (const byte of bytes) await client1.send(byte);
      await client1.send(head());
      const answer = await client1.response();
      client1.close();
      assert.equal(answer.status, 200, answer.text);
      assert.equal(seen(answer)['x-forwarded-for'], client);
      assert.equal((await logged(answer)).client, client);
    }
  });

  test('trust goes by the address in the header', async () => {
    const forged = ['X-Forwarded-For: 203.0.113.5'];
    const direct = await sendRaw(ports.proxied, `PROXY TCP4 198.51.100.9 192.0.2.1 1 80\r\n${head(forged)}`);
    assert.equal((await logged(direct)).client, '198.51.100.9');
    const fronted = await sendRaw(ports.proxied, `PROXY TCP4 192.0.2.7 192.0.2.1 1 80\r\n${head(forged)}`);
    assert.equal((await logged(fronted)).client, '203.0.113.5');
  });

  test('without a sound header the connection is closed and counted, and the backend sees nothing', async () => {
    const name = `127.0.0.1:${ports.proxied}`;
    const count = await metric('refused_total', name, { reason: 'proxy_protocol_bad' });
    upstream.clear();
    for (const bytes of [head(), `PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n${head()}`, `${v2Signature.toString('latin1')}\x31`]) {
      const client = await RawClient.open(ports.proxied);
      await client.send(bytes);
      assert.equal(await client.whenClosed(), '');
    }
    assert.equal(upstream.requests.length, 0);
    assert.equal(await metric('refused_total', name, { reason: 'proxy_protocol_bad' }), count + 3);
  });

  test('a header that does not come in time ends the connection', async () => {
    const name = `127.0.0.1:${ports.proxied}`;
    const client = await RawClient.open(ports.proxied);
    await client.send('PROXY TCP4 1.2');
    assert.equal(await client.whenClosed(), '');
    assert.ok((await metric('timeouts_total', name, { what: 'head' })) >= 1);
  });

  test('who is not named is served, and its header is no request', async () => {
    const plain = await sendRaw(ports.mixed, head());
    assert.equal(plain.status, 200);
    const header = await sendRaw(ports.mixed, `PROXY TCP4 198.51.100.9 192.0.2.1 4711 80\r\n${head()}`);
    assert.equal(header.status, 400);
    assert.equal(header.reason, 'bad_request');
  });

  // --- limits -----------------------------------------------------------------------------------------------------------

  test('limits of a listener hold there and nowhere else', async () => {
    const name = `127.0.0.1:${ports.small}`;
    const long = `/${'x'.repeat(80)}`;
    const many = Array.from({ length: 9 }, (_, i) => `X-${i}: 1`);
    for (const [bytes, status, reason, fault] of [
      [head(['Content-Length: 11'], 'POST'), 413, 'body_too_large', 'body_too_large'],
      [head([`X-Long: ${'x'.repeat(1000)}`]), 431, 'header_too_large', 'head_too_large'],
      [head(many), 431, 'header_too_large', 'too_many_fields'],
      [head([], 'GET', long), 414, 'uri_too_long', 'url_too_long'],
    ]) {
      const answer = await sendRaw(ports.small, bytes);
      assert.equal(answer.status, status);
      assert.equal(answer.reason, reason);
      assert.equal(await metric('faults_total', name, { fault }), 1);
    }
    const client = await RawClient.open(ports.small);
    await client.send(head());
    assert.equal((await client.response()).status, 200);
    await client.whenClosed();
    await until('the idle connection to be counted', async () => (await metric('timeouts_total', name, { what: 'idle' })) > 0);
    assert.equal((await sendRaw(ports.both, head(many))).status, 200);
    assert.equal((await sendRaw(ports.both, head([], 'GET', long))).status, 200);
    const body = await sendRaw(ports.both, `${head(['Content-Length: 11'], 'POST')}hello world`);
    assert.equal(body.status, 200);
    assert.equal((await sendRaw(ports.both, head([`X-Long: ${'x'.repeat(21000)}`]))).status, 431);
  });

  // Each worker takes one; which one gets a connection is the kernel's to say.
  test('a listener that is full says so and serves on who is there', async () => {
    const name = `127.0.0.1:${ports.crowded}`;
    const open = [];
    const answers = [];
    while (!answers.includes(503)) {
      const client = await RawClient.open(ports.crowded);
      await client.send(head());
      const answer = await client.response();
      answers.push(answer.status);
      if (answer.status === 200) open.push(client);
      else assert.equal(answer.reason, 'too_many_connections');
      assert.ok(open.length <= 2);
    }
    assert.ok(open.length >= 1);
    assert.ok((await metric('refused_total', name, { reason: 'too_many_connections' })) >= 1);
    await until('those to be all', async () => (await metric('connections', name)) === open.length);
    for (const client of open) {
      await client.send(head());
      assert.equal((await client.response()).status, 200);
      client.close();
    }
    await until('room again', async () => (await sendRaw(ports.crowded, head())).status === 200);
    assert.equal((await sendRaw(ports.both, head())).status, 200);
  });

  // --- the lobby --------------------------------------------------------------------------------------------------------

  test('of one address only so many may say nothing, and nobody else notices', async () => {
    const name = `127.0.0.1:${ports.lobby}`;
    const flood = { localAddress: '127.0.0.2' };
    const silent = [];
    const isOpen = (client) => !client.isEnded;
    for (let i = 0; i < 20; i++) silent.push(await RawClient.open(ports.lobby, flood));
    await until('those that are too many to be turned away', () => silent.filter(isOpen).length <= 4); // two a worker
    assert.ok(silent.filter(isOpen).length >= 2);
    await until('that to be counted', async () => {
      const turnedAway = await metric('refused_total', name, { reason: 'lobby_source' });
      return turnedAway === silent.length - silent.filter(isOpen).length;
    });
    assert.equal(await metric('lobby_connections', name), silent.filter(isOpen).length);
    assert.equal((await sendRaw(ports.lobby, head(), { localAddress: '127.0.0.3' })).status, 200);
    const [client] = silent.filter(isOpen);
    await client.send(head());
    assert.equal((await client.response()).status, 200);
    await until('it to have left', async () => (await metric('lobby_connections', name)) === silent.filter(isOpen).length - 1);
    for (const one of silent) one.close();
    await until('all to be gone', async () => (await metric('lobby_connections', name)) === 0);
  });
});

// gRPC end to end: @grpc/grpc-js calls through the gateway what @grpc/grpc-js serves, in clear text and over TLS on either side.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { once } from 'node:events';
import { ask, collect, connect, grpc, keepalivesOf, startCable, startService, writeAll } from './lib/grpc.mjs';
import * as h2 from './lib/h2.mjs';
import { Pki } from './lib/pki.mjs';
import { freePort } from './lib/ports.mjs';
import { application, domainOf, keyOf, teamFile } from './lib/team.mjs';
import { after, before, cutsWhatIsInHand, suite, test } from './lib/testing.mjs';
import { startUpstream } from './lib/upstream.mjs';
import { until, within } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const { status: codes } = grpc;
const MB = 1 << 20;

suite('grpc', () => {
  let world, pki, plain, secure, cable, tlsPort;
  const open = new Set();

  const rules = ['Ask', 'Sum', 'List', 'Talk', 'Fail', 'FailLater', 'Hang', 'Unknown'].map((name) => ({
    method: 'POST',
    pattern: `/pkg.Service/${name}$`,
    metric: 'calls',
  }));

  const team = (name, port, { backend = {}, version = {}, ...more } = {}) =>
    world.api.apply(
      teamFile(name, port, {
        backend: { protocol: 'http2', ...backend },
        version: { mapping_rules: rules, ...version },
        product: { metrics: [{ name: 'calls', parent: 'hits' }], ...more.product },
        ...more.file,
      })
    );

  function client(name, { isTls = false, ...options } = {}) {
    const credentials = isTls
      ? grpc.credentials.createSsl(Buffer.from(pki.root.certificate))
      : grpc.credentials.createInsecure();
    const made = connect(isTls ? tlsPort : world.gateway.port, domainOf(name), { credentials, ...options });
    open.add(made);
    return made;
  }

  const key = (name, more = {}) => ({ 'x-api-key': keyOf(name), ...more });
  const keyed = (name) => {
    const made = new grpc.Metadata();
    made.set('x-api-key', keyOf(name));
    return made;
  };
  const serviceOf = (name) => (name === 'secure' ? secure : plain);
  const reasons = (tenant, reason) => world.gateway.metric('daemun_refusals_total', { tenant, reason });

  before(async () => {
    pki = new Pki();
    const leaf = pki.issue(['backend.test']);
    const keys = [{ private_key: Buffer.from(leaf.key), cert_chain: Buffer.from(leaf.chain) }];
    plain = await startService();
    secure = await startService({ credentials: grpc.ServerCredentials.createSsl(null, keys) });
    cable = await startCable(plain.port);
    tlsPort = await freePort();
    world = await World.start({ workers: 2, gatewayArgs: ['--listen', `127.0.0.1:${tlsPort} tls`] });
    const front = pki.issue([domainOf('plain'), domainOf('secure')]);
    const file = (name) => ({
      certificates: [{ name: 'front', chain: front.chain, key: front.key }],
      domains: [{ name: domainOf(name) }],
    });
    await team('plain', plain.port, { file: file('plain') });
    const tls = { ca: pki.root.certificate, server_name: 'backend.test' };
    await team('secure', secure.port, { file: file('secure'), backend: { tls } });
    await team('cut', cable.port);
  });

  after(() => {
    for (const one of open) one.close();
    for (const { server } of [plain, secure]) server.forceShutdown();
    cable.close();
  });

  for (const name of ['plain', 'secure'])
    for (const isTls of [false, true]) {
      const title = `${isTls ? 'TLS' : 'clear text'} → ${name === 'secure' ? 'TLS' : 'clear text'}`;

      test(`${title}: unary, with metadata both ways`, async () => {
        const one = client(name, { isTls });
        const fields = { mine: ['a', 'b c'], 'mine-bin': Buffer.from([0, 255, 10, 13]) };
        const got = await ask(one, 'Ask', { text: '대문' }, key(name, fields));
        assert.equal(got.status.code, codes.OK, got.status.details);
        assert.deepEqual(got.message, { text: '대문' });
        assert.equal(got.head.get('mine').join(', '), 'a, b c');
        assert.deepEqual(got.head.get('mine-bin'), [Buffer.from([0, 255, 10, 13])]);
        assert.deepEqual(got.status.metadata.get('length'), ['0']);
        assert.deepEqual(got.status.metadata.get('sum-bin'), [Buffer.from([1, 0, 2])]);
        const seen = serviceOf(name).calls.at(-1);
        assert.equal(seen.metadata.get('x-forwarded-proto')[0], isTls ? 'https' : 'http');
        assert.equal(seen.metadata.get('x-request-id').length, 1);
      });

      test(`${title}: large messages in every kind of call`, async () => {
        const one = client(name, { isTls });
        const unary = await ask(one, 'Ask', Buffer.alloc(3 * MB, 'u'), key(name));
        assert.equal(unary.status.code, codes.OK, unary.status.details);
        assert.ok(unary.message.equals(Buffer.alloc(3 * MB, 'u')));

        const summed = new Promise((resolve, reject) => {
          const call = one.Sum(keyed(name), (error, answer) => (error ? reject(error) : resolve(answer)));
          writeAll(call, Array.from({ length: 4 }, () => Buffer.alloc(3 * MB, 's'))).then(() => call.end());
        });
        assert.deepEqual(await summed, { count: 4, bytes: 12 * MB });

        const listed = await collect(one.List({ count: 4, size: 3 * MB }, keyed(name)));
        assert.equal(listed.status.code, codes.OK, listed.status.details);
        assert.deepEqual(listed.messages.map((message) => message.length), Array(4).fill(3 * MB));
        assert.ok(listed.messages[3].equals(Buffer.alloc(3 * MB, 4)));

        const talk = one.Talk(keyed(name));
        const talked = collect(talk);
        await writeAll(talk, Array.from({ length: 3 }, (_, i) => Buffer.alloc(3 * MB, i + 1)));
        talk.end();
        assert.deepEqual((await talked).messages.map((message) => [message.length, message[0]]), [1, 2, 3].map((i) => [3 * MB, i]));
      });

      test(`${title}: a thousand messages, each answered before the next`, async () => {
        const talk = client(name, { isTls }).Talk(keyed(name));
        const messages = [];
        talk.on('data', (message) => {
          messages.push(message.i);
          if (messages.length < 1000) talk.write({ i: messages.length });
          else talk.end();
        });
        talk.write({ i: 0 });
        const [status] = await once(talk, 'status');
        assert.equal(status.code, codes.OK, status.details);
        assert.deepEqual(messages, Array.from({ length: 1000 }, (_, i) => i));
      });

      test(`${title}: status, details and trailers of the backend`, async () => {
        const one = client(name, { isTls });
        const wanted = { code: codes.FAILED_PRECONDITION, details: 'so nicht: 50% — 안 됨' };
        const before = await ask(one, 'Fail', wanted, key(name));
        const later = await collect(one.FailLater(wanted, keyed(name)));
        for (const { status } of [before, later]) {
          assert.equal(status.code, wanted.code);
          assert.equal(status.details, wanted.details);
          assert.deepEqual(status.metadata.get('why'), ['because']);
          assert.deepEqual(status.metadata.get('grpc-status-details-bin'), [Buffer.from([0, 255, 7])]);
        }
        assert.deepEqual(later.messages, [{ i: 0 }]);
        assert.equal((await ask(one, 'Unknown', {}, key(name))).status.code, codes.UNIMPLEMENTED);
      });

      test(`${title}: a cancelled call is cancelled at the backend`, async () => {
        const backend = serviceOf(name);
        const cancelled = backend.cancelled;
        const call = client(name, { isTls }).Hang({ says: true }, keyed(name));
        const over = collect(call);
        await once(call, 'data');
        call.cancel();
        assert.equal((await over).status.code, codes.CANCELLED);
        await until('the cancel', () => backend.cancelled === cancelled + 1);
      });
    }

  test('a deadline goes on to the backend, and what is left of it counts there', async () => {
    const deadline = Date.now() + 60000;
    const got = await ask(client('plain'), 'Ask', {}, key('plain'), { deadline });
    assert.equal(got.status.code, codes.OK, got.status.details);
    const seen = plain.calls.at(-1).deadline;
    assert.ok(+seen > Date.now() && +seen <= deadline + 1000, `${seen} for ${new Date(deadline)}`);
    await ask(client('plain'), 'Ask', {}, key('plain'));
    assert.equal(plain.calls.at(-1).deadline, Infinity);
  });

  test('a deadline ends a call, before and in the middle of its answer', async () => {
    for (const says of [false, true]) {
      const cancelled = plain.cancelled;
      const call = client('plain').Hang({ says }, keyed('plain'), { deadline: Date.now() + 300 });
      const { status } = await collect(call);
      assert.equal(status.code, codes.DEADLINE_EXCEEDED, status.details);
      await until('the cancel', () => plain.cancelled === cancelled + 1);
    }
  });

  // A backend that heeds no deadline, and may or may not begin an answer.
  async function startDeaf() {
    const server = http2.createServer();
    const deaf = { resets: [], timeouts: [], close: () => server.close() };
    server.on('stream', (stream, headers) => {
      deaf.timeouts.push(headers['grpc-timeout']);
      stream.on('error', () => {});
      stream.on('close', () => deaf.resets.push(stream.rstCode));
      stream.on('data', (bytes) => {
        if (/true/.test(bytes)) stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
        if (/much/.test(bytes)) stream.write(Buffer.alloc(1 << 20)); // more than the caller's window
        if (/flood/.test(bytes)) stream.write(Buffer.alloc(32 << 20)); // more than the kernel's buffers
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    deaf.port = server.address().port;
    return deaf;
  }

  // What a client that keeps no time of its own is told: frames by Node's own HTTP/2.
  test('the gateway keeps the deadline itself', async () => {
    const deaf = await startDeaf();
    await team('deaf', deaf.port);
    const session = http2.connect(`http://127.0.0.1:${world.gateway.port}`);
    const post = (method, message, fields) => {
      const bytes = Buffer.from(JSON.stringify(message));
      const stream = session.request({
        ':method': 'POST',
        ':path': `/pkg.Service/${method}`,
        ':authority': domainOf('deaf'),
        'content-type': 'application/grpc',
        te: 'trailers',
        'x-api-key': keyOf('deaf'),
        ...fields,
      });
      const head = Buffer.alloc(5);
      head.writeUInt32BE(bytes.length, 1);
      stream.end(Buffer.concat([head, bytes]));
      if (!message.much) stream.resume();
      return stream;
    };
    const counted = await reasons('deaf', 'backend_timeout');
    const silent = post('Hang', { says: false }, { 'grpc-timeout': '200m' });
    const [headers] = await once(silent, 'response');
    assert.equal(headers[':status'], 200);
    assert.equal(headers['grpc-status'], '4');
    assert.equal(headers['daemun-reason'], 'backend_timeout');
    assert.match(headers['content-type'], /^application\/grpc/);
    const begun = post('Hang', { says: true }, { 'grpc-timeout': '200m' });
    begun.on('trailers', (trailers) => (begun.trailers = trailers));
    begun.on('error', () => {});
    assert.equal((await once(begun, 'response'))[0]['grpc-status'], undefined);
    await once(begun, 'close');
    assert.equal(begun.rstCode, http2.constants.NGHTTP2_NO_ERROR);
    assert.equal(begun.trailers['grpc-status'], '4');
    assert.equal(begun.trailers['daemun-reason'], 'backend_timeout');
    const full = post('Hang', { says: true, much: true }, { 'grpc-timeout': '200m' });
    full.on('error', () => {});
    full.on('trailers', (trailers) => (full.trailers = trailers));
    const closed = within('the end of a stream', once(full, 'close'));
    await until('the reasons to be counted', async () => (await reasons('deaf', 'backend_timeout')) === counted + 3);
    full.resume();
    await closed;
    assert.equal(full.rstCode, http2.constants.NGHTTP2_NO_ERROR);
    assert.equal(full.trailers['grpc-status'], '4', 'trailers need no window');
    await until('all resets', () => deaf.resets.length === 3);
    assert.deepEqual(deaf.resets, Array(3).fill(http2.constants.NGHTTP2_CANCEL));
    for (const told of deaf.timeouts) assert.match(told, /^\d{1,8}[mun]$/);
    const bad = post('Ask', {}, { 'grpc-timeout': '1 second' });
    const [refused] = await once(bad, 'response');
    assert.equal(refused['grpc-status'], '13');
    assert.match(refused['grpc-message'], /bad_field_value/);
    await until('the reasons to be counted', async () => (await reasons('deaf', 'backend_timeout')) === counted + 3);
    session.close();
    deaf.close();
  });

  test('a caller whose connection takes nothing more is reset behind its deadline', async () => {
    const deaf = await startDeaf();
    await team('stuck', deaf.port);
    const counted = await reasons('stuck', 'backend_timeout');
    const caller = await h2.H2Socket.open(world.gateway.port, { settings: h2.setting(4, 0x7fffffff) });
    caller.socket.pause();
    const fields = {
      ':method': 'POST',
      ':scheme': 'http',
      ':path': '/pkg.Service/Hang',
      ':authority': domainOf('stuck'),
      'content-type': 'application/grpc',
      te: 'trailers',
      'x-api-key': keyOf('stuck'),
      'grpc-timeout': '200m',
    };
    caller.write(
      h2.frame(h2.WINDOW_UPDATE, 0, 0, h2.u32(0x7fff0000)),
      h2.headers(1, fields, h2.END_HEADERS),
      h2.frame(h2.DATA, h2.END_STREAM, 1, Buffer.from('true flood'))
    );
    await until('the reason to be counted', async () => (await reasons('stuck', 'backend_timeout')) === counted + 1);
    caller.socket.resume();
    await until('the reset', () => caller.resets.length > 0);
    assert.deepEqual(caller.resets, [{ id: 1, code: h2.CANCEL }]);
    assert.deepEqual(caller.ends, []);
    caller.close();
    deaf.close();
  });

  test('refusals are statuses of gRPC', async () => {
    const one = client('plain');
    const expect = async (fields, method, code, reason) => {
      const { status, head } = await ask(one, method, {}, fields);
      assert.equal(status.code, code, status.details);
      const said = (head ?? status.metadata).get('daemun-reason')[0] ?? status.metadata.get('daemun-reason')[0];
      assert.equal(said, reason);
    };
    await expect({}, 'Ask', codes.UNAUTHENTICATED, 'auth_missing');
    await expect({ 'x-api-key': 'wrong' }, 'Ask', codes.PERMISSION_DENIED, 'auth_invalid');
    await expect(key('plain'), 'Unruled', codes.UNIMPLEMENTED, 'no_mapping_rule');
    const stranger = connect(world.gateway.port, 'nobody.test');
    open.add(stranger);
    assert.equal((await ask(stranger, 'Ask', {})).status.code, codes.UNIMPLEMENTED);
  });

  test('limits are RESOURCE_EXHAUSTED, and calls are counted by their rules', async () => {
    const limits = [{ metric: 'calls', period: 'eternity', value: 3 }];
    const file = teamFile('limited', plain.port, {
      backend: { protocol: 'http2' },
      version: { mapping_rules: rules },
      product: { metrics: [{ name: 'calls', parent: 'hits' }] },
      plan: { limits },
      applications: [application('app', keyOf('limited')), application('other', 'other-key-0123456789')],
    });
    await world.api.apply(file);
    const one = client('limited');
    for (let i = 0; i < 3; i++) assert.equal((await ask(one, 'Ask', {}, key('limited'))).status.code, codes.OK);
    const { status } = await ask(one, 'Ask', {}, key('limited'));
    assert.equal(status.code, codes.RESOURCE_EXHAUSTED, status.details);
    assert.equal((await ask(one, 'Ask', {}, { 'x-api-key': 'other-key-0123456789' })).status.code, codes.OK);
    await until('the usage', async () => {
      const { items } = await world.api.must('GET', '/tenants/limited/usage');
      const of = (app) => items.find((item) => item.metric === 'calls' && item.application === app)?.count;
      return of('app') === 3 && of('other') === 1;
    });
  });

  test('pings that keep a connection alive are answered', async () => {
    const one = client('plain', { 'grpc.keepalive_time_ms': 60, 'grpc.keepalive_timeout_ms': 30000 });
    const talk = one.Talk(keyed('plain'));
    const over = collect(talk);
    talk.write({ i: 1 });
    await once(talk, 'data');
    await until('twenty pings', async () => (await keepalivesOf(one)) >= 20);
    talk.write({ i: 2 });
    await once(talk, 'data');
    talk.end();
    const { status, messages } = await over;
    assert.equal(status.code, codes.OK, status.details);
    assert.equal(messages.length, 2);
  });

  test('more calls than streams of one connection, on both sides', async () => {
    const narrow = await startService({ options: { 'grpc.max_concurrent_streams': 10 } });
    await team('narrow', narrow.port);
    const one = client('narrow');
    const calls = Array.from({ length: 300 }, (_, i) => ask(one, 'Ask', { i }, key('narrow')));
    for (const [i, { status, message }] of (await Promise.all(calls)).entries()) {
      assert.equal(status.code, codes.OK, status.details);
      assert.deepEqual(message, { i });
    }
    narrow.server.forceShutdown();
  });

  test('a backend that drains its connections fails no call', { skip: cutsWhatIsInHand }, async () => {
    const one = client('plain');
    const talk = one.Talk(keyed('plain'));
    const over = collect(talk);
    talk.write({ i: 0 });
    await once(talk, 'data');
    let isOver = false;
    const failed = [];
    const worker = async () => {
      while (!isOver) {
        const { status } = await ask(one, 'Ask', {}, key('plain'));
        if (status.code !== codes.OK) failed.push(status.details);
      }
    };
    const workers = Array.from({ length: 8 }, worker);
    for (let i = 0; i < 3; i++) {
      const before = plain.calls.length;
      plain.server.drain(`127.0.0.1:${plain.port}`, 60000); // GOAWAY; what is in hand goes on
      await until('calls on other connections', () => plain.calls.length > before + 40);
    }
    isOver = true;
    await Promise.all(workers);
    assert.deepEqual(failed, []);
    talk.write({ i: 1 });
    talk.end();
    assert.equal((await over).status.code, codes.OK);
  });

  test('a backend that dies: UNAVAILABLE before its answer and in the middle, and then it is well again', async () => {
    const one = client('cut');
    const known = plain.calls.length;
    const before = collect(one.Hang({ says: false }, keyed('cut')));
    const call = one.Hang({ says: true }, keyed('cut'));
    const later = collect(call);
    await once(call, 'data');
    await until('the silent call', () => plain.calls.slice(known).some(({ call: { request } }) => request.says === false));
    cable.cut();
    assert.equal((await before).status.code, codes.UNAVAILABLE);
    const cut = await later;
    assert.equal(cut.status.code, codes.UNAVAILABLE, cut.status.details);
    assert.match(cut.status.details, /within its answer/);
    assert.deepEqual(cut.status.metadata.get('daemun-reason'), ['backend_closed']);
    assert.equal((await ask(one, 'Ask', {}, key('cut'))).status.code, codes.OK);
  });

  test('a backend that is not there, and one of HTTP/1.1', async () => {
    await team('gone', await freePort());
    assert.equal((await ask(client('gone'), 'Ask', {}, key('gone'))).status.code, codes.UNAVAILABLE);
    const web = await startUpstream();
    await team('web', web.port, { backend: { protocol: 'http1' } });
    const { status } = await ask(client('web'), 'Ask', {}, key('web'));
    assert.equal(status.code, codes.UNIMPLEMENTED);
    assert.match(status.details, /HTTP\/1\.1/);
    assert.equal(web.requests.length, 0);
    await web.close();
  });

  test('policies leave gRPC what is gRPC’s', async () => {
    const ops = [
      { op: 'set', name: 'grpc-status', value: '0' },
      { op: 'set', name: 'x-team', value: 'ours' },
    ];
    const policies = [
      { type: 'api_key', in: ['header'], header: 'X-API-Key' },
      { type: 'headers', response: ops },
      { type: 'compression', min_bytes: 1, content_types: ['application/*'] },
    ];
    await team('policed', plain.port, { version: { mapping_rules: rules, policies } });
    const one = client('policed');
    const fine = await ask(one, 'Ask', { text: 'x'.repeat(5000) }, key('policed', { 'accept-encoding': 'gzip' }));
    assert.equal(fine.status.code, codes.OK, fine.status.details);
    assert.deepEqual(fine.head.get('x-team'), ['ours']);
    const later = await collect(one.FailLater({ code: codes.NOT_FOUND, details: 'x' }, keyed('policed')));
    assert.equal(later.status.code, codes.NOT_FOUND);
  });
});

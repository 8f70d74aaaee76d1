// The command line, as people and scripts use it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { ask } from './lib/http.mjs';
import { makeDirectory, run } from './lib/process.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { domainOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { World } from './lib/world.mjs';

const DONE = 0,
  DIFFERENT = 1,
  USAGE = 2,
  REFUSED = 3,
  NOT_AUTHORISED = 4,
  UNREACHABLE = 5,
  NOT_LIVE = 6;

suite('cli', () => {
  closeUpstreamsAfter();
  let world, upstream, directory;
  const tokens = {};

  // daemun as this caller; fails when it ends with another status than `status`.
  async function daemun(who, args, { status = DONE, input, env = {} } = {}) {
    const environment = {
      DAEMUN_SERVER: world.controller.origin,
      DAEMUN_TOKEN: tokens[who] ?? '',
      HOME: directory,
      NO_COLOR: '1',
      ...env,
    };
    const answer = await run('daemun', args, { env: environment, input, cwd: directory });
    assert.equal(answer.status, status, `daemun ${args.join(' ')}: ${answer.stdout}${answer.stderr}`);
    if (status > DIFFERENT) assert.match(answer.stderr, /^daemun: ./, 'an error says who speaks');
    return answer;
  }

  const write = (name, text) => {
    const file = path.join(directory, name);
    fs.writeFileSync(file, typeof text === 'string' ? text : JSON.stringify(text, null, 2));
    return file;
  };

  before(async () => {
    directory = makeDirectory();
    upstream = await startUpstream();
    world = await World.start({ workers: 1 });
    tokens.master = world.controller.token;
    const file = write('orders.json', teamFile('orders', upstream.port));
    await daemun('master', ['apply', '-f', file]);
    tokens.team = (await daemun('master', ['create', 'token', 'ci', '--tenant', 'orders', '-q'])).stdout.trim();
  });

  test('apply makes it live; again, it changes nothing', async () => {
    assert.equal((await ask(world.gateway.port, { host: domainOf('orders'), key: keyOf('orders') })).status, 200);
    const before = (await world.api.all('/changes')).length;
    const again = await daemun('master', ['apply', '-f', path.join(directory, 'orders.json')]);
    assert.match(again.stdout, /unchanged|nothing/i);
    const changes = await world.api.all('/changes');
    assert.ok(changes.length - before <= 1, JSON.stringify(changes.slice(0, 2))); // a key that is given again may count
  });

  test('export, then diff and apply: no difference', async () => {
    for (const format of ['yaml', 'json'])
      for (const who of ['team', 'master']) {
        const { stdout } = await daemun(who, ['export', '--tenant', 'orders', '-o', format]);
        assert.ok(!stdout.includes(keyOf('orders')));
        const file = write(`export.${format}`, stdout);
        assert.equal((await daemun(who, ['diff', '-q', '-f', file])).stdout, '');
        const before = (await world.api.all('/changes')).length;
        await daemun(who, ['apply', '-f', file]);
        assert.equal((await world.api.all('/changes')).length, before);
        assert.equal((await daemun(who, ['export', '--tenant', 'orders', '-o', format])).stdout, stdout);
      }
    assert.equal(
      (await ask(world.gateway.port, { host: domainOf('orders'), key: keyOf('orders') })).status,
      200,
      'keys stay'
    );
  });

  test('an export of everything that can be said comes back as it was', async () => {
    const file = teamFile('full', upstream.port);
    const [product] = file.products;
    product.description = 'multi\nline: "text" # no comment\n- and - so on';
    product.metrics = [{ name: 'no', parent: 'hits' }, { name: '12.30' }, { name: '1e3' }, { name: 'null' }];
    product.versions[0].errors = {
      limit_exceeded: { status: 430, content_type: 'text/plain', body: ' leading\n\ttab, trailing \n' },
    };
    product.versions[0].mapping_rules = [
      { method: 'GET', pattern: '/주문/{id}?a=b&c={d}', metric: 'no', last: true },
      { method: 'ANY', pattern: '/' },
    ];
    product.versions[0].policies.push({
      type: 'headers',
      response: [
        { op: 'set', name: 'X-On', value: 'yes' },
        { op: 'set', name: 'X-Number', value: '0x10' },
      ],
    });
    product.plans[0].limits = [{ metric: '12.30', period: 'day', value: 7 }];
    await daemun('master', ['apply', '-f', write('full.json', file)]);
    const kept = await world.api.must('GET', '/tenants/full/document');
    const { stdout } = await daemun('master', ['export', '--tenant', 'full']);
    await daemun('master', ['delete', 'tenant', 'full', '--yes']);
    await daemun('master', ['apply', '-f', write('full.yaml', stdout)]);
    assert.deepEqual(await world.api.must('GET', '/tenants/full/document'), kept);
    await daemun('master', ['delete', 'tenant', 'full', '--yes']);
  });

  test('diff says what would change, by name, and ends with 1', async () => {
    const file = teamFile('orders', upstream.port, { version: { path: '/v2' } });
    file.backends.push({ name: 'second', endpoints: [{ host: '127.0.0.1', port: upstream.port }] });
    delete file.applications[0].credentials;
    const { stdout } = await daemun('team', ['diff', '-f', write('changed.json', file)], { status: DIFFERENT });
    assert.match(stdout, /\+.*second/);
    assert.match(stdout, /~.*main/);
    assert.match(stdout, /versions\/v1\/path.*\/v2/);
    await daemun('team', ['diff', '-q', '-f', path.join(directory, 'changed.json')], { status: DIFFERENT });
    assert.equal((await world.api.must('GET', '/tenants/orders/products/main')).versions[0].path, '/');
  });

  test('apply --dry-run changes nothing; apply does; what is not in the file goes', async () => {
    const file = path.join(directory, 'changed.json');
    await daemun('team', ['apply', '--dry-run', '-f', file]);
    assert.equal((await world.api.get('/tenants/orders/backends/second')).status, 404);
    await daemun('team', ['apply', '-f', file]);
    assert.equal(
      (await ask(world.gateway.port, { host: domainOf('orders'), key: keyOf('orders'), path: '/v2/a' })).json.path,
      '/a'
    );
    await daemun('team', ['apply', '-f', path.join(directory, 'orders.json')]);
    assert.equal((await world.api.get('/tenants/orders/backends/second')).status, 404);
  });

  test('apply reads YAML from standard input, several documents, and whole directories', async () => {
    const teams = path.join(directory, 'teams');
    fs.mkdirSync(teams);
    for (const name of ['one', 'two']) write(`teams/${name}.yaml`, `daemun: 1\ntenant: ${name}\nbackends: []\n`);
    await daemun('master', ['apply', '-f', teams]);
    const input = '---\ndaemun: 1\nkind: tenant\ntenant: three\ndescription: Third\n---\ndaemun: 1\ntenant: three\n';
    await daemun('master', ['apply', '-f', '-'], { input });
    assert.equal((await world.api.must('GET', '/tenants/three')).description, 'Third');
    for (const name of ['one', 'two', 'three']) await daemun('master', ['delete', 'tenant', name, '-y']);
  });

  test('a file with a fault is refused with place, pointer and nearest name; nothing changes', async () => {
    const text = [
      'daemun: 1',
      'tenant: orders',
      'backends:',
      '  - name: service',
      '    endpoints: [{host: 127.0.0.1, prt: 1}]',
    ].join('\n');
    const { stderr } = await daemun('team', ['apply', '-f', write('fault.yaml', text)], { status: REFUSED });
    assert.match(stderr, /fault\.yaml:5:\d+: .*\/backends\/0\/endpoints\/0/);
    assert.match(stderr, /did you mean 'port'\?/);
    const broken = await daemun('team', ['apply', '-f', write('broken.yaml', 'daemun: 1\ntenant: [orders\n')], {
      status: USAGE,
    });
    assert.match(broken.stderr, /broken\.yaml/);
    assert.equal((await ask(world.gateway.port, { host: domainOf('orders'), key: keyOf('orders') })).status, 200);
  });

  test('what the controller refuses: outside the grants, in use, not there', async () => {
    const file = teamFile('orders', upstream.port);
    file.backends[0].endpoints[0].host = '10.0.0.1';
    const refused = await daemun('team', ['apply', '-f', write('egress.json', file)], { status: REFUSED });
    assert.match(refused.stderr, /10\.0\.0\.1/);
    await daemun('team', ['delete', 'backend', 'service'], { status: REFUSED });
    await daemun('team', ['get', 'backend', 'nothing'], { status: REFUSED });
    await daemun('team', ['get', 'products', '--tenant', 'other'], { status: REFUSED });
    const wrong = await daemun('team', ['create', 'tenant', 'mine'], { status: NOT_AUTHORISED });
    assert.match(wrong.stderr, /master/);
  });

  test('get: tables for people, JSON and YAML for programs', async () => {
    const table = await daemun('team', ['get', 'backends']);
    assert.match(table.stdout, /^NAME/);
    assert.match(table.stdout, /^service/m);
    const list = JSON.parse((await daemun('team', ['get', 'backends', '-o', 'json'])).stdout);
    assert.equal((list.items ?? list)[0].name, 'service');
    const one = JSON.parse((await daemun('team', ['get', 'backend', 'service', '-o', 'json'])).stdout);
    assert.deepEqual(one, await world.api.must('GET', '/tenants/orders/backends/service'));
    assert.match((await daemun('team', ['get', 'backend', 'service', '-o', 'yaml'])).stdout, /^name: service$/m);
    for (const kind of ['products', 'domains', 'certificates', 'applications', 'grants', 'tokens', 'changes', 'usage', 'status', 'tenants'])
      assert.ok((await daemun('team', ['get', kind])).stdout !== undefined, kind);
    assert.match((await daemun('master', ['get', 'tenants'])).stdout, /^orders/m);
  });

  test('credentials and tokens are made, shown once, and deleted', async () => {
    const { stdout } = await daemun('team', ['create', 'credential', 'app/second', '-q']);
    const key = stdout.trim();
    assert.equal((await ask(world.gateway.port, { host: domainOf('orders'), key })).status, 200);
    await daemun('team', ['delete', 'credential', 'app/second']);
    assert.equal((await ask(world.gateway.port, { host: domainOf('orders'), key })).reason, 'auth_invalid');
    const token = (await daemun('team', ['create', 'token', 'short', '-q'])).stdout.trim();
    assert.match(token, /^dmt_/);
    await daemun('team', ['delete', 'token', 'short']);
    await daemun('team', ['get', 'backends'], { status: NOT_AUTHORISED, env: { DAEMUN_TOKEN: token } });
  });

  test('status: what is live on which gateway, and 1 when something is behind', async () => {
    const { stdout } = await daemun('team', ['status']);
    assert.match(stdout, /release/);
    assert.match(stdout, /gateway-1/);
    const { units } = JSON.parse((await daemun('team', ['status', '-o', 'json'])).stdout);
    assert.ok(units.every((unit) => unit.live === unit.of));
    const { keeper } = world.gateway.pids();
    process.kill(keeper, 'SIGSTOP');
    try {
      const file = write('late.json', teamFile('orders', upstream.port, { version: { path: '/late' } }));
      const late = await daemun('team', ['apply', '-f', file, '--timeout', '1'], { status: NOT_LIVE });
      assert.match(late.stderr + late.stdout, /gateway-1/);
      await daemun('team', ['status'], { status: DIFFERENT });
    } finally {
      process.kill(keeper, 'SIGCONT');
    }
    await daemun('team', ['apply', '-f', path.join(directory, 'orders.json')]);
    await daemun('team', ['status', '-q']);
  });

  test('login keeps the token for its owner alone, and sends it to that server alone', async () => {
    const env = { DAEMUN_TOKEN: undefined, DAEMUN_SERVER: undefined };
    await daemun('team', ['login', '--server', world.controller.origin, '--token-stdin'], {
      env,
      input: `${tokens.team}\n`,
    });
    const file = path.join(directory, '.config/daemun/config.json');
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    assert.match((await daemun('team', ['get', 'backends'], { env })).stdout, /service/);
    await daemun('team', ['get', 'backends', '--server', 'http://127.0.0.1:1'], { env, status: NOT_AUTHORISED });
    await daemun('team', ['login', '--token-stdin'], { env, input: 'dmt_wrong\n', status: NOT_AUTHORISED });
    fs.rmSync(file);
    await daemun('team', ['get', 'backends', '--server', world.controller.origin], { env, status: NOT_AUTHORISED });
  });

  test('a server that is not there, a token that is none', async () => {
    const gone = await daemun('team', ['get', 'backends', '--server', 'http://127.0.0.1:1'], { status: UNREACHABLE });
    assert.match(gone.stderr, /127\.0\.0\.1:1/);
    await daemun('team', ['get', 'backends'], { env: { DAEMUN_TOKEN: 'dmt_none' }, status: NOT_AUTHORISED });
  });

  const misuses = [
    [['aply'], /apply/],
    [['get', 'backnds'], /backends/],
    [['get', '--outptu', 'json'], /--output/],
    [['get', 'backends', '-o', 'xml'], /xml/],
    [['apply'], /-f|--file/],
    [['apply', '-f', '/no/such/file'], /\/no\/such\/file/],
    [['delete', 'backend'], /name/i],
    [['serve', '--listen', 'nowhere'], /--listen/],
  ];
  for (const [args, pattern] of misuses)
    test(`wrong usage: daemun ${args.join(' ')}`, async () => {
      const { stderr, stdout } = await daemun('team', args, { status: USAGE });
      assert.match(stderr, pattern);
      assert.equal(stdout, '');
    });

  test('help for all, for each verb, and completion', async () => {
    const { stdout } = await daemun('team', ['--help']);
    const verbs = [
      ...stdout
        .split('Verbs:')[1]
        .split('Options')[0]
        .matchAll(/^ {2}(\w+) /gm),
    ].map((match) => match[1]);
    assert.ok(
      ['serve', 'login', 'get', 'apply', 'diff', 'export', 'delete', 'status'].every((verb) => verbs.includes(verb))
    );
    for (const verb of verbs)
      assert.match((await daemun('team', ['help', verb])).stdout, new RegExp(`^Usage: daemun ${verb}`));
    assert.match((await daemun('team', ['help', 'exit-codes'])).stdout, /^ *0 .*\n[^]*^ *7 /m);
    assert.match((await daemun('team', ['--version'])).stdout, /daemun \d+\.\d+\.\d+/);
    assert.match((await daemun('team', ['completion', 'bash'])).stdout, /complete /);
    assert.match((await daemun('team', ['completion', 'zsh'])).stdout, /compdef/);
  });
});

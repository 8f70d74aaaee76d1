// Certificates and domains as teams bring and rotate them: what is taken, what is refused and how, and where keys are not.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { filesBelow } from './lib/files.mjs';
import { Pki } from './lib/pki.mjs';
import { makeDirectory, run } from './lib/process.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { LIVE, teamFile } from './lib/team.mjs';
import { World } from './lib/world.mjs';

const PORT = 9101; // of backends that nobody asks here

// What must be found nowhere: a line of the key that no other file has.
const secretOf = (identity) => identity.key.split('\n')[1];

suite('certificates', () => {
  let world, pki, shop, wide;
  const tokens = {};
  const own = (name = 'alpha') => world.api.as(tokens[name]);
  const used = []; // every key that was sent

  // As a team: {status, body, …}.
  function put(name, identity, { api = own(), query = '', ...members } = {}) {
    if (identity.key?.includes('PRIVATE KEY')) used.push(identity);
    const body = { chain: identity.chain, key: identity.key, ...members };
    return api.put(`/tenants/alpha/certificates/${name}${query}`, body);
  }

  function assertRefused(answer, status, reason, pointer) {
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.body.reason, reason, answer.text);
    if (pointer !== undefined) assert.deepEqual(answer.body.errors.map((error) => error.pointer), [pointer], answer.text);
  }

  const sequences = async () => {
    const { units } = await world.api.must('GET', '/tenants/alpha/status');
    return Object.fromEntries(units.map((unit) => [unit.kind, unit.sequence]));
  };

  before(async () => {
    world = await World.start({ workers: 1 });
    for (const name of ['alpha', 'beta']) {
      const grants = {
        domains: [{ name: `${name}.test` }, { name: `*.${name}.shop` }],
        endpoints: [{ address: '127.0.0.1', port: PORT }],
      };
      await world.api.apply(teamFile(name, PORT, { grants }));
      const made = await world.api.must('POST', `/tenants/${name}/tokens`, { name: 'admin', role: 'tenant_admin' });
      tokens[name] = made.token;
    }
    pki = new Pki();
    shop = pki.issue(['a.alpha.shop', 'b.alpha.shop'], { subject: '/O=Shop/CN=a.alpha.shop' });
    wide = pki.issue(['*.alpha.shop'], { days: 20 });
  });

  test('a certificate says what it is, and never its key', async () => {
    const made = await put('shop', shop, { query: LIVE });
    assert.equal(made.status, 201, made.text);
    assert.equal(made.body.live.gateways, made.body.live.of);
    assert.equal(made.body.key, undefined);
    const { body, headers } = await own().get('/tenants/alpha/certificates/shop');
    assert.deepEqual(body.names, ['a.alpha.shop', 'b.alpha.shop']);
    assert.equal(body.subject, 'CN=a.alpha.shop,O=Shop');
    assert.equal(body.issuer, 'CN=Root,O=Test');
    assert.equal(body.key_type, 'ECDSA P-256');
    assert.equal(body.fingerprint, pki.fingerprint(shop));
    assert.ok(Date.parse(body.not_before) < Date.now() && Date.parse(body.not_after) > Date.now());
    const again = await own().put('/tenants/alpha/certificates/shop', body);
    assert.equal(again.status, 200, again.text);
    assert.equal(again.headers.etag, headers.etag, 'what GET gave changes nothing');
  });

  test('what does not belong together is refused, at its place', async () => {
    assertRefused(await put('bad', { chain: shop.chain, key: wide.key }), 422, 'invalid', '/key');
    assertRefused(await put('bad', { chain: shop.chain, key: 'x' }), 422, 'invalid', '/key');
    assertRefused(await put('bad', { chain: shop.chain }), 422, 'invalid', '');
    const upside = { chain: pki.root.certificate + shop.certificate, key: shop.key };
    assertRefused(await put('bad', upside), 422, 'invalid', '/chain');
    assertRefused(await put('bad', { chain: shop.key, key: shop.key }), 422, 'invalid', '/chain');
    assertRefused(await put('bad', { ...shop }, { ocsp_response: 'AAAA' }), 422, 'invalid', '/ocsp_response');
    assertRefused(await put('bad', shop, { ocsp_response: pki.ocsp(wide) }), 422, 'invalid', '/ocsp_response');
    const revoked = { ocsp_response: pki.ocsp(shop, { isRevoked: true }) };
    assertRefused(await put('bad', shop, revoked), 422, 'invalid', '/ocsp_response');
    assertRefused(await own().get('/tenants/alpha/certificates/bad'), 404, 'not_found');
  });

  test('a rotation makes a new unit of domains, and nothing else', async () => {
    const domain = await own().put('/tenants/alpha/domains/a.alpha.shop', { certificate: 'shop' });
    assert.equal(domain.status, 201, domain.text);
    const before = await sequences();
    const renewed = pki.issue(['a.alpha.shop', 'b.alpha.shop'], { keyOf: shop });
    const kept = await put('shop', { chain: renewed.chain }, { query: LIVE });
    assert.equal(kept.status, 200, kept.text);
    assert.deepEqual(await sequences(), { ...before, domains: before.domains + 1 });
    assert.equal((await put('shop', shop)).status, 200);
    assertRefused(await put('shop', { chain: wide.chain }), 422, 'invalid', '');
    const stapled = await own().patch('/tenants/alpha/certificates/shop', { ocsp_response: pki.ocsp(shop) });
    assert.equal(stapled.status, 200, stapled.text);
    assert.deepEqual(await sequences(), { ...before, domains: before.domains + 3 });
  });

  test('a domain is one that the master granted, with a certificate that covers it', async () => {
    assertRefused(await own().put('/tenants/alpha/domains/a.beta.shop', {}), 403, 'not_granted', '/name');
    assertRefused(await own().put('/tenants/alpha/domains/beta.test', {}), 403, 'not_granted', '/name');
    const wrong = await own().put('/tenants/alpha/domains/c.alpha.shop', { certificate: 'shop' });
    assertRefused(wrong, 422, 'invalid', '/certificate');
    assert.match(wrong.body.errors[0].detail, /must cover 'c.alpha.shop'/);
    const missing = await own().put('/tenants/alpha/domains/c.alpha.shop', { certificate: 'shopp' });
    assertRefused(missing, 422, 'invalid', '/certificate');
    assert.match(missing.body.errors[0].detail, /did you mean 'shop'\?/);
    const plain = await own().put('/tenants/alpha/domains/alpha.test', { redirect_to_https: true });
    assertRefused(plain, 422, 'invalid', '/redirect_to_https');
    const asks = await own().put('/tenants/alpha/domains/c.alpha.shop', { client_certificate: 'required' });
    assertRefused(asks, 422, 'invalid', '');

    assert.equal((await put('wide', wide)).status, 201);
    const body = { client_certificate: 'required', client_ca: pki.root.certificate, redirect_to_https: true };
    const made = await own().put(`/tenants/alpha/domains/${encodeURIComponent('*.alpha.shop')}${LIVE}`, body);
    assert.equal(made.status, 201, made.text);
    assert.equal(made.body.live.gateways, made.body.live.of);
    assert.equal((await own().get('/tenants/alpha/domains/%2A.alpha.shop')).body.client_certificate, 'required');
  });

  test('whom a domain or a backend trusts are authorities, and nothing else', async () => {
    const before = await sequences();
    const base = { certificate: 'wide', client_certificate: 'required' };
    const put = (client_ca) => own().put('/tenants/alpha/domains/c.alpha.shop', { ...base, client_ca });
    const root = pki.root.certificate;
    const wrong = [
      [wide.certificate, /certificate 1 is not a CA's/],
      [root + wide.key, /is a 'PRIVATE KEY'/],
      [`${root}# ${wide.key.replaceAll('\n', ' ')}\n`, /holds a private key/],
      [root.replace(/\n[^]*?\n/, '\nAAAA\n'), /CA bundle/],
    ];
    for (const [ca, pattern] of wrong) {
      const answer = await put(ca);
      assertRefused(answer, 422, 'invalid', '/client_ca');
      assert.match(answer.body.errors[0].detail, pattern);
    }
    const { body: backend } = await own().get('/tenants/alpha/backends/service');
    const trusting = await own().put('/tenants/alpha/backends/service', { ...backend, tls: { ca: wide.certificate } });
    assertRefused(trusting, 422, 'invalid', '/tls/ca');
    const { body: file } = await own().get('/tenants/alpha/document');
    file.backends[0].tls = { ca: wide.certificate };
    file.domains.push({ name: 'c.alpha.shop', ...base, client_ca: wide.certificate });
    const applied = await own().put('/tenants/alpha/document', file);
    assertRefused(applied, 422, 'invalid', `/domains/${file.domains.length - 1}/client_ca`);
    file.domains.pop();
    assertRefused(await own().put('/tenants/alpha/document', file), 422, 'invalid', '/backends/0/tls/ca');
    assert.deepEqual(await sequences(), before);
  });

  test('a key has no place in a chain, however it stands there', async () => {
    const beside = { chain: `${wide.chain}# ${wide.key.replaceAll('\n', ' ')}\n`, key: wide.key };
    const answer = await put('wide', beside);
    assertRefused(answer, 422, 'invalid', '/chain');
    assert.ok(!answer.text.includes(wide.key.split('\n')[1]));
  });

  test('what is in use stays', async () => {
    assertRefused(await own().delete('/tenants/alpha/certificates/shop'), 409, 'in_use');
    assertRefused(await own().delete('/tenants/alpha/certificates/wide'), 409, 'in_use');
    const other = pki.issue(['elsewhere.test']);
    assertRefused(await put('wide', other), 409, 'conflict');
    assert.equal((await own().delete('/tenants/alpha/domains/%2A.alpha.shop')).status, 204);
    assert.equal((await own().delete('/tenants/alpha/certificates/wide')).status, 204);
  });

  test('another team sees none of it', async () => {
    for (const target of ['/tenants/alpha/certificates', '/tenants/alpha/certificates/shop', '/tenants/alpha/domains'])
      assertRefused(await own('beta').get(target), 404, 'not_found');
    assertRefused(await put('shop', wide, { api: own('beta') }), 404, 'not_found');
    assert.deepEqual(await own('beta').all('/tenants/beta/certificates'), []);
  });

  test('export leaves keys out; apply keeps them', async () => {
    const directory = makeDirectory();
    const env = { DAEMUN_SERVER: world.controller.origin, DAEMUN_TOKEN: tokens.alpha, HOME: directory, NO_COLOR: '1' };
    const daemun = async (...args) => {
      const answer = await run('daemun', args, { env, cwd: directory });
      assert.equal(answer.status, 0, answer.stdout + answer.stderr);
      return answer.stdout;
    };
    const file = path.join(directory, 'team.yaml');
    fs.writeFileSync(file, await daemun('export'));
    assert.ok(!fs.readFileSync(file, 'utf8').includes('PRIVATE KEY'));
    const before = await sequences();
    assert.match(await daemun('apply', '-f', file), /unchanged/);
    assert.deepEqual(await sequences(), before);
    assert.match(await daemun('get', 'certificates'), /shop +a\.alpha\.shop, b\.alpha\.shop/);
    assert.match(await daemun('get', 'domains'), /a\.alpha\.shop +shop/);
    assert.equal((await put('old', pki.issue(['old.alpha.shop'], { days: 0 }))).status, 201);
    assert.match(await daemun('get', 'certificates'), /old +old\.alpha\.shop +\S+Z \(expired\)/);
    assert.doesNotMatch(await daemun('get', 'certificates'), /shop +a\.alpha\.shop.*\(expired\)/);
    assert.equal((await own().put('/tenants/alpha/domains/b.alpha.shop', {})).status, 201);
    assert.match(await daemun('get', 'domains'), /b\.alpha\.shop +\(what fits\)/);

    const whole = await own().must('GET', '/tenants/alpha/document');
    const changed = { ...whole, certificates: [{ ...whole.certificates[0], chain: wide.chain }] };
    assertRefused(await own().put('/tenants/alpha/document', changed), 422, 'invalid', '/certificates/0');
  });

  test('keys are in no answer, no database, no document, no log', async () => {
    const targets = ['certificates', 'certificates/shop', 'document', 'changes', 'domains', 'status', 'applications'];
    for (const target of [...targets.map((one) => `/tenants/alpha/${one}`), '/changes', '/openapi.json'])
      for (const identity of used)
        assert.ok(!(await world.api.get(target)).text.includes(secretOf(identity)), target);
    const files = [world.controller.data, world.gateway.data].flatMap(filesBelow);
    assert.ok(files.some((file) => file.endsWith('alpha.domains')) && files.some((file) => file.endsWith('daemun.db')));
    assert.ok(used.length > 5 && used.every((identity) => secretOf(identity).length > 40));
    for (const file of files) {
      const bytes = fs.readFileSync(file, 'latin1');
      for (const identity of used) assert.ok(!bytes.includes(secretOf(identity)), file);
    }
    for (const identity of used)
      assert.ok(!(world.controller.process.stderr + world.gateway.process.stderr).includes(secretOf(identity)));
  });
});

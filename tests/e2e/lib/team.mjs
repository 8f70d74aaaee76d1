// The declarative file of a team as most tests want it: one backend, one product with one version, one plan, one
// application with a key. What a test is about, it says itself.

export const keyOf = (name) => `${name}-key-0123456789`;
export const domainOf = (name) => `${name}.test`;

export const LIVE = '?wait=live&timeout_ms=60000'; // of a write that returns when it is live everywhere

// What a caller with the team's key sends: the head of a request in HTTP/1.1, the fields of one in HTTP/2, curl's arguments.
export const headOf = (name, { method = 'GET', target = '/', version = '1.1', fields = [] } = {}) =>
  [`${method} ${target} HTTP/${version}`, `Host: ${domainOf(name)}`, `X-API-Key: ${keyOf(name)}`, ...fields, '', ''].join('\r\n');
export const fieldsOf = (name, method = 'GET', path = '/') => ({
  ':method': method,
  ':path': path,
  ':authority': domainOf(name),
  'x-api-key': keyOf(name),
});
export const curlFieldsOf = (name) => ['-H', `Host: ${domainOf(name)}`, '-H', `X-API-Key: ${keyOf(name)}`];

export const apiKey = { type: 'api_key', in: ['header', 'query'], query: 'user_key', header: 'X-API-Key' };

export function teamFile(
  name,
  port,
  { policies = [apiKey], version = {}, product = {}, plan = {}, backend = {}, ...file } = {}
) {
  return {
    daemun: 1,
    tenant: name,
    grants: { domains: [{ name: domainOf(name) }], endpoints: [{ address: '127.0.0.1', port }] },
    backends: [{ name: 'service', endpoints: [{ host: '127.0.0.1', port }], ...backend }],
    products: [
      {
        name: 'main',
        domains: [domainOf(name)],
        versions: [
          {
            name: 'v1',
            path: '/',
            policies,
            mapping_rules: [{ method: 'ANY', pattern: '/' }],
            backends: [{ path: '/', backend: 'service' }],
            ...version,
          },
        ],
        plans: [{ name: 'basic', ...plan }],
        ...product,
      },
    ],
    applications: [application('app', keyOf(name))],
    ...file,
  };
}

// Members of a team's file: its domain with a certificate.
export const withCertificate = (name, { chain, key }) => ({
  certificates: [{ name: 'main', chain, key }],
  domains: [{ name: domainOf(name), certificate: 'main' }],
});

export function application(name, key, plan = 'basic', product = 'main') {
  return {
    name,
    subscriptions: [{ product, plan }],
    credentials: [{ name: 'first', type: 'api_key', key }],
  };
}

// The declarative file of a team as most tests want it: one backend, one product with one version, one plan, one
// application with a key. What a test is about, it says itself.

export const keyOf = (name) => `${name}-key-0123456789`;
export const domainOf = (name) => `${name}.test`;

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

export function application(name, key, plan = 'basic', product = 'main') {
  return {
    name,
    subscriptions: [{ product, plan }],
    credentials: [{ name: 'first', type: 'api_key', key }],
  };
}

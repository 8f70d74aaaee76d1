// A 3scale gateway configuration as the file of a tenant; what can't be translated is an error, never left out.

const READ = {
  service: ['id', 'backend_version', 'backend_authentication_type', 'backend_authentication_value', 'proxy'],
  proxy: [
    'hosts',
    'api_backend',
    'proxy_rules',
    'auth_user_key',
    'credentials_location',
    'error_no_match',
    'error_status_no_match',
  ],
  rule: ['http_method', 'pattern', 'metric_system_name', 'delta', 'last', 'position', 'querystring_parameters'],
};

function check(kind, object) {
  for (const member of Object.keys(object))
    if (!READ[kind].includes(member)) throw new Error(`the member '${member}' of a ${kind} is not translated`);
}

const text = (status, body) => ({ status, content_type: 'text/plain; charset=utf-8', body });

function errorsOf(proxy) {
  return {
    auth_missing: text(401, 'Authentication parameters missing'),
    auth_invalid: text(403, 'Authentication failed'),
    no_mapping_rule: text(proxy.error_status_no_match ?? 404, proxy.error_no_match ?? 'No Mapping Rule matched'),
    limit_exceeded: text(429, 'Limits exceeded'),
  };
}

// Where the key is, and how a request is searched for it.
function policyOf(proxy) {
  const name = proxy.auth_user_key ?? 'user_key';
  const place = { query: 'query', headers: 'header', authorization: 'basic' }[proxy.credentials_location ?? 'query'];
  if (!place) throw new Error(`credentials_location '${proxy.credentials_location}' is not translated`);
  return { type: 'api_key', in: [place], query: name, header: name, forward: true };
}

function ruleOf(rule) {
  check('rule', rule);
  const { http_method: method, pattern, metric_system_name: metric, delta, last = false } = rule;
  return { method, pattern, metric, delta, last };
}

export function credentialOf(proxy, request) {
  const policy = policyOf(proxy);
  if (policy.in[0] === 'query') return new URL(request.path, 'http://x').searchParams.get(policy.query);
  const value = Object.entries(request.headers ?? {}).find(
    ([name]) => name.toLowerCase() === (policy.in[0] === 'basic' ? 'authorization' : policy.header)
  )?.[1];
  if (policy.in[0] === 'header' || !value) return value;
  return Buffer.from(value.replace(/^Basic /, ''), 'base64')
    .toString()
    .split(':')[0];
}

// `target`: {tenant, domain, port} of tenant, its host and the mock upstream.
export function translate(config, { tenant, domain, port }, keys) {
  const [service, ...others] = config.services;
  if (others.length > 0 || service.backend_version !== '1')
    throw new Error('more than one service, or not by user_key');
  check('service', service);
  check('proxy', service.proxy);
  const { proxy } = service;
  const rules = [...proxy.proxy_rules].sort((a, b) => (a.position ?? 0) - (b.position ?? 0)).map(ruleOf);
  const metrics = [...new Set(rules.map((rule) => rule.metric))]
    .filter((name) => name !== 'hits')
    .map((name) => ({ name }));
  return {
    daemun: 1,
    tenant,
    grants: { domains: [{ name: domain }], endpoints: [{ address: '127.0.0.1', port }] },
    backends: [{ name: 'upstream', endpoints: [{ host: '127.0.0.1', port }] }],
    products: [
      {
        name: 'service',
        domains: [domain],
        metrics,
        versions: [
          {
            name: 'v1',
            policies: [policyOf(proxy)],
            mapping_rules: rules,
            backends: [{ path: '/', backend: 'upstream' }],
            errors: errorsOf(proxy),
          },
        ],
        plans: [{ name: 'unlimited' }],
      },
    ],
    applications: keys.map((key, i) => ({
      name: `app-${i + 1}`,
      subscriptions: [{ product: 'service', plan: 'unlimited' }],
      credentials: [{ name: 'key', type: 'api_key', key }],
    })),
  };
}

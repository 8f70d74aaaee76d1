// Parties: who shares a contestant in the isolation scenarios. {name, host, key, backendPort, perMinute: a limit that is
// reached at once, or nothing}. To Daemun each is a tenant, to nginx a server, to haproxy a backend found by its host.
import { headOf, keyOf, PARTY_DOMAIN } from './workload.mjs';

const KEYS_FROM = 5000;
let count = 0;

// The first of those that a contestant is started for must be one that is answered.
export function partyOf(name, backend, extra = {}) {
  return { name, host: `${name}.${PARTY_DOMAIN}`, key: keyOf(KEYS_FROM + count++), backendPort: backend.port, ...extra };
}

export const headFor = ({ host, key }, bodyBytes = null) => headOf({ host, key, bodyBytes });

// What every contestant is asked to do: the same request bytes, the same number of keys, a limit that is never reached.

export const BODY_BYTES = 200;
export const KEY_COUNT = 1000;
export const KEY_HEADER = 'X-API-Key';
export const LIMIT_PER_SECOND = 1000000;
export const HOST = 'items.bench.test';
export const PATH = '/v1/items/42';
export const PARTY_DOMAIN = 'parties.bench.test'; // below which each party of an isolation scenario has its host

// 32 characters, the same in every run.
export function keyOf(index) {
  let state = (index + 1) * 2654435761;
  let key = '';
  while (key.length < 32) {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 374761393) >>> 0;
    key += state.toString(36).padStart(7, '0');
  }
  return key.slice(0, 32);
}

export const keys = () => Array.from({ length: KEY_COUNT }, (_, index) => keyOf(index));

// The fields that ask for a WebSocket, with the key of websocket.h.
const UPGRADE_FIELDS = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

export function headOf({ host = HOST, path = PATH, key, isUpgrade = false, bodyBytes = null }) {
  const method = bodyBytes === null ? 'GET' : 'POST';
  const lines = [`${method} ${path} HTTP/1.1`, `Host: ${host}`, 'User-Agent: daemun-bench', 'Accept: */*'];
  if (key) lines.push(`${KEY_HEADER}: ${key}`);
  if (bodyBytes !== null) lines.push(`Content-Length: ${bodyBytes}`);
  if (isUpgrade) lines.push(...Object.entries(UPGRADE_FIELDS).map(([name, value]) => `${name}: ${value}`));
  return `${lines.join('\r\n')}\r\n\r\n`;
}

// The fields of HTTP/2 for a head of HTTP/1.1, pseudo fields first.
export function fieldsOf(head) {
  const [first, ...lines] = head.trim().split('\r\n');
  const [method, target] = first.split(' ');
  const fields = { ':method': method, ':scheme': 'http', ':path': target };
  for (const line of lines) {
    const [name, value] = line.split(': ');
    fields[name.toLowerCase() === 'host' ? ':authority' : name.toLowerCase()] = value;
  }
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (b[0] === ':') - (a[0] === ':')));
}

// One head per connection, each with a key of its own.
export const defaultHeads = ({ isUpgrade = false } = {}) => keys().map((key) => headOf({ key, isUpgrade }));

// The same request for the small client.
export const probeOf = (port, { host = HOST, path = PATH, key, isUpgrade = false } = {}) => ({
  port,
  path,
  headers: { Host: host, ...(key ? { [KEY_HEADER]: key } : {}), ...(isUpgrade ? UPGRADE_FIELDS : {}) },
  isUpgrade,
});

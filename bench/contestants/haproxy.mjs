// haproxy as a keep-alive proxy with one thread, plainly or with a map of keys and a limit counted in a stick table.
//
// TLS: session tickets, as it has them by default, with its default session cache.
import fs from 'node:fs';
import path from 'node:path';
import { until } from '../lib/client.mjs';
import { Child, findProgram, freePort, makeDirectory, treeOf } from '../lib/processes.mjs';
import { goodStatus, probeFor } from '../lib/loads.mjs';
import { KEY_COUNT, KEY_HEADER, LIMIT_PER_SECOND, defaultHeads, keyOf, keys } from '../lib/workload.mjs';

// For the idle connections. haproxy asks for twice as many descriptors and goes on with fewer (no strict-limits).
const CONNECTIONS_MAX = 10100;

const keyCheck = (mapFile) => `
  stick-table type string len 40 size ${10 * KEY_COUNT} expire 60s store http_req_rate(1s)
  http-request set-var(txn.application) req.hdr(${KEY_HEADER}),map_str(${mapFile})
  http-request deny deny_status 401 unless { var(txn.application) -m found }
  http-request track-sc0 req.hdr(${KEY_HEADER})
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt ${LIMIT_PER_SECOND} }`;

const bindWords = (front, certificate) =>
  ({ plain: '', tls: ` ssl crt ${certificate.bothFile} alpn http/1.1`, http2: ' proto h2', upgrade: '' })[front];

const commonWith = (threads) => `
global
  nbthread ${threads}
  maxconn ${CONNECTIONS_MAX}
  no strict-limits
  ssl-default-bind-options ssl-min-ver TLSv1.2
  tune.ssl.cachesize 20000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
`;

function configuration({ port, backendPort, mapFile, front, certificate }) {
  return `${commonWith(1)}frontend gate
  bind 127.0.0.1:${port}${bindWords(front, certificate)} backlog 4096
  maxconn ${CONNECTIONS_MAX}${mapFile ? keyCheck(mapFile) : ''}
  default_backend items
backend items
  server items 127.0.0.1:${backendPort} pool-purge-delay 1h
`;
}

async function start(bench, hasKeys) {
  const directory = makeDirectory('haproxy');
  const file = path.join(directory, 'haproxy.cfg');
  const mapFile = hasKeys ? path.join(directory, 'keys.map') : null;
  const port = await freePort();
  const { certificate, load } = bench;
  const settings = { port, backendPort: bench.backend.port, mapFile, front: load.front, certificate };
  fs.writeFileSync(file, configuration(settings));
  if (mapFile) fs.writeFileSync(mapFile, keys().map((key, index) => `${key} app${index}\n`).join(''));
  const child = new Child(findProgram('haproxy'), ['-db', '-f', file], { core: bench.cores.contestant });
  try {
    await until(goodStatus(bench), probeFor(bench, port, { key: keyOf(0) }));
    if (hasKeys) await until(401, probeFor(bench, port, { key: 'unknown' }));
  } catch (error) {
    throw child.failure(error.message);
  }
  const heads = defaultHeads({ isUpgrade: load.front === 'upgrade' });
  return { port, heads, pids: () => treeOf(child.pid).map(({ pid }) => pid), stop: () => child.stop() };
}

const partyLimit = (perMinute) => `
  stick-table type string len 40 size 1k expire 2m store http_req_rate(60s)
  http-request track-sc0 req.hdr(${KEY_HEADER})
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt ${perMinute} }`;

const partyBackend = ({ name, backendPort, perMinute }) => `
backend ${name}${perMinute ? partyLimit(perMinute) : ''}
  server ${name} 127.0.0.1:${backendPort} pool-purge-delay 1h`;

// A backend for each party, found by the host in a map.
function configurationFor(parties, ports, certificate, mapFile, threads) {
  const { plain, tls, http2 } = ports;
  return `${commonWith(threads)}frontend gate
  bind 127.0.0.1:${plain} backlog 4096
  bind 127.0.0.1:${tls}${bindWords('tls', certificate)} backlog 4096
  bind 127.0.0.1:${http2}${bindWords('http2', certificate)} backlog 4096
  maxconn ${CONNECTIONS_MAX}
  use_backend %[req.hdr(host),map_str(${mapFile})]
${parties.map(partyBackend).join('')}
`;
}

// Threads take connections as they come: nobody can say which one has a connection.
async function startFor(bench, parties, { workers = 1 } = {}) {
  const directory = makeDirectory('haproxy');
  const file = path.join(directory, 'haproxy.cfg');
  const mapFile = path.join(directory, 'hosts.map');
  const ports = { plain: await freePort(), tls: await freePort(), http2: await freePort() };
  fs.writeFileSync(mapFile, parties.map(({ host, name }) => `${host} ${name}\n`).join(''));
  fs.writeFileSync(file, configurationFor(parties, ports, bench.certificate, mapFile, workers));
  const child = new Child(findProgram('haproxy'), ['-db', '-f', file], { core: bench.cores.contestant });
  try {
    await until(200, probeFor(bench, ports.plain, parties[0]));
  } catch (error) {
    throw child.failure(error.message);
  }
  return { port: ports.plain, ports, pids: () => treeOf(child.pid).map(({ pid }) => pid), stop: () => child.stop() };
}

export const haproxyPlain = {
  name: 'haproxy_plain',
  title: 'haproxy, plain',
  start: (bench) => start(bench, false),
  startFor,
};

export const haproxyKeyLimit = {
  name: 'haproxy_key_limit',
  title: 'haproxy, key map + stick-table limit',
  start: (bench) => start(bench, true),
};

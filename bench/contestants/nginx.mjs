// nginx as a keep-alive proxy with one worker, plainly or with a map of keys and limit_req.
//
// TLS: session tickets, which is how TLS 1.3 resumes, and no session cache beside them: with one, every handshake would
// be stored there too, for nobody. Its ciphers and groups are OpenSSL's, of which the clients offer one each.
import fs from 'node:fs';
import path from 'node:path';
import { until } from '../lib/client.mjs';
import { Child, findProgram, freePort, makeDirectory, outputOf, treeOf } from '../lib/processes.mjs';
import { goodStatus, probeFor } from '../lib/loads.mjs';
import { KEY_HEADER, LIMIT_PER_SECOND, defaultHeads, keyOf, keys } from '../lib/workload.mjs';

const KEY_VARIABLE = `$http_${KEY_HEADER.toLowerCase().replaceAll('-', '_')}`;

const KEY_MAP = `
  map_hash_max_size 16384;
  map_hash_bucket_size 128;
  map ${KEY_VARIABLE} $application { default ""; include keys.map; }
  limit_req_zone $application zone=applications:10m rate=${LIMIT_PER_SECOND}r/s;`;

const KEY_CHECK = `
      if ($application = "") { return 401; }
      limit_req zone=applications burst=${LIMIT_PER_SECOND} nodelay;`;

const PARTY_KEEPALIVE = 4096;

const LISTEN = { plain: '', tls: ' ssl', http2: ' http2', upgrade: '' };

const tlsSettings = ({ chainFile, keyFile }, others) =>
  Object.entries({
    ssl_certificate: chainFile,
    ssl_certificate_key: keyFile,
    ssl_protocols: 'TLSv1.2 TLSv1.3',
    ssl_session_tickets: 'on',
    ssl_session_cache: 'none',
    ssl_session_timeout: '1h',
    ...others,
  })
    .map(([name, value]) => `\n    ${name} ${value};`)
    .join('');

// What it takes to let an upgrade through and to keep the tunnel, without losing upstream keep-alive.
const UPGRADE_MAP = `
  map $http_upgrade $connection_field { default upgrade; "" ""; }`;

const CLOSE_NOTHING = `
      proxy_set_header Connection "";`;

const UPGRADE_SETTINGS = `
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_field;
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;`;

function temporaryPaths() {
  const built = outputOf(findProgram('nginx'), ['-V']);
  const modules = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return modules
    .filter((name) => !built.includes(`--without-http_${name}_module`))
    .map((name) => `  ${name}_temp_path tmp-${name};`)
    .join('\n');
}

function configuration({ port, backendPort, hasKeys, front, certificate, extra }) {
  const isUpgrade = front === 'upgrade';
  return `
daemon off;
${process.getuid() === 0 ? 'user root;' : ''}
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events { worker_connections 16384; }
http {
${temporaryPaths()}
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;${hasKeys ? KEY_MAP : ''}${isUpgrade ? UPGRADE_MAP : ''}
  ${extra.http ?? ''}
  upstream backend {
    server 127.0.0.1:${backendPort};
    keepalive 256;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }
  server {
    listen 127.0.0.1:${port}${LISTEN[front]} backlog=4096;${front === 'tls' ? tlsSettings(certificate, extra.tls) : ''}
    ${extra.server ?? ''}
    location / {${hasKeys ? KEY_CHECK : ''}
      ${extra.location ?? ''}
      proxy_pass http://backend;
      proxy_http_version 1.1;${isUpgrade ? UPGRADE_SETTINGS : CLOSE_NOTHING}
    }
  }
}
`;
}

// A server for each party, all on the same ports; its upstream keeps as many connections as there can be clients. Bodies
// stream, as they do elsewhere, and are as long as they like.
const partyServer = ({ name, host, backendPort, perMinute }, { plain, tls, http2 }, certificate, words) => `
  upstream ${name} {
    server 127.0.0.1:${backendPort};
    keepalive ${PARTY_KEEPALIVE};
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }
  server {
    listen 127.0.0.1:${plain}${words};
    listen 127.0.0.1:${tls} ssl${words};
    listen 127.0.0.1:${http2} http2${words};
    server_name ${host};${tlsSettings(certificate)}
    location / {${perMinute ? '\n      limit_req zone=parties;' : ''}
      proxy_pass http://${name};
      proxy_http_version 1.1;${CLOSE_NOTHING}
    }
  }`;

// One rate for all parties that have one. With several workers each has a listening socket of its own.
function configurationFor(parties, ports, certificate, workers) {
  const listenWords = ` backlog=4096${workers > 1 ? ' reuseport' : ''}`;
  const limited = parties.find(({ perMinute }) => perMinute);
  const zone = `limit_req_zone ${KEY_VARIABLE} zone=parties:1m rate=${limited?.perMinute}r/m;\n  limit_req_status 429;`;
  return `
daemon off;
${process.getuid() === 0 ? 'user root;' : ''}
worker_processes ${workers};
pid nginx.pid;
error_log stderr crit;
events { worker_connections 32768; }
http {
${temporaryPaths()}
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  server_names_hash_bucket_size 128;
  client_max_body_size 0;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  ${limited ? zone : ''}${parties.map((party, index) => partyServer(party, ports, certificate, index === 0 ? listenWords : '')).join('')}
}
`;
}

async function startFor(bench, parties, { workers = 1 } = {}) {
  const directory = makeDirectory('nginx');
  const file = path.join(directory, 'nginx.conf');
  const ports = { plain: await freePort(), tls: await freePort(), http2: await freePort() };
  fs.writeFileSync(file, configurationFor(parties, ports, bench.certificate, workers));
  const args = ['-p', `${directory}/`, '-c', file, '-e', 'stderr'];
  const child = new Child(findProgram('nginx'), args, { core: bench.cores.contestant });
  try {
    await until(200, probeFor(bench, ports.plain, parties[0]));
  } catch (error) {
    throw child.failure(error.message);
  }
  const pids = () => treeOf(child.pid).map(({ pid }) => pid);
  return { port: ports.plain, ports, pids, workers: pids().slice(1), stop: () => child.stop() };
}

// extra: {http, server, location: text put there; tls: settings in place of those above; status: of the answer to the
// probe}.
async function start(bench, hasKeys, extra = {}) {
  const directory = makeDirectory('nginx');
  const file = path.join(directory, 'nginx.conf');
  const port = await freePort();
  const { certificate, load } = bench;
  const settings = { port, backendPort: bench.backend.port, hasKeys, front: load.front, certificate, extra };
  fs.writeFileSync(file, configuration(settings));
  if (hasKeys)
    fs.writeFileSync(path.join(directory, 'keys.map'), keys().map((key, index) => `${key} app${index};\n`).join(''));
  const args = ['-p', `${directory}/`, '-c', file, '-e', 'stderr'];
  const child = new Child(findProgram('nginx'), args, { core: bench.cores.contestant });
  try {
    await until(extra.status ?? goodStatus(bench), probeFor(bench, port, { key: keyOf(0) }));
    if (hasKeys) await until(401, probeFor(bench, port, { key: 'unknown' }));
  } catch (error) {
    throw child.failure(error.message);
  }
  const heads = defaultHeads({ isUpgrade: load.front === 'upgrade' });
  const pids = () => treeOf(child.pid).map(({ pid }) => pid);
  return { port, heads, pids, stop: (signal) => child.stop(signal) };
}

export const nginxPlain = {
  name: 'nginx_plain',
  title: 'nginx, plain proxy_pass',
  start: (bench) => start(bench, false),
  startFor,
};

export const nginxKeyLimit = {
  name: 'nginx_key_limit',
  title: 'nginx, key map + limit_req',
  start: (bench) => start(bench, true),
};

// A plain one with something else in its configuration.
export const nginxWith = (extra) => ({ ...nginxPlain, start: (bench) => start(bench, false, extra) });

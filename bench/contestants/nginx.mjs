// nginx as a keep-alive proxy with one worker, plainly or with a map of keys and limit_req.
import fs from 'node:fs';
import path from 'node:path';
import { until } from '../lib/client.mjs';
import { Child, findProgram, freePort, makeDirectory, outputOf, treeOf } from '../lib/processes.mjs';
import { KEY_HEADER, LIMIT_PER_SECOND, defaultHeads, keyOf, keys, probeOf } from '../lib/workload.mjs';

const KEY_VARIABLE = `$http_${KEY_HEADER.toLowerCase().replaceAll('-', '_')}`;

const KEY_MAP = `
  map_hash_max_size 16384;
  map_hash_bucket_size 128;
  map ${KEY_VARIABLE} $application { default ""; include keys.map; }
  limit_req_zone $application zone=applications:10m rate=${LIMIT_PER_SECOND}r/s;`;

const KEY_CHECK = `
      if ($application = "") { return 401; }
      limit_req zone=applications burst=${LIMIT_PER_SECOND} nodelay;`;

function temporaryPaths() {
  const built = outputOf(findProgram('nginx'), ['-V']);
  const modules = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return modules
    .filter((name) => !built.includes(`--without-http_${name}_module`))
    .map((name) => `  ${name}_temp_path tmp-${name};`)
    .join('\n');
}

function configuration({ port, backendPort, hasKeys }) {
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
  keepalive_timeout 1h;${hasKeys ? KEY_MAP : ''}
  upstream backend {
    server 127.0.0.1:${backendPort};
    keepalive 256;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {${hasKeys ? KEY_CHECK : ''}
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`;
}

async function start(bench, hasKeys) {
  const directory = makeDirectory('nginx');
  const file = path.join(directory, 'nginx.conf');
  const port = await freePort();
  fs.writeFileSync(file, configuration({ port, backendPort: bench.backend.port, hasKeys }));
  if (hasKeys)
    fs.writeFileSync(path.join(directory, 'keys.map'), keys().map((key, index) => `${key} app${index};\n`).join(''));
  const args = ['-p', `${directory}/`, '-c', file, '-e', 'stderr'];
  const child = new Child(findProgram('nginx'), args, { core: bench.cores.contestant });
  try {
    await until(200, probeOf(port, { key: keyOf(0) }));
    if (hasKeys) await until(401, probeOf(port, { key: 'unknown' }));
  } catch (error) {
    throw child.failure(error.message);
  }
  return { port, heads: defaultHeads(), pids: () => treeOf(child.pid).map(({ pid }) => pid), stop: () => child.stop() };
}

export const nginxPlain = {
  name: 'nginx_plain',
  title: 'nginx, plain proxy_pass',
  start: (bench) => start(bench, false),
};

export const nginxKeyLimit = {
  name: 'nginx_key_limit',
  title: 'nginx, key map + limit_req',
  start: (bench) => start(bench, true),
};

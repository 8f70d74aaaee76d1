// The machine: what must be installed, the benchmark's own programs, versions.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnSync } from 'node:child_process';
import { Failure, findProgram, makeDirectory, outputOf } from './processes.mjs';

export const BENCH = fileURLToPath(new URL('..', import.meta.url));
export const ROOT = path.join(BENCH, '..');

const NODE_MIN = 18;
const NEEDED = ['taskset', 'setpriv', 'cc', 'openssl', 'nginx', 'haproxy'];
const LOAD_SOURCES = ['counts.c', 'generator.c', 'requests.c', 'wire.c'];
const PROGRAMS = {
  relay: { sources: ['relay.c', 'wire.c'] },
  backend: { sources: ['backend.c', 'websocket.c', 'wire.c'] },
  filler: { sources: ['filler.c', 'wire.c'] },
  load: {
    sources: ['load.c', 'answer.c', 'channel.c', 'histogram.c', 'websocket.c', ...LOAD_SOURCES],
    libraries: ['-lssl', '-lcrypto'],
  },
  victim: {
    sources: ['victim.c', 'answer.c', 'channel.c', 'histogram.c', ...LOAD_SOURCES],
    libraries: ['-lssl', '-lcrypto'],
  },
  slow: { sources: ['slow.c', ...LOAD_SOURCES] },
  load_h2: { sources: ['load_h2.c', ...LOAD_SOURCES], libraries: ['-lnghttp2'] },
};

const missing = () => NEEDED.filter((name) => findProgram(name) === null);

// Sees that all programs are there, with the help of the repository's set-up when some are not.
export function ensureTools(say) {
  if (Number(process.versions.node.split('.')[0]) < NODE_MIN)
    throw new Failure(`Node ${NODE_MIN} or newer is needed, this is ${process.version}`);
  if (os.cpus().length < 2) throw new Failure('two cores are needed: one for the contestant, one for load and backend');
  if (missing().length === 0) return;
  say(`missing: ${missing().join(', ')}; running tools/setup bench`);
  const setup = path.join(ROOT, 'tools/setup');
  if (fs.existsSync(setup)) spawnSync(setup, ['run', 'bench'], { cwd: ROOT, stdio: 'inherit' });
  if (missing().length > 0)
    throw new Failure(`missing: ${missing().join(', ')}. As root: tools/setup run bench`);
}

// Compiles the benchmark's own programs. Returns their paths by name.
export function buildPrograms() {
  const directory = makeDirectory('programs');
  const programs = {};
  for (const [name, { sources, libraries = [] }] of Object.entries(PROGRAMS)) {
    programs[name] = path.join(directory, `dm_bench_${name}`);
    const files = sources.map((source) => path.join(BENCH, source));
    outputOf('cc', ['-std=gnu11', '-D_GNU_SOURCE', '-O2', '-o', programs[name], ...files, ...libraries]);
  }
  return programs;
}

function firstVersion(command, args) {
  try {
    return /\d+\.\d+[\w.+~-]*/.exec(outputOf(command, args))?.[0] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

export function versions(daemun) {
  return {
    nginx: firstVersion(findProgram('nginx'), ['-v']),
    haproxy: firstVersion(findProgram('haproxy'), ['-v']),
    openssl: firstVersion(findProgram('openssl'), ['version']),
    daemun: daemun ? firstVersion(daemun, ['--version']) : 'not built',
  };
}

export function machine() {
  const cpus = os.cpus();
  const gib = Math.round(os.totalmem() / 2 ** 30);
  const release = /^PRETTY_NAME="?(.*?)"?$/m.exec(fs.readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'Linux';
  return { cpu: cpus[0].model.trim(), cores: cpus.length, memory: `${gib} GiB`, system: release, kernel: os.release() };
}

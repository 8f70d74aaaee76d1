// The proof of the loads: that they do what they say, and notice when a server does not let them.
//
// Each kind runs against an nginx that writes an access log. Sound cases: the log has as many answers as the load has
// counted, of the protocol, cipher, group and session reuse that the kind is about, on as many connections. Faulty
// cases: the server takes something away (tickets, streams, kept connections, ...), and the load or its check must say
// what.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { nginxWith } from './contestants/nginx.mjs';
import { Load, Victim, expectClean, startBackend } from './lib/load.mjs';
import { LOADS, withLoad } from './lib/loads.mjs';
import { Failure, findProgram, freePort, makeDirectory, outputOf } from './lib/processes.mjs';
import { makeCertificate } from './lib/certificate.mjs';
import { BODY_BYTES, HOST, PATH, defaultHeads } from './lib/workload.mjs';

const ENOUGH = 500; // events of a load before it is looked at
const WAIT_MS = 20000;
const LOG_FIELDS = ['status', 'bytes', 'protocol', 'tls', 'cipher', 'curve', 'reused', 'connection', 'from'];
const LOG_FORMAT =
  '$status $body_bytes_sent $server_protocol $ssl_protocol $ssl_cipher $ssl_curve $ssl_session_reused $connection $remote_port';
const ECHO_BYTES = 7;

const overTls = { protocol: 'HTTP/1.1', tls: 'TLSv1.3', cipher: 'TLS_AES_128_GCM_SHA256', curve: 'X25519' };

// line: what every line of the log must say. connections, reused: how many there must be by the load's report. each:
// exchanges per connection and then silence.
const SOUND = [
  { kind: 'plain', line: { protocol: 'HTTP/1.1', tls: '-' } },
  { kind: 'tls', line: { ...overTls, reused: '.' }, connections: ({ handshakes }) => handshakes },
  { kind: 'handshake', line: { ...overTls, reused: '.' }, connections: ({ handshakes }) => handshakes },
  { kind: 'resume', line: overTls, connections: ({ handshakes }) => handshakes, reused: ({ resumed }) => resumed },
  { kind: 'h2', line: { protocol: 'HTTP/2.0' }, connections: ({ open }) => open },
  {
    kind: 'tunnel',
    each: 1,
    status: '101',
    bytes: ECHO_BYTES,
    line: { protocol: 'HTTP/1.1' },
    connections: ({ open }) => open,
  },
];

const REFUSED = /[1-9]\d* connections or handshakes were refused/;

// Beside what is missing and what must be said of it: settings for nginxWith().
const FAULTY = [
  { kind: 'tls', what: 'connections that are not kept', server: 'keepalive_requests 4;', says: /[1-9]\d* closed/ },
  { kind: 'plain', what: 'answers of 503', location: 'return 503;', status: 503, says: /[1-9]\d* answers were not/ },
  { kind: 'resume', what: 'no tickets', tls: { ssl_session_tickets: 'off' }, says: /: 0 of [1-9]\d* handshakes/ },
  { kind: 'handshake', what: 'an RSA certificate', isRsa: true, says: REFUSED },
  { kind: 'handshake', what: 'TLS 1.2', tls: { ssl_protocols: 'TLSv1.2' }, says: REFUSED },
  { kind: 'h2', what: '16 streams', server: 'http2_max_concurrent_streams 16;', says: /allows only 16 streams/ },
  { kind: 'h2', what: 'no HTTP/2', front: 'plain', says: /ended with 1/ },
  { kind: 'tunnel', each: 1, what: 'no upgrade', front: 'plain', says: /[1-9]\d* requests failed/ },
];

const happened = ({ answered, failed, unconnected }) => answered + failed + unconnected;

// Runs the load until enough has happened. Returns its report and what is wrong with it, or null.
async function runLoad(bench, { port, heads }, each) {
  const { connections } = bench;
  const load = new Load(bench, { port, heads, connections, seconds: WAIT_MS / 1000, each });
  const end = Date.now() + WAIT_MS;
  if (each) await load.ready(WAIT_MS);
  else await load.warm(WAIT_MS);
  const first = load.counts();
  let now = first;
  while (!each && happened(now) - happened(first) < ENOUGH && load.child.status === null && Date.now() < end) {
    await delay(10);
    now = load.counts();
  }
  const report = await load.stop();
  expectClean(report, 'load');
  const fault = each ? null : load.faultOf(first, now);
  if (fault) throw new Failure(`load: ${fault}`);
  return report;
}

function readLog(file) {
  const lines = fs.readFileSync(file, 'latin1').split('\n').slice(0, -1);
  return lines.map((line) => Object.fromEntries(line.split(' ').map((value, index) => [LOG_FIELDS[index], value])));
}

function expect(isTrue, text) {
  if (!isTrue) throw new Failure(text);
}

// Holds the report of a load to what nginx has seen; what was out when the load was stopped may be in the log or not.
function compare(report, log, { line, status = '200', bytes = BODY_BYTES, connections, reused }) {
  const answers = log.filter((one) => one.status === status && one.bytes === String(bytes));
  const { answered, in_flight: out } = report;
  expect(
    answers.length >= answered && answers.length <= answered + out,
    `${answered} answers counted, ${out} requests out, ${answers.length} in nginx's log`,
  );
  for (const one of answers)
    for (const [name, value] of Object.entries(line))
      expect(one[name] === value, `${name} is ${one[name]} in nginx's log, expected ${value}`);
  const seen = new Set(log.map(({ connection }) => connection)).size;
  const least = connections?.(report) ?? seen;
  expect(seen >= least && seen <= least + out, `${least} connections counted, ${seen} in nginx's log`);
  const again = log.filter((one) => one.reused === 'r').length;
  const resumed = reused?.(report) ?? again;
  expect(again <= resumed && again >= resumed - out, `${resumed} resumptions counted, ${again} in nginx's log`);
  const ofThem = reused ? `, ${again} resumed` : '';
  return `${answered} answers, ${answers.length} in nginx's log, on ${seen} connections${ofThem}`;
}

const loggingNginx = (logFile) =>
  nginxWith({ http: `log_format proof '${LOG_FORMAT}';`, server: `access_log ${logFile} proof;` });

async function proveSound(wide, one) {
  const bench = withLoad(wide, LOADS[one.kind]);
  const logFile = path.join(wide.logDirectory, `${one.kind}.log`);
  const instance = await loggingNginx(logFile).start(bench);
  const before = readLog(logFile).length; // the probe's
  const report = await runLoad(bench, instance, one.each ?? null);
  await instance.stop('SIGQUIT');
  return compare(report, readLog(logFile).slice(before), one);
}

async function proveFaulty(wide, one) {
  const kind = LOADS[one.kind];
  const bench = withLoad(wide, kind);
  const certificate = one.isRsa ? makeCertificate({ isRsa: true }) : bench.certificate;
  // The clients come as their kind wants it, whatever the server offers.
  const offered = { ...bench, certificate, load: { ...kind, front: one.front ?? kind.front } };
  const instance = await nginxWith(one).start(offered);
  const heads = defaultHeads({ isUpgrade: kind.front === 'upgrade' });
  let text = 'nothing is wrong';
  try {
    await runLoad(bench, { port: instance.port, heads }, one.each ?? null);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    text = error.message;
  }
  await instance.stop();
  expect(one.says.test(text), `expected ${one.says}, got: ${text}`);
  return text.replace(/\s+/g, ' ');
}

// The same requests from another client, where it is installed, give the same log.
async function proveByH2load(wide) {
  const program = findProgram('h2load');
  if (program === null) return 'h2load is not installed';
  const bench = withLoad(wide, LOADS.h2);
  const logFile = path.join(wide.logDirectory, 'h2load.log');
  const instance = await loggingNginx(logFile).start(bench);
  const before = readLog(logFile).length;
  const count = 20 * ENOUGH;
  const url = `http://127.0.0.1:${instance.port}${PATH}`;
  const text = outputOf(program, ['-n', String(count), '-c', String(bench.connections), '-m', '32', url]);
  await instance.stop('SIGQUIT');
  const log = readLog(logFile).slice(before);
  expect(text.includes(`${count} succeeded`), text);
  const report = { answered: count, in_flight: 0, open: bench.connections };
  return compare(report, log, SOUND.find(({ kind }) => kind === 'h2'));
}

const VICTIM = { rate: 200, connections: 4, seconds: 2 };
const STALL_MS = 500;
const STALL_P90_US = 200000; // a quarter of the requests fall due in the stall, the tenth that waits longest above three fifths of it

async function askAs(bench, { port, heads }, extra = {}) {
  const victim = new Victim(bench, { ...VICTIM, port, heads: heads.slice(0, 1), ...extra });
  return { victim, report: await victim.finish(WAIT_MS) };
}

// What the victim has asked is in the log, and its first requests, which do not count.
async function proveVictim(wide, { kind, extra, line, connections, uncounted }) {
  const bench = withLoad(wide, LOADS[kind]);
  const logFile = path.join(wide.logDirectory, `victim-${kind}.log`);
  const instance = await loggingNginx(logFile).start(bench);
  const before = readLog(logFile).length;
  const { report } = await askAs(bench, instance, extra);
  await instance.stop('SIGQUIT');
  const { asked, answered } = report;
  expect(asked === VICTIM.rate * VICTIM.seconds && answered === asked, `asked ${asked}, answered ${answered}`);
  const seen = { answered: answered + uncounted, in_flight: 1 }; // the probe may be logged after it was answered
  return compare(seen, readLog(logFile).slice(before), { line, connections: () => connections(report) });
}

const VICTIMS = [
  { kind: 'plain', line: { protocol: 'HTTP/1.1', tls: '-' }, connections: () => VICTIM.connections, uncounted: VICTIM.connections },
  {
    kind: 'handshake',
    extra: { isOnce: true, tls: HOST },
    line: { ...overTls, reused: '.' },
    connections: ({ handshakes }) => handshakes,
    uncounted: 0,
  },
];

async function freePorts(count) {
  const ports = [];
  while (ports.length < count) ports.push(await freePort());
  return ports;
}

// Connections that are to come from these ports do, and from no others.
async function provePorts(wide, kind, run) {
  const bench = withLoad(wide, LOADS.plain);
  const logFile = path.join(wide.logDirectory, `ports-${kind}.log`);
  const instance = await loggingNginx(logFile).start(bench);
  const before = readLog(logFile).length;
  const ports = await freePorts(VICTIM.connections);
  await run(bench, instance, ports);
  await instance.stop('SIGQUIT');
  const seen = new Set(readLog(logFile).slice(before).map(({ from }) => Number(from)));
  const expected = new Set([...ports].sort());
  expect([...seen].sort().join() === [...expected].join(), `from ports ${[...seen]}, expected ${ports}`);
  return `from ports ${ports.join(', ')}`;
}

const askFrom = (bench, instance, ports) => askAs(bench, instance, { ports });

async function loadFrom(bench, { port, heads }, ports) {
  const load = new Load(bench, { port, heads, connections: ports.length, seconds: WAIT_MS / 1000, ports });
  await load.warm(WAIT_MS);
  expectClean(await load.stop(), 'load');
}

async function proveRefused(bench) {
  const instance = await nginxWith({ location: 'return 503;', status: 503 }).start(bench);
  const { report } = await askAs(bench, instance);
  await instance.stop();
  expect(report.refused === report.asked && report.answered === 0, JSON.stringify(report));
  return `${report.refused} of ${report.asked} refused`;
}

// A server that stops for a while delays each request that falls due meanwhile, not one for each connection.
async function proveStall(bench, { isForGood }) {
  const server = await startBackend(bench);
  const asking = askAs(bench, { port: server.port, heads: defaultHeads() });
  await delay(STALL_MS);
  process.kill(server.pid, 'SIGSTOP');
  await delay(STALL_MS);
  if (!isForGood) process.kill(server.pid, 'SIGCONT');
  const { report } = await asking;
  process.kill(server.pid, 'SIGCONT');
  await server.stop();
  const { asked, answered, late, latency_us: times } = report;
  expect(times.p90 >= STALL_P90_US, `the 90th percentile is ${times.p90} µs`);
  expect(isForGood ? late > 0 && answered + late === asked : answered === asked, JSON.stringify(report));
  return `${answered} of ${asked} answered, ${late} late, 90th percentile ${(times.p90 / 1000).toFixed(0)} ms`;
}

// Runs all cases. Resolves with the number of those that failed.
export async function prove(plain) {
  const bench = { ...plain, logDirectory: makeDirectory('proof') };
  const cases = [
    ...SOUND.map((one) => [`${one.kind} counts what nginx sees`, () => proveSound(bench, one)]),
    ['h2load and nginx', () => proveByH2load(bench)],
    ...VICTIMS.map((one) => [`the victim asks what nginx sees, ${one.kind}`, () => proveVictim(bench, one)]),
    ['the load comes from the ports that it is given', () => provePorts(bench, 'load', loadFrom)],
    ['the victim comes from the ports that it is given', () => provePorts(bench, 'victim', askFrom)],
    ['the victim notices answers of 503', () => proveRefused(bench)],
    ['the victim charges a stall to all whom it delays', () => proveStall(bench, { isForGood: false })],
    ['the victim notices what never comes', () => proveStall(bench, { isForGood: true })],
    ...FAULTY.map((one) => [`${one.kind} notices ${one.what}`, () => proveFaulty(bench, one)]),
  ];
  let failed = 0;
  for (const [title, run] of cases) {
    try {
      bench.say(`${title}: ${await run()}`);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      bench.say(`${title}: FAILED: ${error.message}`);
      failed += 1;
    }
  }
  return failed;
}

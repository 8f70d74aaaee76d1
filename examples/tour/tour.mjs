// The tour: two teams on one gateway, step by step. Each step shows what a person would type, what came back, and why; and
// it checks that this is what it says.
import fs from 'node:fs';
import http from 'node:http';
import { bold, command, dim, green, heading, output, quoted, red, say, why } from './show.mjs';
import { Stage, StageError } from './stage.mjs';

const TEAMS = ['orders', 'catalog'];
const KEYS = { orders: 'mobile', catalog: 'shop', visitor: 'visitor' };
const LIMIT_CALLS_MAX = 12;

let nSteps = 0;
let nFailed = 0;

function step(title) {
  nSteps += 1;
  heading(`${String(nSteps).padStart(2)}. ${title}`);
}

// Did the step do what it says?
function check(isAsExpected, expected) {
  if (isAsExpected) return;
  nFailed += 1;
  say('    ' + red(`✗ expected ${expected}`));
}

// --- calls through the gateway ----------------------------------------------------------------------------------------

// GET as a caller of `team`: to the gateway's address, with the team's domain as Host.
function call(stage, team, target, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get(
      {
        host: '127.0.0.1',
        port: stage.ports.gateway,
        path: target,
        agent: false,
        timeout: 30000,
        headers: { host: `${team}.localhost:${stage.ports.gateway}`, ...headers },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode, message: response.statusMessage, headers: response.headers, text }));
        response.on('error', reject);
      }
    );
    request.on('timeout', () => request.destroy(new Error('no answer within 30 s')));
    request.on('error', reject);
  });
}

function curlOf(stage, team, target, headers) {
  const fields = Object.entries(headers).map(([name, value]) => `-H '${name}: ${value}' `);
  return `curl -i ${fields.join('')}http://${team}.localhost:${stage.ports.gateway}${target}`;
}

// The problem details (RFC 9457) of an answer that the gateway made itself, {} of any other.
function problemOf(answer) {
  if (!(answer.headers['content-type'] ?? '').startsWith('application/problem+json')) return {};
  return JSON.parse(answer.text);
}

function showAnswer(answer) {
  const retry = answer.headers['retry-after'] === undefined ? '' : `, Retry-After: ${answer.headers['retry-after']}`;
  say('    ' + (answer.status < 400 ? green : red)(`${answer.status} ${answer.message}`) + retry);
  const { reason, detail, request_id: id } = problemOf(answer);
  if (reason === undefined) output(answer.text, 4);
  else output(`reason ${reason}: ${detail}\nrequest id ${id}`);
}

// Shows a call and its answer, and checks status and reason.
async function callStep(stage, team, target, headers, expected, because) {
  command(curlOf(stage, team, target, headers));
  const answer = await call(stage, team, target, headers);
  showAnswer(answer);
  why(because);
  check(answer.status === expected.status, `status ${expected.status}, got ${answer.status}`);
  if (expected.reason !== undefined)
    check(problemOf(answer).reason === expected.reason, `reason ${expected.reason}, got ${problemOf(answer).reason}`);
  return answer;
}

// --- the command line -------------------------------------------------------------------------------------------------

// Runs what it shows.
function shellStep(stage, who, line, expectedCode = 0) {
  command(line);
  const result = stage.shell(who, line);
  output(result.text);
  check(result.code === expectedCode, `exit code ${expectedCode}, got ${result.code}`);
  return result;
}

// What a tour can't go on without.
function daemunQuietly(stage, who, args) {
  const result = stage.daemun(who, args);
  if (result.code !== 0) throw new StageError(`daemun ${args.join(' ')} failed (exit ${result.code}):\n${result.text}`);
  return result.text;
}

// --- preparations -----------------------------------------------------------------------------------------------------

function keep(stage, name, secret) {
  fs.writeFileSync(stage.file(name), secret.trim() + '\n', { mode: 0o600 });
}

// A token for the team, made by the master at the first tour and kept.
function ensureTeamToken(stage, team) {
  const file = stage.file(`${team}.token`);
  if (fs.existsSync(file) && stage.daemun(team, ['get', 'grants']).code === 0) return;
  keep(stage, `${team}.token`, daemunQuietly(stage, 'master', ['create', 'token', 'tour', '--tenant', team, '--quiet']));
}

// A key for an application, made by the team at the first tour and kept.
function ensureKey(stage, team, who) {
  const application = KEYS[who];
  const file = stage.file(`${who}.key`);
  const credential = `${application}/tour`;
  const stored = JSON.parse(daemunQuietly(stage, team, ['get', 'application', application, '--output', 'json']));
  const isThere = (stored.credentials ?? []).some(({ name }) => name === 'tour');
  if (isThere && fs.existsSync(file)) return;
  if (isThere) daemunQuietly(stage, team, ['delete', 'credential', credential, '--quiet']);
  keep(stage, `${who}.key`, daemunQuietly(stage, team, ['create', 'credential', credential, '--quiet']));
}

function keyOf(stage, who) {
  return fs.readFileSync(stage.file(`${who}.key`), 'utf8').trim();
}

// What daemun serve would show without a tour that writes it to a file for itself.
function tellMasterToken(stage) {
  say(`    the master token, made now and shown this once: ${bold(fs.readFileSync(stage.file('master.token'), 'utf8').trim())}`);
  say(dim(`    (Daemun keeps its digest only; the tour keeps a copy in ${stage.file('master.token')}, for your eyes alone)`));
}

async function start(stage) {
  const isFirst = !fs.existsSync(stage.file('master.token'));
  heading('Starting');
  for (const team of TEAMS) {
    await stage.startService(team);
    say(`    the ${team} team's service listens on ${stage.url(team)} ${dim(`(examples/${team}/service.mjs)`)}`);
  }
  await stage.startDaemun();
  say(`    daemun serve runs: gateway ${stage.url('gateway')}, API ${stage.url('api')}, data in ${stage.data}`);
  if (!fs.existsSync(stage.file('master.token')))
    throw new StageError(`${stage.file('master.token')} is not there, but the data directory is not new; remove ${stage.data} to begin anew`);
  if (isFirst) tellMasterToken(stage);
}

function makeTeams(stage) {
  step('The master opens the door to two teams');
  for (const team of TEAMS) {
    shellStep(stage, 'master', `daemun apply -f ${stage.sample(`${team}/grants.yaml`)}`);
    ensureTeamToken(stage, team);
  }
  why('Each team gets a tenant, its own domain, and the one place that its backends may reach. Each gets a token of its own.');
  step('Each team describes its API in a file and applies it itself');
  for (const team of TEAMS) {
    const result = shellStep(stage, team, `daemun apply -f ${stage.sample(`${team}/team.yaml`)}`);
    if (result.code !== 0) throw new StageError(`the ${team} team's file could not be applied`);
  }
  ensureKey(stage, 'orders', 'orders');
  ensureKey(stage, 'catalog', 'catalog');
  ensureKey(stage, 'catalog', 'visitor');
  why('Backends, products, versions, plans and applications live in one file per team. Keys are made by the platform, shown');
  why('once and kept as digests: `daemun create credential mobile/tour` made the one below.');
}

// --- the steps --------------------------------------------------------------------------------------------------------

async function doors(stage) {
  const key = keyOf(stage, 'orders');
  step('The right key');
  await callStep(stage, 'orders', '/orders', { 'X-API-Key': key }, { status: 200 },
    'The application `mobile` has this key and a plan of the product `orders`.');
  step('No key');
  await callStep(stage, 'orders', '/orders', {}, { status: 401, reason: 'auth_missing' },
    'The version asks for a key. Every refusal names its reason and a request id.');
  step('A wrong key');
  await callStep(stage, 'orders', '/orders', { 'X-API-Key': 'guessed' }, { status: 403, reason: 'auth_invalid' },
    'No application of this team has that key.');
  step("The other team's key");
  await callStep(stage, 'orders', '/orders', { 'X-API-Key': keyOf(stage, 'catalog') }, { status: 403, reason: 'auth_invalid' },
    'It opens the catalog, and here it is as good as none: teams share the gateway and nothing else.');
}

async function walls(stage) {
  const { orders, catalog } = stage.ports;
  const file = stage.sample('catalog/team.yaml');

  step("A team points its backend at the other team's service");
  const refused = shellStep(stage, 'catalog', `sed 's/port: ${catalog}/port: ${orders}/' ${file} | daemun apply -f -`, 3);
  check(refused.text.includes('/backends/0/endpoints/0'), 'the pointer to the endpoint');
  why('The master granted that address and port to the other team, not to this one. Nothing of the file was applied.');

  step('… and tries it again with a name that resolves there');
  shellStep(stage, 'catalog', `sed 's/127.0.0.1, port: ${catalog}/localhost, port: ${orders}/' ${file} | daemun apply -f -`);
  await callStep(stage, 'catalog', '/items', { 'X-API-Key': keyOf(stage, 'catalog') }, { status: 502, reason: 'egress_not_approved' },
    'Where a name leads is known when it is resolved: the gateway checks each address before it connects.');
  shellStep(stage, 'catalog', `daemun apply -f ${file}`);
  await callStep(stage, 'catalog', '/items?q=tea', { 'X-API-Key': keyOf(stage, 'catalog') }, { status: 200 },
    'The file as it was is live again, and so is the catalog.');
}

async function change(stage) {
  const headers = { 'X-API-Key': keyOf(stage, 'orders') };
  const file = stage.sample('orders/team.yaml');

  step('A change, live a moment later');
  await callStep(stage, 'orders', '/health', headers, { status: 404, reason: 'no_mapping_rule' },
    'What no mapping rule names can\'t be called.');
  const result = shellStep(stage, 'orders', `sed 's|/debug\\$|"/{page}$"|' ${file} | daemun apply -f -`);
  check(/live on (\d+) of \1 gateways? after \d+ ms/.test(result.text), '"live on n of n gateways after … ms"');
  await callStep(stage, 'orders', '/health', headers, { status: 200 },
    '`apply` returns when every gateway has the change; requests in hand were finished under the former one.');
}

async function limit(stage) {
  const headers = { 'X-API-Key': keyOf(stage, 'visitor') };
  step('A limit that is hit');
  command(`for i in $(seq 4); do ${curlOf(stage, 'catalog', '/items', headers)}; done`);
  let answer;
  const statuses = [];
  do {
    answer = await call(stage, 'catalog', '/items', headers);
    statuses.push(answer.status);
  } while (answer.status === 200 && statuses.length < LIMIT_CALLS_MAX);
  say('    ' + statuses.join(', '));
  showAnswer(answer);
  why('The plan `trial` allows three searches a minute; the next one is told when to come back, in the words that this team');
  why('chose for it (`errors: limit_exceeded` in its file). Nobody else notices.');
  check(answer.status === 429, `status 429, got ${answer.status}`);
  check(/^\d+$/.test(answer.headers['retry-after'] ?? ''), 'a Retry-After in seconds');
}

// --- the end ----------------------------------------------------------------------------------------------------------

function farewell(stage) {
  const isUsual = stage.ports.api === 9080;
  const daemun = quoted(stage.daemunPath.replace(process.cwd() + '/', ''));
  heading('Everything is up. Look around:');
  say(`    gateway      ${stage.url('gateway')}       http://orders.localhost:${stage.ports.gateway}, http://catalog.localhost:${stage.ports.gateway}`);
  say(`    API          ${stage.url('api')}       ${stage.url('api')}/api/v1/openapi.json`);
  say(`    metrics      ${stage.url('admin')}/metrics (gateway), ${stage.url('api')}/metrics (controller)`);
  say(`    data         ${stage.data}  ${dim('(remove it to begin anew; access logs are in log/)')}`);
  say();
  say('    Sign in as the master, or as a team:');
  say('    ' + `${daemun} login${isUsual ? '' : ` --server ${stage.url('api')}`} --token-stdin < ${quoted(stage.file('master.token'))}`);
  say('    ' + `${daemun} login${isUsual ? '' : ` --server ${stage.url('api')}`} --token-stdin < ${quoted(stage.file('orders.token'))}`);
  say('    then: daemun get products, daemun export, daemun status, daemun help');
  say();
  say('    Keys: orders ' + keyOf(stage, 'orders') + ', catalog ' + keyOf(stage, 'catalog'));
  say();
  say(bold('Ctrl-C stops everything.'));
}

async function takeTour(stage) {
  await start(stage);
  makeTeams(stage);
  await doors(stage);
  await walls(stage);
  await change(stage);
  await limit(stage);
  say();
  if (nFailed === 0) say(green(`The tour is over: ${nSteps} steps, all as they should be.`));
  else say(red(`The tour is over: ${nSteps} steps, ${nFailed} checks failed.`));
}

function readOptions(args) {
  const options = { isOnce: false, isAuto: false };
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--once') options.isOnce = true;
    else if (args[i] === '--ports' && args[i + 1] === 'auto') options.isAuto = ++i > 0;
    else throw new StageError(`unknown option '${args[i]}'; the options are --once and --ports auto`);
  }
  return options;
}

// Resolves at the first Ctrl-C or SIGTERM.
function signalled() {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, resolve);
  });
}

export async function main(args) {
  const interrupted = signalled();
  let stage;
  try {
    const options = readOptions(args);
    stage = await Stage.open(options);
    const tour = takeTour(stage).then(() => 'over');
    if ((await Promise.race([tour, interrupted])) === 'over' && !options.isOnce) {
      farewell(stage);
      await interrupted;
    }
    tour.catch(() => {}); // cut short by the stop below
  } catch (error) {
    nFailed += 1;
    console.error(red(`tour: ${error instanceof StageError ? error.message : error.stack}`));
  }
  if (stage !== undefined) {
    say();
    say('Stopping.');
    await stage.stop();
  }
  process.exit(nFailed === 0 ? 0 : 1);
}

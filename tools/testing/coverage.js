// Runs the tests and the fuzzers' kept inputs in the lane `coverage` and adds up which lines of src/http and src/io ran.
'use strict';
const fs = require('fs');
const path = require('path');
const os = require('os');
const { execFileSync } = require('child_process');
const lanes = require('./lane.js');
const { ROOT, run, tail } = require('./process.js');

const FOLDERS = ['src/http', 'src/io'];
const SUITES = ['http', 'io', 'gateway', 'wire'];
const MARK = 90; // percent of lines
const LLVM = '14';
const DIR = lanes.dir('coverage');
const RAW = path.join(DIR, 'profiles'); // tools/build says so to the programs; each process merges what it ran into its program's
const MERGED = path.join(DIR, 'merged.profdata');

// What it warns of are functions of one name in several tests.
const llvm = (tool, args) =>
  execFileSync(`${tool}-${LLVM}`, args, { cwd: ROOT, maxBuffer: 1 << 28, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

async function runTests() {
  const argv = ['meson', 'test', '-C', DIR, '--no-rebuild', '-t', '5', ...SUITES.flatMap((suite) => ['--suite', suite])];
  const result = await run('coverage-tests', argv, { limitS: 1800 });
  if (!result.isOk) throw new Error(`the tests: ${result.why}\n${tail(result.output, 40)}`);
}

function targets(folder) {
  const root = path.join(ROOT, folder) + path.sep;
  return lanes
    .introspect('coverage', 'targets')
    .filter((target) => target.type === 'executable' && target.defined_in.startsWith(root));
}

// Kept inputs once each; nothing new is looked for.
async function replay(target) {
  const corpus = path.join('fuzz/corpus', target.name.replace(/^fuzz_/, ''));
  const result = await run(`coverage-${target.name}`, [target.filename[0], '-runs=0', corpus]);
  if (!result.isOk) throw new Error(`${target.name}: ${result.why}\n${tail(result.output, 40)}`);
}

async function replayAll() {
  const rest = targets('fuzz');
  const work = async () => {
    for (let target; (target = rest.shift()); ) await replay(target);
  };
  await Promise.all(os.cpus().map(work));
}

function programs() {
  return [...targets('tests'), ...targets('fuzz')].map((target) => target.filename[0]);
}

const inFolders = (file) => FOLDERS.some((folder) => file.startsWith(path.join(ROOT, folder) + path.sep));

function measure() {
  const raw = fs.readdirSync(RAW).map((name) => path.join(RAW, name));
  llvm('llvm-profdata', ['merge', '-sparse', '-o', MERGED, ...raw]);
  const [first, ...others] = programs();
  const objects = others.flatMap((program) => ['-object', program]);
  const args = ['export', '-instr-profile', MERGED, '-skip-expansions', first, ...objects];
  const { files } = JSON.parse(llvm('llvm-cov', args)).data[0];
  for (const file of files) file.filename = path.resolve(file.filename);
  return files.filter((file) => inFolders(file.filename));
}

// Line numbers without a run, from the segments [line, column, count, hasCount, isRegionEntry, isGap].
function missedLines(file) {
  const lines = new Map(); // line → highest count of what begins or goes on there
  let open = null;
  for (const segment of file.segments) {
    const [line, , count, hasCount, , isGap] = segment;
    for (let at = open ? open.line + 1 : line; open && at < line; at++) lines.set(at, Math.max(lines.get(at) ?? 0, open.count));
    if (hasCount && !isGap) lines.set(line, Math.max(lines.get(line) ?? 0, count));
    open = hasCount && !isGap ? { line, count } : null;
  }
  return [...lines].filter(([, count]) => count === 0).map(([line]) => line).sort((a, b) => a - b);
}

const percent = (lines) => (lines.count ? (100 * lines.covered) / lines.count : 100);

function sayRow(name, lines) {
  console.log(`${percent(lines).toFixed(1).padStart(6)} %  ${String(lines.covered).padStart(6)} of ${String(lines.count).padStart(6)}  ${name}`);
}

function sum(files) {
  const add = (key) => files.reduce((n, file) => n + file.summary.lines[key], 0);
  return { count: add('count'), covered: add('covered') };
}

function sayMissed(files) {
  const text = files
    .map((file) => [file.filename, fs.readFileSync(file.filename, 'utf8').split('\n'), missedLines(file)])
    .flatMap(([name, source, missed]) => missed.map((line) => `${path.relative(ROOT, name)}:${line}: ${source[line - 1]}\n`))
    .join('');
  fs.writeFileSync(path.join(DIR, 'missed.txt'), text);
  process.stdout.write(`\n${text}`);
}

async function main(args) {
  fs.rmSync(RAW, { recursive: true, force: true });
  await runTests();
  await replayAll();
  const files = measure();
  const totals = FOLDERS.map((folder) => [folder, sum(files.filter((file) => file.filename.startsWith(path.join(ROOT, folder))))]);
  for (const file of files) sayRow(path.relative(ROOT, file.filename), file.summary.lines);
  if (args.includes('--lines')) sayMissed(files);
  console.log('');
  for (const [folder, lines] of totals) sayRow(folder, lines);
  return totals.every(([, lines]) => lines.count > 0 && percent(lines) >= MARK);
}

main(process.argv.slice(2)).then(
  (isGood) => process.exit(isGood ? 0 : 1),
  (e) => {
    console.error(`coverage: ${e.message}`);
    process.exit(1);
  }
);

// Suites of tests against real processes: folders of tests/ with *.test.mjs, run by Node's own test runner.
'use strict';
const fs = require('fs');
const path = require('path');
const lanes = require('./lane.js');
const { ROOT, LOGS, run, tail } = require('./process.js');

const LANES = { e2e: ['release', 'asan'] }; // others: release
const LIMIT_S = 600;

function testFiles(kind) {
  const dir = path.join('tests', kind);
  if (!fs.statSync(path.join(ROOT, dir)).isDirectory()) return [];
  return fs
    .readdirSync(path.join(ROOT, dir))
    .filter((file) => file.endsWith('.test.mjs'))
    .map((file) => path.join(dir, file));
}

// From the summary at the end of Node's TAP.
function countTap(tap) {
  const of = (word) => Number((new RegExp(`^# ${word} (\\d+)$`, 'm').exec(tap) || [])[1] || 0);
  return { passed: of('pass'), failed: of('fail') + of('cancelled'), skipped: of('skipped') + of('todo') };
}

// All that LeakSanitizer has to say of a process that a test killed while its leaks were looked for.
const WAS_KILLED = /^==\d+==Unable to get registers from thread \d+\.\n$/;

// What sanitizers wrote, of any process: [text, …].
function reportsIn(dir) {
  return fs
    .readdirSync(dir)
    .map((file) => [file, fs.readFileSync(path.join(dir, file), 'utf8')])
    .filter(([, text]) => !WAS_KILLED.test(text))
    .map(([file, text]) => `--- ${file}\n${tail(text, 80)}\n`);
}

async function runSuite(name, lane, files) {
  const error = await lanes.build(lane);
  if (error) return { passed: 0, failed: 1, skipped: 0, text: error };
  const reports = path.join(LOGS, `${name}.sanitizer`);
  const tap = path.join(LOGS, `${name}.tap`);
  fs.rmSync(reports, { recursive: true, force: true });
  fs.mkdirSync(reports, { recursive: true });
  fs.rmSync(tap, { force: true });

  const reporters = ['--test-reporter=spec', '--test-reporter-destination=stdout'];
  reporters.push('--test-reporter=tap', `--test-reporter-destination=${tap}`);
  const result = await run(name, [...lanes.prefix(lane), process.execPath, '--test', ...reporters, ...files], {
    limitS: LIMIT_S,
    env: { DAEMUN_BUILD: lanes.dir(lane), ...lanes.sanitizerEnv(lane, path.join(reports, 'report')) },
  });
  const total = { ...countTap(fs.existsSync(tap) ? fs.readFileSync(tap, 'utf8') : ''), text: '' };
  if (!result.isOk) {
    total.failed = Math.max(total.failed, 1);
    const summary = result.output.split(/^.*failing tests:$/m)[1];
    total.text = `${result.why}\n${tail(summary || result.output, 150)}\n`;
  }
  const found = reportsIn(reports);
  total.failed += found.length;
  total.text += found.join('');
  return total;
}

exports.suites = () =>
  fs
    .readdirSync(path.join(ROOT, 'tests'))
    .filter((kind) => testFiles(kind).length > 0)
    .flatMap((kind) =>
      (LANES[kind] || ['release']).map((lane) => {
        const name = lane === 'release' ? kind : `${kind}-${lane}`;
        return { name, lane, run: () => runSuite(name, lane, testFiles(kind)) };
      })
    );
exports.countTap = countTap;

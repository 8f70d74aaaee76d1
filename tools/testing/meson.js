// Suites of C tests, which meson knows and runs: one per folder of tests/ with a meson.build, in several lanes.
'use strict';
const fs = require('fs');
const path = require('path');
const lanes = require('./lane.js');
const { ROOT, run, tail } = require('./process.js');

// Which tests of a folder run under ThreadSanitizer: those of these suites.
const THREADED = /^(control|threads)/;

function suiteNames(test) {
  return test.suite.map((name) => name.replace(/^[^:]*:/, ''));
}

function isThreaded(test) {
  return suiteNames(test).some((name) => THREADED.test(name));
}

// The targets that the tests under ThreadSanitizer need.
function threadedTargets(lane) {
  const wanted = new Set(lanes.introspect(lane, 'tests').filter(isThreaded).flatMap((test) => test.depends));
  return lanes
    .introspect(lane, 'targets')
    .filter((target) => wanted.has(target.id))
    .flatMap((target) => target.filename.map((file) => path.relative(lanes.dir(lane), file)))
    .concat(wanted.size ? [] : ['build.ninja']);
}

// { passed, failed, skipped } of one test program: its own tests when it speaks cmocka's language or TAP, else 1.
function countTests(record) {
  const output = `${record.stdout || ''}\n${record.stderr || ''}`;
  const count = (pattern) => (output.match(pattern) || []).length;
  const sum = (pattern) => [...output.matchAll(pattern)].reduce((n, match) => n + Number(match[1]), 0);
  const passed = count(/^\[ +OK +\]/gm) + count(/^ok \d+(?!.*# *skip)/gim);
  const failed = sum(/^\[ +FAILED +\] (\d+) test/gm) + count(/^not ok \d+/gm);
  const skipped = sum(/^\[ +SKIPPED +\] (\d+) test/gm) + count(/^ok \d+.*# *skip/gim);
  if (record.result === 'SKIP') return { passed: 0, failed: 0, skipped: 1 };
  if (record.result === 'OK' || record.result === 'EXPECTEDFAIL')
    return { passed: Math.max(passed, skipped ? 0 : 1), failed: 0, skipped };
  return { passed, failed: Math.max(failed, 1), skipped }; // a crash has no summary
}

function describeFailure(record) {
  const output = [record.stdout, record.stderr].filter(Boolean).join('\n');
  return `--- ${record.name}: ${record.result}, status ${record.returncode}\n    ${record.command.join(' ')}\n${tail(output, 120)}\n`;
}

function readRecords(lane, logBase) {
  const log = path.join(lanes.dir(lane), 'meson-logs', `${logBase}.json`);
  if (!fs.existsSync(log)) return [];
  return fs.readFileSync(log, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

function addUp(records) {
  const total = { passed: 0, failed: 0, skipped: 0, text: '' };
  for (const record of records) {
    const counts = countTests(record);
    total.passed += counts.passed;
    total.failed += counts.failed;
    total.skipped += counts.skipped;
    if (counts.failed > 0) total.text += describeFailure(record);
  }
  return total;
}

async function runSuite(name, lane, kind) {
  const error = await lanes.build(lane, lane === 'tsan' ? threadedTargets : undefined);
  if (error) return { passed: 0, failed: 1, skipped: 0, text: error };
  const tests = lanes
    .introspect(lane, 'tests')
    .filter((test) => suiteNames(test).includes(kind) && (lane !== 'tsan' || isThreaded(test)));
  if (tests.length === 0) return { passed: 0, failed: 0, skipped: 0, text: '' };

  fs.rmSync(path.join(lanes.dir(lane), 'meson-logs', `${name}.json`), { force: true });
  const scale = lane === 'release' ? '1' : '5';
  const argv = ['meson', 'test', '-C', lanes.dir(lane), '--no-rebuild', '--logbase', name, '-t', scale];
  const result = await run(name, [...lanes.prefix(lane), ...argv, ...tests.map((test) => test.name)], {
    env: lanes.sanitizerEnv(lane),
  });
  const total = addUp(readRecords(lane, name));
  if (!result.isOk && total.failed === 0) {
    total.failed = 1;
    total.text = `${result.why}\n${tail(result.output, 60)}`;
  }
  return total;
}

// A folder of tests declares them itself or has folders of its own that do; one that is only linked to by others does not.
function hasTests(kind) {
  const build = path.join(ROOT, 'tests', kind, 'meson.build');
  return fs.existsSync(build) && /\b(test|subdir)\s*\(/.test(fs.readFileSync(build, 'utf8'));
}

exports.suites = () =>
  fs
    .readdirSync(path.join(ROOT, 'tests'))
    .filter(hasTests)
    .flatMap((kind) =>
      ['release', 'asan', 'tsan'].map((lane) => {
        const name = lane === 'release' ? kind : `${kind}-${lane}`;
        return { name, lane, run: () => runSuite(name, lane, kind) };
      })
    );
exports.countTests = countTests;

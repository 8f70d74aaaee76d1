// Finds the suites, runs them one after the other, prints a line for each and the sum at the end.
'use strict';
const lint = require('./lint.js');
const meson = require('./meson.js');
const node = require('./node.js');
const fuzz = require('./fuzz.js');

// The cheap and the telling first; suites of one lane together.
const LANE_ORDER = [undefined, 'release', 'asan', 'tsan', 'fuzz'];

function findSuites() {
  const found = [...lint.suites(), ...meson.suites(), ...node.suites(), ...fuzz.suites()];
  return found.sort((a, b) => LANE_ORDER.indexOf(a.lane) - LANE_ORDER.indexOf(b.lane)); // stable
}

function matches(pattern, name) {
  const parts = pattern.split('*').map((part) => part.replace(/[^\w]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(name);
}

function select(suites, patterns) {
  const unknown = patterns.filter((pattern) => !suites.some((suite) => matches(pattern, suite.name)));
  if (unknown.length) {
    console.error(`tests/run: there is no suite ${unknown.join(', ')}; there are ${suites.map((s) => s.name).join(' ')}`);
    process.exit(2);
  }
  return patterns.length ? suites.filter((s) => patterns.some((pattern) => matches(pattern, s.name))) : suites;
}

function say(suite, result, seconds) {
  const word = result.failed ? 'FAILED' : 'ok';
  const counts = [`${result.passed} passed`];
  if (result.failed) counts.push(`${result.failed} failed`);
  if (result.skipped) counts.push(`${result.skipped} skipped`);
  console.log(`${word.padEnd(7)} ${suite.name.padEnd(14)} ${seconds.toFixed(1).padStart(6)} s   ${counts.join(', ')}`);
  if (result.text) console.log(result.text.replace(/^/gm, '        ').trimEnd());
}

async function runOne(suite) {
  const start = Date.now();
  if (process.stdout.isTTY) process.stdout.write(`…       ${suite.name}\r`);
  let result;
  try {
    result = await suite.run();
  } catch (e) {
    result = { passed: 0, failed: 1, skipped: 0, text: e.stack };
  }
  if (result.passed + result.failed + result.skipped > 0) say(suite, result, (Date.now() - start) / 1000);
  return result;
}

async function main(args) {
  const suites = findSuites();
  if (args[0] === '--list') {
    console.log(suites.map((suite) => suite.name).join('\n'));
    return true;
  }
  const start = Date.now();
  let passed = 0;
  let failed = 0;
  for (const suite of select(suites, args)) {
    const result = await runOne(suite);
    passed += result.passed;
    failed += result.failed;
  }
  console.log(`${((Date.now() - start) / 1000).toFixed(0)} s in all; logs are in build/logs`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0;
}

main(process.argv.slice(2)).then((isGood) => process.exit(isGood ? 0 : 1));

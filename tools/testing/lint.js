// The suite `lint`: what must hold for the text of the tree. (`make lint` checks more, with more packages.)
'use strict';
const { run, tail } = require('./process.js');

const CHECKS = [
  ['tools/check-deps'],
  ['tools/check-deps', '--self-test'],
  ['tools/report-size', '--quiet'],
  ['tools/report-size', '--self-test'],
  ['tools/testing/self-test.js'],
  ['tools/check-scripts'],
];

async function runChecks() {
  const result = { passed: 0, failed: 0, skipped: 0, text: '' };
  for (const argv of CHECKS) {
    const { isOk, why, output } = await run('lint', argv);
    if (isOk) result.passed++;
    else {
      result.failed++;
      result.text += `${argv.join(' ')}: ${why}\n${tail(output, 100)}\n`;
    }
  }
  return result;
}

exports.suites = () => [{ name: 'lint', run: runChecks }];

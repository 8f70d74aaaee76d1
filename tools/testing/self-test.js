#!/usr/bin/env node
// What the runner counts, on outputs that real runs gave; and that the setup says what it was given wrong.
'use strict';
const assert = require('assert');
const { spawnSync } = require('child_process');
const path = require('path');
const { countTests } = require('./meson.js');
const { countTap } = require('./node.js');

const counts = (passed, failed, skipped) => ({ passed, failed, skipped });
const cmocka =
  '[==========] Running 3 test(s).\n[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n[       OK ] b\n' +
  '[ RUN      ] c\n[  ERROR   ] --- 0x1 != 0\n[  FAILED  ] c\n[==========] 3 test(s) run.\n' +
  '[  PASSED  ] 2 test(s).\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] c\n\n 1 FAILED TEST(S)\n';

assert.deepStrictEqual(countTests({ result: 'FAIL', stderr: cmocka }), counts(2, 1, 0));
assert.deepStrictEqual(countTests({ result: 'OK', stderr: '[       OK ] a\n[       OK ] b\n' }), counts(2, 0, 0));
assert.deepStrictEqual(countTests({ result: 'FAIL', stderr: '[       OK ] a\nSIGSEGV\n' }), counts(1, 1, 0));
assert.deepStrictEqual(countTests({ result: 'TIMEOUT', stdout: '' }), counts(0, 1, 0));
assert.deepStrictEqual(countTests({ result: 'OK', stdout: 'fine\n' }), counts(1, 0, 0));
assert.deepStrictEqual(countTests({ result: 'SKIP' }), counts(0, 0, 1));
assert.deepStrictEqual(
  countTests({ result: 'FAIL', stdout: '1..3\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP none here\n' }),
  counts(1, 1, 1)
);
assert.deepStrictEqual(
  countTap('TAP version 13\nok 1 - a\n# tests 9\n# suites 1\n# pass 5\n# fail 1\n# cancelled 1\n# skipped 2\n# todo 0\n'),
  counts(5, 2, 2)
);
assert.deepStrictEqual(countTap(''), counts(0, 0, 0));

const setup = spawnSync(path.join(__dirname, '../setup'), ['run', 'nope'], { encoding: 'utf8' });
assert.notStrictEqual(setup.status, 0);
assert.strictEqual(setup.stderr, 'setup: there is no list tools/packages/nope.txt\n');
console.log('testing: self-test as expected');

// From rounds to rows and goals: bench/lib/isolation.mjs, goals.mjs and report.mjs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judge } from '../../bench/lib/goals.mjs';
import { errorRow, isolationTable, ratioRow, rivalRow } from '../../bench/lib/isolation.mjs';
import { render } from '../../bench/lib/report.mjs';

const result = (p50, p99, more = {}) => ({
  latency_us: { p50, p99 },
  delay_us: { p99: 5 },
  ...{ asked: 100, answered: 100, refused: 0, failed: 0, late: 0 },
  ...more,
});
const round = (alone, flood, more) => ({ alone: result(alone, 10 * alone), flood: result(flood, 10 * flood, more) });

test('a ratio is taken within each round, and then the median of the rounds', () => {
  const row = ratioRow('x', [round(100, 110), round(1000, 1500), round(10, 12)], 'p50', 'flood', 'alone');
  assert.equal(row.value, 1.2); // of 1.1, 1.5, 1.2; the ratio of the medians is 1.1
  assert.deepEqual([row.interval.low, row.interval.high], [1.1, 1.5]);
});

test('rivals are compared in the rounds in which both took part', () => {
  const ours = [round(1, 10), round(1, 20), round(1, 30)];
  const theirs = [round(1, 100), undefined, round(1, 100)];
  const row = rivalRow('x', ours, theirs, 'p99', 'flood');
  assert.equal(row.spread.rounds, 2);
  assert.ok(Math.abs(row.value - 0.2) < 1e-9);
});

test('disturbed rounds are said', () => {
  const rounds = [round(1, 1, { isDisturbed: true }), round(1, 1), round(1, 1)];
  assert.equal(ratioRow('x', rounds, 'p50', 'flood', 'alone').disturbed, 1);
});

test('errors are all that was asked and not answered in time, of all rounds', () => {
  const rounds = [round(1, 1, { answered: 97, refused: 2, late: 1 }), undefined, round(1, 1, { answered: 99, failed: 1 })];
  const row = errorRow('x', rounds, ['flood']);
  assert.equal(row.value, 4);
  assert.equal(row.note, 'of 200: 2 refused, 1 failed, 1 late');
});

test('goals: at most, at least, and what was not measured is not kept', () => {
  const goals = [
    { name: 'a', unit: 'ratio', goal: 1.3 },
    { name: 'b', unit: 'ratio', goal: 0.99, isLeast: true },
    { name: 'c', unit: 'ratio', goal: 1 },
  ];
  const judged = judge(new Map([['a', { value: 1.3 }], ['b', { value: 0.98 }]]), goals);
  assert.deepEqual(judged.map(({ ok }) => ok), [true, false, false]);
  assert.equal(judged[2].value, null);
});

test('the page names victim and aggressor with the times of each system, and says when a goal is kept or missed by chance', () => {
  const all = new Map([
    ['daemun', [round(100, 110), round(100, 120), round(100, 130)]],
    ['nginx', [round(100, 900)]],
  ]);
  for (const rounds of all.values()) for (const one of rounds) one.flood.attack = { rate: 5, about: '5/s' };
  const contestants = [{ name: 'daemun', title: 'daemun' }, { name: 'nginx', title: 'nginx' }];
  const table = isolationTable('Flood', 'Victim: V. Aggressor: A.', contestants, [{ name: 'alone' }, { name: 'flood' }], all);
  const measured = new Map([['x', ratioRow('x', all.get('daemun'), 'p50', 'flood', 'alone')], ['y', { value: 0 }]]);
  const goals = judge(measured, [{ name: 'x', unit: 'ratio', goal: 1.25 }, { name: 'y', unit: 'requests', goal: 0 }]);
  const machine = { cpu: 'c', cores: 2, memory: 'm', system: 's', kernel: 'k' };
  const text = render({ goals, measured, others: [], tables: [table], turns: [], machine, versions: {}, date: 'd' });
  assert.match(text, /^Victim: V\. Aggressor: A\. Times are medians/m);
  assert.match(text, /\| victim p50 µs \| +its interval +\| to alone \| victim p99 µs \|/);
  assert.match(text, /^\| daemun +\| flood +\| 120 +\| 110–130 \(75%\) +\| 1\.20 +\| 1200 /m);
  assert.match(text, /^\| nginx +\| flood +\| 900 +\| one round +\| 9\.00 +\| 9000 .*\| 5\/s +\| 1 +\|$/m);
  assert.match(text, /^\| x .*\| barely kept +\|/m);
  assert.match(text, /^\| y .*\| kept +\|/m);
});

// Order statistics and intervals of bench/lib/stats.mjs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jain, lossOf, median, medianInterval, percentile, quantile, summary } from '../../bench/lib/stats.mjs';

const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);
const choose = (n, k) => (k === 0 ? 1 : (choose(n, k - 1) * (n - k + 1)) / k);

// The same numbers each time, between 0 and 1 (mulberry32).
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// How probable it is that the median lies between the k-th smallest and the k-th largest of n: not fewer than k of n tosses fall on
// either side.
function coverage(n, k) {
  let outside = 0;
  for (let i = 0; i < k; i++) outside += choose(n, i) / 2 ** n;
  return 1 - 2 * outside;
}

test('quantiles interpolate between neighbours, whatever the order', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(quantile([10, 20], 0.25), 12.5);
  assert.equal(quantile([7], 0.9), 7);
  assert.ok(Number.isNaN(median([])));
  const values = [5, 1, 3];
  median(values);
  assert.deepEqual(values, [5, 1, 3], 'left as they are');
});

test('percentiles are values that occurred', () => {
  assert.equal(percentile(upTo(100), 0.99), 99);
  assert.equal(percentile(upTo(1000), 0.99), 990);
  assert.equal(percentile(upTo(10), 0.99), 10);
  assert.equal(percentile(upTo(3), 1), 3);
});

test('a summary has the middle half and the ends', () => {
  assert.deepEqual(summary(upTo(9)), { rounds: 9, median: 5, low: 3, high: 7, min: 1, max: 9 });
});

test('Jain’s index', () => {
  assert.equal(jain([5, 5, 5, 5]), 1);
  assert.equal(jain([8, 0, 0, 0]), 0.25);
  assert.equal(jain([2, 1]), 0.9);
  assert.equal(jain([0, 0]), 0);
});

test('who needs a quarter more for each request of a full core loses a fifth of them', () => {
  assert.ok(Math.abs(lossOf(1.25) - 0.2) < 1e-12);
  assert.equal(lossOf(1), 0);
  assert.ok(lossOf(0.98) < 0, 'or gains');
});

test('the interval of a median is the narrowest of its kind with 95 %', () => {
  for (let n = 6; n <= 60; n++) {
    const { low, high, confidence } = medianInterval(upTo(n));
    assert.equal(low + high, n + 1, 'as far from both ends');
    assert.ok(Math.abs(confidence - coverage(n, low)) < 1e-9, `${n}: ${confidence}, ${coverage(n, low)}`);
    assert.ok(confidence >= 0.95, `${n}: ${confidence}`);
    if (low + 1 <= high - 1) assert.ok(coverage(n, low + 1) < 0.95, `${n}: a narrower one would do`);
  }
  assert.deepEqual([medianInterval(upTo(9)).low, medianInterval(upTo(9)).high], [2, 8]);
});

test('with too few values it is all of them, and says what that is worth', () => {
  for (const [n, confidence] of [[1, 0], [2, 0.5], [3, 0.75], [4, 0.875], [5, 0.9375]])
    assert.deepEqual(medianInterval(upTo(n)), { low: 1, high: n, confidence });
});

test('it holds the median as often as it says, of skewed and heavy tails too', () => {
  const draws = [
    { of: (u) => u, median: 0.5 },
    { of: (u) => -Math.log(1 - u), median: Math.log(2) },
    { of: (u) => (1 - u) ** -1.5, median: 2 ** 1.5 }, // no mean worth the name
  ];
  const TRIALS = 4000;
  for (const [seed, { of, median: truth }] of draws.entries()) {
    const random = randomFrom(seed + 1);
    let held = 0;
    let said = 0;
    for (let i = 0; i < TRIALS; i++) {
      const { low, high, confidence } = medianInterval(Array.from({ length: 9 }, () => of(random())));
      held += low <= truth && truth <= high;
      said = confidence;
    }
    assert.ok(Math.abs(held / TRIALS - said) < 0.01, `${held} of ${TRIALS}, said ${said}`); // three standard deviations
  }
});

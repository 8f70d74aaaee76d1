// The histogram of the load generators (bench/histogram.c): its quantiles are the exact ones to 1/64 of their value, and never below.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const BENCH = fileURLToPath(new URL('../../bench/', import.meta.url));
const SHARES = [0, 0.01, 0.5, 0.9, 0.99, 0.999, 1];

const DRIVER = `
#include "histogram.h"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    static struct dm_histogram histogram;
    unsigned long long ns;
    while (scanf("%llu", &ns) == 1)
        dm_histogram_add(&histogram, ns);
    for (int i = 1; i < argc; i++)
        printf("%llu\\n", (unsigned long long)dm_histogram_at(&histogram, atof(argv[i])));
    printf("%llu %llu\\n", (unsigned long long)histogram.total, (unsigned long long)histogram.max_ns);
    return 0;
}
`;

let directory;

before(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'dm-histogram-'));
  fs.writeFileSync(path.join(directory, 'driver.c'), DRIVER);
  const sources = [path.join(directory, 'driver.c'), path.join(BENCH, 'histogram.c')];
  execFileSync('cc', ['-std=gnu11', '-Wall', '-Werror', `-I${BENCH}`, '-o', path.join(directory, 'driver'), ...sources]);
});

after(() => fs.rmSync(directory, { recursive: true, force: true }));

function run(values) {
  const input = values.join('\n');
  const lines = execFileSync(path.join(directory, 'driver'), SHARES.map(String), { input, encoding: 'utf8' }).trim().split('\n');
  const [total, max] = lines.pop().split(' ').map(Number);
  return { at: lines.map(Number), total, max };
}

// The value that the share of all lies below, or the largest.
function belowWhich(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(values.length * share))];
}

const kinds = {
  'small whole numbers': Array.from({ length: 1000 }, (_, i) => (i * 7919) % 1000),
  'times of requests': Array.from({ length: 5000 }, (_, i) => Math.round(200000 * (1 - ((i * 7919) % 5000) / 5000) ** -0.7)),
  'one value': [123456789],
  'far apart': [1, 10, 1e3, 1e6, 1e9, 1e12],
};

for (const [name, values] of Object.entries(kinds))
  test(`quantiles of ${name}`, () => {
    const { at, total, max } = run(values);
    assert.equal(total, values.length);
    assert.equal(max, Math.max(...values));
    for (const [i, share] of SHARES.entries()) {
      const exact = belowWhich(values, share);
      assert.ok(at[i] >= exact && at[i] - exact <= exact / 64, `${share}: ${at[i]}, exactly ${exact}`);
    }
  });

test('an empty one says nothing', () => {
  const { at, total } = run([]);
  assert.equal(total, 0);
  assert.ok(at.every((value) => value === 0));
});

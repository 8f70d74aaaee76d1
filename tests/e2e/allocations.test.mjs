// In steady state a worker asks nothing of the system's allocator: counted by a library that stands in its way.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { RawClient } from './lib/http.mjs';
import { hasSanitizer, makeDirectory } from './lib/process.mjs';
import { suite, test } from './lib/testing.mjs';
import { domainOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { World } from './lib/world.mjs';

const ROUNDS = 400;
const CONNECTIONS = 4;

function buildCounter(directory) {
  const library = path.join(directory, 'count.so');
  const source = fileURLToPath(new URL('lib/count_allocations.c', import.meta.url));
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source]);
  return library;
}

suite('allocations', () => {
  closeUpstreamsAfter();

  test(
    'requests on kept connections: zero calls of malloc, realloc and free',
    { skip: hasSanitizer() && 'it counts itself' },
    async () => {
      const directory = makeDirectory();
      const env = { LD_PRELOAD: buildCounter(directory), COUNT_ALLOCATIONS: directory };
      const world = await World.start({ workers: 1, gatewayOptions: { env } });
      const upstream = await startUpstream({
        respond: (request, response, seen) => response.end(`answer ${seen.body}`),
      });
      const file = teamFile('steady', upstream.port, {
        plan: {
          limits: [{ metric: 'hits', period: 'eternity', value: 1e9 }],
          rate_limits: [{ metric: 'hits', rate: 1e9 }],
        },
      });
      file.products[0].versions[0].policies.push({
        type: 'headers',
        request: [{ op: 'set', name: 'X-Team', value: 'steady' }],
        response: [{ op: 'set', name: 'X-Out', value: 'yes' }],
      });
      await world.api.apply(file);

      const [worker] = world.gateway.pids().workers;
      const counted = () => fs.readFileSync(path.join(directory, String(worker))).readBigUInt64LE();
      const head = (method, target, key, more = '') =>
        `${method} ${target} HTTP/1.1\r\nHost: ${domainOf('steady')}\r\nX-API-Key: ${key}\r\n${more}\r\n`;
      const kinds = [
        [head('GET', '/things/7?a=b', keyOf('steady')), 200],
        [head('POST', '/things', keyOf('steady'), 'Content-Length: 11\r\n') + 'hello world', 200],
        [head('POST', '/things', keyOf('steady'), 'Transfer-Encoding: chunked\r\n') + '5\r\nhello\r\n0\r\n\r\n', 200],
        [head('GET', '/things', 'wrong'), 403],
      ];
      const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => RawClient.open(world.gateway.port)));
      const rounds = (n) =>
        Promise.all(
          clients.map(async (client) => {
            for (let i = 0; i < n; i++)
              for (const [text, status] of kinds) {
                await client.send(text);
                assert.equal((await client.response()).status, status);
              }
          })
        );
      await rounds(ROUNDS);
      const before = counted();
      assert.ok(before > 0n, 'the counter counts');
      await rounds(ROUNDS);
      const calls = Number(counted() - before);
      assert.equal(calls, 0, `${calls} calls over ${ROUNDS * CONNECTIONS * kinds.length} requests`);
      for (const client of clients) client.close();
    }
  );
});

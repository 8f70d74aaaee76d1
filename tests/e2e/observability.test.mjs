// What docs/ says that can be read of a gateway is what it tells: every metric by name, type and meaning, and what its labels may be.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchText } from './lib/http.mjs';
import { before, suite, test } from './lib/testing.mjs';
import { domainOf, keyOf, teamFile } from './lib/team.mjs';
import { closeUpstreamsAfter, startUpstream } from './lib/upstream.mjs';
import { until } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (name) => fs.readFileSync(path.join(root, name), 'utf8');
const pages = ['README.md', 'ARCHITECTURE.md'].concat(
  fs.readdirSync(path.join(root, 'docs'), { recursive: true }).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)
);

// {name: {type, help}} of a table of docs/observability.md.
function documented() {
  const rows = read('docs/observability.md').matchAll(/^\| `(daemun_\w+)(?:\{[\w,]+\})?` \| (\w+) \| (.*) \|$/gm);
  return Object.fromEntries([...rows].map(([, name, type, help]) => [name, { type, help }]));
}

// The same of what a gateway says.
function told(text) {
  const found = {};
  for (const [, name, help] of text.matchAll(/^# HELP (\w+) (.*)$/gm)) found[name] = { help };
  for (const [, name, type] of text.matchAll(/^# TYPE (\w+) (.*)$/gm)) found[name] = { type, help: found[name].help };
  return found;
}

// The values of a label, of all samples of a metric.
const valuesOf = (text, name, label) =>
  new Set([...text.matchAll(new RegExp(`^${name}\\{[^}]*\\b${label}="([^"]*)"`, 'gm'))].map(([, value]) => value));

suite('observability', () => {
  closeUpstreamsAfter();
  let world, text;

  before(async () => {
    const upstream = await startUpstream();
    world = await World.start({ workers: 1 });
    await world.api.apply(teamFile('alpha', upstream.port));
    const headers = { host: domainOf('alpha'), 'x-api-key': keyOf('alpha') };
    assert.equal((await fetchText(`http://127.0.0.1:${world.gateway.port}/`, { headers })).status, 200);
    await until('all of it', async () => {
      text = (await world.gateway.get('/metrics')).text;
      return text.includes('\ndaemun_link_silent_seconds ') && text.includes('\ndaemun_requests_total{');
    });
  });

  test('every metric stands in the docs as it is told', () => {
    assert.deepEqual(told(text), documented());
  });

  test('every metric that a page names is told', () => {
    const names = Object.keys(told(text));
    for (const page of pages)
      for (const [name] of read(page).matchAll(/\bdaemun_[a-z0-9_]*[a-z0-9]\b(?!_?[*…])/g))
        assert.ok(names.includes(name), `${page}: ${name}`);
  });

  test('what ends connections of HTTP/2, and what else a listener refuses, is counted by the names in the docs', () => {
    for (const [name, label] of [
      ['daemun_listener_refused_total', 'reason'],
      ['daemun_listener_timeouts_total', 'what'],
      ['daemun_listener_http2_refused_total', 'reason'],
    ]) {
      const row = read('docs/reference/listeners.md').match(new RegExp(`^\\| \`${name}\\{${label}\\}\` \\| (.*) \\|$`, 'm'))[1];
      const words = new Set([...row.matchAll(/`(\w+)`/g)].map(([, word]) => word).filter((word) => word !== 'streams'));
      assert.deepEqual([...words].sort(), [...valuesOf(text, name, label)].sort(), name);
    }
  });
});

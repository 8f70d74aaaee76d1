// The suite `fuzz`: each libFuzzer target replays its kept corpus, then explores for a few seconds.
'use strict';
const fs = require('fs');
const os = require('os');
const path = require('path');
const lanes = require('./lane.js');
const { ROOT, run, tail } = require('./process.js');

const SECONDS = Number(process.env.FUZZ_SECONDS || 5);

function fuzzTargets() {
  const folder = path.join(ROOT, 'fuzz') + path.sep;
  return lanes
    .introspect('fuzz', 'targets')
    .filter((target) => target.type === 'executable' && target.defined_in.startsWith(folder));
}

function fuzzPrograms() {
  const files = fuzzTargets().map((target) => path.relative(lanes.dir('fuzz'), target.filename[0]));
  return files.length ? files : ['build.ninja'];
}

// Returns '' when the target held, else what happened. The kept corpus is read only: what is found goes to build/.
async function runTarget(target) {
  const subject = target.name.replace(/^fuzz_/, '');
  const corpus = path.join('fuzz/corpus', subject);
  if (!fs.existsSync(path.join(ROOT, corpus))) return `--- ${target.name}: there is no corpus ${corpus}\n`;
  const found = path.join('build/fuzz-found', subject);
  const crashes = path.join('build/fuzz-crashes', subject);
  for (const dir of [found, crashes]) fs.mkdirSync(path.join(ROOT, dir), { recursive: true });
  const dictionary = `fuzz/${subject}.dict`;
  const argv = [target.filename[0], `-max_total_time=${SECONDS}`, '-timeout=10', '-rss_limit_mb=2048'];
  argv.push(`-artifact_prefix=${crashes}/`);
  if (fs.existsSync(path.join(ROOT, dictionary))) argv.push(`-dict=${dictionary}`);
  const result = await run(`fuzz-${subject}`, [...lanes.prefix('fuzz'), ...argv, found, corpus], {
    env: lanes.sanitizerEnv('asan'),
    limitS: SECONDS + 120,
  });
  return result.isOk ? '' : `--- ${target.name}: ${result.why}; the input is in ${crashes}/\n${tail(result.output, 80)}\n`;
}

async function runTargets() {
  const error = await lanes.build('fuzz', fuzzPrograms);
  if (error) return { passed: 0, failed: 1, skipped: 0, text: error };
  const total = { passed: 0, failed: 0, skipped: 0, text: '' };
  const rest = fuzzTargets();
  const work = async () => {
    for (let target; (target = rest.shift()); ) {
      const text = await runTarget(target);
      total[text ? 'failed' : 'passed']++;
      total.text += text;
    }
  };
  await Promise.all(os.cpus().map(work));
  return total;
}

exports.suites = () =>
  fs.existsSync(path.join(ROOT, 'fuzz/meson.build')) ? [{ name: 'fuzz', lane: 'fuzz', run: runTargets }] : [];

// Lanes: ways to build the tree, each in build/LANE, made by tools/build.
'use strict';
const fs = require('fs');
const path = require('path');
const { execFileSync } = require('child_process');
const { ROOT, run, tail, sanitizerPrefix } = require('./process.js');

// clang's sanitizers would look for llvm-symbolizer alone.
const ADDR2LINE = '/usr/bin/addr2line';
const SYMBOLIZER = fs.existsSync(ADDR2LINE) ? `:external_symbolizer_path=${ADDR2LINE}` : '';

const built = new Map(); // "lane targets" -> promise of an error text, '' when built

// What the sanitizers of a lane read. Reports of any process go to `logPath` when it is given, else to stderr.
function sanitizerEnv(lane, logPath) {
  const to = SYMBOLIZER + (logPath ? `:log_path=${logPath}` : '');
  if (lane === 'asan')
    return {
      ASAN_OPTIONS: `detect_stack_use_after_return=1:strict_string_checks=1:print_legend=0${to}`,
      UBSAN_OPTIONS: `print_stacktrace=1:halt_on_error=1${to}`,
    };
  if (lane === 'tsan') return { TSAN_OPTIONS: `second_deadlock_stack=1:halt_on_error=1${to}` };
  return {};
}

function prefix(lane) {
  return lane === 'release' ? [] : sanitizerPrefix();
}

function dir(lane) {
  return path.join(ROOT, 'build', lane);
}

async function runBuild(lane, args) {
  const result = await run(`build-${lane}`, ['tools/build', lane, ...args], { limitS: 900 });
  // from the first failed step on, without the steps that went well
  const complaints = result.output.replace(/^[^]*?^(?=FAILED: )/m, '').replace(/^\[\d+\/\d+\] .*\n/gm, '');
  return result.isOk ? '' : `build/${lane}: ${result.why}\n${tail(complaints, 60)}`;
}

// Builds once per lane and choice. The release lane gets the tests in place. `pick(lane)` names the ninja targets,
// after the lane is configured; without it everything is built. Resolves to an error text, '' when built.
function build(lane, pick) {
  const key = `${lane} ${pick ? pick.name : ''}`;
  const isAgain = built.has(key);
  if (!isAgain) built.set(key, buildNow(lane, pick));
  return built.get(key).then((error) => (error && isAgain ? `build/${lane} did not build, see above` : error));
}

async function buildNow(lane, pick) {
  const args = lane === 'release' ? ['--with', 'tests'] : [];
  if (!pick) return runBuild(lane, args);
  return (await runBuild(lane, [...args, 'build.ninja'])) || runBuild(lane, [...args, ...pick(lane)]);
}

// `meson introspect --WHAT` of a configured lane.
function introspect(lane, what) {
  return JSON.parse(execFileSync('meson', ['introspect', `--${what}`, dir(lane)], { maxBuffer: 1 << 28 }));
}

module.exports = { build, dir, introspect, prefix, sanitizerEnv };

// node:test, with the logs of the programs under test in the report of a failure.
import dns from 'node:dns';
import * as runner from 'node:test';
import { cleanUp, recentLogs } from './process.mjs';

// What is under test listens on 127.0.0.1, and Node 18 tries one address of localhost only.
dns.setDefaultResultOrder('ipv4first');

export { after, before } from 'node:test';

// For `skip`: servers of HTTP/2 that say GOAWAY.
export const cutsWhatIsInHand =
  Number(process.versions.node.split('.')[0]) < 20 && 'Node 18 cuts responses under way when it says GOAWAY';

// A test file is one suite. What it started ends with it.
export function suite(name, body) {
  runner.describe(name, { timeout: 540000 }, () => {
    runner.after(cleanUp);
    body();
  });
}

// Tests that have nothing to do with each other, some at a time.
export function together(name, body) {
  runner.describe(name, { concurrency: 8 }, body);
}

export function test(name, options, body) {
  if (typeof options === 'function') [options, body] = [{}, options];
  runner.test(name, options, async (t) => {
    try {
      await body(t);
    } catch (error) {
      console.error(`${name}: ${error.message}\n${recentLogs()}`);
      throw error;
    }
  });
}

// Waiting for what other processes do: ask again until it is so, with a deadline that only a hanging test reaches.
import { setTimeout as delay } from 'node:timers/promises';

export const DEADLINE_MS = 60000;
const ASK_EVERY_MS = 15;

// What `check` of until() throws when waiting on is in vain.
export class Hopeless extends Error {}

// Resolves with the first truthy value of `check`; an exception of it counts as "not yet" and is told at the deadline.
export async function until(what, check, deadlineMs = DEADLINE_MS) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    let reason = 'it never was';
    try {
      const value = await check();
      if (value) return value;
    } catch (error) {
      if (error instanceof Hopeless) throw error;
      reason = error.message;
    }
    if (Date.now() > end) throw new Error(`waited in vain for ${what}: ${reason}`);
    await delay(ASK_EVERY_MS);
  }
}

// A promise with its functions outside, for events of servers and sockets.
export function deferred() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

// The promise, or an error that names it after the deadline.
export async function within(what, promise, deadlineMs = DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), deadlineMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

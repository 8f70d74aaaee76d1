// A client that asks and asks, so that a test sees whether others lose anything by what it does.
import assert from 'node:assert/strict';
import { until } from './wait.mjs';

export class Polite {
  // ask() is one request with its answer, and rejects if that is not as it must be; a failure ends its loop.
  constructor(ask, atATime = 1) {
    this.answered = 0;
    this.failures = [];
    this.isGoing = true;
    this.loops = Array.from({ length: atATime }, () => this.#loop(ask));
  }

  async #loop(ask) {
    try {
      for (; this.isGoing; this.answered++) await ask();
    } catch (error) {
      this.failures.push(error.message);
    }
  }

  // So many more answers have come.
  goOn(n = 20) {
    const enough = this.answered + n;
    return until('answers to the polite client', () => {
      if (this.failures.length > 0) throw new Error(this.failures[0]);
      return this.answered >= enough;
    });
  }

  async stop() {
    this.isGoing = false;
    await Promise.all(this.loops);
  }

  // It was answered all the time, and missed nothing.
  async stopUnharmed() {
    await this.stop();
    assert.deepEqual(this.failures, []);
    assert.ok(this.answered > 0);
  }
}

/**
 * A clock for tests: `Date.now`, `performance.now` and timers that advance only when the test says so.
 *
 * The wall clock and the monotonic clock can be moved apart, as they are by a change of the time or by sleep.
 */

const real = { setTimeout, clearTimeout, now: Date.now, monotonic: performance.now, random: Math.random };

export class FakeClock {
  #timers = new Map();
  #ids = 0;
  monotonic = 1_000;
  wall = Date.parse("2026-11-21T10:00:00Z");

  install() {
    globalThis.setTimeout = (callback, delay = 0) => {
      // As real timers: whole milliseconds, one at least; a delay that overflows 31 bits fires immediately.
      const ms = delay > 2 ** 31 - 1 ? 1 : Math.max(1, Math.trunc(delay) || 0);
      this.#timers.set(++this.#ids, { callback, at: this.monotonic + ms });
      return this.#ids;
    };
    globalThis.clearTimeout = (id) => this.#timers.delete(id);
    Date.now = () => this.wall;
    performance.now = () => this.monotonic;
    return this;
  }

  uninstall() {
    globalThis.setTimeout = real.setTimeout;
    globalThis.clearTimeout = real.clearTimeout;
    Date.now = real.now;
    performance.now = real.monotonic;
    Math.random = real.random;
  }

  /** How many timers are set. */
  get pending() {
    return this.#timers.size;
  }

  /** Let time pass, firing what becomes due in its order. */
  async advance(ms) {
    await settle();
    const end = this.monotonic + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [id, { callback, at }] = due;
      this.#timers.delete(id);
      this.wall += at - this.monotonic;
      this.monotonic = at;
      callback();
      await settle();
    }
    this.wall += end - this.monotonic;
    this.monotonic = end;
    await settle();
  }
}

/** Let everything run that waits for nothing but promises. */
export async function settle() {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

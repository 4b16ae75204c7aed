/**
 * Playback tokens for a page with a player: requested from the app's own backend, cached per channel, replaced in time.
 * index.d.ts describes what is exported.
 *
 * Invariants
 * - IVS checks a token when a player requests the multivariant playlist, and not again while it plays. So a token is
 *   needed when playback starts or starts anew, and a running playback is never interrupted for another one.
 * - The device's clock is never compared with a token's times. What remains of a token's lifetime is computed once, when
 *   it arrives, from the `Date` of its response. From then on only elapsed time counts, by the wall clock or by the
 *   monotonic clock, whichever has advanced further: the first may be set, the second may stop during sleep.
 * - tokensvc sets `refreshAfter` to 80 % of a token's lifetime. So `expiresAt` and `refreshAfter` alone limit how long a
 *   token counts as fresh: that serves where `Date` cannot be read, and protects where it is wrong.
 * - One request per channel is in flight at most, and none is sent before the time that the last failure has set.
 * - Nothing is written to the console or stored, and no error holds a token, a playback URL or the body of a response.
 */

const MAX_TIMER_MS = 60_000; // timers stop during sleep, and overflow at 2^31 ms
const MIN_RENEWAL_MS = 1_000;
const STALE_RENEWAL_MS = 30_000;
const MIN_TRIAL_MS = 10_000; // a replacement that is rejected sooner has not expired, whatever its times say
const BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;

/** What to do, by the code of an error; every other code is one to retry later. */
const REMEDIES = {
  unauthenticated: "sign in again",
  forbidden: "not for this viewer",
  http_error: "see the backend log",
  invalid_response: "no playbackUrl or token",
  rejected: "so was its replacement",
  closed: "create another",
};
const CODES = { 401: "unauthenticated", 403: "forbidden", 408: "unavailable", 429: "rate_limited" };

export class PlaybackTokenError extends Error {
  constructor(code, details) {
    super(`no playback token (${code}): ${REMEDIES[code] ?? "retry later"}`, details);
    Object.assign(this, { name: "PlaybackTokenError", code, retryable: !REMEDIES[code] }, details);
  }
}

const monotonic = () => performance.now();
const elapsed = (entry) => Math.max(Date.now() - entry.wall, monotonic() - entry.mono);
const isFresh = (entry) => entry.token && elapsed(entry) < entry.freshFor;
const isUsable = (entry) => entry.token && elapsed(entry) < entry.usableFor;
const isText = (value) => value && typeof value === "string";
/** The token itself, whichever of the forms that `onUnauthorized` accepts it has. */
const idOf = (token) => `${token?.playbackUrl || token?.token || token}`.replace(/.*[?&]token=([^&]*).*/, "$1");

export class PlaybackTokens {
  #options;
  #entries = new Map();
  #flights = new Set();
  #closing = new AbortController();

  constructor(options) {
    this.#options = { timeout: 5_000, retries: 3, maxWait: 10_000, ...options };
    const { source } = this.#options;
    if (isText(source) && source.includes("{channel}")) {
      this.#options.source = (channel, signal) =>
        fetch(source.replaceAll("{channel}", () => encodeURIComponent(channel)), { method: "POST", signal });
    } else if (typeof source !== "function") throw new TypeError("source must be a URL with {channel} or a function");
    globalThis.addEventListener?.("online", this.#wake, this.#closing);
    globalThis.document?.addEventListener("visibilitychange", this.#wake, this.#closing);
  }

  async get(channel, { signal } = {}) {
    signal?.throwIfAborted();
    const entry = this.#entry(channel);
    // A token that starts playback once is neither cached nor shared.
    if (this.#options.singleUse) entry.flight = null;
    else if (isFresh(entry)) return entry.token;
    try {
      return await this.#join(entry, signal);
    } catch (error) {
      if (error?.retryable && isUsable(entry)) return entry.token;
      throw error;
    }
  }

  async onUnauthorized(channel, rejected, options) {
    const entry = this.#entry(channel);
    const id = idOf(rejected ?? entry.token);
    const isCurrent = entry.token && idOf(entry.token) === id;
    if (!isCurrent || id !== entry.replacement || !(isFresh(entry) || elapsed(entry) < MIN_TRIAL_MS)) {
      // One that is not current has been replaced already, or will be by the request in flight.
      if (isCurrent) entry.token = null;
      const token = await this.get(channel, options);
      entry.replacement = idOf(token);
      if (entry.replacement !== id) return token;
    }
    // The replacement was rejected as well, or a cache returned the same token again.
    entry.token = null;
    throw new PlaybackTokenError("rejected");
  }

  keep(channel, callbacks = {}) {
    if (this.#options.singleUse) throw new TypeError("keep: not with singleUse");
    const entry = this.#entry(channel);
    const keeper = Object.create(callbacks);
    entry.keepers.add(keeper);
    if (isFresh(entry)) notify([keeper], "onToken", entry.token);
    this.#schedule(entry);
    return () => {
      entry.keepers.delete(keeper);
      this.#schedule(entry);
    };
  }

  close() {
    const error = new PlaybackTokenError("closed");
    this.#closing.abort(error);
    this.#flights.forEach((flight) => flight.abort(error));
    this.#entries.forEach((entry) => this.#schedule(entry)); // clears its timer
    this.#entries.clear();
  }

  #wake = ({ type }) => {
    for (const entry of this.#entries.values()) {
      // A response says how long to wait; a connection that failed does not.
      if (type === "online" && !entry.error?.status) entry.notBefore = 0;
      this.#schedule(entry);
    }
    this.#flights.forEach((flight) => flight.wake?.());
  };

  #entry(channel) {
    this.#closing.signal.throwIfAborted();
    let entry = this.#entries.get(channel);
    if (!entry) {
      for (const [key, old] of this.#entries) {
        const isIdle = !old.keepers.size && !old.flight && !isUsable(old) && old.notBefore < monotonic();
        if (isIdle) this.#entries.delete(key);
      }
      entry = { channel, keepers: new Set(), notBefore: 0, failures: 0 };
      this.#entries.set(channel, entry);
    }
    return entry;
  }

  /** Start the next renewal for `keep` when it is due, or look again later. */
  #schedule(entry) {
    clearTimeout(entry.timer);
    if (this.#closing.signal.aborted || entry.flight || !entry.keepers.size) return;
    const due = entry.token ? entry.renewFor - elapsed(entry) : 0;
    const wait = Math.max(due, entry.notBefore - monotonic());
    if (wait > 0) entry.timer = setTimeout(() => this.#schedule(entry), Math.min(wait, MAX_TIMER_MS));
    else this.#join(entry).catch(() => {});
  }

  /** Wait for the request in flight, or start one. When its last waiter is aborted, so is the request. */
  #join(entry, signal) {
    const flight = (entry.flight ??= this.#start(entry));
    flight.waiters++;
    return new Promise((resolve, reject) => {
      const leave = () => {
        reject(signal.reason);
        if (--flight.waiters) return;
        if (entry.flight === flight) entry.flight = null;
        flight.abort(signal.reason);
      };
      signal?.addEventListener("abort", leave, flight);
      flight.result.then(resolve, reject);
    });
  }

  #start(entry) {
    const flight = Object.assign(new AbortController(), { waiters: 0 });
    this.#flights.add(flight);
    flight.result = this.#request(entry, flight)
      .catch((error) => {
        if (flight.signal.aborted) throw flight.signal.reason;
        notify(entry.keepers, "onError", error);
        if (!error.retryable) entry.keepers.clear();
        throw error;
      })
      .finally(() => {
        this.#flights.delete(flight);
        flight.abort(); // removes the listeners that were added with its signal
        if (entry.flight === flight) entry.flight = null;
        this.#schedule(entry);
      });
    return flight;
  }

  async #request(entry, flight) {
    const { retries, maxWait, singleUse } = this.#options;
    const { signal } = flight;
    for (let attempt = 0; ; ) {
      const wait = entry.notBefore - monotonic();
      if (wait > 0) {
        if (wait > maxWait || isUsable(entry)) {
          throw new PlaybackTokenError(entry.error.code, { ...entry.error, retryAfter: Math.ceil(wait / 1000) });
        }
        await sleep(wait, flight);
        continue;
      }
      try {
        Object.assign(entry, await this.#attempt(entry.channel, signal), { notBefore: 0, failures: 0 });
        if (singleUse) entry.usableFor = 0;
        notify(entry.keepers, "onToken", entry.token);
        return entry.token;
      } catch (error) {
        if (signal.aborted) throw error;
        entry.error = error;
        if (!error.retryable) throw error;
        const backoff = Math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ** entry.failures++);
        const jitter = (backoff * (1 + Math.random())) / 2;
        entry.notBefore = monotonic() + (error.retryAfter ?? 0) * 1000 + jitter;
        if (attempt++ >= retries || isUsable(entry)) throw error;
      }
    }
  }

  async #attempt(channel, signal) {
    const controller = new AbortController();
    signal.addEventListener("abort", () => controller.abort(signal.reason));
    const timeout = sleep(this.#options.timeout, controller).then(() => {
      throw new PlaybackTokenError("timeout");
    });
    try {
      return await Promise.race([this.#fetch(channel, controller.signal), timeout]);
    } catch (error) {
      throw signal.aborted || error instanceof PlaybackTokenError
        ? error
        : new PlaybackTokenError("network", { cause: error });
    } finally {
      controller.abort(); // ends a request that timed out, and the timer of one that did not
    }
  }

  async #fetch(channel, signal) {
    let answer = await this.#options.source(channel, signal);
    const arrival = { wall: Date.now(), mono: monotonic() };
    let now = NaN;
    if (typeof answer?.json === "function") {
      const { headers, ok, status } = answer;
      now = Date.parse(headers.get("date"));
      if (!ok) {
        const code = CODES[status] ?? (status < 500 ? "http_error" : "unavailable");
        const text = headers.get("retry-after"); // seconds, or a date
        const seconds = +text || (Date.parse(text) - now) / 1000;
        throw new PlaybackTokenError(code, { status, retryAfter: seconds > 0 ? seconds : undefined });
      }
      answer = await answer.json().catch((error) => {
        // Not as the cause: the message of a SyntaxError quotes the text.
        throw error instanceof SyntaxError ? new PlaybackTokenError("invalid_response", { status }) : error;
      });
    }
    if (!isText(answer?.playbackUrl) && !isText(answer?.token)) throw new PlaybackTokenError("invalid_response");
    return { token: answer, ...arrival, ...lifetimeOf(answer, now) };
  }
}

/** How long a token is fresh, usable, and not renewed by `keep`, in ms from its arrival at the server's time `now`. */
function lifetimeOf(token, now) {
  const expiry = Date.parse(token.expiresAt);
  const refresh = Date.parse(token.refreshAfter) || now + 0.8 * (expiry - now);
  const longest = 4 * (expiry - refresh);
  // The times are in whole seconds: without `now`, the shortest lifetime that they allow.
  const arrival = now || refresh - Math.max(0, longest - 4_000);
  const usableFor = expiry - 1_000 - arrival;
  const freshFor = Math.min(refresh - arrival, longest, usableFor);
  // Viewers who started together do not renew together: `longest / 8` is half of the time until the token expires.
  const renewFor = Math.max(MIN_RENEWAL_MS, freshFor + (Math.random() * longest) / 8);
  return { freshFor, usableFor, renewFor: freshFor > 0 ? renewFor : STALE_RENEWAL_MS };
}

/** Call the keepers, whose errors are theirs, after the module's own state has settled. */
function notify(keepers, name, value) {
  for (const keeper of keepers) queueMicrotask(() => keeper[name]?.(value));
}

/** Resolve after a time, or when `wake` of the controller is called; reject when it aborts. Its signal must not outlive
 * its request, because the listener stays. */
function sleep(ms, controller) {
  return new Promise((resolve, reject) => {
    controller.wake = resolve;
    const timer = setTimeout(resolve, ms);
    controller.signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject();
    });
  });
}

import assert from "node:assert/strict";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, test } from "node:test";
import { PlaybackTokenError, PlaybackTokens } from "../index.js";
import { CHANNEL, FakeBackend, never, offline, status } from "./backend.js";
import { FakeClock, settle } from "./clock.js";

const SECOND = 1_000;
const DAY = 86_400 * SECOND;
const YEAR = 365 * DAY;

let clock, backend, tokens, warnings;
const noteWarning = (warning) => warnings.push(warning);

beforeEach(() => {
  clock = new FakeClock().install();
  backend = new FakeBackend(clock);
  tokens = new PlaybackTokens({ source: backend.source });
  warnings = [];
  process.on("warning", noteWarning);
});

afterEach(async () => {
  tokens.close();
  await settle();
  assert.equal(clock.pending, 0, "close() leaves no timer behind");
  clock.uninstall();
  process.off("warning", noteWarning);
  assert.deepEqual(warnings, []);
});

/** The outcome of a promise while the clock advances. */
async function after(ms, promise) {
  const outcome = promise.then(
    (value) => ({ value }),
    (error) => ({ error }),
  );
  await clock.advance(ms);
  return Promise.race([outcome, settle().then(() => ({ pending: true }))]);
}

async function errorOf(promise, ms = 120 * SECOND) {
  const { error } = await after(ms, promise);
  assert.ok(error instanceof PlaybackTokenError, inspect(error));
  return error;
}

describe("get", () => {
  test("returns the response of the backend", async () => {
    const token = await tokens.get(CHANNEL);
    assert.equal(token.playbackUrl, "https://edge.example/main-stage.m3u8?token=secret-1");
    assert.equal(token.refreshAfter, "2026-11-21T10:04:00Z");
  });

  test("returns the cached token until refreshAfter, and then another one", async () => {
    const first = await tokens.get(CHANNEL);
    await clock.advance(239 * SECOND);
    assert.equal(await tokens.get(CHANNEL), first);
    await clock.advance(1 * SECOND);
    assert.notEqual(await tokens.get(CHANNEL), first);
    assert.equal(backend.requests, 2);
  });

  test("caches each channel by itself", async () => {
    const [a, b] = await Promise.all([tokens.get("a"), tokens.get("b")]);
    assert.notEqual(a.playbackUrl, b.playbackUrl);
    assert.equal(await tokens.get("a"), a);
  });

  test("1,000 concurrent calls send one request", async () => {
    const all = await Promise.all(Array.from({ length: 1000 }, () => tokens.get(CHANNEL)));
    assert.equal(new Set(all).size, 1);
    assert.equal(backend.requests, 1);
  });

  test("1,000 concurrent calls that fail get one error each, of as few requests as one call", async () => {
    backend.script = Array(4).fill(offline);
    const all = Array.from({ length: 1000 }, () => tokens.get(CHANNEL).catch((error) => error.code));
    await clock.advance(60 * SECOND);
    assert.deepEqual(new Set(await Promise.all(all)), new Set(["network"]));
    assert.equal(backend.requests, 4);
  });

  test("caches nothing when tokens are for a single use", async () => {
    tokens.close();
    tokens = new PlaybackTokens({ source: backend.source, singleUse: true });
    const all = await Promise.all(Array.from({ length: 50 }, () => tokens.get(CHANNEL)));
    assert.equal(new Set(all.map((token) => token.playbackUrl)).size, 50);
    backend.script = [status(503)];
    assert.equal((await after(10 * SECOND, tokens.get(CHANNEL))).value.playbackUrl.slice(-2), "52");
    assert.throws(() => tokens.keep(CHANNEL), /keep: not with singleUse/);
  });

  test("forgets channels that are no longer watched", async () => {
    const seen = [];
    for (let n = 0; n < 50; n++) seen.push(new WeakRef(await tokens.get(`channel-${n}`)));
    await clock.advance(301 * SECOND);
    await tokens.get("another");
    if (globalThis.gc) {
      globalThis.gc();
      assert.equal(seen.filter((ref) => ref.deref()).length <= 1, true);
    }
    await tokens.get("channel-0");
    assert.equal(backend.requests, 52);
  });
});

describe("the client's clock", () => {
  for (const [name, wrong] of [
    ["a year ahead", YEAR],
    ["a year behind", -YEAR],
    ["an hour ahead", 3600 * SECOND],
  ]) {
    for (const hasDate of [true, false]) {
      test(`may be ${name}, ${hasDate ? "with" : "without"} a readable Date`, async () => {
        backend.hasDate = hasDate;
        clock.wall += wrong;
        const first = await tokens.get(CHANNEL);
        await clock.advance(230 * SECOND);
        assert.equal(await tokens.get(CHANNEL), first);
        await clock.advance(10 * SECOND);
        assert.notEqual(await tokens.get(CHANNEL), first);
      });
    }
  }

  test("may be set back by a year while a token is cached", async () => {
    const first = await tokens.get(CHANNEL);
    clock.wall -= YEAR;
    await clock.advance(239 * SECOND);
    assert.equal(await tokens.get(CHANNEL), first);
    await clock.advance(1 * SECOND);
    assert.notEqual(await tokens.get(CHANNEL), first);
  });

  test("may be set ahead by a year, which costs one request", async () => {
    await tokens.get(CHANNEL);
    clock.wall += YEAR;
    await tokens.get(CHANNEL);
    await tokens.get(CHANNEL);
    assert.equal(backend.requests, 2);
  });

  test("counts sleep, during which the monotonic clock stands still", async () => {
    const first = await tokens.get(CHANNEL);
    clock.wall += 3600 * SECOND;
    backend.aheadOfDevice += 3600 * SECOND;
    assert.notEqual(await tokens.get(CHANNEL), first);
  });

  test("is not replaced by a backend's clock that is a year behind: a token is not fresh for longer than it lives", async () => {
    backend.script = [
      (channel, signal, self) => {
        const token = self.token();
        return self.respond(token, { headers: { date: new Date(self.now - YEAR).toUTCString() } });
      },
    ];
    const first = await tokens.get(CHANNEL);
    await clock.advance(250 * SECOND);
    assert.notEqual(await tokens.get(CHANNEL), first);
  });
});

describe("unusual lifetimes", () => {
  const serving = (change) => (channel, signal, self) => self.respond({ ...self.token(), ...change });

  test("a token of one second is handed out and not cached", async () => {
    backend.ttl = 1;
    assert.ok((await tokens.get(CHANNEL)).playbackUrl);
    await tokens.get(CHANNEL);
    assert.equal(backend.requests, 2);
  });

  test("without refreshAfter, a token is fresh for 80 % of its lifetime", async () => {
    backend.script = [serving({ refreshAfter: undefined })];
    const first = await tokens.get(CHANNEL);
    await clock.advance(239 * SECOND);
    assert.equal(await tokens.get(CHANNEL), first);
    await clock.advance(2 * SECOND);
    assert.notEqual(await tokens.get(CHANNEL), first);
  });

  for (const [name, change] of [
    ["no times", { refreshAfter: undefined, expiresAt: undefined }],
    ["invalid times", { refreshAfter: "soon", expiresAt: {} }],
    ["no expiresAt", { expiresAt: null }],
    ["refreshAfter after expiresAt", { refreshAfter: "2099-01-01T00:00:00Z" }],
  ]) {
    test(`with ${name}, a token is handed out and not cached`, async () => {
      backend.script = [serving(change), serving(change)];
      assert.ok((await tokens.get(CHANNEL)).playbackUrl);
      await tokens.get(CHANNEL);
      assert.equal(backend.requests, 2);
    });
  }

  test("a token that lives 2^31 seconds is kept without a storm of timers", async () => {
    backend.ttl = 2 ** 31;
    tokens.keep(CHANNEL);
    await clock.advance(10 * 60 * SECOND);
    assert.equal(backend.requests, 1);
    assert.equal(clock.pending, 1);
    assert.equal((await tokens.get(CHANNEL)).expiresAt.slice(0, 4), "2094");
  });

  test("a token that expires after the second 2^31 of Unix time is cached", async () => {
    clock.wall = (2 ** 31 - 100) * SECOND;
    backend = new FakeBackend(clock);
    tokens.close();
    tokens = new PlaybackTokens({ source: backend.source });
    const first = await tokens.get(CHANNEL);
    await clock.advance(200 * SECOND);
    assert.equal(await tokens.get(CHANNEL), first);
  });
});

describe("a failing backend", () => {
  for (const [code, expected] of [
    [400, "http_error"],
    [401, "unauthenticated"],
    [403, "forbidden"],
    [404, "http_error"],
    [422, "http_error"],
  ]) {
    test(`status ${code} is ${expected}, and the request is not repeated`, async () => {
      backend.script = [status(code)];
      const error = await errorOf(tokens.get(CHANNEL));
      assert.deepEqual([error.code, error.status, error.retryable], [expected, code, false]);
      assert.equal(backend.requests, 1);
    });
  }

  for (const [code, expected] of [
    [408, "unavailable"],
    [429, "rate_limited"],
    [500, "unavailable"],
    [503, "unavailable"],
  ]) {
    test(`status ${code} is ${expected}, and the request is repeated three times`, async () => {
      backend.script = Array(9).fill(status(code));
      const error = await errorOf(tokens.get(CHANNEL));
      assert.deepEqual([error.code, error.status, error.retryable], [expected, code, true]);
      assert.equal(backend.requests, 4);
    });
  }

  for (const [name, body] of [
    ["HTML", "<!doctype html><title>Sign in</title>secret-in-the-body"],
    ["garbage", "\u0000secret-in-the-body"],
    ["truncated JSON", '{"playbackUrl": "https://edge.example/?token=secret-in-the-body'],
    ["null", "null"],
    ["a list", "[]"],
    ["an object without token", '{"refreshAfter": "2026-11-21T10:04:00Z"}'],
    ["an empty URL", '{"playbackUrl": ""}'],
    ["a URL that is not a string", '{"playbackUrl": 17}'],
  ]) {
    test(`${name} is invalid_response`, async () => {
      backend.script = [(c, s, self) => self.respond(body)];
      assert.equal((await errorOf(tokens.get(CHANNEL))).code, "invalid_response");
      assert.equal(backend.requests, 1);
    });
  }

  test("204 is invalid_response", async () => {
    backend.script = [(c, s, self) => self.respond("", { status: 204 })];
    assert.equal((await errorOf(tokens.get(CHANNEL))).code, "invalid_response");
  });

  test("one that never responds is asked again after the time-out, and its requests are aborted", async () => {
    backend.script = [never];
    const { value } = await after(6 * SECOND, tokens.get(CHANNEL));
    assert.equal(value.playbackUrl.slice(-1), "2");
    assert.ok(backend.signals[0].aborted);
  });

  test("one that never responds is a timeout in the end, even if the source ignores its signal", async () => {
    backend.script = Array(4).fill(() => new Promise(() => {}));
    const error = await errorOf(tokens.get(CHANNEL));
    assert.deepEqual([error.code, error.retryable], ["timeout", true]);
  });

  test("one whose body never ends is a timeout", async () => {
    const endless = () => new Response(new ReadableStream({}), { status: 200 });
    backend.script = Array(4).fill(endless);
    assert.equal((await errorOf(tokens.get(CHANNEL))).code, "timeout");
  });

  test("a connection that breaks off within the body is a network error", async () => {
    const broken = () => new Response(new ReadableStream({ start: (stream) => stream.error(new TypeError("terminated")) }));
    backend.script = Array(4).fill(broken);
    const error = await errorOf(tokens.get(CHANNEL));
    assert.deepEqual([error.code, error.cause.message], ["network", "terminated"]);
  });

  test("a source that throws is a network error with its cause", async () => {
    const cause = new Error("no session");
    tokens = new PlaybackTokens({
      source: () => {
        throw cause;
      },
      retries: 0,
    });
    const error = await errorOf(tokens.get(CHANNEL));
    assert.deepEqual([error.code, error.cause], ["network", cause]);
  });

  test("a source may throw an error of its own choice", async () => {
    const own = new PlaybackTokenError("forbidden", { status: 402 });
    backend.script = [() => Promise.reject(own)];
    assert.equal(await errorOf(tokens.get(CHANNEL)), own);
  });

  test("a source may return the token itself", async () => {
    backend.script = [(channel, signal, self) => self.token()];
    const first = await tokens.get(CHANNEL);
    await clock.advance(230 * SECOND);
    assert.equal(await tokens.get(CHANNEL), first);
  });

  test("attempts back off exponentially and at random", async () => {
    for (const [random, expected] of [
      [0, [0, 250, 500, 1000]],
      [1, [0, 500, 1000, 2000]],
    ]) {
      Math.random = () => random;
      const at = [];
      const start = clock.monotonic;
      const failing = new PlaybackTokens({
        source: () => {
          at.push(clock.monotonic - start);
          return offline();
        },
      });
      await errorOf(failing.get(CHANNEL));
      failing.close();
      const gaps = at.map((time, n) => Math.round(time - (at[n - 1] ?? 0)));
      assert.deepEqual(gaps, expected);
    }
  });

  test("after a success, the back-off begins anew", async () => {
    Math.random = () => 1;
    backend.script = [offline, offline, offline];
    await after(10 * SECOND, tokens.get(CHANNEL));
    await clock.advance(300 * SECOND);
    backend.script = [offline];
    const got = tokens.get(CHANNEL);
    await clock.advance(499);
    assert.equal(backend.requests, 5);
    await clock.advance(2);
    assert.ok((await got).playbackUrl);
    assert.equal(backend.requests, 6);
  });

  test("Retry-After is waited for, in seconds and as a date", async () => {
    for (const [form, earliest, latest] of [
      [() => "7", 7, 7.5],
      [() => new Date(backend.now + 7 * SECOND).toUTCString(), 6, 7.5],
    ]) {
      backend.script = [(c, s, self) => self.respond("", { status: 503, headers: { "retry-after": form() } })];
      const start = clock.monotonic;
      const requests = backend.requests;
      const got = tokens.get(`${CHANNEL}-${form}`);
      await clock.advance((earliest - 0.1) * SECOND);
      assert.equal(backend.requests, requests + 1);
      await clock.advance((latest - earliest + 0.2) * SECOND);
      await got;
      assert.ok(clock.monotonic - start < 9 * SECOND);
    }
  });

  test("a Retry-After beyond maxWait is reported immediately, and later calls send nothing until then", async () => {
    backend.script = [status(429, { "retry-after": "60" })];
    const first = await errorOf(tokens.get(CHANNEL), 0);
    assert.deepEqual([first.code, first.retryAfter, first.status], ["rate_limited", 61, 429]);
    await clock.advance(30 * SECOND);
    const second = await errorOf(tokens.get(CHANNEL), 0);
    assert.deepEqual([second.code, second.status], ["rate_limited", 429]);
    assert.ok(second.retryAfter >= 30 && second.retryAfter <= 31);
    assert.equal(backend.requests, 1);
    await clock.advance(31 * SECOND);
    await tokens.get(CHANNEL);
    assert.equal(backend.requests, 2);
  });

  for (const text of ["-1", "soon", "0", "", "NaN"]) {
    test(`a Retry-After of ${JSON.stringify(text)} is ignored`, async () => {
      backend.script = [status(503, { "retry-after": text })];
      assert.ok((await after(1 * SECOND, tokens.get(CHANNEL))).value);
    });
  }

  test("calls in a loop do not hammer it", async () => {
    backend.script = Array(1000).fill(offline);
    const started = clock.monotonic;
    let calls = 0;
    const loop = (async () => {
      while (clock.monotonic - started < 300 * SECOND) {
        calls++;
        await tokens.get(CHANNEL).catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    })();
    await clock.advance(310 * SECOND);
    await loop;
    assert.ok(backend.requests < 40, `${backend.requests} requests for ${calls} calls in 300 s`);
  });

  test("while it fails, the cached token is returned until it expires", async () => {
    const first = await tokens.get(CHANNEL);
    backend.script = Array(100).fill(status(503));
    await clock.advance(250 * SECOND);
    assert.equal((await after(0, tokens.get(CHANNEL))).value, first);
    assert.equal((await after(0, tokens.get(CHANNEL))).value, first);
    assert.equal(backend.requests, 2);
    await clock.advance(50 * SECOND);
    assert.equal((await errorOf(tokens.get(CHANNEL))).code, "unavailable");
  });

  test("a viewer who may no longer watch gets no cached token", async () => {
    await tokens.get(CHANNEL);
    backend.script = [status(403)];
    await clock.advance(250 * SECOND);
    assert.equal((await errorOf(tokens.get(CHANNEL))).code, "forbidden");
  });
});

describe("abort", () => {
  test("a call whose signal is aborted rejects with its reason, and the request ends", async () => {
    backend.script = [never];
    const controller = new AbortController();
    const got = tokens.get(CHANNEL, { signal: controller.signal });
    await settle();
    controller.abort(new Error("left the page"));
    assert.equal((await after(0, got)).error.message, "left the page");
    assert.ok(backend.signals[0].aborted);
    assert.ok(await tokens.get(CHANNEL), "a later call starts a request of its own");
  });

  test("a call right after the abort does not join the request that ends", async () => {
    backend.script = [never];
    const controller = new AbortController();
    const aborted = tokens.get(CHANNEL, { signal: controller.signal });
    await settle();
    controller.abort();
    const next = tokens.get(CHANNEL);
    assert.equal((await after(0, aborted)).error.name, "AbortError");
    assert.ok((await after(0, next)).value.playbackUrl);
  });

  test("others that wait for the same request still get the token", async () => {
    let answer;
    backend.script = [() => new Promise((resolve) => (answer = resolve))];
    const controller = new AbortController();
    const aborted = tokens.get(CHANNEL, { signal: controller.signal });
    const other = tokens.get(CHANNEL);
    await settle();
    controller.abort();
    assert.equal((await after(0, aborted)).error.name, "AbortError");
    answer(backend.respond(backend.token()));
    assert.ok((await after(0, other)).value.playbackUrl);
    assert.equal(backend.requests, 1);
  });

  test("a call during a back-off is aborted immediately", async () => {
    backend.script = [status(503, { "retry-after": "9" })];
    const controller = new AbortController();
    const got = tokens.get(CHANNEL, { signal: controller.signal });
    await clock.advance(1 * SECOND);
    controller.abort();
    assert.equal((await after(0, got)).error.name, "AbortError");
    assert.equal(clock.pending, 0);
  });

  test("a signal that is aborted already sends nothing", async () => {
    assert.equal((await after(0, tokens.get(CHANNEL, { signal: AbortSignal.abort() }))).error.name, "AbortError");
    assert.equal(backend.requests, 0);
  });

  test("a signal that outlives 1,000 calls holds none of their listeners", async () => {
    const controller = new AbortController();
    let listeners = 0;
    const add = controller.signal.addEventListener.bind(controller.signal);
    controller.signal.addEventListener = (type, listener, options) => {
      listeners++;
      options?.signal?.addEventListener("abort", () => listeners--);
      add(type, listener, options);
    };
    for (let n = 0; n < 1000; n++) await tokens.get(`channel-${n}`, { signal: controller.signal });
    assert.equal(listeners, 0);
  });
});

describe("onUnauthorized", () => {
  test("gives another token immediately", async () => {
    const first = await tokens.get(CHANNEL);
    const second = await tokens.onUnauthorized(CHANNEL, first);
    assert.notEqual(second.playbackUrl, first.playbackUrl);
    assert.equal(await tokens.get(CHANNEL), second);
  });

  for (const [name, form] of [
    ["a copy of the token", (token) => ({ ...token })],
    ["its URL", (token) => token.playbackUrl],
    ["its token", (token) => token.token],
    ["nothing", () => undefined],
  ]) {
    test(`accepts ${name} as the rejected one`, async () => {
      const first = await tokens.get(CHANNEL);
      const second = await tokens.onUnauthorized(CHANNEL, form(first));
      assert.notEqual(second.playbackUrl, first.playbackUrl);
    });
  }

  for (const [name, respond] of [
    ["a constant token beside its URL", (token) => ({ ...token, token: "the backend's own" })],
    ["a URL without the token's parameter", (token) => ({ ...token, playbackUrl: `https://a.example/?a=1&s=${token.token}` })],
  ]) {
    for (const form of [(token) => token, (token) => token.playbackUrl]) {
      test(`tells responses apart that have ${name}: ${form}`, async () => {
        const scripted = (channel, signal, from) => from.respond(respond(from.token(channel)));
        backend.script = Array(3).fill(scripted);
        const first = await tokens.get(CHANNEL);
        const second = await tokens.onUnauthorized(CHANNEL, form(first));
        assert.notEqual(second.playbackUrl, first.playbackUrl);
        assert.equal((await errorOf(tokens.onUnauthorized(CHANNEL, form(second)))).code, "rejected");
      });
    }
  }

  test("takes anything as the rejected one, and returns what is not it", async () => {
    const first = await tokens.get(CHANNEL);
    for (const other of [{}, 5, new Error("other"), new URL("https://other.example/?token=x")]) {
      assert.equal(await tokens.onUnauthorized(CHANNEL, other), first);
    }
  });

  test("replaces a token once, however often and by how many players it is reported", async () => {
    const first = await tokens.get(CHANNEL);
    const all = await Promise.all(Array.from({ length: 100 }, () => tokens.onUnauthorized(CHANNEL, first)));
    all.push(await tokens.onUnauthorized(CHANNEL, first));
    assert.equal(new Set(all).size, 1);
    assert.equal(backend.requests, 2);
  });

  test("gives up when the replacement is rejected as well", async () => {
    const second = await tokens.onUnauthorized(CHANNEL, await tokens.get(CHANNEL));
    const error = await errorOf(tokens.onUnauthorized(CHANNEL, second));
    assert.deepEqual([error.code, error.retryable], ["rejected", false]);
    assert.equal(backend.requests, 2);
  });

  for (const form of ["playbackUrl", "token"]) {
    test(`gives up when the backend returns ${form} alone, without any time`, async () => {
      backend.script = Array.from({ length: 3 }, () => (c, s, self) => self.respond({ [form]: self.token()[form] }));
      const second = await tokens.onUnauthorized(CHANNEL, await tokens.get(CHANNEL));
      assert.equal((await errorOf(tokens.onUnauthorized(CHANNEL, second))).code, "rejected");
      assert.equal(backend.requests, 2);
    });
  }

  test("gives up although the Date of the backend's host is wrong by more than a lifetime", async () => {
    const wrong = () => (c, s, self) =>
      self.respond(self.token(), { headers: { date: new Date(self.now + 600 * SECOND).toUTCString() } });
    backend.script = [wrong(), wrong(), wrong()];
    const second = await tokens.onUnauthorized(CHANNEL, await tokens.get(CHANNEL));
    assert.equal((await errorOf(tokens.onUnauthorized(CHANNEL, second))).code, "rejected");
    assert.equal(backend.requests, 2);
  });

  test("replaces a replacement without times that has been played", async () => {
    backend.script = Array.from({ length: 3 }, () => (c, s, self) => self.respond({ token: self.token().token }));
    const second = await tokens.onUnauthorized(CHANNEL, await tokens.get(CHANNEL));
    await clock.advance(60 * SECOND);
    assert.ok(await tokens.onUnauthorized(CHANNEL, second));
  });

  test("starts anew when the viewer does", async () => {
    const second = await tokens.onUnauthorized(CHANNEL, await tokens.get(CHANNEL));
    await errorOf(tokens.onUnauthorized(CHANNEL, second));
    const third = await tokens.get(CHANNEL);
    assert.notEqual(third.playbackUrl, second.playbackUrl);
    assert.ok(await tokens.onUnauthorized(CHANNEL, third));
  });

  test("replaces a replacement that was used after its refreshAfter", async () => {
    const second = await tokens.onUnauthorized(CHANNEL, await tokens.get(CHANNEL));
    await clock.advance(1000 * SECOND);
    assert.ok(await tokens.onUnauthorized(CHANNEL, second));
  });

  test("replaces a replacement that has been renewed in the meantime", async () => {
    const second = await tokens.onUnauthorized(CHANNEL, await tokens.get(CHANNEL));
    await clock.advance(250 * SECOND);
    const third = await tokens.get(CHANNEL);
    assert.equal(await tokens.onUnauthorized(CHANNEL, second), third);
    assert.equal(backend.requests, 3);
  });

  test("gives up when the backend's response comes from a cache", async () => {
    const first = await tokens.get(CHANNEL);
    backend.script = [(c, s, self) => self.respond(first)];
    assert.equal((await errorOf(tokens.onUnauthorized(CHANNEL, first))).code, "rejected");
  });

  test("never falls back to the token that was rejected", async () => {
    const first = await tokens.get(CHANNEL);
    backend.script = Array(4).fill(status(503));
    assert.equal((await errorOf(tokens.onUnauthorized(CHANNEL, first))).code, "unavailable");
    assert.notEqual((await after(30 * SECOND, tokens.get(CHANNEL))).value, first);
  });

  test("replaces single-use tokens once, too", async () => {
    tokens.close();
    tokens = new PlaybackTokens({ source: backend.source, singleUse: true });
    const second = await tokens.onUnauthorized(CHANNEL, await tokens.get(CHANNEL));
    assert.equal((await errorOf(tokens.onUnauthorized(CHANNEL, second))).code, "rejected");
    assert.equal(backend.requests, 2);
  });
});

describe("keep", () => {
  test("renews between refreshAfter and half of the time until expiry", async () => {
    for (const [random, seconds] of [
      [0, 240],
      [1, 270],
    ]) {
      Math.random = () => random;
      const at = [];
      const start = clock.monotonic;
      const kept = new PlaybackTokens({ source: backend.source });
      kept.keep(CHANNEL, { onToken: () => at.push(Math.round((clock.monotonic - start) / SECOND)) });
      await clock.advance(280 * SECOND);
      kept.close();
      assert.deepEqual(at, [0, seconds]);
    }
  });

  test("calls the methods of an object of a class", async () => {
    class Player {
      seen = [];
      onToken(token) {
        this.seen.push(token);
      }
      onError(error) {
        this.seen.push(error.code);
      }
    }
    const player = new Player();
    tokens.keep(CHANNEL, player);
    await settle();
    assert.equal(player.seen[0], await tokens.get(CHANNEL));
    backend.script = [offline];
    await clock.advance(280 * SECOND);
    assert.equal(player.seen[1], "network");
  });

  test("stops when the returned function is called", async () => {
    const stop = tokens.keep(CHANNEL);
    await settle();
    stop();
    assert.equal(clock.pending, 0);
    await clock.advance(DAY);
    assert.equal(backend.requests, 1);
  });

  test("two keepers share the requests, and the second gets the present token", async () => {
    const seen = { a: [], b: [] };
    const stop = tokens.keep(CHANNEL, { onToken: (token) => seen.a.push(token) });
    await settle();
    tokens.keep(CHANNEL, { onToken: (token) => seen.b.push(token) });
    await clock.advance(280 * SECOND);
    stop();
    await clock.advance(280 * SECOND);
    assert.equal(seen.a.length, 2);
    assert.deepEqual(seen.b.slice(0, 2), seen.a);
    assert.equal(seen.b.length, backend.requests);
  });

  test("continues after failures, with backing off", async () => {
    backend.script = Array(20).fill(offline);
    const errors = [];
    const seen = [];
    tokens.keep(CHANNEL, { onToken: (t) => seen.push(t), onError: (e) => errors.push(e.code) });
    await clock.advance(3600 * SECOND);
    assert.ok(seen.length > 10);
    assert.deepEqual(new Set(errors), new Set(["network"]));
  });

  test("reports the failure of a renewal with its cause, after one attempt", async () => {
    const errors = [];
    tokens.keep(CHANNEL, { onError: (error) => errors.push(error) });
    await settle();
    backend.script = [offline];
    await clock.advance(271 * SECOND);
    assert.deepEqual(errors.map((error) => [error.code, error.cause?.message]), [["network", "fetch failed"]]);
    assert.equal(backend.requests, 3);
  });

  test("ends with an error that is not retryable, and can be started again", async () => {
    backend.script = [status(401)];
    const errors = [];
    const onError = (error) => errors.push(error.code);
    tokens.keep(CHANNEL, { onError });
    await clock.advance(DAY);
    assert.deepEqual(errors, ["unauthenticated"]);
    assert.equal(backend.requests, 1);
    tokens.keep(CHANNEL, { onError });
    await settle();
    assert.equal(backend.requests, 2);
  });

  test("renews when the laptop wakes up, without an event, within a minute", async () => {
    tokens.keep(CHANNEL);
    await settle();
    clock.wall += DAY;
    backend.aheadOfDevice += DAY;
    await clock.advance(60 * SECOND);
    assert.equal(backend.requests, 2);
  });

  test("a token of one second does not make it a busy loop", async () => {
    backend.ttl = 1;
    tokens.keep(CHANNEL);
    await clock.advance(600 * SECOND);
    assert.ok(backend.requests <= 21, `${backend.requests} requests in ten minutes`);
  });

  test("a keeper that throws harms neither the module nor other keepers", async () => {
    const thrown = [];
    const { queueMicrotask } = globalThis;
    globalThis.queueMicrotask = (callback) =>
      queueMicrotask(() => {
        try {
          callback();
        } catch (error) {
          thrown.push(error.message); // a page would report it to `window.onerror`
        }
      });
    const seen = [];
    tokens.keep(CHANNEL, {
      onToken: () => {
        throw new Error("of the app");
      },
    });
    tokens.keep(CHANNEL, { onToken: (token) => seen.push(token) });
    await settle();
    globalThis.queueMicrotask = queueMicrotask;
    assert.equal(seen.length, 1);
    assert.deepEqual(thrown, ["of the app"]);
  });
});

describe("in a page", () => {
  let page;

  beforeEach(() => {
    page = new EventTarget();
    tokens.close();
    globalThis.document = page;
    globalThis.addEventListener = page.addEventListener.bind(page);
    tokens = new PlaybackTokens({ source: backend.source });
  });

  afterEach(() => {
    delete globalThis.document;
    delete globalThis.addEventListener;
  });

  test("a page that becomes visible renews what is due immediately", async () => {
    tokens.keep(CHANNEL);
    await settle();
    clock.wall += DAY;
    backend.aheadOfDevice += DAY;
    page.dispatchEvent(new Event("visibilitychange"));
    await settle();
    assert.equal(backend.requests, 2);
    page.dispatchEvent(new Event("visibilitychange"));
    await settle();
    assert.equal(backend.requests, 2);
  });

  test("when the network is back, nothing waits for the end of a back-off", async () => {
    backend.script = Array(50).fill(offline);
    tokens.keep(CHANNEL);
    await clock.advance(300 * SECOND);
    backend.script = [];
    const requests = backend.requests;
    page.dispatchEvent(new Event("online"));
    await settle();
    assert.equal(backend.requests, requests + 1);
  });

  test("when the network is back, a request does not wait for its next attempt", async () => {
    for (const waited of [0, 100, 400]) {
      backend.script = [offline, offline];
      const token = tokens.get(`stage-${waited}`);
      await clock.advance(waited);
      backend.script = [];
      const requests = backend.requests;
      page.dispatchEvent(new Event("online"));
      assert.ok((await after(0, token)).value, `${waited} ms after the first attempt`);
      assert.equal(backend.requests, requests + 1);
    }
  });

  test("when the network is back, each request of single-use tokens is sent", async () => {
    tokens.close();
    tokens = new PlaybackTokens({ source: backend.source, singleUse: true });
    backend.script = [offline, offline];
    const waiting = [tokens.get(CHANNEL), tokens.get(CHANNEL)];
    await settle();
    page.dispatchEvent(new Event("online"));
    for (const token of waiting) assert.ok((await after(0, token)).value);
  });

  test("when the network is back, a request that timed out does not wait either", async () => {
    backend.script = [never];
    const token = tokens.get(CHANNEL);
    await clock.advance(5 * SECOND);
    page.dispatchEvent(new Event("online"));
    assert.ok((await after(0, token)).value);
  });

  test("when the network is back, a request still waits for Retry-After", async () => {
    backend.script = [status(429, { "retry-after": "5" })];
    const token = tokens.get(CHANNEL);
    await settle();
    page.dispatchEvent(new Event("online"));
    assert.ok((await after(4 * SECOND, token)).pending);
    assert.ok((await after(3 * SECOND, token)).value);
  });

  test("when the network is back, Retry-After still holds", async () => {
    backend.script = [status(429, { "retry-after": "60" })];
    await errorOf(tokens.get(CHANNEL), 0);
    page.dispatchEvent(new Event("online"));
    await errorOf(tokens.get(CHANNEL), 0);
    assert.equal(backend.requests, 1);
  });

  test("after close, events do nothing", async () => {
    tokens.keep(CHANNEL);
    await settle();
    tokens.close();
    clock.wall += DAY;
    page.dispatchEvent(new Event("visibilitychange"));
    page.dispatchEvent(new Event("online"));
    await clock.advance(DAY);
    assert.equal(backend.requests, 1);
  });
});

describe("close", () => {
  test("rejects calls that wait, and later ones", async () => {
    backend.script = [never];
    const waiting = tokens.get(CHANNEL);
    await settle();
    tokens.close();
    tokens.close();
    assert.equal((await errorOf(waiting, 0)).code, "closed");
    assert.equal((await errorOf(tokens.get(CHANNEL), 0)).code, "closed");
    assert.throws(() => tokens.keep(CHANNEL), { code: "closed" });
    assert.ok(backend.signals[0].aborted);
  });

  test("ends the requests of single-use tokens, too", async () => {
    tokens.close();
    tokens = new PlaybackTokens({ source: backend.source, singleUse: true });
    backend.script = [never, never];
    const waiting = [tokens.get(CHANNEL), tokens.get(CHANNEL)];
    await settle();
    tokens.close();
    const errors = await Promise.all(waiting.map((got) => errorOf(got, 0)));
    assert.deepEqual(errors.map((error) => error.code), ["closed", "closed"]);
  });
});

describe("the source", () => {
  for (const source of [undefined, null, "", "/api/playback", 17, {}, ["{channel}"]]) {
    test(`${inspect(source)} is rejected`, () => {
      assert.throws(() => new PlaybackTokens({ source }), /source must be a URL with \{channel\} or a function/);
    });
  }

  test("a URL is requested with POST, with the channel in its place", async () => {
    const seen = [];
    const original = globalThis.fetch;
    globalThis.fetch = async (url, init) => {
      seen.push([url, init.method]);
      return backend.respond(backend.token());
    };
    tokens = new PlaybackTokens({ source: "/api/{channel}/playback" });
    await tokens.get("a/b?c$&é");
    globalThis.fetch = original;
    assert.deepEqual(seen, [["/api/a%2Fb%3Fc%24%26%C3%A9/playback", "POST"]]);
  });
});

test("no error, object or console shows a token", async () => {
  const printed = [];
  const originals = {};
  for (const method of ["log", "info", "warn", "error", "debug"]) {
    originals[method] = console[method];
    console[method] = (...values) => printed.push(values);
  }
  const shown = [];
  for (const body of ["secret-text", '{"playbackUrl": "secret', '{"a": "secret"}', "<p>secret"]) {
    backend.script = [(c, s, self) => self.respond(body)];
    shown.push(await errorOf(tokens.get(CHANNEL)));
    backend.script = [(c, s, self) => self.respond(body, { status: 403 })];
    shown.push(await errorOf(tokens.get(CHANNEL)));
  }
  const second = await tokens.onUnauthorized(CHANNEL, await tokens.get(CHANNEL));
  shown.push(await errorOf(tokens.onUnauthorized(CHANNEL, second)), tokens);
  await tokens.get(CHANNEL);
  const text = shown.map((value) => inspect(value, { depth: 9, showHidden: true }) + JSON.stringify(value)).join();
  Object.assign(console, originals);
  assert.ok(!text.includes("secret"), text);
  assert.deepEqual(printed, []);
});

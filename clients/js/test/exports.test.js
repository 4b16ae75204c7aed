import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as client from "../index.js";

const types = readFileSync(new URL("../index.d.ts", import.meta.url), "utf8");

test("what is exported is declared, and what is declared is exported", () => {
  const declared = [...types.matchAll(/^export class (\w+)/gm)].map((found) => found[1]);
  assert.deepEqual(Object.keys(client).sort(), declared.sort());
});

test("PlaybackTokens has the methods that are declared", () => {
  const [, body] = types.match(/^export class PlaybackTokens<[^]*?\{\n([^]*?)^\}/m);
  const declared = [...body.matchAll(/^ {2}(\w+)\(/gm)].map((found) => found[1]);
  assert.deepEqual(Object.getOwnPropertyNames(client.PlaybackTokens.prototype).sort(), declared.sort());
});

test("every code that is declared has a message of its own kind, and says whether to retry", () => {
  const [, union] = types.match(/PlaybackTokenErrorCode =\n([^]*?);/);
  const retryable = [...union.matchAll(/\/\*\* (.*?) \*\/\n {2}\| "(\w+)"/g)];
  assert.equal(retryable.length, 10);
  for (const [, text, code] of retryable) {
    const error = new client.PlaybackTokenError(code);
    assert.equal(error.retryable, text.includes("Retryable."), code);
    assert.match(error.message, new RegExp(`^no playback token \\(${code}\\): .`));
    assert.equal(error.message.endsWith("retry later"), error.retryable, code);
  }
});

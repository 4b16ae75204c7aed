// How an app in TypeScript uses the module; `npm run check` compiles it with `--strict`.
import { PlaybackTokenError, PlaybackTokens, type PlaybackToken, type PlaybackTokenErrorCode } from "tokensvc-client";

const tokens = new PlaybackTokens({ source: "/api/playback/{channel}" });
const token: PlaybackToken = await tokens.get("main-stage", { signal: AbortSignal.timeout(1000) });
const url: string | undefined = token.playbackUrl;
await tokens.onUnauthorized("main-stage", token);
await tokens.onUnauthorized("main-stage", url);

interface Titled extends PlaybackToken {
  readonly title: string;
}

const titled = new PlaybackTokens<Titled>({
  source: (channel, signal) => fetch(`/playback/${channel}`, { method: "POST", credentials: "include", signal }),
  timeout: 2000,
  retries: 0,
  maxWait: 0,
  singleUse: false,
});
const title: string = (await titled.get("main-stage")).title;
const stop: () => void = titled.keep("main-stage", { onToken: ({ title }) => title.length, onError: (e) => e.code });
stop();
titled.close();

export function textFor(error: unknown): string {
  if (!(error instanceof PlaybackTokenError)) throw error;
  const texts: Partial<Record<PlaybackTokenErrorCode, string>> = { forbidden: "You cannot watch this." };
  return texts[error.code] ?? (error.retryable ? `Try again in ${error.retryAfter ?? 1} s.` : title);
}

// @ts-expect-error source is required
new PlaybackTokens({});
// @ts-expect-error there is no such option
new PlaybackTokens({ source: "/{channel}", apiKey: "tsk_" });
// @ts-expect-error a source gives a token or a response
new PlaybackTokens({ source: () => 1 });
// @ts-expect-error a channel is required
tokens.get();
// @ts-expect-error a token cannot be changed
token.playbackUrl = "";
// @ts-expect-error there is no such code
const unknown: PlaybackTokenErrorCode = "expired";

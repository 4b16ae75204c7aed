/** What the app's backend passes on of tokensvc's response. It has `playbackUrl`, `token` or both. */
export interface PlaybackToken {
  /** The channel's playback URL with the token: pass it to the player unchanged. */
  readonly playbackUrl?: string;
  /** The token alone, for a player that appends `?token=` itself. */
  readonly token?: string;
  /** Until when the token can start playback, in RFC 3339. A playback that has started continues. */
  readonly expiresAt?: string;
  /** From when on playback that starts anew should use another token, in RFC 3339. */
  readonly refreshAfter?: string;
}

/**
 * Requests a token from the app's backend, once. A `Response` of `fetch` also brings `Date`, `Retry-After` and a status;
 * otherwise its JSON may be returned. The signal is aborted when nobody waits for the token, and after `timeout`.
 */
export type TokenSource<Token extends PlaybackToken = PlaybackToken> = (
  channel: string,
  signal: AbortSignal,
) => Response | Token | Promise<Response | Token>;

export interface PlaybackTokensOptions<Token extends PlaybackToken = PlaybackToken> {
  /**
   * The backend: a URL in which `{channel}` stands for the channel, requested with POST and the cookies of its own
   * origin, or a function that requests a token.
   */
  source: string | TokenSource<Token>;
  /** How long one request may take, in ms. Default: 5,000. */
  timeout?: number;
  /** How often a failed request is repeated by `get` while there is no usable token. Default: 3. */
  retries?: number;
  /** How long a request waits, at most, for the end of a back-off or of `Retry-After`, in ms. Default: 10,000. */
  maxWait?: number;
  /** Whether the backend requests tokens with `singleUse`: each call of `get` then requests another one. */
  singleUse?: boolean;
}

/** What went wrong. `retryable` of the error says whether the same call can succeed later. */
export type PlaybackTokenErrorCode =
  /** The backend responded with 401: the viewer is not signed in to the app. */
  | "unauthenticated"
  /** The backend responded with 403: the viewer may not watch the channel. */
  | "forbidden"
  /** The backend responded with 429. Retryable. */
  | "rate_limited"
  /** The backend responded with 408 or a status from 500 on. Retryable. */
  | "unavailable"
  /** The backend responded with another status than 2xx. */
  | "http_error"
  /** There was no response. Retryable. */
  | "network"
  /** There was no response within `timeout`. Retryable. */
  | "timeout"
  /** The response is not JSON, or has neither `playbackUrl` nor `token`. */
  | "invalid_response"
  /** `onUnauthorized` has replaced the token once already, or the backend returned the same one again. */
  | "rejected"
  /** `close` was called. */
  | "closed";

export interface PlaybackTokenErrorDetails {
  status?: number;
  retryAfter?: number;
  cause?: unknown;
}

/** No error contains a token, a playback URL or the body of a response. A `TokenSource` may throw its own. */
export class PlaybackTokenError extends Error {
  constructor(code: PlaybackTokenErrorCode, details?: PlaybackTokenErrorDetails);
  readonly name: "PlaybackTokenError";
  readonly code: PlaybackTokenErrorCode;
  /** Whether the same call can succeed later. */
  readonly retryable: boolean;
  /** The status of the response, if there was one. */
  readonly status?: number;
  /** After how many seconds to try again, if the backend said so or requests are being held back. */
  readonly retryAfter?: number;
}

export interface KeepOptions<Token extends PlaybackToken = PlaybackToken> {
  /** Called with the present token, if there is one, and with each new one. */
  onToken?: (token: Token) => void;
  /** Called when a request fails. If the error is not retryable, keeping has ended: call `keep` again. */
  onError?: (error: PlaybackTokenError) => void;
}

/** Requests, caches and replaces playback tokens. One object is enough for a page. */
export class PlaybackTokens<Token extends PlaybackToken = PlaybackToken> {
  /** Throws `TypeError` unless `source` is a function or a URL that contains `{channel}`. */
  constructor(options: PlaybackTokensOptions<Token>);

  /**
   * A token that can start playback: the cached one before its `refreshAfter`, then another one. Calls for one channel
   * share a request. While the backend fails, a cached token is returned until it expires.
   *
   * Rejects with `PlaybackTokenError`, or with the signal's reason when that is aborted.
   */
  get(channel: string, options?: { signal?: AbortSignal | undefined }): Promise<Token>;

  /**
   * Another token, immediately, for one that the edge has rejected with 401 or 403. A token is replaced once: if the
   * replacement is rejected before its `refreshAfter`, or within ten seconds, the cause is not expiry, and the promise
   * rejects with `rejected`.
   *
   * `rejected` is what `get` returned, or its `playbackUrl` or `token`; if it is missing, the present token.
   */
  onUnauthorized(
    channel: string,
    rejected?: PlaybackToken | string,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<Token>;

  /**
   * Renews the channel's token in the background, at a random time in the first half of the interval from `refreshAfter`
   * to `expiresAt`, and after failures, until the returned function is called. Only players need it whose URL has to be
   * at hand when they start anew by themselves; for all others, `get` at each start costs fewer requests.
   *
   * Throws `TypeError` with `singleUse`, and `PlaybackTokenError` (`closed`) after `close`.
   */
  keep(channel: string, options?: KeepOptions<Token>): () => void;

  /** Ends requests and timers; calls that wait reject with `closed`, and so does every later call. */
  close(): void;
}

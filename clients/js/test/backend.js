/** A backend for tests, in the place of `fetch`: it issues numbered tokens by its own clock, or what a test scripts. */

export const CHANNEL = "main-stage";

export class FakeBackend {
  requests = 0;
  signals = [];
  ttl = 300;
  hasDate = true;
  /** What the next requests get instead of a token, in order. */
  script = [];
  /** How far the server's clock is ahead of the device's, in ms. */
  aheadOfDevice = 0;

  constructor(clock) {
    this.clock = clock;
    // The server's time passes with the monotonic clock, whatever is done to the device's clock.
    this.offset = clock.wall - clock.monotonic;
  }

  get now() {
    return this.clock.monotonic + this.offset + this.aheadOfDevice;
  }

  source = async (channel, signal) => {
    this.requests++;
    this.signals.push(signal);
    const scripted = this.script.shift();
    if (scripted) return scripted(channel, signal, this);
    return this.respond(this.token(channel));
  };

  token(channel = CHANNEL) {
    const issued = Math.floor(this.now / 1000);
    return {
      token: `secret-${this.requests}`,
      playbackUrl: `https://edge.example/${channel}.m3u8?token=secret-${this.requests}`,
      expiresAt: rfc3339(issued + this.ttl),
      refreshAfter: rfc3339(issued + Math.floor(this.ttl * 0.8)),
    };
  }

  respond(body, { status = 200, headers = {} } = {}) {
    const date = this.hasDate ? { date: new Date(this.now).toUTCString() } : {};
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return new Response(status === 204 ? null : text, { status, headers: { ...date, ...headers } });
  }
}

/** A scripted response with this status. */
export const status =
  (code, headers) =>
  (_channel, _signal, backend) =>
    backend.respond("secret-in-the-body", { status: code, headers });

/** A request that nobody answers; it ends with its signal. */
export const never = (_channel, signal) =>
  new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });

/** A connection that fails. */
export const offline = () => Promise.reject(new TypeError("fetch failed"));

function rfc3339(seconds) {
  return new Date(seconds * 1000).toISOString().replace(".000", "");
}

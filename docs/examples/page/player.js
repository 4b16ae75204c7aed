import Hls from "./hls.mjs";
import { PlaybackTokens } from "./tokensvc-client.js";

const CHANNEL = "main-stage";
const tokens = new PlaybackTokens({ source: "/api/playback/{channel}" });
const hls = new Hls();
let token; // what the player was given
let reloadedAt = -Infinity;

const show = (text) => (document.querySelector("#status").textContent = text);

/** Start playback, or start it anew. */
async function start(next = tokens.get(CHANNEL)) {
  try {
    token = await next;
    hls.loadSource(token.playbackUrl);
  } catch (error) {
    show(error.retryable ? `Try again in ${error.retryAfter ?? "a few"} seconds.` : error.message);
  }
}

hls.on(Hls.Events.MANIFEST_PARSED, (_, { levels }) => show(`renditions: ${levels.map(({ height }) => `${height}p`)}`));

hls.on(Hls.Events.ERROR, (_, { fatal, details, response }) => {
  if (!fatal) return;
  const isRejected = response?.code === 401 || response?.code === 403;
  if (isRejected && details === Hls.ErrorDetails.MANIFEST_LOAD_ERROR) {
    start(tokens.onUnauthorized(CHANNEL, token)); // the token was rejected: another one, once
  } else if (isRejected && performance.now() - reloadedAt > 10_000) {
    reloadedAt = performance.now(); // the session has ended: start another one
    start();
  } else {
    show(`${document.querySelector("#status").textContent} (${details})`);
  }
});

document.querySelector("#restart").addEventListener("click", () => start());
hls.attachMedia(document.querySelector("#video"));
start();

// An app's backend in Express that gets playback tokens for its signed-in viewers.
import { readFileSync } from "node:fs";
import express from "express";

const { TOKENS_URL, TOKENS_API_KEY_FILE, CHANNEL_ARN, PORT = "3000" } = process.env;
const { PAGE_ORIGIN = "http://127.0.0.1:3000" } = process.env;
const API_KEY = readFileSync(TOKENS_API_KEY_FILE, "utf8").trim();
const STREAMS = new Map([["main-stage", CHANNEL_ARN]]);
// STAND-IN for your own sessions: the value of the cookie -> the viewer.
const SESSIONS = new Map([
  ["session-of-ada", "ada@example.com"],
  ["session-of-eve", "eve@example.com"],
]);

const app = express();

app.post("/api/playback/:stream", async (request, response) => {
  response.set("cache-control", "no-store");
  // STAND-IN: authenticate the viewer as your app does.
  const viewer = SESSIONS.get(request.headers.cookie?.match(/(?:^|; )session=([^;]*)/)?.[1]);
  if (viewer === undefined) return fail(response, 401);
  // Your own rules belong here: may this viewer watch this stream?
  const channelArn = STREAMS.get(request.params.stream);
  if (channelArn === undefined) return fail(response, 404);
  const fields = { channelArn, subject: viewer, allowedOrigins: [PAGE_ORIGIN], requirePlaybackUrl: true };

  let status, body, retryAfter;
  try {
    // A viewer is waiting: one attempt of three seconds, then the page tries again.
    const answer = await fetch(`${TOKENS_URL}/v1/tokens`, {
      method: "POST",
      headers: { authorization: `Bearer ${API_KEY}`, "content-type": "application/json" },
      body: JSON.stringify(fields),
      signal: AbortSignal.timeout(3_000),
      redirect: "error",
    });
    ({ status } = answer);
    retryAfter = answer.headers.get("retry-after");
    body = await answer.json();
  } catch (error) {
    // No response, or one that is not from tokensvc: a proxy's page is not JSON.
    console.warn(`no token: ${status ?? error.cause?.code ?? error.name}`);
    return fail(response, 503, retryAfter);
  }
  if (status === 201) {
    const { playbackUrl, expiresAt, refreshAfter } = body;
    return response.json({ playbackUrl, expiresAt, refreshAfter });
  }
  console.warn(`no token: ${status} ${body.code}`);
  if (body.code === "viewer_denied") return fail(response, 403);
  if (status === 429) return fail(response, 429, retryAfter);
  return [502, 503, 504].includes(status) ? fail(response, 503, retryAfter) : fail(response, 502);
});

/** What the page learns of an error: whether and when to try again, and nothing else. */
function fail(response, status, retryAfter) {
  if (status === 429 || status === 503) response.set("retry-after", retryAfter ?? "2");
  response.status(status).json({ error: "playback is not available" });
}

// STAND-IN for your sign-in.
app.get("/sign-in/:name", (request, response) => {
  response.cookie("session", `session-of-${request.params.name}`, { httpOnly: true, sameSite: "lax" });
  response.redirect(303, "/");
});

app.use(express.static("static"));

const server = app.listen(Number(PORT), "127.0.0.1", (error) => {
  if (error) throw error;
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

/** The watch page: joins the channel, the token, the player and what decides about a start. */

import { wireActions } from "./actions.js";
import { act } from "./api.js";
import { Channels } from "./channels.js";
import { busy, byId, element, showFacts } from "./dom.js";
import { clearErrors, showProblem } from "./field-errors.js";
import { note } from "./log.js";
import { TimedMetadata } from "./metadata.js";
import { Player } from "./player.js";
import { playbackOrigin, playerOrigin } from "./origins.js";
import { Screen } from "./screen.js";
import { showStats } from "./stats.js";
import { claims, setToken, showToken, tokenText } from "./token.js";
import { tokenRequest } from "./token-form.js";
import { showDecision, showWaiting } from "./verdict.js";

const channels = new Channels();
const player = new Player(byId("video"));
const metadata = new TimedMetadata(byId("video"), (text) => note("metadata", text));
const screen = new Screen();
let session = {};

function showAlert(text) {
  byId("alert").textContent = text ?? "";
  byId("alert").hidden = !text;
}

/** Request a token. Returns whether there is one. */
async function requestToken() {
  const [form, summary] = [byId("token-form"), byId("form-error")];
  clearErrors(form, summary);
  try {
    const reply = await act("tokens", tokenRequest(channels.current.arn));
    setToken(reply.token);
    if (reply.viewerId) byId("revoke-viewer").value = reply.viewerId;
    note("token", reply.viewerId ? `issued, session version ${reply.viewerSessionVersion}` : "issued for an anonymous viewer");
    return true;
  } catch (problem) {
    showProblem(form, summary, problem);
    note("no token", problem.message);
    if (!player.isActive) screen.show("no-token", "No token", problem.message);
    return false;
  }
}

/** Explain the token of the start that follows, and start. */
async function play(token) {
  const channel = channels.current;
  showAlert();
  player.stop();
  try {
    const explanation = await act("explanations", { channelArn: channel.arn, token, origin: playerOrigin() });
    showWaiting(explanation);
    session = { explanation, withToken: Boolean(token) };
  } catch (problem) {
    showAlert(problem.message);
    return;
  }
  screen.show("loading", "Starting", "The player requests the multivariant playlist.");
  note("start", `${token ? "with" : "without"} a token, ${playerOrigin() ? `Origin ${playerOrigin()}` : "no Origin header"}`);
  const query = token ? `?token=${encodeURIComponent(token)}` : "";
  player.start(`${playbackOrigin()}${channel.playbackPath}${query}`);
  byId("stop").disabled = false;
}

player.addEventListener("decided", ({ detail }) => showDecision(detail, session.explanation));
player.addEventListener("started", ({ detail }) => {
  const read = session.withToken ? claims() ?? {} : {};
  const offered = detail.levels.toReversed().join(", ");
  session = {
    ...session,
    "Session": detail.sessionId,
    "Stream": channels.current?.stream?.streamId,
    "Started": `${new Date(channels.now).toISOString().slice(11, 19)} UTC`,
    "Viewer": read["aws:viewer-id"],
    "Version": read["aws:viewer-session-version"],
    "Origin": playerOrigin() || "none sent",
    "Renditions": offered,
  };
  channels.sessionId = detail.sessionId;
  note("playlist", `offers ${offered}`);
  byId("level").replaceChildren(
    element("option", { value: "-1" }, "Automatic"),
    ...detail.levels.map((name, index) => element("option", { value: String(index) }, name)).reverse(),
  );
  byId("level").disabled = false;
  showSession("playing");
});
player.addEventListener("playing", () => {
  if (screen.state !== "playing") note("plays", "the picture is running");
  screen.show("playing");
});
player.addEventListener("level", ({ detail }) => note("level", detail.name));
player.addEventListener("stalled", () => note("stalled", "the buffer ran empty"));
player.addEventListener("ad-break", ({ detail }) => note("ad break", detail.text));
player.addEventListener("stopped", () => {
  metadata.clear();
  showSession("stopped");
  byId("stop").disabled = true;
  byId("level").disabled = true;
  screen.show("idle");
});
player.addEventListener("failed", ({ detail }) => {
  const { kind, text } = screen.fail(detail);
  note(kind, text);
  showSession(kind);
  channels.refresh();
});
player.addEventListener("metadata", ({ detail }) => metadata.add(detail.samples));

/** Show the session: what the player got, and what the edge has stored. */
function showSession(state) {
  const { explanation, withToken, state: previous, ...facts } = session;
  session.state = state ?? previous;
  const stored = channels.overview.session;
  showFacts(byId("session"), {
    Player: session.state ?? "no playback yet",
    ...facts,
    "At the edge": facts.Session && (stored ? (stored.isActive ? "active" : "has ended") : "unknown"),
    "Capped at": stored?.maximumResolution ?? undefined,
    "Strict origin": stored?.strictOrigin ? "yes" : undefined,
  });
}

channels.addEventListener("choose", () => {
  player.stop();
  setToken("");
  screen.show("idle");
});
channels.addEventListener("error", ({ detail }) => showAlert(detail.message));
channels.addEventListener("update", () => {
  if (byId("alert").textContent.startsWith("The server does not respond")) showAlert();
  const channel = channels.current;
  const isLive = Boolean(channel?.stream);
  byId("air").textContent = channel ? (isLive ? `On air${viewers(channel.stream)}` : "Off air") : "No channel";
  byId("air").dataset.live = isLive;
  byId("toggle-air").textContent = isLive ? "Take off air" : "Put on air";
  for (const id of ["toggle-air", "request-and-play", "request", "play-bare", "rotate"]) byId(id).disabled = !channel;
  byId("ad-form").hidden = !channel?.hasAdConfiguration;
  byId("token-source").textContent = channels.overview.tokens;
  const pairs = channels.overview.keyPairs ?? [];
  byId("key-pairs").replaceChildren(
    ...(pairs.length ? pairs.map(keyItem) : [element("li", {}, "No key pair is imported yet.")]),
  );
  screen.offer(channel);
  showSession();
  showToken(channels.now);
});

const viewers = ({ viewerCount }) => (viewerCount === undefined ? "" : ` · ${viewerCount} watching`);

function keyItem({ name, fingerprint }) {
  return element("li", { title: fingerprint }, `${name || "unnamed"} `, element("code", {}, fingerprint.slice(0, 17)));
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(byId("request"), async () => channels.current && requestToken());
});
byId("request-and-play").addEventListener("click", ({ currentTarget }) =>
  busy(currentTarget, async () => (await requestToken()) && play(tokenText())),
);
byId("play").addEventListener("click", ({ currentTarget }) => busy(currentTarget, () => play(tokenText())));
byId("play-bare").addEventListener("click", ({ currentTarget }) => busy(currentTarget, () => play("")));
byId("stop").addEventListener("click", () => player.stop());
byId("level").addEventListener("change", ({ target }) => player.setLevel(Number(target.value)));
wireActions(channels, showAlert);

setInterval(() => {
  byId("clock").textContent = `${new Date(channels.now).toISOString().slice(11, 19)} UTC`;
  showToken(channels.now);
  showStats(player.figures());
}, 500);
showStats({});
showSession();
channels.run();

/** What covers the picture while nothing plays: what to do next, or why playback ended. */

import { byId } from "./dom.js";

const TITLES = { refused: "Refused", "cut off": "Cut off", "off air": "Off air", failed: "Playback failed" };
const STATES = { refused: "refused", "cut off": "cut-off", "off air": "off-air", failed: "refused" };

export class Screen {
  #channel;
  state = "idle";

  /** Show a state: `idle`, `loading`, `playing` or one of a failure. */
  show(state, title = "", text = "") {
    this.state = state;
    byId("screen").dataset.state = state;
    byId("overlay-title").textContent = title;
    byId("overlay-text").textContent = text;
    if (state === "idle") this.offer(this.#channel);
  }

  /** Say what may be done next with a channel, unless there is something more important to say. */
  offer(channel) {
    this.#channel = channel;
    byId("create-first").hidden = Boolean(channel);
    if (this.state !== "idle") return;
    const [title, text] = idleText(channel);
    if (byId("overlay-title").textContent !== title) byId("overlay-title").textContent = title;
    if (byId("overlay-text").textContent !== text) byId("overlay-text").textContent = text;
  }

  /** Show why playback ended. Returns the kind, and the text for the log. */
  fail({ kind, status, rule, error, code, what }) {
    const title = TITLES[kind];
    let text = `${status} ${error}${code ? ` (${code})` : ""}${rule ? `, by the rule ${rule}` : ""}`;
    if (!status) {
      text =
        kind === "refused"
          ? "The browser did not let the page read the playlist: its response allows other origins only (CORS)."
          : `hls.js reports ${what}.`;
    } else if (!error) text = `status ${status}, hls.js reports ${what}`;
    this.show(STATES[kind], title, text);
    return { kind, text };
  }
}

function idleText(channel) {
  if (!channel) return ["There is no channel yet", "Create one here, or with CreateChannel of the API."];
  if (!channel.stream) return ["Off air", "Put the channel on air to play it."];
  if (channel.authorized) return ["Ready", "This channel is private: request a token and play, or see a player without one refused."];
  return ["Ready", "This channel is public: it plays without a token."];
}

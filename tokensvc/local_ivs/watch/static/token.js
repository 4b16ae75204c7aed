/** The token in use: its text, its claims, and how long it can start playback. */

import { byId } from "./dom.js";

const box = byId("token");

/** The text of the token; "" if there is none. */
export const tokenText = () => box.value.trim();

export function setToken(token) {
  box.value = token;
  showToken();
}

/** The claims of the token, whether or not they are signed; undefined if they cannot be read. */
export function claims() {
  try {
    const payload = tokenText().split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** Show claims and remaining life; `now` is the local IVS's time in milliseconds. */
export function showToken(now = Date.now()) {
  const read = claims();
  byId("claims").textContent = read ? JSON.stringify(read, null, 2) : tokenText() ? "The payload cannot be read." : "–";
  byId("play").disabled = !tokenText() || byId("play-bare").disabled;
  const seconds = read && Number.isFinite(read.exp) ? Math.round(read.exp - now / 1000) : undefined;
  byId("token-life").textContent =
    seconds === undefined ? "" : seconds > 0 ? `can start for ${clockText(seconds)}` : "has expired";
}

const clockText = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;

box.addEventListener("input", () => showToken());

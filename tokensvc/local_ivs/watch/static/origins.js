/** Where the player asks for the stream.
 *
 * A browser sends no `Origin` header with a request to the page's own origin. On IVS a page and its stream always have
 * different origins. So the player asks under this machine's other name, localhost for 127.0.0.1 and the reverse, and
 * the rules about origins apply as they do on IVS. */

import { byId } from "./dom.js";

const OTHER = { "127.0.0.1": "localhost", localhost: "127.0.0.1" };
const box = byId("cross-origin");
const other = OTHER[location.hostname];

/** The origin of the playback URL. */
export function playbackOrigin() {
  return other && box.checked ? `${location.protocol}//${other}${location.port && `:${location.port}`}` : location.origin;
}

/** The Origin header that the player sends; "" if it sends none. */
export function playerOrigin() {
  return playbackOrigin() === location.origin ? "" : location.origin;
}

function explain() {
  byId("origin-note").textContent = playerOrigin() ? `sends Origin: ${playerOrigin()}` : "sends no Origin header";
}

if (!other) {
  box.checked = false;
  box.disabled = true;
}
box.addEventListener("change", explain);
explain();

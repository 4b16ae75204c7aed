/** Figures under the picture. */

import { byId, showFacts } from "./dom.js";

const seconds = (value) => (value === undefined ? "–" : `${value.toFixed(1)} s`);

export function showStats({ level, time, bufferSeconds, latencySeconds, bandwidth, decoded, dropped, playingAt }) {
  showFacts(byId("stats"), {
    Rendition: level ?? "–",
    "Picture from": playingAt ? `${playingAt.toISOString().slice(11, 19)} UTC` : "–",
    Position: seconds(time),
    Buffer: seconds(bufferSeconds),
    "Behind live": seconds(latencySeconds),
    Bandwidth: bandwidth ? `${(bandwidth / 1e6).toFixed(1)} Mbit/s` : "–",
    Frames: decoded ?? "–",
    Dropped: dropped ?? "–",
  });
}

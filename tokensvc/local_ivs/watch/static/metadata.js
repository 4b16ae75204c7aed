/** Timed metadata, reported when the picture reaches it, in order.
 *
 * The cues are on a text track of the page. hls.js's own is a <track> element, which Chromium empties once it has loaded:
 * the cues of the first segment with metadata are lost. */

import { texts } from "./id3.js";

const CUE_SECONDS = 0.5;

/** Calls `report(text)` for each piece of metadata in its time. */
export class TimedMetadata {
  #track;
  #report;

  constructor(video, report) {
    this.#track = video.addTextTrack("metadata", "timed metadata");
    this.#track.mode = "hidden"; // cues become active, and nothing is drawn
    this.#report = report;
  }

  /** Add samples of hls.js (`FRAG_PARSING_METADATA`). */
  add(samples) {
    for (const { pts, data } of samples) {
      for (const text of texts(data)) {
        const cue = new VTTCue(pts, pts + CUE_SECONDS, "");
        cue.addEventListener("enter", () => this.#report(text));
        this.#track.addCue(cue);
      }
    }
  }

  /** Forget everything: the times of another start are other times. */
  clear() {
    for (const cue of [...this.#track.cues]) this.#track.removeCue(cue);
  }
}

/** hls.js on the video element, as a viewer's player would use it. What happens is reported as events:
 *
 * `decided` {status, rule, error, code}, which the edge responded to the start; status 0 if the page may not read it,
 * `started` {sessionId, levels}, `playing`, `level` {name}, `stalled`, `ad-break` {text}, `metadata` {samples}, `stopped`,
 * `failed` {kind: "refused" | "cut off" | "off air" | "failed", status, rule, error, code, what}
 */

const { Hls } = globalThis;

const CONFIG = {
  enableWorker: false, // a worker would need `worker-src blob:` in the page's policy
  liveSyncDurationCount: 2,
  maxBufferLength: 10,
  backBufferLength: 10,
  enableWebVTT: false,
  // metadata.js makes the cues; hls.js would make them on a <track> with a data: URL, which the policy forbids.
  enableID3MetadataCues: false,
  enableEmsgMetadataCues: false,
  enableDateRangeMetadataCues: false,
};
const RULE_HEADER = "tokensvc-rule:";
const D = Hls.ErrorDetails;
const START_ERRORS = new Set([D.MANIFEST_LOAD_ERROR, D.MANIFEST_LOAD_TIMEOUT]);
const PLAYLIST_ERRORS = new Set([D.LEVEL_LOAD_ERROR, D.FRAG_LOAD_ERROR]);

export class Player extends EventTarget {
  #video;
  #hls;
  #adBreaks = new Set();

  constructor(video) {
    super();
    this.#video = video;
    video.addEventListener("playing", () => this.#hls && this.#emit("playing"));
  }

  get isActive() {
    return this.#hls !== undefined;
  }

  /** Start playback of a multivariant playlist. */
  start(url) {
    this.stop();
    const hls = new Hls(CONFIG);
    this.#hls = hls;
    this.#adBreaks.clear();
    hls.on(Hls.Events.MANIFEST_LOADED, (_, data) => this.#emit("decided", { status: data.networkDetails.status }));
    hls.on(Hls.Events.MANIFEST_PARSED, (_, data) => {
      const sessionId = data.sessionData?.["VIDEO-SESSION-ID"]?.VALUE ?? "";
      this.#emit("started", { sessionId, levels: data.levels.map(levelName) });
      this.#video.play().catch(() => {}); // a browser may wait for a click on the picture
    });
    hls.on(Hls.Events.LEVEL_SWITCHED, (_, { level }) => this.#emit("level", { name: levelName(hls.levels[level]) }));
    hls.on(Hls.Events.LEVEL_UPDATED, (_, { details }) => this.#noteAdBreaks(details.dateRanges ?? {}));
    hls.on(Hls.Events.FRAG_PARSING_METADATA, (_, { samples }) => this.#emit("metadata", { samples }));
    hls.on(Hls.Events.ERROR, (_, data) => this.#onError(data));
    hls.attachMedia(this.#video);
    hls.loadSource(url);
  }

  /** End playback. */
  stop() {
    if (!this.#hls) return;
    this.#hls.destroy();
    this.#hls = undefined;
    this.#video.removeAttribute("src");
    this.#video.load();
    this.#emit("stopped");
  }

  /** Play one rendition only, by its place among `levels`, which hls.js sorts by bit rate; -1 for an automatic choice. */
  setLevel(index) {
    if (this.#hls) this.#hls.nextLevel = index;
  }

  /** Figures about the present moment; undefined where playback has not got there. */
  figures() {
    const hls = this.#hls;
    if (!hls) return {};
    const { buffered, currentTime } = this.#video;
    const end = buffered.length ? buffered.end(buffered.length - 1) : currentTime;
    const quality = this.#video.getVideoPlaybackQuality();
    return {
      level: hls.currentLevel >= 0 ? levelName(hls.levels[hls.currentLevel]) : undefined,
      time: currentTime,
      bufferSeconds: Math.max(0, end - currentTime),
      latencySeconds: hls.latency || undefined,
      bandwidth: hls.bandwidthEstimate || undefined,
      decoded: quality.totalVideoFrames,
      dropped: quality.droppedVideoFrames,
      playingAt: hls.playingDate ?? undefined,
    };
  }

  #onError(data) {
    if (data.details === D.BUFFER_STALLED_ERROR) this.#emit("stalled");
    const status = data.response?.code ?? 0;
    const isGone = PLAYLIST_ERRORS.has(data.details) && (status === 403 || status === 404);
    if (!data.fatal && !isGone) return;
    const isStart = START_ERRORS.has(data.details);
    const response = { status, ...readError(data.networkDetails) };
    this.stop();
    if (isStart) this.#emit("decided", response);
    this.#emit("failed", { kind: kindOf(response, isStart), ...response, what: data.details });
  }

  #noteAdBreaks(dateRanges) {
    for (const [id, range] of Object.entries(dateRanges)) {
      if (!range || this.#adBreaks.has(id)) continue;
      this.#adBreaks.add(id);
      const at = range.startDate.toISOString().slice(11, 19);
      this.#emit("ad-break", { text: `announced for ${at} UTC, ${range.duration ?? "?"} s` });
    }
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** A rendition's name as in IVS's playlists. */
function levelName(level) {
  return `${level.height}p${Math.round(level.frameRate ?? level.attrs?.["FRAME-RATE"] ?? 0) || ""}`;
}

/** What ended playback: `refused` is a start that the edge denied, or that the browser keeps from the page. */
function kindOf({ status, rule }, isStart) {
  if (status === 404) return "off air";
  if (isStart) return !status || status === 403 || rule ? "refused" : "failed";
  return status === 403 ? "cut off" : "failed";
}

/** What the edge says of an error: the rule in a header, the rest in the body, which is a list with one object. */
function readError(request) {
  return { rule: ruleOf(request), ...readBody(request) };
}

/** The rule that denied the request; "" if none is named. `getResponseHeader` logs an error where the header is absent
 * or may not be read, and the list of all headers has those that the page may read. */
function ruleOf(request) {
  const line = (request?.getAllResponseHeaders?.() ?? "").split("\r\n").find((header) => header.startsWith(RULE_HEADER));
  return line ? line.slice(RULE_HEADER.length).trim() : "";
}

function readBody(request) {
  try {
    const text = request.responseType === "arraybuffer" ? new TextDecoder().decode(request.response) : request.responseText;
    const [entry] = JSON.parse(text);
    return { error: String(entry.error ?? ""), code: String(entry.error_code ?? "") };
  } catch {
    return { error: "", code: "" };
  }
}

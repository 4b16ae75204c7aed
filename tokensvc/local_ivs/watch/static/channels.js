/** The channels and what is known of the chosen one, asked for again every few seconds. */

import { read } from "./api.js";
import { byId, element } from "./dom.js";

const CREATE = "create";
const EVERY_MS = 2000;
const STORED = "tokensvc-watch-channel";

/** Emits `update` with what the server said, `choose` when another channel was chosen, `create`, and `error`. */
export class Channels extends EventTarget {
  #select = byId("channel");
  #shown = "";
  #arn = sessionStorage.getItem(STORED) ?? "";
  /** The session that the server is asked about. */
  sessionId = "";
  /** The last response of the server. */
  overview = { channels: [], keyPairs: [] };

  constructor() {
    super();
    this.#select.addEventListener("change", () => this.#onChange());
  }

  /** The chosen channel; undefined if there is none. */
  get current() {
    return this.overview.channels.find((channel) => channel.arn === this.#arn);
  }

  /** The local IVS's time in milliseconds. */
  get now() {
    return Date.now() + (this.overview.clockOffsetSeconds ?? 0) * 1000;
  }

  choose(arn) {
    this.#arn = arn;
    sessionStorage.setItem(STORED, arn);
    this.dispatchEvent(new Event("choose"));
    return this.refresh();
  }

  /** Ask again now, and then every few seconds while the page is visible. */
  async run() {
    for (;;) {
      if (!document.hidden) await this.refresh();
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  async refresh() {
    try {
      const query = this.#arn ? { channelArn: this.#arn } : {};
      // Anyone who has the id of a session can play its media, so it is in no URL, which servers write to their logs.
      const headers = this.sessionId ? { "tokensvc-watch-session": this.sessionId } : {};
      this.overview = await read("overview", query, headers);
      const { channels } = this.overview;
      if (channels.length && !this.current) return this.choose(channels[0].arn);
      this.#show(channels);
      this.dispatchEvent(new Event("update"));
    } catch (problem) {
      this.dispatchEvent(new CustomEvent("error", { detail: problem }));
    }
  }

  #show(channels) {
    const shown = JSON.stringify(channels.map(({ arn, name, authorized }) => [arn, name, authorized]));
    if (shown !== this.#shown || !this.#select.options.length) {
      const accountRegions = new Set(channels.map(({ region, account }) => `${account}/${region}`));
      const options = channels.map((channel) => element("option", { value: channel.arn }, label(channel, accountRegions.size > 1)));
      if (!channels.length) options.push(element("option", { value: "" }, "No channel yet"));
      this.#select.replaceChildren(...options, element("option", { value: CREATE }, "Create a channel …"));
      this.#shown = shown;
    }
    this.#select.value = this.current?.arn ?? "";
  }

  #onChange() {
    const wanted = this.#select.value;
    if (wanted === CREATE) {
      this.#select.value = this.current?.arn ?? "";
      this.dispatchEvent(new Event("create"));
    } else if (wanted) this.choose(wanted);
  }
}

function label(channel, isRegionShown) {
  const name = channel.name || channel.arn.split("/").at(-1);
  const region = isRegionShown ? `, ${channel.region}, ${channel.account}` : "";
  return `${name} (${channel.authorized ? "private" : "public"}${region})`;
}

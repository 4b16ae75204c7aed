/** What the player saw: one line for each event, newest last. */

import { byId, element } from "./dom.js";

const MAX_ENTRIES = 300;
const list = byId("log");

/** Add a line. `kind` is a word or two, which also chooses its colour. */
export function note(kind, text) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const now = new Date();
  const time = element("time", { datetime: now.toISOString() }, now.toTimeString().slice(0, 8));
  list.append(element("li", { data: { kind } }, time, element("b", {}, kind), element("span", {}, text)));
  while (list.children.length > MAX_ENTRIES) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

byId("clear-log").addEventListener("click", () => list.replaceChildren());

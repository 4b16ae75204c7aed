/** The verdict of a start: what the edge decided, as its response says, and below it the token explained rule by rule.
 *
 * The two may differ. The explanation is about the token alone; the edge also decides by the stream's renditions, the
 * quota of concurrent views and, on a public channel, the playback restriction policy. */

import { byId, element } from "./dom.js";

const MARKS = { pass: ["✓", "passes"], fail: ["✕", "fails"], unknown: ["?", "unknown"] };
const NOT_APPLICABLE = "not_applicable";
const COUNTRY = "country"; // which a token says nothing about
const PUBLIC = "The channel is public: the edge ignores tokens and applies the channel's playback restriction policy.";

/** Show that a start waits for the edge's decision. `explanation` is that of its token. */
export function showWaiting(explanation) {
  show(box("waiting", "Waiting for the edge", "The player has requested the multivariant playlist."), explanation);
}

/** Show the edge's decision: the response {status, rule, error, code} to the request for the multivariant playlist. */
export function showDecision(response, explanation) {
  show(box(outcomeOf(response), titleOf(response), textOf(response), response.rule), explanation, response);
}

function show(decision, explanation, { rule: refusedBy, error } = {}) {
  byId("verdict-at").textContent = new Date().toTimeString().slice(0, 8);
  const rules = (explanation.rules ?? []).map((rule) => (rule.rule === refusedBy ? refused(rule, error) : rule));
  if (refusedBy && !rules.some(({ rule }) => rule === refusedBy)) {
    rules.push(refused({ rule: refusedBy, result: NOT_APPLICABLE, message: "" }, error));
  }
  const applied = rules.filter((rule) => rule.result !== NOT_APPLICABLE);
  const others = rules.filter((rule) => rule.result === NOT_APPLICABLE && rule.rule !== COUNTRY);
  byId("verdict").replaceChildren(
    decision,
    element("h3", {}, explanation.isPublic ? "No token needed" : "The token, rule by rule"),
    element("p", { class: "summary" }, explanation.isPublic ? PUBLIC : summaryOf(explanation)),
    ...(applied.length ? [element("ol", { class: "rules" }, ...applied.map(ruleItem))] : []),
    ...(others.length ? [element("p", { class: "others" }, "Not applicable: ", ...separated(others.map(ruleName)))] : []),
  );
}

/** A rule as the one by which the edge refused, whatever the explanation of the token says about it. */
function refused(rule, error) {
  const message = rule.result === "fail" ? rule.message : error;
  return { ...rule, result: "fail", message, isRefusal: true };
}

function outcomeOf({ status }) {
  if (!status) return "unreadable";
  return status < 300 ? "allow" : status === 404 ? "off-air" : "deny";
}

function titleOf({ status, rule }) {
  if (!status) return "No response that the page may read";
  if (status < 300) return `${status} Allowed`;
  if (status === 404) return `${status} Off air`;
  return rule ? `${status} Refused by the rule ` : `${status} Refused`;
}

function textOf({ status, error, code }) {
  if (!status) return "The edge lets only other origins read it (CORS), or did not respond.";
  if (status < 300) return "The edge served the multivariant playlist and started a session.";
  return error ? `The edge says: ${error}${code ? ` (${code})` : ""}.` : "The edge gave no reason.";
}

function summaryOf({ outcome, deniedBy, message }) {
  if (deniedBy) return `By itself, the token is denied by the rule ${deniedBy}.`;
  if (outcome === "allow") return "By itself, the token may start playback.";
  return `${message[0].toUpperCase()}${message.slice(1)}.`;
}

const ruleName = ({ rule }) => element("code", {}, rule);
const separated = (items) => items.flatMap((item, index) => (index ? [", ", item] : [item]));

function box(outcome, title, text, rule) {
  const attributes = { class: "outcome", id: "decision", data: { outcome } };
  const strong = element("strong", {}, title, ...(rule ? [element("code", {}, rule)] : []));
  return element("div", attributes, strong, element("p", {}, text));
}

function ruleItem(rule) {
  const [mark, word] = MARKS[rule.result];
  const text = element("span", { class: "text" }, rule.message);
  if (rule.isRefusal) text.prepend(element("strong", { class: "refusal" }, "Refused by this rule"), " ");
  if (rule.remedy) text.append(element("span", { class: "remedy" }, rule.remedy));
  return element(
    "li",
    { data: { rule: rule.rule, result: rule.result, ...(rule.isRefusal && { refusal: true }) } },
    element("span", { class: "mark", "aria-hidden": "true" }, mark),
    element("span", { class: "name" }, rule.rule, element("span", { class: "visually-hidden" }, ` ${word}.`)),
    text,
  );
}

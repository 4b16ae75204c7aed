/** The verdict of a start: the outcome, and each rule in the order in which the edge applies them. */

import { byId, element } from "./dom.js";

const MARKS = { pass: ["✓", "passes"], fail: ["✕", "fails"], unknown: ["?", "unknown"] };
const NOT_APPLICABLE = "not_applicable";
const COUNTRY = "country"; // which a token says nothing about
const OUTCOMES = { allow: "Allowed", deny: "Denied", conditional: "Allowed, with conditions", indeterminate: "Undecided" };

/** Show a verdict; `isPublic` channels have none. */
export function showVerdict(verdict) {
  byId("verdict-at").textContent = new Date().toTimeString().slice(0, 8);
  if (verdict.isPublic) {
    byId("verdict").replaceChildren(outcome("allow", "No token needed", "The channel is public: its edge ignores tokens and applies the channel's playback restriction policy."));
    return;
  }
  const denied = verdict.rules.find((rule) => rule.rule === verdict.deniedBy);
  const title = denied ? `Denied by the rule ${denied.rule}` : OUTCOMES[verdict.outcome];
  const applied = verdict.rules.filter((rule) => rule.result !== NOT_APPLICABLE);
  const others = verdict.rules.filter((rule) => rule.result === NOT_APPLICABLE && rule.rule !== COUNTRY);
  byId("verdict").replaceChildren(
    outcome(verdict.outcome, title, denied ? denied.message : verdict.message),
    element("ol", { class: "rules" }, ...applied.map(ruleItem)),
    ...(others.length ? [element("p", { class: "others" }, "Do not apply: ", ...separated(others.map(ruleName)))] : []),
  );
}

const ruleName = ({ rule }) => element("code", {}, rule);
const separated = (items) => items.flatMap((item, index) => (index ? [", ", item] : [item]));

function outcome(kind, title, text) {
  return element("div", { class: "outcome", data: { outcome: kind } }, element("strong", {}, title), element("p", {}, text));
}

function ruleItem(rule) {
  const [mark, word] = MARKS[rule.result];
  const text = element("span", { class: "text" }, rule.message);
  if (rule.remedy) text.append(element("span", { class: "remedy" }, rule.remedy));
  return element(
    "li",
    { data: { rule: rule.rule, result: rule.result } },
    element("span", { class: "mark", "aria-hidden": "true" }, mark),
    element("span", { class: "name" }, rule.rule, element("span", { class: "visually-hidden" }, ` ${word}.`)),
    text,
  );
}

/** Shows what is wrong with a form beside its fields. A field of the form has `data-field`: the names of the fields of
 * the request that it stands for, with spaces between them. */

import { element } from "./dom.js";

/** Remove all messages of a form. */
export function clearErrors(form, summary) {
  for (const field of form.querySelectorAll("[data-field]")) show(field, "");
  if (summary) summary.hidden = true;
}

/** Show a problem: errors of fields beside them, everything else in the summary. Focuses the first wrong field. */
export function showProblem(form, summary, problem) {
  clearErrors(form, summary);
  const fields = [...form.querySelectorAll("[data-field]")];
  const rest = [];
  const wrong = [];
  for (const { field, message } of problem.fields) {
    const shown = fields.find((candidate) => standsFor(candidate, field));
    if (!shown) {
      rest.push(`${field} ${message}`);
      continue;
    }
    show(shown, [shown.querySelector(".error")?.textContent, `${field} ${message}`].filter(Boolean).join("; "));
    wrong.push(shown);
  }
  if (!problem.fields.length) rest.push(problem.message);
  if (summary) {
    summary.textContent = rest.join("; ");
    summary.hidden = !rest.length;
  }
  wrong.sort((a, b) => fields.indexOf(a) - fields.indexOf(b));
  if (wrong.length) {
    const details = wrong[0].closest("details");
    if (details) details.open = true;
    control(wrong[0]).focus();
  }
  return rest.join("; ");
}

const control = (field) => field.querySelector("input, select, textarea");

function standsFor(candidate, field) {
  const names = candidate.dataset.field.split(" ");
  return names.some((name) => field === name || field.startsWith(`${name}.`) || field.startsWith(`${name}[`));
}

function show(field, text) {
  let message = field.querySelector(".error");
  if (!message) {
    if (!text) return;
    message = element("p", { class: "error", id: `${control(field).id}-error` });
    field.append(message);
    control(field).setAttribute("aria-describedby", message.id);
  }
  message.textContent = text;
  if (text) control(field).setAttribute("aria-invalid", "true");
  else control(field).removeAttribute("aria-invalid");
}

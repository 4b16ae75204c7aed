/** Small functions for the document. */

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element with attributes, properties of its dataset, and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "data") Object.assign(made.dataset, value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Show facts as a description list; those that are undefined are left out. Elements are reused, so that a selection
 * survives an update. */
export function showFacts(list, facts) {
  const known = Object.entries(facts).filter(([, value]) => value !== undefined && value !== "");
  const names = [...list.querySelectorAll("dt")].map((term) => term.textContent);
  if (names.join() !== known.map(([name]) => name).join()) {
    list.replaceChildren(...known.map(([name]) => element("div", {}, element("dt", {}, name), element("dd"))));
    for (const group of [...list.children]) if (list.classList.contains("facts")) group.replaceWith(...group.children);
  }
  const values = list.querySelectorAll("dd");
  known.forEach(([, value], index) => {
    if (values[index].textContent !== String(value)) values[index].textContent = value;
  });
}

/** Run an action of a button or form, which cannot be started twice at a time. */
export async function busy(button, action) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    await action();
  } finally {
    button.removeAttribute("aria-busy");
  }
}

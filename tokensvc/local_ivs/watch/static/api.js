/** The page's own API under /watch/api. */

/** An error response: RFC 9457 problem details. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? `status ${status}`);
    this.status = status;
    this.code = document.code ?? "";
    /** The fields that are wrong: [{field, message}]. */
    this.fields = document.errors ?? [];
  }
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(`/watch/api/${path}`, { cache: "no-store", ...options });
  } catch {
    throw new Problem(0, { detail: "The server does not respond. Is it still running?", code: "unreachable" });
  }
  const document = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, document);
  return document;
}

export const read = (name, query = {}, headers = {}) => call(`${name}?${new URLSearchParams(query)}`, { headers });

export const act = (name, fields) =>
  call(name, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(fields) });

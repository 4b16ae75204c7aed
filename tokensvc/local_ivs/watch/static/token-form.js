/** The form of a token request: the fields of `POST /v1/tokens`, read as JSON. */

import { byId } from "./dom.js";

const lines = (id) => byId(id).value.split("\n").map((line) => line.trim()).filter(Boolean);
const given = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
const orUndefined = (text) => text || undefined;

/** A number if the text is one. Anything else is sent as it is, so that the server says what is wrong with it. */
const numberOrText = (text) => (/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text);

/** The token request for a channel. */
export function tokenRequest(channelArn) {
  const kind = byId("viewer-kind").value;
  const origins = lines("origins");
  const optOut = byId("ads-opt-out").value;
  const params = lines("ads-params");
  const ads = given({
    optOut: optOut ? optOut === "true" : undefined,
    playerParams: params.length ? Object.fromEntries(params.map(pair)) : undefined,
    playbackConfigName: orUndefined(byId("ads-config").value.trim()),
    reportingMode: orUndefined(byId("ads-reporting").value),
  });
  return given({
    channelArn,
    ...(kind && { [kind]: byId("viewer").value }),
    ttlSeconds: byId("ttl").value.trim() ? numberOrText(byId("ttl").value.trim()) : undefined,
    allowedOrigins: origins.length ? origins : undefined,
    strictOriginEnforcement: byId("strict").checked || undefined,
    singleUse: byId("single-use").checked || undefined,
    maximumResolution: orUndefined(byId("resolution").value),
    ads: Object.keys(ads).length ? ads : undefined,
    requirePlaybackUrl: byId("require-url").checked || undefined,
  });
}

function pair(line) {
  const at = line.indexOf("=");
  return at < 0 ? [line, ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
}

byId("viewer-kind").addEventListener("change", ({ target }) => {
  byId("viewer").disabled = !target.value;
});
byId("add-origin").addEventListener("click", () => {
  const origins = lines("origins");
  if (!origins.includes(location.origin)) byId("origins").value = [...origins, location.origin].join("\n");
});

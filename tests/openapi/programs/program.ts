// What a program does with the types that openapi-typescript generates. It is compiled with --strict, and run.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const { TOKENS = "", KEY = "", CHANNEL = "" } = process.env;
const api = createClient<paths>({ baseUrl: TOKENS, headers: { authorization: `Bearer ${KEY}` } });

function fail(message: string): never {
  throw new Error(message);
}

// A token request requires its channel and nothing else.
const anonymous: components["schemas"]["TokenRequest"] = { channelArn: CHANNEL };
const issued = await api.POST("/v1/tokens", { body: { ...anonymous, viewerId: "ada", ttlSeconds: 60 } });
const token: components["schemas"]["TokenResponse"] = issued.data ?? fail("no token");
const playbackUrl: string = token.playbackUrl ?? fail("no playback URL");

// A problem has one of the codes, and the compiler knows them.
const rejected = await api.POST("/v1/tokens", { body: { channelArn: CHANNEL, viewerId: "" } });
const problem: components["schemas"]["Problem"] = rejected.error ?? fail("no problem");
if (problem.code !== "invalid_request") fail(problem.code);
const field: string = problem.errors?.[0]?.field ?? fail("no field");

type TokenRequest = components["schemas"]["TokenRequest"];
export const mistakes = () => [
  // @ts-expect-error: a code that does not exist
  problem.code === "no_such_code",
  // @ts-expect-error: a field that does not exist
  { channelArn: CHANNEL, viewer: "ada" } satisfies TokenRequest,
  // @ts-expect-error: the channel is required
  { viewerId: "ada" } satisfies TokenRequest,
  // @ts-expect-error: a path that does not exist
  () => api.POST("/v1/token", { body: anonymous }),
];

// Each item of a batch is a token or a problem.
const batch = await api.POST("/v1/tokens/batch", { body: { requests: [{ channelArn: CHANNEL }, { channelArn: "x" }] } });
const results = (batch.data ?? fail("no batch")).results.map((each) => ("problem" in each ? each.problem.code : "token"));

// Parameters of path and query, and headers.
const page = await api.GET("/v1/revocations", { params: { query: { state: "queued", maxResults: 1 } } });
const revoked = await api.POST("/v1/revocations", {
  params: { header: { "Idempotency-Key": "generated-client" } },
  body: { channelArn: CHANNEL, viewerId: "eve" },
});
const id = (revoked.data ?? fail("not revoked")).id;
const revocation = await api.GET("/v1/revocations/{id}", { params: { path: { id } } });
const state: components["schemas"]["RevocationState"] = (revocation.data ?? fail("no revocation")).state;

console.log(
  JSON.stringify({ playbackUrl, code: problem.code, field, results, pages: page.response.status, isRevoked: state !== "failed" }),
);

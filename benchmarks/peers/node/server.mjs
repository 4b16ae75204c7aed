// A token endpoint with fastify: `node server.mjs LIBRARY PORT`.
//
// Invariants
// - Configured as fastify recommends for production: schemas to check the body and to serialize the response fast, and
//   no logger. One process, since each contender has one core.
// - The caller's key is compared in constant time, as in tokensvc; nothing else is checked.

import { timingSafeEqual } from 'node:crypto'
import fastify from 'fastify'
import { claimsFor, libraries, privateKeyPem } from './libraries.mjs'

const [library, port] = process.argv.slice(2)
const sign = await libraries[library](privateKeyPem())
const expected = Buffer.from(`Bearer ${process.env.BENCHMARK_API_KEY}`)

const schema = {
  body: {
    type: 'object',
    required: ['channelArn', 'viewerId'],
    properties: { channelArn: { type: 'string' }, viewerId: { type: 'string' } },
  },
  response: {
    201: { type: 'object', properties: { token: { type: 'string' }, expiresAt: { type: 'integer' } } },
  },
}

function isAllowed(authorization = '') {
  const given = Buffer.from(authorization)
  return given.length === expected.length && timingSafeEqual(given, expected)
}

const app = fastify({ logger: false })

app.post('/v1/tokens', { schema }, async (request, reply) => {
  if (!isAllowed(request.headers.authorization)) {
    return reply.code(401).send({ error: 'unauthorized' })
  }
  const claims = claimsFor(request.body.channelArn, request.body.viewerId)
  const token = await sign(claims)
  return reply.code(201).send({ token, expiresAt: claims.exp })
})

await app.listen({ host: '127.0.0.1', port: Number(port) })

// Three Node libraries that sign tokens, each used as its documentation describes.
//
// Invariants
// - Each entry takes the key as PEM text, parses it once, and returns a function from claims to a token or its promise.
// - No library adds claims of its own: all sign the same ones.

import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSigner } from 'fast-jwt'
import { importPKCS8, SignJWT } from 'jose'
import jsonwebtoken from 'jsonwebtoken'

const ALGORITHM = 'ES384'
const TTL_SECONDS = 300

export const libraries = {
  // Uses WebCrypto: it signs in Node's thread pool and returns a promise of the token.
  jose: async (pem) => {
    const key = await importPKCS8(pem, ALGORITHM)
    const header = { alg: ALGORITHM, typ: 'JWT' }
    return (claims) => new SignJWT(claims).setProtectedHeader(header).sign(key)
  },
  // With a key object; given PEM text, it would parse the key for every token.
  jsonwebtoken: (pem) => {
    const key = createPrivateKey(pem)
    const options = { algorithm: ALGORITHM, noTimestamp: true }
    return (claims) => jsonwebtoken.sign(claims, key, options)
  },
  // Parses the key when the signer is created.
  'fast-jwt': (pem) => createSigner({ algorithm: ALGORITHM, key: pem, noTimestamp: true }),
}

/** The key of this run, as PEM text. */
export function privateKeyPem() {
  return readFileSync(process.env.BENCHMARK_KEY_FILE, 'utf8')
}

/** The claims of a playback token. */
export function claimsFor(channelArn, viewerId) {
  const now = Math.floor(Date.now() / 1000)
  return {
    'aws:channel-arn': channelArn,
    'aws:viewer-id': viewerId,
    'aws:viewer-session-version': now,
    exp: now + TTL_SECONDS,
  }
}

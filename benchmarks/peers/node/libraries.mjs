// The three libraries that Node users sign tokens with, each as its documentation teaches it.
//
// Rules of the file
// - Each entry takes the key's PEM text, parses it once, and gives a function from claims to a token or its promise.
// - No library adds claims of its own: all sign the same ones.

import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSigner } from 'fast-jwt'
import { importPKCS8, SignJWT } from 'jose'
import jsonwebtoken from 'jsonwebtoken'

const ALGORITHM = 'ES384'
const TTL_SECONDS = 300

export const libraries = {
  // WebCrypto underneath: it signs in Node's thread pool and promises the token.
  jose: async (pem) => {
    const key = await importPKCS8(pem, ALGORITHM)
    const header = { alg: ALGORITHM, typ: 'JWT' }
    return (claims) => new SignJWT(claims).setProtectedHeader(header).sign(key)
  },
  // With a key object; given the text, it would parse the key anew for each token.
  jsonwebtoken: (pem) => {
    const key = createPrivateKey(pem)
    const options = { algorithm: ALGORITHM, noTimestamp: true }
    return (claims) => jsonwebtoken.sign(claims, key, options)
  },
  // Parses the key when the signer is made.
  'fast-jwt': (pem) => createSigner({ algorithm: ALGORITHM, key: pem, noTimestamp: true }),
}

/** The key of this run, as PEM text. */
export function privateKeyPem() {
  return readFileSync(process.env.BENCHMARK_KEY_FILE, 'utf8')
}

/** What a playback token says. */
export function claimsFor(channelArn, viewerId) {
  const now = Math.floor(Date.now() / 1000)
  return {
    'aws:channel-arn': channelArn,
    'aws:viewer-id': viewerId,
    'aws:viewer-session-version': now,
    exp: now + TTL_SECONDS,
  }
}

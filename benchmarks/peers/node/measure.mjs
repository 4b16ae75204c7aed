// Signs in process on request. For each input line "LIBRARY SECONDS" it prints a line of JSON: the number of tokens, the
// seconds and the CPU time of all threads that they took, and one of the last tokens.
//
// Invariants
// - Several tokens are in flight concurrently, so that jose, which signs in another thread, need not wait for each.

import { createInterface } from 'node:readline'
import { claimsFor, libraries, privateKeyPem } from './libraries.mjs'

const IN_FLIGHT = 16
const [channelArn, viewerId] = process.argv.slice(2)
const pem = privateKeyPem()

async function measure(sign, seconds) {
  const usedBefore = process.cpuUsage()
  const started = performance.now()
  let calls = 0
  let tokens
  do {
    tokens = await Promise.all(Array.from({ length: IN_FLIGHT }, () => sign(claimsFor(channelArn, viewerId))))
    calls += IN_FLIGHT
  } while (performance.now() - started < seconds * 1000)
  const took = (performance.now() - started) / 1000
  const used = process.cpuUsage(usedBefore)
  return { calls, seconds: took, cpu_seconds: (used.user + used.system) / 1e6, token: tokens[0] }
}

const signers = {}
for await (const line of createInterface({ input: process.stdin })) {
  const [library, seconds] = line.split(' ')
  signers[library] ??= await libraries[library](pem)
  console.log(JSON.stringify(await measure(signers[library], Number(seconds))))
}

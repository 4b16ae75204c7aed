/* ECDSA over P-384 (FIPS 186-5, 6.4.1), up to eight signatures in one call.
 *
 * Invariants
 * - A nonce is made in the call that uses it, from fresh bytes of getrandom(2), and is wiped before the call returns.
 *   Nothing is kept between two calls, so neither fork(2) nor a restored or cloned virtual machine can repeat a nonce.
 * - No function that a caller can reach takes a nonce.
 * - The signature of a lane that failed is all zeros.
 * - Every copy of a private key that is made here is wiped.
 */
#ifndef TOKENSVC_ECDSA_P384_H
#define TOKENSVC_ECDSA_P384_H

#include <stdint.h>

enum { P384_LANES = 8, P384_BYTES = 48, P384_LIMBS = 6, P384_SIGNATURE_BYTES = 96 };

/* A number modulo the group's order, least significant limb first. */
typedef struct {
    uint64_t limbs[P384_LIMBS];
} p384_scalar;

/* One signature to make: the private key, and the SHA-384 digest of what is signed. */
typedef struct {
    const p384_scalar *key;
    const uint8_t *digest;
} p384_lane;

/* Whether this processor has what the eight-lane code needs. */
int p384_supported(void);

/* Read 48 big-endian bytes. Returns 0, or -1 when the number is 0 or not below the group's order. Constant time. */
int p384_read_scalar(p384_scalar *scalar, const uint8_t bytes[P384_BYTES]);

/* Overwrite a scalar in a way that a compiler may not leave out. */
void p384_wipe(p384_scalar *scalar);

/* Sign `count` lanes (1 to 8); lane i's r||s goes to signatures[i]. Returns a bit for each lane that has no signature:
 * its digest is 0 or not below the order, r or s is 0, or the system gave no random bytes. */
unsigned p384_sign(unsigned count, const p384_lane lanes[], uint8_t signatures[][P384_SIGNATURE_BYTES]);

/* Sign the known answers of RFC 6979, A.2.6, in every lane, and one bad lane beside seven good ones. Returns 0, or the
 * number of the step that failed. */
int p384_self_test(void);

#endif

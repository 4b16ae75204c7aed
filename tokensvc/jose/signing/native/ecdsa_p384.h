/* ECDSA over P-384 (FIPS 186-5, 6.4.1), up to eight signatures in one call.
 *
 * Invariants
 * - A nonce is derived in the call that uses it, from fresh bytes of getrandom(2), and wiped before the call returns.
 *   No state is kept between calls, so neither fork(2) nor a restored or cloned virtual machine can repeat a nonce.
 * - No function that a caller can call has a nonce as an argument.
 * - The signature of a lane that failed is all zeros.
 * - Every copy of a private key that is made here is wiped.
 */
#ifndef TOKENSVC_ECDSA_P384_H
#define TOKENSVC_ECDSA_P384_H

#include <stdint.h>

enum { P384_LANES = 8, P384_BYTES = 48, P384_LIMBS = 6, P384_SIGNATURE_BYTES = 96 };

/* A number modulo the order of the group, least significant limb first. */
typedef struct {
    uint64_t limbs[P384_LIMBS];
} p384_scalar;

/* One signature to make: the private key, and the SHA-384 digest of the data. */
typedef struct {
    const p384_scalar *key;
    const uint8_t *digest;
} p384_lane;

/* Whether this processor has the instructions of the eight-lane code. */
int p384_supported(void);

/* Read 48 big-endian bytes. Returns 0, or -1 if the number is 0 or not below the order. Constant time. */
int p384_read_scalar(p384_scalar *scalar, const uint8_t bytes[P384_BYTES]);

/* Overwrite a scalar in a way that the compiler must not optimize away. */
void p384_wipe(p384_scalar *scalar);

/* Sign `count` lanes (1 to 8) and write the r||s of lane i to signatures[i]. Returns a bit for each lane without a
 * signature: its digest is 0 or not below the order, r or s is 0, or the system returned no random bytes. */
unsigned p384_sign(unsigned count, const p384_lane lanes[], uint8_t signatures[][P384_SIGNATURE_BYTES]);

/* Sign the known answers of RFC 6979, A.2.6, in every lane, and with one invalid lane among seven valid ones. Returns
 * 0, or the number of the step that failed. */
int p384_self_test(void);

#endif

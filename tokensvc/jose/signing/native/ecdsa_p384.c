#define _GNU_SOURCE /* explicit_bzero */
#include "ecdsa_p384.h"

#include <crypto_mb/cpu_features.h>
#include <crypto_mb/ec_nistp384.h>
#include <crypto_mb/status.h>
#include <errno.h>
#include <ippcp.h>
#include <string.h>
#include <sys/random.h>

enum { ALL_LANES = (1 << P384_LANES) - 1, DRAWS = 4 };

typedef uint8_t signature_bytes[P384_SIGNATURE_BYTES];

/* A nonce is the digest of this struct. It is hedged: with a broken source of randomness it still depends on the key and
 * the digest, as in deterministic ECDSA (RFC 6979); with a sound one it is independent of them. The struct has no
 * padding, whose indeterminate bytes would be hashed too. */
typedef struct {
    uint8_t random[P384_BYTES];
    p384_scalar key;
    uint8_t digest[P384_BYTES];
    uint64_t lane;
} nonce_input;

_Static_assert(sizeof(nonce_input) == 3 * P384_BYTES + sizeof(uint64_t), "a nonce_input has no padding");

/* The order of the group (FIPS 186-5; SP 800-186, 3.2.1.4). */
static const p384_scalar ORDER = {{0xecec196accc52973, 0x581a0db248b0a77a, 0xc7634d81f4372ddf, 0xffffffffffffffff,
                                   0xffffffffffffffff, 0xffffffffffffffff}};

/* RFC 6979, A.2.6: the key, and for the messages "sample" and "test" with SHA-384 the digest, k, r and s. They are the
 * known answers of the self-test, and fill unused lanes. */
static const p384_scalar KNOWN_KEY = {{0xf872c9ea60d2edf5, 0x96d5724e4c70a825, 0x9aa47740787137d8, 0xe23c3b667bf297ba,
                                       0x05b19875b6659f4d, 0x6b9d3dad2e1b8c1c}};

typedef struct {
    p384_scalar digest, nonce, r, s;
} known_answer;

static const known_answer KNOWN[2] = {
    { /* "sample" */
     .digest = {{0xfee42c77b1ee25fe, 0x313bca4a9b5b890e, 0x96a029f340585312,
       0xf3bf603f4bbd3811, 0xaec4be312696ef7b, 0x9a9083505bc92276}},
     .nonce = {{0x623b8c4686915cf9, 0x2907e3e83ba95368, 0x7a555fd56d10fbca,
       0xe4ba15168eaf0ca8, 0x3254e9242ae85abd, 0x94ed910d1a099dad}},
     .r = {{0x6e36dd1e80fabe46, 0x81a648152e44acf9, 0x3d64c4ea95ad133c,
       0x3f88140666ce9fa7, 0xd4736e56c691916b, 0x94edbb92a5ecb8aa}},
     .s = {{0x7b82c71a38628ac8, 0xa329c145786e679e, 0x203b6351d0a3a94f,
       0x130e740a19624526, 0xa1fe40db2603138f, 0x99ef4aeb15f178ce}}},
    { /* "test" */
     .digest = {{0x96047dfedf17a0a9, 0xb7ef1ccb126255d1, 0x6a782249bfe8efc4,
       0x3cae50e02a64caa1, 0x812fce428dc4706b, 0x768412320f7b0aa5}},
     .nonce = {{0xadb95837db8312ea, 0xa71f4a459bc0da98, 0x031b4c2d225092ad,
       0x2d193719503c527b, 0xed9123a5ab080796, 0x015ee46a5bf88773}},
     .r = {{0x8f1dd3ca3cf023db, 0x0542a7f0812998da, 0xab775d509d7a5feb,
       0xb772e97892a80f36, 0x77227fb377bcf7b7, 0x8203b63d3c853e8d}},
     .s = {{0xbf3b828246baa5a5, 0x6a739f040649a667, 0x827c2f13173923e0,
       0xe8be06b485e9b61b, 0x43af45af836fce4d, 0xddd0760448d42d8a}}},
};

static void write_scalar(uint8_t bytes[P384_BYTES], const p384_scalar *scalar)
{
    for (int i = 0; i < P384_BYTES; i++)
        bytes[P384_BYTES - 1 - i] = (uint8_t)(scalar->limbs[i / 8] >> (8 * (i % 8)));
}

int p384_supported(void)
{
    return (mbx_get_algo_info(MBX_ALGO_ECDSA_NIST_P384) & MBX_WIDTH_MB8) != 0;
}

void p384_wipe(p384_scalar *scalar)
{
    explicit_bzero(scalar, sizeof *scalar);
}

int p384_read_scalar(p384_scalar *scalar, const uint8_t bytes[P384_BYTES])
{
    uint64_t any = 0, borrow = 0;

    for (int i = 0; i < P384_LIMBS; i++) {
        uint64_t limb = 0;
        for (int j = 0; j < 8; j++)
            limb = limb << 8 | bytes[P384_BYTES - 8 * (i + 1) + j];
        any |= limb;
        borrow = (uint64_t)(((unsigned __int128)limb - ORDER.limbs[i] - borrow) >> 64) & 1;
        scalar->limbs[i] = limb;
    }
    return any != 0 && borrow == 1 ? 0 : -1; /* below the order: the subtraction borrows */
}

/* Sign with these nonces. Returns a bit for each failed lane, and zeroes its signature. If s is 0 modulo the order,
 * which would reveal the key, the library returns the order itself and reports success. So r and s are checked to be
 * between 1 and the order minus 1 (FIPS 186-5, 6.4.1). */
static unsigned sign_with(const p384_lane lanes[P384_LANES], const p384_scalar nonces[P384_LANES],
                          signature_bytes signatures[P384_LANES])
{
    const int64u *keys[P384_LANES], *ephemeral[P384_LANES];
    const int8u *digests[P384_LANES];
    int8u *r[P384_LANES], *s[P384_LANES];
    unsigned failed = 0;

    for (int i = 0; i < P384_LANES; i++) {
        keys[i] = (const int64u *)lanes[i].key->limbs;
        ephemeral[i] = (const int64u *)nonces[i].limbs;
        digests[i] = lanes[i].digest;
        r[i] = signatures[i];
        s[i] = signatures[i] + P384_BYTES;
    }
    const mbx_status status = mbx_nistp384_ecdsa_sign_mb8(r, s, digests, ephemeral, keys, NULL);
    for (int i = 0; i < P384_LANES; i++) {
        p384_scalar half;
        if (MBX_GET_STS(status, i) != MBX_STATUS_OK || p384_read_scalar(&half, r[i]) != 0 ||
            p384_read_scalar(&half, s[i]) != 0) {
            failed |= 1u << i;
            explicit_bzero(signatures[i], sizeof signatures[i]);
        }
    }
    return failed;
}

static int fill_random(uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t got = getrandom(bytes, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -1;
        bytes += got;
        size -= (size_t)got;
    }
    return 0;
}

/* Fresh nonces for the first `count` lanes. A candidate that is 0 or not below the order is replaced (FIPS 186-5,
 * A.3.2), which happens once in 2^190 times. The duration depends only on whether candidates are accepted. */
static int make_nonces(unsigned count, const p384_lane lanes[], p384_scalar nonces[])
{
    uint8_t random[P384_LANES][P384_BYTES], hashed[P384_BYTES];
    nonce_input input = {{0}, {{0}}, {0}, 0};
    int result = fill_random(random[0], count * sizeof random[0]);

    for (unsigned i = 0; i < count && result == 0; i++) {
        memcpy(input.random, random[i], sizeof input.random);
        input.key = *lanes[i].key;
        memcpy(input.digest, lanes[i].digest, sizeof input.digest);
        input.lane = i;
        result = -1;
        for (int draw = 0; draw < DRAWS && result != 0; draw++) {
            if (draw > 0 && fill_random(input.random, sizeof input.random) != 0)
                break;
            if (ippsHashMessage_rmf((const Ipp8u *)&input, sizeof input, hashed, ippsHashMethod_SHA384()) != ippStsNoErr)
                break;
            result = p384_read_scalar(&nonces[i], hashed);
        }
    }
    explicit_bzero(random, sizeof random);
    explicit_bzero(hashed, sizeof hashed);
    explicit_bzero(&input, sizeof input);
    return result;
}

unsigned p384_sign(unsigned count, const p384_lane lanes[], uint8_t signatures[][P384_SIGNATURE_BYTES])
{
    p384_lane all[P384_LANES];
    p384_scalar nonces[P384_LANES];
    signature_bytes made[P384_LANES];
    uint8_t spare_digest[P384_BYTES];
    unsigned failed = ALL_LANES;

    write_scalar(spare_digest, &KNOWN[0].digest);
    for (unsigned i = 0; i < P384_LANES; i++) {
        all[i].key = i < count ? lanes[i].key : &KNOWN_KEY;
        all[i].digest = i < count ? lanes[i].digest : spare_digest;
        nonces[i] = KNOWN[0].nonce;
    }
    memset(made, 0, sizeof made);
    if (make_nonces(count, lanes, nonces) == 0)
        failed = sign_with(all, nonces, made);
    explicit_bzero(nonces, sizeof nonces);
    memcpy(signatures, made, count * sizeof made[0]);
    return failed & ((1u << count) - 1);
}

/* Sign both known answers alternately, shifted by `first` (0 or 1) lanes. `bad` is a lane whose digest is 0, or -1. */
static int signs_known_answers(int first, int bad)
{
    p384_lane lanes[P384_LANES];
    p384_scalar nonces[P384_LANES];
    uint8_t digests[P384_LANES][P384_BYTES];
    signature_bytes made[P384_LANES], expected[P384_LANES];

    memset(expected, 0, sizeof expected);
    for (int i = 0; i < P384_LANES; i++) {
        const known_answer *known = &KNOWN[(i + first) % 2];
        lanes[i].key = &KNOWN_KEY;
        lanes[i].digest = digests[i];
        nonces[i] = known->nonce;
        if (i == bad) {
            memset(digests[i], 0, sizeof digests[i]);
            continue;
        }
        write_scalar(digests[i], &known->digest);
        write_scalar(expected[i], &known->r);
        write_scalar(expected[i] + P384_BYTES, &known->s);
    }
    const unsigned failed = sign_with(lanes, nonces, made);
    return failed == (bad < 0 ? 0 : 1u << bad) && memcmp(made, expected, sizeof made) == 0;
}

int p384_self_test(void)
{
    for (int bad = -1; bad < P384_LANES; bad++)
        if (!signs_known_answers(0, bad) || !signs_known_answers(1, bad))
            return bad + 2;
    return 0;
}

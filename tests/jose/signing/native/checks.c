/* Calls the functions of ecdsa_p384.c that are not exported, controlled over standard input and output.
 *
 * It includes the shipped file unchanged. Two names in it are replaced, getrandom and the hash function, by functions
 * that follow a script, to cause failures and rejected candidates. A request is one letter and fields of fixed sizes;
 * numbers modulo the order are 48 big-endian bytes. The response is sent after the content of the request has been
 * wiped, so that the parent process can then search this process's memory for secrets that were not wiped.
 */
#define _GNU_SOURCE
#include <ippcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static ssize_t scripted_getrandom(void *bytes, size_t size, unsigned flags);
static IppStatus scripted_hash(const Ipp8u *message, int size, Ipp8u *digest, const IppsHashMethod *method);

#define getrandom scripted_getrandom
#define ippsHashMessage_rmf scripted_hash
#include "ecdsa_p384.c"
#undef getrandom
#undef ippsHashMessage_rmf

enum { STEPS = 16, POOL_BYTES = 4096, HASHES = 64 };

/* A request to sign. */
static struct {
    uint8_t count;            /* of lanes */
    uint8_t keep;             /* 1: do not wipe this struct, to show that the search works */
    int8_t steps[STEPS];      /* of each call of getrandom: > 0 bytes at most, < 0 -errno, 0 no bytes; then all */
    uint8_t pool[POOL_BYTES]; /* the random bytes, in order */
    uint8_t hashes;           /* how many digests the hash function returns before it calculates any */
    uint8_t hash[HASHES][P384_BYTES];
    uint8_t keys[P384_LANES][P384_BYTES];
    uint8_t digests[P384_LANES][P384_BYTES];
} script;

/* The response to it. */
static struct {
    uint32_t failed, bytes_taken, getrandom_calls, hash_calls;
    uint8_t signatures[P384_LANES][P384_SIGNATURE_BYTES];
} outcome;

static void receive(void *bytes, size_t size)
{
    for (uint8_t *next = bytes; size > 0;) {
        const ssize_t got = read(0, next, size);
        if (got <= 0)
            exit(0);
        next += got, size -= (size_t)got;
    }
}

static void respond(const void *bytes, size_t size)
{
    if (write(1, bytes, size) != (ssize_t)size)
        exit(1);
}

static ssize_t scripted_getrandom(void *bytes, size_t size, unsigned flags)
{
    const uint32_t call = outcome.getrandom_calls++;
    const int step = call < STEPS ? script.steps[call] : 127;

    if (flags != 0)
        exit(2); /* GRND_NONBLOCK or GRND_RANDOM would break the invariants of the shipped code */
    if (step < 0) {
        errno = -step;
        return -1;
    }
    if (step < 127 && (size_t)step < size)
        size = (size_t)step;
    if (outcome.bytes_taken + size > sizeof script.pool)
        exit(3);
    memcpy(bytes, script.pool + outcome.bytes_taken, size);
    outcome.bytes_taken += (uint32_t)size;
    return (ssize_t)size;
}

static IppStatus scripted_hash(const Ipp8u *message, int size, Ipp8u *digest, const IppsHashMethod *method)
{
    const uint32_t call = outcome.hash_calls++;

    if (call >= script.hashes)
        return ippsHashMessage_rmf(message, size, digest, method);
    memcpy(digest, script.hash[call], P384_BYTES);
    return ippStsNoErr;
}

/* Without the range check: the library is also tested with numbers that p384_read_scalar rejects. */
static void load(p384_scalar *scalar, const uint8_t bytes[P384_BYTES])
{
    for (int i = 0; i < P384_LIMBS; i++) {
        scalar->limbs[i] = 0;
        for (int j = 0; j < 8; j++)
            scalar->limbs[i] = scalar->limbs[i] << 8 | bytes[P384_BYTES - 8 * (i + 1) + j];
    }
}

static void read_scalar(void)
{
    uint8_t bytes[P384_BYTES];
    struct {
        int32_t result;
        uint8_t scalar[P384_BYTES];
    } read;
    p384_scalar scalar;

    receive(bytes, sizeof bytes);
    read.result = p384_read_scalar(&scalar, bytes);
    write_scalar(read.scalar, &scalar);
    respond(&read, sizeof read);
}

static void sign_with_nonces(void)
{
    struct {
        uint8_t key[P384_BYTES], nonce[P384_BYTES], digest[P384_BYTES];
    } given[P384_LANES];
    struct {
        uint32_t failed;
        uint8_t signatures[P384_LANES][P384_SIGNATURE_BYTES];
    } made;
    p384_scalar keys[P384_LANES], nonces[P384_LANES];
    p384_lane lanes[P384_LANES];

    receive(given, sizeof given);
    for (int i = 0; i < P384_LANES; i++) {
        load(&keys[i], given[i].key);
        load(&nonces[i], given[i].nonce);
        lanes[i].key = &keys[i];
        lanes[i].digest = given[i].digest;
    }
    memset(made.signatures, 0xa5, sizeof made.signatures);
    made.failed = sign_with(lanes, nonces, made.signatures);
    respond(&made, sizeof made);
}

static void sign_by_script(void)
{
    p384_scalar keys[P384_LANES];
    p384_lane lanes[P384_LANES];

    receive(&script, sizeof script);
    memset(&outcome, 0, sizeof outcome);
    memset(outcome.signatures, 0xa5, sizeof outcome.signatures);
    for (int i = 0; i < P384_LANES; i++) {
        load(&keys[i], script.keys[i]);
        lanes[i].key = &keys[i];
        lanes[i].digest = script.digests[i];
    }
    outcome.failed = p384_sign(script.count, lanes, outcome.signatures);
    for (int i = 0; i < P384_LANES; i++)
        p384_wipe(&keys[i]);
    if (!script.keep)
        explicit_bzero(&script, sizeof script);
    respond(&outcome, sizeof outcome);
}

int main(void)
{
    for (;;) {
        char request;
        receive(&request, 1);
        if (request == 'r')
            read_scalar();
        else if (request == 'n')
            sign_with_nonces();
        else if (request == 's')
            sign_by_script();
        else if (request == 't') {
            const int32_t step = p384_self_test();
            respond(&step, sizeof step);
        } else if (request == 'p') {
            const int32_t supported = p384_supported();
            respond(&supported, sizeof supported);
        } else
            return 4;
    }
}

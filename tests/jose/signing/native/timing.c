/* A timing test like dudect (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017): a function is
 * called with inputs of two classes in random order, and Welch's t-test decides whether the durations differ.
 *
 * timing FUNCTION MEASUREMENTS prints, for each percentile at which long durations are cropped, t and the number of
 * measurements below it. The inputs are prepared before the measurements and copied to the same address for each call,
 * so that caches make no difference.
 *
 * FUNCTION: sign (class 0: the top 64 bits of each nonce are 0), read (class 0: slightly below the order, with the same
 * upper half), and a deliberately leaky variant of each.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "ecdsa_p384.c"

enum { INPUTS = 512, CROPS = 12, INNER = 16 };

typedef struct {
    p384_scalar nonces[P384_LANES];
    uint8_t bytes[P384_BYTES];
} input;

typedef struct {
    double mean, squares, count;
} statistic;

static input inputs[2][INPUTS], current;
static p384_lane lanes[P384_LANES];
static uint8_t digests[P384_LANES][P384_BYTES];
static signature_bytes made[P384_LANES];
static volatile unsigned sink;

static uint64_t random_word(void)
{
    uint64_t word;
    if (fill_random((uint8_t *)&word, sizeof word) != 0)
        exit(1);
    return word;
}

static p384_scalar random_scalar(void)
{
    p384_scalar scalar;
    for (int i = 0; i < P384_LIMBS; i++)
        scalar.limbs[i] = random_word();
    scalar.limbs[P384_LIMBS - 1] &= ~(1ULL << 63); /* below the order, whatever the rest */
    return scalar;
}

static void prepare_sign(void)
{
    for (int class = 0; class < 2; class++)
        for (int i = 0; i < INPUTS; i++)
            for (int lane = 0; lane < P384_LANES; lane++) {
                inputs[class][i].nonces[lane] = random_scalar();
                if (class == 0)
                    inputs[class][i].nonces[lane].limbs[P384_LIMBS - 1] = 0;
            }
}

static void prepare_read(void)
{
    for (int class = 0; class < 2; class++)
        for (int i = 0; i < INPUTS; i++) {
            p384_scalar scalar = random_scalar();
            if (class == 0) {
                scalar = ORDER;
                scalar.limbs[0] = random_word() % ORDER.limbs[0];
            }
            write_scalar(inputs[class][i].bytes, &scalar);
        }
}

static void call_sign(void)
{
    sink += sign_with(lanes, current.nonces, made);
}

/* A ladder that starts at the highest bit of the nonce that is set, like a naive multiplication: 64 steps fewer. */
static void call_leaky_sign(void)
{
    volatile uint64_t value = 3;

    for (int lane = 0; lane < P384_LANES; lane++) {
        int top = P384_LIMBS - 1;
        while (top > 0 && current.nonces[lane].limbs[top] == 0)
            top--;
        for (int step = 0; step < 64 * (top + 1); step++)
            value = value * value + 1;
    }
    call_sign();
}

static void call_read(void)
{
    p384_scalar scalar;
    for (int i = 0; i < INNER; i++)
        sink += (unsigned)p384_read_scalar(&scalar, current.bytes);
}

/* Compares with the order like memcmp, which stops at the first different byte. */
static void call_leaky_read(void)
{
    uint8_t order[P384_BYTES];
    write_scalar(order, &ORDER);
    for (int i = 0; i < INNER; i++) {
        volatile const uint8_t *bytes = current.bytes;
        int at = 0;
        while (at < P384_BYTES && bytes[at] == order[at])
            at++;
        sink += (unsigned)at;
    }
    call_read();
}

static const struct {
    const char *name;
    void (*prepare)(void), (*call)(void);
} FUNCTIONS[] = {
    {"sign", prepare_sign, call_sign},
    {"leaky-sign", prepare_sign, call_leaky_sign},
    {"read", prepare_read, call_read},
    {"leaky-read", prepare_read, call_leaky_read},
};

static void add(statistic *to, double value)
{
    const double before = value - to->mean;
    to->count++;
    to->mean += before / to->count;
    to->squares += before * (value - to->mean);
}

static int ascending(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static uint64_t measure(void (*call)(void))
{
    unsigned processor;
    _mm_lfence();
    const uint64_t start = __rdtsc();
    _mm_lfence();
    call();
    const uint64_t end = __rdtscp(&processor);
    _mm_lfence();
    return end - start;
}

/* t of all times up to that percentile; with 100, of all. */
static void report(const uint64_t *times, const uint8_t *classes, const uint64_t *sorted, size_t count, double percentile)
{
    const uint64_t limit = sorted[(size_t)((double)(count - 1) * percentile / 100)];
    statistic of[2] = {{0, 0, 0}, {0, 0, 0}};

    for (size_t i = 0; i < count; i++)
        if (times[i] <= limit)
            add(&of[classes[i]], (double)times[i]);
    const double variance =
        of[0].squares / (of[0].count - 1) / of[0].count + of[1].squares / (of[1].count - 1) / of[1].count;
    printf("%.1f %.3f %.0f\n", percentile, variance > 0 ? (of[0].mean - of[1].mean) / sqrt(variance) : 0.0,
           of[0].count + of[1].count);
}

int main(int argc, char **argv)
{
    const size_t count = argc == 3 ? (size_t)atol(argv[2]) : 0;
    uint64_t *times = calloc(count, sizeof *times), *sorted = calloc(count, sizeof *sorted);
    uint8_t *classes = calloc(count, 1);
    static p384_scalar keys[P384_LANES];

    if (!p384_supported() || count < 1000 || !times || !sorted || !classes)
        return 1;
    for (int i = 0; i < P384_LANES; i++) {
        const p384_scalar digest = random_scalar();
        keys[i] = random_scalar();
        write_scalar(digests[i], &digest);
        lanes[i] = (p384_lane){&keys[i], digests[i]};
    }
    for (size_t f = 0; f < sizeof FUNCTIONS / sizeof FUNCTIONS[0]; f++) {
        if (strcmp(FUNCTIONS[f].name, argv[1]) != 0)
            continue;
        FUNCTIONS[f].prepare();
        for (size_t i = 0; i < count; i++)
            classes[i] = random_word() & 1;
        for (size_t i = 0; i < count; i++) {
            current = inputs[classes[i]][i % INPUTS];
            times[i] = measure(FUNCTIONS[f].call);
        }
        memcpy(sorted, times, count * sizeof *times);
        qsort(sorted, count, sizeof *sorted, ascending);
        for (int crop = 0; crop < CROPS; crop++) /* 10, 20 ... 90, 95, 99, 100 */
            report(times, classes, sorted, count,
                   crop < 9 ? 10.0 * (crop + 1) : (const double[]){95, 99, 100}[crop - 9]);
        return 0;
    }
    return 1;
}

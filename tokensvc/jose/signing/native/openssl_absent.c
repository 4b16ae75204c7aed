/* Stand-ins for symbols of OpenSSL. The library has variants of its functions for OpenSSL's big numbers in the same
 * object files as the functions that are used here. Nothing calls them. As these are hidden, the linker drops both. */
#include <stdlib.h>

#define ABSENT(name) \
    __attribute__((visibility("hidden"))) void name(void) { abort(); }

ABSENT(BN_bn2lebinpad)
ABSENT(BN_num_bits)
ABSENT(BN_bin2bn)
ABSENT(ECDSA_SIG_get0)

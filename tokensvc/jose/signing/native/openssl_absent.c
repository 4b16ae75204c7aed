/* Stand-ins for what the library's variants for OpenSSL's big numbers name. They share object files with the functions
 * that we call, nothing calls them, and hidden they let the linker drop both. */
#include <stdlib.h>

#define ABSENT(name) \
    __attribute__((visibility("hidden"))) void name(void) { abort(); }

ABSENT(BN_bn2lebinpad)
ABSENT(BN_num_bits)
ABSENT(BN_bin2bn)
ABSENT(ECDSA_SIG_get0)

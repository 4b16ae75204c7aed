/* To be preloaded: a getrandom(2) with a known result. */
#include <string.h>
#include <sys/types.h>

ssize_t getrandom(void *bytes, size_t size, unsigned flags)
{
    (void)flags;
    memset(bytes, 0x5c, size);
    return (ssize_t)size;
}

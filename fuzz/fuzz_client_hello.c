/* ClientHellos: the answer does not depend on how the bytes were cut, and a name is one of a host. */
#include <stdint.h>
#include <string.h>

#include "io/client_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[DM_CLIENT_HELLO_NAME_MAX + 1] = "", again[DM_CLIENT_HELLO_NAME_MAX + 1] = "";
    int rc = dm_client_hello_name((const char *)data, size, name);

    for (size_t n = 0; n < size && n < 2048; n++) {
        int part = dm_client_hello_name((const char *)data, n, again);
        if (part != 0 && part != rc)
            abort();
        if (part == 1 && strcmp(name, again) != 0)
            abort();
    }
    for (size_t i = 0; rc == 1 && name[i]; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-_.", name[i]))
            abort();
    return 0;
}

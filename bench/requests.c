#include "requests.h"

#include "wire.h"

#include <stdio.h>

#define SIZE_MAX_BYTES (1 << 22)

int dm_requests_read(struct dm_requests *requests, const char *path)
{
    static char text[SIZE_MAX_BYTES];
    FILE *file = fopen(path, "rb");
    size_t len = file == NULL ? 0 : fread(text, 1, sizeof(text), file);
    size_t at = 0;
    struct dm_wire_head head;

    if (file != NULL)
        fclose(file);
    requests->count = 0;
    while (at < len && requests->count < DM_REQUESTS_MAX && dm_wire_head(text + at, len - at, &head) == 1) {
        requests->all[requests->count++] = (struct dm_request){.ptr = text + at, .len = head.head_len};
        at += head.head_len;
    }
    if (requests->count > 0 && at == len)
        return 0;
    fprintf(stderr, "%s: expected at most %d request heads of %d bytes in all, each with its empty line\n", path,
            DM_REQUESTS_MAX, SIZE_MAX_BYTES);
    return -1;
}

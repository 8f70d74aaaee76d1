/* What is said with a connection that goes to a cell: read back as it was written, and nothing else. */
#include <stdint.h>
#include <string.h>

#include "gateway/cell_message.h"
#include "io/handover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_cell_message message;
    static char bytes[1 << 17];
    struct dm_buf out;

    if (dm_cell_message_read(dm_str_n((const char *)data, size), &message) < 0)
        return 0;
    dm_buf_init_fixed(&out, bytes, sizeof(bytes));
    dm_cell_message_write(&message, &out);
    if (out.failed || out.len != size || memcmp(bytes, data, size) != 0)
        abort();
    return 0;
}

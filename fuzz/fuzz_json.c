/* Whatever parses prints, compact and indented, to text that parses to an equal tree. */
#include "base/buf.h"
#include "base/crypto.h"
#include "base/json.h"

#define MAX_BYTES (1 << 20)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct dm_json_limits limits = {.max_bytes = MAX_BYTES, .max_depth = 32};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    if (dm_crypto_init() < 0)
        abort();
    return 0;
}

static void check_prints_back(const struct dm_json *root, bool is_indented)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *again = NULL;
    DM_CLEANUP(dm_buf_done) struct dm_buf text;
    const struct dm_json_limits wide = {.max_bytes = SIZE_MAX, .max_depth = limits.max_depth};

    dm_buf_init(&text, (size_t)64 * MAX_BYTES);
    dm_json_print(root, is_indented, &text);
    if (text.failed || !dm_str_is_utf8(dm_buf_str(&text)))
        abort();
    if (dm_json_parse(dm_buf_str(&text), &wide, &again, NULL) < 0 || !dm_json_equal(root, again))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *root = NULL;
    struct dm_err err = {0};
    int rc = dm_json_parse(dm_str_n((const char *)data, size), &limits, &root, &err);

    if (rc < 0) {
        if (root || err.code != rc || err.message[0] == '\0')
            abort();
        return 0;
    }
    check_prints_back(root, false);
    check_prints_back(root, true);
    return 0;
}

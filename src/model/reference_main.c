/* daemun-reference DIR: writes the generated reference pages into DIR. */
#include "base/crypto.h"
#include "base/sys.h"
#include "model/reference.h"

static int write_page(const char *dir, const char *name, void (*page)(struct dm_buf *ret))
{
    struct dm_buf text DM_CLEANUP(dm_buf_done) = {0};
    struct dm_err err = {0};
    char path[4096];
    int n;

    dm_buf_init(&text, DM_REFERENCE_MAX);
    page(&text);
    n = snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (text.failed || n < 0 || (size_t)n >= sizeof(path))
        return fprintf(stderr, "daemun-reference: %s is too large\n", name), -1;
    if (dm_sys_write_file(dm_sys_real(), path, dm_buf_str(&text), 0644, false, &err) < 0)
        return fprintf(stderr, "daemun-reference: %s\n", err.message), -1;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: daemun-reference DIR\n");
        return 2;
    }
    if (dm_crypto_init() < 0 || write_page(argv[1], "resources.md", dm_reference_resources) < 0 ||
        write_page(argv[1], "reasons.md", dm_reference_reasons) < 0 ||
        write_page(argv[1], "listeners.md", dm_reference_listeners) < 0)
        return 1;
    return 0;
}

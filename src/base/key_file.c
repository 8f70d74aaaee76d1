#include "base/key_file.h"

#include "base/buf.h"
#include "base/encode.h"
#include "base/mem.h"

#define TEXT_MAX (2 * DM_KEY_FILE_BYTES_MAX + 2)

int dm_key_file_read(struct dm_sys *sys, const char *path, uint8_t *ret, size_t len, struct dm_err *err)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    int rc;

    dm_buf_init(&text, TEXT_MAX);
    if ((rc = dm_sys_read_file(sys, path, TEXT_MAX, &text, err)) < 0)
        return rc;
    rc = text.len == 2 * len + 1 ? dm_unhex(dm_str_n(text.ptr, 2 * len), ret, len) : DM_EINVAL;
    dm_mem_wipe(text.ptr, text.len);
    return rc < 0 ? dm_fail(err, DM_ECORRUPT, "", "the key file '%s' is damaged: expected %zu hexadecimal digits", path,
                            2 * len)
                  : 0;
}

int dm_key_file_write(struct dm_sys *sys, const char *path, const uint8_t *key, size_t len, struct dm_err *err)
{
    char text[TEXT_MAX];
    int rc;

    if (len > DM_KEY_FILE_BYTES_MAX)
        return dm_fail(err, DM_EBUDGET, "", "a key of %zu bytes is too long for the file '%s'", len, path);
    dm_hex(key, len, text);
    text[2 * len] = '\n';
    rc = dm_sys_write_file(sys, path, dm_str_n(text, 2 * len + 1), 0600, true, err);
    dm_mem_wipe(text, sizeof(text));
    return rc;
}

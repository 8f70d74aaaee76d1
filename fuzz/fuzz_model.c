/* Tenant files and documents as JSON text: what is accepted is written and read again as the same. */
#include <stdint.h>

#include "base/buf.h"
#include "base/jsonw.h"
#include "model/document.h"
#include "model/tenant_file.h"

#define TEXT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct dm_schema *schema, struct dm_str text, void *object, void *again)
{
    struct dm_errs errs = {0};
    struct dm_arena arena;
    struct dm_buf written;
    struct dm_jsonw w;

    dm_arena_init(&arena, NULL, 16u << 20);
    if (dm_model_read_text(schema, text, TEXT_MAX, &arena, object, &errs) < 0) {
        if (errs.n == 0 || errs.items[0].message[0] == '\0')
            abort();
    } else {
        dm_buf_init(&written, 8 * TEXT_MAX);
        dm_jsonw_init(&w, &written);
        dm_model_write(schema, object, &w, DM_WRITE_SECRETS | DM_WRITE_DEFAULTS);
        if (written.failed || dm_model_read_text(schema, dm_buf_str(&written), 8 * TEXT_MAX, &arena, again, NULL) < 0 ||
            !dm_model_equal(schema, object, again))
            abort();
        dm_buf_done(&written);
    }
    dm_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_str text = dm_str_n((const char *)data, size);
    struct dm_tenant_file file, file_again;
    struct dm_document document, document_again;

    if (dm_crypto_init() < 0)
        return 0;
    check(&dm_schema_tenant_file, text, &file, &file_again);
    check(&dm_schema_document, text, &document, &document_again);
    return 0;
}

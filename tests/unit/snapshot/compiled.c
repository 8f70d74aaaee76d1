#include "compiled.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/json.h"

void compiled_init(struct compiled *compiled, enum dm_unit_kind kind, const char *body)
{
    struct dm_buf text DM_CLEANUP(dm_buf_done);
    struct dm_document document;
    struct dm_errs errs = {0};
    struct dm_err err = {0};
    struct dm_arena arena;
    uint8_t hash[DM_DIGEST_BYTES] = {7};

    assert_int_equal(dm_crypto_init(), 0);
    dm_buf_init(&text, 4u << 20);
    dm_buf_printf(&text,
                  "{\"format\":1,\"kind\":\"%s\",\"tenant\":\"team\",\"tenant_id\":9,\"epoch\":1,\"sequence\":5,"
                  "\"compat_date\":\"2026-11-01\",\"body\":",
                  dm_unit_kind_names[kind]);
    dm_buf_add(&text, dm_str_of(body));
    dm_buf_add_char(&text, '}');
    dm_arena_init(&arena, NULL, DM_DOCUMENT_ARENA_BYTES);
    if (dm_model_read_text(&dm_schema_document, dm_buf_str(&text), DM_DOCUMENT_BODY_MAX, &arena, &document, &errs) < 0)
        fail_msg("%s: %s", errs.items[0].pointer, errs.items[0].message);
    dm_builder_init(&compiled->builder);
    if (dm_compile(&document, hash, &compiled->builder, &err) < 0 ||
        dm_unit_from_memory(compiled->builder.buf.ptr, compiled->builder.buf.len, &compiled->unit, &err) < 0)
        fail_msg("%s: %s", err.pointer, err.message);
    dm_arena_done(&arena);
}

void compiled_done(struct compiled *compiled)
{
    dm_unit_unref(compiled->unit);
    dm_builder_done(&compiled->builder);
}

#include "model/policy_int.h"

#include "model/format_int.h"

const char *const dm_compression_algorithm_names[] = {"gzip", "br", NULL};

/* What is text and not compressed by itself. */
const char *const dm_compression_default_types[] = {"text/*",
                                                    "application/json",
                                                    "application/*+json",
                                                    "application/x-ndjson",
                                                    "application/xml",
                                                    "application/*+xml",
                                                    "application/javascript",
                                                    "application/yaml",
                                                    "application/wasm",
                                                    "image/svg+xml",
                                                    NULL};

static bool check_algorithm(struct dm_str value, struct dm_buf *why)
{
    if (dm_names_find(dm_compression_algorithm_names, value) >= 0)
        return true;
    dm_buf_add_lit(why, "must be 'gzip' or 'br'");
    return false;
}

static const struct dm_format format_algorithm = {"compression-algorithm", "^(gzip|br)$", "`gzip` or `br`",
                                                  check_algorithm};

static bool is_lower_token(struct dm_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!dm_is_digit(s.ptr[i]) && !(s.ptr[i] >= 'a' && s.ptr[i] <= 'z') && !strchr("!#$&^_.+-", s.ptr[i]))
            return false;
    return s.len > 0;
}

/* type "/" subtype; the subtype may be "*" or begin with "*+". */
static bool check_media_range(struct dm_str value, struct dm_buf *why)
{
    size_t slash = dm_str_find(value, '/');
    struct dm_str subtype = dm_str_skip(value, slash + 1);

    if (memchr(value.ptr, 0, value.len) == NULL && is_lower_token(dm_str_n(value.ptr, slash)) &&
        (dm_str_eq(subtype, DM_STR("*")) ||
         is_lower_token(dm_str_starts(subtype, DM_STR("*+")) ? dm_str_skip(subtype, 2) : subtype)))
        return true;
    dm_buf_add_lit(why, "must be a media type in lower case such as application/json, text/* or application/*+json");
    return false;
}

static const struct dm_format format_media_range = {
    "media-range", "^[a-z0-9!#$&^_.+-]+/([*]|([*][+])?[a-z0-9!#$&^_.+-]+)$",
    "a media type in lower case: `application/json`, `text/*`, `application/*+json`", check_media_range};

#define LIST(member)                                                                                                   \
    .offset = offsetof(struct dm_policy, compression.member),                                                          \
    .count_offset = offsetof(struct dm_policy, compression.n_##member)

static const struct dm_field fields[] = {
    DM_POLICY_TYPE_FIELD,
    {"algorithms", DM_FIELD_STRINGS, DM_FIELD_UNIQUE, LIST(algorithms), .max = DM_COMPRESSION_ALGORITHMS_MAX,
     .item_max = 16, .format = &format_algorithm,
     .doc =
         "Content codings to offer, the one that is taken first when a caller accepts several alike. Left out: `br`, "
         "`gzip`."},
    {"content_types", DM_FIELD_STRINGS, DM_FIELD_UNIQUE, LIST(content_types), .max = DM_COMPRESSION_TYPES_MAX,
     .item_max = 128, .format = &format_media_range,
     .doc =
         "Media types to compress. `text/event-stream` only where it is named itself, gRPC never. Left out: `text/*`, "
         "`application/json`, `application/*+json`, `application/x-ndjson`, `application/xml`, `application/*+xml`, "
         "`application/javascript`, `application/yaml`, `application/wasm`, `image/svg+xml`."},
    {"min_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_policy, compression.min_bytes), .min = 0, .max = 1 << 30,
     .def_int = 1024, .doc = "A response whose length is known and smaller stays as it is."},
    {"level", DM_FIELD_INT, DM_FIELD_UNSET, DM_AT(struct dm_policy, compression.level), .min = 1, .max = 9,
     .doc = "Effort: 1 is fast, 9 is small; `br` goes up to 6, above that it is as 6. Left out: 5 for `gzip`, 3 for "
            "`br`."},
    {"with_credentials", DM_FIELD_BOOL, 0, DM_AT(struct dm_policy, compression.with_credentials),
     .doc = "Compress also where a browser may have sent the caller's credentials by itself or the response is one "
            "caller's own. Only where no response holds a secret together with text that a stranger can choose (see "
            "docs/compression.md)."},
};

const struct dm_schema dm_schema_policy_compression = {
    .name = "PolicyCompression",
    .doc =
        "Compresses responses for callers that accept it (Accept-Encoding). Ranges, what is encoded already and what says "
        "`no-transform` pass untouched; requests with Cookie or Authorization, or authenticated by a client certificate, and responses with "
        "Set-Cookie, `private` or `no-store` too, unless `with_credentials` is true.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_policy),
};

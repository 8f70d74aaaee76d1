#include "control/api/page.h"
#include "control/api/call.h"
#include "base/encode.h"

int dm_page_bad_cursor(struct dm_page *page)
{
    return dm_failure_add(&page->call->failure, DM_EINVAL, NULL, "", "the cursor is none that this list gave");
}

static int read_cursor(struct dm_page *page)
{
    struct dm_str cursor = dm_call_query(page->call, "cursor");
    uint8_t *key;
    ssize_t len;

    page->after = DM_STR("");
    if (cursor.ptr == NULL)
        return 0;
    if ((key = dm_arena_alloc(&page->call->arena, DM_PAGE_KEY_MAX)) == NULL)
        return dm_page_bad_cursor(page);
    len = dm_unbase64url(cursor, key, DM_PAGE_KEY_MAX);
    if (len <= 0)
        return dm_page_bad_cursor(page);
    page->after = dm_str_n((const char *)key, (size_t)len);
    return 0;
}

int dm_page_begin(struct dm_page *page, struct dm_call *call)
{
    uint64_t limit;
    int rc;

    *page = (struct dm_page){.call = call};
    if ((rc = dm_call_query_u64(call, "limit", 1, DM_PAGE_LIMIT_MAX, DM_PAGE_LIMIT, &limit)) < 0 ||
        (rc = read_cursor(page)) < 0)
        return rc;
    page->limit = (size_t)limit;
    page->w = dm_call_answer(call, 200);
    dm_jsonw_begin_object(&page->w);
    dm_jsonw_name(&page->w, "items");
    dm_jsonw_begin_array(&page->w);
    return 0;
}

bool dm_page_next(struct dm_page *page, struct dm_str key)
{
    if (page->count == page->limit) {
        page->has_more = true;
        return false;
    }
    page->count++;
    page->last_len = DM_MIN(key.len, sizeof(page->last));
    memcpy(page->last, key.ptr, page->last_len);
    return true;
}

void dm_page_end(struct dm_page *page)
{
    char cursor[DM_BASE64_MAX(DM_PAGE_KEY_MAX)];

    dm_jsonw_end_array(&page->w);
    if (page->has_more) {
        size_t len = dm_base64url(dm_str_n(page->last, page->last_len), cursor);

        dm_jsonw_member_str(&page->w, "next", dm_str_n(cursor, len));
    }
    dm_jsonw_end_object(&page->w);
}

int dm_page_after_number(struct dm_page *page, int64_t *ret)
{
    uint64_t number = 0;

    if (page->after.len > 0 && (dm_str_to_u64(page->after, &number) < 0 || number > INT64_MAX))
        return dm_page_bad_cursor(page);
    *ret = (int64_t)number;
    return 0;
}

/* Lists in pages: {"items": […], "next": "cursor"}. A cursor is opaque and names the last item shown, so that a page is
 * right also when items come and go between two requests. */
#ifndef DM_CONTROL_API_PAGE_H
#define DM_CONTROL_API_PAGE_H

#include "base/jsonw.h"

struct dm_call;

#define DM_PAGE_LIMIT 100
#define DM_PAGE_LIMIT_MAX 1000
#define DM_PAGE_KEY_MAX 256

struct dm_page {
    struct dm_call *call;
    struct dm_jsonw w;   /* items are written here */
    struct dm_str after; /* key of the item before the page; "" = from the start */
    size_t limit, count;
    bool has_more;
    char last[DM_PAGE_KEY_MAX];
    size_t last_len;
};

/* Reads limit and cursor and starts the answer. Ask the store for limit + 1 items. */
DM_MUST_USE int dm_page_begin(struct dm_page *page, struct dm_call *call);
/* Before each item: false when the page is full (this item is for the next). */
bool dm_page_next(struct dm_page *page, struct dm_str key);
void dm_page_end(struct dm_page *page);
/* The key as a number; 0 from the start. */
DM_MUST_USE int dm_page_after_number(struct dm_page *page, int64_t *ret);
/* Refuses a cursor whose key is none of this list's. Returns the code. */
int dm_page_bad_cursor(struct dm_page *page);

#endif

#include "answer.h"

#include "wire.h"

#include <string.h>

#define STATUS_AT 9
#define STATUS_END 12

void dm_answer_reset(struct dm_answer *answer)
{
    memset(answer, 0, offsetof(struct dm_answer, buf));
}

char *dm_answer_space(struct dm_answer *answer, size_t *ret_size)
{
    *ret_size = sizeof(answer->buf) - answer->have;
    return answer->buf + answer->have;
}

static int take_body(struct dm_answer *answer, size_t got)
{
    if (got > answer->body_left)
        return -1;
    answer->body_left -= got;
    if (answer->body_left > 0)
        return 0;
    answer->in_body = false;
    return 1;
}

int dm_answer_take(struct dm_answer *answer, size_t got)
{
    struct dm_wire_head head;
    size_t have;
    int rc;

    if (answer->in_body)
        return take_body(answer, got);
    have = answer->have += got;
    if ((rc = dm_wire_head(answer->buf, have, &head)) != 1)
        return have == sizeof(answer->buf) ? -1 : rc;
    if (head.head_len <= STATUS_END || memcmp(answer->buf, "HTTP/1.1 ", STATUS_AT) != 0 || head.is_chunked ||
        !head.has_length)
        return -1;
    answer->is_success = answer->buf[STATUS_AT] == '2';
    answer->is_closing = head.is_close;
    answer->body_left = head.body_len;
    answer->in_body = true;
    answer->have = 0;
    return take_body(answer, have - head.head_len);
}

/* The client's reading of one answer of HTTP/1.1 after the other, as their bytes come. */
#ifndef DM_BENCH_ANSWER_H
#define DM_BENCH_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DM_ANSWER_SIZE 4096

/* Zero-initialised is before the first answer. What its head said stays until the next answer begins. */
struct dm_answer {
    bool in_body;
    bool is_success; /* a status of 2xx */
    bool is_closing; /* the peer will close after it */
    uint64_t body_left;
    size_t have;
    char buf[DM_ANSWER_SIZE];
};

/* Before the first answer of another connection. */
void dm_answer_reset(struct dm_answer *answer);

/* Where the next bytes go. */
char *dm_answer_space(struct dm_answer *answer, size_t *ret_size);

/* Takes the got bytes that were put there. Returns 1 when the answer is complete, 0 when more must come, -1 for what is no
 * answer: other than HTTP/1.1, without Content-Length, a head above DM_ANSWER_SIZE, or bytes behind its end. */
int dm_answer_take(struct dm_answer *answer, size_t got);

#endif

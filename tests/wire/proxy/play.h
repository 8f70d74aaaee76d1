/* One case played: a worker, its backend, a client that sends the input, and then the questions whether the connections are clean
 * for whoever comes next. */
#ifndef DM_TESTS_WIRE_PLAY_H
#define DM_TESTS_WIRE_PLAY_H

#include "h2_backend.h"
#include "http_case.h"
#include "rig/rig.h"

#define PLAY_TEXT_MAX (1u << 20)

struct play {
    const struct http_case *c;
    struct rig rig;
    struct rig_origin origin;     /* the backend, unless the case's has frames */
    struct h2_backend h2_backend; /* then this one */
    struct rig_socket *client;
    struct frames_reader reader;    /* of what the client got, when it speaks frames */
    struct dm_buf answer, input;    /* of the backend; of the client, as bytes */
    struct dm_buf up, down;         /* what came, as lines */
    struct dm_buf other;            /* what another client got */
    struct dm_buf asked, answered;  /* in words: requests of the backend, one a line; statuses for the client */
    bool has_h2_backend, has_ended; /* the worker ended the client's connection by itself */
    bool is_next_clean, is_other_clean;
    char port[8], id_prefix[17];
};

/* The rest of an expectation line that begins with the word; false: it does not. */
bool play_word_is(struct dm_str line, const char *word, struct dm_str *ret_rest);
/* Of the first that does. */
bool play_find_word(const struct http_case *c, const char *word, struct dm_str *ret);

/* piece: bytes in which the input goes; 0: whole. */
void play_run(struct play *play, const struct http_case *c, size_t piece);
void play_done(struct play *play);

#endif

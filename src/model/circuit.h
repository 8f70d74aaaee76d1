/* The circuit of a backend as a gateway tells of it: its state, and the changes that led there, each with its evidence. */
#ifndef DM_MODEL_CIRCUIT_H
#define DM_MODEL_CIRCUIT_H

#include "base/str.h"

struct dm_schema;

enum dm_breaker_state { DM_BREAKER_CLOSED, DM_BREAKER_OPEN, DM_BREAKER_HALF_OPEN, DM_BREAKER_STATES };
extern const char *const dm_breaker_state_names[];

/* Why it changed. */
enum dm_breaker_cause {
    DM_BREAKER_RUN,      /* failures behind one another */
    DM_BREAKER_CUTS,     /* answers that were cut, behind one another */
    DM_BREAKER_FAILURES, /* their share */
    DM_BREAKER_SLOWNESS, /* their share */
    DM_BREAKER_PROBE,    /* passed, or failed */
    DM_BREAKER_TIME,     /* a probe is due */
    DM_BREAKER_MODE,     /* people's word, in the settings */
    DM_BREAKER_HAND,     /* people's word, meanwhile */
    DM_BREAKER_CAUSES
};
extern const char *const dm_breaker_cause_names[];

#define DM_BREAKER_LEVEL_MAX 30

/* What others that judge for the same backend need to go on from where one stands. Times in milliseconds of a clock that they share. */
struct dm_breaker_view {
    enum dm_breaker_state state;
    bool is_held;      /* by the mode */
    uint8_t level;     /* openings behind one another; 0: none lately */
    uint8_t passed;    /* probes, in HALF_OPEN */
    uint64_t since_ms; /* of HALF_OPEN: probes are out as of then; 0: none is */
};

#define DM_CIRCUIT_FOREVER UINT32_MAX
#define DM_CIRCUIT_CHANGES 8 /* that are told at a time */

struct dm_circuit_change {
    uint32_t number; /* of the gateway's changes of this circuit: counts up from 1, and wraps */
    uint64_t at_ms;  /* Unix time */
    enum dm_breaker_state from, to;
    enum dm_breaker_cause cause;
    uint32_t calls, failed, slow; /* of the window, in the worker that saw it */
    uint16_t run;                 /* failures behind one another */
    uint32_t open_for_ms;         /* of OPEN; FOREVER: until people change it */
    uint32_t lasted_ms;           /* the state before */
    uint8_t endpoints, endpoints_out;
};

/* As it stands. */
struct dm_circuit_report {
    uint64_t tenant_id;
    struct dm_str tenant, backend;
    enum dm_breaker_state state;
    bool is_held;           /* by people's word: the release's mode, or the hold */
    int hold;               /* enum dm_breaker_mode: what was said meanwhile; AUTO: nothing */
    uint64_t hold_until_ms; /* Unix time */
    uint32_t n_changes;     /* the number of the last one; 0: there was none */
    unsigned n_listed;      /* the last ones, oldest first */
    struct dm_circuit_change changes[DM_CIRCUIT_CHANGES];
};

/* What workers found out of how many calls a backend can do at a time (gateway/upstream/limiter.h). */
struct dm_circuit_limit {
    float base;  /* the latency without a queue, log2 of nanoseconds; 0: nothing is known */
    float limit; /* of the worker that found it out */
    bool is_proven;
};

/* What people say through the API. */
struct dm_circuit_order {
    int state;       /* enum dm_breaker_mode */
    int64_t minutes; /* that it stands, unless AUTO */
};
extern const struct dm_schema dm_schema_circuit_order;

/* What people want of a circuit, whatever its release says, until then. */
struct dm_circuit_hold {
    uint64_t tenant_id;
    struct dm_str tenant, backend;
    int mode;          /* enum dm_breaker_mode; AUTO: nothing any more */
    uint64_t until_ms; /* Unix time */
};

#endif

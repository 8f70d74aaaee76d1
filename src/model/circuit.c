#include "model/circuit.h"
#include "model/backend.h"
#include "model/field.h"

const char *const dm_breaker_state_names[] = {"closed", "open", "half_open", NULL};
const char *const dm_breaker_cause_names[] = {"consecutive_failures",
                                              "consecutive_cuts",
                                              "failure_percent",
                                              "slow_percent",
                                              "probe",
                                              "time",
                                              "mode",
                                              "hand",
                                              NULL};

_Static_assert(DM_COUNT(dm_breaker_state_names) == DM_BREAKER_STATES + 1, "a name for each");
_Static_assert(DM_COUNT(dm_breaker_cause_names) == DM_BREAKER_CAUSES + 1, "a name for each");

static const struct dm_field order_fields[] = {
    {"state", DM_FIELD_ENUM, DM_FIELD_REQUIRED, DM_AT(struct dm_circuit_order, state), .names = dm_breaker_mode_names,
     .doc =
         "`open` refuses all calls, `closed` none, whatever the release says and calls come to; `auto` ends that at once."},
    {"minutes", DM_FIELD_INT, 0, DM_AT(struct dm_circuit_order, minutes), .min = 1, .max = 1440, .def_int = 60,
     .doc = "How long that stands; then the release's own settings count again."},
};

const struct dm_schema dm_schema_circuit_order = {
    .name = "CircuitOrder",
    .doc =
        "What an engineer wants of a backend's circuit now, without a release: on every gateway within a second, and over restarts "
        "of all processes until its time is over.",
    DM_FIELDS(order_fields),
    .struct_bytes = sizeof(struct dm_circuit_order),
};

#include "http/fault.h"

static const struct {
    const char *name;
    unsigned status;
} faults[DM_HTTP_FAULT_COUNT] = {[DM_HTTP_NO_FAULT] = {"none", 0},
#define FAULT_ROW(id, name, status) [DM_HTTP_##id] = {name, status},
                                 DM_HTTP_FAULTS(FAULT_ROW)
#undef FAULT_ROW
};

const char *dm_http_fault_name(enum dm_http_fault fault)
{
    return (unsigned)fault < DM_HTTP_FAULT_COUNT ? faults[fault].name : "unknown";
}

unsigned dm_http_fault_status(enum dm_http_fault fault)
{
    return (unsigned)fault < DM_HTTP_FAULT_COUNT ? faults[fault].status : 400;
}

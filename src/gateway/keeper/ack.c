/* What the controller hears of a unit: how many workers have it, or why it is refused. Nothing is sent while the link is down;
 * when it comes up, all is told (units.c). */
#include "gateway/keeper/keeper_int.h"

struct dm_mark dm_keeper_current_mark(const struct dm_held_unit *unit)
{
    return unit->is_gone ? unit->floor : unit->live;
}

static struct dm_link_ack new_ack(const struct dm_keeper *k, struct dm_str tenant, enum dm_unit_kind kind,
                                  struct dm_mark mark)
{
    return (struct dm_link_ack){
        .tenant = tenant, .kind = kind, .mark = mark, .workers = (uint16_t)k->options.n_workers};
}

static void send_ack(struct dm_keeper *k, const struct dm_link_ack *ack)
{
    dm_controller_send(&k->controller, &(struct dm_link_message){.type = DM_LINK_ACK, .ack = *ack});
}

void dm_keeper_ack_status(struct dm_keeper *k, struct dm_held_unit *unit)
{
    struct dm_link_ack ack = new_ack(k, dm_str_of(unit->tenant->name), unit->kind, dm_keeper_current_mark(unit));
    unsigned n = dm_keeper_count_applied(k, unit);

    if (dm_mark_is_none(ack.mark))
        return;
    ack.workers = (uint16_t)dm_keeper_count_wanted(k, unit);
    ack.workers_live = (uint16_t)DM_MIN(n, (unsigned)ack.workers);
    ack.status = n >= ack.workers ? DM_LINK_LIVE : DM_LINK_PARTLY;
    unit->is_announced = ack.status == DM_LINK_LIVE && dm_controller_is_up(&k->controller);
    send_ack(k, &ack);
}

void dm_keeper_ack_refused(struct dm_keeper *k, struct dm_str tenant, enum dm_unit_kind kind, struct dm_mark mark,
                           const struct dm_err *err)
{
    struct dm_link_ack ack = new_ack(k, tenant, kind, mark);

    ack.status = DM_LINK_REFUSED;
    ack.pointer = dm_str_of(err->pointer);
    ack.message = dm_str_of(err->message);
    send_ack(k, &ack);
}

void dm_keeper_ack_stale(struct dm_keeper *k, const struct dm_held_unit *unit, struct dm_mark mark)
{
    struct dm_err err = {0};

    dm_fail(&err, DM_ECONFLICT, "", "this gateway holds a newer state, %llu.%llu",
            (unsigned long long)unit->floor.epoch, (unsigned long long)unit->floor.sequence);
    dm_keeper_log_unit(DM_LOG_WARN, "unit_stale", unit, mark, "the controller sent an older state than was accepted",
                       err.message);
    dm_keeper_ack_refused(k, dm_str_of(unit->tenant->name), unit->kind, mark, &err);
}

void dm_keeper_ack_gone(struct dm_keeper *k, const struct dm_link_gone *gone)
{
    struct dm_link_ack ack = new_ack(k, gone->tenant, gone->kind, gone->mark);

    ack.workers_live = ack.workers;
    send_ack(k, &ack);
}

/* What workers say of their unit files: applied, or why not; and what is done about it.
 *
 *   sound --[a worker can't open it, and neither can we]--> damaged --[K4: compiled again]--> sound, all workers are told
 *   damaged --[no sound document either]--> lost until the controller sends it: the workers that have it serve on
 *
 * A worker that is short of something for the moment is told of the same file again. */
#include "gateway/keeper/keeper_int.h"

enum { RETRY_MS = 2000 };
#define MEND_PAUSE_NS UINT64_C(2000000000)

/* --- who has it -------------------------------------------------------------------------------------------------- */

static uint64_t bits_of(const struct dm_keeper_cell *cell, size_t word)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < cell->options.n_workers; i++)
        if (cell->slots[i] / 64 == word)
            bits |= UINT64_C(1) << cell->slots[i] % 64;
    return bits;
}

/* Slots that are told of the unit: the shared ones, unless a cell serves the tenant; and those of its cell. */
static uint64_t told_slots(const struct dm_keeper *k, const struct dm_held_unit *unit, size_t word)
{
    const struct dm_keeper_cell *cell = dm_keeper_cell_find(k, unit->tenant);

    if (word < DM_GATEWAY_WORKERS_MAX / 64)
        return cell && cell->is_gated && unit->kind != DM_UNIT_GRANTS ? 0 : UINT64_MAX;
    return cell && !cell->is_ending ? bits_of(cell, word) : 0;
}

unsigned dm_keeper_count_wanted(const struct dm_keeper *k, const struct dm_held_unit *unit)
{
    const struct dm_keeper_cell *cell = dm_keeper_cell_find(k, unit->tenant);
    unsigned n = told_slots(k, unit, 0) ? k->options.n_workers : 0;

    return n + (cell && !cell->is_ending ? cell->options.n_workers : 0);
}

/* Slots whose every worker that counts has it; a slot without one has it not. */
static uint64_t live_slots(const struct dm_keeper *k, const struct dm_held_unit *unit, size_t word)
{
    uint64_t lacking = 0, counting = 0;

    for (int bank = 0; bank < DM_GATEWAY_BANKS; bank++) {
        lacking |= k->counting[bank][word] & ~unit->applied[bank][word];
        counting |= k->counting[bank][word];
    }
    return counting & ~lacking & told_slots(k, unit, word);
}

unsigned dm_keeper_count_applied(const struct dm_keeper *k, const struct dm_held_unit *unit)
{
    unsigned n = 0;

    for (size_t word = 0; word < DM_KEEPER_SLOT_WORDS; word++)
        n += (unsigned)__builtin_popcountll(live_slots(k, unit, word));
    return n;
}

unsigned dm_keeper_count_slots(const struct dm_keeper *k, const struct dm_held_unit *unit)
{
    unsigned n = 0;

    for (size_t word = 0; word < DM_KEEPER_SLOT_WORDS; word++)
        n += (unsigned)__builtin_popcountll((k->counting[0][word] | k->counting[1][word]) & told_slots(k, unit, word));
    return n;
}

_Static_assert(DM_GATEWAY_BANKS == 2, "dm_keeper_count_slots() names them");

/* What it can't have again for now, the controller hears of. */
void dm_keeper_forget_applied(struct dm_keeper *k, const struct dm_keeper_worker *worker)
{
    const uint64_t bit = UINT64_C(1) << worker->slot % 64;

    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit)) {
        uint64_t *word = &unit->applied[worker->bank][worker->slot / 64];
        bool had_it = *word & bit;
        *word &= ~bit;
        if (had_it && unit->is_damaged)
            dm_keeper_ack_status(k, unit);
    }
}

/* Those of slots that are to be given up do not: they go as soon as the others serve. */
void dm_keeper_count_in(struct dm_keeper *k, const struct dm_keeper_worker *worker)
{
    if (dm_keeper_slot_is_wanted(k, worker->slot))
        k->counting[worker->bank][worker->slot / 64] |= UINT64_C(1) << worker->slot % 64;
}

/* What waited for this one alone is live now. */
void dm_keeper_count_out(struct dm_keeper *k, const struct dm_keeper_worker *worker)
{
    k->counting[worker->bank][worker->slot / 64] &= ~(UINT64_C(1) << worker->slot % 64);
    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit))
        if (!unit->is_announced && !unit->is_damaged &&
            dm_keeper_count_applied(k, unit) >= dm_keeper_count_wanted(k, unit))
            dm_keeper_ack_status(k, unit);
}

/* --- again ------------------------------------------------------------------------------------------------------- */

static void on_retry(struct dm_timer *timer)
{
    struct dm_keeper *k = DM_CONTAINER_OF(timer, struct dm_keeper, retry_timer);

    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit)) {
        if (!unit->is_retry_due)
            continue;
        unit->is_retry_due = false;
        if (unit->needs_compile)
            dm_keeper_compile_again(k, unit);
        else
            dm_keeper_workers_tell(k, unit);
    }
}

void dm_keeper_retry_later(struct dm_keeper *k, struct dm_held_unit *unit)
{
    unit->is_retry_due = true;
    k->retry_timer.on_due = on_retry;
    if (!dm_timer_is_armed(&k->retry_timer))
        dm_timer_arm(k->loop, &k->retry_timer, RETRY_MS);
}

/* K4 */
static void mend(struct dm_keeper *k, struct dm_held_unit *unit)
{
    if (!unit->needs_compile)
        dm_keeper_log_unit(DM_LOG_ERROR, "unit_lost", unit, unit->live,
                           "there is no document to compile it from; the workers that have it serve on", "");
    else if (unit->mended_ns != 0 && dm_loop_now_ns(k->loop) - unit->mended_ns < MEND_PAUSE_NS)
        dm_keeper_retry_later(k, unit);
    else
        dm_keeper_compile_again(k, unit);
}

/* --- hearing ----------------------------------------------------------------------------------------------------- */

/* Otherwise the worker is short of something. */
static bool is_fault_of_file(int code)
{
    return code == DM_ECORRUPT || code == DM_EVERSION || code == DM_ENOENT;
}

/* The file is sound and of no use all the same, as with a key that does not open: whoever wrote it hears why, once. */
static void tell_useless(struct dm_keeper *k, struct dm_held_unit *unit, const struct dm_worker_applied *applied)
{
    struct dm_err err = {0};

    if ((applied->code != DM_ECORRUPT && applied->code != DM_EINVAL && applied->code != DM_EBUDGET) ||
        dm_mark_cmp(unit->useless, applied->mark) == 0)
        return;
    unit->useless = applied->mark;
    dm_fail(&err, applied->code, "", "%.*s", (int)strnlen(applied->message, sizeof(applied->message)),
            applied->message);
    dm_keeper_ack_refused(k, dm_str_of(unit->tenant->name), unit->kind, applied->mark, &err);
}

/* Its word is checked: the file may have been replaced since. */
static void on_not_applied(struct dm_keeper *k, struct dm_held_unit *unit, const struct dm_worker_applied *applied)
{
    dm_keeper_log_unit(DM_LOG_ERROR, "unit_not_applied", unit, applied->mark, "a worker can't use the unit",
                       applied->message);
    if (unit->is_damaged || unit->is_gone)
        return;
    if (is_fault_of_file(applied->code) && !dm_store_recheck(&k->store, unit)) {
        mend(k, unit);
        return;
    }
    tell_useless(k, unit, applied);
    dm_keeper_retry_later(k, unit);
}

void dm_keeper_on_applied(struct dm_keeper *k, struct dm_keeper_worker *worker, const struct dm_worker_applied *applied)
{
    struct dm_held_tenant *tenant =
        dm_store_find(&k->store, dm_str_n(applied->tenant, strnlen(applied->tenant, sizeof(applied->tenant))));
    struct dm_held_unit *unit;
    unsigned n;

    if (!tenant || (worker->cell && worker->cell->tenant != tenant) || applied->kind < DM_UNIT_RELEASE ||
        applied->kind >= DM_UNIT_KINDS)
        return;
    unit = &tenant->units[applied->kind];
    if (applied->code != 0)
        on_not_applied(k, unit, applied);
    if (dm_mark_cmp(applied->mark, dm_keeper_current_mark(unit)) < 0)
        return;
    if (applied->code == 0)
        unit->applied[worker->bank][worker->slot / 64] |= UINT64_C(1) << worker->slot % 64;
    n = dm_keeper_count_applied(k, unit);
    /* Those that are not connected will get it when they come. */
    if (applied->code != 0 ||
        (!unit->is_announced && (n >= dm_keeper_count_wanted(k, unit) || n >= dm_keeper_count_slots(k, unit))))
        dm_keeper_ack_status(k, unit);
}

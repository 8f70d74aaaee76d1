/* What happens to a unit, from the link or the disk to the workers and back (keeper.h has the picture). */
#include "base/mem.h"
#include "gateway/keeper_int.h"

enum { DIR_SYNC_MS = 20, RETELL_MS = 2000, JOBS_MAX = 64 };

static void log_unit(enum dm_log_level level, const char *event, const struct dm_held_unit *unit, struct dm_mark mark,
                     const char *what, const char *detail)
{
    char text[64];
    int n =
        snprintf(text, sizeof(text), "%llu.%llu", (unsigned long long)mark.epoch, (unsigned long long)mark.sequence);
    struct dm_log_member members[] = {{"tenant", dm_str_of(unit->tenant->name)},
                                      {"kind", dm_str_of(dm_unit_kind_names[unit->kind])},
                                      {"mark", dm_str_n(text, (size_t)n)}};

    dm_log_members(level, event, members, DM_COUNT(members), "%s%s%s", what, detail[0] ? ": " : "", detail);
}

/* --- acknowledging ----------------------------------------------------------------------------------------------- */

unsigned dm_keeper_count_applied(const struct dm_held_unit *unit)
{
    unsigned n = 0;

    for (size_t i = 0; i < DM_COUNT(unit->applied); i++)
        n += (unsigned)__builtin_popcountll(unit->applied[i]);
    return n;
}

static struct dm_mark current_mark(const struct dm_held_unit *unit)
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

static void ack_status(struct dm_keeper *k, struct dm_held_unit *unit)
{
    struct dm_link_ack ack = new_ack(k, dm_str_of(unit->tenant->name), unit->kind, current_mark(unit));
    unsigned n = dm_keeper_count_applied(unit);

    if (dm_mark_is_none(ack.mark))
        return;
    ack.workers_live = (uint16_t)n;
    ack.status = n >= k->options.n_workers ? DM_LINK_LIVE : DM_LINK_PARTLY;
    unit->is_announced = ack.status == DM_LINK_LIVE && dm_controller_is_up(&k->controller);
    send_ack(k, &ack);
}

static void ack_refused(struct dm_keeper *k, struct dm_str tenant, enum dm_unit_kind kind, struct dm_mark mark,
                        const struct dm_err *err)
{
    struct dm_link_ack ack = new_ack(k, tenant, kind, mark);

    ack.status = DM_LINK_REFUSED;
    ack.pointer = dm_str_of(err->pointer);
    ack.message = dm_str_of(err->message);
    send_ack(k, &ack);
}

static void ack_stale(struct dm_keeper *k, const struct dm_held_unit *unit, struct dm_mark mark)
{
    struct dm_err err = {0};

    dm_fail(&err, DM_ECONFLICT, "", "this gateway holds a newer state, %llu.%llu",
            (unsigned long long)unit->floor.epoch, (unsigned long long)unit->floor.sequence);
    log_unit(DM_LOG_WARN, "unit_stale", unit, mark, "the controller sent an older state than was accepted",
             err.message);
    ack_refused(k, dm_str_of(unit->tenant->name), unit->kind, mark, &err);
}

/* --- workers ----------------------------------------------------------------------------------------------------- */

/* A new state: nobody has it yet. */
static void roll_out(struct dm_keeper *k, struct dm_held_unit *unit)
{
    memset(unit->applied, 0, sizeof(unit->applied));
    unit->is_announced = false;
    dm_keeper_workers_tell(k, unit);
    if (k->n_connected == 0)
        ack_status(k, unit);
}

/* A worker without a free descriptor or memory for the moment may have both later. */
static void on_retell(struct dm_timer *timer)
{
    struct dm_keeper *k = DM_CONTAINER_OF(timer, struct dm_keeper, retell_timer);

    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit))
        if (unit->is_retell_due) {
            unit->is_retell_due = false;
            dm_keeper_workers_tell(k, unit);
        }
}

static void retell_later(struct dm_keeper *k, struct dm_held_unit *unit)
{
    unit->is_retell_due = true;
    if (!dm_timer_is_armed(&k->retell_timer))
        dm_timer_arm(k->loop, &k->retell_timer, RETELL_MS);
}

void dm_keeper_on_applied(struct dm_keeper *k, struct dm_keeper_worker *worker, const struct dm_worker_applied *applied)
{
    struct dm_held_tenant *tenant =
        dm_store_find(&k->store, dm_str_n(applied->tenant, strnlen(applied->tenant, sizeof(applied->tenant))));
    struct dm_held_unit *unit;
    unsigned n;

    if (!tenant || applied->kind < DM_UNIT_RELEASE || applied->kind >= DM_UNIT_KINDS)
        return;
    unit = &tenant->units[applied->kind];
    if (applied->code != 0) {
        log_unit(DM_LOG_ERROR, "unit_not_applied", unit, applied->mark, "a worker can't use the unit",
                 applied->message);
        retell_later(k, unit);
    } else if (dm_mark_cmp(applied->mark, current_mark(unit)) >= 0) {
        unit->applied[worker->slot / 64] |= UINT64_C(1) << worker->slot % 64;
    }
    n = dm_keeper_count_applied(unit);
    if (unit->is_announced || dm_mark_cmp(applied->mark, current_mark(unit)) < 0)
        return;
    /* Those that are not connected will get it when they come. */
    if (n >= k->options.n_workers || n >= k->n_connected || applied->code != 0)
        ack_status(k, unit);
}

void dm_keeper_forget_applied(struct dm_keeper *k, unsigned slot)
{
    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit))
        unit->applied[slot / 64] &= ~(UINT64_C(1) << slot % 64);
}

/* --- the loader's answer ----------------------------------------------------------------------------------------- */

static void end_job(struct dm_keeper *k, struct dm_keeper_job *job)
{
    bool was_again = job->is_again;

    if (dm_mark_cmp(job->unit->incoming, job->mark) == 0)
        job->unit->incoming = (struct dm_mark){0, 0};
    for (size_t i = 0; i < k->unsynced.count; i++)
        if (k->unsynced.items[i] == job)
            k->unsynced.items[i] = NULL;
    dm_store_drop(&k->store, &job->staged);
    dm_free(job);
    if (was_again && --k->n_again == 0)
        dm_keeper_workers_sync(k);
    if (k->loader.n_jobs < JOBS_MAX / 2)
        dm_controller_resume(&k->controller);
}

static void remember_refusal(struct dm_held_unit *unit, const struct dm_keeper_job *job, const struct dm_err *err)
{
    if (!unit->refusal)
        unit->refusal = dm_calloc(1, sizeof(*unit->refusal));
    unit->refusal->mark = job->mark;
    memcpy(unit->refusal->body_hash, job->body_hash, DM_DIGEST_BYTES);
    unit->refusal->err = *err;
}

/* The former unit stays. */
static void refuse(struct dm_keeper *k, struct dm_keeper_job *job, const struct dm_err *err)
{
    struct dm_held_unit *unit = job->unit;

    k->n_refused++;
    log_unit(DM_LOG_ERROR, "unit_refused", unit, job->mark,
             dm_mark_is_none(unit->live) ? "the document is refused, and there is no former one"
                                         : "the document is refused, the former one stays live",
             err->message);
    if (job->is_again) {
        unit->needs_compile = false;
        unit->is_damaged = true;
        unit->document = (struct dm_mark){0, 0};
    } else {
        /* A full disk may be free again; a bad document stays bad. */
        if (err->code != DM_EIO)
            remember_refusal(unit, job, err);
        ack_refused(k, dm_str_of(unit->tenant->name), unit->kind, job->mark, err);
    }
    end_job(k, job);
}

static void on_dir_due(struct dm_timer *timer)
{
    dm_store_sync_dir(&DM_CONTAINER_OF(timer, struct dm_keeper, dir_timer)->store);
}

/* Compiled and synced: it takes the place of the former one. */
static void accept_job(struct dm_keeper *k, struct dm_keeper_job *job)
{
    struct dm_held_unit *unit = job->unit;
    struct dm_err err = {0};

    if (!job->is_again && dm_mark_cmp(job->mark, unit->floor) < 0) {
        ack_stale(k, unit, job->mark); /* taken away meanwhile */
        end_job(k, job);
        return;
    }
    if (job->is_unsyncable) {
        dm_fail(&err, DM_EIO, "", "the disk does not take the document");
        refuse(k, job, &err);
        return;
    }
    if (dm_store_commit(&k->store, unit, &job->staged, job->mark, &err) < 0) {
        refuse(k, job, &err);
        return;
    }
    dm_free(unit->refusal);
    unit->refusal = NULL;
    k->n_accepted++;
    roll_out(k, unit);
    log_unit(DM_LOG_DEBUG, "unit_accepted", unit, job->mark, "accepted and sent to the workers", "");
    if (k->store.is_dir_dirty && !dm_timer_is_armed(&k->dir_timer))
        dm_timer_arm(k->loop, &k->dir_timer, DIR_SYNC_MS);
    end_job(k, job);
}

void dm_keeper_compiled(struct dm_keeper *k, struct dm_keeper_job *job, int code, const struct dm_err *err)
{
    if (code < 0) {
        refuse(k, job, err);
        return;
    }
    job->is_compiled = true;
    if (job->is_synced)
        accept_job(k, job);
}

/* --- the disk ---------------------------------------------------------------------------------------------------- */

/* Documents that came in one turn: written to the disk together, each synced while the loader works on it. */
static void sync_staged(struct dm_task *task)
{
    struct dm_keeper *k = DM_CONTAINER_OF(task, struct dm_keeper, sync_task);
    struct dm_err err = {0};

    for (size_t i = 0; i < k->unsynced.count; i++)
        if (k->unsynced.items[i])
            dm_store_presync(&k->store, &k->unsynced.items[i]->staged);
    for (size_t i = 0; i < k->unsynced.count; i++) {
        struct dm_keeper_job *job = k->unsynced.items[i];
        if (!job)
            continue;
        k->unsynced.items[i] = NULL;
        job->is_unsyncable = dm_store_sync(&k->store, &job->staged, &err) < 0;
        job->is_synced = true;
        if (job->is_compiled)
            accept_job(k, job);
    }
    k->unsynced.count = 0;
}

static struct dm_keeper_job *new_job(struct dm_held_unit *unit, struct dm_mark mark)
{
    struct dm_keeper_job *job = dm_calloc(1, sizeof(*job));

    job->unit = unit;
    job->mark = mark;
    job->staged.fd = -1;
    return job;
}

static void compile_again(struct dm_keeper *k, struct dm_held_unit *unit)
{
    struct dm_keeper_job *job = new_job(unit, unit->document);
    struct dm_err err = {0};

    job->is_again = job->is_synced = true;
    k->n_again++;
    if (dm_store_stage_again(&k->store, unit, &job->staged, &err) < 0) {
        refuse(k, job, &err);
        return;
    }
    log_unit(DM_LOG_WARN, "unit_compiled_again", unit, job->mark, "there is no sound unit; it is compiled again", "");
    dm_keeper_loader_submit(k, job);
}

void dm_keeper_units_start(struct dm_keeper *k)
{
    k->sync_task.run = sync_staged;
    k->dir_timer.on_due = on_dir_due;
    k->retell_timer.on_due = on_retell;
    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit))
        if (unit->needs_compile)
            compile_again(k, unit);
}

void dm_keeper_units_done(struct dm_keeper *k)
{
    dm_task_cancel(k->loop, &k->sync_task);
    dm_timer_cancel(k->loop, &k->dir_timer);
    dm_timer_cancel(k->loop, &k->retell_timer);
    for (size_t i = 0; i < k->unsynced.count; i++)
        if (k->unsynced.items[i] && k->unsynced.items[i]->is_compiled)
            end_job(k, k->unsynced.items[i]);
    dm_store_sync_dir(&k->store);
    dm_vec_done(&k->unsynced);
    dm_vec_done(&k->held);
}

/* --- the link ---------------------------------------------------------------------------------------------------- */

/* Is this document to be looked at? What is not gets its acknowledgement here. */
static bool is_news(struct dm_keeper *k, struct dm_held_unit *unit, const struct dm_document_head *head)
{
    const struct dm_refusal *refusal = unit->refusal;
    int cmp = dm_mark_cmp(head->mark, unit->floor);
    bool is_missing = !unit->is_gone && dm_mark_cmp(unit->document, head->mark) != 0;

    if (dm_mark_cmp(head->mark, unit->incoming) <= 0 && !dm_mark_is_none(unit->incoming))
        return false; /* its answer, or that of a newer one, is on its way */
    if (cmp < 0) {
        ack_stale(k, unit, head->mark);
        return false;
    }
    if (cmp == 0 && !is_missing) {
        ack_status(k, unit);
        return false;
    }
    if (refusal && dm_mark_cmp(refusal->mark, head->mark) == 0 &&
        memcmp(refusal->body_hash, head->body_hash, DM_DIGEST_BYTES) == 0) {
        ack_refused(k, head->tenant, head->kind, head->mark, &refusal->err);
        return false;
    }
    return true;
}

static int stage(struct dm_keeper *k, struct dm_held_unit *unit, const struct dm_document_head *head,
                 struct dm_str bytes, struct dm_err *err)
{
    struct dm_keeper_job *job = new_job(unit, head->mark);
    int rc;

    memcpy(job->body_hash, head->body_hash, DM_DIGEST_BYTES);
    if ((rc = dm_store_stage(&k->store, unit, bytes, &job->staged, err)) < 0) {
        dm_free(job);
        return rc;
    }
    unit->incoming = head->mark;
    *dm_vec_push(&k->unsynced) = job;
    dm_task_post(k->loop, &k->sync_task);
    dm_keeper_loader_submit(k, job);
    return 0;
}

static void on_unit(struct dm_keeper *k, struct dm_str bytes)
{
    struct dm_document_head head;
    struct dm_held_tenant *tenant;
    struct dm_err err = {0};
    int rc;

    if (dm_document_open(k->store.key, bytes, &head, &err) < 0) {
        /* Not the controller's word, so nobody to acknowledge to; other tenants' documents go on. */
        k->n_refused++;
        dm_log(DM_LOG_ERROR, "document_refused", "a document from the controller is not sound: %s", err.message);
        return;
    }
    if ((rc = dm_store_tenant(&k->store, head.tenant, &tenant, &err)) == 0) {
        if (!is_news(k, &tenant->units[head.kind], &head))
            return;
        rc = stage(k, &tenant->units[head.kind], &head, bytes, &err);
    }
    if (rc < 0) {
        k->n_refused++;
        dm_log(DM_LOG_ERROR, "unit_refused", "a document of tenant %.*s can't be taken: %s", DM_STR_ARG(head.tenant),
               err.message);
        ack_refused(k, head.tenant, head.kind, head.mark, &err);
    }
    if (k->loader.n_jobs >= JOBS_MAX)
        dm_controller_pause(&k->controller);
}

static void on_gone(struct dm_keeper *k, const struct dm_link_gone *gone)
{
    struct dm_held_tenant *tenant = dm_store_find(&k->store, gone->tenant);
    struct dm_held_unit *unit = tenant ? &tenant->units[gone->kind] : NULL;
    struct dm_err err = {0};
    int cmp = unit ? dm_mark_cmp(gone->mark, unit->floor) : 0;

    if (!unit || (unit->is_gone && cmp > 0)) { /* never was here, or is no more */
        struct dm_link_ack ack = new_ack(k, gone->tenant, gone->kind, gone->mark);
        ack.workers_live = ack.workers;
        send_ack(k, &ack);
    } else if (cmp < 0) {
        ack_stale(k, unit, gone->mark);
    } else if (cmp == 0) {
        ack_status(k, unit);
    } else if (dm_store_remove(&k->store, unit, gone->mark, &err) < 0) {
        dm_log(DM_LOG_ERROR, "disk_failed", "%s", err.message);
        ack_refused(k, gone->tenant, gone->kind, gone->mark, &err);
    } else {
        log_unit(DM_LOG_INFO, "unit_gone", unit, gone->mark, "taken away by the controller", "");
        roll_out(k, unit);
    }
}

/* Tombstones are told too: a controller that was restored from a backup must number above them. */
static void on_hello(void *arg, struct dm_link_hello *hello)
{
    struct dm_keeper *k = arg;

    k->held.count = 0;
    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit))
        if ((unit->is_gone || !dm_mark_is_none(unit->document)) && k->held.count < DM_LINK_HELD_MAX)
            *dm_vec_push(&k->held) = (struct dm_link_held){dm_str_of(unit->tenant->name), unit->kind,
                                                           unit->is_gone ? unit->floor : unit->document};
    hello->gateway = dm_str_of(k->options.id);
    hello->program_version = DM_STR(DM_VERSION);
    hello->n_workers = (uint16_t)k->options.n_workers;
    hello->held = k->held.items;
    hello->n_held = k->held.count;
}

static int on_welcome(void *arg, const struct dm_link_welcome *welcome, struct dm_err *err)
{
    struct dm_keeper *k = arg;

    return dm_store_pin(&k->store, welcome->public_key, err);
}

/* What it may have missed. */
static void on_up(void *arg)
{
    struct dm_keeper *k = arg;

    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit)) {
        ack_status(k, unit);
        if (unit->refusal)
            ack_refused(k, dm_str_of(unit->tenant->name), unit->kind, unit->refusal->mark, &unit->refusal->err);
    }
    dm_spool_up(&k->spool);
}

static void on_lost(void *arg)
{
    struct dm_keeper *k = arg;

    dm_spool_down(&k->spool);
}

static void on_message(void *arg, const struct dm_link_message *message)
{
    struct dm_keeper *k = arg;

    if (k->is_stopping && message->type != DM_LINK_USED)
        return;
    if (message->type == DM_LINK_UNIT)
        on_unit(k, message->unit);
    else if (message->type == DM_LINK_GONE)
        on_gone(k, &message->gone);
    else if (message->type == DM_LINK_USED)
        dm_spool_used(&k->spool, message->number);
    else
        dm_log(DM_LOG_DEBUG, "link_synced", "the controller has sent all that it knew");
}

static const struct dm_controller_handler handler = {
    .on_hello = on_hello,
    .on_welcome = on_welcome,
    .on_up = on_up,
    .on_message = on_message,
    .on_lost = on_lost,
};

void dm_keeper_link_start(struct dm_keeper *k)
{
    struct dm_controller_settings settings = {.addr = k->options.controller, .uid = k->options.controller_uid};

    dm_controller_start(&k->controller, k->loop, &settings, &handler, k);
}

/* What happens to a unit, from the link or the disk to the workers and back (keeper.h has the picture). */
#include "base/mem.h"
#include "gateway/keeper/keeper_int.h"

enum { DIR_SYNC_MS = 20, JOBS_MAX = 64 };

void dm_keeper_log_unit(enum dm_log_level level, const char *event, const struct dm_held_unit *unit,
                        struct dm_mark mark, const char *what, const char *detail)
{
    char text[64];
    int n =
        snprintf(text, sizeof(text), "%llu.%llu", (unsigned long long)mark.epoch, (unsigned long long)mark.sequence);
    struct dm_log_member members[] = {{"tenant", dm_str_of(unit->tenant->name)},
                                      {"kind", dm_str_of(dm_unit_kind_names[unit->kind])},
                                      {"mark", dm_str_n(text, (size_t)n)}};

    dm_log_members(level, event, members, DM_COUNT(members), "%s%s%s", what, detail[0] ? ": " : "", detail);
}

/* --- rolling out ------------------------------------------------------------------------------------------------- */

/* A new state: nobody has it yet. */
static void roll_out(struct dm_keeper *k, struct dm_held_unit *unit)
{
    memset(unit->applied, 0, sizeof(unit->applied));
    unit->is_announced = false;
    if (unit->kind == DM_UNIT_GRANTS)
        dm_keeper_cells_look(k, unit->tenant);
    dm_keeper_workers_tell(k, unit);
    if (dm_keeper_count_slots(k, unit) == 0)
        dm_keeper_ack_status(k, unit);
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
    dm_keeper_log_unit(DM_LOG_ERROR, "unit_refused", unit, job->mark,
                       dm_mark_is_none(unit->live) ? "the document is refused, and there is no former one"
                                                   : "the document is refused, the former one stays live",
                       err->message);
    /* A full disk may be free again; a bad document stays bad. */
    if (err->code != DM_EIO)
        remember_refusal(unit, job, err);
    dm_keeper_ack_refused(k, dm_str_of(unit->tenant->name), unit->kind, job->mark, err);
    end_job(k, job);
}

/* The document on the disk does not give a unit: the controller hears with HELLO that it is not here. */
static void fail_mending(struct dm_keeper *k, struct dm_keeper_job *job, const struct dm_err *err)
{
    struct dm_held_unit *unit = job->unit;

    dm_keeper_log_unit(DM_LOG_ERROR, "unit_not_mended", unit, job->mark,
                       "the unit can't be compiled again; the workers that have it serve on", err->message);
    unit->is_damaged = true;
    if (err->code == DM_EIO) {
        unit->needs_compile = true;
        dm_keeper_retry_later(k, unit);
    } else {
        unit->document = (struct dm_mark){0, 0};
        dm_controller_redial(&k->controller);
    }
    end_job(k, job);
}

/* Has the controller gone on, or taken it away, while the job was under way? */
static bool is_overtaken(const struct dm_keeper_job *job)
{
    return job->is_again ? dm_mark_cmp(job->mark, job->unit->document) != 0
                         : dm_mark_cmp(job->mark, job->unit->floor) < 0;
}

static void drop_overtaken(struct dm_keeper *k, struct dm_keeper_job *job)
{
    if (!job->is_again)
        dm_keeper_ack_stale(k, job->unit, job->mark);
    end_job(k, job);
}

static void fail_job(struct dm_keeper *k, struct dm_keeper_job *job, const struct dm_err *err)
{
    if (is_overtaken(job))
        drop_overtaken(k, job);
    else if (job->is_again)
        fail_mending(k, job, err);
    else
        refuse(k, job, err);
}

static void on_dir_due(struct dm_timer *timer)
{
    dm_store_sync_dir(&DM_CONTAINER_OF(timer, struct dm_keeper, dir_timer)->store);
}

static void count_accepted(struct dm_keeper *k, struct dm_held_unit *unit)
{
    dm_free(unit->refusal);
    unit->refusal = NULL;
    k->n_accepted++;
}

/* Compiled and synced: it takes the place of the former one. */
static void accept_job(struct dm_keeper *k, struct dm_keeper_job *job)
{
    struct dm_held_unit *unit = job->unit;
    struct dm_err err = {0};

    if (is_overtaken(job)) {
        drop_overtaken(k, job);
        return;
    }
    if (job->is_unsyncable) {
        dm_fail(&err, DM_EIO, "", "the disk does not take the document");
        fail_job(k, job, &err);
        return;
    }
    if (dm_store_commit(&k->store, unit, &job->staged, job->mark, &err) < 0) {
        fail_job(k, job, &err);
        return;
    }
    if (job->is_again)
        k->n_mended++;
    else
        count_accepted(k, unit);
    roll_out(k, unit);
    dm_keeper_log_unit(DM_LOG_DEBUG, "unit_accepted", unit, job->mark, "accepted and sent to the workers", "");
    if (k->store.is_dir_dirty && !dm_timer_is_armed(&k->dir_timer))
        dm_timer_arm(k->loop, &k->dir_timer, DIR_SYNC_MS);
    end_job(k, job);
}

void dm_keeper_compiled(struct dm_keeper *k, struct dm_keeper_job *job, int code, const struct dm_err *err)
{
    if (code < 0) {
        fail_job(k, job, err);
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

void dm_keeper_compile_again(struct dm_keeper *k, struct dm_held_unit *unit)
{
    struct dm_keeper_job *job = new_job(unit, unit->document);
    struct dm_err err = {0};

    job->is_again = job->is_synced = true;
    k->n_again++;
    unit->needs_compile = false;
    unit->mended_ns = dm_loop_now_ns(k->loop);
    if (dm_store_stage_again(&k->store, unit, &job->staged, &err) < 0) {
        fail_job(k, job, &err);
        return;
    }
    dm_keeper_log_unit(DM_LOG_WARN, "unit_compiled_again", unit, job->mark,
                       "there is no sound unit; it is compiled again", "");
    dm_keeper_loader_submit(k, job);
}

void dm_keeper_units_start(struct dm_keeper *k)
{
    k->sync_task.run = sync_staged;
    k->dir_timer.on_due = on_dir_due;
    for (struct dm_held_unit *unit = dm_store_next(&k->store, NULL); unit; unit = dm_store_next(&k->store, unit))
        if (unit->needs_compile)
            dm_keeper_compile_again(k, unit);
}

void dm_keeper_units_done(struct dm_keeper *k)
{
    dm_task_cancel(k->loop, &k->sync_task);
    dm_timer_cancel(k->loop, &k->dir_timer);
    dm_timer_cancel(k->loop, &k->retry_timer);
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
        dm_keeper_ack_stale(k, unit, head->mark);
        return false;
    }
    if (cmp == 0 && !is_missing) {
        dm_keeper_ack_status(k, unit);
        return false;
    }
    if (refusal && dm_mark_cmp(refusal->mark, head->mark) == 0 &&
        memcmp(refusal->body_hash, head->body_hash, DM_DIGEST_BYTES) == 0) {
        dm_keeper_ack_refused(k, head->tenant, head->kind, head->mark, &refusal->err);
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
        dm_keeper_ack_refused(k, head.tenant, head.kind, head.mark, &err);
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
        dm_keeper_ack_gone(k, gone);
    } else if (cmp < 0) {
        dm_keeper_ack_stale(k, unit, gone->mark);
    } else if (cmp == 0) {
        dm_keeper_ack_status(k, unit);
    } else if (dm_store_remove(&k->store, unit, gone->mark, &err) < 0) {
        dm_log(DM_LOG_ERROR, "disk_failed", "%s", err.message);
        dm_keeper_ack_refused(k, gone->tenant, gone->kind, gone->mark, &err);
    } else {
        dm_keeper_log_unit(DM_LOG_INFO, "unit_gone", unit, gone->mark, "taken away by the controller", "");
        if (gone->kind == DM_UNIT_DOMAINS)
            dm_secrets_drop(&k->secrets, gone->tenant);
        roll_out(k, unit);
    }
}

static void on_tenant_key(struct dm_keeper *k, const struct dm_link_tenant_key *message)
{
    const struct dm_held_key *key;
    struct dm_err err = {0};

    if (dm_secrets_put(&k->secrets, message, &key, &err) < 0)
        dm_log(DM_LOG_ERROR, "tenant_key_refused", "%s", err.message);
    else
        dm_keeper_workers_tell_key(k, key);
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
    memcpy(hello->box_public_key, dm_vault_public(k->secrets.vault), sizeof(hello->box_public_key));
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
        dm_keeper_ack_status(k, unit);
        if (unit->refusal)
            dm_keeper_ack_refused(k, dm_str_of(unit->tenant->name), unit->kind, unit->refusal->mark,
                                  &unit->refusal->err);
    }
    dm_spool_up(&k->spool);
    dm_keeper_circuits_up(k);
}

static void on_lost(void *arg)
{
    struct dm_keeper *k = arg;

    dm_spool_down(&k->spool);
}

static void on_synced(struct dm_keeper *k)
{
    dm_log(DM_LOG_DEBUG, "link_synced", "the controller has sent all that it knew");
    dm_keeper_circuits_synced(k);
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
    else if (message->type == DM_LINK_TENANT_KEY)
        on_tenant_key(k, &message->tenant_key);
    else if (message->type == DM_LINK_USED)
        dm_spool_used(&k->spool, message->number);
    else if (message->type == DM_LINK_HOLD)
        dm_keeper_on_hold(k, &message->hold);
    else if (message->type == DM_LINK_SYNCED)
        on_synced(k);
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

#include "gateway/keeper/store.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/encode.h"
#include "base/mem.h"

#define DOCUMENTS "documents"
#define UNITS "units"
#define KEY_FILE "controller.pub"
#define SLOTS_FILE "run/counter-slots"
#define TOMBSTONE "DMGONE1 "
#define NEXT ".next-"

enum { SLOTS_BYTES_MAX = DM_WORKER_TENANTS_MAX * (DM_UNIT_TENANT_MAX + 1) };

/* --- names ------------------------------------------------------------------------------------------------------- */

static void file_path(const struct dm_store *store, const char *dir, const struct dm_held_unit *unit,
                      char ret[DM_GATEWAY_PATH_MAX])
{
    dm_gateway_path(store->options, ret, "%s/%s.%s", dir, unit->tenant->name, dm_unit_kind_names[unit->kind]);
}

void dm_store_unit_path(const struct dm_store *store, const struct dm_held_unit *unit, char ret[DM_GATEWAY_PATH_MAX])
{
    file_path(store, UNITS, unit, ret);
}

static bool is_tenant_name(struct dm_str name)
{
    if (name.len == 0 || name.len > DM_UNIT_TENANT_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
            return false;
    }
    return true;
}

/* "orders.release" */
static bool read_file_name(const char *text, struct dm_str *ret_tenant, enum dm_unit_kind *ret_kind)
{
    struct dm_str rest = dm_str_of(text), tenant;

    if (!dm_str_cut(&rest, '.', &tenant) || !is_tenant_name(tenant))
        return false;
    for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++)
        if (dm_str_eq(rest, dm_str_of(dm_unit_kind_names[kind]))) {
            *ret_tenant = tenant;
            *ret_kind = (enum dm_unit_kind)kind;
            return true;
        }
    return false;
}

/* --- the table --------------------------------------------------------------------------------------------------- */

struct dm_held_tenant *dm_store_find(const struct dm_store *store, struct dm_str name)
{
    return dm_map_get(&store->tenants, name);
}

static struct dm_held_tenant *add_tenant(struct dm_store *store, struct dm_str name, uint32_t slot)
{
    struct dm_held_tenant *tenant = dm_calloc(1, sizeof(*tenant)), **at = &store->first;

    memcpy(tenant->name, name.ptr, name.len);
    tenant->counter_slot = slot;
    for (int kind = 0; kind < DM_UNIT_KINDS; kind++) {
        tenant->units[kind].tenant = tenant;
        tenant->units[kind].kind = (enum dm_unit_kind)kind;
    }
    tenant->next = *at;
    *at = tenant;
    store->n_tenants++;
    dm_map_put(&store->tenants, dm_str_of(tenant->name), tenant);
    return tenant;
}

struct dm_held_unit *dm_store_next(const struct dm_store *store, struct dm_held_unit *unit)
{
    struct dm_held_tenant *tenant = unit ? unit->tenant : store->first;

    if (unit && unit->kind + 1 < DM_UNIT_KINDS)
        return unit + 1;
    if (unit)
        tenant = tenant->next;
    return tenant ? &tenant->units[DM_UNIT_RELEASE] : NULL;
}

/* --- counter slots ----------------------------------------------------------------------------------------------- */

/* The file in *ret without a last line that was not written whole: that was not used either, and goes. */
static int read_slots(struct dm_store *store, struct dm_buf *ret, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX];
    const char *end;
    size_t whole;
    int rc;

    dm_gateway_path(store->options, path, SLOTS_FILE);
    if ((rc = dm_sys_read_file(store->sys, path, SLOTS_BYTES_MAX, ret, err)) < 0)
        return rc;
    end = ret->len > 0 ? memrchr(ret->ptr, '\n', ret->len) : NULL;
    whole = end ? (size_t)(end - ret->ptr) + 1 : 0;
    if (whole < ret->len)
        rc = dm_sys_write_file(store->sys, path, dm_str_n(ret->ptr, whole), 0600, false, err);
    ret->len = whole;
    return rc;
}

static int load_slots(struct dm_store *store, struct dm_err *err)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_str rest, line;
    int rc = read_slots(store, &text, err);

    if (rc < 0)
        return rc == DM_ENOENT ? 0 : rc;
    rest = dm_buf_str(&text);
    while (dm_str_cut(&rest, '\n', &line) && rest.ptr) {
        if (is_tenant_name(line) && !dm_store_find(store, line))
            add_tenant(store, line, store->n_slots);
        store->n_slots++;
    }
    return 0;
}

/* What a full disk left of a line must not become the beginning of the next. */
static int mend_slots(struct dm_store *store, struct dm_err *err)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    int rc = store->is_slot_torn ? read_slots(store, &text, err) : 0;

    store->is_slot_torn = rc < 0;
    return rc;
}

static int append_slot(struct dm_store *store, struct dm_str name, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX], line[DM_UNIT_TENANT_MAX + 2];
    int fd, rc, n = snprintf(line, sizeof(line), "%.*s\n", DM_STR_ARG(name));
    ssize_t written;

    if ((rc = mend_slots(store, err)) < 0)
        return rc;
    dm_gateway_path(store->options, path, SLOTS_FILE);
    if ((fd = store->sys->ops->open(store->sys, path, O_WRONLY | O_CREAT | O_APPEND, 0600)) < 0)
        return dm_fail(err, DM_EIO, "", "can't write %s: %s", path, strerror(-fd));
    written = store->sys->ops->write(store->sys, fd, line, (size_t)n);
    store->sys->ops->close(store->sys, fd);
    store->is_slot_torn = written > 0 && written < n;
    if (written != n)
        return dm_fail(err, DM_EIO, "", "can't write %s: %s", path, strerror(written < 0 ? (int)-written : ENOSPC));
    return 0;
}

int dm_store_tenant(struct dm_store *store, struct dm_str name, struct dm_held_tenant **ret, struct dm_err *err)
{
    struct dm_held_tenant *tenant = dm_store_find(store, name);
    int rc;

    if (!tenant) {
        if (!is_tenant_name(name))
            return dm_fail(err, DM_EINVAL, "/tenant", "'%.*s' can't be the name of a tenant", DM_STR_ARG(name));
        if (store->n_slots >= DM_WORKER_TENANTS_MAX)
            return dm_fail(err, DM_EBUDGET, "", "this gateway has seen %u tenants and counts no more",
                           DM_WORKER_TENANTS_MAX);
        if ((rc = append_slot(store, name, err)) < 0)
            return rc;
        tenant = add_tenant(store, name, store->n_slots++);
    }
    *ret = tenant;
    return 0;
}

/* --- the controller's key ---------------------------------------------------------------------------------------- */

static int load_key(struct dm_store *store, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_buf text;
    int rc;

    dm_gateway_path(store->options, path, KEY_FILE);
    rc = dm_sys_read_file(store->sys, path, 256, &text, err);
    if (rc == DM_ENOENT)
        return 0;
    if (rc < 0)
        return rc;
    if (text.len > 0 && text.ptr[text.len - 1] == '\n')
        text.len--;
    rc = dm_unhex(dm_buf_str(&text), store->key, sizeof(store->key));
    dm_buf_done(&text);
    if (rc < 0)
        return dm_fail(err, DM_ECORRUPT, "",
                       "%s is not a key of %d hex digits; remove it to pin the controller's key at the next contact",
                       path, 2 * DM_SIGN_PUBLIC_BYTES);
    store->has_key = true;
    return 0;
}

int dm_store_pin(struct dm_store *store, const uint8_t key[DM_SIGN_PUBLIC_BYTES], struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX], hex[2 * DM_SIGN_PUBLIC_BYTES + 2];
    int rc;

    dm_gateway_path(store->options, path, KEY_FILE);
    if (store->has_key && memcmp(store->key, key, sizeof(store->key)) == 0)
        return 0;
    if (store->has_key)
        return dm_fail(err, DM_EPERM, "",
                       "the controller has another signing key than the one pinned in %s; if that is meant, remove the "
                       "file and start the gateway again",
                       path);
    dm_hex(key, DM_SIGN_PUBLIC_BYTES, hex);
    hex[sizeof(hex) - 2] = '\n';
    if ((rc = dm_sys_write_file(store->sys, path, dm_str_n(hex, sizeof(hex) - 1), 0644, true, err)) < 0)
        return rc;
    memcpy(store->key, key, sizeof(store->key));
    store->has_key = true;
    return 0;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

static void report_damage(const struct dm_held_unit *unit, const char *what, const struct dm_err *err)
{
    struct dm_log_member members[] = {{"tenant", dm_str_of(unit->tenant->name)},
                                      {"kind", dm_str_of(dm_unit_kind_names[unit->kind])}};

    dm_log_members(DM_LOG_ERROR, what, members, DM_COUNT(members), "%s", err->message);
}

static void raise_floor(struct dm_held_unit *unit, struct dm_mark mark)
{
    if (dm_mark_cmp(mark, unit->floor) > 0)
        unit->floor = mark;
}

static bool read_tombstone(struct dm_str text, struct dm_mark *ret)
{
    struct dm_str epoch;

    if (!dm_str_starts(text, DM_STR(TOMBSTONE)) || !dm_str_ends(text, DM_STR("\n")))
        return false;
    text = dm_str_skip(text, sizeof(TOMBSTONE) - 1);
    text.len--;
    return dm_str_cut(&text, ' ', &epoch) && dm_str_to_u64(epoch, &ret->epoch) == 0 &&
           dm_str_to_u64(text, &ret->sequence) == 0;
}

/* Is it the document that its name says? */
static int open_document(const struct dm_store *store, const struct dm_held_unit *unit, struct dm_str bytes,
                         struct dm_document_head *ret, struct dm_err *err)
{
    int rc;

    if (!store->has_key)
        return dm_fail(err, DM_EPERM, "", "no controller's key is pinned to check the document with");
    if ((rc = dm_document_open(store->key, bytes, ret, err)) < 0)
        return rc;
    if (ret->kind != unit->kind || !dm_str_eq(ret->tenant, dm_str_of(unit->tenant->name)))
        return dm_fail(err, DM_ECORRUPT, "", "document is that of another tenant or kind");
    return 0;
}

/* Is it the unit that its name says? */
static int open_unit(const struct dm_store *store, const struct dm_held_unit *unit, struct dm_unit **ret,
                     struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX];
    const struct dm_unit_header *header;
    int rc;

    dm_store_unit_path(store, unit, path);
    if ((rc = dm_unit_open(path, ret, err)) < 0)
        return rc;
    header = dm_unit_header(*ret);
    if (header->kind == unit->kind && strcmp(header->tenant, unit->tenant->name) == 0)
        return 0;
    dm_unit_unref(*ret);
    return dm_fail(err, DM_ECORRUPT, "", "%s is the unit of another tenant or kind", path);
}

static void look_at_unit(const struct dm_store *store, struct dm_held_unit *unit, const struct dm_document_head *head)
{
    const struct dm_unit_header *header;
    struct dm_err err = {0};
    struct dm_unit *file;
    int rc = open_unit(store, unit, &file, &err);

    unit->is_damaged = rc < 0 && rc != DM_ENOENT;
    if (unit->is_damaged)
        report_damage(unit, "unit_damaged", &err);
    if (rc < 0)
        return;
    header = dm_unit_header(file);
    if (!head || dm_mark_cmp(header->mark, head->mark) > 0 ||
        memcmp(header->document_hash, head->body_hash, DM_DIGEST_BYTES) == 0) {
        unit->live = header->mark;
        raise_floor(unit, header->mark);
    }
    dm_unit_unref(file);
}

bool dm_store_recheck(const struct dm_store *store, struct dm_held_unit *unit)
{
    struct dm_err err = {0};
    struct dm_unit *file;
    int rc = open_unit(store, unit, &file, &err);

    if (rc == 0) {
        if (dm_mark_cmp(dm_unit_header(file)->mark, unit->live) < 0)
            rc = dm_fail(&err, DM_ECORRUPT, "", "the unit file is that of an older state");
        dm_unit_unref(file);
    }
    if (rc == 0 || rc == DM_EIO)
        return true;
    report_damage(unit, "unit_damaged", &err);
    unit->is_damaged = true;
    unit->needs_compile = !dm_mark_is_none(unit->document);
    return false;
}

static void look_at_document(const struct dm_store *store, struct dm_held_unit *unit, struct dm_str bytes)
{
    struct dm_document_head head;
    struct dm_mark gone;
    struct dm_err err = {0};

    if (read_tombstone(bytes, &gone)) {
        unit->is_gone = true;
        raise_floor(unit, gone);
        return;
    }
    if (open_document(store, unit, bytes, &head, &err) < 0) {
        report_damage(unit, "document_damaged", &err);
        look_at_unit(store, unit, NULL);
        unit->is_damaged = dm_mark_is_none(unit->live);
        return;
    }
    raise_floor(unit, head.mark);
    look_at_unit(store, unit, &head);
    if (dm_mark_cmp(unit->live, head.mark) <= 0)
        unit->document = head.mark;
    unit->needs_compile = dm_mark_is_none(unit->live);
}

static void load_unit(struct dm_store *store, struct dm_held_unit *unit)
{
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};
    struct dm_buf bytes;
    int rc;

    file_path(store, DOCUMENTS, unit, path);
    rc = dm_sys_read_file(store->sys, path, DM_DOCUMENT_MAX, &bytes, &err);
    if (rc == DM_ENOENT) {
        look_at_unit(store, unit, NULL);
        return;
    }
    if (rc < 0) {
        report_damage(unit, "document_damaged", &err);
        look_at_unit(store, unit, NULL);
        unit->is_damaged = dm_mark_is_none(unit->live);
        return;
    }
    look_at_document(store, unit, dm_buf_str(&bytes));
    dm_buf_done(&bytes);
}

struct listing {
    struct dm_store *store;
    const char *dir;
    struct dm_err *err;
};

/* Files of tenants make their entry; what was left half done goes. */
static int on_name(void *arg, const char *name)
{
    struct listing *listing = arg;
    struct dm_store *store = listing->store;
    struct dm_held_tenant *tenant;
    enum dm_unit_kind kind;
    struct dm_str text;

    if (dm_sys_is_temp_name(name) || strstr(name, NEXT)) {
        char path[DM_GATEWAY_PATH_MAX];
        dm_gateway_path(store->options, path, "%s/%.200s", listing->dir, name);
        store->sys->ops->unlink(store->sys, path);
        return 0;
    }
    if (!read_file_name(name, &text, &kind)) {
        dm_log(DM_LOG_WARN, "file_unknown", "there is a file '%s' in %s that does not belong there", name,
               listing->dir);
        return 0;
    }
    return dm_store_tenant(store, text, &tenant, listing->err);
}

static int list_names(struct dm_store *store, const char *dir, struct dm_err *err)
{
    struct listing listing = {store, dir, err};
    char path[DM_GATEWAY_PATH_MAX];
    int rc;

    dm_gateway_path(store->options, path, "%s", dir);
    rc = store->sys->ops->list(store->sys, path, on_name, &listing);
    if (rc < 0 && rc > DM_EINVAL)
        return dm_fail(err, DM_EIO, "", "can't read %s: %s", path, strerror(-rc));
    return rc;
}

static int make_dirs(struct dm_store *store, struct dm_err *err)
{
    static const char *const dirs[] = {DOCUMENTS, UNITS, "run"};
    char path[DM_GATEWAY_PATH_MAX];
    int rc;

    for (size_t i = 0; i < DM_COUNT(dirs); i++) {
        dm_gateway_path(store->options, path, "%s", dirs[i]);
        if ((rc = dm_sys_make_dirs(store->sys, path, 0700, err)) < 0)
            return rc;
    }
    return 0;
}

int dm_store_open(struct dm_store *store, struct dm_sys *sys, const struct dm_gateway_options *options,
                  struct dm_err *err)
{
    int rc;

    *store = (struct dm_store){.sys = sys, .options = options};
    dm_map_init_random(&store->tenants);
    if ((rc = make_dirs(store, err)) < 0 || (rc = load_key(store, err)) < 0 || (rc = load_slots(store, err)) < 0 ||
        (rc = list_names(store, DOCUMENTS, err)) < 0 || (rc = list_names(store, UNITS, err)) < 0) {
        dm_store_done(store);
        return rc;
    }
    for (struct dm_held_unit *unit = dm_store_next(store, NULL); unit; unit = dm_store_next(store, unit))
        load_unit(store, unit);
    return 0;
}

void dm_store_done(struct dm_store *store)
{
    while (store->first) {
        struct dm_held_tenant *tenant = store->first;
        store->first = tenant->next;
        for (int kind = 0; kind < DM_UNIT_KINDS; kind++)
            dm_free(tenant->units[kind].refusal);
        dm_free(tenant);
    }
    dm_map_done(&store->tenants);
}

/* --- a document on its way in ------------------------------------------------------------------------------------ */

static int write_all(struct dm_store *store, int fd, struct dm_str bytes)
{
    while (bytes.len > 0) {
        ssize_t n = store->sys->ops->write(store->sys, fd, bytes.ptr, bytes.len);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        bytes = dm_str_skip(bytes, (size_t)n);
    }
    return 0;
}

static void name_staged(struct dm_store *store, const struct dm_held_unit *unit, struct dm_staged *ret)
{
    unsigned long long n = ++store->n_staged;
    const char *kind = dm_unit_kind_names[unit->kind];

    dm_gateway_path(store->options, ret->document, DOCUMENTS "/%s.%s" NEXT "%llu", unit->tenant->name, kind, n);
    dm_gateway_path(store->options, ret->unit, UNITS "/%s.%s" NEXT "%llu", unit->tenant->name, kind, n);
}

int dm_store_stage(struct dm_store *store, const struct dm_held_unit *unit, struct dm_str bytes, struct dm_staged *ret,
                   struct dm_err *err)
{
    int rc;

    name_staged(store, unit, ret);
    ret->fd = store->sys->ops->open(store->sys, ret->document, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (ret->fd < 0)
        return dm_fail(err, DM_EIO, "", "can't write %s: %s", ret->document, strerror(-ret->fd));
    if ((rc = write_all(store, ret->fd, bytes)) < 0) {
        dm_store_drop(store, ret);
        return dm_fail(err, DM_EIO, "", "can't write %s: %s", ret->document, strerror(-rc));
    }
    return 0;
}

int dm_store_stage_again(struct dm_store *store, const struct dm_held_unit *unit, struct dm_staged *ret,
                         struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX];

    name_staged(store, unit, ret);
    ret->document[0] = '\0';
    file_path(store, DOCUMENTS, unit, path);
    if ((ret->fd = store->sys->ops->open(store->sys, path, O_RDONLY, 0)) < 0)
        return dm_fail(err, dm_err_of_errno(ret->fd), "", "can't read %s: %s", path, strerror(-ret->fd));
    return 0;
}

void dm_store_presync(struct dm_store *store, const struct dm_staged *staged)
{
    /* Advice only; a simulated disk has no such call. */
    if (store->sys == dm_sys_real() && staged->document[0])
        (void)!sync_file_range(staged->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

int dm_store_sync(struct dm_store *store, const struct dm_staged *staged, struct dm_err *err)
{
    int rc = staged->document[0] ? store->sys->ops->fsync(store->sys, staged->fd) : 0;

    return rc < 0 ? dm_fail(err, DM_EIO, "", "can't sync %s: %s", staged->document, strerror(-rc)) : 0;
}

void dm_store_drop(struct dm_store *store, struct dm_staged *staged)
{
    if (staged->fd < 0)
        return;
    store->sys->ops->close(store->sys, staged->fd);
    staged->fd = -1;
    if (staged->document[0])
        store->sys->ops->unlink(store->sys, staged->document);
    store->sys->ops->unlink(store->sys, staged->unit);
}

static int rename_to(struct dm_store *store, const char *from, const char *dir, const struct dm_held_unit *unit,
                     struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX];
    int rc;

    file_path(store, dir, unit, path);
    if ((rc = store->sys->ops->rename(store->sys, from, path)) < 0)
        return dm_fail(err, DM_EIO, "", "can't rename %s to %s: %s", from, path, strerror(-rc));
    return 0;
}

static void set_live(struct dm_held_unit *unit, struct dm_mark mark)
{
    raise_floor(unit, mark);
    unit->live = mark;
    unit->is_gone = unit->needs_compile = unit->is_damaged = false;
}

int dm_store_commit(struct dm_store *store, struct dm_held_unit *unit, struct dm_staged *staged, struct dm_mark mark,
                    struct dm_err *err)
{
    int rc = 0;

    if (staged->document[0] && (rc = rename_to(store, staged->document, DOCUMENTS, unit, err)) == 0) {
        unit->document = mark;
        raise_floor(unit, mark);
        store->is_dir_dirty = true;
    }
    if (rc == 0 && (rc = rename_to(store, staged->unit, UNITS, unit, err)) == 0)
        set_live(unit, mark);
    dm_store_drop(store, staged);
    return rc;
}

int dm_store_remove(struct dm_store *store, struct dm_held_unit *unit, struct dm_mark mark, struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX], text[64];
    int n = snprintf(text, sizeof(text), TOMBSTONE "%llu %llu\n", (unsigned long long)mark.epoch,
                     (unsigned long long)mark.sequence);
    int rc;

    file_path(store, DOCUMENTS, unit, path);
    if ((rc = dm_sys_write_file(store->sys, path, dm_str_n(text, (size_t)n), 0600, true, err)) < 0)
        return rc;
    dm_store_unit_path(store, unit, path);
    store->sys->ops->unlink(store->sys, path);
    raise_floor(unit, mark);
    unit->document = unit->live = (struct dm_mark){0, 0};
    unit->needs_compile = unit->is_damaged = false;
    unit->is_gone = true;
    return 0;
}

void dm_store_sync_dir(struct dm_store *store)
{
    char path[DM_GATEWAY_PATH_MAX];
    int fd, rc;

    if (!store->is_dir_dirty)
        return;
    store->is_dir_dirty = false;
    dm_gateway_path(store->options, path, DOCUMENTS);
    if ((fd = store->sys->ops->open(store->sys, path, O_RDONLY | O_DIRECTORY, 0)) < 0) {
        dm_log(DM_LOG_ERROR, "disk_failed", "can't open %s: %s", path, strerror(-fd));
        return;
    }
    if ((rc = store->sys->ops->fsync(store->sys, fd)) < 0)
        dm_log(DM_LOG_ERROR, "disk_failed", "can't sync %s: %s", path, strerror(-rc));
    store->sys->ops->close(store->sys, fd);
}

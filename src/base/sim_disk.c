/* The disk of the simulation: what everybody sees (live) and what a crash leaves (durable).
 *
 * D1. Contents become durable by fsync of the file, changes of names by fsync of a directory that they touch.
 * D2. Changes that touch the same inode become durable in their order.
 * D3. `durable` plus all `pending` changes in order is `live`. */
#include "base/sim_int.h"

enum { FILE_BYTES_MAX = 1 << 30 };

/* --- inodes --- */

struct dm_sim_inode *dm_sim_inode_new(enum dm_sim_inode_kind kind)
{
    struct dm_sim_inode *inode = dm_calloc(1, sizeof(*inode));

    inode->kind = kind;
    inode->refs = 1;
    dm_buf_init(&inode->live, FILE_BYTES_MAX);
    dm_buf_init(&inode->durable, FILE_BYTES_MAX);
    return inode;
}

struct dm_sim_inode *dm_sim_inode_ref(struct dm_sim_inode *inode)
{
    inode->refs++;
    return inode;
}

void dm_sim_inode_unref(struct dm_sim_inode *inode)
{
    if (--inode->refs > 0)
        return;
    dm_buf_done(&inode->live);
    dm_buf_done(&inode->durable);
    dm_free(inode);
}

/* --- names --- */

static struct dm_sim_name *find_name(const struct dm_sim_names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i].path, path) == 0)
            return &names->items[i];
    return NULL;
}

static void remove_name(struct dm_sim_names *names, const char *path)
{
    struct dm_sim_name *name = find_name(names, path);

    if (!name)
        return;
    dm_free(name->path);
    dm_sim_inode_unref(name->inode);
    names->count--;
    memmove(name, name + 1, (size_t)(names->items + names->count - name) * sizeof(*name));
}

static void add_name(struct dm_sim_names *names, const char *path, struct dm_sim_inode *inode)
{
    dm_sim_inode_ref(inode);
    remove_name(names, path);
    *dm_vec_push(names) = (struct dm_sim_name){.path = dm_strdup(dm_str_of(path)), .inode = inode};
}

static bool is_below(const char *dir, const char *path)
{
    size_t len = strlen(dir);

    return strncmp(dir, path, len) == 0 && path[len] == '/';
}

/* What lies in a renamed directory moves with it. */
static void move_below(struct dm_sim_names *names, const char *from, const char *to)
{
    for (size_t i = 0; i < names->count; i++) {
        struct dm_sim_name *name = &names->items[i];

        if (!is_below(from, name->path))
            continue;
        struct dm_buf moved;
        dm_buf_init(&moved, SIZE_MAX / 2);
        dm_buf_printf(&moved, "%s%s", to, name->path + strlen(from));
        dm_free(name->path);
        name->path = dm_strdup(dm_buf_str(&moved));
        dm_buf_done(&moved);
    }
}

static void apply(struct dm_sim_names *names, const struct dm_sim_change *change)
{
    switch (change->kind) {
    case SIM_LINK: add_name(names, change->path, change->inode); break;
    case SIM_UNLINK: remove_name(names, change->path); break;
    case SIM_RENAME:
        add_name(names, change->to, change->inode);
        remove_name(names, change->path);
        if (change->inode->kind == SIM_INODE_DIR)
            move_below(names, change->path, change->to);
        break;
    }
}

static void names_done(struct dm_sim_names *names)
{
    while (names->count > 0)
        remove_name(names, names->items[names->count - 1].path);
    dm_vec_done(names);
}

/* --- paths --- */

/* Removes the last segment of the normal path in buf. */
static void go_up(struct dm_buf *buf)
{
    while (buf->len > 0 && buf->ptr[--buf->len] != '/')
        ;
}

char *dm_sim_path_of(const char *path)
{
    struct dm_str rest = dm_str_of(path), segment;
    struct dm_buf buf;
    char *ret;

    dm_buf_init(&buf, rest.len + 2);
    while (dm_str_cut(&rest, '/', &segment)) {
        if (segment.len == 0 || dm_str_eq(segment, DM_STR(".")))
            continue;
        if (dm_str_eq(segment, DM_STR(".."))) {
            go_up(&buf);
            continue;
        }
        dm_buf_add_char(&buf, '/');
        dm_buf_add(&buf, segment);
    }
    ret = dm_strdup(buf.len > 0 ? dm_buf_str(&buf) : DM_STR("/"));
    dm_buf_done(&buf);
    return ret;
}

struct dm_sim_inode *dm_sim_disk_find(const struct dm_sim_disk *disk, const char *path)
{
    const struct dm_sim_name *name = find_name(&disk->live, path);

    return name ? name->inode : NULL;
}

static struct dm_str parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == path ? DM_STR("/") : dm_str_n(path, (size_t)(slash - path));
}

int dm_sim_disk_check_parent(const struct dm_sim_disk *disk, const char *path)
{
    char *parent DM_CLEANUP(dm_freep) = dm_strdup(parent_of(path));
    const struct dm_sim_inode *inode = dm_sim_disk_find(disk, parent);

    if (!inode)
        return -ENOENT;
    return inode->kind == SIM_INODE_DIR ? 0 : -ENOTDIR;
}

bool dm_sim_disk_is_child(const char *dir, const char *path)
{
    return strcmp(path, "/") != 0 && dm_str_eq(parent_of(path), dm_str_of(dir));
}

/* --- changes --- */

void dm_sim_disk_init(struct dm_sim_disk *disk)
{
    struct dm_sim_inode *root = dm_sim_inode_new(SIM_INODE_DIR);

    add_name(&disk->live, "/", root);
    add_name(&disk->durable, "/", root);
    dm_sim_inode_unref(root);
}

static void change_done(struct dm_sim_change *change)
{
    dm_free(change->path);
    dm_free(change->to);
    dm_sim_inode_unref(change->inode);
}

void dm_sim_disk_done(struct dm_sim_disk *disk)
{
    for (size_t i = 0; i < disk->pending.count; i++)
        change_done(&disk->pending.items[i]);
    dm_vec_done(&disk->pending);
    names_done(&disk->live);
    names_done(&disk->durable);
}

void dm_sim_disk_change(struct dm_sim_process *by, enum dm_sim_change_kind kind, const char *path, const char *to,
                        struct dm_sim_inode *inode)
{
    struct dm_sim_disk *disk = &by->world->disk;
    struct dm_sim_change change = {
        .kind = kind,
        .path = dm_strdup(dm_str_of(path)),
        .to = to ? dm_strdup(dm_str_of(to)) : NULL,
        .inode = dm_sim_inode_ref(inode),
        .by = by,
    };

    *dm_vec_push(&disk->pending) = change;
    apply(&disk->live, &change);
}

/* Makes pending change i durable. */
static void settle(struct dm_sim_disk *disk, size_t i)
{
    struct dm_sim_change change = disk->pending.items[i];

    apply(&disk->durable, &change);
    disk->pending.count--;
    memmove(&disk->pending.items[i], &disk->pending.items[i + 1], (disk->pending.count - i) * sizeof(change));
    change_done(&change);
}

static void forget(struct dm_sim_disk *disk, size_t i)
{
    struct dm_sim_change change = disk->pending.items[i];

    disk->pending.count--;
    memmove(&disk->pending.items[i], &disk->pending.items[i + 1], (disk->pending.count - i) * sizeof(change));
    change_done(&change);
}

static bool touches(const struct dm_sim_change *change, const char *dir)
{
    return dm_sim_disk_is_child(dir, change->path) || (change->to && dm_sim_disk_is_child(dir, change->to));
}

/* D2: a change goes with any later one of its inode that goes. */
static bool must_settle(const struct dm_sim_disk *disk, size_t i, const char *dir)
{
    for (size_t k = i; k < disk->pending.count; k++)
        if (disk->pending.items[k].inode == disk->pending.items[i].inode && touches(&disk->pending.items[k], dir))
            return true;
    return false;
}

void dm_sim_disk_sync_dir(struct dm_sim_disk *disk, const char *dir)
{
    for (size_t i = 0; i < disk->pending.count;) {
        if (must_settle(disk, i, dir))
            settle(disk, i);
        else
            i++;
    }
}

static void copy_contents(struct dm_buf *to, const struct dm_buf *from)
{
    dm_buf_reset(to);
    dm_buf_add(to, dm_buf_str(from));
}

void dm_sim_disk_sync_file(struct dm_sim_inode *inode)
{
    copy_contents(&inode->durable, &inode->live);
    inode->writer = NULL;
}

/* --- crashes --- */

/* A prefix of what was written reached the disk; behind it is what was there before, or zeros up to the new length. */
static void tear_contents(struct dm_world *world, struct dm_sim_inode *inode)
{
    size_t cut = (size_t)dm_sim_draw(world, inode->live.len + 1), old_len = inode->durable.len;
    bool has_zeros = dm_sim_draw(world, 4) == 0;

    for (size_t i = cut; i < inode->live.len; i++)
        inode->live.ptr[i] = i < old_len ? inode->durable.ptr[i] : '\0';
    if (!has_zeros)
        inode->live.len = DM_MAX(cut, DM_MIN(old_len, inode->live.len));
    dm_sim_disk_sync_file(inode);
}

static void crash_contents(struct dm_sim_process *p, struct dm_sim_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        struct dm_sim_inode *inode = names->items[i].inode;

        if (inode->writer != p)
            continue;
        if (dm_sim_chance(p->world, p->world->faults.disk_torn_write)) {
            tear_contents(p->world, inode);
        } else {
            copy_contents(&inode->live, &inode->durable);
            inode->writer = NULL;
        }
    }
}

/* The first few of its changes may have reached the disk. */
static void crash_names(struct dm_sim_process *p)
{
    struct dm_sim_disk *disk = &p->world->disk;
    size_t n_own = 0, n_kept = 0;

    for (size_t i = 0; i < disk->pending.count; i++)
        n_own += disk->pending.items[i].by == p;
    if (n_own > 0 && dm_sim_chance(p->world, p->world->faults.disk_torn_write))
        n_kept = (size_t)dm_sim_draw(p->world, n_own + 1);
    for (size_t i = 0; i < disk->pending.count;) {
        if (disk->pending.items[i].by != p)
            i++;
        else if (n_kept > 0 && n_kept--)
            settle(disk, i);
        else
            forget(disk, i);
    }
}

/* D3, without names whose directory is gone. A directory's name comes before those in it. */
static void rebuild_live(struct dm_sim_disk *disk)
{
    names_done(&disk->live);
    for (size_t i = 0; i < disk->durable.count; i++)
        add_name(&disk->live, disk->durable.items[i].path, disk->durable.items[i].inode);
    for (size_t i = 0; i < disk->pending.count; i++)
        apply(&disk->live, &disk->pending.items[i]);
    for (size_t i = 0; i < disk->live.count;) {
        const char *path = disk->live.items[i].path;

        if (strcmp(path, "/") != 0 && dm_sim_disk_check_parent(disk, path) < 0) {
            remove_name(&disk->live, path);
            i = 0;
        } else {
            i++;
        }
    }
}

void dm_sim_disk_crash(struct dm_sim_process *p)
{
    struct dm_sim_disk *disk = &p->world->disk;

    crash_contents(p, &disk->live);
    crash_contents(p, &disk->durable);
    crash_names(p);
    rebuild_live(disk);
}

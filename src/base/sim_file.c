/* The disk calls of the simulation. */
#include <fcntl.h>

#include "base/sim_int.h"

/* The fate of a disk call before it does anything: 0 or an error. */
static int enter_disk(struct dm_sim_process *p)
{
    int rc = dm_sim_enter(p);

    return rc == 0 && dm_sim_chance(p->world, p->world->faults.disk_error) ? -EIO : rc;
}

static struct dm_sim_file *file_of(struct dm_sim_process *p, int fd)
{
    struct dm_sim_fd *at = dm_sim_fd_get(p, fd, SIM_FILE);

    return at ? at->file : NULL;
}

static bool may_read(const struct dm_sim_file *file)
{
    return (file->flags & O_ACCMODE) != O_WRONLY;
}

static bool may_write(const struct dm_sim_file *file)
{
    return (file->flags & O_ACCMODE) != O_RDONLY;
}

void dm_sim_file_free(struct dm_sim_file *file)
{
    dm_sim_inode_unref(file->inode);
    dm_free(file->path);
    dm_free(file);
}

static int check_open(const struct dm_sim_inode *inode, int flags)
{
    if ((flags & O_CREAT) && (flags & O_EXCL))
        return -EEXIST;
    if (inode->kind == SIM_INODE_SOCKET)
        return -ENXIO;
    if ((flags & O_DIRECTORY) && inode->kind != SIM_INODE_DIR)
        return -ENOTDIR;
    if (inode->kind == SIM_INODE_DIR && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT)))
        return -EISDIR;
    return 0;
}

/* A missing name: makes the file when O_CREAT asks for it. */
static int create(struct dm_sim_process *p, const char *path, int flags, struct dm_sim_inode **ret)
{
    int rc = dm_sim_disk_check_parent(&p->world->disk, path);

    if (rc < 0 || !(flags & O_CREAT))
        return rc < 0 ? rc : -ENOENT;
    *ret = dm_sim_inode_new(SIM_INODE_FILE);
    dm_sim_disk_change(p, SIM_LINK, path, NULL, *ret);
    return 0;
}

static int open_path(struct dm_sim_process *p, const char *text, int flags)
{
    char *path DM_CLEANUP(dm_freep) = dm_sim_path_of(text);
    struct dm_sim_inode *inode = dm_sim_disk_find(&p->world->disk, path);
    int rc;

    if ((rc = dm_sim_fd_room(p)) < 0 || (inode && (rc = check_open(inode, flags)) < 0))
        return rc;
    if (inode)
        dm_sim_inode_ref(inode);
    else if ((rc = create(p, path, flags, &inode)) < 0)
        return rc;
    if ((flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY && inode->live.len > 0) {
        dm_buf_reset(&inode->live);
        inode->writer = p;
    }
    struct dm_sim_file *file = dm_calloc(1, sizeof(*file));
    *file = (struct dm_sim_file){.inode = inode, .path = path, .flags = flags};
    path = NULL;
    return dm_sim_fd_put(p, (struct dm_sim_fd){.kind = SIM_FILE, .file = file});
}

int dm_sim_open(struct dm_sys *sys, const char *path, int flags, unsigned mode)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    int rc = enter_disk(p);

    return (int)dm_sim_trace(p, "open", -1, rc < 0 ? rc : open_path(p, path, flags));
}

static ssize_t file_read(struct dm_sim_process *p, struct dm_sim_file *file, void *ret, size_t len)
{
    const struct dm_buf *live = &file->inode->live;
    size_t n = file->pos < live->len ? DM_MIN(len, live->len - file->pos) : 0;

    if (file->inode->kind == SIM_INODE_DIR)
        return -EISDIR;
    if (n == 0)
        return 0;
    n = dm_sim_shorten(p->world, n);
    memcpy(ret, live->ptr + file->pos, n);
    file->pos += n;
    return (ssize_t)n;
}

ssize_t dm_sim_read(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_file *file = file_of(p, fd);
    ssize_t rc = enter_disk(p);

    if (rc == 0)
        rc = file && may_read(file) ? file_read(p, file, ret, len) : -EBADF;
    return dm_sim_trace(p, "read", fd, rc);
}

/* Overwrites and extends; a gap before pos is zeros. */
static int put_bytes(struct dm_buf *live, size_t pos, const void *ptr, size_t len)
{
    while (live->len < pos && !live->failed)
        dm_buf_add_char(live, '\0');
    if (live->failed)
        return -EFBIG;
    size_t over = DM_MIN(len, live->len - pos);
    if (over > 0)
        memcpy(live->ptr + pos, ptr, over);
    dm_buf_add_n(live, (const char *)ptr + over, len - over);
    return live->failed ? -EFBIG : 0;
}

static ssize_t file_write(struct dm_sim_process *p, struct dm_sim_file *file, const void *ptr, size_t len)
{
    struct dm_sim_inode *inode = file->inode;
    bool is_torn = dm_sim_chance(p->world, p->world->faults.disk_torn_write);
    size_t n = is_torn ? (size_t)dm_sim_draw(p->world, len + 1) : dm_sim_shorten(p->world, len);
    int rc;

    if (file->flags & O_APPEND)
        file->pos = inode->live.len;
    if (n > 0 && (rc = put_bytes(&inode->live, file->pos, ptr, n)) < 0)
        return rc;
    if (n > 0)
        inode->writer = p;
    file->pos += n;
    return is_torn ? -EIO : (ssize_t)n;
}

ssize_t dm_sim_write(struct dm_sys *sys, int fd, const void *ptr, size_t len)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_file *file = file_of(p, fd);
    ssize_t rc = enter_disk(p);

    if (rc == 0)
        rc = file && may_write(file) ? file_write(p, file, ptr, len) : -EBADF;
    return dm_sim_trace(p, "write", fd, rc);
}

int dm_sim_fsync(struct dm_sys *sys, int fd)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    struct dm_sim_file *file = file_of(p, fd);
    int rc = enter_disk(p);

    if (rc == 0 && !file)
        rc = -EBADF;
    if (rc == 0 && file->inode->kind == SIM_INODE_DIR)
        dm_sim_disk_sync_dir(&p->world->disk, file->path);
    else if (rc == 0)
        dm_sim_disk_sync_file(file->inode);
    return (int)dm_sim_trace(p, "fsync", fd, rc);
}

static bool has_children(const struct dm_sim_disk *disk, const char *dir)
{
    for (size_t i = 0; i < disk->live.count; i++)
        if (dm_sim_disk_is_child(dir, disk->live.items[i].path))
            return true;
    return false;
}

static int check_rename(const struct dm_sim_disk *disk, const struct dm_sim_inode *inode, const char *from,
                        const char *to)
{
    const struct dm_sim_inode *old = dm_sim_disk_find(disk, to);
    size_t len = strlen(from);
    int rc;

    if (!inode)
        return -ENOENT;
    if (strcmp(from, "/") == 0 || (strncmp(from, to, len) == 0 && to[len] == '/'))
        return -EINVAL;
    if ((rc = dm_sim_disk_check_parent(disk, to)) < 0 || !old)
        return rc;
    if (old->kind == SIM_INODE_DIR)
        return inode->kind != SIM_INODE_DIR ? -EISDIR : has_children(disk, to) ? -ENOTEMPTY : 0;
    return inode->kind == SIM_INODE_DIR ? -ENOTDIR : 0;
}

static int rename_path(struct dm_sim_process *p, const char *from_text, const char *to_text)
{
    struct dm_sim_disk *disk = &p->world->disk;
    char *from DM_CLEANUP(dm_freep) = dm_sim_path_of(from_text);
    char *to DM_CLEANUP(dm_freep) = dm_sim_path_of(to_text);
    struct dm_sim_inode *inode = dm_sim_disk_find(disk, from);
    int rc = check_rename(disk, inode, from, to);

    if (rc < 0 || strcmp(from, to) == 0)
        return rc;
    dm_sim_disk_change(p, SIM_RENAME, from, to, inode);
    return 0;
}

int dm_sim_rename(struct dm_sys *sys, const char *from, const char *to)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    int rc = enter_disk(p);

    return (int)dm_sim_trace(p, "rename", -1, rc < 0 ? rc : rename_path(p, from, to));
}

static int unlink_path(struct dm_sim_process *p, const char *text)
{
    char *path DM_CLEANUP(dm_freep) = dm_sim_path_of(text);
    struct dm_sim_inode *inode = dm_sim_disk_find(&p->world->disk, path);

    if (!inode || inode->kind == SIM_INODE_DIR)
        return inode ? -EISDIR : -ENOENT;
    dm_sim_disk_change(p, SIM_UNLINK, path, NULL, inode);
    return 0;
}

int dm_sim_unlink(struct dm_sys *sys, const char *path)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    int rc = enter_disk(p);

    return (int)dm_sim_trace(p, "unlink", -1, rc < 0 ? rc : unlink_path(p, path));
}

static int mkdir_path(struct dm_sim_process *p, const char *text)
{
    char *path DM_CLEANUP(dm_freep) = dm_sim_path_of(text);
    struct dm_sim_inode *inode;
    int rc;

    if (dm_sim_disk_find(&p->world->disk, path))
        return -EEXIST;
    if ((rc = dm_sim_disk_check_parent(&p->world->disk, path)) < 0)
        return rc;
    inode = dm_sim_inode_new(SIM_INODE_DIR);
    dm_sim_disk_change(p, SIM_LINK, path, NULL, inode);
    dm_sim_inode_unref(inode);
    return 0;
}

int dm_sim_mkdir(struct dm_sys *sys, const char *path, unsigned mode)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    int rc = enter_disk(p);

    return (int)dm_sim_trace(p, "mkdir", -1, rc < 0 ? rc : mkdir_path(p, path));
}

/* The visitor may change the directory, so its names are copied first. */
static int list_path(struct dm_sim_process *p, const char *text, int (*visit)(void *arg, const char *name), void *arg)
{
    struct dm_sim_disk *disk = &p->world->disk;
    char *dir DM_CLEANUP(dm_freep) = dm_sim_path_of(text);
    const struct dm_sim_inode *inode = dm_sim_disk_find(disk, dir);
    DM_VEC(char *) names = {0};
    int rc = 0;

    if (!inode || inode->kind != SIM_INODE_DIR)
        return inode ? -ENOTDIR : -ENOENT;
    for (size_t i = 0; i < disk->live.count; i++)
        if (dm_sim_disk_is_child(dir, disk->live.items[i].path))
            *dm_vec_push(&names) = dm_strdup(dm_str_of(strrchr(disk->live.items[i].path, '/') + 1));
    for (size_t i = 0; i < names.count && rc == 0; i++)
        rc = visit(arg, names.items[i]);
    for (size_t i = 0; i < names.count; i++)
        dm_free(names.items[i]);
    dm_vec_done(&names);
    return rc;
}

int dm_sim_list(struct dm_sys *sys, const char *path, int (*visit)(void *arg, const char *name), void *arg)
{
    struct dm_sim_process *p = dm_sim_process_of(sys);
    int rc = enter_disk(p);

    return (int)dm_sim_trace(p, "list", -1, rc < 0 ? rc : list_path(p, path, visit, arg));
}

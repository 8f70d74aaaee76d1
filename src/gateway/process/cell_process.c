#include "gateway/process/cell_process.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/process/options.h"

/* What a user other than root may keep over a change of user, by the kernel's rules. */
static int drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return (int)syscall(SYS_capset, &head, none);
}

void dm_cell_process_disarm(void)
{
    if (geteuid() != 0)
        (void)drop_capabilities();
}

static int become(uint32_t uid)
{
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        return -errno;
    return drop_capabilities() < 0 ? -errno : 0;
}

int dm_cell_process_enter(struct dm_gateway_options *options, struct dm_err *err)
{
    int rc;

    if (chdir(options->data_dir) < 0)
        return dm_fail(err, DM_EIO, "", "can't enter %s: %s", options->data_dir, strerror(errno));
    if (options->cell_uid != DM_GATEWAY_NO_UID && (rc = become(options->cell_uid)) < 0)
        return dm_fail(err, DM_EPERM, "", "can't become user %u: %s", options->cell_uid, strerror(-rc));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        return dm_fail(err, DM_EPERM, "", "can't give up rights: %s", strerror(errno));
    memcpy(options->data_dir, ".", sizeof("."));
    return 0;
}

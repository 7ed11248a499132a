// SPDX-License-Identifier: Apache-2.0
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Only this one or none, in the sets that count for this process; none for what it would execute. A change of user takes them away from
// root alone: a master with capabilities of its own (AmbientCapabilities=) hands them down.
static int keep_capabilities(bool keeps_raw)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

    if (keeps_raw)
        data[CAP_TO_INDEX(CAP_NET_RAW)].permitted = data[CAP_TO_INDEX(CAP_NET_RAW)].effective =
            CAP_TO_MASK(CAP_NET_RAW);
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int privileges_drop(uid_t uid, gid_t gid, bool keeps_raw, const char **ret_what)
{
    if (uid != (uid_t)-1) {
        *ret_what = "keep capabilities";
        if (keeps_raw && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
            return -errno;
        *ret_what = "setgroups";
        if (setgroups(0, NULL) < 0)
            return -errno;
        *ret_what = "setgid";
        if (setresgid(gid, gid, gid) < 0)
            return -errno;
        *ret_what = "setuid";
        if (setresuid(uid, uid, uid) < 0)
            return -errno;
        *ret_what = "give up capabilities";
        if (uid != 0 && keep_capabilities(keeps_raw) < 0)
            return -EPERM;
        // No way back, or we are not who we think we are.
        *ret_what = "setuid did not last";
        if (uid != 0 && setuid(0) == 0)
            return -EPERM;
    } else if (geteuid() != 0 && !keeps_raw) {
        *ret_what = "give up capabilities";
        if (keep_capabilities(false) < 0)
            return -EPERM;
    }
    // A change of user takes this away (prctl(2)), and a worker must not outlive its master.
    *ret_what = "parent death signal";
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return -errno;
    *ret_what = "no_new_privs";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

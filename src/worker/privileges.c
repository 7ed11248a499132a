// SPDX-License-Identifier: Apache-2.0
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

int privileges_drop(uid_t uid, gid_t gid, const char **ret_what)
{
    if (uid != (uid_t)-1) {
        *ret_what = "setgroups";
        if (setgroups(0, NULL) < 0)
            return -errno;
        *ret_what = "setgid";
        if (setresgid(gid, gid, gid) < 0)
            return -errno;
        *ret_what = "setuid";
        if (setresuid(uid, uid, uid) < 0)
            return -errno;
        // No way back, or we are not who we think we are.
        *ret_what = "setuid did not last";
        if (uid != 0 && setuid(0) == 0)
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

// SPDX-License-Identifier: Apache-2.0
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int read_capabilities(struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3])
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

    return syscall(SYS_capget, &header, data) < 0 ? -errno : 0;
}

uint64_t privileges_held(void)
{
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return read_capabilities(data) < 0 ? 0 : data[0].permitted | (uint64_t)data[1].permitted << 32;
}

int privileges_keep(uint64_t keep)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

    // Both only where we may: for want of CAP_SETPCAP, no_new_privs keeps them from coming back.
    for (unsigned capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
        if ((keep & PRIVILEGE(capability)) == 0)
            (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    }
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    keep &= privileges_held();
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        data[i].permitted = data[i].effective = (uint32_t)(keep >> (32 * i));
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int privileges_hand_down(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
    uint64_t held;
    int error = read_capabilities(data);

    if (error < 0)
        return error;
    held = data[0].permitted | (uint64_t)data[1].permitted << 32;
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        data[i].inheritable = data[i].permitted;
    if (syscall(SYS_capset, &header, data) < 0)
        return -errno;
    for (unsigned capability = 0; capability < 64; capability++) {
        if ((held & PRIVILEGE(capability)) != 0)
            (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
    }
    return 0;
}

int privileges_hide(void)
{
    struct rlimit none = {0};

    // The limit is for those who look at it. Alone it does not hold off a core_pattern that is a program; and a service may forbid to
    // set any (SystemCallFilter=~@resources).
    (void)setrlimit(RLIMIT_CORE, &none);
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
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
    }
    // A change of user takes them away from root alone: a master with capabilities of its own (AmbientCapabilities=) hands them down.
    *ret_what = "give up capabilities";
    if (privileges_keep(keeps_raw ? PRIVILEGE(CAP_NET_RAW) : 0) < 0)
        return -EPERM;
    // No way back, or we are not who we think we are.
    *ret_what = "setuid did not last";
    if (uid != (uid_t)-1 && uid != 0 && setuid(0) == 0)
        return -EPERM;
    // A change of user takes this away (prctl(2)), and a worker must not outlive its master.
    *ret_what = "parent death signal";
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return -errno;
    *ret_what = "no_new_privs";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Looks up the account of the workers.
#include "account.h"

#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

// NULL when there is none. The result is the C library's until the next call.
static const struct passwd *look_up(const struct config *config)
{
    const struct passwd *entry;

    if (config->user)
        return getpwnam(config->user);
    entry = getpwnam("ringbolt");
    return entry ? entry : getpwnam("nobody");
}

// Root, or who has what it takes of root (AmbientCapabilities= in conf/systemd/ringbolt.service.in).
static bool may_become_another(void)
{
    const uint32_t needed = CAP_TO_MASK(CAP_SETUID) | CAP_TO_MASK(CAP_SETGID);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return geteuid() == 0 || (syscall(SYS_capget, &header, data) == 0 && (data[0].effective & needed) == needed);
}

int account_find(const struct config *config, struct account *ret, struct report *report)
{
    bool may = may_become_another();
    const struct passwd *entry;

    if (!may && !config->user) {
        *ret = (struct account){.uid = (uid_t)-1, .gid = (gid_t)-1};
        return 0;
    }
    entry = look_up(config);
    if (!entry && config->user) {
        report_add(report, config->user_where,
                   "there is no account `%s`; make it (useradd --system %s) or name one that exists",
                   config->user, config->user);
        return -EINVAL;
    }
    if (!entry) {
        report_add(report, config->user_where,
                   "started as root, but neither `ringbolt` nor `nobody` is an account that workers could "
                   "become; name one as `user`");
        return -EINVAL;
    }
    if (may)
        *ret = (struct account){.uid = entry->pw_uid, .gid = entry->pw_gid};
    else
        *ret = (struct account){.uid = (uid_t)-1, .gid = (gid_t)-1, .is_ignored = entry->pw_uid != geteuid()};
    return 0;
}

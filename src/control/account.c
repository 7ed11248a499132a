// SPDX-License-Identifier: Apache-2.0
// Looks up the account of the workers.
#include "account.h"

#include <errno.h>
#include <pwd.h>
#include <stddef.h>
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

int account_find(const struct config *config, struct account *ret, struct report *report)
{
    bool is_root = geteuid() == 0;
    const struct passwd *entry;

    if (!is_root && !config->user) {
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
    if (is_root)
        *ret = (struct account){.uid = entry->pw_uid, .gid = entry->pw_gid};
    else
        *ret = (struct account){.uid = (uid_t)-1, .gid = (gid_t)-1, .is_ignored = entry->pw_uid != geteuid()};
    return 0;
}

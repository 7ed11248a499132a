// SPDX-License-Identifier: Apache-2.0
#include "confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>

#include "master.h"
#include "ringbolt/log.h"
#include "src/worker/privileges.h"

// ---- the workers' ----

static bool is_required(enum config_sandbox wanted)
{
    return wanted == CONFIG_SANDBOX_REQUIRED;
}

static const char *cure_of(int error)
{
    switch (error) {
    case -EPERM:
    case -EACCES:
        return "allow it in the container's or service's own filter of system calls";
    default:
        return "a newer kernel, or one built with it; docs/security.md says what is lost without";
    }
}

// True when it can do without.
static bool say_missing(const char *part, enum config_sandbox wanted, int error)
{
    if (error == 0)
        return true;
    log_line(is_required(wanted) ? LOG_ERROR : LOG_WARNING,
             is_required(wanted) ? "a part of the sandbox is required and not available"
                                 : "a part of the sandbox is not available, workers serve without it",
             log_text("part", part), log_errno(error), log_text("cure", cure_of(error)));
    return !is_required(wanted);
}

int confine_probe(struct master *master)
{
    const struct config *config = master->config;
    struct sandbox *sandbox = &master->sandbox;
    struct sandbox_errors errors;
    bool is_good;

    sandbox_probe(config, sandbox, &errors);
    is_good = say_missing("seccomp", config->sandbox.seccomp, errors.seccomp);
    is_good &= say_missing("landlock", config->sandbox.landlock, errors.landlock);
    is_good &= say_missing("io_uring", config->sandbox.io_uring, errors.ring);
    if (IS_SANITIZED)
        log_info(
            "built with a sanitizer: workers go without landlock, and with a longer list of system calls");
    log_info("workers are confined", log_boolean("seccomp", sandbox->has_seccomp),
             log_integer("landlock", sandbox->landlock), log_boolean("io_uring", sandbox->has_ring));
    return is_good ? 0 : -ENOTSUP;
}

// ---- the master's ----

static bool is_transparent(const struct config *config)
{
    for (size_t i = 0; i < config->upstream_count; i++) {
        if (config->upstreams[i].tcp.is_transparent)
            return true;
    }
    return false;
}

uint64_t confine_worker_keeps(const struct config *config)
{
    return is_transparent(config) ? PRIVILEGE(CAP_NET_RAW) : 0;
}

static uint64_t needed(const struct config *config)
{
    // Workers, and children that ask OCSP responders, become another, and are ended when they hang.
    uint64_t keep = PRIVILEGE(CAP_SETUID) | PRIVILEGE(CAP_SETGID) | PRIVILEGE(CAP_KILL);

    // Workers lock keys into memory before they become another.
    keep |= PRIVILEGE(CAP_IPC_LOCK);
    // A successor with a new configuration listens at ports of its own.
    keep |= PRIVILEGE(CAP_NET_BIND_SERVICE);
    keep |= confine_worker_keeps(config);
    // Certificates and keys of other owners are read again when they change. Containers often grant only the right to write
    // them as well.
    if ((privileges_held() & PRIVILEGE(CAP_DAC_READ_SEARCH)) != 0)
        return keep | PRIVILEGE(CAP_DAC_READ_SEARCH);
    return keep | PRIVILEGE(CAP_DAC_OVERRIDE);
}

void confine_master(const struct master *master)
{
    int error = privileges_keep(needed(master->config));

    if (error == 0)
        error = privileges_hide();
    if (error == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        error = -errno;
    if (error < 0)
        log_warning("the master keeps privileges that it does not need", log_errno(error));
}

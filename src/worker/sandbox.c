// SPDX-License-Identifier: Apache-2.0
#include "sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filter.h"
#include "landlock.h"
#include "ringbolt/ring.h"
#include "ringbolt/shared_memory.h"

static struct filter_needs needs_of(const struct config *config)
{
    struct filter_needs needs = {0};

    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_upstream *upstream = &config->upstreams[i];

        needs.transparent |= upstream->tcp.is_transparent;
        for (size_t j = 0; j < upstream->server_count; j++)
            needs.unix_servers |= upstream->servers[j].address.socket.ss_family == AF_UNIX;
    }
    for (size_t i = 0; i < config->listener_count; i++)
        needs.tokens |= config->listeners[i].redirect.acme != NULL;
    return needs;
}

int sandbox_enter(const struct sandbox *sandbox, const struct config *config, const int *acme, int channel,
                  const char **ret_what)
{
    struct filter_needs needs = needs_of(config);
    int error = 0;

    *ret_what = "landlock";
    if (sandbox->landlock > 0)
        error = landlock_enter(config, acme, sandbox->landlock);
    if (error < 0)
        return error;
    *ret_what = "seccomp";
    return sandbox->has_seccomp ? filter_load(&needs, channel) : 0;
}

// ---- trying it out ----

// What the child found, in memory that it shares with us. Each is -ECANCELED until it is known.
struct trial {
    int landlock; // the version, or -errno
    int seccomp;
};

static _Noreturn void try_all(struct trial *trial, const struct config *config)
{
    struct filter_needs needs = needs_of(config);
    int version = landlock_version();

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        _exit(1);
    if (version > 0) {
        int error = landlock_enter(config, NULL, (unsigned)version);

        if (error < 0)
            version = error;
    }
    trial->landlock = version;
    trial->seccomp = filter_load(&needs, -1);
    _exit(0);
}

static int try_in_child(struct trial *ret, const struct config *config)
{
    struct trial *trial = shared_memory_create(sizeof(*trial));
    int status = 0;
    int error = 0;
    pid_t child;

    if (!trial)
        return -ENOMEM;
    *trial = (struct trial){.landlock = -ECANCELED, .seccomp = -ECANCELED};
    child = fork();
    if (child == 0)
        try_all(trial, config);
    if (child < 0)
        error = -errno;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    *ret = *trial;
    // A filter under which a process can't even end is none.
    if (child > 0 && ret->seccomp == 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        ret->seccomp = -ECANCELED;
    shared_memory_destroy(trial, sizeof(*trial));
    return error;
}

void sandbox_probe(const struct config *config, struct sandbox *ret, struct sandbox_errors *ret_errors)
{
    struct ring_probe ring;
    struct trial trial = {0};
    int error = try_in_child(&trial, config);

    *ret = (struct sandbox){0};
    *ret_errors = (struct sandbox_errors){0};
    if (error < 0)
        trial = (struct trial){.landlock = error, .seccomp = error};
    if (config->sandbox.seccomp != CONFIG_SANDBOX_OFF) {
        ret->has_seccomp = trial.seccomp == 0;
        ret_errors->seccomp = trial.seccomp;
    }
    // A sanitizer that can't read /proc/self/maps can't report what it found.
    if (config->sandbox.landlock != CONFIG_SANDBOX_OFF && !IS_SANITIZED) {
        ret->landlock = trial.landlock > 0 ? (unsigned)trial.landlock : 0;
        ret_errors->landlock = trial.landlock < 0 ? trial.landlock : 0;
    }
    if (config->sandbox.io_uring != CONFIG_SANDBOX_OFF) {
        ring_probe(&ring);
        ret->has_ring = ring.error == 0 && ring.restrictions;
        ret_errors->ring = ring.error < 0 ? ring.error : ret->has_ring ? 0 : -EOPNOTSUPP;
    }
}

void sandbox_call_name(int number, char *text, size_t size)
{
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);

    if (name)
        snprintf(text, size, "%s", name);
    else
        snprintf(text, size, "%d", number);
    free(name);
}

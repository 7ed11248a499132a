// SPDX-License-Identifier: Apache-2.0
// Descriptors, io_uring, kernel TLS: asked for, probed, and said.
#include "system.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ringbolt/control.h"
#include "ringbolt/log.h"
#include "ringbolt/ring.h"
#include "safe.h"

#define DESCRIPTORS_SPARE 64 // ring, channel, log, sockets on their way
#define CIPHERS_TEXT_SIZE 80 // the names of all ciphers
#define CIPHER_CURE                                                                                          \
    "modprobe gcm, modprobe chacha20poly1305 (in a container: on the host), take a newer kernel, or set "    \
    "ktls to auto"

// ---- descriptors ----

static rlim_t descriptors_needed(const struct config *config)
{
    rlim_t worker = (rlim_t)config->limits.connections * 2 + config->listener_count + DESCRIPTORS_SPARE;
    rlim_t master = safes_descriptors_beside(config) + safes_connections(config) * 2;

    return worker > master ? worker : master;
}

// What no limit may exceed, whoever asks (fs/file.c, sysctl_nr_open).
static rlim_t descriptors_possible(void)
{
    FILE *file = fopen("/proc/sys/fs/nr_open", "re");
    uint64_t most = 1048576; // the kernel's default

    if (!file)
        return most;
    if (fscanf(file, "%" SCNu64, &most) != 1)
        most = 1048576;
    fclose(file);
    return most;
}

void system_raise_descriptors(const struct config *config)
{
    rlim_t needed = descriptors_needed(config);
    rlim_t possible = descriptors_possible();
    rlim_t wanted = needed < possible ? needed : possible;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= needed)
        return;
    if (limit.rlim_max < wanted) {
        struct rlimit higher = {.rlim_cur = wanted, .rlim_max = wanted};

        if (setrlimit(RLIMIT_NOFILE, &higher) == 0) // needs CAP_SYS_RESOURCE
            limit = higher;
        else
            wanted = limit.rlim_max;
    }
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < needed)
        log_warning(
            "too few descriptors for limits.connections",
            log_integer("connections", config->limits.connections), log_integer("descriptors_needed", needed),
            log_integer("descriptors", limit.rlim_cur),
            log_integer("connections_per_worker",
                        limit.rlim_cur > DESCRIPTORS_SPARE + config->listener_count
                            ? (limit.rlim_cur - DESCRIPTORS_SPARE - config->listener_count) / 2
                            : 0),
            log_text("cure",
                     needed > possible
                         ? "lower limits.connections, or raise fs.nr_open (sysctl) and the limit"
                         : "lower limits.connections, or raise the hard limit (ulimit -Hn, LimitNOFILE= of "
                           "the service)"));
}

static int compare_descriptors(const void *left, const void *right)
{
    int a = *(const int *)left;
    int b = *(const int *)right;

    return (a > b) - (a < b);
}

static void close_between(unsigned first, unsigned last)
{
    struct rlimit limit;

    if (first > last || close_range(first, last, 0) == 0)
        return;
    // A sandbox without that call. Numbers beyond the limit can't have been given out.
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= last)
        last = (unsigned)limit.rlim_cur;
    for (unsigned fd = first; fd <= last; fd++)
        close((int)fd);
}

void system_keep_descriptors(int *keep, size_t count)
{
    unsigned next = STDERR_FILENO + 1;

    qsort(keep, count, sizeof(*keep), compare_descriptors);
    for (size_t i = 0; i < count; i++) {
        if (keep[i] < (int)next)
            continue; // none, a standard one, or the same again
        if (keep[i] > (int)next)
            close_between(next, (unsigned)keep[i] - 1);
        next = (unsigned)keep[i] + 1;
    }
    close_between(next, ~0u);
}

// ---- io_uring ----

int system_check_ring(void)
{
    struct ring_probe probe;

    ring_probe(&probe);
    if (probe.error == 0)
        return 0;
    log_error("io_uring is not available", log_text("cure", probe.why), log_errno(probe.error));
    return probe.error;
}

// ---- kernel TLS ----

const char *control_ktls_reason(int attach_error)
{
    return attach_error == -ENOENT ? "the kernel has no tls module, or may not load it"
                                   : log_error_text(attach_error);
}

const char *control_ktls_cure(int attach_error)
{
    switch (attach_error) {
    case -ENOENT:
        return "modprobe tls (in a container: on the host); a kernel without CONFIG_TLS has none";
    case -ENOPROTOOPT:
    case -EOPNOTSUPP:
    case -ENOSYS:
        return "run on a kernel with TCP_ULP and CONFIG_TLS (Linux 4.17 and later); a sandbox such as gVisor "
               "has none";
    case -EPERM:
    case -EACCES:
        return "allow setsockopt TCP_ULP in the sandbox (seccomp) that ringbolt runs in";
    default:
        return "modprobe tls (in a container: on the host), and see ringbolt probe";
    }
}

static const char *version_text(unsigned version)
{
    return version == 0 ? "TLSv1.2" : "TLSv1.3";
}

static bool is_wanted(const struct config *config, enum record_direction direction, enum config_ktls value)
{
    return (direction == RECORD_TRANSMIT ? config->ktls.transmit : config->ktls.receive) == value;
}

static bool is_negotiable(const struct config *config, enum record_version version)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_tls *tls = &config->listeners[i].tls;

        if ((unsigned)tls->version_min <= (unsigned)version &&
            (unsigned)version <= (unsigned)tls->version_max)
            return true;
    }
    return false;
}

static const char *direction_text(enum record_direction direction)
{
    return direction == RECORD_TRANSMIT ? "transmit" : "receive";
}

// How many ciphers of a version the kernel does in a direction; each that is missing is said.
static unsigned count_ciphers(const struct record_probe *probe, unsigned version,
                              enum record_direction direction)
{
    unsigned count = 0;

    for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++) {
        int error = probe->error[version][cipher][direction];

        if (error == 0) {
            count++;
            continue;
        }
        log_warning("ktls is required and the kernel lacks a cipher", log_text("tls", version_text(version)),
                    log_text("cipher", record_cipher_name((enum record_cipher)cipher)),
                    log_text("direction", direction_text(direction)), log_errno(error),
                    log_text("cure", CIPHER_CURE));
    }
    return count;
}

// One direction: whether the kernel does something of each version that a listener may negotiate.
static bool check_direction(const struct config *config, const struct record_probe *probe,
                            enum record_direction direction)
{
    bool is_enough = true;

    if (!is_wanted(config, direction, CONFIG_KTLS_REQUIRED))
        return true;
    for (unsigned version = 0; version < 2; version++) {
        if (!is_negotiable(config, version == 0 ? RECORD_TLS12 : RECORD_TLS13) ||
            count_ciphers(probe, version, direction) > 0)
            continue;
        log_error("ktls is required and the kernel can't do a TLS version",
                  log_text("tls", version_text(version)), log_text("direction", direction_text(direction)),
                  log_text("cure", CIPHER_CURE));
        is_enough = false;
    }
    return is_enough;
}

static int check_required(const struct config *config, const struct record_probe *probe)
{
    bool can_transmit = check_direction(config, probe, RECORD_TRANSMIT);
    bool can_receive = check_direction(config, probe, RECORD_RECEIVE);

    return can_transmit && can_receive ? 0 : -ENOTSUP;
}

// "AES-128-GCM AES-256-GCM", or "none".
static void list_ciphers(const struct record_probe *probe, unsigned version, enum record_direction direction,
                         char *text, size_t size)
{
    size_t length = 0;

    snprintf(text, size, "none");
    for (int cipher = 0; cipher < RECORD_CIPHER_COUNT && length < size; cipher++) {
        if (probe->error[version][cipher][direction] == 0)
            length += (size_t)snprintf(text + length, size - length, "%s%s", length > 0 ? " " : "",
                                       record_cipher_name((enum record_cipher)cipher));
    }
}

static void say_available(const struct record_probe *probe)
{
    char text[2][2][CIPHERS_TEXT_SIZE];

    for (unsigned version = 0; version < 2; version++) {
        list_ciphers(probe, version, RECORD_TRANSMIT, text[version][RECORD_TRANSMIT], CIPHERS_TEXT_SIZE);
        list_ciphers(probe, version, RECORD_RECEIVE, text[version][RECORD_RECEIVE], CIPHERS_TEXT_SIZE);
    }
    log_info("kernel TLS available", log_text("tls12_transmit", text[0][RECORD_TRANSMIT]),
             log_text("tls12_receive", text[0][RECORD_RECEIVE]),
             log_text("tls13_transmit", text[1][RECORD_TRANSMIT]),
             log_text("tls13_receive", text[1][RECORD_RECEIVE]), log_boolean("rekey", probe->rekey));
}

int system_probe_ktls(const struct config *config, struct record_probe *ret)
{
    bool is_required =
        config->ktls.transmit == CONFIG_KTLS_REQUIRED || config->ktls.receive == CONFIG_KTLS_REQUIRED;

    if (config->ktls.transmit == CONFIG_KTLS_OFF && config->ktls.receive == CONFIG_KTLS_OFF) {
        ret->attach_error = -ENOTSUP;
        for (unsigned version = 0; version < 2; version++) {
            for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++)
                ret->error[version][cipher][RECORD_TRANSMIT] = ret->error[version][cipher][RECORD_RECEIVE] =
                    -ENOTSUP;
        }
        ret->rekey = false;
        return 0;
    }
    (void)record_kernel_probe(ret); // a failure shows in attach_error
    if (ret->attach_error != 0 && is_required) {
        log_error("ktls is required and kernel TLS not available",
                  log_text("reason", control_ktls_reason(ret->attach_error)),
                  log_text("cure", control_ktls_cure(ret->attach_error)));
        return -ENOTSUP;
    }
    if (ret->attach_error != 0) {
        log_info("kernel TLS not available, records are protected in user space",
                 log_text("reason", control_ktls_reason(ret->attach_error)),
                 log_text("cure", control_ktls_cure(ret->attach_error)));
        return 0;
    }
    say_available(ret);
    return check_required(config, ret);
}

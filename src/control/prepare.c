// SPDX-License-Identifier: Apache-2.0
// Before the master runs: files read and found good (control_load), and what it needs of the system (prepare).
#include "prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "acme.h"
#include "confine.h"
#include "estate_secrets.h"
#include "master.h"
#include "ringbolt/file.h"
#include "ringbolt/listing.h"
#include "ringbolt/log.h"
#include "ringbolt/shared_memory.h"
#include "ringbolt/socket.h"
#include "ringbolt/tls.h"
#include "system.h"

#define CONFIG_SIZE_MAX ((size_t)16 << 20) // as config_load()
#define USED_SIZE       (MATERIAL_SLOTS_MAX * sizeof(_Atomic uint64_t))

// ---- files ----

// Absolute, and with its symbolic links: the next look follows them to where they lead then.
static char *absolute_path(const char *file)
{
    char *folder = file[0] == '/' ? NULL : getcwd(NULL, 0);
    char *path = NULL;

    if (!folder)
        path = strdup(file);
    else if (asprintf(&path, "%s/%s", folder, file) < 0)
        path = NULL;
    free(folder);
    if (!path)
        abort();
    return path;
}

struct control *control_create(const char *file)
{
    struct control *control = calloc(1, sizeof(*control));

    if (!control)
        abort();
    control->predecessor = -1;
    if (file) {
        control->file = absolute_path(file);
        (void)file_read(control->file, CONFIG_SIZE_MAX, &control->bytes, &control->size);
    }
    return control;
}

void control_destroy(struct control *control)
{
    if (!control)
        return;
    if (control->inherited)
        estate_finish(control->inherited);
    free(control->inherited);
    if (control->predecessor >= 0)
        close(control->predecessor);
    sources_destroy(control->sources);
    tls_upstreams_destroy(control->tls_upstreams);
    loader_destroy(control->loader);
    pack_finish(&control->development);
    free(control->bytes);
    free(control->file);
    free(control);
}

int control_check(const struct config *config, struct report *report)
{
    struct account account;
    // All that is wrong in one run.
    int error = acme_check(config, report);
    int other = account_find(config, &account, report);

    return error < 0 ? error : other;
}

static bool is_development(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];

        if (listener->tls.certificate_count == 0 && !listener->tls.certificate_dir && !listener->never_terminates)
            return true;
    }
    return false;
}

int control_load(struct control *control, const struct control_options *options, struct report *report)
{
    struct certificate *develop = NULL;
    // All that is wrong in one run.
    bool is_made = false;
    bool is_wrong = tls_check(options->config, report) < 0;
    int error = 0;

    control->config = options->config;
    control->loader = loader_create(options->may_ask && !control->inherited);
    estate_take_passphrases(control);
    if (is_development(options->config)) {
        develop = estate_take_development(control);
        is_made = !develop;
        if (is_made)
            error = certificate_develop(options->develop_ca, report, &develop);
        if (error == 0)
            development_pack(develop, &control->development);
    }
    if (error == 0)
        error = sources_load(options->config, control->loader, develop, options->is_check, report,
                             &control->sources);
    is_wrong |= tls_upstreams_load(options->config, control->loader, report, &control->tls_upstreams) < 0;
    loader_ask_no_more(control->loader); // a master that serves has no time to wait for somebody at a terminal
    if (error < 0 || is_wrong)
        return -EINVAL;
    sources_servers(control->sources, control->tls_upstreams);
    estate_take_versions(control);
    if (is_made)
        log_warning("development certificate: made just now, for localhost only, trusted by nobody",
                    log_text("ca", options->develop_ca), log_text("cure", "--cert CHAIN.pem --key KEY.pem"));
    return 0;
}

// ---- account ----

static int find_account(struct master *master)
{
    struct report report;
    int error;

    report_init(&report, master->config->file);
    error = account_find(master->config, &master->account, &report);
    for (size_t i = 0; i < report.count; i++)
        log_error("bad configuration", log_text("reason", report.lines[i].text));
    report_finish(&report);
    if (error < 0)
        return error;
    if (master->account.is_ignored)
        log_warning("user is ignored: only root can become another", log_text("user", master->config->user),
                    log_text("cure", "start as root, or leave `user` out"));
    if (geteuid() == 0 && master->account.uid == 0)
        log_warning("workers stay root", log_text("cure", "set `user` to an account without privileges"));
    return 0;
}

// Whether sockets may come from clients' addresses, before anybody is promised that: workers keep what we have.
static int check_transparent(const struct config *config)
{
    int error = 0;

    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_upstream *upstream = &config->upstreams[i];
        int fd = upstream->tcp.is_transparent ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
        int refusal;

        if (fd < 0)
            continue;
        refusal = socket_set(fd, SOL_IP, IP_TRANSPARENT, 1);
        if (refusal < 0) {
            error = refusal;
            log_error("cannot come from the clients' addresses (tcp.transparent)", log_text("upstream", upstream->name),
                      log_errno(error),
                      log_text("cure", "start as root (workers keep CAP_NET_RAW and nothing else), or "
                                       "setcap cap_net_raw=+ep the program, or leave `transparent` out"));
        }
        close(fd);
    }
    return error;
}

// ---- memory ----

static int make_memory(struct master *master)
{
    unsigned workers = master->config->workers;
    size_t listeners = master->config->listener_count;

    master->admission = admission_create(master->config);
    master->used = shared_memory_create(USED_SIZE);
    master->listing = shared_memory_create(workers * sizeof(*master->listing));
    master->processes = calloc(workers, sizeof(*master->processes));
    master->keylogs = malloc(listeners * sizeof(*master->keylogs));
    for (size_t i = 0; master->keylogs && i < listeners; i++)
        master->keylogs[i] = -1;
    if (servers_create(master->config, &master->servers) < 0 ||
        stats_create(master->config, &master->stats) < 0 || !master->admission ||
        !master->used || !master->listing || !master->processes || !master->keylogs) {
        log_error("no memory");
        return -ENOMEM;
    }
    servers_count_in(master->servers, master->stats);
    supervise_init(master);
    return 0;
}

// ---- keylog files ----

// A descriptor, or -errno.
static int open_keylog(const char *path)
{
    // Not blocking: a FIFO without a reader must not hang the start.
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    struct stat status;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return fd;
    close(fd);
    return -EINVAL;
}

// That they are dangerous, the configuration's own warning has said.
static int open_keylogs(struct master *master)
{
    for (size_t i = 0; i < master->config->listener_count; i++) {
        const struct config_listener *listener = &master->config->listeners[i];
        const char *path = listener->tls.keylog;
        int fd;

        if (!path)
            continue;
        fd = open_keylog(path);
        if (fd < 0) {
            log_error("cannot write the keylog file", log_text("listener", listener->name),
                      log_text("file", path), log_errno(fd),
                      log_text("cure", "a regular file that ringbolt may append to, or no `keylog`"));
            return fd;
        }
        master->keylogs[i] = fd;
    }
    return 0;
}

// ---- all of it ----

int prepare(struct master *master)
{
    if (find_account(master) < 0)
        return 3;
    if (check_transparent(master->config) < 0)
        return 1;
    system_raise_descriptors(master->config);
    if (system_check_ring() < 0 || confine_probe(master) < 0 ||
        system_probe_ktls(master->config, &master->probe) < 0 || make_memory(master) < 0)
        return 1;
    return open_keylogs(master) < 0 || acme_open(master->config, &master->acme) < 0 ? 3 : 0;
}

void prepare_undo(struct master *master)
{
    material_destroy(master->material);
    for (size_t i = 0; master->keylogs && i < master->config->listener_count; i++) {
        if (master->keylogs[i] >= 0)
            close(master->keylogs[i]);
    }
    free(master->keylogs);
    acme_close(master->config, master->acme);
    safes_finish(master);
    free(master->processes);
    servers_destroy(master->servers);
    admission_destroy(master->admission);
    shared_memory_destroy((void *)master->used, USED_SIZE);
    stats_destroy(master->stats);
    shared_memory_destroy(master->listing, master->config->workers * sizeof(*master->listing));
}

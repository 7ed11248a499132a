// SPDX-License-Identifier: Apache-2.0
// What the commands of the admin socket do: docs/admin.md.
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "admin.h"
#include "admin_certificates.h"
#include "admin_connections.h"
#include "admin_servers.h"
#include "admin_socket.h"
#include "master.h"
#include "ringbolt-version.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "status.h"

#define MEMBERS_MAX    3
#define RETIRED_MAX    4096        // certificates that one command can drain
#define TIMEOUT_MS_MAX 31536000000 // 365 days, as in the configuration

const char *admin_state_text(const struct master *master)
{
    static const char *const texts[] = {[MASTER_STARTING] = "starting",
                                        [MASTER_SERVING] = "serving",
                                        [MASTER_SUPERSEDED] = "superseded",
                                        [MASTER_DRAINING] = "draining",
                                        [MASTER_STOPPING] = "stopping"};

    return texts[master->state];
}

// ---- ping, stop ----

static void ping(struct master *master, struct admin_client *client, const json_t *request)
{
    (void)request;
    admin_answer(client, json_pack("{s:b, s:s, s:i, s:s}", "ok", 1, "version", RINGBOLT_VERSION, "pid",
                                   (int)getpid(), "state", admin_state_text(master)));
}

// {"ok": true, "connections": …}: what is live, of predecessors too: they end as we do.
static json_t *live(const struct master *master)
{
    return json_pack("{s:b, s:I}", "ok", 1, "connections", (json_int_t)stats_connections(master->stats));
}

static void stop(struct master *master, struct admin_client *client, const json_t *request)
{
    (void)request;
    admin_answer(client, live(master));
    master_stop(master);
}

// ---- upgrade ----

// The answer is `result` (a reference, taken) and what came of it: of the successor, or why there is none.
static void succeed(struct master *master, struct admin_client *client, enum succession_kind kind, json_t *result)
{
    const char *why;

    if (!result) {
        admin_answer(client, NULL);
        return;
    }
    admin_hold(client, result);
    why = succession_begin(master, kind, client);
    if (!why)
        return;
    result = admin_held(client);
    (void)json_object_set_new(result, "ok", json_false());
    (void)json_object_set_new(result, "error", json_string(why));
    admin_answer(client, result);
}

static void upgrade(struct master *master, struct admin_client *client, const json_t *request)
{
    (void)request;
    succeed(master, client, SUCCESSION_UPGRADE,
            json_pack("{s:b, s:i, s:s, s:s?}", "ok", 1, "predecessor_pid", (int)getpid(), "predecessor_version",
                      RINGBOLT_VERSION, "program", start_program()));
}

// ---- reload ----

struct problems {
    json_t *files;
    json_t *config;
};

static void add_problem(void *owner, bool is_config, const char *problem)
{
    struct problems *problems = owner;

    (void)json_array_append_new(is_config ? problems->config : problems->files, admin_text(problem));
}

static void reload(struct master *master, struct admin_client *client, const json_t *request)
{
    static const char *const texts[] = {[RELOAD_CONFIG_SAME] = "same",
                                        [RELOAD_CONFIG_CHANGED] = "changed",
                                        [RELOAD_CONFIG_BROKEN] = "broken"};
    json_t *result;
    const json_t *force = json_object_get(request, "force");
    struct problems problems = {.files = json_array(), .config = json_array()};
    struct reload_outcome outcome;

    if (force && !json_is_boolean(force)) {
        admin_refuse(client, "`force` is true or false");
        goto out;
    }
    if (master->state == MASTER_STOPPING) {
        admin_refuse(client, "this ringbolt is stopping");
        goto out;
    }
    reload_everything(master, json_is_true(force), add_problem, &problems, &outcome);
    result = json_pack("{s:b, s:I, s:I, s:I, s:O, s:s, s:O}", "ok", 1, "changed",
                       (json_int_t)outcome.files.changed, "failed", (json_int_t)outcome.files.failed, "removed",
                       (json_int_t)outcome.files.removed, "problems", problems.files, "config",
                       texts[outcome.config], "config_problems", problems.config);
    if (outcome.config == RELOAD_CONFIG_CHANGED)
        succeed(master, client, SUCCESSION_RELOAD, result);
    else
        admin_wait(master, client, result);
out:
    json_decref(problems.files);
    json_decref(problems.config);
}

// ---- drain ----

static void drain_all(struct master *master, struct admin_client *client)
{
    admin_answer(client, live(master));
    master_drain(master);
}

// Ends what was begun under certificates that are not served any more.
static void retire(struct master *master, struct admin_client *client, const uint64_t *ids, size_t count,
                   uint64_t timeout_ms)
{
    struct change change = {0};

    if (count > 0) {
        change_retire(&change, ids, count);
        reload_apply(master, &change);
        change_finish(&change);
        messages_send(master, WORKER_DRAIN_RETIRED, timeout_ms);
        succession_tell_orders(master);
    }
    admin_wait(master, client, json_pack("{s:b, s:I}", "ok", 1, "certificates", (json_int_t)count));
}

static void drain_certificate(struct master *master, struct admin_client *client, const char *name,
                              uint64_t timeout_ms)
{
    uint64_t *ids = calloc(RETIRED_MAX, sizeof(*ids));
    size_t count;
    char *known;

    if (!ids) {
        admin_answer(client, NULL);
        return;
    }
    count = sources_replaced(master->control->sources, name, ids, RETIRED_MAX);
    if (count > RETIRED_MAX) {
        admin_refuse(
            client,
            "`%s` stands for %zu replaced certificates; name them by their fingerprints, at most %d at "
            "once",
            name, count, RETIRED_MAX);
    } else if (count > 0 || admin_certificate_is_known(master, name)) {
        log_info("draining replaced certificates", log_text("certificate", name),
                 log_integer("certificates", count), log_integer("timeout_ms", timeout_ms));
        retire(master, client, ids, count, timeout_ms);
    } else {
        known = admin_certificates_known(master);
        admin_refuse(client, "no certificate is or was served for `%s`; known are: %s", name,
                     known ? known : "(no memory to list them)");
        free(known);
    }
    free(ids);
}

static void drain(struct master *master, struct admin_client *client, const json_t *request)
{
    const json_t *certificate = json_object_get(request, "certificate");
    const json_t *timeout = json_object_get(request, "timeout_ms");
    uint64_t timeout_ms = master->config->shutdown_timeout_ns / CLOCK_NS_PER_MS;

    if (certificate && (!json_is_string(certificate) || json_string_length(certificate) == 0))
        admin_refuse(client, "`certificate` is a server name, or at least 8 digits of a fingerprint");
    else if (timeout && !certificate)
        admin_refuse(
            client,
            "`timeout_ms` goes with `certificate`; without, shutdown_timeout of the configuration counts");
    else if (timeout && (!json_is_integer(timeout) || json_integer_value(timeout) < 0 ||
                         json_integer_value(timeout) > TIMEOUT_MS_MAX))
        admin_refuse(client, "`timeout_ms` is a number from 0 to %lld", (long long)TIMEOUT_MS_MAX);
    else if (!certificate)
        drain_all(master, client);
    else
        drain_certificate(master, client, json_string_value(certificate),
                          timeout ? (uint64_t)json_integer_value(timeout) : timeout_ms);
}

// ---- certificates ----

static void certificates(struct master *master, struct admin_client *client, const json_t *request)
{
    (void)request;
    admin_answer(client, admin_certificates(master));
}

// ---- status ----

static void status(struct master *master, struct admin_client *client, const json_t *request)
{
    (void)request;
    admin_answer(client, status_document(master));
}

// ---- all of them ----

static const struct {
    const char *name;
    const char *members[MEMBERS_MAX]; // beside `command`
    void (*run)(struct master *master, struct admin_client *client, const json_t *request);
} commands[] = {
    {"certificates", {NULL}, certificates},
    {"connections", {"limit"}, admin_connections},
    {"drain", {"certificate", "timeout_ms"}, drain},
    {"ping", {NULL}, ping},
    {"reload", {"force"}, reload},
    {"server", {"server", "state"}, admin_servers},
    {"status", {NULL}, status},
    {"stop", {NULL}, stop},
    {"upgrade", {NULL}, upgrade},
};

static bool is_member(size_t command, const char *key)
{
    if (strcmp(key, "command") == 0)
        return true;
    for (size_t i = 0; i < MEMBERS_MAX && commands[command].members[i]; i++) {
        if (strcmp(key, commands[command].members[i]) == 0)
            return true;
    }
    return false;
}

// The first member that the command doesn't know; NULL: it knows all.
static const char *find_unknown(size_t command, const json_t *request)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)request, key, value)
    {
        if (!is_member(command, key))
            return key;
    }
    return NULL;
}

void admin_command(struct master *master, struct admin_client *client, const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "command"));
    const char *unknown;

    if (!name) {
        admin_refuse(client, "the request names no command; send {\"command\": \"…\"}");
        return;
    }
    if (master->state == MASTER_SUPERSEDED) {
        admin_refuse(client, "another ringbolt (pid %d) leads since a moment ago: ask again",
                     (int)master->succession.pid);
        return;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        unknown = find_unknown(i, request);
        if (unknown)
            admin_refuse(client, "the command %s has no member `%.100s`", name, unknown);
        else
            commands[i].run(master, client, request);
        return;
    }
    admin_refuse(client,
                 "there is no command `%.100s`; there are certificates, connections, drain, ping, reload, server, status, stop and upgrade",
                 name);
}

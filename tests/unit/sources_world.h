// SPDX-License-Identifier: Apache-2.0
// What the tests of sources share: files in a folder of their own, a configuration, the log as text, and a model of what is served,
// to which changes are applied.
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "ringbolt/log.h"
#include "ringbolt/tls.h"
#include "src/control/sources.h"
#include "src/tls/change.h"
#include "tests/unit/folder.h"

#define SERVED_MAX 16384

struct served {
    uint64_t id; // 0: nothing
    uint8_t fingerprint[32];
    size_t place_count;
    struct material_place places[4];
    int64_t staple_next_update_s; // 0: none
    unsigned sent;                // how often
};

static struct {
    char root[PATH_MAX];
    int log; // a memory file
    off_t log_mark;
    struct config *config;
    struct loader *loader;
    struct sources *sources;
    struct sources_result result;
    struct report report;
    struct served served[SERVED_MAX];
    size_t served_count;
    unsigned element_count; // of the last change
    uint8_t trust[8][32];   // digests by listener
    unsigned trust_sent;
    size_t ticket_count;
    uint8_t ticket_name[16]; // of the first
    unsigned tickets_sent;
    const char *upstream_keys; // more of the upstream `app`, after its name; NULL: none
    uint8_t servers;           // the first byte of the digest of what is in service
    unsigned servers_sent;
} world;

// ---- files ----

static inline const char *in_root(const char *name)
{
    static char paths[4][PATH_MAX + 256];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", world.root, name);
    return path;
}

// In place: the same file as before, if there is one.
static inline void write_file(const char *name, const char *text)
{
    int fd = open(in_root(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline void make_folder(const char *name)
{
    assert_int_equal(mkdir(in_root(name), 0700), 0);
}

static inline void move(const char *from, const char *to)
{
    assert_int_equal(rename(in_root(from), in_root(to)), 0);
}

static inline void make_link(const char *target, const char *name)
{
    assert_int_equal(symlink(target, in_root(name)), 0);
}

static inline void remove_file(const char *name)
{
    assert_int_equal(unlink(in_root(name)), 0);
}

// ---- the log ----

static inline void log_forget(void)
{
    world.log_mark = lseek(world.log, 0, SEEK_END);
}

// How many lines since log_forget() hold both texts.
static inline unsigned log_count_both(const char *text, const char *other)
{
    off_t end = lseek(world.log, 0, SEEK_END);
    char *lines = calloc(1, (size_t)(end - world.log_mark) + 1);
    unsigned count = 0;
    char *rest = NULL;

    assert_non_null(lines);
    assert_int_equal(pread(world.log, lines, (size_t)(end - world.log_mark), world.log_mark),
                     end - world.log_mark);
    for (char *line = strtok_r(lines, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        count += strstr(line, text) != NULL && strstr(line, other) != NULL;
    free(lines);
    return count;
}

static inline unsigned log_count(const char *text)
{
    return log_count_both(text, "");
}

static inline void log_show(void)
{
    char line[1024];
    ssize_t size;
    off_t at = world.log_mark;

    while ((size = pread(world.log, line, sizeof(line), at)) > 0) {
        fprintf(stderr, "%.*s", (int)size, line);
        at += size;
    }
}

// ---- what is served ----

static inline void apply_certificate(const struct change_element *element)
{
    struct served *served = &world.served[element->certificate.slot];
    struct change_list places = element->certificate.places;
    unsigned sent = served->sent + 1;

    assert_true(element->certificate.slot < SERVED_MAX);
    *served = (struct served){.id = element->certificate.id, .place_count = places.count, .sent = sent};
    memcpy(served->fingerprint, element->certificate.fingerprint, sizeof(served->fingerprint));
    assert_true(places.count <= 4);
    for (size_t i = 0; places.count > 0; i++)
        served->places[i] = change_list_place(&places);
}

static inline void apply(const struct change *change)
{
    struct change_reader reader;
    struct change_element element;
    int result;

    world.element_count = change->count;
    change_reader_init(&reader, change->data, change->size);
    while ((result = change_next(&reader, &element)) > 0) {
        switch (element.kind) {
        case CHANGE_CERTIFICATE:
            apply_certificate(&element);
            break;
        case CHANGE_CERTIFICATE_GONE:
            assert_int_not_equal(world.served[element.gone.slot].id, 0);
            world.served[element.gone.slot].id = 0;
            break;
        case CHANGE_STAPLE:
            assert_int_not_equal(world.served[element.staple.slot].id, 0);
            world.served[element.staple.slot].staple_next_update_s =
                element.staple.response.size > 0 ? element.staple.next_update_s : 0;
            break;
        case CHANGE_TRUST:
            memcpy(world.trust[element.trust.listener], element.trust.digest, 32);
            world.trust_sent++;
            break;
        case CHANGE_SERVERS:
            world.servers = element.servers.digest[0];
            world.servers_sent++;
            break;
        case CHANGE_TICKET_KEYS: {
            struct ticket_key key;

            world.ticket_count = element.ticket_keys.keys.count;
            change_list_ticket_key(&element.ticket_keys.keys, &key);
            memcpy(world.ticket_name, key.name, sizeof(key.name));
            world.tickets_sent++;
            break;
        }
        case CHANGE_RETIRE:
            fail();
        }
    }
    assert_int_equal(result, 0);
    world.served_count = 0;
    for (size_t i = 0; i < SERVED_MAX; i++)
        world.served_count += world.served[i].id != 0;
}

static inline const struct served *served_find(uint64_t id)
{
    for (size_t i = 0; i < SERVED_MAX; i++) {
        if (world.served[i].id == id)
            return &world.served[i];
    }
    return NULL;
}

static inline bool is_served(uint64_t id)
{
    return served_find(id) != NULL;
}

static inline uint32_t slot_of(uint64_t id)
{
    const struct served *served = served_find(id);

    assert_non_null(served);
    return (uint32_t)(served - world.served);
}

// In place of the one over real material.
bool tls_upstreams_hold(const struct tls_upstreams *upstreams, size_t upstream, const uint8_t digest[32])
{
    return world.servers == digest[0];
}

// ---- sources ----

static inline int world_set_up(void **state)
{
    const char *tmp = getenv("TMPDIR");
    char path[PATH_MAX];

    memset(&world, 0, sizeof(world));
    snprintf(path, sizeof(path), "%s/ringbolt-sources-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(path) == NULL || realpath(path, world.root) == NULL)
        return -1;
    world.log = memfd_create("log", MFD_CLOEXEC);
    if (world.log < 0)
        return -1;
    log_setup(LOG_TEXT, LOG_INFO, world.log);
    world.loader = loader_create(false);
    return 0;
}

static inline int world_tear_down(void **state)
{
    sources_destroy(world.sources);
    loader_destroy(world.loader);
    report_finish(&world.report);
    config_destroy(world.config);
    log_setup(LOG_TEXT, LOG_INFO, STDERR_FILENO);
    close(world.log);
    remove_all(world.root);
    return 0;
}

// `yaml`: all but the upstreams.
static inline int world_try_load(const char *yaml, bool is_check)
{
    struct change change = {0};
    char *whole;
    int error;

    sources_destroy(world.sources);
    world.sources = NULL;
    config_destroy(world.config);
    world.config = NULL;
    report_finish(&world.report);
    report_init(&world.report, "test.yaml");
    assert_true(asprintf(&whole, "%s\nupstreams: [{name: app%s, servers: [{address: \"127.0.0.1:80\"}]}]\n",
                         yaml, world.upstream_keys != NULL ? world.upstream_keys : "") > 0);
    error = config_parse(whole, strlen(whole), world.root, &world.config, &world.report);
    free(whole);
    if (error < 0) {
        report_print(&world.report, stderr);
        fail();
    }
    error = sources_load(world.config, world.loader, NULL, is_check, &world.report, &world.sources);
    if (error < 0)
        return error;
    memset(world.served, 0, sizeof(world.served));
    sources_initial(world.sources, &change);
    apply(&change);
    change_finish(&change);
    return 0;
}

static inline void world_load(const char *yaml)
{
    if (world_try_load(yaml, false) < 0) {
        report_print(&world.report, stderr);
        fail();
    }
    log_forget();
}

// `folder`: below the root; "": the root; NULL: everything.
static inline void check_with(const char *folder, bool force)
{
    struct change change = {0};
    char path[PATH_MAX + 256];

    snprintf(path, sizeof(path), "%s%s%s", world.root, folder != NULL && folder[0] != '\0' ? "/" : "",
             folder != NULL ? folder : "");
    sources_check(world.sources, folder != NULL ? path : NULL, force, &change, &world.result);
    apply(&change);
    change_finish(&change);
}

static inline void check(const char *folder)
{
    check_with(folder, false);
}

// Only what time changes.
static inline void check_time(void)
{
    struct change change = {0};

    sources_check(world.sources, "", false, &change, &world.result);
    apply(&change);
    change_finish(&change);
}

static inline bool report_holds(const char *text)
{
    for (size_t i = 0; i < world.report.count; i++) {
        if (strstr(world.report.lines[i].text, text) != NULL)
            return true;
    }
    return false;
}

struct state_search {
    uint32_t slot;
    struct source_state state;
    bool is_found;
    bool has_problem;
    bool has_staple_problem;
};

static inline void state_visit(void *owner, const struct source_state *state)
{
    struct state_search *search = owner;

    if (state->slot != search->slot)
        return;
    search->state = *state;
    search->is_found = true;
    search->has_problem = state->problem != NULL;
    search->has_staple_problem = state->staple_problem != NULL;
}

// Texts in it are not good any more, but for `file`.
static inline struct state_search state_of(uint64_t id)
{
    struct state_search search = {.slot = slot_of(id)};

    sources_each(world.sources, state_visit, &search);
    assert_true(search.is_found);
    return search;
}

static inline void count_problem(void *owner, const char *problem)
{
    ++*(size_t *)owner;
}

static inline size_t problem_count(void)
{
    size_t count = 0;

    sources_problems(world.sources, count_problem, &count);
    return count;
}

struct folder_search {
    char path[PATH_MAX + 256];
    size_t count;
    size_t all;
};

static inline void folder_visit(void *owner, const char *folder)
{
    struct folder_search *search = owner;

    search->count += strcmp(folder, search->path) == 0;
    search->all++;
}

static inline bool is_watched(const char *folder)
{
    struct folder_search search = {0};

    snprintf(search.path, sizeof(search.path), "%s%s%s", world.root, folder[0] != '\0' ? "/" : "", folder);
    sources_folders(world.sources, folder_visit, &search);
    assert_true(search.count <= 1);
    return search.count == 1;
}

static inline size_t watched_count(void)
{
    struct folder_search search = {0};

    sources_folders(world.sources, folder_visit, &search);
    return search.all;
}

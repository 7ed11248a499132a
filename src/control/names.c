// SPDX-License-Identifier: Apache-2.0
// Servers' names: when each is looked up, and what is said of it.
#include "names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lookup.h"
#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define LOOKUPS_MAX 4 // children at once

struct name {
    struct names *names;
    size_t upstream;
    const struct config_upstream *config;
    const struct config_name *which;
    enum servers_order order;
    struct loop_timer timer; // the next lookup
    uint64_t begun_ns;
    struct fetch fetch;
    bool is_due;
    bool is_crowded;              // and that was said
    char trouble[FETCH_WHY_SIZE]; // "": none; what was said
};

struct names {
    struct master *master;
    unsigned running;
    size_t next; // who is asked for first when several are due
    size_t count;
    struct name each[];
};

static size_t count_here(const struct name *name)
{
    const struct servers *servers = name->names->master->servers;
    size_t count = 0;

    for (size_t i = 0; i < name->which->count; i++) {
        struct servers_site site;

        servers_site(servers, servers_number(servers, name->upstream, name->which->first + i), &site);
        count += site.presence == SERVERS_HERE;
    }
    return count;
}

// ---- what came of a lookup ----

// The servers that it had stay. Said when it begins, and when the reason is another one.
static void failed(struct name *name, const char *why)
{
    if (strcmp(name->trouble, why) == 0)
        return;
    snprintf(name->trouble, sizeof(name->trouble), "%s", why);
    log_warning("cannot look up a server's name", log_text("upstream", name->config->name),
                log_text("name", name->which->text), log_text("reason", why),
                log_integer("addresses", count_here(name)));
}

static void say_crowded(struct name *name, const struct names_outcome *outcome)
{
    if (outcome->left_out > 0 && !name->is_crowded)
        log_warning("a server's name has more addresses than there is room for",
                    log_text("upstream", name->config->name), log_text("name", name->which->text),
                    log_integer("addresses", outcome->here), log_integer("left_out", outcome->left_out),
                    log_text("cure", "raise `addresses` in the upstream's `resolve`; at most 64 are used"));
    name->is_crowded = outcome->left_out > 0;
}

static void found(struct name *name, const struct config_address *addresses, size_t count)
{
    const struct master *master = name->names->master;
    struct names_outcome outcome;

    names_apply(master->servers, master->stats, master->config, name->upstream, name->which, name->order, addresses, count,
                clock_now_ns(), &outcome);
    if (name->trouble[0] != '\0')
        log_info("a server's name is found again", log_text("upstream", name->config->name),
                 log_text("name", name->which->text), log_integer("addresses", outcome.here));
    name->trouble[0] = '\0';
    if (outcome.added + outcome.removed > 0)
        log_info("a server's name has other addresses", log_text("upstream", name->config->name),
                 log_text("name", name->which->text),
                 log_text("added", outcome.added > 0 ? outcome.added_text : NULL),
                 log_text("removed", outcome.removed > 0 ? outcome.removed_text : NULL),
                 log_integer("addresses", outcome.here));
    say_crowded(name, &outcome);
    names_outcome_finish(&outcome);
}

static void take(struct name *name, const struct fetch_answer *answer)
{
    struct config_address addresses[LOOKUP_MAX];
    size_t count = 0;

    if (answer->result != FETCH_ANSWERED)
        failed(name, answer->why);
    else if (lookup_read(answer, addresses, &count))
        found(name, addresses, count);
    else
        failed(name, "the process that asks has given no proper answer");
}

// ---- lookups ----

static void plan_next(struct name *name)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t next_ns = name->begun_ns + name->config->resolve.interval_ns;

    if (name->config->resolve.interval_ns > 0)
        loop_timer_set(name->names->master->loop, &name->timer, next_ns > now_ns ? next_ns : now_ns);
}

static void begin(struct name *name)
{
    struct names *names = name->names;
    char why[FETCH_WHY_SIZE];
    int error;

    name->is_due = false;
    name->begun_ns = clock_now_ns();
    loop_timer_stop(&name->timer);
    error = lookup_start(&name->fetch, &names->master->account, name->which->host,
                         name->config->resolve.timeout_ns);
    if (error == 0) {
        names->running++;
        return;
    }
    snprintf(why, sizeof(why), "the process that asks can't be started: %s", log_error_text(error));
    failed(name, why);
    plan_next(name);
}

static void run_due(struct names *names)
{
    size_t first = names->next;

    for (size_t i = 0; i < names->count && names->running < LOOKUPS_MAX; i++) {
        size_t index = (first + i) % names->count;
        struct name *name = &names->each[index];

        if (!name->is_due || name->fetch.pid != 0 || names->master->state >= MASTER_DRAINING)
            continue;
        begin(name);
        names->next = (index + 1) % names->count;
    }
}

static void on_timer(void *owner)
{
    struct name *name = owner;

    name->is_due = true;
    run_due(name->names);
}

void names_look_up(struct names *names)
{
    for (size_t i = 0; names && i < names->count; i++)
        names->each[i].is_due = true;
    if (names)
        run_due(names);
}

bool names_reap(struct names *names, int pid, int status)
{
    for (size_t i = 0; names && i < names->count; i++) {
        struct name *name = &names->each[i];
        struct fetch_answer answer;

        if (!fetch_reap(&name->fetch, pid, status, &answer))
            continue;
        names->running--;
        take(name, &answer);
        fetch_stop(&name->fetch); // the answer's memory
        plan_next(name);
        run_due(names);
        return true;
    }
    return false;
}

// ---- what is known ----

static const struct name *find(const struct names *names, const struct config_name *which)
{
    for (size_t i = 0; names && i < names->count; i++) {
        if (names->each[i].which == which)
            return &names->each[i];
    }
    return NULL;
}

size_t names_count(const struct names *names, const struct config_name *which)
{
    const struct name *name = find(names, which);

    return name ? count_here(name) : 0;
}

const char *names_problem(const struct names *names, const struct config_name *which)
{
    const struct name *name = find(names, which);

    return name && name->trouble[0] != '\0' ? name->trouble : NULL;
}

// ---- orders ----

enum servers_order names_order(const struct names *names, const struct config_name *which)
{
    const struct name *name = find(names, which);

    return name ? name->order : SERVERS_READY;
}

bool names_set_order(struct names *names, const struct config_name *which, enum servers_order order)
{
    bool has_changed = false;

    for (size_t i = 0; names && i < names->count; i++) {
        struct name *name = &names->each[i];
        struct servers *servers = names->master->servers;

        if (name->which != which)
            continue;
        has_changed = name->order != order;
        name->order = order;
        for (size_t j = 0; j < which->count; j++) {
            size_t number = servers_number(servers, name->upstream, which->first + j);

            has_changed =
                servers_set_order(servers_state(servers, number), order, clock_now_ns()) || has_changed;
        }
    }
    return has_changed;
}

// ---- life ----

static void add(struct master *master, size_t upstream, const struct config_name *which, size_t count)
{
    struct names *names = master->names;
    struct name *name = &names->each[names->count];
    uint64_t interval_ns = master->config->upstreams[upstream].resolve.interval_ns;

    *name = (struct name){
        .names = names, .upstream = upstream, .config = &master->config->upstreams[upstream], .which = which};
    names->count++;
    fetch_init(&name->fetch, master->loop);
    loop_timer_init(&name->timer, on_timer, name);
    if (count_here(name) == 0)
        loop_timer_set(master->loop, &name->timer, clock_now_ns());
    else if (interval_ns > 0)
        loop_timer_set(master->loop, &name->timer, clock_now_ns() + interval_ns / count * names->count);
}

int names_start(struct master *master)
{
    const struct config *config = master->config;
    size_t count = 0;

    for (size_t i = 0; i < config->upstream_count; i++)
        count += config->upstreams[i].name_count;
    if (count == 0)
        return 0;
    master->names = calloc(1, sizeof(*master->names) + count * sizeof(master->names->each[0]));
    if (!master->names) {
        log_error("no memory for the servers' names");
        return -ENOMEM;
    }
    master->names->master = master;
    for (size_t i = 0; i < config->upstream_count; i++) {
        for (size_t j = 0; j < config->upstreams[i].name_count; j++)
            add(master, i, &config->upstreams[i].names[j], count);
    }
    return 0;
}

void names_finish(struct names *names)
{
    if (!names)
        return;
    for (size_t i = 0; i < names->count; i++) {
        loop_timer_stop(&names->each[i].timer);
        fetch_stop(&names->each[i].fetch);
    }
    free(names);
}

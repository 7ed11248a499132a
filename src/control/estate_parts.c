// SPDX-License-Identifier: Apache-2.0
// What belongs to the estate, part by part: each is packed where it is at home.
#include "estate.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "estate_secrets.h"
#include "estate_servers.h"
#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

// ---- leaving ----

// A part that is only bytes. Wipes them.
static int leave(struct estate *estate, enum estate_type type, unsigned flags, struct pack *pack)
{
    int error = pack->is_short ? -ENOMEM : 0;

    if (error == 0 && pack->size > 0)
        error = estate_add(estate, type, flags, pack->data, pack->size, -1);
    pack_finish(pack);
    return error;
}

// Our own block last: a successor that has room for a few only settles those first that are the oldest.
static int leave_counters(const struct master *master, struct estate *estate)
{
    int fds[STATS_PREDECESSORS_MAX];
    uint64_t numbers[STATS_PREDECESSORS_MAX];
    size_t count = stats_predecessors(master->stats, fds);
    int error = 0;

    (void)stats_numbers(master->stats, numbers);
    for (size_t i = 0; i < count && error == 0; i++)
        error = generations_leave(master, numbers[i], estate, fds[i]);
    if (error == 0)
        error = generations_leave(master, 0, estate, stats_descriptor(master->stats));
    return error;
}

static int leave_retired(const struct material *material, struct estate *estate)
{
    struct pack pack = {0};
    size_t count;
    const uint64_t *ids = material_retired(material, &count);

    for (size_t i = 0; i < count; i++)
        pack_number(&pack, ids[i], 8);
    return leave(estate, ESTATE_RETIRED, 0, &pack); // who does not know it would resume what must not be
}

static int leave_secrets(const struct master *master, struct estate *estate)
{
    const struct control *control = master->control;
    struct pack pack = {0};
    int error;

    tickets_pack(&master->tickets, &pack);
    error = leave(estate, ESTATE_TICKET_KEYS, ESTATE_SECRET | ESTATE_OPTIONAL, &pack);
    if (error == 0) {
        passphrases_pack(control->loader, &pack);
        error = leave(estate, ESTATE_PASSPHRASES, ESTATE_SECRET | ESTATE_OPTIONAL, &pack);
    }
    if (error == 0 && control->development.size > 0)
        error = estate_add(estate, ESTATE_DEVELOPMENT, ESTATE_SECRET | ESTATE_OPTIONAL,
                           control->development.data, control->development.size, -1);
    return error;
}

static int leave_servers(const struct master *master, struct estate *estate)
{
    struct pack pack = {0};

    servers_pack(master->config, master->servers, master->names, &pack);
    return leave(estate, ESTATE_SERVERS, ESTATE_OPTIONAL, &pack);
}

static int leave_knowledge(const struct master *master, struct estate *estate)
{
    struct sources *sources = master->control->sources;
    struct pack pack = {0};
    int error = leave_servers(master, estate);

    if (error == 0) {
        sources_pack_staples(sources, &pack);
        error = leave(estate, ESTATE_STAPLES, ESTATE_OPTIONAL, &pack);
    }
    if (error == 0) {
        sources_pack_history(sources, &pack);
        error = leave(estate, ESTATE_VERSIONS, ESTATE_OPTIONAL, &pack);
    }
    if (error == 0)
        error = leave_retired(master->material, estate);
    return error;
}

int estate_orders(const struct master *master, struct estate *ret)
{
    int error = leave_servers(master, ret);

    if (error == 0)
        error = leave_retired(master->material, ret);
    if (error < 0)
        log_error("cannot pack what operators have said", log_errno(error));
    return error;
}

int estate_collect(struct master *master, struct estate *ret)
{
    int error = start_leave(ret);

    if (error == 0)
        error = succession_first_leave(master, ret);
    if (error == 0)
        error = listening_leave(&master->listening, ret);
    if (error == 0)
        error = admin_leave(master->admin, ret);
    if (error == 0)
        error = http_leave(master->http, ret);
    if (error == 0)
        error = leave_counters(master, ret);
    if (error == 0)
        error = leave_secrets(master, ret);
    if (error == 0)
        error = leave_knowledge(master, ret);
    if (error < 0) {
        log_error("cannot pack what the successor is to have", log_errno(error));
        estate_finish(ret);
        return error;
    }
    // The successor has both as they are now.
    stats_settle_later(master->stats, true);
    tickets_hold(master);
    return 0;
}

void estate_keep(struct master *master)
{
    stats_settle_later(master->stats, !master->succession.is_owner);
    estate_settle(master);
    tickets_start(master);
}

// ---- taking over ----

static const struct estate_item *inherited(const struct control *control, enum estate_type type)
{
    return estate_find(control->inherited, type, NULL);
}

static void say_unknown(const char *what)
{
    log_warning("what the predecessor left is not understood", log_text("what", what));
}

void estate_take_passphrases(struct control *control)
{
    const struct estate_item *item = inherited(control, ESTATE_PASSPHRASES);

    if (item && !passphrases_unpack(control->loader, item->bytes, item->size))
        say_unknown("passphrases");
}

struct certificate *estate_take_development(const struct control *control)
{
    const struct estate_item *item = inherited(control, ESTATE_DEVELOPMENT);
    struct certificate *certificate;
    struct report report;

    if (!item)
        return NULL;
    report_init(&report, NULL);
    certificate = development_unpack(item->bytes, item->size, &report);
    if (!certificate)
        log_warning("the predecessor's development certificate is not used",
                    log_text("reason", report.count > 0 ? report.lines[0].text : "it is not understood"));
    report_finish(&report);
    return certificate;
}

void estate_take_versions(struct control *control)
{
    const struct estate_item *staples = inherited(control, ESTATE_STAPLES);
    const struct estate_item *versions = inherited(control, ESTATE_VERSIONS);

    if (staples && !sources_unpack_staples(control->sources, staples->bytes, staples->size, time(NULL)))
        say_unknown("OCSP responses");
    if (versions && !sources_unpack_history(control->sources, versions->bytes, versions->size))
        say_unknown("versions of certificates");
}

static void take_retired(const struct estate_item *item, struct change *change)
{
    struct unpack unpack = {.at = item->bytes, .left = item->size};

    while (unpack.left >= 8) {
        uint64_t id = unpack_number(&unpack, 8);

        change_retire(change, &id, 1);
    }
    if (!unpack_is_whole(&unpack))
        say_unknown("retired certificates");
}

void estate_take_retired(const struct control *control, struct change *change)
{
    const struct estate_item *item = inherited(control, ESTATE_RETIRED);

    if (item)
        take_retired(item, change);
}

void estate_take_counters(struct master *master)
{
    const struct control *control = master->control;
    struct estate_item *item = NULL;

    while ((item = estate_find(control->inherited, ESTATE_COUNTERS, item)) != NULL)
        estate_take_block(master, item);
    // Until the predecessor can't come back, which would have counted those that it has itself.
    stats_settle_later(master->stats, control->inherited != NULL);
}

void estate_take_block(struct master *master, struct estate_item *item)
{
    int fd = estate_take_fd(item);
    const char *why = "";
    int error = stats_take(master->stats, fd, &why);

    if (error == 0) {
        generations_take(master, item, stats_taken(master->stats));
        return;
    }
    if (fd >= 0)
        close(fd);
    log_warning("counters begin at nothing: the predecessor's are not understood", log_text("reason", why),
                log_errno(error));
}

static void take_servers(struct master *master, const struct estate_item *item)
{
    if (!servers_unpack(item->bytes, item->size, master->config, master->servers, master->names,
                        clock_now_ns()))
        say_unknown("states of servers");
}

void estate_take_servers(struct master *master)
{
    const struct estate_item *item = inherited(master->control, ESTATE_SERVERS);

    if (item)
        take_servers(master, item);
}

void estate_take_orders(struct master *master, const struct estate_item *item)
{
    struct change change = {0};

    if (item->type == ESTATE_SERVERS) {
        take_servers(master, item);
        return;
    }
    take_retired(item, &change);
    reload_apply(master, &change);
    change_finish(&change);
}

// ---- counters, when a predecessor ends ----

static void on_settle(void *owner)
{
    estate_settle(owner);
}

void estate_settle(struct master *master)
{
    if (stats_settle(master->stats) > 0)
        loop_timer_set(master->loop, &master->settle, clock_now_ns() + CLOCK_NS_PER_S);
}

void estate_start(struct master *master)
{
    loop_timer_init(&master->settle, on_settle, master);
}

// SPDX-License-Identifier: Apache-2.0
// The half of the master that comes. Up to END it has nothing else to do, and waits; afterwards the channel is one of many in its loop.
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master.h"
#include "ringbolt-version.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "src/worker/privileges.h"

#define PATIENCE_MS 30000 // for each item of the estate
#define REASONS_MAX 8000

// ---- reasons ----

// Errors that were written to the log since we began: what FAILED says. In place of a channel to tell them by.
static struct {
    char text[REASONS_MAX];
    size_t length;
} reasons;

static void note_reason(const char *text)
{
    size_t length = strlen(text);

    if (reasons.length + length + 1 > sizeof(reasons.text))
        return;
    memcpy(reasons.text + reasons.length, text, length);
    reasons.length += length;
    reasons.text[reasons.length++] = '\n';
}

// ---- before there is a master ----

static int send_hello(int channel)
{
    uint8_t bytes[8 + sizeof(RINGBOLT_VERSION) - 1];
    struct estate_item item = {.type = ESTATE_HELLO, .bytes = bytes, .size = sizeof(bytes), .fd = -1};
    uint32_t version = SUCCESSION_VERSION;
    int32_t pid = (int32_t)getpid();

    memcpy(bytes, &version, sizeof(version));
    memcpy(bytes + 4, &pid, sizeof(pid));
    memcpy(bytes + 8, RINGBOLT_VERSION, sizeof(RINGBOLT_VERSION) - 1);
    return estate_send(channel, &item);
}

// Waits for an item. 0, or -errno with *ret_why.
static int next_item(int channel, struct estate_item *ret, const char **ret_why)
{
    struct pollfd readable = {.fd = channel, .events = POLLIN};
    int result;

    while ((result = estate_receive(channel, ret, ret_why)) == -EAGAIN) {
        if (poll(&readable, 1, PATIENCE_MS) == 0) {
            *ret_why = "it says nothing";
            return -ETIMEDOUT;
        }
    }
    if (result == 0)
        *ret_why = "it is gone";
    return result == 0 ? -EPIPE : result < 0 ? result : 0;
}

static bool is_known(uint32_t type)
{
    return type >= ESTATE_PROGRAM && type <= ESTATE_LAST;
}

// False: it can't be gone on with.
static bool is_good(const struct estate *estate, const struct estate_item *item, const char **ret_why)
{
    uint32_t version = 0;

    if (estate->count == 0) {
        if (item->type == ESTATE_HELLO && item->size >= sizeof(version))
            memcpy(&version, item->bytes, sizeof(version));
        *ret_why = "it speaks another version of this protocol: restart in place of upgrading";
        return version == SUCCESSION_VERSION;
    }
    *ret_why = "it leaves what this release does not know: restart in place of upgrading";
    return is_known(item->type) || (item->flags & ESTATE_OPTIONAL) != 0;
}

static int take_estate(int channel, struct estate *estate, const char **ret_why)
{
    for (;;) {
        struct estate_item item = {.fd = -1};
        int error = next_item(channel, &item, ret_why);

        if (error < 0)
            return error;
        if (item.type == ESTATE_END && estate->count > 0) {
            estate_item_finish(&item);
            return 0;
        }
        if (!is_good(estate, &item, ret_why)) {
            log_error("the predecessor is not understood", log_integer("item", item.type));
            estate_item_finish(&item);
            return -EPROTO;
        }
        error = estate_put(estate, &item);
        if (error < 0) {
            *ret_why = "no memory";
            return error;
        }
    }
}

int control_inherit(struct control *control)
{
    const char *why = "";
    pid_t predecessor = 0;
    int channel = start_channel(&predecessor);
    int error;

    if (channel < 0)
        return 0;
    (void)privileges_hide(); // before the first secret comes
    control->predecessor = channel;
    control->predecessor_pid = predecessor;
    log_witness(note_reason);
    control->inherited = calloc(1, sizeof(*control->inherited));
    if (!control->inherited)
        abort();
    error = send_hello(channel);
    if (error == 0)
        error = take_estate(channel, control->inherited, &why);
    if (error == 0)
        error = start_inherit(control->inherited);
    if (error < 0) {
        log_error("cannot take over from the predecessor", log_integer("predecessor_pid", predecessor),
                  log_text("reason", why), log_errno(error));
        (void)control_failed(control, NULL);
    }
    return error;
}

bool control_failed(struct control *control, const struct report *report)
{
    struct estate_item item = {.type = ESTATE_FAILED, .fd = -1};
    int error;

    if (control->predecessor < 0)
        return false;
    for (size_t i = 0; report && i < report->count; i++) {
        if (!report->lines[i].is_warning)
            note_reason(report->lines[i].text);
    }
    item.bytes = (uint8_t *)reasons.text;
    item.size = reasons.length;
    error = estate_send(control->predecessor, &item);
    log_witness(NULL);
    close(control->predecessor);
    control->predecessor = -1;
    return error == 0;
}

// ---- in the master ----

bool succession_leads(const struct master *master)
{
    return master->succession.is_leading;
}

static void say(const struct master *master, enum estate_type type, int fd)
{
    bool is_optional = type == ESTATE_COUNTERS || type == ESTATE_REOPEN;
    struct estate_item item = {.type = type, .flags = is_optional ? ESTATE_OPTIONAL : 0, .fd = fd};

    // Few and small, and it reads: there is room. If not, the end of file comes.
    if (master->control->predecessor >= 0)
        (void)estate_send(master->control->predecessor, &item);
}

bool succession_ready(struct master *master)
{
    struct succession *succession = &master->succession;

    if (succession->is_leading || succession->is_ready)
        return !succession->is_leading;
    succession->is_ready = true;
    log_debug("ready to lead");
    say(master, ESTATE_COUNTERS, stats_descriptor(master->stats));
    say(master, ESTATE_READY, -1);
    return true;
}

void succession_ask_release(struct master *master)
{
    say(master, ESTATE_RELEASE, -1);
}

// Makes a pair for a worker of the predecessor, and one of ours takes over what comes. 0 or -errno.
static int tell_giver(struct master *master, uint32_t giver, unsigned taker)
{
    struct estate_item item = {.type = ESTATE_GIVE, .bytes = (uint8_t *)&giver, .size = sizeof(giver)};
    int pair[2];
    int error;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    item.fd = pair[1];
    error = estate_send(master->control->predecessor, &item);
    close(pair[1]);
    if (error < 0)
        close(pair[0]);
    else // if it is not told, the giver sees the end of it
        (void)messages_tell(&master->processes[taker % master->config->workers], WORKER_TAKE, 0, pair[0]);
    return error;
}

// One that broke once more, with another taker if there is one.
static void tell_again(struct master *master, const struct estate_item *item)
{
    struct succession *succession = &master->succession;
    uint32_t giver;
    int error;

    if (item->size != sizeof(giver) || !succession->is_leading || master->state >= MASTER_DRAINING)
        return;
    memcpy(&giver, item->bytes, sizeof(giver));
    error = tell_giver(master, giver, giver + ++succession->again_told);
    if (error < 0)
        log_warning("cannot take connections over", log_errno(error));
}

// As far as there is room for the messages.
static void tell_givers(struct master *master)
{
    struct succession *succession = &master->succession;
    int error = 0;

    while (error == 0 && succession->givers_told < succession->givers) {
        error = tell_giver(master, succession->givers_told, succession->givers_told);
        if (error == 0)
            succession->givers_told++;
    }
    if (error < 0 && error != -EAGAIN)
        log_warning("cannot take connections over", log_errno(error));
    (void)loop_events(master->loop, &succession->predecessor_watch,
                      error == -EAGAIN ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void lead(struct master *master, const struct estate_item *item)
{
    struct succession *succession = &master->succession;

    if (succession->is_leading || !succession->is_ready)
        return;
    succession->is_leading = true;
    log_witness(NULL);
    generations_superseded(master);
    master_lead(master);
    if (item->size == sizeof(succession->givers))
        memcpy(&succession->givers, item->bytes, sizeof(succession->givers));
    tell_givers(master);
    succession_first_leads(master, getpid());
    succession_first_watch(master, true);
}

void succession_own(struct master *master)
{
    struct control *control = master->control;

    if (master->succession.is_owner)
        return;
    master->succession.is_owner = true;
    listening_own(&master->listening, control->inherited);
    admin_own(master->admin, control->inherited);
    stats_settle_later(master->stats, false);
    estate_settle(master);
    estate_finish(control->inherited);
    free(control->inherited);
    control->inherited = NULL;
}

// The predecessor's end: before we lead it is ours, afterwards all is ours.
static void predecessor_is_gone(struct master *master)
{
    struct succession *succession = &master->succession;

    loop_unwatch(master->loop, &succession->predecessor_watch);
    close(master->control->predecessor);
    master->control->predecessor = -1;
    if (!succession->is_leading) {
        log_error("the predecessor is gone before it let us lead, ending");
        master->status = 1;
        master_stop(master);
        return;
    }
    log_info("predecessor is gone", log_integer("predecessor_pid", master->control->predecessor_pid),
             log_boolean("in_order", succession->is_owner));
    succession_own(master);
    succession_released(master);
}

void succession_reopen(struct master *master)
{
    if (master->succession.is_leading)
        say(master, ESTATE_REOPEN, -1);
}

void succession_tell_orders(struct master *master)
{
    struct estate orders = {0};

    if (master->control->predecessor < 0 || !master->succession.is_leading || master->succession.is_owner ||
        estate_orders(master, &orders) < 0)
        return;
    for (size_t i = 0; i < orders.count; i++)
        (void)estate_send(master->control->predecessor, &orders.items[i]); // as say()
    estate_finish(&orders);
}

static void on_word(struct master *master, const struct estate_item *item)
{
    switch (item->type) {
    case ESTATE_SERVERS:
    case ESTATE_RETIRED:
        estate_take_orders(master, item);
        break;
    case ESTATE_LEAD:
        lead(master, item);
        break;
    case ESTATE_GIVE:
        tell_again(master, item);
        break;
    case ESTATE_RELEASED:
        generations_released(master, item);
        succession_own(master);
        succession_released(master);
        break;
    default:
        if ((item->flags & ESTATE_OPTIONAL) == 0)
            log_warning("the predecessor said what this release does not understand",
                        log_integer("word", item->type));
    }
}

static void on_predecessor(void *owner, unsigned events)
{
    struct master *master = owner;
    const char *why = NULL;
    int result = 1;

    if ((events & EPOLLOUT) != 0)
        tell_givers(master);
    while (result > 0 && master->control->predecessor >= 0) {
        struct estate_item item = {.fd = -1};

        result = estate_receive(master->control->predecessor, &item, &why);
        if (result > 0)
            on_word(master, &item);
        estate_item_finish(&item);
    }
    if (result != -EAGAIN && master->control->predecessor >= 0)
        predecessor_is_gone(master);
}

int succession_watch(struct master *master)
{
    int error = 0;

    if (master->control->predecessor >= 0)
        error = loop_watch(master->loop, &master->succession.predecessor_watch, master->control->predecessor,
                           EPOLLIN, on_predecessor, master);
    if (error == 0)
        error = succession_first_inherit(master);
    if (error < 0)
        log_error("cannot watch the predecessor", log_errno(error));
    return error;
}

// SPDX-License-Identifier: Apache-2.0
// Ticket keys of the master's own: made, turned over, forgotten.
#include "tickets.h"

#include <errno.h>
#include <string.h>

#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/secret.h"

#define ROTATE_NS_MIN CLOCK_NS_PER_S // whatever the configuration says: each turn goes to every worker
#define RETRY_NS      (60 * CLOCK_NS_PER_S)

static uint64_t rotate_ns(const struct master *master)
{
    uint64_t ns = master->config->tickets.rotate_ns;

    return ns < ROTATE_NS_MIN ? ROTATE_NS_MIN : ns;
}

// Makes a new first key; the one before only decrypts from now on. 0, or -EIO with a line in the log.
static int make_first(struct tickets *tickets, uint64_t now_ns)
{
    struct ticket_keys *keys = tickets->keys;
    size_t kept = keys->count < TICKET_KEYS_MAX ? keys->count : TICKET_KEYS_MAX - 1;
    struct ticket_key key;
    int error = ticket_key_make(&key);

    if (error < 0) {
        log_error("no random bytes for a ticket key", log_errno(error));
        return error;
    }
    memmove(&keys->keys[1], &keys->keys[0], kept * sizeof(key));
    memmove(&tickets->replaced_ns[1], &tickets->replaced_ns[0], kept * sizeof(tickets->replaced_ns[0]));
    keys->keys[0] = key;
    secret_wipe(&key, sizeof(key));
    keys->count = kept + 1;
    tickets->replaced_ns[0] = UINT64_MAX;
    if (kept > 0)
        tickets->replaced_ns[1] = now_ns;
    tickets->made_ns = now_ns;
    return 0;
}

static uint64_t last_end_ns(const struct master *master)
{
    const struct tickets *tickets = &master->tickets;

    return tickets->keys->count < 2
               ? UINT64_MAX
               : tickets->replaced_ns[tickets->keys->count - 1] + master->config->tickets.lifetime_ns;
}

// Forgets the keys that no living ticket was encrypted with. True when there were any.
static bool forget_old(struct master *master, uint64_t now_ns)
{
    struct ticket_keys *keys = master->tickets.keys;
    bool is_any = false;

    while (last_end_ns(master) <= now_ns) {
        secret_wipe(&keys->keys[--keys->count], sizeof(keys->keys[0]));
        is_any = true;
    }
    return is_any;
}

static void set_timer(struct master *master)
{
    uint64_t next_ns = master->tickets.made_ns + rotate_ns(master);
    uint64_t end_ns = last_end_ns(master);

    loop_timer_set(master->loop, &master->tickets.timer, end_ns < next_ns ? end_ns : next_ns);
}

static void on_timer(void *owner)
{
    struct master *master = owner;
    struct tickets *tickets = &master->tickets;
    uint64_t now_ns = clock_now_ns();
    struct change change = {0};
    bool is_new = false;
    bool is_failed = false;

    if (tickets->made_ns + rotate_ns(master) <= now_ns) {
        is_new = make_first(tickets, now_ns) == 0;
        is_failed = !is_new;
    }
    if (forget_old(master, now_ns) || is_new) {
        log_debug("ticket keys changed", log_integer("keys", tickets->keys->count));
        change_ticket_keys(&change, tickets->keys);
        reload_apply(master, &change);
        change_finish(&change);
    }
    if (is_failed)
        loop_timer_set(master->loop, &tickets->timer, now_ns + RETRY_NS);
    else
        set_timer(master);
}

int tickets_load(struct master *master, struct change *change)
{
    struct tickets *tickets = &master->tickets;
    uint64_t needed = master->config->tickets.lifetime_ns / rotate_ns(master) + 2;
    int error;

    tickets->keys = secret_alloc(sizeof(*tickets->keys));
    if (!tickets->keys) {
        log_error("no memory for ticket keys");
        return -ENOMEM;
    }
    error = make_first(tickets, clock_now_ns());
    if (error < 0)
        return error;
    if (needed > TICKET_KEYS_MAX)
        log_warning("tickets.rotate is too short to keep each key for tickets.lifetime",
                    log_integer("keys_needed", needed), log_integer("keys_kept", TICKET_KEYS_MAX),
                    log_text("cure", "raise tickets.rotate, or lower tickets.lifetime"));
    change_ticket_keys(change, tickets->keys);
    return 0;
}

void tickets_start(struct master *master)
{
    if (!master->tickets.keys)
        return;
    loop_timer_init(&master->tickets.timer, on_timer, master);
    set_timer(master);
}

void tickets_finish(struct master *master)
{
    if (master->tickets.keys && master->tickets.timer.handler)
        loop_timer_stop(&master->tickets.timer);
    secret_free(master->tickets.keys, sizeof(*master->tickets.keys));
    master->tickets.keys = NULL;
}

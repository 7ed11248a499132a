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

// ---- from master to master ----

#define PACK_VERSION 1

void tickets_pack(const struct tickets *tickets, struct pack *pack)
{
    const struct ticket_keys *keys = tickets->keys;

    if (!keys)
        return;
    pack_number(pack, PACK_VERSION, 1);
    pack_number(pack, keys->count, 1);
    pack_number(pack, tickets->made_ns, 8);
    for (size_t i = 0; i < keys->count; i++) {
        const struct ticket_key *key = &keys->keys[i];

        pack_raw(pack, key->name, sizeof(key->name));
        pack_raw(pack, key->hmac, sizeof(key->hmac));
        pack_raw(pack, key->aes, sizeof(key->aes));
        pack_number(pack, key->size, 1);
        pack_number(pack, tickets->replaced_ns[i], 8);
    }
}

// The clock is the same for both masters, so no key was replaced at a time that is to come, nor before one that is older.
static bool is_good(const struct ticket_key *key, uint64_t replaced_ns, uint64_t later_ns)
{
    return (key->size == 16 || key->size == 32) && replaced_ns <= later_ns;
}

bool tickets_unpack(const uint8_t *bytes, size_t size, uint64_t now_ns, struct tickets *ret)
{
    struct unpack unpack = {.at = bytes, .left = size};
    struct ticket_keys *keys = secret_alloc(sizeof(*keys));
    uint64_t replaced_ns[TICKET_KEYS_MAX] = {0};
    bool is_version = unpack_number(&unpack, 1) == PACK_VERSION;
    uint64_t made_ns;
    size_t count = (size_t)unpack_number(&unpack, 1);

    made_ns = unpack_number(&unpack, 8);
    unpack.is_bad |= !keys || !is_version || count < 1 || count > TICKET_KEYS_MAX || made_ns > now_ns;
    for (size_t i = 0; i < count && !unpack.is_bad; i++) {
        struct ticket_key *key = &keys->keys[i];

        unpack_raw(&unpack, key->name, sizeof(key->name));
        unpack_raw(&unpack, key->hmac, sizeof(key->hmac));
        unpack_raw(&unpack, key->aes, sizeof(key->aes));
        key->size = (uint8_t)unpack_number(&unpack, 1);
        replaced_ns[i] = unpack_number(&unpack, 8);
        if (i == 0 ? replaced_ns[i] != UINT64_MAX
                   : !is_good(key, replaced_ns[i], i == 1 ? now_ns : replaced_ns[i - 1]))
            unpack.is_bad = true;
        if (i == 0 && !is_good(key, 0, 0))
            unpack.is_bad = true;
    }
    if (unpack_is_whole(&unpack)) {
        keys->count = count;
        *ret->keys = *keys;
        memcpy(ret->replaced_ns, replaced_ns, sizeof(replaced_ns));
        ret->made_ns = made_ns;
    } else {
        unpack.is_bad = true;
    }
    secret_free(keys, sizeof(*keys));
    return !unpack.is_bad;
}

// Keys that the predecessor made. False: it has left none.
static bool inherit(struct master *master)
{
    const struct estate_item *item = estate_find(master->control->inherited, ESTATE_TICKET_KEYS, NULL);
    struct tickets *tickets = &master->tickets;

    if (!item)
        return false;
    if (!tickets_unpack(item->bytes, item->size, clock_now_ns(), tickets)) {
        log_warning(
            "the predecessor's ticket keys are not understood: its clients' sessions are not resumed");
        return false;
    }
    (void)forget_old(master, clock_now_ns());
    return true;
}

int tickets_load(struct master *master, struct change *change)
{
    struct tickets *tickets = &master->tickets;
    uint64_t needed = master->config->tickets.lifetime_ns / rotate_ns(master) + 2;
    int error = 0;

    tickets->keys = secret_alloc(sizeof(*tickets->keys));
    if (!tickets->keys) {
        log_error("no memory for ticket keys");
        return -ENOMEM;
    }
    if (!inherit(master)) {
        error = make_first(tickets, clock_now_ns());
        if (error < 0)
            return error;
    }
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
    if (!master->tickets.timer.handler) // else it may be set, and goes on
        loop_timer_init(&master->tickets.timer, on_timer, master);
    set_timer(master);
}

void tickets_hold(struct master *master)
{
    if (master->tickets.keys)
        loop_timer_stop(&master->tickets.timer);
}

void tickets_finish(struct master *master)
{
    if (master->tickets.keys && master->tickets.timer.handler)
        loop_timer_stop(&master->tickets.timer);
    secret_free(master->tickets.keys, sizeof(*master->tickets.keys));
    master->tickets.keys = NULL;
}

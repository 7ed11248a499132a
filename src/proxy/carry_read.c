// SPDX-License-Identifier: Apache-2.0
// Reads what carry.c wrote. Every length, enum and combination is checked here, before anything is made of it: the giver is one of ours, but
// perhaps of another release, and a connection that is only nearly right would say something wrong to its peers.
#include <string.h>

#include "carry.h"
#include "carry_format.h"
#include "ringbolt/secret.h"

struct reader {
    const uint8_t *next;
    size_t left;
};

static uint64_t take_number(struct reader *reader, unsigned bytes)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)reader->next[i] << (8 * i);
    reader->next += bytes;
    reader->left -= bytes;
    return number;
}

static void take_bytes(struct reader *reader, uint8_t *to, size_t size)
{
    memcpy(to, reader->next, size);
    reader->next += size;
    reader->left -= size;
}

static struct reader reader_of(const struct carry_span *span)
{
    return (struct reader){.next = span->data, .left = span->size};
}

static bool refuse(const char **ret_why, const char *why)
{
    *ret_why = why;
    return false;
}

// ---- fields ----

static bool is_known(unsigned field)
{
    return (field >= CARRY_FACTS && field <= CARRY_HEADER) ||
           (field >= CARRY_CLIENT && field <= CARRY_CLIENT + CARRY_CONTROL) ||
           (field >= CARRY_SERVER_SIDE && field <= CARRY_SERVER_SIDE + CARRY_CONTROL) ||
           (field >= CARRY_UP && field <= CARRY_UP + CARRY_KEPT) ||
           (field >= CARRY_DOWN && field <= CARRY_DOWN + CARRY_KEPT);
}

static bool find_fields(struct reader *reader, struct carry_span fields[static CARRY_FIELDS],
                        const char **ret_why)
{
    unsigned last = 0;

    while (reader->left > 0) {
        unsigned field;
        size_t size;

        if (reader->left < 2 + 4)
            return refuse(ret_why, "a field is cut");
        field = (unsigned)take_number(reader, 2);
        size = (size_t)take_number(reader, 4);
        if (size > reader->left)
            return refuse(ret_why, "a field is cut");
        if (field <= last)
            return refuse(ret_why, "fields are out of order");
        last = field;
        if (is_known(field))
            fields[field] = (struct carry_span){.data = reader->next, .size = size};
        else if (!(field & CARRY_OPTIONAL))
            return refuse(ret_why, "an unknown field");
        reader->next += size;
        reader->left -= size;
    }
    return true;
}

static bool has_all(const struct carry_span *fields, const char **ret_why)
{
    static const uint8_t always[] = {
        CARRY_FACTS, CARRY_LISTENER_ADDRESS, CARRY_LISTENER_NAME, CARRY_UPSTREAM, CARRY_SERVER,
        CARRY_PEER,  CARRY_CLIENT,           CARRY_SERVER_SIDE,   CARRY_UP,       CARRY_DOWN};

    for (size_t i = 0; i < sizeof(always); i++)
        if (!fields[always[i]].data)
            return refuse(ret_why, "a field is missing");
    return true;
}

const char *carry_suite(const struct carry_span *span)
{
    for (unsigned i = 0; span->data && i + 1 < STATS_SUITES; i++) { // the last one is for others
        const char *name = stats_suite(i)->name;

        if (span->size == strlen(name) && memcmp(span->data, name, span->size) == 0)
            return name;
    }
    return NULL;
}

static size_t most_of(unsigned field)
{
    switch (field) {
    case CARRY_PEER:
    case CARRY_VIA:
        return sizeof(((struct connection *)0)->peer) - 1;
    case CARRY_UNIQUE_ID:
    case CARRY_SNI:
    case CARRY_ALPN:
    case CARRY_SUITE:
    case CARRY_SERVER_SUITE:
        return CARRY_TEXT_MAX + (field == CARRY_UNIQUE_ID); // of 128 bytes in hexadecimal
    default:
        return CARRY_LONG_MAX;
    }
}

static bool are_texts_good(const struct carry_span *fields, const char **ret_why)
{
    for (unsigned i = CARRY_LISTENER_ADDRESS; i < CARRY_HEADER; i++) {
        if (!fields[i].data)
            continue;
        if (fields[i].size > most_of(i))
            return refuse(ret_why, "a text is too long");
        if (memchr(fields[i].data, '\0', fields[i].size))
            return refuse(ret_why, "a zero in a text");
    }
    if ((fields[CARRY_SUITE].data && !carry_suite(&fields[CARRY_SUITE])) ||
        (fields[CARRY_SERVER_SUITE].data && !carry_suite(&fields[CARRY_SERVER_SUITE])))
        return refuse(ret_why, "an unknown cipher suite");
    return true;
}

// ---- facts ----

static bool parse_facts(struct carry *carry, const char **ret_why)
{
    struct reader reader = reader_of(&carry->fields[CARRY_FACTS]);

    if (reader.left != CARRY_FACTS_SIZE)
        return refuse(ret_why, "facts of a wrong length");
    carry->id = take_number(&reader, 8);
    carry->unique = take_number(&reader, 8);
    carry->accepted_ns = take_number(&reader, 8);
    carry->handshaken_ns = take_number(&reader, 8);
    carry->connected_ns = take_number(&reader, 8);
    carry->active_ns = take_number(&reader, 8);
    carry->retired_ns = take_number(&reader, 8);
    carry->certificate = take_number(&reader, 8);
    carry->flags = (uint16_t)take_number(&reader, 2);
    carry->route = (uint32_t)take_number(&reader, 4);
    if (carry->flags & ~(unsigned)CARRY_FLAGS)
        return refuse(ret_why, "unknown flags");
    if (carry->accepted_ns > carry->handshaken_ns || carry->handshaken_ns > carry->connected_ns ||
        carry->connected_ns > carry->active_ns)
        return refuse(ret_why, "times out of order");
    return true;
}

// ---- endpoints ----

static bool parse_keys(const struct carry_span *span, struct record_keys *ret, const char **ret_why)
{
    struct reader reader = reader_of(span);
    size_t key_size;

    if (!span->data || reader.left < CARRY_KEYS_MIN)
        return refuse(ret_why, "keys are missing");
    ret->version = (enum record_version)take_number(&reader, 2);
    ret->cipher = (enum record_cipher)take_number(&reader, 1);
    ret->sequence = take_number(&reader, 8);
    if (ret->version != RECORD_TLS12 && ret->version != RECORD_TLS13)
        return refuse(ret_why, "an unknown version of TLS");
    if (ret->cipher >= RECORD_CIPHER_COUNT || !record_cipher_is_there(ret->cipher))
        return refuse(ret_why, "an unknown cipher");
    key_size = record_cipher_key_size(ret->cipher);
    if (ret->version == RECORD_TLS13) // by the digest of the only suite that goes with the cipher
        ret->secret_size = ret->cipher == RECORD_AES_256_GCM ? 48 : 32;
    if (reader.left != key_size + sizeof(ret->iv) + ret->secret_size)
        return refuse(ret_why, "keys of a wrong length");
    take_bytes(&reader, ret->key, key_size);
    take_bytes(&reader, ret->iv, sizeof(ret->iv));
    take_bytes(&reader, ret->secret, ret->secret_size);
    return true;
}

static bool is_mode_good(uint8_t mode, uint8_t why)
{
    return mode <= ENDPOINT_KERNEL && why < ENDPOINT_WHY_COUNT &&
           (mode == ENDPOINT_USER || why == ENDPOINT_WHY_NONE);
}

static bool is_control_good(const struct carry_endpoint *endpoint)
{
    size_t most = endpoint->transmit_mode == ENDPOINT_KERNEL
                      ? ENDPOINT_CONTROL_MAX
                      : RECORD_HEAD_MAX + ENDPOINT_CONTROL_MAX + RECORD_TAIL_MAX;

    if (endpoint->sending == ENDPOINT_SENDS_NOTHING)
        return !endpoint->control.data;
    return (endpoint->sending == ENDPOINT_SENDS_KEY_UPDATE || endpoint->sending == ENDPOINT_SENDS_CLOSE) &&
           endpoint->control.size > 0 && endpoint->control.size <= most;
}

static bool parse_plain(const struct carry_span *fields, const struct carry_endpoint *endpoint,
                        const char **ret_why)
{
    if (endpoint->receive_mode != ENDPOINT_PLAIN || fields[CARRY_RECEIVE].data ||
        fields[CARRY_TRANSMIT].data || endpoint->sending != ENDPOINT_SENDS_NOTHING ||
        endpoint->control.data || endpoint->flags & CARRY_IS_KEY_UPDATE_DUE)
        return refuse(ret_why, "TLS at a plain endpoint");
    return true;
}

static bool parse_endpoint(const struct carry_span *fields, bool is_client, struct carry_endpoint *ret,
                           const char **ret_why)
{
    struct reader reader = reader_of(&fields[CARRY_ENDPOINT]);

    if (reader.left != CARRY_ENDPOINT_SIZE)
        return refuse(ret_why, "an endpoint of a wrong length");
    ret->receive_mode = (uint8_t)take_number(&reader, 1);
    ret->receive_why = (uint8_t)take_number(&reader, 1);
    ret->transmit_mode = (uint8_t)take_number(&reader, 1);
    ret->transmit_why = (uint8_t)take_number(&reader, 1);
    ret->flags = (uint8_t)take_number(&reader, 1);
    ret->sending = (uint8_t)take_number(&reader, 1);
    ret->key_updates = (uint8_t)take_number(&reader, 1);
    ret->empties = (uint8_t)take_number(&reader, 1);
    ret->message_size = (uint8_t)take_number(&reader, 1);
    take_bytes(&reader, ret->message, sizeof(ret->message));
    ret->message_left = (uint32_t)take_number(&reader, 4);
    ret->payload_max = (uint16_t)take_number(&reader, 2);
    ret->control = fields[CARRY_CONTROL];
    if (!is_mode_good(ret->receive_mode, ret->receive_why) ||
        !is_mode_good(ret->transmit_mode, ret->transmit_why))
        return refuse(ret_why, "an unknown mode");
    if (ret->flags & ~(unsigned)CARRY_ENDPOINT_FLAGS)
        return refuse(ret_why, "unknown flags of an endpoint");
    if (ret->message_size >= sizeof(ret->message) || ret->message_left >= 1u << 24 ||
        (is_client && (ret->message_size > 0 || ret->message_left > 0)))
        return refuse(ret_why, "an impossible handshake message");
    if (ret->transmit_mode == ENDPOINT_PLAIN)
        return parse_plain(fields, ret, ret_why);
    if (ret->receive_mode == ENDPOINT_PLAIN)
        return refuse(ret_why, "an endpoint that is plain in one direction");
    if (ret->payload_max < 512 || ret->payload_max > RECORD_PLAINTEXT_MAX)
        return refuse(ret_why, "an impossible size of records");
    if (!is_control_good(ret))
        return refuse(ret_why, "an impossible control record");
    if (!parse_keys(&fields[CARRY_RECEIVE], &ret->receive, ret_why) ||
        !parse_keys(&fields[CARRY_TRANSMIT], &ret->transmit, ret_why))
        return false;
    if (ret->receive.version != ret->transmit.version || ret->receive.cipher != ret->transmit.cipher)
        return refuse(ret_why, "keys that don't go together");
    return true;
}

// ---- flows ----

static bool is_held_good(const struct carry_flow *flow)
{
    if (flow->held.size > BUFFER_HUGE_SIZE || flow->sending > BUFFER_HUGE_SIZE)
        return false;
    switch (flow->state) {
    case FLOW_READY:
        return flow->held.size > 0 && flow->sending == 0;
    case FLOW_SENDING:
        return flow->held.size > 0 && flow->sending > 0;
    default:
        return !flow->held.data && flow->sending == 0 && !flow->is_closing;
    }
}

static bool is_kept_good(const struct carry_flow *flow, const struct carry_endpoint *source)
{
    if (!flow->kept.data)
        return flow->needed == 0;
    return source->receive_mode == ENDPOINT_USER && flow->state != FLOW_ENDED && flow->state != FLOW_FAILED &&
           flow->kept.size > 0 && flow->needed > 0 && flow->kept.size <= RECORD_WIRE_MAX &&
           flow->needed <= RECORD_WIRE_MAX - flow->kept.size;
}

// to, and whether it is sending something else than the flow.
static bool is_way_good(const struct carry_flow *flow, const struct carry_endpoint *to, bool is_busy)
{
    bool is_over = flow->state == FLOW_ENDED || flow->state == FLOW_FAILED;

    if (flow->state == FLOW_SENDING && is_busy)
        return false;
    if (to->flags & CARRY_IS_SHUT || to->sending == ENDPOINT_SENDS_CLOSE || to->flags & CARRY_IS_CLOSE_DUE)
        return is_over;
    return true;
}

static bool parse_flow(const struct carry_span *fields, const struct carry_endpoint *source,
                       const struct carry_endpoint *to, bool is_busy, struct carry_flow *ret,
                       const char **ret_why)
{
    struct reader reader = reader_of(&fields[CARRY_FLOW]);
    uint8_t is_closing;

    if (reader.left != CARRY_FLOW_SIZE)
        return refuse(ret_why, "a flow of a wrong length");
    ret->state = (uint8_t)take_number(&reader, 1);
    ret->appetite = (uint8_t)take_number(&reader, 1);
    is_closing = (uint8_t)take_number(&reader, 1);
    ret->is_closing = is_closing == 1;
    ret->bytes = take_number(&reader, 8);
    ret->sending = (uint32_t)take_number(&reader, 4);
    ret->needed = (uint32_t)take_number(&reader, 4);
    ret->held = fields[CARRY_HELD];
    ret->kept = fields[CARRY_KEPT];
    if (ret->state != FLOW_WAITING && ret->state != FLOW_READY && ret->state != FLOW_SENDING &&
        ret->state != FLOW_ENDED && ret->state != FLOW_FAILED)
        return refuse(ret_why, "an unknown state of a flow");
    if (ret->appetite >= BUFFER_CLASS_COUNT || is_closing > 1)
        return refuse(ret_why, "an impossible flow");
    if (!is_held_good(ret) || !is_kept_good(ret, source))
        return refuse(ret_why, "a flow that holds what it can't hold");
    if (!is_way_good(ret, to, is_busy))
        return refuse(ret_why, "a flow to where nothing can go");
    return true;
}

// ---- all of it ----

static bool is_header_good(const struct carry *carry)
{
    const struct carry_span *header = &carry->fields[CARRY_HEADER];

    return !header->data || (header->size > 0 && header->size <= CARRY_HEADER_MAX &&
                             carry->server.transmit_mode == ENDPOINT_PLAIN);
}

static bool is_passed_good(const struct carry *carry)
{
    return !(carry->flags & CARRY_IS_PASSED) ||
           (carry->client.transmit_mode == ENDPOINT_PLAIN && carry->server.transmit_mode == ENDPOINT_PLAIN);
}

bool carry_parse(const uint8_t *bytes, size_t size, struct carry *ret, const char **ret_why)
{
    struct reader reader = {.next = bytes, .left = size};
    const struct carry_span *fields = ret->fields;

    *ret = (struct carry){0};
    if (size < CARRY_HEAD_SIZE || size > CARRY_SIZE_MAX || memcmp(bytes, CARRY_MAGIC, 4) != 0)
        return refuse(ret_why, "that is no connection");
    reader.next += 4;
    reader.left -= 4;
    if (take_number(&reader, 2) != CARRY_VERSION || take_number(&reader, 2) != 0)
        return refuse(ret_why, "an unknown version of the format");
    if (!find_fields(&reader, ret->fields, ret_why) || !has_all(fields, ret_why) ||
        !are_texts_good(fields, ret_why) || !parse_facts(ret, ret_why) ||
        !parse_endpoint(fields + CARRY_CLIENT, true, &ret->client, ret_why) ||
        !parse_endpoint(fields + CARRY_SERVER_SIDE, false, &ret->server, ret_why))
        return false;
    if (!is_header_good(ret))
        return refuse(ret_why, "an impossible PROXY header");
    if (!is_passed_good(ret))
        return refuse(ret_why, "TLS in a stream that is passed through");
    return parse_flow(fields + CARRY_UP, &ret->client, &ret->server,
                      ret->server.sending != ENDPOINT_SENDS_NOTHING || fields[CARRY_HEADER].data, &ret->up,
                      ret_why) &&
           parse_flow(fields + CARRY_DOWN, &ret->server, &ret->client,
                      ret->client.sending != ENDPOINT_SENDS_NOTHING, &ret->down, ret_why);
}

void carry_wipe(struct carry *carry)
{
    secret_wipe(&carry->client, sizeof(carry->client));
    secret_wipe(&carry->server, sizeof(carry->server));
}

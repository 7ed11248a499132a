// SPDX-License-Identifier: Apache-2.0
// Connections as bytes: what is read is what was written, in every field, and what isn't a connection to the last bit is refused, with words
// and with nothing left behind.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "carry_world.h"
#include "src/proxy/connection_header.h"

static struct carry_world world;
static struct carry_bytes bytes;

static const int none[2] = {-1, -1};

static int set_up(void **state)
{
    assert_int_equal(record_init(), 0);
    carry_world_open(&world);
    return 0;
}

static int tear_down(void **state)
{
    carry_world_close(&world);
    record_finish();
    return 0;
}

static struct connection *take(const uint8_t *data, size_t size)
{
    struct connection *connection = NULL;
    const char *why = NULL;
    int error = carry_read(world.proxy, data, size, none, &connection, &why);

    if (error < 0)
        fail_msg("refused: %s", why);
    return connection;
}

static void refused(int error, const uint8_t *data, size_t size)
{
    struct connection *connection = NULL;
    const char *why = NULL;

    assert_int_equal(carry_read(world.proxy, data, size, none, &connection, &why), error);
    assert_null(connection);
    assert_non_null(why);
    assert_true(carry_world_is_empty(&world));
}

// ---- as it was ----

static void test_round_trip(void **state)
{
    for (unsigned i = 0; i < CARRY_SAMPLES; i++) {
        struct connection *connection;
        struct carried carried;

        carry_sample(i, &bytes);
        connection = take(bytes.data, bytes.size);
        assert_false(carry_world_is_empty(&world));
        assert_int_equal(carry_pack(connection, &carried), 0);
        assert_int_equal(carried.size, bytes.size);
        assert_memory_equal(carried.bytes, bytes.data, bytes.size);
        carried_finish(&carried);
        carried_finish(&carried);
        connection_release(connection);
        assert_true(carry_world_is_empty(&world));
    }
}

static void test_facts(void **state)
{
    struct connection *connection;
    struct stats_listener counted;

    carry_sample(0, &bytes);
    connection = take(bytes.data, bytes.size);
    assert_true(connection->id == 0x1122334455667788 && connection->unique == 0x99aabbccddeeff00);
    assert_ptr_equal(connection->listener, &world.listeners[0]);
    assert_ptr_equal(connection->route, &world.routes[1]);
    assert_int_equal(connection->upstream, 1);
    assert_int_equal(connection->server_index, 1);
    assert_ptr_equal(connection->connected, &world.servers[1]);
    assert_string_equal(connection->peer, "203.0.113.7:51234");
    assert_int_equal(connection->accepted_ns, CLOCK_NS_PER_S);
    assert_int_equal(connection->handshaken_ns, 2 * CLOCK_NS_PER_S);
    assert_int_equal(connection->connected_ns, 3 * CLOCK_NS_PER_S);
    assert_int_equal(connection->active_ns, 4 * CLOCK_NS_PER_S);
    assert_int_equal(connection->retired_ns, 2000 * CLOCK_NS_PER_S);
    assert_string_equal(connection->names.sni->text, "www.example.com");
    assert_string_equal(connection->names.alpn->text, "http/1.1");
    assert_string_equal(connection->names.version, "TLSv1.3");
    assert_string_equal(connection->names.suite, "TLS_AES_128_GCM_SHA256");
    assert_string_equal(connection->names.client_subject, "CN=somebody");
    assert_string_equal(connection->names.client_fingerprint, "ab:cd");
    assert_true(connection->names.certificate == 0x0102030405060708 && connection->names.resumed);
    assert_non_null(connection->hsts);
    assert_int_equal(connection->client.receive_mode, ENDPOINT_USER);
    assert_int_equal(connection->client.transmit_mode, ENDPOINT_KERNEL);
    assert_true(connection->client.can_rekey);
    assert_int_equal(connection->client.payload_max, 4096);
    assert_int_equal(connection->client.key_updates, 3);
    assert_int_equal(connection->client.empties, 4);
    assert_int_equal(connection->client.transmit.keys.sequence, 1002);
    assert_int_equal(connection->client.transmit.keys.secret_size, 32);
    assert_int_equal(connection->up.appetite, BUFFER_LARGE);
    assert_int_equal(connection->up.bytes, 123456789012u + 30);
    // It has its places, although they were one each, and has had no part in anything.
    assert_int_equal(servers_live(world.places, 2), 1);
    assert_int_equal(world.proxy->connection_count, 1);
    stats_sum_listener(world.stats, 0, &counted);
    assert_true(counted.connections == 1 && counted.accepted == 0);
    assert_true(connection->place != ADMISSION_UNCOUNTED);
    connection_release(connection);
}

static void test_more_than_its_limits(void **state)
{
    struct connection *connections[3];

    carry_sample(0, &bytes);
    for (unsigned i = 0; i < 3; i++)
        connections[i] = take(bytes.data, bytes.size);
    assert_int_equal(servers_live(world.places, 2), 3);
    for (unsigned i = 0; i < 3; i++)
        connection_release(connections[i]);
    assert_true(carry_world_is_empty(&world));
}

static void test_header(void **state)
{
    struct connection *connection;

    carry_sample(2, &bytes);
    connection = take(bytes.data, bytes.size);
    assert_string_equal(connection_header_via(connection), "192.0.2.99:1234");
    assert_string_equal(connection->header->unique_id, "an-id");
    assert_true(connection->header->out->size == 100 && connection->header->out->sent == 0);
    assert_null(connection->names.version);
    connection_release(connection);
}

// Plaintext lies as it must to be sealed, and the beginning of the next record behind it.
static void test_buffers(void **state)
{
    struct connection *connection;
    const struct flow *up;
    size_t lead;

    carry_sample(1, &bytes);
    connection = take(bytes.data, bytes.size);
    up = &connection->up;
    lead = endpoint_lead(up->source, up->destination, up->buffer->capacity);
    assert_true(lead > 0);
    assert_ptr_equal(up->buffer->pieces[0].iov_base, up->buffer->data + lead);
    assert_int_equal(up->buffer->pieces[0].iov_len, 20000);
    assert_int_equal(up->kept_at, lead + 20000);
    assert_true(up->kept == 300 && up->needed == 900 && up->is_closing);
    assert_int_equal(connection->down.sending, 16384);
    assert_true(connection->server.sending == ENDPOINT_SENDS_KEY_UPDATE &&
                connection->client.is_key_update_due);
    connection_release(connection);
}

// What the giver had not moved into the kernel goes by the taker's plan; what is there stays.
static void test_other_plan(void **state)
{
    struct connection *connection;

    carry_head(&bytes, 0, 0, "192.0.2.1:443", "web");
    carry_side(&bytes, 20,
               &(struct carry_side){ENDPOINT_USER, ENDPOINT_WHY_OFF, ENDPOINT_KERNEL, 0, 0, 0, false});
    carry_keys(&bytes, 21, RECORD_TLS13, RECORD_AES_128_GCM, 1);
    carry_keys(&bytes, 22, RECORD_TLS13, RECORD_AES_128_GCM, 2);
    carry_side(&bytes, 25, &(struct carry_side){0});
    carry_flow(&bytes, 30, FLOW_WAITING, 0, false, 0, 0);
    carry_flow(&bytes, 35, FLOW_WAITING, 0, false, 0, 0);
    connection = take(bytes.data, bytes.size);
    assert_int_equal(connection->client.receive_why, ENDPOINT_WHY_SMALL_RECORDS);
    connection_release(connection);
    world.config.ktls.receive = world.config.ktls.transmit = CONFIG_KTLS_OFF;
    connection = take(bytes.data, bytes.size);
    assert_int_equal(connection->client.receive_why, ENDPOINT_WHY_OFF);
    assert_int_equal(connection->client.transmit_mode, ENDPOINT_KERNEL);
    assert_false(connection->client.is_offload_wanted[RECORD_RECEIVE]);
    connection_release(connection);
    world.config.ktls.receive = world.config.ktls.transmit = CONFIG_KTLS_AUTO;
}

static void test_time_to_come(void **state)
{
    struct connection *connection;

    carry_sample(0, &bytes);
    for (unsigned i = 0; i < 4; i++) // accepted and all that followed
        memset(bytes.data + 8 + 6 + 16 + 8 * i, 0x7f, 8);
    connection = take(bytes.data, bytes.size);
    assert_true(connection->accepted_ns == CARRY_NOW_NS && connection->active_ns == CARRY_NOW_NS);
    connection_release(connection);
}

// ---- what it names ----

// The field's content in bytes.data, and its size.
static uint8_t *field(unsigned wanted, size_t *ret_size)
{
    size_t at = 8;

    while (at < bytes.size) {
        unsigned number = bytes.data[at] | (unsigned)bytes.data[at + 1] << 8;
        size_t size = bytes.data[at + 2] | (size_t)bytes.data[at + 3] << 8 | (size_t)bytes.data[at + 4] << 16;

        if (number == wanted) {
            *ret_size = size;
            return bytes.data + at + 6;
        }
        at += 6 + size;
    }
    fail_msg("there is no field %u", wanted);
    return NULL;
}

static void spoil(unsigned number, size_t at, uint8_t value)
{
    size_t size;
    uint8_t *content = field(number, &size);

    assert_true(at < size);
    content[at] = value;
}

static void test_names(void **state)
{
    struct connection *connection;

    carry_sample(0, &bytes);
    spoil(CARRY_LISTENER_ADDRESS, 0, 'X'); // it moved
    connection = take(bytes.data, bytes.size);
    assert_ptr_equal(connection->listener, &world.listeners[0]);
    connection_release(connection);
    spoil(CARRY_LISTENER_NAME, 0, 'X');
    refused(-ENOENT, bytes.data, bytes.size);

    carry_sample(0, &bytes);
    spoil(CARRY_LISTENER_NAME, 0, 'X'); // it was renamed
    connection_release(take(bytes.data, bytes.size));
    spoil(CARRY_UPSTREAM, 0, 'X');
    refused(-ENOENT, bytes.data, bytes.size);

    carry_sample(0, &bytes);
    spoil(CARRY_SERVER, 0, 'X');
    refused(-ENOENT, bytes.data, bytes.size);

    carry_sample(0, &bytes);
    spoil(CARRY_FACTS, 66, 1); // a route to elsewhere is none; nor is one that isn't there
    connection = take(bytes.data, bytes.size);
    assert_null(connection->route);
    connection_release(connection);
    spoil(CARRY_FACTS, 69, 1);
    connection = take(bytes.data, bytes.size);
    assert_null(connection->route);
    connection_release(connection);

    carry_sample(2, &bytes); // a listener that speaks TLS now; one that redirects
    world.listeners[1].is_plain = false;
    refused(-ENOENT, bytes.data, bytes.size);
    world.listeners[1].is_plain = true;
    world.listeners[1].redirect.is_on = true;
    refused(-ENOENT, bytes.data, bytes.size);
    world.listeners[1].redirect.is_on = false;
    carry_sample(0, &bytes);
    world.listeners[0].is_plain = true;
    refused(-ENOENT, bytes.data, bytes.size);
    world.listeners[0].is_plain = false;
}

static void test_no_buffers(void **state)
{
    struct buffer *taken[2000];
    unsigned count = 0;
    struct connection *connection = NULL;
    const char *why = NULL;

    while (count < 2000 && (taken[count] = buffer_take(world.pool, BUFFER_SMALL)))
        count++;
    for (unsigned i = 1; i <= 2; i++) {
        carry_sample(i, &bytes);
        assert_int_equal(carry_read(world.proxy, bytes.data, bytes.size, none, &connection, &why), -ENOMEM);
        assert_true(connection == NULL && proxy_connection_count(world.proxy) == 0);
    }
    while (count > 0)
        buffer_give(world.pool, taken[--count]);
    assert_true(carry_world_is_empty(&world));
    connection_release(take(bytes.data, bytes.size));
}

// ---- what is none ----

static void test_cut_anywhere(void **state)
{
    for (unsigned i = 0; i < CARRY_SAMPLES; i++) {
        carry_sample(i, &bytes);
        for (size_t size = 0; size<bytes.size; size += size> 1500 && bytes.size - size > 1500 ? 97 : 1)
            refused(-EPROTO, bytes.data, size);
        memset(bytes.data + bytes.size, 0, 3);
        refused(-EPROTO, bytes.data, bytes.size + 3);
    }
}

// One byte more or less in a field, and the length says so. True: it is refused.
static bool is_resized_refused(unsigned number, int by)
{
    static struct carry_bytes other;
    size_t size;
    uint8_t *content = field(number, &size);
    size_t behind = (size_t)(content - bytes.data) + size;
    struct connection *connection = NULL;
    const char *why;
    size_t resized = size + (size_t)by;

    memcpy(other.data, bytes.data, behind);
    for (unsigned i = 0; i < 4; i++)
        other.data[content - bytes.data - 4 + i] = (uint8_t)(resized >> (8 * i));
    other.data[behind] = 'x';
    memcpy(other.data + behind + by, bytes.data + behind, bytes.size - behind);
    other.size = bytes.size + (size_t)by;
    if (carry_read(world.proxy, other.data, other.size, none, &connection, &why) < 0)
        return true;
    connection_release(connection);
    return false;
}

static void test_lengths_of_fields(void **state)
{
    static const unsigned fixed[] = {CARRY_FACTS,
                                     CARRY_CLIENT,
                                     CARRY_CLIENT + CARRY_RECEIVE,
                                     CARRY_CLIENT + CARRY_TRANSMIT,
                                     CARRY_SERVER_SIDE,
                                     CARRY_SERVER_SIDE + CARRY_RECEIVE,
                                     CARRY_SERVER_SIDE + CARRY_TRANSMIT,
                                     CARRY_UP,
                                     CARRY_DOWN};

    carry_sample(1, &bytes);
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        assert_true(is_resized_refused(fixed[i], 1));
        assert_true(is_resized_refused(fixed[i], -1));
    }
    // These may be as long as they like, within reason.
    assert_false(is_resized_refused(CARRY_UP + CARRY_HELD, 1));
    assert_false(is_resized_refused(CARRY_UP + CARRY_KEPT, -1));
    assert_true(carry_world_is_empty(&world));
}

// What the byte at that place of the field may not be.
struct spoilt {
    unsigned sample, field;
    size_t at;
    uint8_t value;
    bool is_well;
};

static void test_spoilt(void **state)
{
    static const struct spoilt all[] = {
        {0, CARRY_FACTS, 65, 0x80},     // unknown flags
        {0, CARRY_FACTS, 16 + 7, 0xff}, // accepted after its handshake
        {0, CARRY_FACTS, 24 + 7, 0xff}, // shook hands after it was connected
        {0, CARRY_FACTS, 32 + 7, 0xff}, // connected after it was last active
        {0, CARRY_SNI, 3, 0},           // zeros in texts
        {0, CARRY_SUITE, 0, 'X'},       // unknown suites
        {1, CARRY_SERVER_SUITE, 0, 'X'},
        {0, CARRY_CLIENT, 0, 3},              // modes
        {0, CARRY_CLIENT, 0, ENDPOINT_PLAIN}, // plain in one direction
        {0, CARRY_CLIENT, 2, ENDPOINT_PLAIN},
        {0, CARRY_CLIENT, 2, 3},
        {0, CARRY_CLIENT, 1, ENDPOINT_WHY_COUNT}, // reasons
        {0, CARRY_CLIENT, 3, ENDPOINT_WHY_COUNT},
        {0, CARRY_CLIENT, 3, ENDPOINT_WHY_OFF},            // for what is in the kernel
        {0, CARRY_CLIENT, 4, 0x10},                        // unknown flags
        {0, CARRY_CLIENT, 5, ENDPOINT_SENDS_KEY_UPDATE},   // without a record
        {1, CARRY_SERVER_SIDE, 5, ENDPOINT_SENDS_NOTHING}, // with one
        {1, CARRY_SERVER_SIDE, 5, ENDPOINT_SENDS_ALERT},
        {1, CARRY_SERVER_SIDE, 5, 4},
        {1, CARRY_SERVER_SIDE, 2,
         ENDPOINT_KERNEL},                       // whose control records are whole, and no more than 8 bytes
        {1, CARRY_SERVER_SIDE, 8, 4},            // the header of a handshake message that is all there
        {0, CARRY_CLIENT, 8, 1},                 // or is a client's
        {1, CARRY_SERVER_SIDE, 16, 1},           // a message longer than there can be
        {0, CARRY_CLIENT, 17, 1, true},          // records of 4097 bytes are well; of
        {0, CARRY_CLIENT, 18, 0x41},             // 16,640 not
        {0, CARRY_CLIENT, 18, 0x01},             // nor of 256
        {0, CARRY_CLIENT + CARRY_RECEIVE, 0, 2}, // SSL
        {0, CARRY_CLIENT + CARRY_RECEIVE, 0, 5},
        {0, CARRY_CLIENT + CARRY_RECEIVE, 2, RECORD_CIPHER_COUNT},
        {0, CARRY_CLIENT + CARRY_RECEIVE, 2, RECORD_CHACHA20_POLY1305},
        {2, CARRY_CLIENT, 4, CARRY_IS_KEY_UPDATE_DUE}, // without TLS
        {2, CARRY_CLIENT, 5, ENDPOINT_SENDS_CLOSE},
        {2, CARRY_CLIENT, 0, ENDPOINT_USER},
        {2, CARRY_SERVER_SIDE, 4, CARRY_IS_SHUT}, // and something is to be sent
        {2, CARRY_SERVER_SIDE, 4, CARRY_IS_CLOSE_DUE},
        {0, CARRY_UP, 0, FLOW_STOPPED},
        {0, CARRY_UP, 0, FLOW_STARVED},
        {0, CARRY_UP, 0, FLOW_FAILED + 1},
        {0, CARRY_UP, 0, FLOW_READY}, // with nothing
        {0, CARRY_UP, 0, FLOW_SENDING},
        {2, CARRY_UP, 0, FLOW_WAITING}, // with something
        {2, CARRY_UP, 0, FLOW_ENDED},
        {2, CARRY_UP, 0, FLOW_SENDING}, // that counts for nothing
        {1, CARRY_UP, 0, FLOW_SENDING}, // while a control record is sent
        {0, CARRY_UP, 1, BUFFER_CLASS_COUNT},
        {0, CARRY_UP, 2, 1}, // closing with nothing to send
        {1, CARRY_UP, 2, 2},
        {1, CARRY_DOWN, 14, 0xff},             // more than a buffer holds counts
        {1, CARRY_UP, 15, 0, true},            // 768 bytes lack: well;
        {1, CARRY_UP, 17, 1},                  // more than a record has: not
        {0, CARRY_UP, 15, 1},                  // of no record
        {3, CARRY_FACTS, 64, 0},               // passed through no more: at a listener that is not plain
        {0, CARRY_FACTS, 64, CARRY_IS_PASSED}, // TLS in what is passed through
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct connection *connection = NULL;
        const char *why = NULL;

        carry_sample(all[i].sample, &bytes);
        spoil(all[i].field, all[i].at, all[i].value);
        if ((carry_read(world.proxy, bytes.data, bytes.size, none, &connection, &why) == 0) != all[i].is_well)
            fail_msg("%zu: %s", i, all[i].is_well ? why : "not refused");
        if (connection)
            connection_release(connection);
        assert_true(carry_world_is_empty(&world));
    }
}

static void test_head(void **state)
{
    carry_sample(0, &bytes);
    for (size_t i = 0; i < 8; i++) {
        bytes.data[i] ^= 2; // magic, version, zeros
        refused(-EPROTO, bytes.data, bytes.size);
        bytes.data[i] ^= 2;
    }
}

static void test_unknown_fields(void **state)
{
    struct connection *connection;

    carry_sample(0, &bytes);
    carry_text(&bytes, CARRY_OPTIONAL | 7, "who knows");
    connection = take(bytes.data, bytes.size); // may be passed over
    connection_release(connection);
    carry_sample(0, &bytes);
    carry_text(&bytes, 39, "who knows");
    refused(-EPROTO, bytes.data, bytes.size);
    carry_sample(0, &bytes);
    carry_text(&bytes, CARRY_OPTIONAL | 7, "who knows");
    carry_text(&bytes, CARRY_OPTIONAL | 7, "twice");
    refused(-EPROTO, bytes.data, bytes.size);
    carry_sample(0, &bytes);
    carry_flow(&bytes, CARRY_DOWN, FLOW_WAITING, 0, false, 0, 0); // twice
    refused(-EPROTO, bytes.data, bytes.size);
    carry_sample(0, &bytes);
    carry_text(&bytes, CARRY_SNI, "out of order");
    refused(-EPROTO, bytes.data, bytes.size);
}

// Without any one of the fields that are always there, or that another one needs.
static void test_missing_fields(void **state)
{
    for (unsigned sample = 0; sample < CARRY_SAMPLES; sample++) {
        static const uint8_t needed[] = {1, 2, 3, 4, 5, 7, 20, 25, 30, 35};

        for (size_t i = 0; i < sizeof(needed); i++) {
            size_t size;
            uint8_t *content;

            carry_sample(sample, &bytes);
            content = field(needed[i], &size) - 6;
            memmove(content, content + 6 + size, bytes.size - (size_t)(content + 6 + size - bytes.data));
            bytes.size -= 6 + size;
            refused(-EPROTO, bytes.data, bytes.size);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_more_than_its_limits),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_other_plan),
        cmocka_unit_test(test_time_to_come),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_buffers),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_lengths_of_fields),
        cmocka_unit_test(test_spoilt),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_unknown_fields),
        cmocka_unit_test(test_missing_fields),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

// SPDX-License-Identifier: Apache-2.0
// ClientHellos as they come over TCP: what is found in them, wherever records and segments begin and end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "hellos.h"
#include "ringbolt/hello.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LIMIT        16384

// A copy of its exact size, so that a sanitizer sees what is read too far.
static enum hello_status look_once(struct hello_view *view, const uint8_t *wire, size_t length)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);
    enum hello_status status;

    assert_non_null(copy);
    memcpy(copy, wire, length);
    status = hello_view_look(view, copy, length);
    if (view->alpn != NULL && view->assembled == NULL)
        view->alpn = wire + (view->alpn - copy);
    free(copy);
    return status;
}

// As if it came in segments of `step` bytes.
static enum hello_status look(struct hello_view *view, const struct bytes *wire, size_t step, size_t limit)
{
    enum hello_status status = HELLO_WANTS_MORE;
    size_t length = 0;

    *view = (struct hello_view){.guard.size_max = (uint32_t)limit};
    while (status == HELLO_WANTS_MORE && length < wire->size) {
        length = wire->size - length < step ? wire->size : length + step;
        status = look_once(view, wire->data, length);
    }
    return status;
}

static void assert_found(const struct bytes *wire, size_t step, const char *name, const char *protocols)
{
    struct hello_view view;

    if (look(&view, wire, step, LIMIT) != HELLO_IS_WHOLE)
        fail_msg("not whole: %s", view.reason != NULL ? view.reason : "wants more");
    assert_string_equal(view.sni, name != NULL ? name : "");
    assert_int_equal(view.alpn_size, protocols != NULL ? strlen(protocols) : 0);
    if (protocols != NULL)
        assert_memory_equal(view.alpn, protocols, view.alpn_size);
    hello_view_finish(&view);
}

static void test_pieces(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 4, 5, 16, 100, 1000, 16384};
    static const size_t steps[] = {1, 2, 5, 7, 1460, 4048, HELLO_ROOM};
    static const size_t paddings[] = {0, 1000, 4000};
    static struct bytes wire;

    for (size_t i = 0; i < COUNT(pieces); i++) {
        for (size_t j = 0; j < COUNT(steps); j++) {
            for (size_t k = 0; k < COUNT(paddings); k++) {
                if (steps[j] < 5 && paddings[k] > 1000)
                    continue; // a copy for each byte takes long
                wire.size = 0;
                put_hello(&wire, "a.example", "\x02h2\x08http/1.1", paddings[k], pieces[i]);
                assert_found(&wire, steps[j], "a.example", "\x02h2\x08http/1.1");
            }
        }
    }
}

static void test_names_and_protocols(void **state)
{
    static const struct {
        const char *sent, *found, *protocols;
    } cases[] = {
        {NULL, "", NULL},
        {NULL, "", "\x02h2"},
        {"A.Example", "A.Example", NULL},
        {"a.example.", "a.example.", "\x01x"},
        {"192.0.2.1", "192.0.2.1", "\x02h2"},
        {"::1", "??1", NULL},
        {"a b\n\"*\xff", "a?b????", NULL},
        {"*", "?", NULL},
    };
    static struct bytes wire;
    char name[300];

    for (size_t i = 0; i < COUNT(cases); i++) {
        wire.size = 0;
        put_hello(&wire, cases[i].sent, cases[i].protocols, 0, 16384);
        assert_found(&wire, HELLO_ROOM, cases[i].found, cases[i].protocols);
    }
    memset(name, 'a', sizeof(name));
    name[299] = '\0';
    wire.size = 0;
    put_hello(&wire, name, NULL, 0, 16384);
    name[255] = '\0'; // cut off
    assert_found(&wire, HELLO_ROOM, name, NULL);
}

// What comes behind it is no concern of the view: early data, or a client that doesn't wait.
static void test_what_follows(void **state)
{
    static struct bytes wire;

    put_hello(&wire, "a.example", NULL, 0, 50);
    put(&wire, "\x14\x03\x03\0\x01\x01", 6);
    put(&wire, "\x17\x03\x03\0\x05hello and more", 20);
    assert_found(&wire, HELLO_ROOM, "a.example", NULL);
    assert_found(&wire, 1, "a.example", NULL);
}

static void test_limits(void **state)
{
    static struct bytes wire;
    struct hello_view view;

    // A message of just so many bytes, and of one more: the announcement is enough.
    for (size_t size = 4096; size <= 65536; size *= 4) {
        for (size_t more = 0; more < 2; more++) {
            for (size_t piece = 1; piece <= 16384; piece *= 128) {
                static struct bytes extensions, message;

                extensions.size = message.size = wire.size = 0;
                put_number(&extensions, 21, 2);
                put_number(&extensions, 0, 2);
                put_message(&message, &extensions);
                // To the size, by padding.
                extensions.size = 0;
                put_number(&extensions, 21, 2);
                if (size + more - (message.size - 4) > 65535)
                    continue;
                put_number(&extensions, size + more - (message.size - 4), 2);
                put_zeros(&extensions, size + more - (message.size - 4));
                message.size = 0;
                put_message(&message, &extensions);
                assert_int_equal(message.size - 4, size + more);
                put_records(&wire, message.data, message.size, piece);
                assert_int_equal(look(&view, &wire, HELLO_ROOM, size), more ? HELLO_IS_BAD : HELLO_IS_WHOLE);
                hello_view_finish(&view);
                if (!more)
                    continue;
                assert_string_equal(view.reason, "ClientHello too large");
                wire.size = piece == 1 ? 4 * 6 : 9;
                assert_int_equal(look(&view, &wire, 1, size), HELLO_IS_BAD);
                hello_view_finish(&view);
            }
        }
    }
}

static void test_not_whole(void **state)
{
    static struct bytes wire;
    struct hello_view view;

    for (size_t piece = 1; piece < 100; piece += 7) {
        wire.size = 0;
        put_hello(&wire, "a.example", "\x02h2", 0, piece);
        wire.size--;
        assert_int_equal(look(&view, &wire, 11, LIMIT), HELLO_WANTS_MORE);
        hello_view_finish(&view);
    }
}

#define BYTES(text) text, sizeof(text) - 1

static void test_no_hello(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *reason;
    } cases[] = {
        {BYTES("GET / HTTP/1.1\r\n\r\n"), "not a ClientHello"},
        {BYTES("\x80\x2e\x01\x03\x03\0\x15\0\0\0\x10"), "SSLv2-style ClientHello"},
        {BYTES("\x17\x03\x03\0\x05hello"), "not a ClientHello"},
        {BYTES("\x14\x03\x03\0\x01\x01"), "not a ClientHello"},
        {BYTES("\x15\x03\x01\0\x02\x02\x28"), "not a ClientHello"},
        {BYTES("\x16\x03\x01\0\0"), "not a ClientHello"},
        {BYTES("\x16\x03\x01\x40\x01"), "not a ClientHello"},
        {BYTES("\x16\x03\x01\xff\xff\x01"), "not a ClientHello"},
        {BYTES("\x16\x02\x01\0\x04\x01\0\0\0"), "not a ClientHello"},
        {BYTES("\x16\x03\x01\0\x04\x02\0\0\0"), "not a ClientHello"},
        {BYTES("\x16\x03\x01\0\x04\x01\xff\xff\xff"), "ClientHello too large"},
        {BYTES("\x16\x03\x01\0\x04\x01\0\0\0"), "malformed ClientHello"},
        {BYTES("\x16\x03\x01\0\x08\x01\0\0\x04\x03\x03\0\0"), "malformed ClientHello"},
        {BYTES("\x16\x03\x01\0\x02\x01\0\x14\x03\x03\0\x01\x01"),
         "not a ClientHello"}, // something else within
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t step = 1; step <= HELLO_ROOM; step *= HELLO_ROOM) {
            static struct bytes wire;
            struct hello_view view;

            wire.size = 0;
            put(&wire, cases[i].bytes, cases[i].size);
            assert_int_equal(look(&view, &wire, step, LIMIT), HELLO_IS_BAD);
            assert_string_equal(view.reason, cases[i].reason);
            hello_view_finish(&view);
        }
    }
}

// Each length in a ClientHello, one too small and one too large.
static void test_lying_lengths(void **state)
{
    static const struct {
        size_t at; // in the message, from its body on
        size_t size;
    } lengths[] = {{34, 1}, {67, 2}, {71, 1}, {73, 2}};
    static struct bytes extensions, message, wire;
    struct hello_view view;

    put_name(&extensions, "a.example");
    put_protocols(&extensions, "\x02h2");
    for (size_t i = 0; i < COUNT(lengths); i++) {
        for (int change = -1; change <= 1; change += 2) {
            message.size = wire.size = 0;
            put_message(&message, &extensions);
            message.data[4 + lengths[i].at + lengths[i].size - 1] =
                (uint8_t)(message.data[4 + lengths[i].at + lengths[i].size - 1] + change);
            put_records(&wire, message.data, message.size, 16384);
            assert_int_equal(look(&view, &wire, HELLO_ROOM, LIMIT), HELLO_IS_BAD);
            hello_view_finish(&view);
        }
    }
}

static void assert_extensions(const struct bytes *extensions, const char *reason)
{
    static struct bytes message, wire;
    struct hello_view view;
    enum hello_status status;

    message.size = wire.size = 0;
    put_message(&message, extensions);
    put_records(&wire, message.data, message.size, 16384);
    status = look(&view, &wire, HELLO_ROOM, LIMIT);
    if (reason == NULL) {
        assert_int_equal(status, HELLO_IS_WHOLE);
    } else {
        assert_int_equal(status, HELLO_IS_BAD);
        assert_string_equal(view.reason, reason);
    }
    hello_view_finish(&view);
}

#define NAME "malformed server name in a ClientHello"
#define ALPN "malformed ALPN in a ClientHello"

static void test_malformed_extensions(void **state)
{
    static const struct {
        unsigned type;
        const char *bytes;
        size_t size;
        const char *reason;
    } cases[] = {
        {0,
         BYTES("\0\x04\0\0\x01"
               "a"),
         NULL},
        {0, BYTES(""), NAME},
        {0, BYTES("\0\x03\0\0"), NAME},
        {0, BYTES("\0\x03\0\0\0"), NULL}, // a name of nothing: whoever goes on with it may refuse that
        {0,
         BYTES("\0\x04\0\0\x02"
               "a"),
         NAME},
        {0,
         BYTES("\0\x05\0\0\x01"
               "a"),
         NAME},
        {0,
         BYTES("\0\x04\x01\0\x01"
               "a"),
         NAME},
        {0,
         BYTES("\0\x08\0\0\x01"
               "a\0\0\x01"
               "b"),
         NAME}, // two names
        {0, BYTES("\xff\xff\0\xff\xff"), NAME},
        {16,
         BYTES("\0\x02\x01"
               "a"),
         NULL},
        {16, BYTES(""), ALPN},
        {16, BYTES("\0\0"), ALPN},
        {16, BYTES("\0\x01\0"), ALPN},
        {16, BYTES("\0\x02\0\0"), ALPN},
        {16,
         BYTES("\0\x02\x02"
               "a"),
         ALPN},
        {16,
         BYTES("\0\x03\x01"
               "a\x01"),
         ALPN},
        {16,
         BYTES("\0\x03\x01"
               "a"),
         ALPN},
        {16,
         BYTES("\0\x01\x01"
               "a"),
         ALPN},
        {16,
         BYTES("\0\x04\xff"
               "abc"),
         ALPN},
    };
    static struct bytes extensions;

    for (size_t i = 0; i < COUNT(cases); i++) {
        extensions.size = 0;
        put_extension(&extensions, cases[i].type, cases[i].bytes, cases[i].size);
        assert_extensions(&extensions, cases[i].reason);
    }
    extensions.size = 0;
    put_name(&extensions, "a");
    put_name(&extensions, "b");
    assert_extensions(&extensions, NAME);
    extensions.size = 0;
    put_protocols(&extensions, "\x02h2");
    put_protocols(&extensions, "\x02h2");
    assert_extensions(&extensions, ALPN);
    extensions.size = 0;
    put(&extensions, "\0\x17\0\x01", 4); // one byte of it is missing
    assert_extensions(&extensions, "malformed extensions in a ClientHello");
    extensions.size = 3;
    assert_extensions(&extensions, "malformed extensions in a ClientHello");
    extensions.size = 0;
    assert_extensions(&extensions, NULL);
}

// TLS 1.2 can do without extensions altogether.
static void test_without_extensions(void **state)
{
    static struct bytes extensions, message, wire;

    put_message(&message, &extensions);
    message.size -= 2;
    message.data[3] = (uint8_t)(message.data[3] - 2);
    put_records(&wire, message.data, message.size, 7);
    assert_found(&wire, 3, NULL, NULL);
}

// What OpenSSL's client says.
static void test_openssl(void **state)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    static struct bytes wire;
    SSL *client = SSL_new(context);
    BIO *out = BIO_new(BIO_s_mem());

    SSL_set_bio(client, BIO_new(BIO_s_mem()), out);
    SSL_set_tlsext_host_name(client, "openssl.example");
    SSL_set_alpn_protos(client, (const uint8_t *)"\x02h2", 3);
    SSL_set_connect_state(client);
    assert_int_not_equal(SSL_do_handshake(client), 1);
    wire.size = (size_t)BIO_read(out, wire.data, sizeof(wire.data));
    assert_found(&wire, HELLO_ROOM, "openssl.example", "\x02h2");
    assert_found(&wire, 1, "openssl.example", "\x02h2");
    SSL_free(client);
    SSL_CTX_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_names_and_protocols),
        cmocka_unit_test(test_what_follows),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_not_whole),
        cmocka_unit_test(test_no_hello),
        cmocka_unit_test(test_lying_lengths),
        cmocka_unit_test(test_malformed_extensions),
        cmocka_unit_test(test_without_extensions),
        cmocka_unit_test(test_openssl),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

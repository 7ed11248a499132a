// SPDX-License-Identifier: Apache-2.0
// Changes as bytes: what was written is read again, and what is not a change is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/tls/change.h"

#define BYTES(text)                                                                                          \
    {                                                                                                        \
        .data = (uint8_t *)(uintptr_t)(text), .size = sizeof(text) - 1                                       \
    }

static char *names[] = {(char *)"a.example", (char *)"*.b.example"};
static struct material_bytes intermediates[] = {BYTES("first"), BYTES("second\0with a zero")};
static const struct certificate certificate = {
    .id = 0x0123456789abcdef,
    .fingerprint = "a fingerprint of thirty-two byte",
    .names = names,
    .name_count = 2,
    .kind = CERTIFICATE_RSA,
    .must_staple = true,
    .not_before_s = -5,
    .not_after_s = 4102444800,
    .leaf = BYTES("leaf"),
    .intermediates = intermediates,
    .intermediate_count = 2,
    .key = BYTES("key"),
};
static const struct certificate bare = {.kind = CERTIFICATE_EDDSA, .leaf = BYTES("l"), .key = BYTES("k")};
static const struct material_place places[] = {{.listener = 3, .rank = 7},
                                               {.listener = UINT32_MAX, .rank = 0}};
static const struct staple staple = {
    .response = BYTES("response"), .this_update_s = 11, .next_update_s = INT64_MAX};
static struct material_bytes cas[] = {BYTES("one"), BYTES("two")};
static struct material_bytes crls[] = {BYTES("list")};
static const struct client_trust trust = {.digest = "a digest that has thirty-two byt",
                                          .cas = cas,
                                          .ca_count = 2,
                                          .crls = crls,
                                          .crl_count = 1,
                                          .next_update_s = 99};
static const struct server_material servers = {.digest = "another digest, thirty-two bytes",
                                               .trust = (struct client_trust *)(uintptr_t)&trust,
                                               .certificates = intermediates,
                                               .certificate_count = 2,
                                               .key = BYTES("key")};
static const struct ticket_keys keys = {
    .count = 2,
    .keys = {{.name = "name of sixteen", .hmac = "hmac", .aes = "aes", .size = 32},
             {.name = "other", .size = 16}}};
static const uint64_t ids[] = {1, UINT64_MAX};

static void fill(struct change *change)
{
    *change = (struct change){0};
    change_certificate(change, 5, &certificate, places, 2);
    change_certificate(change, MATERIAL_SLOTS_MAX - 1, &bare, NULL, 0);
    change_certificate_gone(change, 6);
    change_staple(change, 5, &staple);
    change_staple(change, 7, NULL);
    change_trust(change, 1, &trust);
    change_ticket_keys(change, &keys);
    change_retire(change, ids, 2);
    change_retire(change, NULL, 0);
    change_servers(change, 3, &servers);
    change_servers(change, 4, &(struct server_material){0});
}

static void expect_bytes(struct change_bytes actual, const struct material_bytes *expected)
{
    assert_int_equal(actual.size, expected->size);
    assert_memory_equal(actual.data, expected->data, expected->size);
}

static void expect_next(struct change_reader *reader, enum change_kind kind, struct change_element *element)
{
    assert_int_equal(change_next(reader, element), 1);
    assert_int_equal(element->kind, kind);
}

static void expect_certificate(struct change_element *element)
{
    struct material_place place;

    assert_int_equal(element->certificate.slot, 5);
    assert_int_equal(element->certificate.kind, CERTIFICATE_RSA);
    assert_true(element->certificate.must_staple);
    assert_true(element->certificate.id == certificate.id);
    assert_memory_equal(element->certificate.fingerprint, certificate.fingerprint, 32);
    assert_int_equal(element->certificate.not_before_s, -5);
    assert_int_equal(element->certificate.not_after_s, 4102444800);
    expect_bytes(element->certificate.leaf, &certificate.leaf);
    expect_bytes(element->certificate.key, &certificate.key);
    assert_int_equal(element->certificate.intermediates.count, 2);
    expect_bytes(change_list_bytes(&element->certificate.intermediates), &intermediates[0]);
    expect_bytes(change_list_bytes(&element->certificate.intermediates), &intermediates[1]);
    assert_int_equal(element->certificate.intermediates.count, 0);
    assert_int_equal(element->certificate.names.count, 2);
    for (int i = 0; i < 2; i++) {
        struct change_bytes name = change_list_bytes(&element->certificate.names);

        assert_string_equal((const char *)name.data, names[i]);
        assert_int_equal(name.size, strlen(names[i]));
    }
    assert_int_equal(element->certificate.places.count, 2);
    for (int i = 0; i < 2; i++) {
        place = change_list_place(&element->certificate.places);
        assert_int_equal(place.listener, places[i].listener);
        assert_int_equal(place.rank, places[i].rank);
    }
}

static void expect_bare(struct change_element *element)
{
    assert_int_equal(element->certificate.slot, MATERIAL_SLOTS_MAX - 1);
    assert_int_equal(element->certificate.kind, CERTIFICATE_EDDSA);
    assert_false(element->certificate.must_staple);
    assert_int_equal(element->certificate.intermediates.count, 0);
    assert_int_equal(element->certificate.names.count, 0);
    assert_int_equal(element->certificate.places.count, 0);
}

static void expect_trust(struct change_element *element)
{
    assert_int_equal(element->trust.listener, 1);
    assert_memory_equal(element->trust.digest, trust.digest, 32);
    assert_int_equal(element->trust.next_update_s, 99);
    assert_int_equal(element->trust.cas.count, 2);
    expect_bytes(change_list_bytes(&element->trust.cas), &cas[0]);
    expect_bytes(change_list_bytes(&element->trust.cas), &cas[1]);
    assert_int_equal(element->trust.crls.count, 1);
    expect_bytes(change_list_bytes(&element->trust.crls), &crls[0]);
}

static void expect_ticket_keys(struct change_element *element)
{
    assert_int_equal(element->ticket_keys.keys.count, 2);
    for (int i = 0; i < 2; i++) {
        struct ticket_key key;

        change_list_ticket_key(&element->ticket_keys.keys, &key);
        assert_int_equal(key.size, keys.keys[i].size);
        assert_memory_equal(key.name, keys.keys[i].name, 16);
        assert_memory_equal(key.hmac, keys.keys[i].hmac, 32);
        assert_memory_equal(key.aes, keys.keys[i].aes, 32);
    }
}

static void test_round(void **state)
{
    struct change_element element;
    struct change_reader reader;
    struct change change;

    fill(&change);
    assert_int_equal(change.count, 11);
    change_reader_init(&reader, change.data, change.size);
    expect_next(&reader, CHANGE_CERTIFICATE, &element);
    expect_certificate(&element);
    expect_next(&reader, CHANGE_CERTIFICATE, &element);
    expect_bare(&element);
    expect_next(&reader, CHANGE_CERTIFICATE_GONE, &element);
    assert_int_equal(element.gone.slot, 6);
    expect_next(&reader, CHANGE_STAPLE, &element);
    assert_int_equal(element.staple.slot, 5);
    assert_int_equal(element.staple.this_update_s, 11);
    assert_true(element.staple.next_update_s == INT64_MAX);
    expect_bytes(element.staple.response, &staple.response);
    expect_next(&reader, CHANGE_STAPLE, &element);
    assert_int_equal(element.staple.slot, 7);
    assert_int_equal(element.staple.response.size, 0);
    expect_next(&reader, CHANGE_TRUST, &element);
    expect_trust(&element);
    expect_next(&reader, CHANGE_TICKET_KEYS, &element);
    expect_ticket_keys(&element);
    expect_next(&reader, CHANGE_RETIRE, &element);
    assert_int_equal(element.retire.ids.count, 2);
    assert_true(change_list_id(&element.retire.ids) == 1);
    assert_true(change_list_id(&element.retire.ids) == UINT64_MAX);
    expect_next(&reader, CHANGE_RETIRE, &element);
    assert_int_equal(element.retire.ids.count, 0);
    expect_next(&reader, CHANGE_SERVERS, &element);
    assert_int_equal(element.servers.upstream, 3);
    assert_memory_equal(element.servers.digest, servers.digest, 32);
    assert_true(element.servers.trusted_until_s == 99);
    assert_int_equal(element.servers.cas.count, 2);
    assert_int_equal(element.servers.crls.count, 1);
    assert_int_equal(element.servers.certificates.count, 2);
    expect_bytes(change_list_bytes(&element.servers.certificates), &intermediates[0]);
    expect_bytes(element.servers.key, &servers.key);
    expect_next(&reader, CHANGE_SERVERS, &element);
    assert_true(element.servers.trusted_until_s == INT64_MAX);
    assert_int_equal(
        element.servers.cas.count + element.servers.certificates.count + element.servers.key.size, 0);
    assert_int_equal(change_next(&reader, &element), 0);
    change_finish(&change);
    assert_null(change.data);
    change_finish(&change);
}

static void test_nothing(void **state)
{
    struct change_element element;
    struct change_reader reader;

    change_reader_init(&reader, NULL, 0);
    assert_int_equal(change_next(&reader, &element), 0);
}

// Many, so that the bytes grow.
static void test_many(void **state)
{
    struct change_element element;
    struct change_reader reader;
    struct change change = {0};
    unsigned count = 0;

    for (uint32_t slot = 0; slot < 5000; slot++)
        change_certificate(&change, slot, &certificate, places, 2);
    assert_int_equal(change.count, 5000);
    change_reader_init(&reader, change.data, change.size);
    while (change_next(&reader, &element) == 1) {
        assert_int_equal(element.certificate.slot, count);
        element.certificate.slot = 5;
        expect_certificate(&element);
        count++;
    }
    assert_int_equal(count, 5000);
    change_finish(&change);
}

// ---- what is not a change ----

// Reads to the end: how many elements, or -EBADMSG. The bytes stand at the end of their memory, for the sanitizer.
static int read_all(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    struct change_element element;
    struct change_reader reader;
    int count = 0;
    int result;

    assert_non_null(copy);
    memcpy(copy, data, size);
    change_reader_init(&reader, copy, size);
    while ((result = change_next(&reader, &element)) == 1)
        count++;
    free(copy);
    return result < 0 ? result : count;
}

static void test_cut_off(void **state)
{
    struct change_element element;
    struct change_reader reader;
    struct change change;

    fill(&change);
    for (size_t size = 1; size < change.size; size++) {
        bool is_boundary = false;

        change_reader_init(&reader, change.data, change.size);
        while (change_next(&reader, &element) == 1)
            is_boundary = is_boundary || reader.next == change.data + size;
        assert_true((read_all(change.data, size) >= 0) == is_boundary);
    }
    change_finish(&change);
}

// One change of one element, one byte of which is another.
static void test_wrong_bytes(void **state)
{
    struct change change = {0};

    change_certificate_gone(&change, 6);
    assert_int_equal(read_all(change.data, change.size), 1);
    change.data[4] = 0; // kinds that there are not
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change.data[4] = CHANGE_SERVERS + 1;
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change.data[4] = CHANGE_CERTIFICATE_GONE;
    change.data[6] = 0x10; // slot 2^20 + 6
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change_finish(&change);

    change_certificate(&change, 5, &certificate, places, 2);
    change.data[9] = CERTIFICATE_KINDS;
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change.data[9] = CERTIFICATE_RSA;
    change.data[10] = 2; // neither true nor false
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change.data[10] = 1;
    assert_int_equal(read_all(change.data, change.size), 1);
    change_finish(&change);

    change_ticket_keys(&change, &keys);
    change.data[change.size - 1] = 24;
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change_finish(&change);

    change_retire(&change, ids, 2);
    change.data[8] = 3; // more than there are
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change.data[8] = 1; // fewer
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change.data[5] = 0xff; // very many
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change_finish(&change);
}

// A certificate has a key.
static void test_servers_without_a_key(void **state)
{
    struct server_material wrong = servers;
    struct change change = {0};

    wrong.key.size = 0;
    change_servers(&change, 3, &wrong);
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change_finish(&change);
    wrong = servers;
    wrong.certificate_count = 0;
    change_servers(&change, 3, &wrong);
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change_finish(&change);
}

// Texts hold no zero, and what must be there is.
static void test_wrong_contents(void **state)
{
    struct certificate wrong = certificate;
    struct client_trust nobody = trust;
    struct change change = {0};
    uint8_t *name;

    wrong.leaf.size = 0;
    change_certificate(&change, 5, &wrong, places, 2);
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change_finish(&change);
    change_certificate(&change, 5, &certificate, places, 2);
    name = memmem(change.data, change.size, "a.example", 9);
    name[1] = 0;
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    name[1] = '.';
    name[9] = 'x'; // its zero
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change_finish(&change);
    nobody.ca_count = 0;
    change_trust(&change, 1, &nobody);
    assert_int_equal(read_all(change.data, change.size), -EBADMSG);
    change_finish(&change);
}

// No byte makes the reader read what is not there: a sanitizer sees that.
static void test_any_byte(void **state)
{
    struct change change;

    fill(&change);
    for (size_t i = 0; i < change.size; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            change.data[i] ^= (uint8_t)(1u << bit);
            read_all(change.data, change.size);
            change.data[i] ^= (uint8_t)(1u << bit);
        }
    }
    assert_int_equal(read_all(change.data, change.size), 11);
    change_finish(&change);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_servers_without_a_key),
        cmocka_unit_test(test_wrong_bytes),
        cmocka_unit_test(test_wrong_contents),
        cmocka_unit_test(test_any_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

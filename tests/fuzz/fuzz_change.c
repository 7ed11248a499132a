// SPDX-License-Identifier: Apache-2.0
// Any bytes are a change, or are refused; what is a change lies within the bytes, all of it.
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "src/tls/change.h"

static const uint8_t *begin, *end;

static void check_bytes(struct change_bytes bytes, bool may_be_empty)
{
    REQUIRE(bytes.data >= begin && bytes.data < end && bytes.size < (size_t)(end - bytes.data));
    REQUIRE(bytes.data[bytes.size] == 0);
    REQUIRE(may_be_empty || bytes.size > 0);
}

static void check_list(struct change_list list, bool is_text)
{
    while (list.count > 0) {
        struct change_bytes bytes = change_list_bytes(&list);

        check_bytes(bytes, false);
        REQUIRE(!is_text || strlen((const char *)bytes.data) == bytes.size);
    }
    REQUIRE(list.next <= end);
}

static void check_places(struct change_list list)
{
    while (list.count > 0)
        change_list_place(&list);
    REQUIRE(list.next <= end);
}

static void check_ids(struct change_list list)
{
    while (list.count > 0)
        change_list_id(&list);
    REQUIRE(list.next <= end);
}

static void check_ticket_keys(struct change_list list)
{
    REQUIRE(list.count >= 1 && list.count <= TICKET_KEYS_MAX);
    while (list.count > 0) {
        struct ticket_key key;

        change_list_ticket_key(&list, &key);
        REQUIRE(key.size == 16 || key.size == 32);
    }
    REQUIRE(list.next <= end);
}

static void check_element(const struct change_element *element)
{
    switch (element->kind) {
    case CHANGE_CERTIFICATE:
        REQUIRE(element->certificate.slot < MATERIAL_SLOTS_MAX);
        REQUIRE(element->certificate.kind < CERTIFICATE_KINDS);
        REQUIRE(element->certificate.fingerprint >= begin && element->certificate.fingerprint + 32 <= end);
        check_bytes(element->certificate.leaf, false);
        check_bytes(element->certificate.key, false);
        check_list(element->certificate.intermediates, false);
        check_list(element->certificate.names, true);
        check_places(element->certificate.places);
        return;
    case CHANGE_CERTIFICATE_GONE:
        REQUIRE(element->gone.slot < MATERIAL_SLOTS_MAX);
        return;
    case CHANGE_STAPLE:
        REQUIRE(element->staple.slot < MATERIAL_SLOTS_MAX);
        check_bytes(element->staple.response, true);
        return;
    case CHANGE_TRUST:
        REQUIRE(element->trust.digest >= begin && element->trust.digest + 32 <= end &&
                element->trust.cas.count > 0);
        check_list(element->trust.cas, false);
        check_list(element->trust.crls, false);
        return;
    case CHANGE_SERVERS:
        REQUIRE(element->servers.digest >= begin && element->servers.digest + 32 <= end);
        check_list(element->servers.cas, false);
        check_list(element->servers.crls, false);
        check_list(element->servers.certificates, false);
        check_bytes(element->servers.key, true);
        REQUIRE((element->servers.key.size > 0) == (element->servers.certificates.count > 0));
        return;
    case CHANGE_TICKET_KEYS:
        check_ticket_keys(element->ticket_keys.keys);
        return;
    case CHANGE_RETIRE:
        check_ids(element->retire.ids);
        return;
    }
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct change_element element;
    struct change_reader reader;
    int result;

    begin = data;
    end = data + size;
    change_reader_init(&reader, data, size);
    while ((result = change_next(&reader, &element)) == 1) {
        REQUIRE(reader.next > data && reader.next <= end);
        check_element(&element);
    }
    REQUIRE(result == -EBADMSG || (result == 0 && reader.next == end));
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// An OCSP response of any bytes, about a certificate and from an issuer of any bytes: it may be stapled, or is refused with a reason.
//
// The input is a certificate and its issuer, each behind a size of two bytes, big endian; the rest is the response. The clock stands
// still.
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "fuzz.h"
#include "ringbolt/material.h"

#define NOW_S 1800000000 // 2027-01-15

// A copy of its exact size, for the sanitizer.
static struct material_bytes take(const uint8_t **data, size_t *size, size_t count)
{
    struct material_bytes bytes;

    bytes.size = count < *size ? count : *size;
    bytes.data = malloc(bytes.size > 0 ? bytes.size : 1);
    REQUIRE(bytes.data != NULL);
    memcpy(bytes.data, *data, bytes.size);
    *data += bytes.size;
    *size -= bytes.size;
    return bytes;
}

static struct material_bytes take_sized(const uint8_t **data, size_t *size)
{
    size_t count = *size >= 2 ? (size_t)(*data)[0] << 8 | (*data)[1] : 0;
    size_t head = *size >= 2 ? 2 : *size;

    *data += head;
    *size -= head;
    return take(data, size, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct certificate certificate = {.leaf = take_sized(&data, &size),
                                      .authority = take_sized(&data, &size)};
    struct material_bytes response = take(&data, &size, size);
    struct material_bytes request = {0};
    struct staple *staple = NULL;
    const char *why = NULL;
    int result = staple_check(&certificate, response.data, response.size, NOW_S, &staple, &why);

    if (result == 0) {
        REQUIRE(staple->response.size == response.size);
        REQUIRE(memcmp(staple->response.data, response.data, response.size) == 0);
        REQUIRE(staple->this_update_s <= NOW_S + 300 && staple->next_update_s >= NOW_S - 300);
    } else {
        REQUIRE(result == -EBADMSG && staple == NULL && why != NULL);
    }
    result = staple_request(&certificate, &request);
    REQUIRE((result == 0 && request.size > 0) || result == -ENODATA);
    REQUIRE(ERR_peek_error() == 0);
    staple_destroy(staple);
    free(request.data);
    free(response.data);
    free(certificate.authority.data);
    free(certificate.leaf.data);
    return 0;
}

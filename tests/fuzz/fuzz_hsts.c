// SPDX-License-Identifier: Apache-2.0
// Any bytes of a server pass as they are, or with the header put in once, in front of an empty line; the same however they arrive.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "src/proxy/hsts_head.h"

static const char header[] = "Strict-Transport-Security: max-age=0\r\n";

// What comes out of it. The length.
static size_t pass(const char *bytes, size_t size, size_t step, char *out)
{
    struct hsts_head head;
    bool is_over = false;
    size_t length = 0;

    hsts_head_init(&head);
    for (size_t at = 0; at < size;) {
        size_t part = step < size - at ? step : size - at;
        struct hsts_parts parts = {.parts = {{.iov_base = (void *)(uintptr_t)(bytes + at), .iov_len = part}},
                                   .count = 1,
                                   .length = part};
        size_t total = 0;

        if (!is_over)
            hsts_head_pass(&head, header, bytes + at, part, &parts);
        is_over |= parts.is_over;
        for (unsigned i = 0; i < parts.count; i++) {
            memcpy(out + length, parts.parts[i].iov_base, parts.parts[i].iov_len);
            length += parts.parts[i].iov_len;
            total += parts.parts[i].iov_len;
        }
        REQUIRE(total == parts.length);
        REQUIRE(!parts.is_as_was ||
                (parts.count == 1 && parts.parts[0].iov_base == bytes + at && total == part));
        at += part;
    }
    if (!is_over && hsts_head_holds(&head))
        out[length++] = '\r';
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    char *whole = malloc(size + sizeof(header));
    char *other = malloc(size + sizeof(header));
    size_t length = pass(bytes, size, size, whole);
    size_t at = 0;

    REQUIRE(whole != NULL && other != NULL);
    REQUIRE(length == size || length == size + strlen(header));
    if (length > size) {
        while (at < size && whole[at] == bytes[at])
            at++;
        // The header may begin as what it stands ahead of does: no, that is an empty line.
        REQUIRE(at > 0 && bytes[at - 1] == '\n' && (bytes[at] == '\r' || bytes[at] == '\n'));
        REQUIRE(memcmp(whole + at, header, strlen(header)) == 0);
    }
    REQUIRE(memcmp(whole + length - (size - at), bytes + at, size - at) == 0);
    for (size_t step = 1; step <= 256; step *= 2) {
        REQUIRE(pass(bytes, size, step, other) == length);
        REQUIRE(length == 0 || memcmp(whole, other, length) == 0);
    }
    free(whole);
    free(other);
    return 0;
}

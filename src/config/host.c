// SPDX-License-Identifier: Apache-2.0
// Host names: RFC 1123 §2.1, with the underscore that is met in practice; wildcards as RFC 6125 §6.4.3 leaves them.
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "src/config/address.h"
#include "src/config/host.h"
#include "src/config/memory.h"

#define LABEL_MAX   63
#define LETTERS     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define LABEL_CHARS LETTERS "0123456789-_"

static const char *label_fault(const char *label, size_t length)
{
    if (length == 0)
        return "a name has no empty part: no dot at its beginning or end, nor two in a row";
    if (memchr(label, '*', length) != NULL)
        return "a `*` stands for the whole first part of a name; write `*.example.com`";
    for (size_t i = 0; i < length; i++) {
        if ((label[i] & 0x80) != 0)
            return "write an international name in its ASCII form, `xn--…`";
    }
    if (strspn(label, LABEL_CHARS) < length)
        return "a host name consists of letters, digits, `-`, `_` and dots";
    if (length > LABEL_MAX)
        return "a part of a name between dots has at most 63 characters";
    if (label[0] == '-' || label[length - 1] == '-')
        return "a part of a name between dots neither begins nor ends with `-`";
    return NULL;
}

// What is wrong with the name; NULL: nothing.
static const char *name_fault(const char *text)
{
    const char *label = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    size_t length;

    if (strlen(text) > ADDRESS_HOST_MAX)
        return "a name has at most 253 characters";
    if (strchr(text, ':') != NULL)
        return "write the host's name alone, without a port; clients do not ask for addresses (RFC 6066 §3)";
    for (;;) {
        const char *fault;
        length = strcspn(label, ".");
        fault = label_fault(label, length);
        if (fault != NULL)
            return fault;
        if (label[length] == '\0')
            break;
        label += length + 1;
    }
    // A name whose last part is a number would be taken for an IPv4 address.
    if (strspn(label, "0123456789") == length)
        return "clients do not ask for addresses by name (RFC 6066 §3); write a host name";
    return NULL;
}

int host_parse(const char *text, char **ret, const char **ret_why)
{
    const char *fault = name_fault(text);
    char *name;

    if (fault != NULL) {
        *ret_why = fault;
        return -EINVAL;
    }
    name = memory_copy(text);
    for (char *at = name; *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    *ret = name;
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Addresses, times and sizes as they are written in a configuration.
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "ringbolt/config.h"
#include "src/config/address.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_v4(void **state)
{
    struct config_address address;
    const char *why;
    const struct sockaddr_in *socket = (const struct sockaddr_in *)&address.socket;

    assert_int_equal(config_address_parse("192.0.2.7:8443", &address, &why), 0);
    assert_int_equal(socket->sin_family, AF_INET);
    assert_int_equal(ntohs(socket->sin_port), 8443);
    assert_int_equal(ntohl(socket->sin_addr.s_addr), 0xc0000207);
    assert_int_equal(address.length, sizeof(*socket));
    assert_string_equal(address.text, "192.0.2.7:8443");
    free(address.text);

    assert_int_equal(config_address_parse("localhost:1", &address, &why), 0);
    assert_int_equal(socket->sin_family, AF_INET);
    assert_int_equal(ntohl(socket->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_string_equal(address.text, "localhost:1");
    free(address.text);
}

static void test_v6(void **state)
{
    struct config_address address;
    const char *why;
    const struct sockaddr_in6 *socket = (const struct sockaddr_in6 *)&address.socket;
    struct in6_addr expected;

    assert_int_equal(inet_pton(AF_INET6, "2001:db8::7", &expected), 1);
    assert_int_equal(config_address_parse("[2001:db8::7]:65535", &address, &why), 0);
    assert_int_equal(socket->sin6_family, AF_INET6);
    assert_int_equal(ntohs(socket->sin6_port), 65535);
    assert_memory_equal(&socket->sin6_addr, &expected, sizeof(expected));
    assert_int_equal(address.length, sizeof(*socket));
    free(address.text);

    assert_int_equal(config_address_parse("*:0", &address, &why), 0);
    assert_int_equal(socket->sin6_family, AF_INET6);
    assert_memory_equal(&socket->sin6_addr, &in6addr_any, sizeof(in6addr_any));
    assert_string_equal(address.text, "*:0");
    free(address.text);

    assert_int_equal(config_address_parse("[fe80::1%lo]:443", &address, &why), 0);
    assert_int_equal(socket->sin6_scope_id, if_nametoindex("lo"));
    assert_int_not_equal(socket->sin6_scope_id, 0);
    free(address.text);
}

static void test_unix(void **state)
{
    struct config_address address;
    const char *why;
    const struct sockaddr_un *socket = (const struct sockaddr_un *)&address.socket;
    char longest[sizeof("unix:") + sizeof(socket->sun_path)] = "unix:/";
    char short_by_none[sizeof(longest)];

    assert_int_equal(config_address_parse("unix:/run/app.sock", &address, &why), 0);
    assert_int_equal(socket->sun_family, AF_UNIX);
    assert_string_equal(socket->sun_path, "/run/app.sock");
    assert_int_equal(address.length, offsetof(struct sockaddr_un, sun_path) + strlen("/run/app.sock") + 1);
    assert_string_equal(address.text, "unix:/run/app.sock");
    free(address.text);

    // 107 bytes and the zero fill sun_path; one more doesn't fit.
    memset(longest + strlen(longest), 'x', strlen("unix:") + 107 - strlen(longest));
    assert_int_equal(config_address_parse(longest, &address, &why), 0);
    assert_int_equal(strlen(socket->sun_path), 107);
    free(address.text);
    strcpy(short_by_none, longest);
    strcat(short_by_none, "x");
    assert_int_equal(config_address_parse(short_by_none, &address, &why), -EINVAL);
    assert_string_equal(
        why, "the path is too long for a socket; with its directory it may have 107 bytes (unix(7))");
}

static void test_refused(void **state)
{
#define NO_HOST                                                                                              \
    "the host is missing; write `*:PORT` for every address or `127.0.0.1:PORT` for this machine only"
#define NO_NAME "the host must be an address, not a name: write `*:PORT`, `IPV4:PORT` or `[IPV6]:PORT`"
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"", NO_HOST},
        {"8443", NO_HOST},
        {":8443", NO_HOST},
        {":", NO_HOST},
        {"[]:1", NO_HOST},
        {"*", "the port is missing; write HOST:PORT or unix:/path"},
        {"localhost", "the port is missing; write HOST:PORT or unix:/path"},
        {"192.0.2.7", "the port is missing; write HOST:PORT or unix:/path"},
        {"[::1]", "the port is missing; write HOST:PORT or unix:/path"},
        {"/run/app.sock", "the port is missing; write HOST:PORT or unix:/path"},
        {"192.0.2.7:", "the port behind the colon is missing; write HOST:PORT"},
        {"192.0.2.7:65536", "the port must be a number up to 65535"},
        {"192.0.2.7:4294967297", "the port must be a number up to 65535"},
        {"192.0.2.7:99999999999999999999999", "the port must be a number up to 65535"},
        {"192.0.2.7:-1", "the port must be a number up to 65535"},
        {"192.0.2.7:+1", "the port must be a number up to 65535"},
        {"192.0.2.7: 1", "the port must be a number up to 65535"},
        {"192.0.2.7:http", "the port must be a number up to 65535"},
        {"192.0.2.7:1/", "the port must be a number up to 65535"},
        {"::1:8443", "an IPv6 address stands in brackets; write [IPV6]:PORT"},
        {"a:b:1", "an IPv6 address stands in brackets; write [IPV6]:PORT"},
        {"[::1:8443", "the brackets are not right; write [IPV6]:PORT"},
        {"[::1]8443", "the brackets are not right; write [IPV6]:PORT"},
        {"[192.0.2.7]:1", "this is not an IPv6 address"},
        {"[::1::]:1", "this is not an IPv6 address"},
        {"[*]:1", "this is not an IPv6 address"},
        {"[1111:1111:1111:1111:1111:1111:1111:1111:1111:1111]:1", "this is not an IPv6 address"},
        {"[fe80::1%no-such-interface]:1", "there is no network interface of the name behind the `%`"},
        {"256.0.0.1:1", "this is not an IPv4 address"},
        {"127.1:1", "this is not an IPv4 address"},
        {"2130706433:1", "this is not an IPv4 address"},
        {"app.example:1", NO_NAME},
        {"LOCALHOST:1", NO_NAME},
        {"127.0.0.1 :1", "the host is neither an address nor a name"},
        {"http://127.0.0.1:80", "this is a URL; write HOST:PORT alone"},
        {"h\xc3\xb6st:80", "the host is neither an address nor a name"},
        {"unix:", "the path is missing; write unix:/path"},
        {"unix:run/app.sock", "the path must begin at the root; write unix:/path"},
    };
    char name[ADDRESS_HOST_MAX + 8];
    struct config_address address;
    const char *why;

    for (size_t i = 0; i < COUNT(cases); i++) {
        memset(&address, 0x5a, sizeof(address));
        why = "";
        if (config_address_parse(cases[i].text, &address, &why) != -EINVAL || strcmp(why, cases[i].why) != 0)
            fail_msg("`%s`: %s", cases[i].text, why);
        for (size_t j = 0; j < sizeof(address); j++)
            assert_int_equal(((const unsigned char *)&address)[j], 0x5a);
    }
    memset(name, 'a', ADDRESS_HOST_MAX + 1);
    strcpy(name + ADDRESS_HOST_MAX + 1, ":1");
    assert_int_equal(config_address_parse(name, &address, &why), -EINVAL);
    assert_string_equal(why, "the host is longer than the 253 bytes that a name may have");
}

static void test_text(void **state)
{
    static const char *const texts[] = {"192.0.2.7:80", "[2001:db8::7]:443", "[::]:1"};
    char text[ADDRESS_TEXT_SIZE];
    struct config_address address;
    const char *why;

    for (size_t i = 0; i < COUNT(texts); i++) {
        assert_int_equal(config_address_parse(texts[i], &address, &why), 0);
        address_text(&address, text);
        assert_string_equal(text, texts[i]);
        free(address.text);
    }
}

// What getaddrinfo() says of a number needs no name server.
static void test_look_up(void **state)
{
    struct config_address found[4];
    struct config_address expected;
    const char *why;
    size_t count = 0;

    assert_int_equal(address_look_up("192.0.2.7", found, COUNT(found), &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(config_address_parse("192.0.2.7:0", &expected, &why), 0);
    assert_true(address_equal(&found[0], &expected));
    address_set_port(&found[0], 1);
    assert_int_equal(address_port(&found[0]), 1);
    assert_false(address_equal(&found[0], &expected));
    free(expected.text);
}

struct quantity {
    const char *text;
    int result;
    uint64_t value;
};

static void check_quantity(const struct quantity *expected, int (*parse)(const char *, uint64_t *))
{
    uint64_t value = 4711;
    int result = parse(expected->text, &value);

    if (result != expected->result || value != (result == 0 ? expected->value : 4711))
        fail_msg("`%s`: %d, %llu", expected->text, result, (unsigned long long)value);
}

static void test_times(void **state)
{
    static const struct quantity cases[] = {
        {"0s", 0, 0},
        {"0ms", 0, 0},
        {"1ms", 0, 1000000},
        {"500ms", 0, 500000000},
        {"10s", 0, 10000000000},
        {"0010s", 0, 10000000000},
        {"5m", 0, 300000000000},
        {"2h", 0, 7200000000000},
        {"1d", 0, 86400000000000},
        {"9223372036854ms", 0, 9223372036854000000},
        {"9223372036855ms", -ERANGE, 0},
        {"106751d", 0, 9223286400000000000},
        {"106752d", -ERANGE, 0},
        {"213504d", -ERANGE, 0},
        {"18446744073709551615s", -ERANGE, 0},
        {"18446744073709551616s", -ERANGE, 0},
        {"99999999999999999999999999999999999999s", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"10", -EINVAL, 0},
        {"0", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"-1s", -EINVAL, 0},
        {"+1s", -EINVAL, 0},
        {" 1s", -EINVAL, 0},
        {"1 s", -EINVAL, 0},
        {"1s ", -EINVAL, 0},
        {"1.5s", -EINVAL, 0},
        {"1S", -EINVAL, 0},
        {"1us", -EINVAL, 0},
        {"1w", -EINVAL, 0},
        {"1h30m", -EINVAL, 0},
        {"0x10s", -EINVAL, 0},
        {"99999999999999999999999999999999999999", -EINVAL, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        check_quantity(&cases[i], config_time_parse);
}

static void test_sizes(void **state)
{
    static const struct quantity cases[] = {
        {"0", 0, 0},
        {"1", 0, 1},
        {"65536", 0, 65536},
        {"64k", 0, 65536},
        {"1m", 0, 1048576},
        {"2g", 0, UINT64_C(2) << 30},
        {"9223372036854775807", 0, INT64_MAX},
        {"9223372036854775808", -ERANGE, 0},
        {"18446744073709551615", -ERANGE, 0},
        {"18446744073709551616", -ERANGE, 0},
        {"8589934591g", 0, UINT64_C(8589934591) << 30},
        {"8589934592g", -ERANGE, 0},
        {"17179869184g", -ERANGE, 0},
        {"99999999999999999999999999999999999999k", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"k", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"1K", -EINVAL, 0},
        {"1kb", -EINVAL, 0},
        {"1t", -EINVAL, 0},
        {"1.5m", -EINVAL, 0},
        {"1 m", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"10s", -EINVAL, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        check_quantity(&cases[i], config_size_parse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v4),      cmocka_unit_test(test_v6),    cmocka_unit_test(test_unix),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_text),  cmocka_unit_test(test_look_up),
        cmocka_unit_test(test_times),   cmocka_unit_test(test_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

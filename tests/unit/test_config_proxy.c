// SPDX-License-Identifier: Apache-2.0
// The PROXY protocol in the configuration, and networks.
#include <arpa/inet.h>

#include "configs.h"

// ---- networks ----

static bool holds(const char *network_text, const char *address_text)
{
    struct sockaddr_storage address = {.ss_family = strchr(address_text, ':') ? AF_INET6 : AF_INET};
    struct config_network network;
    const char *why;

    if (config_network_parse(network_text, &network, &why) != 0)
        fail_msg("%s: %s", network_text, why);
    assert_int_equal(inet_pton(address.ss_family, address_text,
                               address.ss_family == AF_INET
                                   ? (void *)&((struct sockaddr_in *)&address)->sin_addr
                                   : (void *)&((struct sockaddr_in6 *)&address)->sin6_addr),
                     1);
    return config_network_holds(&network, &address);
}

static void test_networks(void **state)
{
    const struct sockaddr_storage path = {.ss_family = AF_UNIX};
    struct config_network network;
    const char *why;

    assert_true(holds("192.0.2.0/24", "192.0.2.0"));
    assert_true(holds("192.0.2.0/24", "192.0.2.255"));
    assert_false(holds("192.0.2.0/24", "192.0.3.0"));
    assert_true(holds("192.0.2.128/25", "192.0.2.128"));
    assert_false(holds("192.0.2.128/25", "192.0.2.127"));
    assert_true(holds("192.0.2.7", "192.0.2.7"));
    assert_false(holds("192.0.2.7", "192.0.2.6"));
    assert_true(holds("192.0.2.7/32", "::ffff:192.0.2.7"));
    assert_true(holds("0.0.0.0/0", "255.255.255.255"));
    assert_true(holds("0.0.0.0/0", "::ffff:10.0.0.1"));
    assert_false(holds("0.0.0.0/0", "::1"));
    assert_true(holds("::/0", "192.0.2.7"));
    assert_true(holds("2001:db8::/32", "2001:db8:ffff::1"));
    assert_false(holds("2001:db8::/33", "2001:db8:ffff::1"));
    assert_true(holds("2001:db8::/33", "2001:db8:7fff::1"));
    assert_true(holds("::1", "::1"));
    assert_false(holds("::1", "127.0.0.1"));
    assert_true(holds("::ffff:192.0.2.0/120", "192.0.2.9"));
    assert_int_equal(config_network_parse("::/0", &network, &why), 0);
    assert_false(config_network_holds(&network, &path));
}

static void test_networks_wrong(void **state)
{
#define WRITE "write an address or a network such as 192.0.2.0/24 or 2001:db8::/32"
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"", WRITE},
        {"/8", WRITE},
        {"example.com", WRITE},
        {"192.0.2", WRITE},
        {"192.0.2.1:80", WRITE},
        {"[::1]", WRITE},
        {"fe80::1%lo", WRITE},
        {"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", WRITE},
        {"192.0.2.0/33", "behind the `/` stands a number from 0 to 32"},
        {"192.0.2.0/", "behind the `/` stands a number from 0 to 32"},
        {"192.0.2.0/024", "behind the `/` stands a number from 0 to 32"},
        {"192.0.2.0/255.255.255.0", "behind the `/` stands a number from 0 to 32"},
        {"2001:db8::/129", "behind the `/` stands a number from 0 to 128"},
        {"2001:db8::/-1", "behind the `/` stands a number from 0 to 128"},
        {"192.0.2.1/24", "the address has bits behind the network's own; write the network's first address"},
        {"2001:db8::1/32",
         "the address has bits behind the network's own; write the network's first address"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config_network network;
        const char *why = NULL;

        assert_int_equal(config_network_parse(cases[i].text, &network, &why), -EINVAL);
        assert_string_equal(why, cases[i].why);
    }
}

// ---- keys ----

#define LISTENER(fragment) IN_LISTENER fragment "}]\n"
#define UPSTREAM(fragment) IN_UPSTREAM fragment "}]\n"

static void test_listener(void **state)
{
    struct config *config = load(LISTENER("name: a"));

    assert_int_equal(config->listeners[0].proxy.mode, CONFIG_PROXY_IN_OFF);
    config_destroy(config);
    config = load(LISTENER("proxy_protocol: any, proxy_protocol_from: [10.0.0.0/8, \"::1\"]"));
    assert_int_equal(config->listeners[0].proxy.mode, CONFIG_PROXY_IN_ANY);
    assert_true(config->listeners[0].proxy.is_required);
    assert_int_equal(config->listeners[0].proxy.network_count, 2);
    assert_int_equal(config->listeners[0].proxy.networks[0].bits, 104);
    assert_int_equal(config->listeners[0].proxy.networks[1].bits, 128);
    config_destroy(config);
    config =
        load(LISTENER("proxy_protocol: v1, proxy_protocol_from: 10.1.2.3, proxy_protocol_required: false"));
    assert_int_equal(config->listeners[0].proxy.mode, CONFIG_PROXY_IN_V1);
    assert_false(config->listeners[0].proxy.is_required);
    config_destroy(config);
    config = load(
        APP "listeners: [{address: \"unix:/a\", upstream: app, tls: {certificates: [{chain: c, key: k}]}, "
            "proxy_protocol: v2, proxy_protocol_required: false}]\n");
    assert_int_equal(config->listeners[0].proxy.mode, CONFIG_PROXY_IN_V2);
    config_destroy(config);
    config =
        load(APP "listeners: [{address: \"127.0.0.9:1\", upstream: app, tls: {certificates: [{chain: c, key: "
                 "k}]}, proxy_protocol: v2}]\n");
    config_destroy(config);
    config =
        load(APP "listeners: [{address: \"[::1]:1\", upstream: app, tls: {certificates: [{chain: c, key: "
                 "k}]}, proxy_protocol: v2}]\n");
    config_destroy(config);
}

static void test_warned(void **state)
{
    config_destroy(
        load_warned(LISTENER("proxy_protocol: v2"),
                    "c:3:17: warning: whoever reaches this listener can choose the address that it seems "
                    "to come from; name the networks of the proxies in `proxy_protocol_from`\n"));
    config_destroy(
        load_warned(LISTENER("proxy_protocol_from: 10.0.0.0/8, proxy_protocol_required: true"),
                    "c:3:22: warning: `proxy_protocol_from` does nothing where `proxy_protocol` is off\n"
                    "c:3:59: warning: `proxy_protocol_required` does nothing where `proxy_protocol` is "
                    "off\n"));
    config_destroy(load_warned(
        APP "listeners: [{address: \"unix:/a\", upstream: app, tls: {certificates: [{chain: c, key: k}]},\n"
            "proxy_protocol: v2, proxy_protocol_from: 10.0.0.0/8}]\n",
        "c:3:42: warning: `proxy_protocol_from` does nothing at a unix address; who may connect is for the "
        "permissions of its folder to say\n"));
    config_destroy(
        load_warned(UPSTREAM("proxy_protocol: v1, proxy_protocol_tlvs: [alpn]"),
                    "c:3:42: warning: `proxy_protocol_tlvs` does nothing unless `proxy_protocol` is v2\n"));
}

static void test_upstream(void **state)
{
    struct config *config = load(UPSTREAM("proxy_protocol: v2"));
    unsigned all = config->upstreams[0].proxy.tlvs;

    assert_int_equal(config->upstreams[0].proxy.mode, CONFIG_PROXY_OUT_V2);
    assert_int_equal(all & CONFIG_PROXY_TLV_CRC32C, 0);
    assert_int_not_equal(all & CONFIG_PROXY_TLV_ALPN, 0);
    assert_int_not_equal(all & CONFIG_PROXY_TLV_CLIENT_CERT, 0);
    config_destroy(config);
    config = load(UPSTREAM("proxy_protocol: v2, proxy_protocol_tlvs: []"));
    assert_int_equal(config->upstreams[0].proxy.tlvs, 0);
    config_destroy(config);
    config = load(UPSTREAM("proxy_protocol: v2, proxy_protocol_tlvs: crc32c"));
    assert_int_equal(config->upstreams[0].proxy.tlvs, CONFIG_PROXY_TLV_CRC32C);
    config_destroy(config);
    config = load(
        UPSTREAM("proxy_protocol: v2, proxy_protocol_tlvs: [alpn, authority, unique_id, ssl, ssl_cipher, "
                 "cert_cn, cert_sig, cert_key, client_cert]"));
    assert_int_equal(config->upstreams[0].proxy.tlvs, all);
    config_destroy(config);
    config = load(UPSTREAM("proxy_protocol: off"));
    assert_int_equal(config->upstreams[0].proxy.mode, CONFIG_PROXY_OUT_OFF);
    config_destroy(config);
}

static const struct bad bad_proxy[] = {
    {"optional and from anybody", LISTENER("proxy_protocol: v2, proxy_protocol_required: false"),
     "c:3:46: `proxy_protocol_required: false` needs `proxy_protocol_from`, the networks of the proxies; "
     "else any "
     "client could choose the address that it seems to come from\n"},
    {"a wrong mode alone is said", LISTENER("proxy_protocol: v3, proxy_protocol_from: 10.0.0.0/8"),
     "c:3:17: `proxy_protocol` must be off, v1, v2 or any, not \"v3\"\n"},
    {"a wrong list alone is said",
     LISTENER("proxy_protocol: v2, proxy_protocol_required: false, proxy_protocol_from: []"),
     "c:3:74: `proxy_protocol_from` is empty; it needs at least one entry\n"},
    {"a network that is none", LISTENER("proxy_protocol: v2, proxy_protocol_from: [10.0.0.0/8, 10.0.0.1/8]"),
     "c:3:55: `10.0.0.1/8` is no network: the address has bits behind the network's own; write the network's "
     "first "
     "address\n"},
    {"a word for required", LISTENER("proxy_protocol: v2, proxy_protocol_required: always"),
     "c:3:46: `proxy_protocol_required` must be true, false, yes, no, on or off, not \"always\"\n"},
    {"any towards servers", UPSTREAM("proxy_protocol: any"),
     "c:3:17: `proxy_protocol` must be off, v1 or v2, not \"any\"\n"},
    {"an unknown TLV", UPSTREAM("proxy_protocol: v2, proxy_protocol_tlvs: [netns]"),
     "c:3:43: an entry of `proxy_protocol_tlvs` must be alpn, authority, unique_id, ssl, ssl_cipher, "
     "cert_cn, "
     "cert_sig, cert_key, client_cert or crc32c, not \"netns\"\n"},
};

int main(void)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(test_networks), cmocka_unit_test(test_networks_wrong),
        cmocka_unit_test(test_listener), cmocka_unit_test(test_warned),
        cmocka_unit_test(test_upstream),
    };
    struct CMUnitTest tests[COUNT(fixed) + COUNT(bad_proxy)];
    size_t count = COUNT(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    count = add_bad(tests, count, bad_proxy, COUNT(bad_proxy));
    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}

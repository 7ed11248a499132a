// SPDX-License-Identifier: Apache-2.0
// Configurations as documents: what YAML may look like here, which keys there are, and of what kind they are.
#include "configs.h"

static const struct bad bad_documents[] = {
    {"empty", "", NOTHING},
    {"only a comment", "# nothing\n", NOTHING},
    {"only a null", "---\n~\n", NOTHING},
    {"a list", "- a\n",
     "c:1:1: the configuration must be a mapping with listeners and upstreams, not a list\n"},
    {"a word", "a\n",
     "c:1:1: the configuration must be a mapping with listeners and upstreams, not a single value\n"},
    {"two documents", BOTH "---\nworkers: 1\n",
     "c:3:1: a second document begins here; the file may hold only one\n"},
    {"what is wrong with the first of two", "worker: 1\n" BOTH "---\n",
     "c:1:1: unknown key `worker`; did you mean `workers`?\n"
     "c:4:1: a second document begins here; the file may hold only one\n"},
    {"not YAML", "a: [\n", "c:2:1: did not find expected node content while parsing a flow node\n"},
    {"wrong indentation", "log:\n  level: info\n format: text\n",
     "c:3:2: did not find expected key while parsing a block mapping that begins in line 1\n"},
    {"a tab", "log:\n\tlevel: info\n", "c:2:1: a tab cannot indent; use spaces\n"},
    {"a colon too many", "a: b: c\n", "c:1:5: mapping values are not allowed in this context\n"},
    {"unclosed quotes", "user: \"a\n",
     "c:2:1: found unexpected end of stream while scanning a quoted scalar that begins in line 1\n"},
    {"not UTF-8", "user: a\xff\n", "c:1:8: invalid leading UTF-8 octet; the file must be UTF-8 text\n"},
    {"not UTF-8, in the third line", "a: 1\n\xc3\xa9: 2\n\xc3\xa9\xc3\n: 3\n",
     "c:3:3: invalid trailing UTF-8 octet; the file must be UTF-8 text\n"},
    {"UTF-16",
     "\xff\xfe"
     "a",
     "c:1:1: invalid leading UTF-8 octet; the file must be UTF-8 text\n"},
    {"a control character", "user: \x01\n",
     "c:1:7: control characters are not allowed; the file must be UTF-8 text\n"},
    {"an escaped zero", "user: \"a\\0b\"\n" BOTH,
     "c:1:7: a zero byte cannot be part of a value; remove it\n"},
    {"an escaped control character", "user: \"a\\e[1m\"\n" BOTH,
     "c:1:7: `user` must not hold control characters, as in \"a\\x1b[1m\"\n"},
    {"a key twice", "user: a\nlog: {}\nuser: b\n" BOTH,
     "c:3:1: `user` stands here twice, first in line 1; remove one\n"},
    {"a key thrice", BOTH "log: {level: info,\n level: info, level: info}\n",
     "c:4:2: `level` stands here twice, first in line 3; remove one\n"
     "c:4:15: `level` stands here twice, first in line 3; remove one\n"},
    {"a list for a key", BOTH "? [a]\n: b\n", "c:3:3: a key must be a word, not a list\n"},
    {"a mapping for a key", BOTH "? {a: b}\n: b\n", "c:3:3: a key must be a word, not a mapping\n"},
    {"a tag", BOTH "user: !secret a\n", "c:3:7: tags have no meaning here; remove `!secret`\n"},
    {"a tag of YAML's", BOTH "workers: !!int 1\n",
     "c:3:10: tags have no meaning here; remove `tag:yaml.org,2002:int`\n"},
    {"an alias of nothing", BOTH "user: *me\n",
     "c:3:7: `*me` names no anchor; write `&me` ahead of a value above\n"},
    {"an alias of what comes later", "user: *me\nworkers: &me 1\n" BOTH,
     "c:1:7: `*me` names no anchor; write `&me` ahead of a value above\n"},
    {"a list in itself", BOTH "log: &a {level: *a}\n",
     "c:3:17: `*a` stands inside what it names; it must come after\n"},
    {"a mapping merged into itself", BOTH "log: &a {<<: *a}\n",
     "c:3:14: `*a` stands inside what it names; it must come after\n"},
    {"a merge of a word", BOTH "log: {<<: a}\n",
     "c:3:11: `<<` takes a mapping or a list of mappings, such as *anchor\n"},
    {"a merge of words", BOTH "log: {<<: [{level: info}, a, [b]]}\n",
     "c:3:27: `<<` takes a mapping or a list of mappings, such as *anchor\n"
     "c:3:30: `<<` takes a mapping or a list of mappings, such as *anchor\n"},
    {"two merges", BOTH "log: {<<: {}, <<: {}}\n",
     "c:3:15: `<<` stands here twice, first in line 3; remove one\n"},
    {"a merge in quotes is a key", BOTH "log: {\"<<\": {}}\n",
     "c:3:7: unknown key `<<`; known here are level, format, access, failures_per_second, sample and file\n"},
};

static const struct bad bad_keys[] = {
    {"unknown, nothing near", BOTH "zzz: 1\n", "c:3:1: unknown key `zzz`; known here are " ROOT_KEYS},
    {"unknown, near", BOTH "wokrers: 1\n", "c:3:1: unknown key `wokrers`; did you mean `workers`?\n"},
    {"unknown, near one that is there", BOTH "log: {level: info, levels: info}\n",
     "c:3:20: unknown key `levels`; known here are level, format, access, failures_per_second, sample and file\n"},
    {"unknown, with a dash", BOTH "shutdown-timeout: 1s\n",
     "c:3:1: unknown key `shutdown-timeout`; did you mean `shutdown_timeout`?\n"},
    {"unknown, in capitals", BOTH "USER: a\n", "c:3:1: unknown key `USER`; did you mean `user`?\n"},
    {"unknown, empty", BOTH "\"\": a\n", "c:3:1: unknown key ``; known here are " ROOT_KEYS},
    {"unknown, with a terminal's sequence", BOTH "\"\\e[0mx\": a\n",
     "c:3:1: unknown key `\\x1b[0mx`; known here are " ROOT_KEYS},
    {"one level too high", BOTH "handshake: 1s\n",
     "c:3:1: unknown key `handshake` here; it belongs in `timeouts`\n"},
    {"certificates outside of tls",
     APP "listeners:\n- address: \"*:1\"\n  upstream: app\n  certificates: []\n",
     "c:5:3: unknown key `certificates` here; it belongs in `tls`\n"},
    {"a required key misspelled is not missing too", "listener: []\n" APP,
     "c:1:1: unknown key `listener`; did you mean `listeners`?\n"},
    {"without listeners", APP, "c:1:1: required key `listeners` is missing" NEEDS},
    {"without upstreams", "# \n" WEB, "c:2:1: required key `upstreams` is missing" NEEDS},
    {"empty listener", APP "listeners: [{}]\n",
     "c:2:13: required key `address` is missing; an entry of `listeners` needs it\n"
     "c:2:13: required key `tls` is missing; an entry of `listeners` needs it, or `redirect`\n"
     "c:2:13: required key `upstream` is missing; an entry of `listeners` needs it, or `routes`\n"},
    {"empty tls", APP "listeners: [{address: \"*:1\", upstream: app, tls: {}}]\n",
     "c:2:50: `tls` needs `certificates` or `certificate_dir`\n"},
    {"empty certificate", APP "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: [{}]}}]\n",
     "c:2:66: " NO_FILES},
    {"empty upstream", WEB "upstreams: [{}]\n",
     "c:2:13: required key `name` is missing; an entry of `upstreams` needs it\n"
     "c:2:13: required key `servers` is missing; an entry of `upstreams` needs it\n"},
    {"empty server", WEB "upstreams: [{name: app, servers: [{}]}]\n",
     "c:2:35: required key `address` is missing; an entry of `servers` needs it\n"},
};

static const struct bad bad_kinds[] = {
    {"a list for a section", BOTH "log: [info]\n",
     "c:3:6: `log` must be a mapping with level, format, access, failures_per_second, sample or file, not a list\n"},
    {"a word for a section", BOTH "ktls: off\n",
     "c:3:7: `ktls` must be a mapping with transmit, receive or offload_after, not a single value\n"},
    {"a word for a list", APP "listeners: none\n",
     "c:2:12: `listeners` must be a list, not a single value\n"},
    {"a mapping for a list", WEB "upstreams: {name: app}\n",
     "c:2:12: `upstreams` must be a list, not a mapping\n"},
    {"a list for a word", BOTH "user: [a]\n", "c:3:7: `user` must be a single value, not a list\n"},
    {"a mapping for a word", BOTH "workers: {a: b}\n",
     "c:3:10: `workers` must be a single value, not a mapping\n"},
    {"nothing for a word", BOTH "user:\n", "c:3:6: `user` has no value; write one, or remove the key\n"},
    {"null for a word", BOTH "user: null\n", "c:3:7: `user` has no value; write one, or remove the key\n"},
    {"nothing for a word of a few", BOTH "log: {level: ~}\n",
     "c:3:14: `level` has no value; write one, or remove the key\n"},
    {"nothing in a list",
     APP
     "listeners: [{address: \"*:1\", upstream: app, tls: {alpn: [~], certificates: [{chain: c, key: k}]}}]\n",
     "c:2:58: an entry of `alpn` has no value; write one, or remove the entry\n"},
    {"an empty text", BOTH "user: \"\"\n", "c:3:7: `user` must not be empty\n"},
    {"a server that is not a mapping", WEB "upstreams: [{name: app, servers: [\"127.0.0.1:80\"]}]\n",
     "c:2:35: an entry of `servers` must be a mapping with address, not a single value\n"},
    {"a certificate that is not a mapping",
     APP "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: [c.pem]}}]\n",
     "c:2:66: an entry of `certificates` must be a mapping with chain, key, pkcs12, passphrase, "
     "ocsp or names, not a single value\n"},
    {"a listener that is a list", APP "listeners: [[]]\n",
     "c:2:13: an entry of `listeners` must be a mapping with address, not a list\n"},
    {"no listeners", APP "listeners: []\n", "c:2:12: `listeners` is empty; it needs at least one entry\n"},
    {"nothing for listeners", APP "listeners:\n",
     "c:2:11: `listeners` is empty; it needs at least one entry\n"},
    {"no upstreams", WEB "upstreams: []\n", "c:2:12: `upstreams` is empty; it needs at least one entry\n"},
    {"no servers", WEB "upstreams: [{name: app, servers: []}]\n",
     "c:2:34: `servers` is empty; it needs at least one entry\n"},
    {"no certificates", APP "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: []}}]\n",
     "c:2:65: `certificates` is empty; it needs at least one entry\n"},
    {"level", BOTH "log: {level: trace}\n",
     "c:3:14: `level` must be error, warning, info or debug, not \"trace\"\n"},
    {"level in capitals", BOTH "log: {level: INFO}\n",
     "c:3:14: `level` must be error, warning, info or debug, not \"INFO\"\n"},
    {"format", BOTH "log: {format: xml}\n", "c:3:15: `format` must be text or json, not \"xml\"\n"},
    {"failures per second", BOTH "log: {failures_per_second: -1}\n",
     "c:3:28: `failures_per_second` cannot be `-1`; write a number from 0 to 1000000\n"},
    {"sample", BOTH "log: {sample: 0}\n", "c:3:15: `sample` cannot be `0`; write a number from 1 to 1000000\n"},
    {"access", BOTH "log: {access: 1}\n",
     "c:3:15: `access` must be true, false, yes, no, on or off, not \"1\"\n"},
    {"transmit", BOTH "ktls: {transmit: on}\n",
     "c:3:18: `transmit` must be auto, off or required, not \"on\"\n"},
    {"receive", BOTH "ktls: {receive: true}\n",
     "c:3:17: `receive` must be auto, off or required, not \"true\"\n"},
    {"min_version",
     APP "listeners: [{address: \"*:1\", upstream: app, tls: {min_version: 1.1, certificates: [{chain: c, "
         "key: k}]}}]\n",
     "c:2:64: `min_version` must be 1.2 or 1.3, not \"1.1\"\n"},
    {"max_version",
     APP "listeners: [{address: \"*:1\", upstream: app, tls: {max_version: TLSv1.3, certificates: [{chain: "
         "c, key: k}]}}]\n",
     "c:2:64: `max_version` must be 1.2 or 1.3, not \"TLSv1.3\"\n"},
    {"balance", WEB "upstreams: [{name: app, balance: random, servers: [{address: \"127.0.0.1:80\"}]}]\n",
     "c:2:34: `balance` must be round_robin, least_connections or source_hash, not \"random\"\n"},
};

// Faults of every kind at once: a walk that stops early misses some, and one that trips reports what is
// right.
static const struct bad bad_together[] = {
    {"everything",
     "worker: 4\n"
     "admin: {htp: a}\n"
     "log: {level: loud}\n"
     "timeouts: {idle: 5, hello: 1s}\n"
     "listeners:\n"
     "- adress: \"*:1\"\n"
     "  upstream: ap\n"
     "  tls: {certificates: [{key: a}], alpn: [h2, h2]}\n"
     "- 127.0.0.1:443\n"
     "- address: 443\n"
     "  upstream: app\n"
     "  tls: {min_version: 1.0, certificates: []}\n"
     "upstreams:\n"
     "- name: app\n"
     "  balance: least_connections\n"
     "  servers: [{address: \"127.0.0.1\"}, x, {weight: x, address: \"127.0.0.1:1\"}]\n"
     "  tls: {}\n",
     "c:1:1: unknown key `worker`; did you mean `workers`?\n"
     "c:2:9: unknown key `htp`; did you mean `http`?\n"
     "c:3:14: `level` must be error, warning, info or debug, not \"loud\"\n"
     "c:4:18: `idle` cannot be `5`; " TIME
     "c:4:21: unknown key `hello`; known here are handshake, connect, idle and half_closed\n"
     "c:6:3: unknown key `adress`; did you mean `address`?\n"
     "c:7:13: there is no upstream `ap`; known are `app`\n"
     "c:8:24: " NO_FILES "c:8:46: `h2` stands in `alpn` twice; remove one\n"
     "c:9:3: an entry of `listeners` must be a mapping with address, not a single value\n"
     "c:10:12: `address` `443`: " NO_HOST "c:12:22: `min_version` must be 1.2 or 1.3, not \"1.0\"\n"
     "c:12:41: `certificates` is empty; it needs at least one entry\n"
     "c:16:23: `address` `127.0.0.1`: the port is missing; write HOST:PORT or unix:/path\n"
     "c:16:37: an entry of `servers` must be a mapping with address, not a single value\n"
     "c:16:49: `weight` cannot be `x`; write a number from 0 to 256\n"},
    {"an upstream whose name is wrong may be the one that is meant",
     WEB "upstreams: [{nam: app, servers: [{address: \"127.0.0.1:80\"}]}]\n",
     "c:2:14: unknown key `nam`; did you mean `name`?\n"},
    {"one wrong value stands for nothing else", "workers: none\nlimits: {memory: 1m}\n" BOTH,
     "c:1:10: `workers` cannot be `none`; write `auto` or a number from 1 to 1024\n"},
};

// ---- hostile files ----

static void test_alias_bomb(void **state)
{
    char *text = strdup(BOTH "log:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");

    for (int i = 1; i < 10; i++) {
        char *longer = NULL;
        assert_true(
            asprintf(&longer, "%s  a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n",
                     text, i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1) > 0);
        free(text);
        text = longer;
    }
    refuse(
        text,
        "c:8:47: more than 100000 values, counting for each alias what it names; that is the most allowed\n");
    free(text);
}

static void test_merge_bomb(void **state)
{
    char *text = strdup(BOTH "log:\n  a0: &a0 {x: [1, 2, 3, 4, 5, 6, 7, 8, 9]}\n");

    for (int i = 1; i < 12; i++) {
        char *longer = NULL;
        assert_true(asprintf(&longer, "%s  a%d: &a%d {<<: *a%d, y%d: *a%d, z%d: *a%d}\n", text, i, i, i - 1,
                             i, i - 1, i, i - 1) > 0);
        free(text);
        text = longer;
    }
    refuse(text, "c:12:34: more than 100000 values, counting for each alias what it names; that is the most "
                 "allowed\n");
    free(text);
}

static void test_nesting(void **state)
{
    char *text = repeat(BOTH "log: ", "[", 100000, "");

    refuse(text, "c:3:37: nested deeper than 32 levels; that is the most allowed\n");
    free(text);
    text = repeat(BOTH "log: ", "{a: ", 100000, "");
    refuse(text, "c:3:130: nested deeper than 32 levels; that is the most allowed\n");
    free(text);
    text = repeat(BOTH "log:\n", "- ", 100000, "");
    refuse(text, "c:4:63: nested deeper than 32 levels; that is the most allowed\n");
    free(text);
    // By aliases, each of which nests one level more.
    text = strdup(BOTH "log:\n- &a0 []\n");
    for (int i = 1; i < 40; i++) {
        char *longer = NULL;
        assert_true(asprintf(&longer, "%s- &a%d [*a%d]\n", text, i, i - 1) > 0);
        free(text);
        text = longer;
    }
    refuse(text, "c:34:9: nested deeper than 32 levels; that is the most allowed\n");
    free(text);
}

static void test_many(void **state)
{
    char *text = repeat(BOTH "log: [", "a, ", 100000, "]\n");
    char *end;
    char *keys;

    refuse(text, "c:3:299920: more than 100000 values, counting for each alias what it names; that is the "
                 "most allowed\n");
    free(text);

    keys = malloc(16 * 1002 + 1);
    end = keys;
    for (int i = 0; i <= 1000; i++)
        end += sprintf(end, "k%d: 1\n", i);
    refuse(keys, "c:1001:1: more than 1000 keys in one mapping; that is the most allowed\n");
    end = keys;
    end += sprintf(end, "log:\n");
    for (int i = 0; i <= 1000; i++)
        end += sprintf(end, "- &a%d b\n", i);
    refuse(keys, "c:1002:3: more than 1000 anchors; that is the most allowed\n");
    free(keys);

    text = repeat(APP "listeners: [", "{}, ", 4097, "]\n");
    refuse(text, "c:2:12: `listeners` has 4097 entries; at most 4096 are allowed\n");
    free(text);
    text = repeat(IN_TLS "alpn: [", "a, ", 65, "]}}]\n");
    refuse(text, "c:3:7: `alpn` has 65 entries; at most 64 are allowed\n");
    free(text);
}

static void test_long(void **state)
{
    char *text = repeat(BOTH "user: ", "u", 256, "\n");
    struct config *config;

    refuse(text, "c:3:7: `user` must be at most 255 bytes long, not 256\n");
    free(text);
    text = repeat(BOTH "user: ", "u", 255, "\n");
    config = load(text);
    assert_int_equal(strlen(config->user), 255);
    config_destroy(config);
    free(text);
    text = repeat(IN_TLS "alpn: [", "a", 256, "]}}]\n");
    refuse(text, "c:3:8: an entry of `alpn` must be at most 255 bytes long, not 256\n");
    free(text);
    text = repeat(BOTH "workers: ", "1", 5000, "\n");
    refuse(text, "c:3:10: `workers` must be at most 4095 bytes long, not 5000\n");
    free(text);
}

static void test_huge(void **state)
{
    char *text = repeat(BOTH "# ", "x", (16u << 20) - strlen(BOTH) - 2, "x");
    struct config *config;

    refuse(text, "c: larger than the 16 MiB that a configuration may have\n");
    text[16u << 20] = '\0';
    config = load(text);
    config_destroy(config);
    free(text);
}

static void test_zero_byte(void **state)
{
    static const char text[] = BOTH "user: a\0b\n";

    refuse_bytes(text, sizeof(text) - 1,
                 "c:3:8: control characters are not allowed; the file must be UTF-8 text\n");
}

// ---- anchors and merge keys ----

static void test_merge(void **state)
{
    struct config *config =
        load("log: &log {level: error, format: json}\n"
             "listeners:\n"
             "- &first\n"
             "  name: first\n"
             "  address: &a '*:1'\n"
             "  tls: &tls\n"
             "    alpn: &alpn [h2]\n"
             "    certificates: [{chain: c, key: k}]\n"
             "  upstream: &app app\n"
             "- name: second\n" // its own keys win, wherever `<<` stands
             "  <<: *first\n"
             "  address: '*:2'\n"
             "- <<: [{name: third}, {name: lost, address: '*:3'}, *first]\n" // the earlier wins
             "- {name: fourth, address: '*:4', upstream: *app,\n"
             "   tls: {<<: *tls, min_version: '1.3', alpn: *alpn}}\n"
             "- {<<: {<<: {<<: *first, name: lost}, name: fifth}, address: '*:5'}\n"
             "upstreams:\n"
             "- name: *app\n"
             "  servers: [&a {address: '127.0.0.1:1'}]\n" // an anchor again
             "- name: other\n"
             "  servers: [*a]\n");
    static const char *const names[] = {"first", "second", "third", "fourth", "fifth"};

    assert_int_equal(config->log.level, LOG_ERROR);
    assert_int_equal(config->listener_count, COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct config_listener *listener = &config->listeners[i];
        assert_string_equal(listener->name, names[i]);
        assert_int_equal(port_of(&listener->address), i + 1);
        assert_int_equal(listener->upstream, 0);
        assert_int_equal(listener->tls.version_min, i == 3 ? CONFIG_TLS13 : CONFIG_TLS12);
        assert_int_equal(listener->tls.alpn_count, 1);
        assert_string_equal(listener->tls.alpn[0], "h2");
        assert_string_equal(listener->tls.certificates[0].chain, "/etc/rb/c");
        // A merged value stands where it was written; what repeats it stands where the alias does.
        assert_int_equal(listener->tls.certificates[0].chain_where.line, 8);
    }
    assert_int_equal(config->listeners[1].where.line, 10);
    assert_int_equal(config->listeners[1].tls.where.line, 6);
    assert_int_equal(config->upstreams[1].where.line, 20);
    assert_string_equal(config->upstreams[1].servers[0].address.text, "127.0.0.1:1");
    config_destroy(config);
}

// What was merged is checked like everything else, and its faults are found where they were written.
static void test_merge_wrong(void **state)
{
    refuse(APP "listeners:\n"
               "- &first {address: '*:1', upstrem: app, tls: {certificates: [{chain: c, key: k}]}}\n"
               "- {<<: *first, address: '*'}\n",
           "c:3:27: unknown key `upstrem`; did you mean `upstream`?\n"
           "c:4:25: `address` `*`: the port is missing; write HOST:PORT or unix:/path\n");
}

int main(void)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(test_alias_bomb),    cmocka_unit_test(test_merge_bomb),
        cmocka_unit_test(test_nesting),       cmocka_unit_test(test_many),
        cmocka_unit_test(test_long),          cmocka_unit_test(test_huge),
        cmocka_unit_test(test_zero_byte),     cmocka_unit_test(test_merge),
        cmocka_unit_test(test_merge_wrong),
    };
    struct CMUnitTest
        tests[COUNT(fixed) + COUNT(bad_documents) + COUNT(bad_keys) + COUNT(bad_kinds) + COUNT(bad_together)];
    size_t count = COUNT(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    count = add_bad(tests, count, bad_documents, COUNT(bad_documents));
    count = add_bad(tests, count, bad_keys, COUNT(bad_keys));
    count = add_bad(tests, count, bad_kinds, COUNT(bad_kinds));
    count = add_bad(tests, count, bad_together, COUNT(bad_together));
    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}

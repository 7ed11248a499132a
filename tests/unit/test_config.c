// SPDX-License-Identifier: Apache-2.0
// Configurations, good and bad: what each file becomes, or every line that is said about it.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "ringbolt/config.h"
#include "src/config/parse.h"
#include "src/config/schema_config.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SECOND_NS    UINT64_C(1000000000)

// What every file needs, in a line each.
#define WEB                                                                                                  \
    "listeners: [{address: \"127.0.0.1:443\", tls: {certificates: [{chain: c, key: k}]}, upstream: app}]\n"
#define APP  "upstreams: [{name: app, servers: [{address: \"127.0.0.1:80\"}]}]\n"
#define BOTH WEB APP

// "two.example" has two addresses, one of them twice; "none.example" has none.
static int resolve(const char *host, struct config_address *ret, size_t max, size_t *ret_count)
{
    const uint32_t hosts[] = {0xc0000202, 0xc0000201};
    struct sockaddr_in *socket;

    if (strcmp(host, "two.example") != 0)
        return EAI_NONAME;
    assert_true(max >= COUNT(hosts));
    for (size_t i = 0; i < COUNT(hosts); i++) {
        ret[i] = (struct config_address){.length = sizeof(*socket)};
        socket = (struct sockaddr_in *)&ret[i].socket;
        socket->sin_family = AF_INET;
        socket->sin_addr.s_addr = htonl(hosts[i]);
    }
    *ret_count = COUNT(hosts);
    return 0;
}

static char *report_text(struct report *report)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    assert_non_null(file);
    report_print(report, file);
    assert_int_equal(fclose(file), 0);
    return text;
}

// The configuration that `text` becomes; the test fails with what is said against it.
static struct config *load(const char *text)
{
    struct config *config = NULL;
    struct report report;

    report_init(&report, "c");
    if (config_parse_with(text, strlen(text), "/etc/rb", resolve, &config, &report) != 0)
        fail_msg("%s", report_text(&report));
    assert_int_equal(report.count, 0);
    report_finish(&report);
    return config;
}

static void refuse_bytes(const char *text, size_t length, const char *lines)
{
    struct config *untouched = (struct config *)&untouched;
    struct config *config = untouched;
    struct report report;
    char *said;

    report_init(&report, "c");
    assert_int_equal(config_parse_with(text, length, "/etc/rb", resolve, &config, &report), -EINVAL);
    assert_ptr_equal(config, untouched);
    said = report_text(&report);
    if (strcmp(said, lines) != 0) // cmocka would cut a long report
        fprintf(stderr, "said:\n%sexpected:\n%s", said, lines);
    assert_true(strcmp(said, lines) == 0);
    free(said);
    report_finish(&report);
}

static void refuse(const char *text, const char *lines)
{
    refuse_bytes(text, strlen(text), lines);
}

// ---- what is refused ----

struct bad {
    const char *name;
    const char *text;
    const char *lines;
};

static void test_bad(void **state)
{
    const struct bad *bad = *state;

    refuse(bad->text, bad->lines);
}

#define NEEDS "; the configuration needs it\n"
#define TIME  "write a time such as `500ms`, `10s`, `5m`, `2h` or `1d`\n"
#define SIZE  "write a size such as `65536`, `64k`, `1m` or `2g`\n"
#define NO_HOST                                                                                              \
    "the host is missing; write `*:PORT` for every address or `127.0.0.1:PORT` for this machine only\n"
#define NOTHING                                                                                              \
    "c:1:1: required key `listeners` is missing" NEEDS "c:1:1: required key `upstreams` is missing" NEEDS
#define ROOT_KEYS "workers, user, shutdown_timeout, log, ktls, limits, timeouts, listeners and upstreams\n"

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
     "c:3:7: unknown key `<<`; known here are level, format and access\n"},
};

static const struct bad bad_keys[] = {
    {"unknown, nothing near", BOTH "zzz: 1\n", "c:3:1: unknown key `zzz`; known here are " ROOT_KEYS},
    {"unknown, near", BOTH "wokrers: 1\n", "c:3:1: unknown key `wokrers`; did you mean `workers`?\n"},
    {"unknown, near one that is there", BOTH "log: {level: info, levels: info}\n",
     "c:3:20: unknown key `levels`; known here are level, format and access\n"},
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
     "c:3:3: required key `tls` is missing; an entry of `listeners` needs it\n"
     "c:5:3: unknown key `certificates` here; it belongs in `tls`\n"},
    {"a required key misspelled is not missing too", "listener: []\n" APP,
     "c:1:1: unknown key `listener`; did you mean `listeners`?\n"},
    {"without listeners", APP, "c:1:1: required key `listeners` is missing" NEEDS},
    {"without upstreams", "# \n" WEB, "c:2:1: required key `upstreams` is missing" NEEDS},
    {"empty listener", APP "listeners: [{}]\n",
     "c:2:13: required key `address` is missing; an entry of `listeners` needs it\n"
     "c:2:13: required key `tls` is missing; an entry of `listeners` needs it\n"
     "c:2:13: required key `upstream` is missing; an entry of `listeners` needs it\n"},
    {"empty tls", APP "listeners: [{address: \"*:1\", upstream: app, tls: {}}]\n",
     "c:2:50: required key `certificates` is missing; `tls` needs it\n"},
    {"empty certificate", APP "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: [{}]}}]\n",
     "c:2:66: required key `chain` is missing; an entry of `certificates` needs it\n"
     "c:2:66: required key `key` is missing; an entry of `certificates` needs it\n"},
    {"empty upstream", WEB "upstreams: [{}]\n",
     "c:2:13: required key `name` is missing; an entry of `upstreams` needs it\n"
     "c:2:13: required key `servers` is missing; an entry of `upstreams` needs it\n"},
    {"empty server", WEB "upstreams: [{name: app, servers: [{}]}]\n",
     "c:2:35: required key `address` is missing; an entry of `servers` needs it\n"},
};

static const struct bad bad_kinds[] = {
    {"a list for a section", BOTH "log: [info]\n", "c:3:6: `log` must be a mapping, not a list\n"},
    {"a word for a section", BOTH "ktls: off\n", "c:3:7: `ktls` must be a mapping, not a single value\n"},
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
     "c:2:66: an entry of `certificates` must be a mapping with chain and key, not a single value\n"},
    {"a listener that is a list", APP "listeners: [[]]\n",
     "c:2:13: an entry of `listeners` must be a mapping with address, tls and upstream, not a list\n"},
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
     "c:2:34: `balance` must be round_robin, not \"random\"\n"},
};

static const struct bad bad_values[] = {
    {"workers zero", BOTH "workers: 0\n",
     "c:3:10: `workers` cannot be `0`; write `auto` or a number from 1 to 1024\n"},
    {"workers many", BOTH "workers: 1025\n",
     "c:3:10: `workers` cannot be `1025`; write `auto` or a number from 1 to 1024\n"},
    {"workers negative", BOTH "workers: -1\n",
     "c:3:10: `workers` cannot be `-1`; write `auto` or a number from 1 to 1024\n"},
    {"workers octal", BOTH "workers: 010\n",
     "c:3:10: `workers` cannot be `010`; write `auto` or a number from 1 to 1024\n"},
    {"workers in words", BOTH "workers: two\n",
     "c:3:10: `workers` cannot be `two`; write `auto` or a number from 1 to 1024\n"},
    {"workers wrapping", BOTH "workers: 4294967297\n",
     "c:3:10: `workers` cannot be `4294967297`; write `auto` or a number from 1 to 1024\n"},
    {"connections zero", BOTH "limits: {connections: 0}\n",
     "c:3:23: `connections` cannot be `0`; write a number from 1 to 10000000\n"},
    {"connections many", BOTH "limits: {connections: 10000001}\n",
     "c:3:23: `connections` cannot be `10000001`; write a number from 1 to 10000000\n"},
    {"connections auto", BOTH "limits: {connections: auto}\n",
     "c:3:23: `connections` cannot be `auto`; write a number from 1 to 10000000\n"},
    {"connections with a fraction", BOTH "limits: {connections: 1.0}\n",
     "c:3:23: `connections` cannot be `1.0`; write a number from 1 to 10000000\n"},
    {"memory below what workers need", BOTH "workers: 3\nlimits: {memory: 3145727}\n",
     "c:4:18: `memory`: 3145727 is too little for 3 workers; write at least `3m`\n"},
    {"memory for one", BOTH "workers: 1\nlimits: {memory: 0}\n",
     "c:4:18: `memory`: 0 is too little for 1 worker; write at least `1m`\n"},
    {"memory in megabytes", BOTH "limits: {memory: 256MB}\n", "c:3:18: `memory` cannot be `256MB`; " SIZE},
    {"memory overflowing", BOTH "limits: {memory: 17179869185g}\n",
     "c:3:18: `memory`: 17179869185g is too large; at most 2^63 - 1 bytes are allowed\n"},
    {"offload_after", BOTH "ktls: {offload_after: -1}\n", "c:3:23: `offload_after` cannot be `-1`; " SIZE},
    {"a time without unit", BOTH "timeouts: {idle: 10}\n", "c:3:18: `idle` cannot be `10`; " TIME},
    {"a time of none", BOTH "timeouts: {handshake: 0s}\n",
     "c:3:23: `handshake`: 0s is too short; write at least `1ms`\n"},
    {"a time too long", BOTH "timeouts: {connect: 366d}\n",
     "c:3:21: `connect`: 366d is too long; at most `365d` are allowed\n"},
    {"a time overflowing", BOTH "timeouts: {half_closed: 99999999999999999999h}\n",
     "c:3:25: `half_closed`: 99999999999999999999h is too long; at most `365d` are allowed\n"},
    {"shutdown_timeout", BOTH "shutdown_timeout: never\n",
     "c:3:19: `shutdown_timeout` cannot be `never`; " TIME},
    {"a listener's port alone",
     APP "listeners: [{address: 8443, upstream: app, tls: {certificates: [{chain: c, key: k}]}}]\n",
     "c:2:23: `address` `8443`: " NO_HOST},
    {"a listener's name",
     APP
     "listeners: [{address: \"two.example:1\", upstream: app, tls: {certificates: [{chain: c, key: k}]}}]\n",
     "c:2:23: `address` `two.example:1`: the host must be an address, not a name: write `*:PORT`, "
     "`IPV4:PORT` or `[IPV6]:PORT`\n"},
    {"a server's port alone", WEB "upstreams: [{name: app, servers: [{address: 8080}]}]\n",
     "c:2:45: `address` `8080`: the host is missing; write HOST:PORT, such as 127.0.0.1:PORT\n"},
    {"a server's port zero", WEB "upstreams: [{name: app, servers: [{address: \"127.0.0.1:0\"}]}]\n",
     "c:2:45: `address` `127.0.0.1:0`: a server's port is a number from 1 to 65535\n"},
    {"a server everywhere", WEB "upstreams: [{name: app, servers: [{address: \"*:80\"}]}]\n",
     "c:2:45: `address` `*:80`: a server needs a host; write HOST:PORT\n"},
    {"a server's name without address",
     WEB "upstreams: [{name: app, servers: [{address: \"none.example:80\"}]}]\n",
     "c:2:45: `address` `none.example:80`: the host has no address that could be found (Name or service not "
     "known)\n"},
    {"a server twice",
     WEB "upstreams: [{name: app, servers: [{address: \"[::1]:80\"},\n {address: \"[::1]:80\"}]}]\n",
     "c:3:12: `[::1]:80` is a server of this upstream already, in line 2; remove one\n"},
    {"a server twice by an alias",
     WEB "upstreams: [{name: app, servers: [&s {address: \"[::1]:80\"},\n *s]}]\n",
     "c:3:2: `[::1]:80` is a server of this upstream already, in line 2; remove one\n"},
    {"a path too long for its directory",
     WEB "upstreams: [{name: app, servers: [{address: unix:1234567890123456789012345678901234567890"
         "1234567890123456789012345678901234567890123456789012345678901}]}]\n",
     "c:2:45: `address` `unix:1234567890123456789012345678901234567890"
     "1234567890123456789012345678901234567890123456789012345678901`: the path is too long for a socket; "
     "with its "
     "directory it may have 107 bytes (unix(7))\n"},
    {"an upstream that is not there",
     APP "listeners: [{address: \"*:1\", upstream: ap, tls: {certificates: [{chain: c, key: k}]}}]\n",
     "c:2:40: there is no upstream `ap`; known are `app`\n"},
    {"two upstreams of one name",
     WEB "upstreams:\n- {name: app, servers: [{address: \"[::1]:1\"}]}\n- {name: app, servers: [{address: "
         "\"[::1]:2\"}]}\n",
     "c:4:10: the upstream in line 3 is called `app` too; names must differ\n"},
    {"two listeners of one name",
     APP "listeners:\n- &l {name: a, address: \"*:1\", upstream: app, tls: {certificates: [{chain: c, key: "
         "k}]}}\n"
         "- {<<: *l, name: a, address: \"*:2\"}\n- {<<: *l, address: \"*:3\"}\n",
     "c:4:18: the listener in line 3 is called `a` too; names must differ\n"
     "c:5:3: the listener in line 3 is called `a` too; names must differ\n"},
    {"two listeners on one address",
     APP "listeners:\n- &l {address: \"*:1\", upstream: app, tls: {certificates: [{chain: c, key: k}]}}\n"
         "- {<<: *l, address: \"[::]:1\"}\n- {<<: *l, name: b}\n- *l\n",
     "c:4:21: `[::]:1` is the address of the listener in line 3 too; each needs its own\n"
     "c:5:3: `*:1` is the address of the listener in line 3 too; each needs its own\n"
     "c:6:3: `*:1` is the address of the listener in line 3 too; each needs its own\n"},
    {"two listeners on one path",
     APP "listeners:\n- &l {address: \"unix:a\", upstream: app, tls: {certificates: [{chain: c, key: k}]}}\n"
         "- {<<: *l, address: unix:/etc/rb/a}\n",
     "c:4:21: `unix:/etc/rb/a` is the address of the listener in line 3 too; each needs its own\n"},
    {"versions crossed",
     APP "listeners: [{address: \"*:1\", upstream: app, tls: {max_version: \"1.2\", min_version: \"1.3\", "
         "certificates: [{chain: c, key: k}]}}]\n",
     "c:2:84: `min_version` 1.3 is above `max_version` 1.2; raise the one or lower the other\n"},
    {"alpn twice",
     APP "listeners: [{address: \"*:1\", upstream: app, tls: {alpn: [h2, http/1.1, h2, h2], certificates: "
         "[{chain: c, key: k}]}}]\n",
     "c:2:72: `h2` stands in `alpn` twice; remove one\nc:2:76: `h2` stands in `alpn` twice; remove one\n"},
    {"alpn empty",
     APP "listeners: [{address: \"*:1\", upstream: app, tls: {alpn: [\"\"], certificates: [{chain: c, key: "
         "k}]}}]\n",
     "c:2:58: an entry of `alpn` must not be empty\n"},
    {"an alias brings its error along once",
     APP "listeners:\n- {address: \"*:1\", upstream: app, tls: &t {certificates: [{chain: c}]}}\n"
         "- {address: \"*:2\", upstream: app, tls: *t}\n",
     "c:3:59: required key `key` is missing; an entry of `certificates` needs it\n"},
};

// Faults of every kind at once: a walk that stops early misses some, and one that trips reports what is
// right.
static const struct bad bad_together[] = {
    {"everything",
     "worker: 4\n"
     "admin: {socket: a}\n"
     "log: {level: loud}\n"
     "timeouts: {idle: 5, hello: 1s}\n"
     "listeners:\n"
     "- adress: \"*:1\"\n"
     "  upstream: ap\n"
     "  tls: {certificates: [{chain: a}], alpn: [h2, h2]}\n"
     "- 127.0.0.1:443\n"
     "- address: 443\n"
     "  upstream: app\n"
     "  tls: {min_version: 1.0, certificates: []}\n"
     "upstreams:\n"
     "- name: app\n"
     "  balance: least_connections\n"
     "  servers: [{address: \"127.0.0.1\"}, x, {weight: 1, address: \"127.0.0.1:1\"}]\n"
     "  tls: {}\n",
     "c:1:1: unknown key `worker`; did you mean `workers`?\n"
     "c:2:1: `admin` is not supported by this version of ringbolt; remove it\n"
     "c:3:14: `level` must be error, warning, info or debug, not \"loud\"\n"
     "c:4:18: `idle` cannot be `5`; " TIME
     "c:4:21: unknown key `hello`; known here are handshake, connect, idle and half_closed\n"
     "c:6:3: unknown key `adress`; did you mean `address`?\n"
     "c:7:13: there is no upstream `ap`; known are `app`\n"
     "c:8:24: required key `key` is missing; an entry of `certificates` needs it\n"
     "c:8:48: `h2` stands in `alpn` twice; remove one\n"
     "c:9:3: an entry of `listeners` must be a mapping with address, tls and upstream, not a single value\n"
     "c:10:12: `address` `443`: " NO_HOST "c:12:22: `min_version` must be 1.2 or 1.3, not \"1.0\"\n"
     "c:12:41: `certificates` is empty; it needs at least one entry\n"
     "c:15:12: `balance: least_connections` is not supported by this version of ringbolt; use round_robin\n"
     "c:16:23: `address` `127.0.0.1`: the port is missing; write HOST:PORT or unix:/path\n"
     "c:16:37: an entry of `servers` must be a mapping with address, not a single value\n"
     "c:16:41: `weight` is not supported by this version of ringbolt; remove it\n"
     "c:17:3: `tls` is not supported by this version of ringbolt; remove it\n"},
    {"an upstream whose name is wrong may be the one that is meant",
     WEB "upstreams: [{nam: app, servers: [{address: \"127.0.0.1:80\"}]}]\n",
     "c:2:14: unknown key `nam`; did you mean `name`?\n"},
    {"one wrong value stands for nothing else", "workers: none\nlimits: {memory: 1m}\n" BOTH,
     "c:1:10: `workers` cannot be `none`; write `auto` or a number from 1 to 1024\n"},
};

// ---- keys of later versions ----

struct reserved {
    const char *key;
    const char *before; // the file up to the key, which stands in line 3
    const char *after;
};

#define IN_LISTENER                                                                                          \
    APP "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: [{chain: c, key: k}]},\n"
#define IN_TLS APP "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: [{chain: c, key: k}],\n"
#define IN_CERTIFICATE                                                                                       \
    APP "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: [{chain: c, key: k,\n"
#define IN_UPSTREAM WEB "upstreams: [{name: app, servers: [{address: \"127.0.0.1:80\"}],\n"
#define IN_SERVER   WEB "upstreams: [{name: app, servers: [{address: \"127.0.0.1:80\",\n"

static const struct reserved reserved_keys[] = {
    {"admin", BOTH, ""},
    {"tickets", BOTH, ""},
    {"handshakes_per_second",
     APP
     "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: [{chain: c, key: k}]}}]\nlimits: {",
     "}"},
    {"connections_per_client", BOTH "limits: {", "}"},
    {"proxy_protocol", IN_LISTENER, "}]"},
    {"routes", IN_LISTENER, "}]"},
    {"redirect", IN_LISTENER, "}]"},
    {"ciphers", IN_TLS, "}}]"},
    {"ciphersuites", IN_TLS, "}}]"},
    {"groups", IN_TLS, "}}]"},
    {"certificate_dir", IN_TLS, "}}]"},
    {"client_auth", IN_TLS, "}}]"},
    {"ocsp", IN_TLS, "}}]"},
    {"keylog", IN_TLS, "}}]"},
    {"passphrase", IN_CERTIFICATE, "}]}}]"},
    {"pkcs12", IN_CERTIFICATE, "}]}}]"},
    {"ocsp", IN_CERTIFICATE, "}]}}]"},
    {"names", IN_CERTIFICATE, "}]}}]"},
    {"proxy_protocol", IN_UPSTREAM, "}]"},
    {"health", IN_UPSTREAM, "}]"},
    {"tls", IN_UPSTREAM, "}]"},
    {"weight", IN_SERVER, "}]}]"},
    {"backup", IN_SERVER, "}]}]"},
};

static void test_reserved_keys(void **state)
{
    static const char *const values[] = {"off", "[a, {b: c}]", "{a: b}", "~"};
    char text[1024];
    char lines[256];

    for (size_t i = 0; i < COUNT(reserved_keys); i++) {
        const struct reserved *key = &reserved_keys[i];
        const char *last_line = strrchr(key->before, '\n') + 1;
        for (size_t j = 0; j < COUNT(values); j++) {
            snprintf(text, sizeof(text), "%s%s: %s%s\n", key->before, key->key, values[j], key->after);
            snprintf(lines, sizeof(lines),
                     "c:3:%zu: `%s` is not supported by this version of ringbolt; remove it\n",
                     strlen(last_line) + 1, key->key);
            refuse(text, lines);
        }
    }
}

static void test_reserved_words(void **state)
{
    refuse(WEB "upstreams: [{name: app, balance: source_hash, servers: [{address: \"127.0.0.1:80\"}]}]\n",
           "c:2:34: `balance: source_hash` is not supported by this version of ringbolt; use round_robin\n");
}

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

// `count` times `piece` between two texts; the caller frees it.
static char *repeat(const char *before, const char *piece, size_t count, const char *after)
{
    char *text = malloc(strlen(before) + count * strlen(piece) + strlen(after) + 1);
    char *end = stpcpy(text, before);

    while (count-- > 0)
        end = stpcpy(end, piece);
    strcpy(end, after);
    return text;
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

// ---- what is understood ----

static unsigned cpu_count(void)
{
    cpu_set_t cpus;

    assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    return (unsigned)CPU_COUNT(&cpus);
}

static uint16_t port_of(const struct config_address *address)
{
    return address_port(address);
}

static void check_defaults(const struct config *config)
{
    assert_int_equal(config->workers, cpu_count());
    assert_null(config->user);
    assert_int_equal(config->shutdown_timeout_ns, 30 * SECOND_NS);
    assert_int_equal(config->log.level, LOG_INFO);
    assert_int_equal(config->log.format, LOG_TEXT);
    assert_true(config->log.access);
    assert_int_equal(config->ktls.transmit, CONFIG_KTLS_AUTO);
    assert_int_equal(config->ktls.receive, CONFIG_KTLS_AUTO);
    assert_int_equal(config->ktls.offload_after, 0);
    assert_int_equal(config->limits.connections, 100000);
    assert_int_equal(config->limits.memory, 256u << 20);
    assert_int_equal(config->timeouts.handshake_ns, 10 * SECOND_NS);
    assert_int_equal(config->timeouts.connect_ns, 10 * SECOND_NS);
    assert_int_equal(config->timeouts.idle_ns, 300 * SECOND_NS);
    assert_int_equal(config->timeouts.half_closed_ns, 30 * SECOND_NS);
    assert_int_equal(config->listeners[0].tls.version_min, CONFIG_TLS12);
    assert_int_equal(config->listeners[0].tls.version_max, CONFIG_TLS13);
}

static void test_defaults(void **state)
{
    struct config *config = load(BOTH);
    const struct config_listener *listener = &config->listeners[0];

    check_defaults(config);
    assert_string_equal(config->file, "c");
    assert_int_equal(config->listener_count, 1);
    assert_string_equal(listener->name, "127.0.0.1:443");
    assert_string_equal(listener->address.text, "127.0.0.1:443");
    assert_int_equal(port_of(&listener->address), 443);
    assert_int_equal(listener->where.line, 1);
    assert_int_equal(listener->where.column, 13);
    assert_int_equal(listener->tls.where.column, 45);
    assert_int_equal(listener->tls.alpn_count, 0);
    assert_int_equal(listener->tls.certificate_count, 1);
    assert_string_equal(listener->tls.certificates[0].chain, "/etc/rb/c");
    assert_string_equal(listener->tls.certificates[0].key, "/etc/rb/k");
    assert_int_equal(listener->tls.certificates[0].chain_where.column, 69);
    assert_int_equal(listener->tls.certificates[0].key_where.column, 77);
    assert_int_equal(listener->upstream, 0);
    assert_int_equal(config->upstream_count, 1);
    assert_string_equal(config->upstreams[0].name, "app");
    assert_int_equal(config->upstreams[0].where.line, 2);
    assert_int_equal(config->upstreams[0].server_count, 1);
    assert_string_equal(config->upstreams[0].servers[0].address.text, "127.0.0.1:80");
    config_destroy(config);
    config_destroy(NULL);
}

static void test_everything(void **state)
{
    struct config *config =
        load("workers: 7\n"
             "user: www\n"
             "shutdown_timeout: 0s\n"
             "log: {level: debug, format: json, access: off}\n"
             "ktls: {transmit: off, receive: required, offload_after: 256k}\n"
             "limits: {connections: 10000000, memory: 7m}\n"
             "timeouts: {handshake: 1ms, connect: 2s, idle: 365d, half_closed: 3m}\n"
             "listeners:\n"
             "- name: one\n"
             "  address: '*:443'\n"
             "  tls:\n"
             "    min_version: 1.3\n"
             "    max_version: \"1.3\"\n"
             "    alpn: [h2, http/1.1]\n"
             "    certificates:\n"
             "    - chain: /a/c.pem\n"
             "      key: sub/k.pem\n"
             "    - {chain: c2, key: k2}\n"
             "  upstream: second\n"
             "- {name: two, address: 'unix:run/s', upstream: first,\n"
             "   tls: {max_version: '1.2', certificates: [{chain: c, key: k}]}}\n"
             "upstreams:\n"
             "- {name: first, balance: round_robin, servers: [{address: 'unix:/run/b'}]}\n"
             "- {name: second, servers: [{address: '[::1]:1'}, {address: '127.0.0.1:2'}]}\n");
    const struct config_tls *tls = &config->listeners[0].tls;

    assert_int_equal(config->workers, 7);
    assert_string_equal(config->user, "www");
    assert_int_equal(config->user_where.line, 2);
    assert_int_equal(config->user_where.column, 7);
    assert_int_equal(config->shutdown_timeout_ns, 0);
    assert_int_equal(config->log.level, LOG_DEBUG);
    assert_int_equal(config->log.format, LOG_JSON);
    assert_false(config->log.access);
    assert_int_equal(config->ktls.transmit, CONFIG_KTLS_OFF);
    assert_int_equal(config->ktls.receive, CONFIG_KTLS_REQUIRED);
    assert_int_equal(config->ktls.offload_after, 262144);
    assert_int_equal(config->limits.connections, 10000000);
    assert_int_equal(config->limits.memory, 7u << 20);
    assert_int_equal(config->timeouts.handshake_ns, 1000000);
    assert_int_equal(config->timeouts.connect_ns, 2 * SECOND_NS);
    assert_int_equal(config->timeouts.idle_ns, 365 * 86400 * SECOND_NS);
    assert_int_equal(config->timeouts.half_closed_ns, 180 * SECOND_NS);
    assert_int_equal(config->listener_count, 2);
    assert_string_equal(config->listeners[0].name, "one");
    assert_int_equal(config->listeners[0].upstream, 1);
    assert_int_equal(tls->version_min, CONFIG_TLS13);
    assert_int_equal(tls->version_max, CONFIG_TLS13);
    assert_int_equal(tls->where.line, 12);
    assert_int_equal(tls->alpn_count, 2);
    assert_string_equal(tls->alpn[0], "h2");
    assert_string_equal(tls->alpn[1], "http/1.1");
    assert_int_equal(tls->certificate_count, 2);
    assert_string_equal(tls->certificates[0].chain, "/a/c.pem");
    assert_string_equal(tls->certificates[0].key, "/etc/rb/sub/k.pem");
    assert_int_equal(tls->certificates[0].key_where.line, 17);
    assert_string_equal(tls->certificates[1].chain, "/etc/rb/c2");
    assert_int_equal(config->listeners[1].tls.version_max, CONFIG_TLS12);
    assert_int_equal(config->listeners[1].upstream, 0);
    assert_string_equal(((const struct sockaddr_un *)&config->listeners[1].address.socket)->sun_path,
                        "/etc/rb/run/s");
    assert_string_equal(config->listeners[1].address.text, "unix:run/s");
    assert_int_equal(config->upstreams[0].servers[0].address.socket.ss_family, AF_UNIX);
    assert_int_equal(config->upstreams[1].servers[0].address.socket.ss_family, AF_INET6);
    assert_int_equal(port_of(&config->upstreams[1].servers[1].address), 2);
    config_destroy(config);
}

// Files that differ from BOTH in nothing but their spelling.
static void test_spellings(void **state)
{
    static const char *const texts[] = {
        "\xef\xbb\xbf" BOTH,
        "%YAML 1.1\n---\n" BOTH "...\n",
        BOTH "log:\n",
        BOTH "log: ~\nktls: {}\nlimits:\n# memory: 1m\ntimeouts: null\n",
        BOTH "workers: auto\n",
        BOTH "\"workers\": 'auto'\n",
        BOTH "log: {access: on}\n",
        BOTH "log: {access: yes}\nktls: {transmit: auto, receive: \"auto\", offload_after: 0k}\n",
        APP "listeners: [{address: \"127.0.0.1:443\", upstream: app, tls: {alpn: [], certificates: [{chain: "
            "c, key: k}]}}]\n",
        APP "listeners: [{address: \"127.0.0.1:443\", upstream: app, tls: {alpn: ~, certificates: [{chain: "
            "c, key: k}]}}]\r\n",
    };

    for (size_t i = 0; i < COUNT(texts); i++) {
        struct config *config = load(texts[i]);
        check_defaults(config);
        assert_string_equal(config->listeners[0].name, "127.0.0.1:443");
        assert_int_equal(config->listeners[0].tls.alpn_count, 0);
        config_destroy(config);
    }
}

static void test_port_zero(void **state)
{
    struct config *config =
        load(APP "listeners:\n"
                 "- &l {address: \"*:0\", upstream: app, tls: {certificates: [{chain: c, key: k}]}}\n"
                 "- *l\n");

    assert_int_equal(config->listener_count, 2);
    config_destroy(config);
}

static void test_names(void **state)
{
    static const char *const expected[] = {"192.0.2.1:81", "192.0.2.1:80", "192.0.2.2:80", "192.0.2.2:81"};
    struct config *config = load(WEB "upstreams: [{name: app, servers: [{address: \"192.0.2.1:81\"}, "
                                     "{address: \"192.0.2.1:80\"}, {address: \"two.example:80\"}, "
                                     "{address: \"two.example:81\"}]}]\n");
    const struct config_upstream *upstream = &config->upstreams[0];

    assert_int_equal(upstream->server_count, COUNT(expected));
    for (size_t i = 0; i < COUNT(expected); i++) {
        char text[ADDRESS_TEXT_SIZE];
        address_text(&upstream->servers[i].address, text);
        assert_string_equal(text, expected[i]);
        assert_string_equal(upstream->servers[i].address.text, expected[i]);
    }
    config_destroy(config);
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

// ---- files ----

static char *make_folder(void)
{
    const char *base = getenv("TMPDIR");
    char *path;

    assert_true(asprintf(&path, "%s/ringbolt-config-XXXXXX", base != NULL ? base : "/tmp") > 0);
    assert_non_null(mkdtemp(path));
    return path;
}

static char *write_file(const char *folder, const char *name, const char *text)
{
    char *path;
    FILE *file;

    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void test_file(void **state)
{
    char *folder = make_folder();
    char *path = write_file(folder, "a.yaml", BOTH);
    struct config *config = NULL;
    char expected[PATH_MAX];
    struct report report;
    char *before = getcwd(NULL, 0);

    report_init(&report, path);
    assert_int_equal(config_load(path, &config, &report), 0);
    assert_string_equal(config->file, path);
    snprintf(expected, sizeof(expected), "%s/c", folder);
    assert_string_equal(config->listeners[0].tls.certificates[0].chain, expected);
    config_destroy(config);

    // A path relative to the working directory.
    assert_int_equal(chdir(folder), 0);
    free(folder);
    folder = getcwd(NULL, 0); // /tmp may be a link
    snprintf(expected, sizeof(expected), "%s/a.yaml", folder);
    assert_int_equal(config_load("a.yaml", &config, &report), 0);
    assert_string_equal(config->file, expected);
    snprintf(expected, sizeof(expected), "%s/k", folder);
    assert_string_equal(config->listeners[0].tls.certificates[0].key, expected);
    config_destroy(config);
    assert_int_equal(report.count, 0);
    report_finish(&report);

    assert_int_equal(chdir(before), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    free(before);
    free(path);
    free(folder);
}

static void refuse_file(const char *path, int error, const char *lines)
{
    struct config *config = NULL;
    struct report report;
    char *said;

    report_init(&report, "f");
    assert_int_equal(config_load(path, &config, &report), error);
    assert_null(config);
    said = report_text(&report);
    assert_string_equal(said, lines);
    free(said);
    report_finish(&report);
}

static void test_file_refused(void **state)
{
    char *folder = make_folder();
    char *path = write_file(folder, "a.yaml", WEB);
    char *huge;

    refuse_file(path, -EINVAL, "f:1:1: required key `upstreams` is missing" NEEDS);
    assert_int_equal(truncate(path, (16 << 20) + 1), 0);
    refuse_file(path, -EINVAL, "f: larger than the 16 MiB that a configuration may have\n");
    assert_int_equal(unlink(path), 0);
    refuse_file(path, -ENOENT, "f: cannot be read: No such file or directory\n");
    free(path);
    refuse_file(folder, -EISDIR, "f: cannot be read: Is a directory\n");
    assert_true(asprintf(&huge, "%s/no/such/folder", folder) > 0);
    refuse_file(huge, -ENOENT, "f: cannot be read: No such file or directory\n");
    free(huge);
    assert_int_equal(rmdir(folder), 0);
    free(folder);
}

// A file of the source tree. __FILE__ is relative to the build folder, three levels above this program.
static char *source_path(const char *name)
{
    static const char own[] = "tests/unit/test_config.c";
    size_t root_length = strlen(__FILE__) - strlen(own);
    char program[PATH_MAX] = "";
    char *path;

    assert_true(readlink("/proc/self/exe", program, sizeof(program) - 1) > 0);
    for (int i = 0; i < 3; i++)
        *strrchr(program, '/') = '\0';
    assert_string_equal(__FILE__ + root_length, own);
    assert_true(asprintf(&path, "%s%s%.*s%s", __FILE__[0] == '/' ? "" : program,
                         __FILE__[0] == '/' ? "" : "/", (int)root_length, __FILE__, name) > 0);
    return path;
}

static void check_shipped(const char *name, size_t listener_count)
{
    struct config *config = NULL;
    char expected[PATH_MAX];
    struct report report;
    char *path = source_path(name);

    report_init(&report, name);
    if (config_load(path, &config, &report) != 0)
        fail_msg("%s", report_text(&report));
    assert_int_equal(report.count, 0);
    check_defaults(config);
    assert_int_equal(config->listener_count, listener_count);
    for (size_t i = 0; i < listener_count; i++) {
        snprintf(expected, sizeof(expected), "%.*s/server.pem", (int)(strrchr(path, '/') - path), path);
        assert_string_equal(config->listeners[i].tls.certificates[0].chain, expected);
        snprintf(expected, sizeof(expected), "%.*s/server.key", (int)(strrchr(path, '/') - path), path);
        assert_string_equal(config->listeners[i].tls.certificates[0].key, expected);
    }
    config_destroy(config);
    report_finish(&report);
    free(path);
}

// The commented file says of each value that it is the default: so it is.
static void test_shipped(void **state)
{
    check_shipped("conf/minimal.yaml", 1);
    check_shipped("conf/ringbolt.yaml", 2);
}

// Each key of the schema stands in the mapping, or (`user`) in a comment.
static void check_names_all(const struct node *node, const cyaml_schema_value_t *schema)
{
    assert_non_null(node);
    if (schema->type == CYAML_SEQUENCE) {
        assert_true(node->count > 0);
        check_names_all(node->items[0], schema->sequence.entry);
    }
    for (const cyaml_schema_field_t *field = schema->mapping.fields;
         schema->type == CYAML_MAPPING && field->key != NULL; field++) {
        if (node_get(node, field->key) == NULL && strcmp(field->key, "user") != 0)
            fail_msg("conf/ringbolt.yaml does not name `%s`", field->key);
        else if (strcmp(field->key, "user") != 0)
            check_names_all(node_get(node, field->key), &field->value);
    }
}

static void test_shipped_names_all(void **state)
{
    char *path = source_path("conf/ringbolt.yaml");
    FILE *file = fopen(path, "re");
    struct document document;
    struct report report;
    char text[65536];
    size_t length;

    assert_non_null(file);
    length = fread(text, 1, sizeof(text) - 1, file);
    assert_true(length > 0 && length < sizeof(text) - 1);
    text[length] = '\0';
    assert_non_null(strstr(text, "\n# user: "));
    assert_int_equal(fclose(file), 0);
    report_init(&report, "f");
    assert_int_equal(document_load(text, length, &document, &report), 0);
    check_names_all(document.root, schema_config.root);
    document_finish(&document);
    report_finish(&report);
    free(path);
}

// ---- the command line ----

static void test_quick(void **state)
{
    struct config *config = NULL;
    char *directory = getcwd(NULL, 0);
    struct report report;
    char *expected;

    report_init(&report, NULL);
    assert_int_equal(config_quick("*:8443", "127.0.0.1:8080", NULL, NULL, &config, &report), 0);
    check_defaults(config);
    assert_string_equal(config->file, "command line");
    assert_int_equal(config->listener_count, 1);
    assert_string_equal(config->listeners[0].name, "*:8443");
    assert_int_equal(config->listeners[0].address.socket.ss_family, AF_INET6);
    assert_int_equal(config->listeners[0].where.line, 0);
    assert_int_equal(config->listeners[0].upstream, 0);
    assert_int_equal(config->listeners[0].tls.certificate_count, 0);
    assert_int_equal(config->upstream_count, 1);
    assert_int_equal(config->upstreams[0].server_count, 1);
    assert_string_equal(config->upstreams[0].servers[0].address.text, "127.0.0.1:8080");
    config_destroy(config);

    assert_int_equal(config_quick("localhost:1", "unix:b", "c.pem", "/k.pem", &config, &report), 0);
    assert_int_equal(config->listeners[0].tls.certificate_count, 1);
    assert_true(asprintf(&expected, "%s/c.pem", directory) > 0);
    assert_string_equal(config->listeners[0].tls.certificates[0].chain, expected);
    free(expected);
    assert_string_equal(config->listeners[0].tls.certificates[0].key, "/k.pem");
    assert_true(asprintf(&expected, "%s/b", directory) > 0);
    assert_string_equal(
        ((const struct sockaddr_un *)&config->upstreams[0].servers[0].address.socket)->sun_path, expected);
    free(expected);
    config_destroy(config);
    assert_int_equal(report.count, 0);
    report_finish(&report);
    free(directory);
}

static void test_quick_refused(void **state)
{
    static const struct {
        const char *listen, *to, *chain, *key, *lines;
    } cases[] = {
        {"8443", "127.0.0.1:1", NULL, NULL, "command line: --listen `8443`: " NO_HOST},
        {":8443", "127.0.0.1:1", NULL, NULL, "command line: --listen `:8443`: " NO_HOST},
        {"*:8443", "8080", NULL, NULL,
         "command line: --to `8080`: the host is missing; write HOST:PORT, such as 127.0.0.1:PORT\n"},
        {"*:8443", "http://127.0.0.1:80", NULL, NULL,
         "command line: --to `http://127.0.0.1:80`: this is a URL; write HOST:PORT alone\n"},
        {"x", "\x1b\xff:1", NULL, NULL,
         "command line: --to `\\x1b\\xff:1`: the host is neither an address nor a name\n"
         "command line: --listen `x`: the port is missing; write HOST:PORT or unix:/path\n"},
        {"*:8443", "127.0.0.1:1", "c", NULL,
         "command line: --cert and --key go together; give both or neither\n"},
        {"*:8443", "127.0.0.1:1", NULL, "k",
         "command line: --cert and --key go together; give both or neither\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config *config = NULL;
        struct report report;
        char *said;
        report_init(&report, "command line");
        assert_int_equal(
            config_quick(cases[i].listen, cases[i].to, cases[i].chain, cases[i].key, &config, &report),
            -EINVAL);
        assert_null(config);
        said = report_text(&report);
        assert_string_equal(said, cases[i].lines);
        free(said);
        report_finish(&report);
    }
}

// ---- the report ----

static void test_report(void **state)
{
    struct report report;
    char *said;

    report_init(&report, "f");
    report_add(&report, (struct config_where){2, 1}, "e");
    report_add(&report, (struct config_where){1, 10}, "d %d", 1);
    report_add(&report, (struct config_where){1, 9}, "c");
    report_add(&report, (struct config_where){1, 9}, "b");
    report_add(&report, (struct config_where){1, 10}, "d %d", 1);
    report_add(&report, (struct config_where){1, 9}, "c");
    report_add(&report, (struct config_where){0}, "a");
    report_add(&report, (struct config_where){3, 1}, "line\nbreak, \x7f, \xc2\x9b, \xe2\x82, \xe2\x82\xac");
    said = report_text(&report);
    assert_string_equal(said, "f: a\nf:1:9: c\nf:1:9: b\nf:1:10: d 1\nf:2:1: e\n"
                              "f:3:1: line\\x0abreak, \\x7f, \\xc2\\x9b, \\xe2\\x82, \xe2\x82\xac\n");
    assert_int_equal(report.count, 6);
    free(said);
    report_finish(&report);

    report_init(&report, NULL);
    report_add(&report, (struct config_where){2, 1}, "alone");
    said = report_text(&report);
    assert_string_equal(said, "alone\n");
    free(said);
    report_finish(&report);
}

static void test_report_warning(void **state)
{
    struct report report;
    char *said;

    report_init(&report, "f");
    report_warn(&report, (struct config_where){2, 1}, "b %s", "x");
    assert_int_equal(report.error_count, 0);
    assert_int_equal(report.count, 1);
    report_add(&report, (struct config_where){3, 1}, "c");
    report_add(&report, (struct config_where){2, 1}, "b x"); // as a warning and as an error
    report_warn(&report, (struct config_where){2, 1}, "b x");
    report_warn(&report, (struct config_where){0}, "a");
    said = report_text(&report);
    assert_string_equal(said, "f: warning: a\nf:2:1: warning: b x\nf:2:1: b x\nf:3:1: c\n");
    assert_int_equal(report.count, 4);
    assert_int_equal(report.error_count, 2);
    assert_true(report.lines[0].is_warning);
    assert_false(report.lines[2].is_warning);
    free(said);
    report_finish(&report);

    report_init(&report, NULL);
    report_warn(&report, (struct config_where){2, 1}, "alone");
    assert_string_equal(report.lines[0].text, "warning: alone");
    report_finish(&report);
}

static void test_report_long(void **state)
{
    char *text = repeat("x", "\xc3\xa9", 400, "");
    char *cut = repeat("x", "\xc3\xa9", 299, "…");
    struct report report;

    report_init(&report, NULL);
    report_add(&report, (struct config_where){0}, "%s", text);
    assert_string_equal(report.lines[0].text, cut);
    report_finish(&report);
    free(text);
    free(cut);
}

// ---- all of it ----

static size_t add_bad(struct CMUnitTest *tests, size_t count, const struct bad *bad, size_t bad_count)
{
    for (size_t i = 0; i < bad_count; i++)
        tests[count++] = (struct CMUnitTest){
            .name = bad[i].name, .test_func = test_bad, .initial_state = (void *)(uintptr_t)&bad[i]};
    return count;
}

int main(void)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(test_reserved_keys), cmocka_unit_test(test_reserved_words),
        cmocka_unit_test(test_alias_bomb),    cmocka_unit_test(test_merge_bomb),
        cmocka_unit_test(test_nesting),       cmocka_unit_test(test_many),
        cmocka_unit_test(test_long),          cmocka_unit_test(test_huge),
        cmocka_unit_test(test_zero_byte),     cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_everything),    cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_port_zero),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_merge),         cmocka_unit_test(test_merge_wrong),
        cmocka_unit_test(test_file),          cmocka_unit_test(test_file_refused),
        cmocka_unit_test(test_shipped),       cmocka_unit_test(test_shipped_names_all),
        cmocka_unit_test(test_quick),         cmocka_unit_test(test_quick_refused),
        cmocka_unit_test(test_report),        cmocka_unit_test(test_report_long),
        cmocka_unit_test(test_report_warning),
    };
    struct CMUnitTest tests[COUNT(fixed) + COUNT(bad_documents) + COUNT(bad_keys) + COUNT(bad_kinds) +
                            COUNT(bad_values) + COUNT(bad_together)];
    size_t count = COUNT(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    count = add_bad(tests, count, bad_documents, COUNT(bad_documents));
    count = add_bad(tests, count, bad_keys, COUNT(bad_keys));
    count = add_bad(tests, count, bad_kinds, COUNT(bad_kinds));
    count = add_bad(tests, count, bad_values, COUNT(bad_values));
    count = add_bad(tests, count, bad_together, COUNT(bad_together));
    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// The command line: getopt, and what must fit together.
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt-version.h"
#include "ringbolt/clock.h"
#include "ringbolt/record.h"
#include "options_values.h"
#include "target.h"

enum letter {
    OPTION_ALLOW_ERRORS = 256,
    OPTION_ALPN,
    OPTION_CA,
    OPTION_CHECK_ALIVE,
    OPTION_CIPHERS,
    OPTION_CIPHERSUITES,
    OPTION_CONNECTIONS,
    OPTION_COUNT,
    OPTION_DURATION,
    OPTION_GROUPS,
    OPTION_HOST,
    OPTION_INSECURE,
    OPTION_JSON,
    OPTION_KEY,
    OPTION_LENGTH,
    OPTION_NAME,
    OPTION_NO_GOODBYE,
    OPTION_NOTIFY,
    OPTION_PATH,
    OPTION_PATTERN,
    OPTION_PREAMBLE,
    OPTION_RATE,
    OPTION_RAW,
    OPTION_RECORDS,
    OPTION_RESUME,
    OPTION_SHA256,
    OPTION_SIZE,
    OPTION_STATUS,
    OPTION_THREADS,
    OPTION_TIMEOUT,
    OPTION_TLS,
    OPTION_VERIFY,
    OPTION_VERSION,
    OPTION_WARM_UP,
};

static const struct option long_options[] = {
    {"allow-errors", no_argument, NULL, OPTION_ALLOW_ERRORS},
    {"alpn", required_argument, NULL, OPTION_ALPN},
    {"ca", required_argument, NULL, OPTION_CA},
    {"check-alive", no_argument, NULL, OPTION_CHECK_ALIVE},
    {"ciphers", required_argument, NULL, OPTION_CIPHERS},
    {"ciphersuites", required_argument, NULL, OPTION_CIPHERSUITES},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"count", required_argument, NULL, OPTION_COUNT},
    {"duration", required_argument, NULL, OPTION_DURATION},
    {"groups", required_argument, NULL, OPTION_GROUPS},
    {"help", no_argument, NULL, 'h'},
    {"host", required_argument, NULL, OPTION_HOST},
    {"insecure", no_argument, NULL, OPTION_INSECURE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"key", required_argument, NULL, OPTION_KEY},
    {"length", required_argument, NULL, OPTION_LENGTH},
    {"name", required_argument, NULL, OPTION_NAME},
    {"no-goodbye", no_argument, NULL, OPTION_NO_GOODBYE},
    {"notify", required_argument, NULL, OPTION_NOTIFY},
    {"path", required_argument, NULL, OPTION_PATH},
    {"pattern", required_argument, NULL, OPTION_PATTERN},
    {"preamble", required_argument, NULL, OPTION_PREAMBLE},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"raw", no_argument, NULL, OPTION_RAW},
    {"records", required_argument, NULL, OPTION_RECORDS},
    {"resume", no_argument, NULL, OPTION_RESUME},
    {"sha256", required_argument, NULL, OPTION_SHA256},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"status", required_argument, NULL, OPTION_STATUS},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"tls", required_argument, NULL, OPTION_TLS},
    {"verify", no_argument, NULL, OPTION_VERIFY},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"warm-up", required_argument, NULL, OPTION_WARM_UP},
    {0},
};

static const struct {
    const char *name;
    unsigned connections; // default
} modes[MODE_COUNT] = {
    [MODE_HANDSHAKES] = {"handshakes", 16},
    [MODE_REQUESTS] = {"requests", 64},
    [MODE_DOWNLOAD] = {"download", 4},
    [MODE_UPLOAD] = {"upload", 4},
    [MODE_BOTH] = {"both", 4},
    [MODE_IDLE] = {"idle", 1000},
    [MODE_CHURN] = {"churn", 16},
    [MODE_PATTERN] = {"pattern", 1},
};

const char *mode_name(enum mode mode)
{
    return modes[mode].name;
}

const char *mode_unit(const struct options *options)
{
    switch (options->mode) {
    case MODE_HANDSHAKES:
        return "handshakes";
    case MODE_REQUESTS:
        return options->is_raw ? "echoes" : "requests";
    case MODE_CHURN:
        return "connections";
    case MODE_IDLE:
        return "checks";
    default:
        return options->is_raw ? "streams" : "transfers";
    }
}

// ---- one option ----

static int apply_load(int letter, char *value, struct options *options)
{
    unsigned fd;

    switch (letter) {
    case OPTION_CONNECTIONS:
        return options_number_small("connections", value, 1, OPTIONS_CONNECTIONS_MAX, &options->connections);
    case OPTION_COUNT:
        return options_number("count", value, 1, UINT64_MAX / 2, &options->count);
    case OPTION_DURATION:
        return options_duration("duration", value, false, &options->duration_ns);
    case OPTION_RATE:
        return options_rate(value, &options->rate);
    case OPTION_THREADS:
        return options_number_small("threads", value, 1, OPTIONS_THREADS_MAX, &options->threads);
    case OPTION_TIMEOUT:
        return options_duration("timeout", value, false, &options->timeout_ns);
    case OPTION_WARM_UP:
        return options_duration("warm-up", value, true, &options->warm_up_ns);
    case OPTION_NOTIFY:
        if (options_number_small("notify", value, 1, 1 << 20, &fd) < 0)
            return -1;
        options->notify_fd = (int)fd;
        return 0;
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case OPTION_NO_GOODBYE:
        options->is_leaving = true;
        return 0;
    default: // OPTION_ALLOW_ERRORS
        options->is_allowing_errors = true;
        return 0;
    }
}

static int apply_tls(int letter, char *value, struct options *options)
{
    switch (letter) {
    case OPTION_ALPN:
        return options_alpn(value, options);
    case OPTION_CA:
        options->ca = value;
        return 0;
    case OPTION_CIPHERS:
        options->ciphers = value;
        return 0;
    case OPTION_CIPHERSUITES:
        options->ciphersuites = value;
        return 0;
    case OPTION_GROUPS:
        options->groups = value;
        return 0;
    case OPTION_INSECURE:
        options->is_insecure = true;
        return 0;
    case OPTION_KEY:
        return options_choose_key(value, options);
    case OPTION_NAME:
        options->name = value;
        return 0;
    case OPTION_RECORDS:
        return options_choice("records", value, "ringbolt", "openssl", &options->is_openssl);
    case OPTION_RESUME:
        options->is_resuming = true;
        return 0;
    default: // OPTION_TLS
        return options_choose_version(value, options);
    }
}

static int apply_work(int letter, char *value, struct options *options)
{
    unsigned status;

    switch (letter) {
    case OPTION_CHECK_ALIVE:
        options->is_checking_alive = true;
        return 0;
    case OPTION_HOST:
        options->host = value;
        return 0;
    case OPTION_LENGTH:
        return options_size("length", value, &options->length);
    case OPTION_PATH:
        options->path = value;
        return 0;
    case OPTION_PATTERN:
        options->pattern_file = value;
        return 0;
    case OPTION_PREAMBLE:
        return options_preamble(value, options);
    case OPTION_RAW:
        options->is_raw = true;
        return 0;
    case OPTION_SHA256:
        return options_digest(value, options);
    case OPTION_SIZE:
        return options_size("size", value, &options->size);
    case OPTION_STATUS:
        if (options_number_small("status", value, 200, 599, &status) < 0)
            return -1;
        options->status = (int)status;
        return 0;
    default: // OPTION_VERIFY
        options->is_verifying = true;
        return 0;
    }
}

static int apply(int letter, char *value, struct options *options)
{
    switch (letter) {
    case OPTION_CONNECTIONS:
    case OPTION_COUNT:
    case OPTION_DURATION:
    case OPTION_RATE:
    case OPTION_THREADS:
    case OPTION_TIMEOUT:
    case OPTION_WARM_UP:
    case OPTION_NO_GOODBYE:
    case OPTION_NOTIFY:
    case OPTION_JSON:
    case OPTION_ALLOW_ERRORS:
        return apply_load(letter, value, options);
    case OPTION_ALPN:
    case OPTION_CA:
    case OPTION_CIPHERS:
    case OPTION_CIPHERSUITES:
    case OPTION_GROUPS:
    case OPTION_INSECURE:
    case OPTION_KEY:
    case OPTION_NAME:
    case OPTION_RECORDS:
    case OPTION_RESUME:
    case OPTION_TLS:
        return apply_tls(letter, value, options);
    default:
        return apply_work(letter, value, options);
    }
}

// ---- all together ----

static int mode_find(const char *name, enum mode *ret)
{
    for (int i = 0; i < MODE_COUNT; i++) {
        if (strcmp(modes[i].name, name) == 0) {
            *ret = (enum mode)i;
            return 0;
        }
    }
    return options_wrong("%s: there is no such mode", name);
}

static bool is_bulk(const struct options *options)
{
    return options->mode == MODE_DOWNLOAD || options->mode == MODE_UPLOAD || options->mode == MODE_BOTH;
}

static int mode_check(const struct options *options)
{
    bool is_sending = options->mode == MODE_UPLOAD || options->mode == MODE_BOTH;
    bool is_idle = options->mode == MODE_IDLE;

    if (options->is_resuming && options->mode != MODE_HANDSHAKES && options->mode != MODE_CHURN)
        return options_wrong("--resume is for handshakes and churn: the others keep their connections");
    if (options->is_leaving && options->mode != MODE_HANDSHAKES)
        return options_wrong("--no-goodbye is for handshakes");
    if (options->is_leaving && options->is_resuming && options->version != RECORD_TLS12)
        return options_wrong(
            "--no-goodbye with --resume needs --tls 1.2: in TLS 1.3 the server gives sessions "
            "behind the handshake, and nobody would be there");
    if (options->rate > 0 && (is_bulk(options) || is_idle))
        return options_wrong("--rate is for handshakes, requests and churn");
    if (options->is_raw && (options->mode == MODE_HANDSHAKES || options->mode == MODE_CHURN || is_idle))
        return options_wrong("--raw is for requests, download, upload and both");
    if (options->is_checking_alive && !is_idle)
        return options_wrong("--check-alive is for idle");
    if (options->preamble != NULL && !options->is_raw)
        return options_wrong("--preamble is for --raw");
    if (options->count != UINT64_MAX && is_idle)
        return options_wrong("--count has no meaning for idle; --connections says how many");
    if (is_sending && !options->is_raw && options->size == UINT64_MAX)
        return options_wrong("%s by HTTP needs --size: the bytes of each PUT", mode_name(options->mode));
    if (options->mode == MODE_REQUESTS && options->is_raw &&
        (options->size == 0 || options->size == UINT64_MAX))
        return options_wrong("requests --raw needs --size: the bytes of each echo");
    if (is_sending && options->is_raw && options->size == 0)
        return options_wrong("--size 0: a stream of nothing");
    if (options->mode == MODE_PATTERN && options->size == UINT64_MAX)
        return options_wrong("pattern needs --size");
    if (options->mode == MODE_BOTH && !options->is_raw && options->connections < 2)
        return options_wrong(
            "both by HTTP needs two connections or more: one half downloads, the other uploads");
    if (options->threads > options->connections)
        return options_wrong("%u threads for %u connections: each needs one", options->threads,
                             options->connections);
    return 0;
}

// Defaults that depend on other options.
static void fill_in(struct options *options)
{
    bool is_counting = options->count != UINT64_MAX;

    if (options->connections == 0)
        options->connections = modes[options->mode].connections > options->threads
                                   ? modes[options->mode].connections
                                   : options->threads;
    if (options->warm_up_ns == UINT64_MAX)
        options->warm_up_ns = is_counting || options->mode == MODE_IDLE ? 0 : CLOCK_NS_PER_S;
    if (options->duration_ns == 0)
        options->duration_ns = is_counting ? UINT64_MAX : 10 * CLOCK_NS_PER_S;
}

static int server_check(struct options *options, char **arguments, int count)
{
    static char host[TARGET_HOST_MAX];
    char why[512];

    if (options->mode == MODE_PATTERN)
        return count == 0 ? 0 : options_wrong("pattern takes no address");
    if (count != 1)
        return options_wrong(count == 0 ? "the server's address is missing" : "more than one address");
    options->address_text = arguments[0];
    if (target_find(arguments[0], &options->address, &options->address_size, host, why, sizeof(why)) < 0)
        return options_wrong("%s", why);
    if (options->name == NULL && host[0] != '\0')
        options->name = host;
    if (options->name == NULL && !options->is_insecure)
        return options_wrong("a unix socket has no name to verify; give --name NAME or --insecure");
    options->is_name_address = options->name != NULL && target_is_numeric(options->name);
    if (options->host == NULL)
        options->host = options->name != NULL ? options->name : "localhost";
    return 0;
}

static const struct options defaults = {
    .warm_up_ns = UINT64_MAX,
    .timeout_ns = 10 * CLOCK_NS_PER_S,
    .count = UINT64_MAX,
    .threads = 1,
    .path = "/",
    .length = UINT64_MAX,
    .size = UINT64_MAX,
    .notify_fd = -1,
};

static enum options_result parse(int argc, char **argv, struct options *options)
{
    int letter;

    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        switch (letter) {
        case 'h':
            help_print();
            return OPTIONS_SHOWN;
        case OPTION_VERSION:
            printf("ringbolt-bench %s\n", RINGBOLT_VERSION);
            return OPTIONS_SHOWN;
        case ':':
            options_wrong("%s: its value is missing", argv[optind - 1]);
            return OPTIONS_WRONG;
        case '?':
            options_wrong("%s: there is no such option", argv[optind - 1]);
            return OPTIONS_WRONG;
        default:
            if (apply(letter, optarg, options) < 0)
                return OPTIONS_WRONG;
        }
    }
    if (optind == argc) {
        options_wrong("the mode is missing");
        return OPTIONS_WRONG;
    }
    if (mode_find(argv[optind], &options->mode) < 0)
        return OPTIONS_WRONG;
    fill_in(options);
    if (mode_check(options) < 0 || server_check(options, argv + optind + 1, argc - optind - 1) < 0)
        return OPTIONS_WRONG;
    return OPTIONS_GO;
}

enum options_result options_parse(int argc, char **argv, struct options *ret)
{
    struct options options = defaults;
    enum options_result result = parse(argc, argv, &options);

    if (result == OPTIONS_GO)
        *ret = options;
    else
        options_finish(&options);
    return result;
}

void options_finish(struct options *options)
{
    free(options->alpn);
    free(options->preamble);
    options->alpn = NULL;
    options->preamble = NULL;
}

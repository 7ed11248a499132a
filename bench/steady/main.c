// SPDX-License-Identifier: Apache-2.0
// ringbolt-steady: connections that last, and that notice everything. Two ends, with a proxy between them; see the usage.
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "keep.h"
#include "serve.h"

static const char usage[] =
    "usage: ringbolt-steady serve [--address HOST:PORT] [--tls CHAIN KEY] [--proxied]\n"
    "       ringbolt-steady keep --address HOST:PORT --kinds KIND=COUNT[,...] [options]\n"
    "\n"
    "serve prints its address and answers until standard input ends. keep holds so many connections of each "
    "kind:\n"
    "down, up, both, idle, poll, drip, half, rekey, slow, echo; visit=N makes N new ones a second. It prints "
    "a line\n"
    "of JSON when all are there (\"ready\"), for each line \"mark NAME\" on standard input, and after "
    "\"end\".\n"
    "\n"
    "    --rate BYTES      of each stream, a second (16384)\n"
    "    --interval MS     between questions of echo and rekey (50)\n"
    "    --idle MS         between questions of idle, on average (4000)\n"
    "    --half MS         that half-closed connections last, about (6000)\n"
    "    --drip MS         between two bytes of drip (5)\n"
    "    --hang SECONDS    a connection that owes something and is silent for so long is over (20)\n"
    "    --at-once COUNT   handshakes under way in the beginning (64)\n"
    "    --sources COUNT   connections come from 127.0.0.1 and so on (1)\n"
    "    --version VERSION of TLS: 1.2 or 1.3 (both)\n"
    "    --proxied         each connection begins with a header of the PROXY protocol\n";

enum {
    OPTION_ADDRESS = 1,
    OPTION_TLS,
    OPTION_PROXIED,
    OPTION_KINDS,
    OPTION_VERSION,
    OPTION_NUMBER // and those behind it
};

static const struct option options[] = {
    {"address", required_argument, NULL, OPTION_ADDRESS},
    {"tls", required_argument, NULL, OPTION_TLS},
    {"proxied", no_argument, NULL, OPTION_PROXIED},
    {"kinds", required_argument, NULL, OPTION_KINDS},
    {"version", required_argument, NULL, OPTION_VERSION},
    {"rate", required_argument, NULL, OPTION_NUMBER},
    {"interval", required_argument, NULL, OPTION_NUMBER + 1},
    {"idle", required_argument, NULL, OPTION_NUMBER + 2},
    {"hang", required_argument, NULL, OPTION_NUMBER + 3},
    {"at-once", required_argument, NULL, OPTION_NUMBER + 4},
    {"sources", required_argument, NULL, OPTION_NUMBER + 5},
    {"half", required_argument, NULL, OPTION_NUMBER + 6},
    {"drip", required_argument, NULL, OPTION_NUMBER + 7},
    {NULL, 0, NULL, 0},
};

static int wrong(const char *what)
{
    if (what != NULL)
        fprintf(stderr, "ringbolt-steady: %s\n", what);
    fputs(usage, stderr);
    return 2;
}

static bool number_parse(const char *text, unsigned *ret)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || value > 100000000)
        return false;
    *ret = (unsigned)value;
    return true;
}

static bool kinds_parse(char *text, struct keep_options *keep)
{
    for (char *one = strtok(text, ","); one != NULL; one = strtok(NULL, ",")) {
        char *equals = strchr(one, '=');
        int kind = 0;

        if (equals == NULL)
            return false;
        *equals = '\0';
        while (kind < KIND_COUNT && strcmp(kind_names[kind], one) != 0)
            kind++;
        if (kind == KIND_COUNT || !number_parse(equals + 1, &keep->counts[kind]))
            return false;
    }
    return true;
}

static bool version_parse(const char *text, int *ret)
{
    *ret = strcmp(text, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    return *ret == TLS1_2_VERSION || strcmp(text, "1.3") == 0;
}

int main(int argc, char **argv)
{
    struct serve_options server = {.address = "127.0.0.1:0"};
    struct keep_options keep = {.rate = 16384,
                                .interval_ms = 50,
                                .idle_ms = 4000,
                                .half_ms = 6000,
                                .drip_ms = 5,
                                .hang_s = 20,
                                .at_once = 64,
                                .sources = 1};
    unsigned *const numbers[] = {&keep.rate,    &keep.interval_ms, &keep.idle_ms, &keep.hang_s,
                                 &keep.at_once, &keep.sources,     &keep.half_ms, &keep.drip_ms};
    bool is_server = argc > 1 && strcmp(argv[1], "serve") == 0, is_right = true;
    int option;

    if (argc < 2 || (!is_server && strcmp(argv[1], "keep") != 0))
        return wrong(NULL);
    signal(SIGPIPE, SIG_IGN);
    optind = 2;
    while (is_right && (option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (option) {
        case OPTION_ADDRESS:
            server.address = optarg;
            is_right = address_parse(optarg, &keep.address) == 0;
            break;
        case OPTION_TLS:
            server.chain = optarg;
            server.key = optind < argc ? argv[optind++] : NULL;
            is_right = server.key != NULL;
            break;
        case OPTION_PROXIED:
            server.is_proxied = keep.is_proxied = true;
            break;
        case OPTION_KINDS:
            is_right = kinds_parse(optarg, &keep);
            break;
        case OPTION_VERSION:
            is_right = version_parse(optarg, &keep.version);
            break;
        case '?':
            return wrong(NULL);
        default:
            is_right =
                number_parse(optarg, numbers[option - OPTION_NUMBER]) && *numbers[option - OPTION_NUMBER] > 0;
        }
        if (!is_right)
            fprintf(stderr, "ringbolt-steady: not understood: %s\n", optarg);
    }
    if (!is_right || optind < argc)
        return wrong(NULL);
    if (!is_server && keep.address.sin_port == 0)
        return wrong("--address is missing");
    return is_server ? serve(&server) : keep_run(&keep);
}

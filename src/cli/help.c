// SPDX-License-Identifier: Apache-2.0
// Help, version, and the end of standard output.
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ringbolt-version.h"

static const char general[] =
    "Ringbolt terminates TLS in front of plaintext servers.\n"
    "\n"
    "Usage:\n"
    "  ringbolt run [-c FILE]                    serve by a configuration file\n"
    "  ringbolt run --listen ADDR --to ADDR …    serve without one: a listener, a server\n"
    "  ringbolt check [-c FILE]                  say whether run would accept the file\n"
    "  ringbolt probe [--json]                   say what this kernel and OpenSSL can do\n"
    "  ringbolt --version\n"
    "  ringbolt COMMAND --help\n"
    "\n"
    "Exit status: 0 success; 1 the operation failed; 2 wrong usage; 3 the configuration, or a file it names, "
    "is bad.\n";

static const char run[] =
    "Usage:\n"
    "  ringbolt run [-c FILE]\n"
    "  ringbolt run --listen ADDR --to ADDR [--cert CHAIN.pem --key KEY.pem | --dev-ca FILE]\n"
    "               [--workers N] [--ktls auto|off|required]\n"
    "\n"
    "Serves in the foreground; the log goes to standard error.\n"
    "\n"
    "  -c, --config FILE  the configuration (default: /etc/ringbolt/ringbolt.yaml)\n"
    "      --listen ADDR  where clients connect: HOST:PORT, [V6]:PORT, *:PORT (every address) or unix:/path; "
    "port 0:\n"
    "                     any free one, told in the log\n"
    "      --to ADDR      the plaintext server: HOST:PORT, [V6]:PORT or unix:/path\n"
    "      --cert FILE    certificate chain in PEM, the server's own first\n"
    "      --key FILE     its private key in PEM\n"
    "                     Without both, a development certificate for localhost, 127.0.0.1 and ::1 is made "
    "in memory.\n"
    "      --dev-ca FILE  write the authority that signed the development certificate there, for clients to "
    "trust\n"
    "                     (curl --cacert FILE)\n"
    "      --workers N    processes that serve, 1 to 1024 (default: one for each CPU)\n"
    "      --ktls WHEN    records in the kernel: auto (default: where it can), off, required\n"
    "\n"
    "Signals: TERM finishes what is live (up to shutdown_timeout) and exits; a second TERM, or INT, stops at "
    "once.\n";

static const char check[] =
    "Usage: ringbolt check [-c FILE]\n"
    "\n"
    "Reads everything that run would: the configuration, certificates and keys, the account of the workers. "
    "Prints\n"
    "`FILE: ok` and a summary, or every error as FILE:LINE:COLUMN: what is wrong, and ends with status 3.\n"
    "\n"
    "  -c, --config FILE  the configuration (default: /etc/ringbolt/ringbolt.yaml)\n";

static const char probe[] = "Usage: ringbolt probe [--json]\n"
                            "\n"
                            "Tries out what this kernel and OpenSSL can do: io_uring and its features, "
                            "kernel TLS by version, cipher and\n"
                            "direction, and whether its keys can be changed (rekey).\n"
                            "\n"
                            "      --json         one JSON object, for scripts\n";

void cli_print_help(const char *topic)
{
    const char *text = general;

    if (topic && strcmp(topic, "run") == 0)
        text = run;
    else if (topic && strcmp(topic, "check") == 0)
        text = check;
    else if (topic && strcmp(topic, "probe") == 0)
        text = probe;
    fputs(text, stdout);
}

void cli_print_version(void)
{
    printf("ringbolt %s\n", RINGBOLT_VERSION);
}

enum cli_status cli_finish(enum cli_status status)
{
    bool was_bad = ferror(stdout);

    if (fclose(stdout) == 0 && !was_bad)
        return status;
    fprintf(stderr, "ringbolt: cannot write to standard output: %s\n",
            errno ? strerror(errno) : "write error");
    return CLI_FAILED;
}

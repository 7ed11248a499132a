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
    "\n"
    "To the one that is running:\n"
    "  ringbolt reload                           look at certificates, keys and the configuration again\n"
    "  ringbolt upgrade                          go on with the program that is there now\n"
    "  ringbolt drain                            finish what is live, then end\n"
    "  ringbolt drain --certificate NAME         end connections under certificates that were replaced\n"
    "  ringbolt stop                             end at once\n"
    "  ringbolt status [--json]                  how it is: listeners, servers, workers, counters, sandbox\n"
    "  ringbolt top                              the same in this terminal, anew every second\n"
    "  ringbolt connections [--json]             the connections that are live\n"
    "  ringbolt certificates [--json]            what is served, until when, from which file\n"
    "  ringbolt server [--json]                  the servers behind it: state, health, connections\n"
    "  ringbolt server NAME drain|ready|down     no new connections to one of them, or again\n"
    "\n"
    "  ringbolt schema                           the JSON schema of the configuration, for editors\n"
    "  ringbolt completion bash|zsh|fish         a script that completes the command line\n"
    "  ringbolt pki COMMAND …                    a certificate authority for tests and private networks\n"
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
    "once; HUP\n"
    "looks at certificate files and the configuration again, as `ringbolt reload` does; USR2 is `ringbolt upgrade`;\n"
    "USR1 opens log.file again.\n";

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

// Of all commands to a running master.
#define WHERE_SOCKET                                                                                         \
    "  -s, --socket PATH  its admin socket\n"                                                                \
    "  -c, --config FILE  its configuration, which names the socket (`admin: { socket: … }`)\n"            \
    "                     Without both: /etc/ringbolt/ringbolt.yaml, or where there is none "                \
    "/run/ringbolt/admin.sock\n"
#define WHERE WHERE_SOCKET "      --json         one JSON object, for scripts (docs/admin.md)\n"

static const char reload[] =
    "Usage: ringbolt reload [-s PATH | -c FILE] [--force] [--json]\n"
    "\n"
    "The running ringbolt looks at certificates, keys, authorities, revocation lists, ticket keys and OCSP "
    "responses\n"
    "again, and serves what is new. Connections go on. The command ends when every worker has what is new. "
    "What is\n"
    "wrong is printed, and the last good one stays in service: status 1. A changed configuration is applied by "
    "a\n"
    "successor, which takes over sockets and connections; the command ends when that serves, or has failed "
    "(status 1):\n"
    "then the one that asked goes on as it was. A configuration that is broken is printed: status 3.\n"
    "\n" WHERE "      --force        load again what looks the same, too\n";

static const char upgrade[] =
    "Usage: ringbolt upgrade [-s PATH | -c FILE] [--json]\n"
    "\n"
    "The running ringbolt starts the program that is now at the path from which it was started itself, with the "
    "same\n"
    "arguments. That one loads the configuration and takes over sockets and connections; the command ends when it "
    "serves,\n"
    "or has failed: then the one that was running goes on, the reason is printed, status 1. The process id that "
    "was\n"
    "started first stays. docs/upgrade.md.\n"
    "\n" WHERE;

static const char drain[] =
    "Usage: ringbolt drain [-s PATH | -c FILE] [--certificate NAME [--timeout TIME]] [--json]\n"
    "\n"
    "The running ringbolt takes no new connections, finishes those that are live (up to shutdown_timeout) "
    "and "
    "ends.\n"
    "With --certificate it goes on; what ends are connections whose handshake was made with a certificate "
    "that "
    "was\n"
    "replaced or removed since, and sessions of it are not resumed any more.\n"
    "\n" WHERE "      --certificate NAME  a server name that it was for, or at least 8 digits of its SHA-256 "
    "fingerprint\n"
    "      --timeout TIME      after which such connections are cut, such as 30s (default: "
    "shutdown_timeout)\n";

static const char stop[] = "Usage: ringbolt stop [-s PATH | -c FILE] [--json]\n"
                           "\n"
                           "The running ringbolt cuts every connection and ends.\n"
                           "\n" WHERE;

static const char status_text[] =
    "Usage: ringbolt status [-s PATH | -c FILE] [--json]\n"
    "\n"
    "Prints how the running ringbolt is: its listeners, servers and workers with what was counted since the start, how "
    "connections\n"
    "ended, when the first certificate does, and what holds each of its processes (docs/security.md). --json has everything "
    "that is\n"
    "counted (docs/metrics.md).\n"
    "\n" WHERE;

static const char connections[] =
    "Usage: ringbolt connections [-s PATH | -c FILE] [--limit N] [--json]\n"
    "\n"
    "Prints connections that are live in the running ringbolt: client, state, age, time without a byte, name asked "
    "for, where\n"
    "records towards the client are protected (transmit/receive), server, bytes.\n"
    "\n" WHERE "      --limit N      at most so many, 1 to 10000 (default: 1000)\n";

static const char server[] =
    "Usage:\n"
    "  ringbolt server [-s PATH | -c FILE] [--json]\n"
    "  ringbolt server NAME drain|ready|down [-s PATH | -c FILE] [--json]\n"
    "\n"
    "Prints the servers of the running ringbolt: their state by command, their health, connections that live, "
    "connects\n"
    "that succeeded and failed. With a name it sets the state of that server, for all workers at once:\n"
    "\n"
    "  drain              no new connections, those that live go on\n"
    "  down               the same, and nobody asks how it is\n"
    "  ready              connections are welcome again\n"
    "\n"
    "NAME is UPSTREAM/ADDRESS as the list shows them, or the address alone where it is in one upstream.\n"
    "\n" WHERE;

static const char certificates[] = "Usage: ringbolt certificates [-s PATH | -c FILE] [--json]\n"
                                   "\n"
                                   "Prints every certificate that the running ringbolt serves: names, "
                                   "issuer, end, key, full handshakes made "
                                   "with it,\n"
                                   "state, OCSP response, when and from which file it was loaded; and what "
                                   "is wrong with files that it would "
                                   "rather\n"
                                   "serve.\n"
                                   "\n" WHERE;

static const char schema[] = "Usage: ringbolt schema\n"
                             "\n"
                             "Prints the JSON schema of the configuration, for editors that complete and check YAML.\n";

static const char completion[] = "Usage: ringbolt completion bash|zsh|fish\n"
                                 "\n"
                                 "Prints a script with which that shell completes commands and options.\n";
static const char top[] =
    "Usage: ringbolt top [-s PATH | -c FILE] [-d SECONDS] [--once]\n"
    "\n"
    "Shows how the running ringbolt is, again and again: rates, listeners, servers, workers, records, and certificates that end "
    "soon.\n"
    "q ends; the arrows, or j and k, move where the terminal is too small for all of it.\n"
    "\n" WHERE_SOCKET "  -d, --delay S      seconds from one frame to the next, 0.1 to 3600 (default: 1)\n"
    "      --once         prints one frame, of the first interval, without drawing: for scripts\n";

void cli_print_help(const char *topic)
{
    static const struct {
        const char *topic;
        const char *text;
    } texts[] = {{"run", run},
                 {"check", check},
                 {"probe", probe},
                 {"reload", reload},
                 {"upgrade", upgrade},
                 {"drain", drain},
                 {"stop", stop},
                 {"status", status_text},
                 {"connections", connections},
                 {"server", server},
                 {"certificates", certificates},
                 {"schema", schema},
                 {"completion", completion},
                 {"top", top}};
    const char *text = general;

    for (size_t i = 0; topic && i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(topic, texts[i].topic) == 0)
            text = texts[i].text;
    }
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

// SPDX-License-Identifier: Apache-2.0
// Options in: getopt for each command, and what getopt cannot know.
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ringbolt/clock.h"

#define DEFAULT_FILE   "/etc/ringbolt/ringbolt.yaml"
#define DEFAULT_SOCKET "/run/ringbolt/admin.sock" // as a configuration that names none has it
#define WORKERS_MAX    1024
#define DELAY_S_MIN    0.1 // the master has nothing newer
#define DELAY_S_MAX    3600.0
#define LIMIT_MAX      10000

enum {
    OPTION_LISTEN = 256,
    OPTION_TO,
    OPTION_CERT,
    OPTION_KEY,
    OPTION_DEV_CA,
    OPTION_WORKERS,
    OPTION_KTLS,
    OPTION_JSON,
    OPTION_FORCE,
    OPTION_CERTIFICATE,
    OPTION_TIMEOUT,
    OPTION_ONCE,
    OPTION_LIMIT
};

static const struct option run_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"to", required_argument, NULL, OPTION_TO},
    {"cert", required_argument, NULL, OPTION_CERT},
    {"key", required_argument, NULL, OPTION_KEY},
    {"dev-ca", required_argument, NULL, OPTION_DEV_CA},
    {"workers", required_argument, NULL, OPTION_WORKERS},
    {"ktls", required_argument, NULL, OPTION_KTLS},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const struct option check_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const struct option probe_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const struct option reload_options[] = {
    {"socket", required_argument, NULL, 's'},   {"config", required_argument, NULL, 'c'},
    {"force", no_argument, NULL, OPTION_FORCE}, {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},           {0},
};

static const struct option drain_options[] = {
    {"socket", required_argument, NULL, 's'},
    {"config", required_argument, NULL, 'c'},
    {"certificate", required_argument, NULL, OPTION_CERTIFICATE},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const struct option connections_options[] = {
    {"socket", required_argument, NULL, 's'},
    {"config", required_argument, NULL, 'c'},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const struct option call_options[] = {
    {"socket", required_argument, NULL, 's'},
    {"config", required_argument, NULL, 'c'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const struct option help_options[] = {
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const struct option top_options[] = {
    {"socket", required_argument, NULL, 's'}, {"config", required_argument, NULL, 'c'},
    {"delay", required_argument, NULL, 'd'},  {"once", no_argument, NULL, OPTION_ONCE},
    {"help", no_argument, NULL, 'h'},         {0},
};

const struct cli_command_table cli_commands[] = {
    {"run", CLI_RUN, ":c:h", run_options},
    {"check", CLI_CHECK, ":c:h", check_options},
    {"probe", CLI_PROBE, ":h", probe_options},
    {"reload", CLI_RELOAD, ":s:c:h", reload_options},
    {"upgrade", CLI_UPGRADE, ":s:c:h", call_options},
    {"drain", CLI_DRAIN, ":s:c:h", drain_options},
    {"stop", CLI_STOP, ":s:c:h", call_options},
    {"status", CLI_STATUS, ":s:c:h", call_options},
    {"connections", CLI_CONNECTIONS, ":s:c:h", connections_options},
    {"server", CLI_SERVER, ":s:c:h", call_options},
    {"certificates", CLI_CERTIFICATES, ":s:c:h", call_options},
    {"top", CLI_TOP, ":s:c:d:h", top_options},
    {"schema", CLI_SCHEMA, ":h", help_options},
    {"completion", CLI_COMPLETION, ":h", help_options},
    {0},
};

static enum cli_status wrong(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static enum cli_status wrong(const char *command, const char *format, ...)
{
    va_list arguments;

    fputs("ringbolt: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "; see ringbolt %s%s--help\n", command, command[0] ? " " : "");
    return CLI_USAGE;
}

static enum cli_status parse_workers(const char *text, unsigned *ret)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < 1 || number > WORKERS_MAX)
        return wrong("run", "--workers %s: a number from 1 to %d is needed", text, WORKERS_MAX);
    *ret = (unsigned)number;
    return CLI_OK;
}

static enum cli_status parse_ktls(const char *text, struct cli_options *options)
{
    static const char *const words[] = {
        [CONFIG_KTLS_AUTO] = "auto", [CONFIG_KTLS_OFF] = "off", [CONFIG_KTLS_REQUIRED] = "required"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            options->ktls = (enum config_ktls)i;
            options->has_ktls = true;
            return CLI_OK;
        }
    }
    return wrong("run", "--ktls %s: auto, off or required is needed", text);
}

static enum cli_status parse_limit(const char *text, unsigned *ret)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < 1 || number > LIMIT_MAX)
        return wrong("connections", "--limit %s: a number from 1 to %d is needed", text, LIMIT_MAX);
    *ret = (unsigned)number;
    return CLI_OK;
}

static enum cli_status parse_timeout(const char *text, struct cli_options *options)
{
    uint64_t ns;

    if (config_time_parse(text, &ns) < 0)
        return wrong("drain", "--timeout %s: a time is needed, such as 500ms, 30s or 5m, at most 365d", text);
    options->timeout_ms = ns / CLOCK_NS_PER_MS;
    options->has_timeout = true;
    return CLI_OK;
}

// Seconds, with a fraction perhaps.
static enum cli_status parse_delay(const char *text, struct cli_options *options)
{
    char *end;
    double seconds = strtod(text, &end);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || !(seconds >= DELAY_S_MIN && seconds <= DELAY_S_MAX))
        return wrong("top", "-d %s: seconds are needed, from 0.1 to 3600", text);
    options->delay_ns = (uint64_t)(seconds * (double)CLOCK_NS_PER_S);
    return CLI_OK;
}

static enum cli_status take(const char *command, int option, char **argv, struct cli_options *options)
{
    switch (option) {
    case 'c':
        options->file = optarg;
        return CLI_OK;
    case 'h':
        options->command = CLI_HELP;
        options->help_topic = command;
        return CLI_OK;
    case OPTION_LISTEN:
        options->listen = optarg;
        return CLI_OK;
    case OPTION_TO:
        options->to = optarg;
        return CLI_OK;
    case OPTION_CERT:
        options->cert = optarg;
        return CLI_OK;
    case OPTION_KEY:
        options->key = optarg;
        return CLI_OK;
    case OPTION_DEV_CA:
        options->dev_ca = optarg;
        return CLI_OK;
    case OPTION_WORKERS:
        return parse_workers(optarg, &options->workers);
    case OPTION_KTLS:
        return parse_ktls(optarg, options);
    case OPTION_JSON:
        options->json = true;
        return CLI_OK;
    case 's':
        options->socket = optarg;
        return CLI_OK;
    case 'd':
        return parse_delay(optarg, options);
    case OPTION_ONCE:
        options->once = true;
        return CLI_OK;
    case OPTION_FORCE:
        options->force = true;
        return CLI_OK;
    case OPTION_CERTIFICATE:
        options->certificate = optarg;
        return CLI_OK;
    case OPTION_LIMIT:
        return parse_limit(optarg, &options->limit);
    case OPTION_TIMEOUT:
        return parse_timeout(optarg, options);
    case ':':
        return wrong(command, "%s needs an argument", argv[optind - 1]);
    default:
        if (optopt != 0 && optopt < 256 && argv[optind - 1][1] != '-')
            return wrong(command, "unknown option -%c", optopt);
        return wrong(command, "unknown option %s", argv[optind - 1]);
    }
}

// What getopt can't know: which options go together.
static enum cli_status check_run(struct cli_options *options)
{
    bool is_quick = options->listen || options->to;

    if (is_quick && options->file)
        return wrong("run", "-c and --listen/--to exclude each other");
    if (is_quick && !options->to)
        return wrong("run", "--listen needs --to, the server to pass everything on to");
    if (is_quick && !options->listen)
        return wrong("run", "--to needs --listen, where clients connect");
    if (!is_quick &&
        (options->cert || options->key || options->dev_ca || options->workers > 0 || options->has_ktls))
        return wrong(
            "run",
            "--cert, --key, --dev-ca, --workers and --ktls go with --listen and --to; with a configuration "
            "file they are written there");
    if (!options->cert != !options->key)
        return wrong("run", "--cert and --key need each other");
    if (options->dev_ca && options->cert)
        return wrong("run", "--dev-ca is for the development certificate, which --cert and --key replace");
    if (!is_quick && !options->file)
        options->file = DEFAULT_FILE;
    return CLI_OK;
}

static enum cli_status check_call(const char *name, struct cli_options *options)
{
    if (options->socket && options->file)
        return wrong(name, "-s and -c exclude each other");
    if (options->certificate && !options->certificate[0])
        return wrong(name, "--certificate needs a name");
    if (options->has_timeout && !options->certificate)
        return wrong(name, "--timeout goes with --certificate; a drain of everything takes shutdown_timeout");
    if (!options->socket && !options->file) {
        if (access(DEFAULT_FILE, F_OK) == 0)
            options->file = DEFAULT_FILE;
        else
            options->socket = DEFAULT_SOCKET;
    }
    return CLI_OK;
}

// `server` lists all, or takes a name and a state.
static enum cli_status take_server(int count, char **words, struct cli_options *options)
{
    if (count == 0)
        return CLI_OK;
    if (count == 1)
        return wrong("server", "%s: what is it to be: ready, drain or down", words[0]);
    if (count > 2)
        return wrong("server", "one server at a time, there is no use for `%s`", words[2]);
    if (strcmp(words[1], "ready") != 0 && strcmp(words[1], "drain") != 0 && strcmp(words[1], "down") != 0)
        return wrong("server", "a server can be ready, drain or down, not `%s`", words[1]);
    options->server = words[0];
    options->server_state = words[1];
    return CLI_OK;
}

static enum cli_status parse_command(size_t index, int argc, char **argv, struct cli_options *options)
{
    const char *name = cli_commands[index].name;
    enum cli_status status = CLI_OK;
    int option;

    options->command = cli_commands[index].command;
    opterr = 0;
    optind = 1;
    while (status == CLI_OK &&
           (option = getopt_long(argc, argv, cli_commands[index].letters, cli_commands[index].options, NULL)) != -1)
        status = take(name, option, argv, options);
    if (status != CLI_OK || options->command == CLI_HELP)
        return status;
    if (options->command == CLI_SERVER) {
        status = take_server(argc - optind, argv + optind, options);
        return status == CLI_OK ? check_call(name, options) : status;
    }
    if (options->command == CLI_COMPLETION) {
        if (optind + 1 != argc)
            return wrong(name, "for which shell: bash, zsh or fish");
        options->shell = argv[optind];
        return CLI_OK;
    }
    if (optind < argc)
        return wrong(name, "%s takes no `%s`", name, argv[optind]);
    if (options->command == CLI_RUN)
        return check_run(options);
    if (options->command == CLI_CHECK && !options->file)
        options->file = DEFAULT_FILE;
    if (options->command >= CLI_RELOAD && options->command <= CLI_TOP)
        return check_call(name, options);
    return CLI_OK;
}

enum cli_status cli_parse(int argc, char **argv, struct cli_options *ret)
{
    struct cli_options options = {.delay_ns = CLOCK_NS_PER_S};
    const char *name = argc > 1 ? argv[1] : NULL;
    enum cli_status status;

    if (!name)
        return wrong("", "a command is needed");
    for (size_t i = 0; cli_commands[i].name; i++) {
        if (strcmp(name, cli_commands[i].name) == 0) {
            status = parse_command(i, argc - 1, argv + 1, &options);
            if (status == CLI_OK)
                *ret = options;
            return status;
        }
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        options.command = CLI_VERSION;
    else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        options.command = CLI_HELP;
    else
        return wrong("", "there is no %s `%s`", name[0] == '-' ? "option" : "command", name);
    if (argc > 2)
        return wrong("", "%s stands alone", name);
    *ret = options;
    return CLI_OK;
}

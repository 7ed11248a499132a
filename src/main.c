// SPDX-License-Identifier: Apache-2.0
// The command line: wires rooms, nothing else. The rooms come up in the order configuration, log, master, and go in reverse.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ringbolt/config.h"
#include "ringbolt/control.h"
#include "ringbolt/log.h"
#include "ringbolt/pki.h"
#include "src/cli/cli.h"
#include "src/control/http.h"
#include "src/control/keeper.h"
#include "src/control/lookup.h"
#include "src/control/responder_fetch.h"

#define MEMORY_PER_WORKER (UINT64_C(1) << 20) // what config.h promises of limits.memory

// ---- from options to a configuration ----

// The configuration of --listen and --to.
static int make_quick(const struct cli_options *options, struct config **ret, struct report *report)
{
    struct config *config;
    int error = config_quick(options->listen, options->to, options->cert, options->key, &config, report);

    if (error < 0)
        return error;
    if (options->workers > 0)
        config->workers = options->workers;
    if (config->limits.memory < config->workers * MEMORY_PER_WORKER)
        config->limits.memory = config->workers * MEMORY_PER_WORKER;
    if (options->has_ktls)
        config->ktls.transmit = config->ktls.receive = options->ktls;
    *ret = config;
    return 0;
}

// ---- commands ----

// Once the configuration is accepted, only lines of the log go to standard error.
static void log_warnings(const struct report *report)
{
    for (size_t i = 0; i < report->count; i++)
        log_warning("configuration", log_text("reason", report->lines[i].text));
}

static enum cli_status run(const struct cli_options *options)
{
    struct control *control = control_create(options->file);
    struct control_options control_options = {.develop_ca = options->dev_ca, .may_ask = true};
    struct report report;
    struct config *config = NULL;
    enum cli_status status = CLI_CONFIG;
    int error;

    if (control_inherit(control) < 0) {
        control_destroy(control);
        return CLI_FAILED;
    }
    report_init(&report, options->file ? options->file : "command line");
    error =
        options->file ? config_load(options->file, &config, &report) : make_quick(options, &config, &report);
    if (error < 0) {
        if (!options->file)
            status = CLI_USAGE;
        goto complain;
    }
    log_setup(config->log.format, config->log.level, STDERR_FILENO);
    control_options.config = config;
    error = control_load(control, &control_options, &report);
    if (control_check(config, &report) < 0 || error < 0)
        goto complain;
    if (control_log(config, &report) < 0)
        goto complain;
    log_warnings(&report);
    status = (enum cli_status)control_run(control);
    goto out;
complain:
    if (!control_failed(control, &report))
        report_print(&report, stderr);
out:
    control_destroy(control);
    config_destroy(config);
    report_finish(&report);
    return status;
}

static enum cli_status check(const struct cli_options *options)
{
    struct control *control = control_create(options->file);
    struct control_options control_options = {.is_check = true, .may_ask = true};
    struct report report;
    struct config *config = NULL;
    enum cli_status status = CLI_CONFIG;

    report_init(&report, options->file);
    if (config_load(options->file, &config, &report) == 0) {
        int error;

        control_options.config = config;
        error = control_load(control, &control_options, &report);
        if (control_check(config, &report) == 0 && error == 0) {
            cli_print_check(options->file, config);
            status = CLI_OK;
        }
    }
    report_print(&report, stderr);
    control_destroy(control);
    config_destroy(config);
    report_finish(&report);
    return status;
}

// A standard descriptor that is closed would become a socket's number, and the log go to a client. /dev/null for
// reading takes its place: writing to it still fails, as it should.
static void hold_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDONLY);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    struct cli_options options;
    enum cli_status status;

    hold_standard_descriptors();
    (void)signal(SIGPIPE, SIG_IGN); // a reader who goes away is a write error
    if (argc > 1 && strcmp(argv[1], "pki") == 0)
        return cli_finish((enum cli_status)pki_main(argc - 1, argv + 1));
    if (argc == 2 && strcmp(argv[1], FETCH_COMMAND) == 0) // internal: the master calls it
        fetch_child();
    if (argc == 2 && strcmp(argv[1], LOOKUP_COMMAND) == 0) // likewise
        lookup_child();
    if (argc == 2 && strcmp(argv[1], HTTP_COMMAND) == 0) // likewise
        http_child();
    if (argc == KEEPER_ARGUMENTS && strcmp(argv[1], KEEPER_COMMAND) == 0) // likewise
        keeper_main(argv);
    if (argc > 1 && strcmp(argv[1], "run") == 0)
        control_remember(argv);
    status = cli_parse(argc, argv, &options);
    if (status != CLI_OK)
        return status;
    switch (options.command) {
    case CLI_RUN:
        return run(&options);
    case CLI_CHECK:
        status = check(&options);
        break;
    case CLI_PROBE:
        cli_print_probe(options.json);
        break;
    case CLI_RELOAD:
    case CLI_UPGRADE:
    case CLI_DRAIN:
    case CLI_STOP:
    case CLI_STATUS:
    case CLI_CONNECTIONS:
    case CLI_SERVER:
    case CLI_CERTIFICATES:
        status = cli_call(&options);
        break;
    case CLI_SCHEMA:
        cli_print_schema();
        break;
    case CLI_COMPLETION:
        if (!cli_print_completion(options.shell)) {
            fprintf(stderr, "ringbolt: completion %s: bash, zsh or fish is needed\n", options.shell);
            status = CLI_USAGE;
        }
        break;
    case CLI_TOP:
        status = cli_top(&options);
        break;
    case CLI_VERSION:
        cli_print_version();
        break;
    case CLI_HELP:
        cli_print_help(options.help_topic);
        break;
    }
    return cli_finish(status);
}

// SPDX-License-Identifier: Apache-2.0
// The command line's words: options in, help and results out. What is done with them is main.c's.
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "ringbolt/config.h"

enum cli_status {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_CONFIG = 3,
};

enum cli_command {
    CLI_RUN,
    CLI_CHECK,
    CLI_PROBE,
    CLI_RELOAD, // and the following: to the running master, by its admin socket
    CLI_UPGRADE,
    CLI_DRAIN,
    CLI_STOP,
    CLI_STATUS,
    CLI_CONNECTIONS,
    CLI_SERVER,
    CLI_CERTIFICATES,
    CLI_SCHEMA,
    CLI_COMPLETION,
    CLI_TOP,
    CLI_VERSION,
    CLI_HELP,
};

// Texts point into argv.
struct cli_options {
    enum cli_command command;
    const char *help_topic; // CLI_HELP: a command's name, NULL: all of it
    const char *file;       // run and check; NULL: run by --listen and --to. To a running master: or `socket`
    const char *listen;
    const char *to;
    const char *cert;
    const char *key;
    const char *dev_ca;
    unsigned workers; // 0: not given
    bool has_ktls;
    enum config_ktls ktls;
    bool json;
    const char *socket; // of the running master; NULL: that of `file`
    bool force;
    const char *certificate; // drain; NULL: everything
    unsigned limit; // connections; 0: not given
    bool has_timeout;
    uint64_t timeout_ms;
    const char *server;       // server; NULL: all are listed
    const char *server_state; // that it is to have
    const char *shell;        // completion
    uint64_t delay_ns;        // top: from one frame to the next
    bool once;                // top: one frame
};

// The commands and their options, for whoever describes them. The last one has no name.
struct cli_command_table {
    const char *name;
    enum cli_command command;
    const char *letters; // the colon in front tells a missing argument from an unknown option
    const struct option *options;
};
extern const struct cli_command_table cli_commands[];

// CLI_OK and *ret, or CLI_USAGE: what is wrong was written to standard error.
enum cli_status cli_parse(int argc, char **argv, struct cli_options *ret);

// Writes a command's help, or the whole program's, to standard output.
void cli_print_help(const char *topic);
void cli_print_version(void);
// `FILE: ok` and what the configuration is.
void cli_print_check(const char *file, const struct config *config);
// The JSON schema of the configuration.
void cli_print_schema(void);
// A script that completes the command line in this shell. false: there is none for it.
bool cli_print_completion(const char *shell);
// What kernel and OpenSSL can do, found out now.
void cli_print_probe(bool json);

// One of the commands to the running master: asks, prints, complains.
enum cli_status cli_call(const struct cli_options *options);
// The path of the admin socket: that of the options, or of the configuration that they name. CLI_OK and *ret (free() it), or what to end
// with after a complaint.
enum cli_status cli_socket(const struct cli_options *options, char **ret);
// `top`, until its user has enough.
enum cli_status cli_top(const struct cli_options *options);
// The answer to `certificates`, as a table.
void cli_print_certificates(const json_t *answer);
// Of the answer to `status`: what holds each process, as a table.
void cli_print_sandbox(const json_t *answer);
// The answer to `server`: the table, or a sentence.
void cli_print_servers(const json_t *answer);
// The answer to `connections`, as a table.
void cli_print_connections(const json_t *answer);
// The answer to `status`.
void cli_print_status(const json_t *answer);
// Text from elsewhere, with what could play tricks on a terminal as `?`.
void cli_print_text(FILE *to, const char *text);

// Ends standard output: `status`, or CLI_FAILED when not all of it could be written.
enum cli_status cli_finish(enum cli_status status);

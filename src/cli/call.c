// SPDX-License-Identifier: Apache-2.0
// Commands to the running master: from options to a request, from the answer to words.
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/admin.h"

static const char *command_name(enum cli_command command)
{
    switch (command) {
    case CLI_RELOAD:
        return "reload";
    case CLI_UPGRADE:
        return "upgrade";
    case CLI_DRAIN:
        return "drain";
    case CLI_STOP:
        return "stop";
    case CLI_STATUS:
        return "status";
    case CLI_CONNECTIONS:
        return "connections";
    case CLI_SERVER:
        return "server";
    case CLI_TOP:
        return "top";
    default:
        return "certificates";
    }
}

void cli_print_text(FILE *to, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        bool is_c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0; // control characters beyond ASCII

        if (is_c1)
            at++;
        fputc(is_c1 || *at < 0x20 || *at == 0x7f ? '?' : *at, to);
    }
}

// ---- the request ----

static json_t *make_request(const struct cli_options *options)
{
    json_t *request = json_pack("{s:s}", "command", command_name(options->command));

    if (options->force)
        (void)json_object_set_new(request, "force", json_true());
    if (options->certificate)
        (void)json_object_set_new(request, "certificate", json_string(options->certificate));
    if (options->server) {
        (void)json_object_set_new(request, "server", json_string(options->server));
        (void)json_object_set_new(request, "state", json_string(options->server_state));
    }
    if (options->limit > 0)
        (void)json_object_set_new(request, "limit", json_integer(options->limit));
    if (options->has_timeout)
        (void)json_object_set_new(request, "timeout_ms", json_integer((json_int_t)options->timeout_ms));
    return request;
}

// Asks the master at `path`. CLI_OK and *ret, or what to end with after a complaint.
static enum cli_status ask(const struct cli_options *options, const char *path, json_t **ret)
{
    json_t *request = make_request(options);
    const char *why = "";
    int error;

    if (options->certificate && !json_object_get(request, "certificate")) {
        fprintf(stderr, "ringbolt: --certificate: that is no text in UTF-8\n");
        json_decref(request);
        return CLI_USAGE;
    }
    if (options->server && !json_object_get(request, "server")) {
        fprintf(stderr, "ringbolt: server: that is no name in UTF-8\n");
        json_decref(request);
        return CLI_USAGE;
    }
    error = admin_call(path, request, ret, &why);
    json_decref(request);
    if (error == 0)
        return CLI_OK;
    fprintf(stderr, "ringbolt: %s: ", command_name(options->command));
    cli_print_text(stderr, path);
    fprintf(stderr, ": %s\n", why ? why : "unknown error");
    return CLI_FAILED;
}

static enum cli_status socket_by_file(const struct cli_options *options, char **ret)
{
    struct report report;
    struct config *config = NULL;
    enum cli_status status = CLI_CONFIG;

    report_init(&report, options->file);
    if (config_load_unresolved(options->file, &config, &report) < 0) {
        report_print(&report, stderr);
        fprintf(stderr,
                "ringbolt: %s: a configuration that can't be read doesn't tell the socket; name it with "
                "-s PATH\n",
                command_name(options->command));
    } else if (config->admin.socket) {
        *ret = strdup(config->admin.socket);
        status = CLI_OK;
    } else {
        fprintf(
            stderr,
            "ringbolt: %s: %s sets no admin.socket (only root has one without); set it, or name the socket "
            "with -s PATH\n",
            command_name(options->command), options->file);
    }
    config_destroy(config);
    report_finish(&report);
    return status;
}

enum cli_status cli_socket(const struct cli_options *options, char **ret)
{
    enum cli_status status = CLI_OK;

    *ret = NULL;
    if (options->socket)
        *ret = strdup(options->socket);
    else
        status = socket_by_file(options, ret);
    if (status == CLI_OK && !*ret)
        abort();
    return status;
}

// ---- the answer ----

static json_int_t number(const json_t *answer, const char *key)
{
    return json_integer_value(json_object_get(answer, key));
}

static const char *text(const json_t *answer, const char *key)
{
    const char *value = json_string_value(json_object_get(answer, key));

    return value ? value : "";
}

static void complain_each(const json_t *problems)
{
    size_t index;
    json_t *problem;

    json_array_foreach(problems, index, problem)
    {
        cli_print_text(stderr, json_string_value(problem) ? json_string_value(problem) : "");
        fputc('\n', stderr);
    }
}

static void print_reload(const json_t *answer)
{
    printf("reloaded: %" JSON_INTEGER_FORMAT " changed, %" JSON_INTEGER_FORMAT
           " removed, %" JSON_INTEGER_FORMAT " failed\n",
           number(answer, "changed"), number(answer, "removed"), number(answer, "failed"));
    if (number(answer, "pid") > 0)
        printf("the changed configuration is in service (pid %" JSON_INTEGER_FORMAT ")\n", number(answer, "pid"));
}

// What of a reload is worth a word on standard error, also beside JSON.
static enum cli_status judge_reload(const json_t *answer)
{
    const char *config = text(answer, "config");
    enum cli_status status = number(answer, "failed") > 0 ? CLI_FAILED : CLI_OK;

    complain_each(json_object_get(answer, "problems"));
    complain_each(json_object_get(answer, "config_problems"));
    if (strcmp(config, "broken") == 0) {
        fprintf(stderr,
                "ringbolt: reload: the configuration was changed and is broken: a restart would fail\n");
        status = CLI_CONFIG;
    }
    return status;
}

static void print_upgrade(const json_t *answer)
{
    printf("upgraded: ");
    cli_print_text(stdout, text(answer, "predecessor_version"));
    printf(" (pid %" JSON_INTEGER_FORMAT ") to ", number(answer, "predecessor_pid"));
    cli_print_text(stdout, text(answer, "version"));
    printf(" (pid %" JSON_INTEGER_FORMAT ")\n", number(answer, "pid"));
}

static void print_drain(const struct cli_options *options, const json_t *answer)
{
    json_int_t count = number(answer, "certificates");

    if (!options->certificate) {
        printf("draining: %" JSON_INTEGER_FORMAT " connections are live\n", number(answer, "connections"));
    } else if (count == 0) {
        cli_print_text(stdout, options->certificate);
        printf(": no certificate was replaced or removed, nothing to drain\n");
    } else {
        printf("draining: connections under %" JSON_INTEGER_FORMAT " replaced certificate%s of ", count,
               count == 1 ? "" : "s");
        cli_print_text(stdout, options->certificate);
        printf("\n");
    }
}

static void print_answer(const struct cli_options *options, const json_t *answer)
{
    switch (options->command) {
    case CLI_RELOAD:
        print_reload(answer);
        break;
    case CLI_UPGRADE:
        print_upgrade(answer);
        break;
    case CLI_DRAIN:
        print_drain(options, answer);
        break;
    case CLI_STOP:
        printf("stopping: %" JSON_INTEGER_FORMAT " connections are cut\n", number(answer, "connections"));
        break;
    case CLI_STATUS:
        cli_print_status(answer);
        putchar('\n');
        cli_print_sandbox(answer);
        break;
    case CLI_CONNECTIONS:
        cli_print_connections(answer);
        break;
    case CLI_SERVER:
        cli_print_servers(answer);
        break;
    default:
        cli_print_certificates(answer);
    }
}

enum cli_status cli_call(const struct cli_options *options)
{
    json_t *answer = NULL;
    char *path = NULL;
    enum cli_status status = cli_socket(options, &path);
    bool is_ok;

    if (status == CLI_OK)
        status = ask(options, path, &answer);
    free(path);
    if (status != CLI_OK)
        return status;
    is_ok = json_is_true(json_object_get(answer, "ok"));
    if (options->json) {
        (void)json_dumpf(answer, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (is_ok) {
        print_answer(options, answer);
    }
    if (options->command == CLI_RELOAD)
        status = judge_reload(answer);
    complain_each(json_object_get(answer, "successor_problems"));
    if (!is_ok) {
        fprintf(stderr, "ringbolt: %s: ", command_name(options->command));
        cli_print_text(stderr, text(answer, "error"));
        fputc('\n', stderr);
        if (status == CLI_OK)
            status = CLI_FAILED;
    }
    json_decref(answer);
    return status;
}

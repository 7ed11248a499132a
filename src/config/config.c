// SPDX-License-Identifier: Apache-2.0
// The ways to a configuration: a file, text in memory, the command line. A file goes through the other parts
// of this room in turn: document (YAML to a tree), schema (the tree holds only what may be there), libcyaml
// (the tree to raw structures), build (raw structures to the configuration). Each reports all it finds and
// hands on what is usable.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/config/build.h"
#include "src/config/memory.h"
#include "src/config/parse.h"

#define ADMIN_FOLDER   "/run/ringbolt"
#define ADMIN_SOCKET   ADMIN_FOLDER "/admin.sock"
#define FILE_BYTES_MAX ((size_t)16 << 20)

// A port-80 companion alone, as before there is a first certificate, has nowhere to send anybody.
static const struct schema *choose_schema(const struct document *document)
{
    const struct node *listeners = node_get(document->root, "listeners");
    size_t redirects = 0;

    for (size_t i = 0; listeners != NULL && listeners->kind == NODE_LIST && i < listeners->count; i++)
        redirects += node_get(listeners->items[i], "redirect") != NULL;
    return redirects > 0 && redirects == listeners->count ? &schema_config_alone : &schema_config;
}

// `tls: off` of a listener stands where the schema wants a mapping. It becomes an empty one that says so.
static void take_off(struct document *document)
{
    const struct node *listeners = node_get(document->root, "listeners");

    for (size_t i = 0; listeners != NULL && listeners->kind == NODE_LIST && i < listeners->count; i++) {
        struct node *listener = listeners->items[i];

        for (size_t j = 0; listener->kind == NODE_MAPPING && j < listener->count; j++) {
            struct node_pair *pair = &listener->pairs[j];

            if (strcmp(pair->key, "tls") != 0 || pair->value->kind != NODE_TEXT ||
                pair->value->text == NULL || strcmp(pair->value->text, "off") != 0)
                continue;
            pair->value = document_container(document, pair->value->where, NODE_MAPPING);
            pair->value->is_off = true;
        }
    }
}

// input->root and input->raw are set here.
static int parse(const char *text, size_t length, struct build_input *input, struct config **ret,
                 struct report *report)
{
    size_t errors_before = report->error_count;
    const struct schema *schema = NULL;
    struct config *config = NULL;
    void *raw = NULL;
    struct document document;

    if (length > FILE_BYTES_MAX) {
        report_add(report, (struct config_where){0}, "larger than the 16 MiB that a configuration may have");
        return -EINVAL;
    }
    if (document_load(text, length, &document, report) == 0) {
        take_off(&document);
        schema = choose_schema(&document);
        schema_check(schema, &document, report);
        schema_load(schema, &document, &raw, report);
    }
    if (raw != NULL) {
        input->root = document.root;
        input->raw = raw;
        config = build_config(input, report);
        schema_free(schema, raw);
    }
    document_finish(&document);
    if (report->error_count > errors_before) {
        config_destroy(config);
        return -EINVAL;
    }
    *ret = config;
    return 0;
}

int config_parse_with(const char *text, size_t length, const char *directory, address_resolver *resolver,
                      struct config **ret, struct report *report)
{
    struct build_input input = {
        .file = report->file != NULL ? report->file : "text",
        .directory = directory,
        .listen_name = "`address`",
        .server_name = "`address`",
        .resolver = resolver,
    };

    return parse(text, length, &input, ret, report);
}

int config_parse(const char *text, size_t length, const char *directory, struct config **ret,
                 struct report *report)
{
    return config_parse_with(text, length, directory, address_look_up, ret, report);
}

// Reads one byte more than is allowed, so that the caller can see there was too much. 0 or -errno.
static int read_file(const char *path, char **ret, size_t *ret_length)
{
    size_t capacity = 1 << 16;
    size_t length = 0;
    char *text = NULL;
    int result = 0;
    ssize_t got;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -errno;
    do {
        if (text == NULL || length == capacity) {
            capacity *= 2;
            text = memory_resize(text, capacity);
        }
        got = read(fd, text + length, capacity - length);
        if (got < 0 && errno != EINTR)
            result = -errno;
        if (got > 0)
            length += (size_t)got;
    } while (got != 0 && result == 0 && length <= FILE_BYTES_MAX);
    close(fd);
    if (result < 0) {
        free(text);
        return result;
    }
    *ret = text;
    *ret_length = length;
    return 0;
}

static char *current_directory(void)
{
    char *directory = getcwd(NULL, 0);

    // The directory is gone or unreadable: paths fail when they are opened, and say so.
    return directory != NULL ? directory : memory_copy(".");
}

static char *absolute_file(const char *path)
{
    char *directory;
    char *absolute;

    if (path[0] == '/')
        return memory_copy(path);
    directory = current_directory();
    absolute = memory_print("%s/%s", directory, path);
    free(directory);
    return absolute;
}

// As the file is named: a symbolic link is not followed.
static char *directory_of(const char *file)
{
    const char *slash = strrchr(file, '/');

    return memory_copy_part(file, slash == NULL || slash == file ? 1 : (size_t)(slash - file));
}

// The folder is root's, or was made for us by the service manager (RuntimeDirectory=ringbolt).
static bool may_have_admin_socket(void)
{
    const char *folder = getenv("RUNTIME_DIRECTORY");

    return geteuid() == 0 || (folder != NULL && strcmp(folder, ADMIN_FOLDER) == 0);
}

static int load(const char *path, address_resolver *resolver, struct config **ret, struct report *report)
{
    struct build_input input = {
        .listen_name = "`address`",
        .server_name = "`address`",
        .resolver = resolver,
        .admin_default = may_have_admin_socket() ? ADMIN_SOCKET : NULL,
    };
    char *directory;
    size_t length = 0;
    char *file;
    char *text = NULL;
    int result = read_file(path, &text, &length);

    if (result < 0) {
        report_add(report, (struct config_where){0}, "cannot be read: %s", strerror(-result));
        return result;
    }
    file = absolute_file(path);
    directory = directory_of(file);
    input.file = file;
    input.directory = directory;
    result = parse(text, length, &input, ret, report);
    free(directory);
    free(file);
    free(text);
    return result;
}

int config_load(const char *path, struct config **ret, struct report *report)
{
    return load(path, address_look_up, ret, report);
}

// An address_resolver.
static int look_up_never(const char *host, struct config_address *ret, size_t max, size_t *ret_count)
{
    (void)host, (void)ret, (void)max;
    *ret_count = 0;
    return 0;
}

int config_load_unresolved(const char *path, struct config **ret, struct report *report)
{
    return load(path, look_up_never, ret, report);
}

int config_quick(const char *listen, const char *to, const char *chain, const char *key, struct config **ret,
                 struct report *report)
{
    struct raw_certificate certificate = {.chain = (char *)chain, .key = (char *)key};
    struct raw_server server = {.address = (char *)to};
    struct raw_upstream upstream = {.name = (char *)to, .servers = &server, .servers_count = 1};
    struct raw_listener listener = {.address = (char *)listen, .upstream = (char *)to};
    const struct raw_config raw = {
        .listeners = &listener, .listeners_count = 1, .upstreams = &upstream, .upstreams_count = 1};
    struct build_input input = {
        .raw = &raw,
        .file = "command line",
        .listen_name = "--listen",
        .server_name = "--to",
        .resolver = address_look_up,
    };
    size_t errors_before = report->error_count;
    struct config *config;
    char *directory;

    if ((chain == NULL) != (key == NULL)) {
        report_add(report, (struct config_where){0}, "--cert and --key go together; give both or neither");
        return -EINVAL;
    }
    if (chain != NULL) {
        listener.tls.certificates = &certificate;
        listener.tls.certificates_count = 1;
    }
    directory = current_directory();
    input.directory = directory;
    config = build_config(&input, report);
    free(directory);
    if (report->error_count > errors_before) {
        config_destroy(config);
        return -EINVAL;
    }
    *ret = config;
    return 0;
}

static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

static void finish_certificate(struct config_certificate *certificate)
{
    free(certificate->chain);
    free(certificate->key);
    free(certificate->pkcs12);
    free(certificate->passphrase.env);
    free(certificate->passphrase.file);
    free(certificate->ocsp);
    free_texts(certificate->names, certificate->name_count);
}

static void finish_tls(struct config_tls *tls)
{
    free(tls->ciphers);
    free(tls->ciphersuites);
    free(tls->groups);
    for (size_t i = 0; i < tls->certificate_count; i++)
        finish_certificate(&tls->certificates[i]);
    free(tls->certificates);
    free(tls->certificate_dir);
    free(tls->client_auth.ca);
    free_texts(tls->client_auth.crls, tls->client_auth.crl_count);
    free(tls->ocsp.cache);
    free(tls->ocsp.responder);
    free(tls->keylog);
    free_texts(tls->alpn, tls->alpn_count);
}

static void finish_listener(struct config_listener *listener)
{
    finish_tls(&listener->tls);
    for (size_t i = 0; i < listener->route_count; i++)
        free_texts(listener->routes[i].alpn, listener->routes[i].alpn_count);
    free(listener->routes);
    for (size_t i = 0; i < listener->route_name_count; i++)
        free(listener->route_names[i].name);
    free(listener->route_names);
    free(listener->proxy.networks);
    free(listener->hsts);
    free(listener->redirect.host);
    free(listener->redirect.acme);
    free(listener->address.text);
    free(listener->name);
}

static void finish_upstream(struct config_upstream *upstream)
{
    for (size_t i = 0; i < upstream->server_count; i++) {
        free(upstream->servers[i].address.text);
        free(upstream->servers[i].host);
    }
    for (size_t i = 0; i < upstream->name_count; i++) {
        free(upstream->names[i].text);
        free(upstream->names[i].host);
    }
    free(upstream->names);
    finish_tls(&upstream->tls.tls);
    free(upstream->tls.name);
    free(upstream->tls.trust.ca);
    free_texts(upstream->tls.trust.crls, upstream->tls.trust.crl_count);
    free(upstream->servers);
    free(upstream->name);
}

void config_destroy(struct config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config->listener_count; i++)
        finish_listener(&config->listeners[i]);
    free(config->listeners);
    for (size_t i = 0; i < config->upstream_count; i++)
        finish_upstream(&config->upstreams[i]);
    free(config->upstreams);
    free_texts(config->tickets.keys, config->tickets.key_count);
    free(config->tickets.key_wheres);
    free(config->admin.socket);
    free(config->admin.http.text);
    free(config->log.file);
    free(config->user);
    free(config->file);
    free(config);
}

// SPDX-License-Identifier: Apache-2.0
// From the status document to Prometheus' text format (version 0.0.4). docs/metrics.md says what each metric is.
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX 5

// The labels of a series: names, each with its text.
struct labels {
    const char *names[LABELS_MAX];
    const char *texts[LABELS_MAX];
    size_t count;
};

static struct labels with(struct labels labels, const char *name, const char *text)
{
    labels.names[labels.count] = name;
    labels.texts[labels.count++] = text ? text : "";
    return labels;
}

static struct labels label(const char *name, const char *text)
{
    return with((struct labels){.count = 0}, name, text);
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_int_t integer_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

// ---- lines ----

static void print_escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            fputs("\\n", out);
        else if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

// `suffix` belongs to the name, `le` is a further label or NULL.
static void print_name(FILE *out, const char *name, const char *suffix, const struct labels *labels,
                       const char *le)
{
    fprintf(out, "%s%s", name, suffix);
    for (size_t i = 0; i < labels->count; i++) {
        fprintf(out, "%c%s=\"", i == 0 ? '{' : ',', labels->names[i]);
        print_escaped(out, labels->texts[i]);
        fputc('"', out);
    }
    if (le)
        fprintf(out, "%cle=\"%s\"", labels->count == 0 ? '{' : ',', le);
    fputs(labels->count > 0 || le ? "} " : " ", out);
}

static void print_integer(FILE *out, const char *name, struct labels labels, json_int_t value)
{
    print_name(out, name, "", &labels, NULL);
    fprintf(out, "%" JSON_INTEGER_FORMAT "\n", value);
}

static void print_real(FILE *out, const char *name, const char *suffix, struct labels labels, double value)
{
    print_name(out, name, suffix, &labels, NULL);
    fprintf(out, "%.15g\n", value);
}

static void print_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_histogram(FILE *out, const char *name, struct labels labels, const json_t *histogram)
{
    const json_t *bounds = json_object_get(histogram, "bounds_s");
    json_int_t total = 0;
    const json_t *count;
    char le[32];
    size_t i;

    json_array_foreach(json_object_get(histogram, "counts"), i, count)
    {
        const json_t *bound = json_array_get(bounds, i);

        total += json_integer_value(count);
        snprintf(le, sizeof(le), "%g", json_real_value(bound));
        print_name(out, name, "_bucket", &labels, bound ? le : "+Inf");
        fprintf(out, "%" JSON_INTEGER_FORMAT "\n", total);
    }
    print_real(out, name, "_sum", labels, json_real_value(json_object_get(histogram, "sum_s")));
    print_name(out, name, "_count", &labels, NULL);
    fprintf(out, "%" JSON_INTEGER_FORMAT "\n", total);
}

// ---- families: one metric over all whom it is about ----

// What stands in a member `key` of each of `array`, labelled by the text (or number) behind `by`.
struct simple {
    const char *name;
    const char *type;
    const char *key;
    const char *help;
};

typedef struct labels labels_of(const json_t *each);

static void print_simple(FILE *out, const struct simple *simple, const json_t *array, labels_of *labels)
{
    const json_t *each;
    size_t i;

    print_head(out, simple->name, simple->type, simple->help);
    json_array_foreach(array, i, each)
    {
        const json_t *value = json_object_get(each, simple->key);

        if (json_is_real(value))
            print_real(out, simple->name, "", labels(each), json_real_value(value));
        else if (json_is_integer(value))
            print_integer(out, simple->name, labels(each), json_integer_value(value));
        else if (json_is_boolean(value))
            print_integer(out, simple->name, labels(each), json_is_true(value));
        else if (json_is_string(value)) // a state: whether it is the good one
            print_integer(out, simple->name, labels(each),
                          strcmp(json_string_value(value), "ready") == 0 ||
                              strcmp(json_string_value(value), "up") == 0);
    }
}

static void print_all_simple(FILE *out, const struct simple *simple, size_t count, const json_t *array,
                             labels_of *labels)
{
    for (size_t i = 0; i < count; i++)
        print_simple(out, &simple[i], array, labels);
}

// Every member of the object behind `key`, under the label `by`.
static void print_members(FILE *out, const struct simple *simple, const char *by, const json_t *array,
                          labels_of *labels)
{
    const json_t *each;
    const char *key;
    json_t *value;
    size_t i;

    print_head(out, simple->name, simple->type, simple->help);
    json_array_foreach(array, i, each)
    {
        json_object_foreach(json_object_get(each, simple->key), key, value)
            print_integer(out, simple->name, with(labels(each), by, key), json_integer_value(value));
    }
}

static void print_bytes(FILE *out, const char *name, const char *help, const json_t *array, labels_of *labels)
{
    const json_t *each;
    size_t i;

    print_head(out, name, "counter", help);
    json_array_foreach(array, i, each)
    {
        print_integer(out, name, with(labels(each), "direction", "in"), integer_of(each, "bytes_in"));
        print_integer(out, name, with(labels(each), "direction", "out"), integer_of(each, "bytes_out"));
    }
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// ---- listeners ----

static struct labels listener_labels(const json_t *each)
{
    return label("listener", text_of(each, "name"));
}

static void print_handshakes(FILE *out, const json_t *listeners)
{
    static const char name[] = "ringbolt_handshakes_total";
    const json_t *listener;
    const json_t *each;
    size_t i;
    size_t j;

    print_head(out, name, "counter", "Handshakes with clients that succeeded.");
    json_array_foreach(listeners, i, listener)
    {
        json_array_foreach(json_object_get(listener, "handshakes"), j, each)
        {
            struct labels labels = with(listener_labels(listener), "version", text_of(each, "version"));

            labels = with(labels, "cipher", text_of(each, "cipher"));
            labels =
                with(labels, "resumed", json_is_true(json_object_get(each, "resumed")) ? "true" : "false");
            print_integer(out, name, labels, integer_of(each, "count"));
        }
    }
}

static void print_listener_times(FILE *out, const json_t *listeners)
{
    static const char handshake[] = "ringbolt_handshake_seconds";
    static const char duration[] = "ringbolt_connection_duration_seconds";
    const json_t *each;
    size_t i;

    print_head(out, handshake, "histogram",
               "From the moment a client is accepted until its handshake is done.");
    json_array_foreach(listeners, i, each)
    {
        const json_t *both = json_object_get(each, "handshake_seconds");

        print_histogram(out, handshake, with(listener_labels(each), "resumed", "false"),
                        json_object_get(both, "full"));
        print_histogram(out, handshake, with(listener_labels(each), "resumed", "true"),
                        json_object_get(both, "resumed"));
    }
    print_head(out, duration, "histogram", "How long connections lived that have ended.");
    json_array_foreach(listeners, i, each)
        print_histogram(out, duration, listener_labels(each), json_object_get(each, "duration_seconds"));
}

static void print_listeners(FILE *out, const json_t *listeners)
{
    static const struct simple simple[] = {
        {"ringbolt_connections", "gauge", "connections", "Connections of clients that are live."},
        {"ringbolt_connections_total", "counter", "accepted", "Connections of clients that were accepted."},
    };
    static const struct simple ended = {
        "ringbolt_connections_ended_total", "counter", "ends",
        "Connections that ended, by the word that the log has for the reason."};
    static const struct simple refused = {"ringbolt_clients_refused_total", "counter", "refused",
                                          "Clients that a limit for one client turned away."};
    static const struct simple pauses = {
        "ringbolt_accept_pauses_total", "counter", "pauses",
        "Times that a worker stopped accepting for a moment, by the limit that was met."};

    print_all_simple(out, simple, COUNT(simple), listeners, listener_labels);
    print_bytes(out, "ringbolt_bytes_total",
                "Plaintext that passed, in: from clients to servers, out: from servers to clients.",
                listeners, listener_labels);
    print_members(out, &ended, "reason", listeners, listener_labels);
    print_members(out, &refused, "limit", listeners, listener_labels);
    print_members(out, &pauses, "limit", listeners, listener_labels);
    print_handshakes(out, listeners);
    print_listener_times(out, listeners);
}

// ---- upstreams and servers ----

static struct labels upstream_labels(const json_t *each)
{
    return label("upstream", text_of(each, "name"));
}

// Of a server that flatten() made.
static struct labels server_labels(const json_t *each)
{
    return with(label("upstream", text_of(each, "upstream")), "server", text_of(each, "address"));
}

// All servers in one array, each with the name of its upstream.
static json_t *flatten(const json_t *upstreams)
{
    json_t *array = json_array();
    const json_t *upstream;
    json_t *server;
    size_t i;
    size_t j;

    json_array_foreach(upstreams, i, upstream)
    {
        json_array_foreach(json_object_get(upstream, "servers"), j, server)
        {
            json_t *copy = json_copy(server);

            (void)json_object_set(copy, "upstream", json_object_get(upstream, "name"));
            (void)json_array_append_new(array, copy);
        }
    }
    return array;
}

static void print_servers(FILE *out, const json_t *upstreams)
{
    static const struct simple simple[] = {
        {"ringbolt_server_up", "gauge", "health", "1: its health is held to be good. 0: it is out."},
        {"ringbolt_server_ready", "gauge", "state",
         "1: it gets new connections. 0: an operator has set it to drain or down."},
        {"ringbolt_server_connections", "gauge", "connections",
         "Connections that it has, attempts to connect included."},
        {"ringbolt_server_connects_total", "counter", "connects", "Connects that succeeded."},
        {"ringbolt_server_connect_failures_total", "counter", "failures", "Connects that failed."},
    };
    static const struct simple failures = {"ringbolt_server_connections_failed_total", "counter", "ends",
                                           "Connections that a server had taken and that ended because of "
                                           "it, by the word that the log has for the reason."};
    json_t *servers = flatten(upstreams);

    print_all_simple(out, simple, COUNT(simple), servers, server_labels);
    print_bytes(out, "ringbolt_server_bytes_total",
                "Plaintext that passed, in: to this server, out: from it.", servers, server_labels);
    print_members(out, &failures, "reason", servers, server_labels);
    json_decref(servers);
}

static void print_upstreams(FILE *out, const json_t *upstreams)
{
    static const char connect[] = "ringbolt_upstream_connect_seconds";
    static const struct simple waiting = {"ringbolt_upstream_waiting", "gauge", "waiting",
                                          "Connections that wait for a server because all are full."};
    static const struct simple failures = {
        "ringbolt_upstream_connections_failed_total", "counter", "ends",
        "Connections that no server took, by the word that the log has for the reason."};
    const json_t *each;
    size_t i;

    print_simple(out, &waiting, upstreams, upstream_labels);
    print_members(out, &failures, "reason", upstreams, upstream_labels);
    print_head(out, connect, "histogram",
               "From the end of the handshake until a server has taken the connection.");
    json_array_foreach(upstreams, i, each)
        print_histogram(out, connect, upstream_labels(each), json_object_get(each, "connect_seconds"));
    print_servers(out, upstreams);
}

// ---- workers ----

static struct labels worker_labels(const json_t *each)
{
    static char number[32]; // until the next call

    snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, integer_of(each, "worker"));
    return label("worker", number);
}

static void print_workers(FILE *out, const json_t *workers)
{
    static const struct simple simple[] = {
        {"ringbolt_worker_ready", "gauge", "state",
         "1: it accepts connections. 0: it is starting, or dead and not yet replaced."},
        {"ringbolt_worker_starts_total", "counter", "starts",
         "Times that it was started: more than once, it died."},
        {"ringbolt_worker_connections", "gauge", "connections", "Connections that it has."},
        {"ringbolt_worker_cpu_seconds_total", "counter", "cpu_s", "Processor time of its process."},
        {"ringbolt_worker_resident_memory_bytes", "gauge", "memory_bytes",
         "Memory of its process, shared memory included."},
        {"ringbolt_worker_buffer_bytes", "gauge", "buffer_bytes", "Relay buffers in use."},
        {"ringbolt_worker_buffer_limit_bytes", "gauge", "buffer_bytes_max",
         "Relay buffers that it may use: its share of limits.memory."},
        {"ringbolt_worker_buffer_waits_total", "counter", "starved",
         "Times that a connection had to wait for a buffer."},
        {"ringbolt_ring_overflows_total", "counter", "ring_overflows",
         "Turns of the loop in which more had completed than io_uring's queue holds."},
        {"ringbolt_ring_refused_total", "counter", "ring_refused",
         "Operations that io_uring had no room for and that were tried again."},
        {"ringbolt_connections_given_total", "counter", "given", "Live connections that another worker has taken over."},
        {"ringbolt_connections_taken_total", "counter", "taken", "Live connections that it has taken over from another worker."},
        {"ringbolt_connections_not_taken_total", "counter", "not_taken",
         "Live connections that another worker has refused to take over; they went on where they were."},
        {"ringbolt_connections_kept_total", "counter", "kept",
         "Live connections that were to be given to another worker and went on where they were for another reason."},
        {"ringbolt_connections_deposited", "gauge", "deposited", "Idle connections that would go on if this worker died."},
        {"ringbolt_connections_revived_total", "counter", "revived", "Connections of a worker that died which went on in this one."},
    };

    print_all_simple(out, simple, COUNT(simple), workers, worker_labels);
}

// ---- records ----

static struct labels layer_labels(const json_t *each)
{
    struct labels labels =
        with(label("side", text_of(each, "side")), "direction", text_of(each, "direction"));

    return with(with(labels, "layer", text_of(each, "layer")), "reason", text_of(each, "reason"));
}

static struct labels side_labels(const json_t *each)
{
    return label("side", text_of(each, "side"));
}

static void print_records(FILE *out, const json_t *status)
{
    static const struct simple layers = {"ringbolt_record_layer_connections_total", "counter", "connections",
                                         "Directions of TLS connections that have ended, by where their "
                                         "records were last protected, and why not in the kernel."};
    static const struct simple updates[] = {
        {"ringbolt_key_updates_received_total", "counter", "received", "KeyUpdates from peers."},
        {"ringbolt_key_updates_sent_total", "counter", "sent", "KeyUpdates to peers."},
    };
    static const char statistic[] = "ringbolt_kernel_tls_statistic";
    static const char pause[] = "ringbolt_connection_move_pause_seconds";
    const json_t *kernel = json_object_get(status, "kernel_tls");
    const char *key;
    json_t *value;

    print_simple(out, &layers, json_object_get(status, "records"), layer_labels);
    print_head(out, pause, "histogram",
               "For how long nothing moved in connections that were given from one worker to another.");
    print_histogram(out, pause, (struct labels){.count = 0}, json_object_get(status, "move_pause_seconds"));
    print_all_simple(out, updates, COUNT(updates), json_object_get(status, "key_updates"), side_labels);
    print_head(out, "ringbolt_kernel_tls_available", "gauge", "1: this kernel has TLS.");
    print_integer(out, "ringbolt_kernel_tls_available", (struct labels){.count = 0},
                  json_is_true(json_object_get(kernel, "available")));
    print_head(out, statistic, "gauge", "What /proc/net/tls_stat says, of the whole network namespace.");
    json_object_foreach(json_object_get(kernel, "statistics"), key, value)
        print_integer(out, statistic, label("name", key), json_integer_value(value));
}

// ---- certificates ----

// The slot keeps two files with the same certificate apart.
static struct labels certificate_labels(const json_t *each)
{
    static char slot[32]; // until the next call

    snprintf(slot, sizeof(slot), "%" JSON_INTEGER_FORMAT, integer_of(each, "slot"));
    return with(with(label("name", text_of(each, "name")), "certificate", text_of(each, "certificate")),
                "slot", slot);
}

static void print_certificates(FILE *out, const json_t *certificates)
{
    static const struct simple simple[] = {
        {"ringbolt_certificate_not_after_seconds", "gauge", "not_after_s",
         "When a certificate in service ends, in seconds since 1970; those that end first."},
        {"ringbolt_certificate_handshakes_total", "counter", "handshakes",
         "Full handshakes that it, or what it replaced, was shown in."},
    };
    static const char count[] = "ringbolt_certificates";
    static const char problems[] = "ringbolt_certificate_problems";

    print_head(out, count, "gauge", "Certificates in service.");
    print_integer(out, count, (struct labels){.count = 0}, integer_of(certificates, "count"));
    print_head(out, problems, "gauge", "Certificates whose files, as they are now, are not what is served.");
    print_integer(out, problems, (struct labels){.count = 0}, integer_of(certificates, "problems"));
    print_all_simple(out, simple, COUNT(simple), json_object_get(certificates, "first_to_end"),
                     certificate_labels);
}

// ---- all of it ----

static void print_process(FILE *out, const json_t *status)
{
    static const char info[] = "ringbolt_info";
    static const char ready[] = "ringbolt_ready";
    static const char start[] = "ringbolt_start_time_seconds";
    static const char cpu[] = "ringbolt_master_cpu_seconds_total";
    static const char memory[] = "ringbolt_master_resident_memory_bytes";
    const json_t *master = json_object_get(status, "master");
    struct labels none = {.count = 0};

    print_head(out, info, "gauge", "What is running.");
    print_integer(out, info, label("version", text_of(status, "version")), 1);
    print_head(out, ready, "gauge",
               "1: every worker accepts connections. 0: starting, draining, or a worker is missing.");
    print_integer(out, ready, none, json_is_true(json_object_get(status, "ready")));
    print_head(out, start, "gauge", "When it was started, in seconds since 1970.");
    print_real(out, start, "", none, json_real_value(json_object_get(status, "started_s")));
    print_head(out, cpu, "counter", "Processor time of the master.");
    print_real(out, cpu, "", none, json_real_value(json_object_get(master, "cpu_s")));
    print_head(out, memory, "gauge", "Memory of the master, shared memory included.");
    print_integer(out, memory, none, integer_of(master, "memory_bytes"));
}

static void print_predecessors(FILE *out, const json_t *predecessors)
{
    static const char count[] = "ringbolt_predecessors";
    static const char connections[] = "ringbolt_predecessor_connections";
    struct labels none = {.count = 0};
    const json_t *each;
    json_int_t total = 0;
    size_t i;

    json_array_foreach(predecessors, i, each) total += integer_of(each, "connections");
    print_head(out, count, "gauge", "Generations before this one that are not gone yet.");
    print_integer(out, count, none, (json_int_t)json_array_size(predecessors));
    print_head(out, connections, "gauge", "Connections that they still have.");
    print_integer(out, connections, none, total);
}

char *http_metrics(const json_t *status, size_t *ret_length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_length);

    if (!out)
        return NULL;
    print_process(out, status);
    print_predecessors(out, json_object_get(status, "predecessors"));
    print_listeners(out, json_object_get(status, "listeners"));
    print_upstreams(out, json_object_get(status, "upstreams"));
    print_workers(out, json_object_get(status, "workers"));
    print_records(out, status);
    print_certificates(out, json_object_get(status, "certificates"));
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

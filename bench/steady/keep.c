// SPDX-License-Identifier: Apache-2.0
#include "keep.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ringbolt/clock.h"

#define BEAT_NS    (20 * CLOCK_NS_PER_MS)
#define LOOK_EVERY 50

// ---- TLS ----

static SSL_CTX *ssl_make(int version)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());

    if (ssl == NULL || SSL_CTX_set_min_proto_version(ssl, version) != 1 ||
        SSL_CTX_set_max_proto_version(ssl, version) != 1)
        abort();
    SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL); // other tests verify
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20");
    return ssl;
}

SSL_CTX *keep_ssl(struct keep *keep, enum client_kind kind, uint64_t id)
{
    int version = keep->options.version;

    if (kind == KIND_REKEY) // there is no KeyUpdate in TLS 1.2
        return keep->ssl_13;
    return version == TLS1_2_VERSION || (version == 0 && id % 3 == 0) ? keep->ssl_12 : keep->ssl_13;
}

// ---- how many there are ----

static void begin_some(struct keep *keep)
{
    for (bool is_going = true; is_going && keep->opening < keep->options.at_once && !keep->is_ending;) {
        is_going = false;
        for (int kind = 0; kind < KIND_COUNT && keep->opening < keep->options.at_once; kind++) {
            if (keep->wanted[kind] == 0)
                continue;
            if (client_create(keep, kind) < 0)
                return; // at the next beat again
            keep->wanted[kind]--;
            keep->opening++;
            keep->window->kinds[kind].live++;
            is_going = true;
        }
    }
}

void keep_opened(struct keep *keep)
{
    keep->opening--;
    keep->opened++;
}

void keep_gone(struct keep *keep, struct client *client, bool was_open)
{
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        keep->first = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    if (!was_open)
        keep->opening--;
    keep->window->kinds[client->kind].live--;
    if (client->kind != KIND_VISIT)
        keep->wanted[client->kind]++; // another one takes its place
}

static void visits_begin(struct keep *keep)
{
    unsigned rate = keep->options.counts[KIND_VISIT];

    if (rate == 0 || keep->is_ending || !keep->is_ready)
        return;
    for (; keep->visit_ns <= keep->loop.now_ns; keep->visit_ns += CLOCK_NS_PER_S / rate) {
        if (client_create(keep, KIND_VISIT) < 0)
            continue;
        keep->opening++;
        keep->window->kinds[KIND_VISIT].live++;
    }
}

static void look(struct keep *keep)
{
    for (struct client *client = keep->first, *next; client != NULL; client = next) {
        next = client->next;
        client_look(client);
    }
}

// ---- windows ----

static void mark(struct keep *keep, const char *name)
{
    struct window *window = keep->window;

    for (struct client *client = keep->first; client != NULL; client = client->next) {
        uint64_t pause = client_pause_take(client);

        if (client->state == CLIENT_TALKING && client->kind != KIND_SLOW && client->kind != KIND_HALF &&
            client->kind != KIND_VISIT)
            histogram_add(&window->kinds[client->kind].pause, pause);
        window->kinds[client->kind].bytes_in += client->talk.in.bytes;
        window->kinds[client->kind].bytes_out += client->talk.out.bytes;
    }
    window_print(window, name, keep->loop.now_ns, stdout);
    window_begin(window, keep->loop.now_ns);
}

static void end_begin(struct keep *keep)
{
    keep->is_ending = true;
    memset(keep->wanted, 0, sizeof(keep->wanted));
    for (struct client *client = keep->first, *next; client != NULL; client = next) {
        next = client->next;
        client_end(client);
    }
}

static void on_beat(struct loop_member *member)
{
    struct keep *keep = (struct keep *)((char *)member - offsetof(struct keep, beat));

    loop_after(&keep->loop, member, BEAT_NS);
    begin_some(keep);
    visits_begin(keep);
    if (++keep->beats % LOOK_EVERY == 0)
        look(keep);
    if (!keep->is_ready && keep->opened >= keep->lasting) {
        keep->is_ready = true;
        keep->visit_ns = keep->loop.now_ns;
        for (struct client *client = keep->first; client != NULL; client = client->next)
            client_pause_take(client); // the crowd of the beginning
        window_print(keep->window, "ready", keep->loop.now_ns, stdout);
        window_begin(keep->window, keep->loop.now_ns);
    }
    if (keep->is_ending && keep->first == NULL)
        keep->loop.is_over = true;
}

// ---- commands ----

static void command(struct keep *keep, const char *line)
{
    if (strncmp(line, "mark ", 5) == 0)
        mark(keep, line + 5);
    else if (strcmp(line, "end") == 0)
        end_begin(keep);
}

static void on_input(struct loop_member *member, uint32_t events)
{
    struct keep *keep = (struct keep *)((char *)member - offsetof(struct keep, input));
    ssize_t got = read(STDIN_FILENO, keep->line + keep->line_size, sizeof(keep->line) - 1 - keep->line_size);
    char *end;

    (void)events;
    if (got <= 0) { // whoever wanted to know is gone
        loop_wait_for(&keep->loop, member, STDIN_FILENO, 0);
        keep->loop.is_over = true;
        return;
    }
    keep->line_size += (size_t)got;
    keep->line[keep->line_size] = '\0';
    while ((end = strchr(keep->line, '\n')) != NULL) {
        *end = '\0';
        command(keep, keep->line);
        keep->line_size -= (size_t)(end + 1 - keep->line);
        memmove(keep->line, end + 1, keep->line_size + 1);
    }
}

int keep_run(const struct keep_options *options)
{
    struct keep keep = {.options = *options};
    int spare = eventfd(0, EFD_CLOEXEC), status = 1;

    keep.window = calloc(1, sizeof(*keep.window));
    keep.ssl_12 = ssl_make(TLS1_2_VERSION);
    keep.ssl_13 = ssl_make(TLS1_3_VERSION);
    keep.input.on_ready = on_input;
    keep.beat.on_due = on_beat;
    memcpy(keep.wanted, options->counts, sizeof(keep.wanted));
    keep.wanted[KIND_VISIT] = 0;
    for (int kind = 0; kind < KIND_COUNT; kind++)
        keep.lasting += keep.wanted[kind];
    if (keep.window == NULL || spare < 0 || loop_init(&keep.loop) < 0 ||
        loop_add(&keep.loop, &keep.beat, spare, 0) < 0 ||
        loop_add(&keep.loop, &keep.input, STDIN_FILENO, EPOLLIN) < 0) {
        perror("ringbolt-steady");
        goto end;
    }
    window_begin(keep.window, keep.loop.now_ns);
    loop_after(&keep.loop, &keep.beat, 0);
    loop_run(&keep.loop);
    if (keep.is_ending) {
        window_print(keep.window, "end", keep.loop.now_ns, stdout);
        status = window_faults(keep.window) > 0 ? 1 : 0;
    }
    while (keep.first != NULL)
        client_destroy(keep.first);
end:
    loop_finish(&keep.loop);
    SSL_CTX_free(keep.ssl_12);
    SSL_CTX_free(keep.ssl_13);
    free(keep.window);
    if (spare >= 0)
        close(spare);
    return status;
}

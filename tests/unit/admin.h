// SPDX-License-Identifier: Apache-2.0
// Clients of the admin socket of a test's master, well-behaved and raw.
#pragma once

#include "master.h"

#include <jansson.h>

#include "ringbolt/admin.h"

static inline void start_with_admin(struct master *master)
{
    config.admin.socket = admin_path;
    if (config.listener_count == 0)
        add_tcp("127.0.0.1:0");
    start(master);
    expect(master, " ready ");
}

static inline void end_by_term(struct master *master)
{
    signal_master(master, SIGTERM);
    assert_int_equal(end(master), 0);
}

// The answer to a request in JSON; json_decref() it.
static inline json_t *ask(const char *text)
{
    json_t *request = json_loads(text, 0, NULL);
    json_t *answer = NULL;
    const char *why = "";

    assert_non_null(request);
    if (admin_call(admin_path, request, &answer, &why) < 0)
        fail_msg("%s: %s", text, why);
    json_decref(request);
    return answer;
}

static inline json_int_t number_of(const json_t *answer, const char *key)
{
    const json_t *value = json_object_get(answer, key);

    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static inline const char *text_of(const json_t *answer, const char *key)
{
    const char *value = json_string_value(json_object_get(answer, key));

    assert_non_null(value);
    return value;
}

static inline void assert_ok(const json_t *answer)
{
    if (!json_is_true(json_object_get(answer, "ok")))
        fail_msg("%s", text_of(answer, "error"));
}

// ---- raw clients ----

static inline int connect_raw(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, admin_path);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static inline void send_raw(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

        if (sent < 0)
            return; // it was told to go
        bytes += sent;
        length -= (size_t)sent;
    }
}

// Everything until the end of file; free() it.
static inline char *read_raw(int fd)
{
    size_t capacity = 4096;
    size_t length = 0;
    char *text = malloc(capacity);

    for (;;) {
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        ssize_t got;

        assert_int_equal(poll(&polled, 1, PATIENCE_MS), 1);
        got = recv(fd, text + length, capacity - length - 1, 0);
        if (got <= 0)
            break;
        length += (size_t)got;
        if (capacity - length < 4096)
            text = realloc(text, capacity *= 2);
    }
    close(fd);
    text[length] = '\0';
    return text;
}

// Its one line as JSON; json_decref() it. NULL: it is none.
static inline json_t *read_answer(int fd)
{
    char *text = read_raw(fd);
    json_t *answer = json_loads(text, 0, NULL);

    free(text);
    return answer;
}

// What is answered to bytes that need not be a request.
static inline json_t *ask_raw(const char *bytes, size_t length, bool is_ended)
{
    int fd = connect_raw();
    json_t *answer;
    char *text;

    send_raw(fd, bytes, length);
    if (is_ended)
        (void)shutdown(fd, SHUT_WR);
    text = read_raw(fd);
    answer = json_loads(text, 0, NULL);
    if (!json_is_object(answer) || text[strlen(text) - 1] != '\n' || strchr(text, '\n')[1] != '\0')
        fail_msg("not one line of JSON: `%s`", text);
    free(text);
    return answer;
}

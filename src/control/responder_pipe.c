// SPDX-License-Identifier: Apache-2.0
// The child's end of the socket to the master, whatever it was started for: a question comes in, an answer goes out.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "responder_fetch.h"

#define QUESTION_MAX (sizeof(struct fetch_question_header) + FETCH_URL_SIZE_MAX + FETCH_REQUEST_MAX)
#define STATUS_USAGE 2

static int read_question(struct fetch_heard *ret)
{
    static uint8_t bytes[QUESTION_MAX + 1];
    struct fetch_question_header header;
    size_t size = 0;
    ssize_t length;

    while ((length = read(STDIN_FILENO, bytes + size, sizeof(bytes) - size)) != 0) {
        if (length < 0 && errno != EINTR)
            return -errno;
        size += length > 0 ? (size_t)length : 0;
        if (size == sizeof(bytes))
            return -EMSGSIZE;
    }
    if (size < sizeof(header))
        return -EBADMSG;
    memcpy(&header, bytes, sizeof(header));
    if (header.magic != FETCH_MAGIC || header.url_size > FETCH_URL_SIZE_MAX ||
        header.request_size > FETCH_REQUEST_MAX || header.timeout_ms == 0 || header.timeout_ms > INT32_MAX ||
        size != sizeof(header) + header.url_size + header.request_size)
        return -EBADMSG;
    memcpy(ret->url, bytes + sizeof(header), header.url_size);
    ret->url[header.url_size] = '\0';
    ret->request = bytes + sizeof(header) + header.url_size;
    ret->request_size = header.request_size;
    ret->timeout_ms = header.timeout_ms;
    return 0;
}

void fetch_hear(struct fetch_heard *ret, const char *command, const char *purpose)
{
    if (read_question(ret) == 0)
        return;
    fprintf(stderr, "ringbolt: %s is a command that ringbolt calls itself, %s\n", command, purpose);
    _exit(STATUS_USAGE);
}

static int write_whole(const void *bytes, size_t size)
{
    const uint8_t *next = bytes;

    while (size > 0) {
        ssize_t length = write(STDOUT_FILENO, next, size);

        if (length < 0 && errno != EINTR)
            return -errno;
        next += length > 0 ? length : 0;
        size -= length > 0 ? (size_t)length : 0;
    }
    return 0;
}

_Noreturn void fetch_say(enum fetch_result result, const void *bytes, size_t size, const char *why)
{
    bool is_answered = result == FETCH_ANSWERED;
    struct fetch_answer_header header = {
        .magic = FETCH_MAGIC,
        .result = (uint32_t)result,
        .size = (uint32_t)(is_answered ? size : strlen(why)),
    };

    // Not exit(): a sanitizer's last look at memory needs files that are locked now.
    _exit(write_whole(&header, sizeof(header)) < 0 ||
          write_whole(is_answered ? bytes : why, header.size) < 0);
}

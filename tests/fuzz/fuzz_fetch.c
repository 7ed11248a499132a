// SPDX-License-Identifier: Apache-2.0
// What a child of the master that asks a responder, or looks up a name, may say: any bytes, in pieces, before any end. The master makes an answer
// of it that lies within the bytes, or words that can be printed; of a lookup's answer addresses, each once.
//
// The first byte of an input says how the child ends: bit 0: with a status that is not 0; bit 1: by a signal; bit 2: too late.
// The second one is where the bytes behind it are cut in two.
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "ringbolt/clock.h"
#include "src/control/lookup.h"

#define FAILS    1
#define IS_ENDED 2
#define IS_LATE  4
#define PID      1 // nobody is signalled: it has ended by the time that it is asked about
#define SAID_MAX (sizeof(struct fetch_answer_header) + FETCH_ANSWER_SIZE_MAX + 1)

static struct loop *loop;

static void clean_up(void)
{
    loop_destroy(loop);
}

static void prepare(void)
{
    if (loop)
        return;
    REQUIRE(loop_create(&loop) == 0);
    atexit(clean_up);
}

static void nobody_hears(void *owner, unsigned events)
{
    (void)owner;
    (void)events;
}

static void say(int fd, const uint8_t *bytes, size_t length)
{
    if (length > 0)
        REQUIRE(send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length);
}

static void check_words(const char *why)
{
    REQUIRE(why != NULL && strlen(why) < FETCH_WHY_SIZE);
    for (const char *at = why; *at != '\0'; at++)
        REQUIRE(*at >= ' ' && *at <= '~');
}

static void check_addresses(const struct fetch_answer *answer)
{
    static struct config_address found[LOOKUP_MAX];
    size_t count = 0;

    if (!lookup_read(answer, found, &count))
        return;
    REQUIRE(answer->result == FETCH_ANSWERED && count > 0 && count <= LOOKUP_MAX);
    for (size_t i = 0; i < count; i++) {
        REQUIRE((found[i].socket.ss_family == AF_INET && found[i].length == sizeof(struct sockaddr_in)) ||
                (found[i].socket.ss_family == AF_INET6 && found[i].length == sizeof(struct sockaddr_in6)));
        for (size_t j = 0; j < i; j++)
            REQUIRE(!address_equal(&found[i], &found[j]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t way = size > 0 ? data[0] : 0;
    size_t begin = size < 2 ? size : 2;
    size_t cut = size > 1 ? data[1] : 0;
    int status = way & IS_ENDED ? 9 : way & FAILS ? 1 << 8 : 0;
    struct fetch_answer answer;
    struct fetch fetch;
    int sockets[2];

    prepare();
    data += begin;
    size = size - begin < SAID_MAX ? size - begin : SAID_MAX;
    cut = cut < size ? cut : size;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    fetch_init(&fetch, loop);
    fetch.bytes = malloc(SAID_MAX - 1); // of its exact size, for the sanitizer
    REQUIRE(fetch.bytes != NULL &&
            loop_watch(loop, &fetch.watch, sockets[0], EPOLLIN, nobody_hears, &fetch) == 0);
    fetch.pid = PID;
    fetch.timeout_ns = CLOCK_NS_PER_S;
    fetch.is_late = way & IS_LATE;
    say(sockets[1], data, cut);
    say(sockets[1], data + cut, size - cut);
    close(sockets[1]);
    REQUIRE(!fetch_reap(&fetch, PID + 1, status, &answer)); // somebody else's
    REQUIRE(fetch_reap(&fetch, PID, status, &answer));
    REQUIRE(answer.result <= FETCH_FAILED && (answer.why == NULL) == (answer.result == FETCH_ANSWERED));
    if (answer.why)
        check_words(answer.why);
    else
        REQUIRE(way == (way & ~(FAILS | IS_ENDED | IS_LATE)) && answer.bytes >= fetch.bytes &&
                answer.size <= fetch.used && answer.bytes + answer.size == fetch.bytes + fetch.used);
    check_addresses(&answer);
    fetch_stop(&fetch);
    return 0;
}

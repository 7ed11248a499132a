// SPDX-License-Identifier: Apache-2.0
// One question to one OCSP responder, or (lookup.h) about one host name, asked by a child process: this program again (/proc/self/exe), started by an internal command, so
// that nothing of the master's memory is left in it. It runs under the workers' account with one descriptor, a socket: the question comes
// in, the answer goes out. What it says is as hostile as what the responder says.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account.h"
#include "loop.h"

#define FETCH_COMMAND         "ocsp-fetch" // the internal command
#define FETCH_ANSWER_SIZE_MAX ((size_t)64 * 1024)
#define FETCH_URL_SIZE_MAX    ((size_t)2048)
#define FETCH_REQUEST_MAX     ((size_t)4096)
#define FETCH_WHY_SIZE        192

enum fetch_result {
    FETCH_ANSWERED,    // with bytes that are to be checked
    FETCH_REFUSED,     // something speaks HTTP there, and gave no OCSP response
    FETCH_UNREACHABLE, // nobody does, or not in time
    FETCH_FAILED,      // the child did not do its work
};

struct fetch_question {
    const char *command;    // what the child is; NULL: FETCH_COMMAND
    const char *url;        // of a lookup (lookup.h) the name
    const uint8_t *request; // DER; of a lookup NULL
    size_t request_size;
    uint64_t timeout_ns;
};

// Points into the fetch: good until it is started again or stopped.
struct fetch_answer {
    enum fetch_result result;
    const uint8_t *bytes; // FETCH_ANSWERED
    size_t size;
    const char *why; // all others; printable ASCII
};

// ---- the parent's side (responder_fetch.c) ----

struct fetch {
    struct loop *loop;
    int pid; // 0: not under way
    struct loop_watch watch;
    struct loop_timer deadline;
    uint64_t timeout_ns;
    uint8_t *bytes; // what the child has said
    size_t used;
    bool is_late; // and killed for it
    bool is_long; // has said too much, and was killed for it
    char why[FETCH_WHY_SIZE];
};

void fetch_init(struct fetch *fetch, struct loop *loop);
// 0, and the child is under way until fetch_reap() or fetch_stop(); or -errno.
int fetch_start(struct fetch *fetch, const struct account *account, const struct fetch_question *question);
// A child has ended. False when it was not this one's.
bool fetch_reap(struct fetch *fetch, int pid, int status, struct fetch_answer *ret);
// Kills and buries the child, if there is one, and frees what it has said.
void fetch_stop(struct fetch *fetch);

// ---- the child's side (responder_child.c) ----

// Ahead of the question: then follow the URL and the request.
struct fetch_question_header {
    uint32_t magic;
    uint32_t url_size;
    uint32_t request_size;
    uint32_t timeout_ms;
};
// Ahead of the answer: then follow the response, or why there is none.
struct fetch_answer_header {
    uint32_t magic;
    uint32_t result;
    uint32_t size;
};
#define FETCH_MAGIC 0x6f637370u

// The child's end of the socket, for every command that is started so (responder_pipe.c).
struct fetch_heard {
    char url[FETCH_URL_SIZE_MAX + 1];
    const uint8_t *request;
    size_t request_size;
    uint32_t timeout_ms;
};

// What standard input says. Without a proper question, somebody has called `command` by hand: says so and ends.
void fetch_hear(struct fetch_heard *ret, const char *command, const char *purpose);
// Answers and ends: with bytes[size] if result is FETCH_ANSWERED, else with `why`.
_Noreturn void fetch_say(enum fetch_result result, const void *bytes, size_t size, const char *why);

// The internal command: asks what standard input says and answers on standard output.
_Noreturn void fetch_child(void);

// Limits, and what the kernel lets a process give up without privileges (responder_confine.c): writing to files, reading those that a name
// lookup doesn't need, starting programs, looking into other processes. 0, or -errno: a limit could not be set.
// `name` is what the process is called then.
int fetch_confine(const char *name);

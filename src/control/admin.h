// SPDX-License-Identifier: Apache-2.0
// The admin socket (ringbolt/admin.h), the master's half: whom it listens to, and how it never waits for any of them. What the commands do
// is in admin_command.c.
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "messages.h"
#include "ringbolt/admin.h"

struct estate;
struct master;
struct admin;
struct admin_client;

// How long a client may take for its request, and for each piece of the answer that it reads (5 s); how long an answer waits for
// the workers (10 s). Tests have other patience.
extern uint64_t admin_client_patience_ns;
extern uint64_t admin_workers_patience_ns;

// Listens at config->admin.socket. 0 and master->admin (NULL when there is none to be had, or it was nobody's wish: a warning), or -errno
// with the reason and the cure in the log.
int admin_open(struct master *master);
// Whether clients are accepted: not while another master leads. They wait in the kernel's queue. NULL is accepted, as by the following.
void admin_pause(struct admin *admin, bool is_paused);
int admin_leave(const struct admin *admin, struct estate *ret);               // adds the socket to the estate: 0 or -errno
void admin_own(struct admin *admin, const struct estate *inherited); // the file is ours from now on
void admin_disown(struct admin *admin);                                       // it is the successor's
// Drops everybody and removes the file if it is ours. NULL is accepted.
void admin_close(struct admin *admin);

// ---- between the two files ----

// "serving" and the like.
const char *admin_state_text(const struct master *master);

// A request that was understood as JSON. Answers now or later, exactly once, with admin_answer(). `request` is an object; it lives during
// the call.
void admin_command(struct master *master, struct admin_client *client, const json_t *request);
// Sends the answer and closes. The reference to `answer` is taken; NULL: there was no memory for it.
void admin_answer(struct admin_client *client, json_t *answer);
// {"ok": false, "error": "…"}
void admin_refuse(struct admin_client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));

// An answer that waits for the successor: admin_answer() comes later, if the client is still there (succession_forget()).
void admin_hold(struct admin_client *client, json_t *result);
// What admin_hold() was given; the reference is the caller's.
json_t *admin_held(struct admin_client *client);

// An answer that waits for the workers. The client may go away meanwhile: then `done` is never called. `result` (a reference, taken) becomes
// the answer after `done` has put the outcome in.
void admin_wait(struct master *master, struct admin_client *client, json_t *result);
// The same in several rounds: `more` (NULL: none) sees what the workers did, adds to the result and may have told them to go on: while
// it returns true they are waited for again.
typedef bool admin_more(struct master *master, json_t *result);
void admin_wait_while(struct master *master, struct admin_client *client, json_t *result, admin_more *more);

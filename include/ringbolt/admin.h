// SPDX-License-Identifier: Apache-2.0
// The admin socket: a unix stream socket of the master, mode 0600, for its own user and root. One request a connection: a JSON object on
// one line of at most ADMIN_REQUEST_MAX bytes, `{"command": "reload"}`; one answer: a JSON object on one line, `{"ok": true, …}` or
// `{"ok": false, "error": "words"}`; then the master closes. Commands and their members are documented in docs/admin.md.
#pragma once

#include <jansson.h>

#define ADMIN_REQUEST_MAX 65536

// The client's half (src/control/admin_client.c). Sends the request and waits for the answer, as long as it takes. 0 and *ret
// (json_decref() it), or -errno and *ret_why (static text, the cure with it): nobody listens there (-ECONNREFUSED, -ENOENT), not
// allowed (-EACCES, -EPERM), the master went away meanwhile (-ECONNRESET), the answer is not JSON (-EBADMSG).
int admin_call(const char *socket_path, const json_t *request, json_t **ret, const char **ret_why);

// admin_call() that gives up (-ETIMEDOUT) when the other side is silent for timeout_s; 0: never.
int admin_call_within(const char *socket_path, const json_t *request, unsigned timeout_s, json_t **ret,
                      const char **ret_why);

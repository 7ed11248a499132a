// SPDX-License-Identifier: Apache-2.0
// Metrics over HTTP (`admin.http`): the master makes the listening socket and a child that holds it. What comes over HTTP meets that child
// alone: it is this program executed anew, under the workers' account, without a secret, and without files. It asks the master what there is to
// say, over a socket of its own.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <jansson.h>

#define HTTP_COMMAND "status-http" // the internal command

// What the child asks: a byte. The answer: a line of JSON.
#define HTTP_ASK_HEALTH 'h' // status_health()
#define HTTP_ASK_STATUS 's' // status_document()

struct estate;
struct master;
struct http;

// ---- the master's side (http.c) ----

// Listens, if the configuration says so. 0 and master->http (NULL: it does not), or -errno with the reason and the cure in the log.
int http_open(struct master *master);
// Starts the child. That it can't is said in the log, and tried again.
void http_start(struct http *http); // NULL is accepted
// A process has ended: true if it was the child. It is replaced.
bool http_reap(struct http *http, pid_t pid, int status);
// The address with its real port; NULL: there is none.
const char *http_address(const struct http *http);
// Another master leads: the child answers what it was asked already, takes nobody new, and ends. http_start() starts one again.
void http_pause(struct http *http); // NULL is accepted
void http_disown(struct http *http); // and the socket is the other master's for good; likewise
int http_leave(const struct http *http, struct estate *ret); // adds the listening socket to the estate: 0 or -errno; likewise
void http_close(struct http *http); // NULL is accepted

// ---- the child's side (http_child.c) ----

// The internal command: standard input is the socket to the master, standard output the one that listens.
_Noreturn void http_child(void);

// ---- http_metrics.c ----

// The status document in Prometheus' text format. free() it; NULL: no memory.
char *http_metrics(const json_t *status, size_t *ret_length);

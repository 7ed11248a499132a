// SPDX-License-Identifier: Apache-2.0
// How Ringbolt is: one JSON document of all that is counted and known, for `ringbolt status`, for /status.json, and for what is made of it
// (/metrics). docs/metrics.md says what each member means.
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "ringbolt/stats.h"

struct master;

// A new reference; NULL: no memory.
json_t *status_document(struct master *master);

// What /healthz and /readyz say: `state`, `ready`, and `reason`: why not, or null. Much cheaper than all of it. NULL: no memory.
json_t *status_health(const struct master *master);

// ---- its sections, NULL: no memory ----
json_t *status_listeners(const struct master *master);    // status_listeners.c
json_t *status_upstreams(const struct master *master);    // status_upstreams.c
json_t *status_certificates(const struct master *master); // status_certificates.c
json_t *status_workers(const struct master *master);      // status_processes.c
json_t *status_master(void);                              // likewise
json_t *status_kernel_tls(const struct master *master);   // status.c

// ---- what they share ----
json_t *status_histogram(const struct stats_histogram *histogram, enum stats_scale scale);
json_t *status_ends(const stats_word ends[STATS_ENDS]); // {"done": 12, …}, every word
json_t *status_moment(uint64_t at_ns);                  // of the monotonic clock: "2026-11-21T09:30:00Z"; 0: null
json_t *status_time(double seconds);                    // since 1970: "2026-11-21T09:30:00.123Z"

// SPDX-License-Identifier: Apache-2.0
// Material while the master runs: files looked at again, what is new applied and sent to the workers; the watch over their folders;
// OCSP responders told what to ask for; certificates that end soon.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"
#include "sources.h"

struct master;

struct reload_wanted {
    uint32_t slot;
    uint64_t certificate;
};

struct reload {
    struct watch *watch;
    struct responders *responders; // NULL: no listener fetches
    struct loop_timer expiry;      // daily
    struct loop_timer due;         // for what waits for time alone: sources_due_ns()
    struct reload_wanted *wanted;  // what responders are asked for, ascending by slot
    size_t wanted_count;
};

// Makes master->material of what was loaded, before the first worker is forked. 0, or -errno with a line in the log.
int reload_load(struct master *master);
// Starts watch, responders and the daily look at the calendar. 0, or -errno with a line in the log.
int reload_start(struct master *master);
void reload_finish(struct master *master); // harmless on zeroed memory

// Applies a change to the master's material and sends it to the workers. Nothing in it: nothing is done.
void reload_apply(struct master *master, const struct change *change);

// Looks at the files again (sources_check()) and applies what is new. folder: NULL: all of them.
void reload_check(struct master *master, const char *folder, bool force, struct sources_result *ret);

// How the configuration's file compares with what was loaded. A changed one is not applied.
enum reload_config { RELOAD_CONFIG_SAME, RELOAD_CONFIG_CHANGED, RELOAD_CONFIG_BROKEN };

struct reload_outcome {
    struct sources_result files; // failed: how many problems there are now, found just now or before
    enum reload_config config;
};

// What HUP and the command reload do: looks at every file, and whether the configuration was changed, and says in the log what came
// out. `each` (or NULL) is told every problem: of a file, or of the configuration.
typedef void reload_problem(void *owner, bool is_config, const char *problem);
void reload_everything(struct master *master, bool force, reload_problem *each, void *owner,
                       struct reload_outcome *ret);

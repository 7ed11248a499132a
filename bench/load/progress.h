// SPDX-License-Identifier: Apache-2.0
// A line on the terminal that says how far the run is; nothing where standard error is none.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct run;

enum progress_phase { PROGRESS_OPENING, PROGRESS_WARM_UP, PROGRESS_MEASURING };

struct progress {
    bool is_terminal;
    bool is_shown;
    uint64_t shown_ns;
    uint64_t units;
    uint64_t bytes;
};

void progress_start(struct progress *progress);
void progress_show(struct progress *progress, const struct run *run, enum progress_phase phase);
void progress_end(struct progress *progress); // wipes the line

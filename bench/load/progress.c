// SPDX-License-Identifier: Apache-2.0
// A line on the terminal that says how far the run is.
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "ringbolt/clock.h"
#include "runner.h"

#define SHOW_NS (200 * CLOCK_NS_PER_MS)

void progress_start(struct progress *progress)
{
    *progress = (struct progress){.is_terminal = isatty(STDERR_FILENO) == 1, .shown_ns = clock_now_ns()};
}

void progress_show(struct progress *progress, const struct run *run, enum progress_phase phase)
{
    static const char *const phases[] = {"opening", "warm-up", "measuring"};
    uint64_t now_ns = clock_now_ns();
    uint64_t units = 0, bytes = 0, failures = 0;
    double seconds = (double)(now_ns - progress->shown_ns) / (double)CLOCK_NS_PER_S;
    unsigned open = 0;

    if (!progress->is_terminal || now_ns - progress->shown_ns < SHOW_NS)
        return;
    for (unsigned i = 0; i < run->options->threads; i++) {
        const struct run_progress *of = &run->runners[i].progress;

        units += atomic_load_explicit(&of->units, memory_order_relaxed);
        bytes += atomic_load_explicit(&of->bytes, memory_order_relaxed);
        failures += atomic_load_explicit(&of->failures, memory_order_relaxed);
        open += atomic_load_explicit(&of->open, memory_order_relaxed);
    }
    fprintf(stderr, "\r\033[K%s: %u open, %.0f %s/s, %.1f MB/s, %" PRIu64 " errors", phases[phase], open,
            (double)(units - progress->units) / seconds, mode_unit(run->options),
            (double)(bytes - progress->bytes) / seconds / 1e6, failures);
    fflush(stderr);
    progress->is_shown = true;
    progress->shown_ns = now_ns;
    progress->units = units;
    progress->bytes = bytes;
}

void progress_end(struct progress *progress)
{
    if (progress->is_shown)
        fputs("\r\033[K", stderr);
}

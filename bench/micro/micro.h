// SPDX-License-Identifier: Apache-2.0
// Micro-benchmarks: one piece of the library at a time, its CPU time and nothing else's.
//
// A benchmark does `count` units when told to; what belongs to the piece under test it does inside micro_measure(), and what only serves
// it (the other side of a handshake, records to be opened) outside. That is where the clock runs, and where callgrind collects with
// --toggle-collect=micro_window.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct micro;
struct benchmark;

typedef void micro_work(void *state, size_t count);

struct benchmark_kind {
    // The state, or NULL where this machine can't do it (and *ret_why says why, static text).
    void *(*set_up)(const struct benchmark *benchmark, const char **ret_why);
    void (*run)(void *state, struct micro *micro, size_t count);
    // Does a few units and looks at what came of it. NULL, or what is wrong (static text).
    const char *(*check)(void *state, struct micro *micro);
    void (*tear_down)(void *state);
};

struct benchmark {
    char name[48]; // "record/seal/AES-128-GCM/13/16384"
    const struct benchmark_kind *kind;
    size_t bytes;   // of payload in a unit; 0: it has none
    int variant[4]; // what the kind knows
};

struct catalogue {
    struct benchmark *benchmarks;
    size_t count;
};

void catalogue_add(struct catalogue *catalogue, const struct benchmark *benchmark);

// Each adds its benchmarks.
void handshake_register(struct catalogue *catalogue);
void pools_register(struct catalogue *catalogue);
void record_register(struct catalogue *catalogue);
void ring_register(struct catalogue *catalogue);

// Runs work(state, count) with the clock running. micro NULL: without, and unseen by callgrind.
void micro_measure(struct micro *micro, micro_work *work, void *state, size_t count);
// Its inside. Callgrind is told this name, so it is neither inlined nor left by a jump.
void micro_window(micro_work *work, void *state, size_t count);

// Ends the program when what a benchmark needs can't be had.
void micro_need(bool is_true, const char *what);

// ---- measuring (measure.c) ----

struct measure_options {
    double seconds;  // of CPU time in the measured windows, all rounds together
    unsigned rounds; // of which the median is taken
};

struct measured {
    uint64_t count; // units
    unsigned rounds;
    double ns_median; // a unit, CPU time (user and system) of this thread
    double ns_min;
    double ns_max;
};

void measure(const struct benchmark *benchmark, void *state, const struct measure_options *options,
             struct measured *ret);
// Exactly `warm` units without collecting and then `count` with, for callgrind.
void measure_count(const struct benchmark *benchmark, void *state, size_t warm, size_t count);
// What its check finds.
const char *measure_check(const struct benchmark *benchmark, void *state);

// SPDX-License-Identifier: Apache-2.0
// Latencies in buckets that are log-linear, as in HdrHistogram: 256 of the same width for each power of two, so that a value
// is known to 0.4 %, from a nanosecond to more than an hour, in 70 KB. Adding is a few instructions; two histograms add up.
#pragma once

#include <stdint.h>

#define HISTOGRAM_LINEAR_BITS  8  // 2^8 buckets for each power of two
#define HISTOGRAM_VALUE_BITS   42 // values from 2^42 on (73 minutes of nanoseconds) share the last bucket
#define HISTOGRAM_BUCKET_COUNT ((HISTOGRAM_VALUE_BITS - HISTOGRAM_LINEAR_BITS + 1) << HISTOGRAM_LINEAR_BITS)

// All zeroes is an empty one.
struct histogram {
    uint64_t count;
    uint64_t min; // exact, as is max; 0 while there is no value
    uint64_t max;
    double sum;
    uint64_t buckets[HISTOGRAM_BUCKET_COUNT];
};

void histogram_add(struct histogram *histogram, uint64_t value);
// The same as adding `count` values that lie evenly between `first` and `last`, both included.
void histogram_add_row(struct histogram *histogram, uint64_t first, uint64_t last, uint64_t count);
void histogram_merge(struct histogram *into, const struct histogram *from);

// The smallest value such that `parts` ten-thousandths of all values (5000: the median; 9999: p99.99) are no larger, rounded up
// to its bucket's upper edge and never above max. 0 when there is none.
uint64_t histogram_quantile(const struct histogram *histogram, unsigned parts);
double histogram_mean(const struct histogram *histogram);

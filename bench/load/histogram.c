// SPDX-License-Identifier: Apache-2.0
// Latencies in log-linear buckets.
#include "histogram.h"

#include <stddef.h>

#define LINEAR    (1u << HISTOGRAM_LINEAR_BITS)
#define VALUE_MAX ((1ull << HISTOGRAM_VALUE_BITS) - 1)

// A value keeps its nine highest bits: the first of them is 1, so the power of two and the other eight name the bucket. Up to
// 511 a value is its own bucket.
static size_t bucket_of(uint64_t value)
{
    unsigned shift;

    if (value > VALUE_MAX)
        value = VALUE_MAX;
    if (value < LINEAR)
        return (size_t)value;
    shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_LINEAR_BITS;
    return (size_t)shift * LINEAR + (size_t)(value >> shift);
}

// The largest value that lies in a bucket.
static uint64_t bucket_edge(size_t bucket)
{
    unsigned shift = bucket < 2 * LINEAR ? 0 : (unsigned)(bucket / LINEAR) - 1;

    return (((uint64_t)bucket - (uint64_t)shift * LINEAR + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    if (histogram->count == 0 || value < histogram->min)
        histogram->min = value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->count++;
    histogram->sum += (double)value;
    histogram->buckets[bucket_of(value)]++;
}

void histogram_add_row(struct histogram *histogram, uint64_t first, uint64_t last, uint64_t count)
{
    double step = count > 1 ? ((double)last - (double)first) / (double)(count - 1) : 0;

    for (uint64_t i = 0; i < count; i++)
        histogram_add(histogram, (uint64_t)((double)first + step * (double)i));
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    if (from->count == 0)
        return;
    if (into->count == 0 || from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    into->count += from->count;
    into->sum += from->sum;
    for (size_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++)
        into->buckets[i] += from->buckets[i];
}

uint64_t histogram_quantile(const struct histogram *histogram, unsigned parts)
{
    uint64_t rank = (histogram->count * parts + 9999) / 10000;
    uint64_t seen = 0;
    uint64_t edge;

    if (histogram->count == 0)
        return 0;
    if (rank <= 1)
        return histogram->min;
    for (size_t i = 0; i < HISTOGRAM_BUCKET_COUNT - 1; i++) {
        seen += histogram->buckets[i];
        if (seen >= rank) {
            edge = bucket_edge(i);
            return edge < histogram->max ? edge : histogram->max;
        }
    }
    return histogram->max; // the last bucket has no edge
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count > 0 ? histogram->sum / (double)histogram->count : 0;
}

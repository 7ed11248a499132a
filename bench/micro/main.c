// SPDX-License-Identifier: Apache-2.0
// ringbolt-micro: times single pieces of Ringbolt. See docs/performance.md, "Profiling".
#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "micro.h"
#include "ringbolt/record.h"

#define EXIT_WRONG 2

enum mode { MODE_MEASURE, MODE_LIST, MODE_CHECK, MODE_COUNT };

struct options {
    enum mode mode;
    bool is_json;
    const char *filter; // a glob, or a part of the name
    size_t count;
    size_t warm;
    struct measure_options measure;
};

static const char help[] =
    "Usage: ringbolt-micro [OPTION…]\n"
    "\n"
    "Times pieces of Ringbolt: CPU time of one thread, for each unit of work.\n"
    "\n"
    "  -f, --filter TEXT    only benchmarks whose name contains TEXT or matches it as a pattern ('*/16384')\n"
    "  -l, --list           print their names and end\n"
    "  -s, --seconds S      CPU seconds to measure each for (0.5), in all rounds together\n"
    "  -r, --rounds N       rounds that the median is taken of (9)\n"
    "      --json           one JSON object in place of the table\n"
    "      --count N        exactly N units of each and no report, for callgrind with\n"
    "                       --toggle-collect=micro_window\n"
    "      --warm-up N      with --count: N units ahead that callgrind does not see (1)\n"
    "      --check          look whether each does what it says, a few times; for tests\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0, 1 when a check failed or something could not be had, 2 for wrong usage.\n";

void micro_need(bool is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "ringbolt-micro: cannot have %s\n", what);
    exit(EXIT_FAILURE);
}

void catalogue_add(struct catalogue *catalogue, const struct benchmark *benchmark)
{
    struct benchmark *more =
        reallocarray(catalogue->benchmarks, catalogue->count + 1, sizeof(*catalogue->benchmarks));

    micro_need(more != NULL, "memory");
    more[catalogue->count++] = *benchmark;
    catalogue->benchmarks = more;
}

// ---- options ----

static bool parse_number(const char *text, double min, double *ret)
{
    char *end;

    *ret = strtod(text, &end);
    return end != text && *end == '\0' && *ret >= min && *ret <= 1e15;
}

static bool parse_count(const char *text, size_t min, size_t *ret)
{
    double number;

    if (!parse_number(text, (double)min, &number) || number != (double)(size_t)number)
        return false;
    *ret = (size_t)number;
    return true;
}

// 0, or the exit status with 1 added.
static int parse(int argc, char **argv, struct options *options)
{
    enum { OPTION_JSON = 256, OPTION_COUNT, OPTION_WARM, OPTION_CHECK };
    static const struct option known[] = {
        {"filter", required_argument, NULL, 'f'},   {"list", no_argument, NULL, 'l'},
        {"seconds", required_argument, NULL, 's'},  {"rounds", required_argument, NULL, 'r'},
        {"json", no_argument, NULL, OPTION_JSON},   {"count", required_argument, NULL, OPTION_COUNT},
        {"check", no_argument, NULL, OPTION_CHECK}, {"warm-up", required_argument, NULL, OPTION_WARM},
        {"help", no_argument, NULL, 'h'},           {0},
    };
    bool is_good = true;
    size_t rounds = 9;
    int option;

    *options = (struct options){.warm = 1, .measure = {.seconds = 0.5}};
    while (is_good && (option = getopt_long(argc, argv, "f:ls:r:h", known, NULL)) != -1) {
        switch (option) {
        case 'f':
            options->filter = optarg;
            break;
        case 'l':
            options->mode = MODE_LIST;
            break;
        case 's':
            is_good = parse_number(optarg, 0.001, &options->measure.seconds);
            break;
        case 'r':
            is_good = parse_count(optarg, 1, &rounds) && rounds <= 10000;
            break;
        case OPTION_JSON:
            options->is_json = true;
            break;
        case OPTION_COUNT:
            options->mode = MODE_COUNT;
            is_good = parse_count(optarg, 1, &options->count);
            break;
        case OPTION_WARM:
            is_good = parse_count(optarg, 0, &options->warm);
            break;
        case OPTION_CHECK:
            options->mode = MODE_CHECK;
            break;
        case 'h':
            fputs(help, stdout);
            return EXIT_SUCCESS + 1;
        default:
            return EXIT_WRONG + 1;
        }
    }
    options->measure.rounds = (unsigned)rounds;
    if (is_good && optind == argc)
        return 0;
    fprintf(stderr, "ringbolt-micro: wrong value or word `%s`; see --help\n",
            is_good ? argv[optind] : optarg);
    return EXIT_WRONG + 1;
}

static bool is_chosen(const struct options *options, const char *name)
{
    return options->filter == NULL || strstr(name, options->filter) != NULL ||
           fnmatch(options->filter, name, 0) == 0;
}

// ---- reports ----

static void print_row(const struct benchmark *benchmark, const struct measured *measured)
{
    printf("%-40s %12.1f %12.1f %12.1f %11ju", benchmark->name, measured->ns_median, measured->ns_min,
           measured->ns_max, (uintmax_t)measured->count);
    if (benchmark->bytes > 0 && measured->ns_median > 0)
        printf(" %12.1f", (double)benchmark->bytes * 1e3 / measured->ns_median);
    putchar('\n');
    fflush(stdout);
}

static json_t *json_row(const struct benchmark *benchmark, const struct measured *measured)
{
    json_t *row = json_pack("{ss, sf, sf, sf, sI, si}", "name", benchmark->name, "ns_median",
                            measured->ns_median, "ns_min", measured->ns_min, "ns_max", measured->ns_max,
                            "units", (json_int_t)measured->count, "rounds", (int)measured->rounds);

    micro_need(row != NULL, "memory");
    if (benchmark->bytes > 0 && measured->ns_median > 0) {
        json_object_set_new(row, "bytes", json_integer((json_int_t)benchmark->bytes));
        json_object_set_new(row, "bytes_per_cpu_second",
                            json_real((double)benchmark->bytes * 1e9 / measured->ns_median));
    }
    return row;
}

// ---- one benchmark ----

static bool visit(const struct options *options, const struct benchmark *benchmark, json_t *rows)
{
    const char *why = NULL;
    struct measured measured;
    void *state;

    if (options->mode == MODE_LIST) {
        puts(benchmark->name);
        return true;
    }
    state = benchmark->kind->set_up(benchmark, &why);
    if (state == NULL) {
        fprintf(stderr, "ringbolt-micro: %s: left out: %s\n", benchmark->name, why);
        return true;
    }
    switch (options->mode) {
    case MODE_CHECK:
        why = measure_check(benchmark, state);
        printf("%s - %s%s%s\n", why == NULL ? "ok" : "not ok", benchmark->name, why == NULL ? "" : ": ",
               why == NULL ? "" : why);
        break;
    case MODE_COUNT:
        measure_count(benchmark, state, options->warm, options->count);
        break;
    default:
        measure(benchmark, state, &options->measure, &measured);
        if (rows != NULL)
            json_array_append_new(rows, json_row(benchmark, &measured));
        else
            print_row(benchmark, &measured);
    }
    benchmark->kind->tear_down(state);
    return why == NULL;
}

int main(int argc, char **argv)
{
    struct catalogue catalogue = {0};
    struct options options;
    int status = parse(argc, argv, &options);
    json_t *rows = NULL;
    size_t seen = 0;

    if (status != 0)
        return status - 1;
    micro_need(record_init() == 0, "OpenSSL's ciphers");
    handshake_register(&catalogue);
    record_register(&catalogue);
    ring_register(&catalogue);
    pools_register(&catalogue);
    if (options.mode == MODE_MEASURE && options.is_json)
        rows = json_array();
    else if (options.mode == MODE_MEASURE)
        printf("%-40s %12s %12s %12s %11s %12s\n", "CPU time of a unit, nanoseconds", "median", "min", "max",
               "units", "MB/CPU s");
    for (size_t i = 0; i < catalogue.count; i++) {
        if (!is_chosen(&options, catalogue.benchmarks[i].name))
            continue;
        seen++;
        if (!visit(&options, &catalogue.benchmarks[i], rows))
            status = EXIT_FAILURE;
    }
    if (rows != NULL) {
        json_t *report = json_pack("{so}", "benchmarks", rows);

        micro_need(report != NULL && json_dumpf(report, stdout, JSON_INDENT(2)) == 0, "a report");
        putchar('\n');
        json_decref(report);
    }
    free(catalogue.benchmarks);
    record_finish();
    if (seen == 0) {
        fprintf(stderr, "ringbolt-micro: no benchmark is called like `%s`; see --list\n", options.filter);
        return EXIT_WRONG;
    }
    return fflush(stdout) == 0 ? status : EXIT_FAILURE;
}

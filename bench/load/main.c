// SPDX-License-Identifier: Apache-2.0
// ringbolt-bench: a load generator for TLS servers on Ringbolt's own rings and records. Wires the rooms together.
#include <stdio.h>
#include <string.h>

#include "options.h"
#include "pattern.h"
#include "ringbolt/record.h"
#include "run.h"
#include "summary.h"

#define EXIT_OK     0
#define EXIT_FAILED 1
#define EXIT_WRONG  2

static int fail(const char *why)
{
    fprintf(stderr, "ringbolt-bench: %s\n", why);
    return EXIT_FAILED;
}

static int pattern_write(const struct options *options)
{
    struct pattern pattern;
    uint8_t block[16384];
    int error = pattern_init(&pattern, options->pattern_file);

    if (error < 0)
        return fail(strerror(-error));
    for (uint64_t at = 0; at < options->size && error == 0;) {
        size_t size = options->size - at < sizeof(block) ? (size_t)(options->size - at) : sizeof(block);

        pattern_copy(&pattern, at, block, size);
        if (fwrite(block, 1, size, stdout) != size)
            error = -1;
        at += size;
    }
    pattern_finish(&pattern);
    return error == 0 && fflush(stdout) == 0 ? EXIT_OK : fail("the pattern could not be written");
}

static int load(const struct options *options)
{
    struct run_result *result = NULL;
    char why[512];
    int status = EXIT_OK;

    if (record_init() < 0)
        return fail("OpenSSL offers none of the ciphers that are needed");
    if (run_all(options, &result, why, sizeof(why)) < 0) {
        record_finish();
        return fail(why);
    }
    if (options->is_json && summary_json(options, result, stdout) < 0)
        status = fail("the report could not be written");
    else if (!options->is_json)
        summary_table(options, result, stdout);
    if (tally_failures(&result->tally) > 0 && !options->is_allowing_errors)
        status = EXIT_FAILED;
    run_result_destroy(result);
    record_finish();
    return fflush(stdout) == 0 ? status : EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct options options;
    int status;

    switch (options_parse(argc, argv, &options)) {
    case OPTIONS_SHOWN:
        return EXIT_OK;
    case OPTIONS_WRONG:
        return EXIT_WRONG;
    default:
        break;
    }
    status = options.mode == MODE_PATTERN ? pattern_write(&options) : load(&options);
    options_finish(&options);
    return status;
}

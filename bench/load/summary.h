// SPDX-License-Identifier: Apache-2.0
// What a run comes to: a table for people, JSON for programs.
#pragma once

#include <stdio.h>

#include "options.h"
#include "run.h"

void summary_table(const struct options *options, const struct run_result *result, FILE *to);
// 0 or -ENOMEM.
int summary_json(const struct options *options, const struct run_result *result, FILE *to);

// The quantiles that both show, in ten-thousandths.
#define SUMMARY_QUANTILES 5
extern const unsigned summary_quantiles[SUMMARY_QUANTILES];
extern const char *const summary_quantile_names[SUMMARY_QUANTILES];

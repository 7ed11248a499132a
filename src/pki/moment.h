// SPDX-License-Identifier: Apache-2.0
// Moments: seconds since 1970 in UTC, as people and certificates write them.
#pragma once

#include <stdint.h>
#include <time.h>

#include <openssl/asn1.h>

#include "src/pki/status.h"

#define DAY_SECONDS 86400
#define DAYS_MAX    36500
// 9999-12-31T23:59:59Z, which RFC 5280 §4.1.2.5 gives the meaning "never".
#define MOMENT_MAX INT64_C(253402300799)

// `2027-01-31` (its first second) or `2027-01-31T12:00:00Z`. 0, or -EINVAL and why.
int moment_parse(const char *text, time_t *ret, char why[static WHY_MAX]);

// 1 to DAYS_MAX. 0, or -EINVAL and why.
int days_parse(const char *text, unsigned *ret, char why[static WHY_MAX]);

// `2027-01-31T12:00:00Z` into text.
void moment_text(time_t moment, char text[static 32]);

// What a certificate says. 0, or -EINVAL when it is no time.
int moment_from_asn1(const ASN1_TIME *time, time_t *ret);

// SPDX-License-Identifier: Apache-2.0
// The certificates in service, as the admin socket tells of them.
#pragma once

#include <stdbool.h>

#include <jansson.h>

struct master;

// The answer to `certificates`; NULL: no memory.
json_t *admin_certificates(struct master *master);

// Whether a certificate in service is meant by `name`: a name that it serves, or at least 8 digits of its fingerprint.
bool admin_certificate_is_known(struct master *master, const char *name);

// The names that are served, the first of them, for people; free() it. NULL: no memory.
char *admin_certificates_known(struct master *master);

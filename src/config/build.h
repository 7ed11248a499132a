// SPDX-License-Identifier: Apache-2.0
// From the raw structures to the configuration: everything is understood, checked and resolved here.
#pragma once

#include "src/config/address.h"
#include "src/config/schema_config.h"

struct build_input {
    const struct raw_config *raw;
    const struct node *root;    // what the raw structures were loaded from; NULL: there is no file
    const char *file;           // for config.file
    const char *directory;      // absolute; what relative paths are taken from
    const char *listen_name;    // what an address is called in the report: `address`, --listen
    const char *server_name;    // `address`, --to
    address_resolver *resolver; // for the hosts of servers
    const char *admin_default;  // admin.socket where the file names none; NULL: none
};

// The configuration, whole only if the report had nothing to add; config_destroy() in either case.
struct config *build_config(const struct build_input *input, struct report *report);

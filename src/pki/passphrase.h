// SPDX-License-Identifier: Apache-2.0
// Passphrases: from an environment variable, the first line of a file, or the terminal; never from the command line,
// where every user of the machine could read them.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "src/pki/status.h"

#define PASSPHRASE_MAX 1023 // bytes

enum passphrase_kind { PASSPHRASE_UNSAID, PASSPHRASE_ENV, PASSPHRASE_FILE, PASSPHRASE_PROMPT };

struct passphrase_source {
    enum passphrase_kind kind;
    const char *where; // the variable's name, the file's path
};

// In memory that is locked, not dumped and wiped.
struct passphrase {
    char *text; // PASSPHRASE_MAX + 1 bytes; NULL: none
    size_t length;
};

// `env:NAME`, `file:PATH` or `prompt`. 0, or -EINVAL and why.
int passphrase_source_parse(const char *text, struct passphrase_source *ret, char why[static WHY_MAX]);

// Gets it for `subject` (as "root.key"). A passphrase that is new is asked for twice on the terminal. STATUS_FILE
// when the variable or file is not there or no good; STATUS_FAILED for the terminal.
enum status passphrase_get(const struct passphrase_source *source, const char *subject, bool is_new,
                           struct passphrase *ret);

// Wipes it. NULL and one without text are accepted.
void passphrase_finish(struct passphrase *passphrase);

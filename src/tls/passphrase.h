// SPDX-License-Identifier: Apache-2.0
// Passphrases: from where the configuration says, else from the terminal, and remembered.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ringbolt/config.h"
#include "src/tls/content.h"

#define PASSPHRASE_LENGTH_MAX 1023

struct passphrases;

// may_ask: what is configured nowhere is asked for at the terminal. Aborts on no memory.
struct passphrases *passphrases_create(bool may_ask);
void passphrases_destroy(struct passphrases *passphrases); // wipes; NULL is accepted

// From now on nothing is asked any more; what was answered stays known.
void passphrases_ask_no_more(struct passphrases *passphrases);

// Calls `each` for everything that was answered, in the order of time.
void passphrases_answers(const struct passphrases *passphrases,
                         void (*each)(void *owner, const char *path, const char *phrase, size_t length),
                         void *owner);
// As if phrase[length] had been answered for the file: that is how a successor knows it. -EINVAL: it is empty or too long.
int passphrases_answer(struct passphrases *passphrases, const char *path, const char *phrase, size_t length);

// Tries to open something with phrase[length], behind which stands a zero. 0; -EKEYREJECTED: that is not the one; anything else:
// no passphrase helps.
typedef int passphrase_try(void *owner, const char *phrase, size_t length);

// Opens `file`: calls `try` with what the configuration names, or else with what was answered for this file before, or
// what is answered now (three times at most). Returns what `try` said, or -EINVAL with a line in the report: no passphrase was to be
// had, or it was the wrong one.
int passphrases_open(struct passphrases *passphrases, const struct named_file *file,
                     const struct config_passphrase *source, passphrase_try *try, void *owner);

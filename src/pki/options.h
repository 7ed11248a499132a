// SPDX-License-Identifier: Apache-2.0
// The command line of `ringbolt pki`: one set of options, of which each command takes some.
#pragma once

#include <stdbool.h>

#include "src/pki/passphrase.h"
#include "src/pki/texts.h"
#include "src/pki/wish.h"

// Texts point into argv; NULL: not given.
struct options {
    const char *verb;
    const char *config;
    const char *out;
    const char *key;
    const char *type;
    const char *ca;
    const char *ca_key;
    const char *csr;
    const char *cert;
    const char *chain;
    const char *subject;
    const char *profile;
    const char *days;
    const char *not_before;
    const char *not_after;
    const char *digest;
    const char *path_length;
    const char *reason;
    const char *next_update;
    const char *serial;
    const char *friendly_name;
    struct texts names;
    struct texts key_usage;
    struct texts extended_key_usage;
    struct texts crl_urls;
    struct texts ocsp_urls;
    struct texts ca_issuers_urls;
    struct texts copy;
    struct passphrase_source passphrase;
    struct passphrase_source ca_passphrase;
    struct passphrase_source out_passphrase;
    bool must_staple;
    bool new_key;
    bool release;
    bool legacy;
    bool der;
    bool json;
    bool is_forced;
    bool wants_help;
    struct texts operands;
};

// A command, and the help text that is its usage.
struct verb {
    const char *name;
    enum status (*run)(const struct options *options);
    const char *help;
    const char *options; // names, each between spaces; `wish` stands for what a certificate shall be
    size_t operands_min;
    size_t operands_max;
    const char *operand; // what they are, for a complaint
};

// argv[0] is the verb. options_finish() it in any case.
enum status options_parse(const struct verb *verb, int argc, char **argv, struct options *ret);
void options_finish(struct options *options);

// The options that a command takes, by number; NULL behind the last.
const char *options_name(const struct verb *verb, size_t index, bool *ret_takes_argument);

// A required option: complains when it was not given.
enum status options_need(const struct options *options, const char *text, const char *name);

// What the options say of a certificate; wish_finish() it in any case. Its whole is checked unless it is for a request whose
// subject and names come from elsewhere.
enum status options_wish(const struct options *options, enum profile profile, bool has_names_elsewhere,
                         struct wish *ret);

// ---- the commands ----

enum status verb_make(const struct options *options);
enum status verb_key(const struct options *options);
enum status verb_csr(const struct options *options);
enum status verb_sign(const struct options *options);
enum status verb_self_signed(const struct options *options);
enum status verb_revoke(const struct options *options);
enum status verb_crl(const struct options *options);
enum status verb_pkcs12(const struct options *options);
enum status verb_show(const struct options *options);
enum status verb_renew(const struct options *options);

extern const char help_general[];
extern const char help_make[];
extern const char help_key[];
extern const char help_csr[];
extern const char help_sign[];
extern const char help_self_signed[];
extern const char help_revoke[];
extern const char help_crl[];
extern const char help_pkcs12[];
extern const char help_show[];
extern const char help_renew[];

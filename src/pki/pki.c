// SPDX-License-Identifier: Apache-2.0
// `ringbolt pki`: finds the command and runs it.
#include "ringbolt/pki.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <openssl/err.h>

#include "src/config/nearest.h"
#include "src/pki/options.h"

static const struct verb verbs[] = {
    {"make", verb_make, help_make, " config out force ", 0, 0, NULL},
    {"key", verb_key, help_key, " out type passphrase force ", 0, 0, NULL},
    {"csr", verb_csr, help_csr,
     " key out passphrase force subject profile name digest key-usage extended-key-usage must-staple ", 0, 0,
     NULL},
    {"sign", verb_sign, help_sign, " ca ca-key ca-passphrase csr out chain copy force wish ", 0, 0, NULL},
    {"self-signed", verb_self_signed, help_self_signed, " key out passphrase force wish ", 0, 0, NULL},
    {"revoke", verb_revoke, help_revoke, " ca reason serial release ", 0, 1,
     "the file of the certificate to revoke"},
    {"crl", verb_crl, help_crl, " ca ca-key ca-passphrase out der days next-update digest force ", 0, 0,
     NULL},
    {"pkcs12", verb_pkcs12, help_pkcs12,
     " cert key chain out passphrase out-passphrase friendly-name legacy force ", 0, 0, NULL},
    {"show", verb_show, help_show, " json passphrase ", 1, SIZE_MAX, "a file"},
    {"renew", verb_renew, help_renew,
     " ca ca-key ca-passphrase key passphrase out chain new-key type out-passphrase days not-before "
     "not-after digest "
     "force ",
     1, 1, "the certificate to renew"},
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static enum status run(const struct verb *verb, int argc, char **argv)
{
    struct options options;
    enum status status = options_parse(verb, argc, argv, &options);

    if (status == STATUS_OK && options.wants_help)
        fputs(verb->help, stdout);
    else if (status == STATUS_OK)
        status = verb->run(&options);
    options_finish(&options);
    return status;
}

int pki_main(int argc, char **argv)
{
    const struct rlimit none = {0};
    const char *names[VERB_COUNT];
    const char *name = argc > 1 ? argv[1] : NULL;
    const char *meant;

    // Keys and passphrases pass through memory that is not ours to mark.
    (void)setrlimit(RLIMIT_CORE, &none);
    if (name == NULL)
        return complain_usage(NULL, "a command is needed, such as make, sign or show");
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        fputs(help_general, stdout);
        return STATUS_OK;
    }
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(name, verbs[i].name) == 0)
            return run(&verbs[i], argc - 1, argv + 1);
        names[i] = verbs[i].name;
    }
    meant = nearest_name(name, names, VERB_COUNT);
    if (meant != NULL)
        return complain_usage(NULL, "there is no command `%s`; did you mean %s?", name, meant);
    return complain_usage(NULL, "there is no %s `%s`", name[0] == '-' ? "option" : "command", name);
}

const char *pki_command(size_t index)
{
    return index < VERB_COUNT ? verbs[index].name : NULL;
}

const char *pki_option(size_t command, size_t index, bool *ret_takes_argument)
{
    return options_name(&verbs[command], index, ret_takes_argument);
}

// SPDX-License-Identifier: Apache-2.0
// Groups for the key exchange: of those that are configured, the ones that this OpenSSL has.
#include "src/tls/groups.h"

#include <stdlib.h>
#include <string.h>

#include "ringbolt/log.h"

// OpenSSL refuses a list with a group that it doesn't know, so each is asked for alone. Leaves those that it knows, best first, set, and
// calls `unknown` (not NULL) with each of the others. False when none is known, or there is no memory.
static bool set_groups(SSL_CTX *ssl, const struct config_tls *config,
                       void (*unknown)(const char *name, const struct config_tls *config, void *argument),
                       void *argument)
{
    char *wanted = strdup(config->groups);
    char *known = calloc(1, strlen(config->groups) + 2);
    char *end = known;
    char *rest = wanted;
    const char *name;
    bool is_set = false;

    while (wanted != NULL && known != NULL && (name = strsep(&rest, ":")) != NULL) {
        if (SSL_CTX_set1_groups_list(ssl, name) != 1) {
            unknown(name, config, argument);
            continue;
        }
        if (end != known)
            *end++ = ':';
        end = stpcpy(end, name); // together no longer than what was asked for
    }
    if (end != NULL && end != known)
        is_set = SSL_CTX_set1_groups_list(ssl, known) == 1;
    free(known);
    free(wanted);
    return is_set;
}

static void unknown_report(const char *name, const struct config_tls *config, void *argument)
{
    // Nobody need hear that a default of ours is too new for this OpenSSL.
    if (config->groups_where.line != 0)
        report_warn(
            argument, config->groups_where,
            "this OpenSSL (%s) has no group %s: it is left out; take it off the list, or use a newer one",
            OpenSSL_version(OPENSSL_VERSION_STRING), name);
}

static void unknown_log(const char *name, const struct config_tls *config, void *argument)
{
    log_debug("this OpenSSL has no such group", log_text("group", name));
}

bool groups_set(SSL_CTX *ssl, const struct config_tls *config)
{
    return set_groups(ssl, config, unknown_log, NULL);
}

bool groups_check(SSL_CTX *ssl, const struct config_tls *tls, struct report *report)
{
    if (set_groups(ssl, tls, unknown_report, report))
        return true;
    report_add(report, tls->groups_where.line != 0 ? tls->groups_where : tls->where,
               "this OpenSSL (%s) has none of the groups %s; name one that it has, such as X25519",
               OpenSSL_version(OPENSSL_VERSION_STRING), tls->groups);
    return false;
}

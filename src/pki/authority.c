// SPDX-License-Identifier: Apache-2.0
// Certificate authorities on disk, and delivering what they issue.
#include "src/pki/authority.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "src/config/memory.h"
#include "src/pki/database.h"
#include "src/pki/key.h"
#include "src/pki/pem.h"

static size_t without(const char *path, size_t length, const char *ending)
{
    size_t cut = strlen(ending);

    return length > cut && strncmp(path + length - cut, ending, cut) == 0 && path[length - cut - 1] != '/'
               ? length - cut
               : length;
}

char *path_beside(const char *path, const char *ending)
{
    static const char *const endings[] = {".pem", ".crt", ".cer", ".cert"};
    size_t length = strlen(path);
    size_t shorter = length;
    char *beside;

    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]) && shorter == length; i++)
        shorter = without(path, length, endings[i]);
    shorter = without(path, shorter, "-chain");
    if (asprintf(&beside, "%.*s%s", (int)shorter, path, ending) < 0)
        abort();
    return beside;
}

// X509_get_extension_flags() and the like say nothing of use for a certificate with damaged extensions.
static enum status check_authority(const struct authority *authority)
{
    uint32_t flags = X509_get_extension_flags(authority->certificate);
    char end[32];

    if ((flags & EXFLAG_INVALID) != 0)
        return complain(STATUS_FAILED, "%s: its extensions are damaged", authority->path);
    if ((flags & EXFLAG_CA) == 0)
        return complain(STATUS_FAILED, "%s: is no certificate authority (its basic constraints say so)",
                        authority->path);
    if ((X509_get_key_usage(authority->certificate) & KU_KEY_CERT_SIGN) == 0)
        return complain(STATUS_FAILED, "%s: may not sign certificates (its key usage says so)",
                        authority->path);
    moment_text(authority->validity.not_after, end);
    if (authority->validity.not_after < time(NULL))
        return complain(STATUS_FAILED, "%s: has expired (%s); renew it", authority->path, end);
    return STATUS_OK;
}

static enum status open_key(struct authority *authority, const char *key_path,
                            const struct passphrase_source *source)
{
    char *path = key_path != NULL ? memory_copy(key_path) : path_beside(authority->path, ".key");
    enum status status = key_load(path, source, &authority->key, NULL);

    if (status == STATUS_OK && X509_check_private_key(authority->certificate, authority->key) != 1) {
        ERR_clear_error();
        status = complain(STATUS_FAILED, "%s: is not the key of %s", path, authority->path);
    }
    free(path);
    return status;
}

enum status authority_load(const char *path, const char *key_path, const struct passphrase_source *source,
                           struct authority *ret)
{
    struct authority authority = {0};
    enum status status = pem_load_certificates(path, &authority.chain);

    if (status != STATUS_OK)
        return status;
    authority.path = memory_copy(path);
    authority.database = path_beside(path, ".db");
    authority.certificate = sk_X509_value(authority.chain, 0);
    if (validity_of(authority.certificate, &authority.validity) < 0)
        status = complain(STATUS_FAILED, "%s: its validity is damaged", path);
    else
        status = check_authority(&authority);
    if (status == STATUS_OK && source != NULL)
        status = open_key(&authority, key_path, source);
    if (status != STATUS_OK)
        authority_finish(&authority);
    else
        *ret = authority;
    return status;
}

void authority_finish(struct authority *authority)
{
    sk_X509_pop_free(authority->chain, X509_free);
    EVP_PKEY_free(authority->key);
    free(authority->path);
    free(authority->database);
    *authority = (struct authority){0};
}

bool authority_has_issued(const struct authority *authority, X509 *certificate)
{
    bool has = X509_NAME_cmp(X509_get_issuer_name(certificate),
                             X509_get_subject_name(authority->certificate)) == 0 &&
               X509_verify(certificate, X509_get0_pubkey(authority->certificate)) == 1;

    ERR_clear_error();
    return has;
}

const char *authority_limits(const struct authority *authority, const struct wish *wish)
{
    long most = X509_get_pathlen(authority->certificate);

    if (wish->profile != PROFILE_CA || most < 0)
        return NULL;
    if (most == 0)
        return "its issuer may have no authority below it (path length 0)";
    if (wish->path_length >= most)
        return "its path length must be less than its issuer's";
    return NULL;
}

enum status authority_deliver(const char *database_path, X509 *certificate, struct delivery *delivery)
{
    struct database database;
    enum status status = database_open(database_path, &database);

    if (status != STATUS_OK)
        return status;
    database_add(&database, certificate);
    status = database_save(&database);
    if (status == STATUS_OK && delivery_publish(delivery) != STATUS_OK) {
        status = STATUS_FAILED;
        // What was not delivered was not issued. If even this fails, one record too many stays, and that is said.
        database_remove_last(&database);
        (void)database_save(&database);
    }
    database_close(&database);
    return status;
}

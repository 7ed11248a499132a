// SPDX-License-Identifier: Apache-2.0
// `pki revoke` and `pki crl`: the database learns what is revoked, and tells the world.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "src/pki/authority.h"
#include "src/pki/database.h"
#include "src/pki/moment.h"
#include "src/pki/options.h"
#include "src/pki/pem.h"

#define CRL_DAYS 30

// ---- revoke ----

// The record of the certificate file, which may be older than the database, or made elsewhere with the same key.
static enum status find_by_file(const char *path, const struct authority *authority,
                                struct database *database, struct record **ret)
{
    char serial[SERIAL_TEXT_MAX];
    X509 *certificate;
    enum status status = pem_load_certificate(path, &certificate);

    if (status != STATUS_OK)
        return status;
    if (X509_cmp(certificate, authority->certificate) == 0) {
        status = complain(
            STATUS_FAILED,
            "%s: is the authority itself, whose own CRL nobody believes then; revoke it at its issuer", path);
    } else if (!authority_has_issued(authority, certificate)) {
        status = complain(STATUS_FAILED, "%s: was not issued by %s", path, authority->path);
    } else {
        serial_text(X509_get0_serialNumber(certificate), serial);
        *ret = database_find(database, serial);
        if (*ret == NULL)
            *ret = database_add(database, certificate);
    }
    X509_free(certificate);
    return status;
}

// As people write serial numbers: in either case, with or without colons and leading zeros. The database has whole bytes.
static enum status find_by_serial(const char *text, const struct authority *authority,
                                  struct database *database, struct record **ret)
{
    char digits[SERIAL_TEXT_MAX];
    char serial[SERIAL_TEXT_MAX + 1];
    size_t length = 0;

    for (; *text != '\0' && length + 1 < sizeof(digits); text++) {
        if (*text != ':' && (length > 0 || *text != '0'))
            digits[length++] = (char)toupper((unsigned char)*text);
    }
    digits[length] = '\0';
    snprintf(serial, sizeof(serial), "%s%s", length % 2 != 0 ? "0" : "", digits);
    *ret = database_find(database, serial);
    if (*ret == NULL)
        return complain(STATUS_FAILED, "%s: has issued no certificate %s; give the certificate's file",
                        authority->path, serial);
    return STATUS_OK;
}

static enum status change(const struct options *options, enum reason reason, struct record *record)
{
    const char *hold = reason_word(REASON_HOLD);

    if (options->release) {
        if (record->reason != REASON_HOLD)
            return complain(STATUS_FAILED, "%s is not on hold; only what was revoked with %s can be released",
                            record->serial, hold);
        record->reason = REASON_NONE;
        record->revoked = 0;
        return STATUS_OK;
    }
    // From being on hold to revoked for good is the one way that goes on.
    if (record->reason != REASON_NONE && (record->reason != REASON_HOLD || reason == REASON_HOLD)) {
        char when[32];
        moment_text(record->revoked, when);
        return complain(STATUS_FAILED, "%s is revoked already, since %s (%s)", record->serial, when,
                        reason_word(record->reason));
    }
    if (record->reason == REASON_NONE)
        record->revoked = time(NULL);
    record->reason = reason;
    return STATUS_OK;
}

static enum status record_revocation(const struct options *options, enum reason reason,
                                     const struct authority *authority)
{
    struct database database;
    struct record *record = NULL;
    enum status status;
    int lock;

    status = folder_lock(authority->database, &lock);
    if (status != STATUS_OK)
        return status;
    status = database_open(authority->database, &database);
    if (status != STATUS_OK)
        goto unlock;
    if (options->serial != NULL)
        status = find_by_serial(options->serial, authority, &database, &record);
    else
        status = find_by_file(options->operands.items[0], authority, &database, &record);
    if (status == STATUS_OK)
        status = change(options, reason, record);
    if (status == STATUS_OK)
        status = database_save(&database);
    if (status == STATUS_OK && options->release)
        say("%s: released (%s); the next CRL no longer lists it", record->serial, record->subject);
    else if (status == STATUS_OK)
        say("%s: revoked, %s (%s); the next CRL lists it", record->serial, reason_word(reason),
            record->subject);
    database_close(&database);
unlock:
    close(lock);
    return status;
}

enum status verb_revoke(const struct options *options)
{
    struct authority authority = {0};
    enum reason reason = REASON_UNSPECIFIED;
    char why[WHY_MAX];
    enum status status = options_need(options, options->ca, "ca");

    if (status == STATUS_OK && (options->operands.count > 0) == (options->serial != NULL))
        status = complain_usage(options->verb, "either a certificate's file or --serial is needed");
    if (status == STATUS_OK && options->reason != NULL && options->release)
        status = complain_usage(options->verb, "--release and --reason exclude each other");
    if (status == STATUS_OK && options->reason != NULL && reason_parse(options->reason, &reason, why) < 0)
        status = complain_usage(options->verb, "--reason %s: %s", options->reason, why);
    if (status == STATUS_OK)
        status = authority_load(options->ca, NULL, NULL, &authority);
    if (status == STATUS_OK)
        status = record_revocation(options, reason, &authority);
    authority_finish(&authority);
    return status;
}

// ---- crl ----

// RFC 5280 §5.3.1: a reason that says nothing is better left out.
static bool set_reason(X509_REVOKED *entry, enum reason reason)
{
    ASN1_ENUMERATED *value;
    bool is_good;

    if (reason == REASON_UNSPECIFIED)
        return true;
    value = ASN1_ENUMERATED_new();
    is_good = value != NULL && ASN1_ENUMERATED_set(value, reason) == 1 &&
              X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, value, 0, X509V3_ADD_APPEND) == 1;
    ASN1_ENUMERATED_free(value);
    return is_good;
}

static bool add_entry(X509_CRL *crl, const struct record *record)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *when = ASN1_TIME_set(NULL, record->revoked);
    BIGNUM *number = NULL;
    ASN1_INTEGER *serial = NULL;
    bool is_good = entry != NULL && when != NULL && BN_hex2bn(&number, record->serial) > 0;

    if (is_good)
        serial = BN_to_ASN1_INTEGER(number, NULL);
    is_good = is_good && serial != NULL && X509_REVOKED_set_serialNumber(entry, serial) == 1 &&
              X509_REVOKED_set_revocationDate(entry, when) == 1 && set_reason(entry, record->reason) &&
              X509_CRL_add0_revoked(crl, entry) == 1;
    if (!is_good)
        X509_REVOKED_free(entry);
    ASN1_INTEGER_free(serial);
    BN_free(number);
    ASN1_TIME_free(when);
    return is_good;
}

static bool add_extensions(X509_CRL *crl, const struct authority *authority, uint64_t number)
{
    ASN1_INTEGER *value = ASN1_INTEGER_new();
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(authority->certificate);
    AUTHORITY_KEYID *key_id = AUTHORITY_KEYID_new();
    bool is_good = value != NULL && key_id != NULL && ASN1_INTEGER_set_uint64(value, number) == 1 &&
                   X509_CRL_add1_ext_i2d(crl, NID_crl_number, value, 0, X509V3_ADD_APPEND) == 1;

    if (is_good && id != NULL) {
        key_id->keyid = ASN1_OCTET_STRING_dup(id);
        is_good = key_id->keyid != NULL &&
                  X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, key_id, 0, X509V3_ADD_APPEND) == 1;
    }
    ASN1_INTEGER_free(value);
    AUTHORITY_KEYID_free(key_id);
    return is_good;
}

// Expired certificates stay listed: RFC 5280 §3.3 asks for one CRL more, and nobody is harmed by many.
static enum status make_crl(const struct authority *authority, const struct database *database,
                            const struct validity *validity, const EVP_MD *digest, X509_CRL **ret)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *now = ASN1_TIME_set(NULL, validity->not_before);
    ASN1_TIME *next = ASN1_TIME_set(NULL, validity->not_after);
    bool is_good = crl != NULL && now != NULL && next != NULL &&
                   X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
                   X509_CRL_set_issuer_name(crl, X509_get_subject_name(authority->certificate)) == 1 &&
                   X509_CRL_set1_lastUpdate(crl, now) == 1 && X509_CRL_set1_nextUpdate(crl, next) == 1;

    for (size_t i = 0; is_good && i < database->count; i++) {
        if (database->records[i].reason != REASON_NONE)
            is_good = add_entry(crl, &database->records[i]);
    }
    is_good = is_good && add_extensions(crl, authority, database->crl_number) && X509_CRL_sort(crl) == 1 &&
              X509_CRL_sign(crl, authority->key, digest) > 0;
    ASN1_TIME_free(now);
    ASN1_TIME_free(next);
    if (!is_good) {
        X509_CRL_free(crl);
        return complain_openssl("%s: the CRL cannot be made", authority->path);
    }
    *ret = crl;
    return STATUS_OK;
}

static enum status add_crl(struct delivery *delivery, const char *path, X509_CRL *crl,
                           const struct options *options)
{
    BIO *bio = BIO_new(BIO_s_mem());
    enum status status;

    if (bio == NULL || (options->der ? i2d_X509_CRL_bio(bio, crl) : PEM_write_bio_X509_CRL(bio, crl)) != 1)
        status = complain_openssl("%s: cannot be written", path);
    else
        status = delivery_add_bio(delivery, path, bio, options->is_forced);
    BIO_free(bio);
    return status;
}

// The number is used up before the CRL is there: two CRLs of one number would be worse than one number of none.
static enum status publish(const struct options *options, const char *out, const struct authority *authority,
                           const struct validity *validity, const EVP_MD *digest)
{
    struct delivery delivery = {0};
    struct database database;
    X509_CRL *crl = NULL;
    size_t revoked = 0;
    char next[32];
    enum status status;
    int lock;

    status = folder_lock(authority->database, &lock);
    if (status != STATUS_OK)
        return status;
    status = database_open(authority->database, &database);
    if (status != STATUS_OK)
        goto unlock;
    database.crl_number++;
    status = make_crl(authority, &database, validity, digest, &crl);
    if (status == STATUS_OK)
        status = add_crl(&delivery, out, crl, options);
    if (status == STATUS_OK)
        status = database_save(&database);
    if (status == STATUS_OK)
        status = delivery_publish(&delivery);
    delivery_finish(&delivery);
    for (size_t i = 0; i < database.count; i++)
        revoked += database.records[i].reason != REASON_NONE;
    moment_text(validity->not_after, next);
    if (status == STATUS_OK)
        say("%s: CRL %llu, %zu revoked, next update %s", out, (unsigned long long)database.crl_number,
            revoked, next);
    X509_CRL_free(crl);
    database_close(&database);
unlock:
    close(lock);
    return status;
}

static enum status choose_validity(const struct options *options, struct validity *ret)
{
    struct validity validity = {.not_before = time(NULL)};
    unsigned days = CRL_DAYS;
    char why[WHY_MAX];

    if (options->days != NULL && options->next_update != NULL)
        return complain_usage(options->verb, "--days and --next-update exclude each other");
    if (options->days != NULL && days_parse(options->days, &days, why) < 0)
        return complain_usage(options->verb, "--days %s: %s", options->days, why);
    validity.not_after = validity.not_before + (time_t)days * DAY_SECONDS;
    if (options->next_update != NULL && moment_parse(options->next_update, &validity.not_after, why) < 0)
        return complain_usage(options->verb, "--next-update %s: %s", options->next_update, why);
    if (validity.not_after <= validity.not_before)
        return complain_usage(options->verb, "--next-update %s: this is in the past", options->next_update);
    *ret = validity;
    return STATUS_OK;
}

enum status verb_crl(const struct options *options)
{
    struct authority authority = {0};
    struct validity validity = {0};
    const EVP_MD *digest = NULL;
    char why[WHY_MAX];
    char *out = NULL;
    enum status status = options_need(options, options->ca, "ca");

    if (status == STATUS_OK)
        status = choose_validity(options, &validity);
    if (status == STATUS_OK && options->digest != NULL && digest_parse(options->digest, &digest, why) < 0)
        status = complain_usage(options->verb, "--digest %s: %s", options->digest, why);
    if (status == STATUS_OK)
        out = options->out != NULL ? memory_copy(options->out) : path_beside(options->ca, ".crl");
    if (status == STATUS_OK)
        status = check_free(out, options->is_forced);
    if (status == STATUS_OK)
        status = authority_load(options->ca, options->ca_key, &options->ca_passphrase, &authority);
    if (status == STATUS_OK && (X509_get_key_usage(authority.certificate) & KU_CRL_SIGN) == 0)
        status = complain(STATUS_FAILED, "%s: may not sign CRLs (its key usage says so)", options->ca);
    if (status == STATUS_OK)
        status = digest_choose(out, digest, authority.key, &digest);
    if (status == STATUS_OK)
        status = publish(options, out, &authority, &validity, digest);
    authority_finish(&authority);
    free(out);
    return status == STATUS_FILE ? STATUS_FAILED : status;
}

// SPDX-License-Identifier: Apache-2.0
// Settling: is what is there right? What would be made? Keys and certificates are made in memory, so that whatever
// is wrong anywhere shows before the first file is written.
#include "src/pki/making.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>

#include "src/config/memory.h"
#include "src/pki/extension.h"
#include "src/pki/key.h"
#include "src/pki/pem.h"
#include "src/pki/subject.h"

static void remember(struct run *run, enum status status)
{
    if (status > run->status)
        run->status = status;
}

static bool exists(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0;
}

static char *path_of(const struct run *run, const struct entity *entity, const char *ending)
{
    bool is_here = strcmp(run->folder, ".") == 0;
    char *path;

    if (asprintf(&path, "%s%s%s%s", is_here ? "" : run->folder, is_here ? "" : "/", entity->name, ending) < 0)
        abort();
    return path;
}

// Something is there and is not as it should be: with --force it is replaced, without it that is the end.
static enum fate replace(struct run *run, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum fate replace(struct run *run, const char *path, const char *format, ...)
{
    va_list arguments;
    char why[512];

    if (run->is_forced)
        return FATE_REPLACE;
    va_start(arguments, format);
    vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    remember(run, complain(STATUS_FAILED, "%s: %s; remove it, or --force to replace it", path, why));
    return FATE_KEEP;
}

// ---- keys ----

// What the YAML file says of passphrases is said to be wrong where it says so.
static bool has_source(struct run *run, const struct entity *entity)
{
    const struct passphrase_source *source = &entity->source;

    if (source->kind == PASSPHRASE_ENV && getenv(source->where) == NULL)
        report_add(run->report, entity_where(entity, "passphrase"),
                   "`passphrase`: the environment variable %s is not set; it must hold the passphrase",
                   source->where);
    else if (source->kind == PASSPHRASE_FILE && access(source->where, R_OK) < 0)
        report_add(run->report, entity_where(entity, "passphrase"), "`passphrase`: %s cannot be read: %s",
                   source->where, strerror(errno));
    else
        return true;
    return false;
}

static enum status make_key(struct entity *entity, enum fate fate)
{
    struct making *making = entity->making;
    enum status status = STATUS_OK;

    if (entity->source.kind != PASSPHRASE_UNSAID)
        status = passphrase_get(&entity->source, making->key_path, true, &making->passphrase);
    if (status == STATUS_OK && making->key == NULL)
        status = key_make(&entity->kind, making->key_path, &making->key);
    making->key_fate = fate;
    return status;
}

static enum status check_key(struct run *run, struct entity *entity)
{
    bool shall_be_encrypted = entity->source.kind != PASSPHRASE_UNSAID;
    struct making *making = entity->making;
    char is[KEY_KIND_TEXT_MAX];
    char wanted[KEY_KIND_TEXT_MAX];
    bool is_encrypted;
    enum status status =
        key_load(making->key_path, shall_be_encrypted ? &entity->source : NULL, &making->key, &is_encrypted);

    if (status != STATUS_OK)
        return status;
    if (!key_is(making->key, &entity->kind)) {
        key_text(making->key, is);
        key_kind_text(&entity->kind, wanted);
        if (replace(run, making->key_path, "is %s, and %s says %s", is, run->file, wanted) == FATE_KEEP)
            return STATUS_OK;
        EVP_PKEY_free(making->key);
        making->key = NULL;
        return make_key(entity, FATE_REPLACE);
    }
    // The same key, written anew.
    if (shall_be_encrypted && !is_encrypted &&
        replace(run, making->key_path, "is not encrypted, and %s says it shall be", run->file) ==
            FATE_REPLACE)
        return make_key(entity, FATE_REPLACE);
    return STATUS_OK;
}

// Not STATUS_OK: nothing more can be said of the entity. A key that can't be opened is never replaced: it may be only
// the passphrase that is wrong.
static enum status settle_key(struct run *run, struct entity *entity)
{
    struct making *making = entity->making;

    making->has_key_file = exists(making->key_path);
    // An authority's key may be kept elsewhere for as long as nothing is to be signed by it.
    if (!making->has_key_file && entity->is_authority && exists(making->certificate_path))
        return STATUS_OK;
    if (!has_source(run, entity))
        return STATUS_FILE;
    if (!making->has_key_file)
        return make_key(entity, FATE_MAKE);
    return entity->source.kind != PASSPHRASE_PROMPT ? check_key(run, entity) : STATUS_OK;
}

// For signing, or for its public half.
static enum status need_key(const struct entity *entity)
{
    struct making *making = entity->making;

    if (making->key != NULL)
        return STATUS_OK;
    if (!making->has_key_file)
        return complain(STATUS_FAILED, "%s: is not there, and is needed to sign", making->key_path);
    return key_load(making->key_path, &entity->source, &making->key, NULL);
}

// ---- certificates: is it right? ----

// Whether the certificate's key is the entity's.
static const char *compare_key(const struct entity *entity, X509 *certificate)
{
    const struct making *making = entity->making;
    const EVP_PKEY *key = X509_get0_pubkey(certificate);
    bool is_same;

    if (key == NULL)
        return "its key is damaged";
    if (making->key != NULL) {
        is_same = EVP_PKEY_eq(key, making->key) == 1;
        ERR_clear_error();
        return is_same ? NULL : "it is not for the key";
    }
    return key_is(key, &entity->kind) ? NULL : "its key is of another type";
}

static bool is_issued(const struct entity *entity, X509 *certificate)
{
    X509 *issuer = entity->issuer != NULL ? entity->issuer->making->certificate : certificate;
    bool is;

    // An issuer that could not be settled was complained of.
    if (issuer == NULL)
        return true;
    is = X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(issuer)) == 0 &&
         X509_verify(certificate, X509_get0_pubkey(issuer)) == 1;
    ERR_clear_error();
    return is;
}

// A certificate that was wanted as one that has expired is right; any other has to be made anew.
static const char *compare_validity(const struct entity *entity, X509 *certificate, struct validity *ret)
{
    const struct wish *wish = &entity->wish;
    time_t end = wish->not_after;

    if (validity_of(certificate, ret) < 0)
        return "its validity is damaged";
    if (end == 0 && wish->not_before != 0 && wish->days != 0)
        end = wish->not_before + (time_t)wish->days * DAY_SECONDS - 1;
    if (wish->not_before != 0 && wish->not_before != ret->not_before)
        return "it begins at another time";
    if (end != 0 && end != ret->not_after)
        return "it ends at another time";
    if (end == 0 && ret->not_after < time(NULL))
        return "it has expired";
    return NULL;
}

static const char *compare_digest(const struct entity *entity, X509 *certificate)
{
    int nid = NID_undef;

    if (entity->wish.digest == NULL)
        return NULL;
    (void)X509_get_signature_info(certificate, &nid, NULL, NULL, NULL);
    return nid == EVP_MD_get_type(entity->wish.digest) ? NULL : "it is signed with another digest";
}

static bool compare_extensions(const struct entity *entity, X509 *certificate, char why[static WHY_MAX])
{
    const X509 *issuer = entity->issuer != NULL ? entity->issuer->making->certificate : NULL;
    STACK_OF(X509_EXTENSION) *wanted = NULL;
    bool is_same;
    int nid;

    if (entity->issuer != NULL && issuer == NULL)
        return true;
    if (extensions_make(&entity->wish, X509_get0_pubkey(certificate), issuer, &wanted) != STATUS_OK)
        return false;
    is_same = extensions_equal(certificate, wanted, &nid);
    if (!is_same)
        (void)why_set(why, "there is a difference in its %s", extension_word(nid));
    sk_X509_EXTENSION_pop_free(wanted, X509_EXTENSION_free);
    return is_same;
}

// What of the certificate differs from the plan; NULL: nothing.
static const char *compare(const struct entity *entity, X509 *certificate, struct validity *ret,
                           char why[static WHY_MAX])
{
    const char *what = compare_key(entity, certificate);

    if (what == NULL && !entity->making->has_key_file && !entity->is_authority)
        what = "its key is not there";
    if (what == NULL && X509_NAME_cmp(X509_get_subject_name(certificate), entity->wish.subject) != 0)
        what = "it has another subject";
    if (what == NULL)
        what = compare_validity(entity, certificate, ret);
    if (what == NULL && !is_issued(entity, certificate))
        what = "it was signed by another key than its issuer's";
    if (what == NULL)
        what = compare_digest(entity, certificate);
    if (what == NULL && !compare_extensions(entity, certificate, why))
        what = why;
    return what;
}

// ---- certificates: making one ----

static enum status resolve_validity(struct run *run, const struct entity *entity, struct validity *ret)
{
    const struct entity *issuer = entity->issuer;
    const char *key = entity->wish.days > 0         ? "days"
                      : entity->wish.not_after != 0 ? "not_after"
                                                    : "not_before";
    char end[32];

    if (validity_resolve(&entity->wish, issuer != NULL ? &issuer->making->validity : NULL, time(NULL), ret) ==
        0)
        return STATUS_OK;
    if (issuer != NULL) {
        moment_text(issuer->making->validity.not_after, end);
        report_add(run->report, entity_where(entity, key),
                   "`%s`: its issuer `%s` is valid until %s, and it may not outlast that", key, issuer->name,
                   end);
    } else {
        report_add(run->report, entity_where(entity, key), "`%s`: it begins after its end", key);
    }
    return STATUS_FILE;
}

static enum status make_certificate(struct run *run, struct entity *entity)
{
    const struct entity *issuer = entity->issuer;
    struct making *making = entity->making;
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    struct issue issue = {
        .label = making->certificate_path, .subject = entity->wish.subject, .digest = entity->wish.digest};
    enum status status;

    if (issuer != NULL && issuer->making->certificate == NULL)
        return STATUS_FAILED; // which was said
    status = resolve_validity(run, entity, &making->validity);
    if (status == STATUS_OK)
        status = need_key(entity);
    if (status == STATUS_OK && issuer != NULL)
        status = need_key(issuer);
    if (status != STATUS_OK)
        return status;
    issue.key = making->key;
    issue.issuer = issuer != NULL ? issuer->making->certificate : NULL;
    issue.issuer_key = issuer != NULL ? issuer->making->key : making->key;
    issue.validity = making->validity;
    if (issuer != NULL && X509_check_private_key(issue.issuer, issue.issuer_key) != 1) {
        ERR_clear_error();
        return complain(STATUS_FAILED, "%s: is not the key of %s", issuer->making->key_path,
                        issuer->making->certificate_path);
    }
    status = extensions_make(&entity->wish, issue.key, issue.issuer, &extensions);
    issue.extensions = extensions;
    if (status == STATUS_OK)
        status = certificate_issue(&issue, &making->certificate);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return status;
}

static void settle_certificate(struct run *run, struct entity *entity)
{
    struct making *making = entity->making;
    X509 *certificate = NULL;
    const char *what;
    char why[WHY_MAX];
    enum status status = STATUS_OK;

    making->certificate_fate = FATE_MAKE;
    if (exists(making->certificate_path)) {
        status = pem_load_certificate(making->certificate_path, &certificate);
        what =
            status == STATUS_OK ? compare(entity, certificate, &making->validity, why) : "it can't be read";
        making->certificate_fate =
            what == NULL ? FATE_KEEP
                         : replace(run, making->certificate_path, "does not fit %s: %s", run->file, what);
    }
    if (making->certificate_fate == FATE_KEEP) {
        making->certificate = certificate;
        return;
    }
    X509_free(certificate);
    status = make_certificate(run, entity);
    if (status != STATUS_OK)
        remember(run, status);
}

// ---- chains ----

static void build_chain(struct making *making, const struct entity *entity)
{
    making->chain = sk_X509_new_null();
    for (const struct entity *at = entity; at->issuer != NULL; at = at->issuer) {
        if (making->chain == NULL || X509_up_ref(at->making->certificate) != 1 ||
            sk_X509_push(making->chain, at->making->certificate) <= 0)
            abort();
    }
}

static bool is_same_chain(const STACK_OF(X509) * a, const STACK_OF(X509) * b)
{
    if (sk_X509_num(a) != sk_X509_num(b))
        return false;
    for (int i = 0; i < sk_X509_num(a); i++) {
        if (X509_cmp(sk_X509_value(a, i), sk_X509_value(b, i)) != 0)
            return false;
    }
    return true;
}

static void settle_chain(struct run *run, struct entity *entity)
{
    struct making *making = entity->making;
    STACK_OF(X509) * there;

    for (const struct entity *at = entity; at->issuer != NULL; at = at->issuer) {
        if (at->making->certificate == NULL)
            return;
    }
    build_chain(making, entity);
    making->chain_fate = FATE_MAKE;
    if (!exists(making->chain_path))
        return;
    if (pem_load_certificates(making->chain_path, &there) != STATUS_OK) {
        making->chain_fate =
            replace(run, making->chain_path, "does not hold %s and those above it", making->certificate_path);
        return;
    }
    making->chain_fate =
        is_same_chain(there, making->chain)
            ? FATE_KEEP
            : replace(run, making->chain_path, "holds other certificates than %s and those above it",
                      making->certificate_path);
    sk_X509_pop_free(there, X509_free);
}

// ---- one entity ----

void making_settle(struct run *run, struct entity *entity)
{
    struct making *making = memory_allocate(sizeof(*making));
    enum status status;

    entity->making = making;
    making->key_path = path_of(run, entity, ".key");
    making->certificate_path = path_of(run, entity, ".pem");
    making->database_path = path_of(run, entity, ".db");
    // What servers send; of an authority only where it is more than its own certificate.
    if (entity->issuer != NULL && (!entity->is_authority || entity->issuer->issuer != NULL))
        making->chain_path = path_of(run, entity, "-chain.pem");
    status = settle_key(run, entity);
    if (status == STATUS_OK)
        settle_certificate(run, entity);
    if (status == STATUS_OK && making->chain_path != NULL)
        settle_chain(run, entity);
    remember(run, status);
}

void making_finish(struct making *making)
{
    if (making == NULL)
        return;
    free(making->key_path);
    free(making->certificate_path);
    free(making->chain_path);
    free(making->database_path);
    EVP_PKEY_free(making->key);
    passphrase_finish(&making->passphrase);
    X509_free(making->certificate);
    sk_X509_pop_free(making->chain, X509_free);
    free(making);
}

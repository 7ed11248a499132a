// SPDX-License-Identifier: Apache-2.0
// `pki sign`: somebody's request becomes a certificate. Its key and subject are taken; of the extensions that it asks for
// only those that --copy names, and never that it be an authority.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>

#include "src/pki/authority.h"
#include "src/pki/database.h"
#include "src/pki/extension.h"
#include "src/pki/options.h"
#include "src/pki/pem.h"

static const struct {
    const char *word;
    int nid;
} copyable[] = {
    {"names", NID_subject_alt_name},
    {"key-usage", NID_key_usage},
    {"extended-key-usage", NID_ext_key_usage},
    {"must-staple", NID_tlsfeature},
};
#define COPYABLE_COUNT (sizeof(copyable) / sizeof(copyable[0]))

// The bits of one word, bit i for copyable[i]; 0: there is no such word.
static unsigned find_copyable(const char *word, size_t length)
{
    if (length == 3 && strncmp(word, "all", 3) == 0)
        return (1U << COPYABLE_COUNT) - 1;
    for (size_t i = 0; i < COPYABLE_COUNT; i++) {
        if (strlen(copyable[i].word) == length && strncmp(word, copyable[i].word, length) == 0)
            return 1U << i;
    }
    return 0;
}

static enum status parse_copy(const struct options *options, unsigned *ret)
{
    unsigned chosen = 0;

    for (size_t i = 0; i < options->copy.count; i++) {
        const char *rest = options->copy.items[i];
        do {
            size_t length = strcspn(rest, ",");
            unsigned bits = find_copyable(rest, length);
            if (bits == 0)
                return complain_usage(
                    options->verb,
                    "--copy %s: names, key-usage, extended-key-usage, must-staple or all is needed",
                    options->copy.items[i]);
            chosen |= bits;
            rest += length + (rest[length] == ',');
        } while (*rest != '\0');
    }
    *ret = chosen;
    return STATUS_OK;
}

// What a certificate is made of.
struct signing {
    const struct options *options;
    struct wish wish;
    unsigned copied;
    struct authority authority;
    X509_REQ *request;
    EVP_PKEY *key; // the request's
    STACK_OF(X509_EXTENSION) * extensions;
    X509 *certificate;
};

static bool asks_for(const struct signing *signing, int nid)
{
    STACK_OF(X509_EXTENSION) *asked = X509_REQ_get_extensions(signing->request);
    bool does = X509v3_get_ext_by_NID(asked, nid, -1) >= 0;

    sk_X509_EXTENSION_pop_free(asked, X509_EXTENSION_free);
    ERR_clear_error();
    return does;
}

static bool copies(const struct signing *signing, int nid)
{
    for (size_t i = 0; i < COPYABLE_COUNT; i++) {
        if (copyable[i].nid == nid)
            return (signing->copied & 1U << i) != 0;
    }
    return false;
}

static enum status take_asked(struct signing *signing)
{
    const char *csr = signing->options->csr;

    for (size_t i = 0; i < COPYABLE_COUNT; i++) {
        if (copies(signing, copyable[i].nid) &&
            extensions_take(&signing->extensions, signing->request, copyable[i].nid) < 0)
            return complain(STATUS_FAILED, "%s: the request's %s are damaged", csr,
                            extension_word(copyable[i].nid));
    }
    if (signing->wish.profile != PROFILE_CA && copies(signing, NID_key_usage)) {
        ASN1_BIT_STRING *usage = X509V3_get_d2i(signing->extensions, NID_key_usage, NULL, NULL);
        bool is_too_much =
            usage != NULL && (ASN1_BIT_STRING_get_bit(usage, 5) || ASN1_BIT_STRING_get_bit(usage, 6));
        ASN1_BIT_STRING_free(usage);
        if (is_too_much)
            return complain(
                STATUS_FAILED,
                "%s: the request asks to sign certificates or CRLs, which is for --profile ca only", csr);
    }
    return STATUS_OK;
}

static enum status check_names(const struct signing *signing)
{
    bool is_server = signing->wish.profile == PROFILE_SERVER || signing->wish.profile == PROFILE_PEER;
    bool asks = asks_for(signing, NID_subject_alt_name);
    const struct options *options = signing->options;

    if (options->names.count > 0)
        return copies(signing, NID_subject_alt_name) && asks
                   ? complain_usage(options->verb, "--name and --copy names exclude each other")
                   : STATUS_OK;
    if (asks && !copies(signing, NID_subject_alt_name))
        return complain(
            STATUS_FAILED,
            "%s: the request asks for names; --copy names grants them, --name NAME gives others instead",
            options->csr);
    if (is_server && !asks && signing->wish.names == NULL)
        return complain(STATUS_FAILED,
                        "%s: the request has no names, and a server needs some; --name NAME gives it one",
                        options->csr);
    if (!asks && signing->wish.names == NULL && X509_NAME_entry_count(signing->wish.subject) == 0)
        return complain(STATUS_FAILED, "%s: the request names nobody; --subject or --name does",
                        options->csr);
    return STATUS_OK;
}

static enum status check_asked(const struct signing *signing)
{
    const char *limit = authority_limits(&signing->authority, &signing->wish);

    if (limit != NULL)
        return complain(STATUS_FAILED, "%s: %s", signing->options->out, limit);
    if (signing->wish.profile == PROFILE_CA && X509_NAME_entry_count(signing->wish.subject) == 0)
        return complain(STATUS_FAILED, "%s: the request names nobody; --subject does", signing->options->csr);
    if (signing->wish.profile == PROFILE_CA &&
        (copies(signing, NID_key_usage) || copies(signing, NID_tlsfeature)))
        return complain_usage(
            signing->options->verb,
            "--copy: of a request for an authority, names and extended-key-usage can be copied");
    return check_names(signing);
}

static enum status prepare(struct signing *signing)
{
    const struct options *options = signing->options;
    enum status status = pem_load_request(options->csr, &signing->request);

    if (status == STATUS_OK)
        status = authority_load(options->ca, options->ca_key, &options->ca_passphrase, &signing->authority);
    if (status != STATUS_OK)
        return status;
    signing->key = X509_REQ_get0_pubkey(signing->request);
    if (options->subject == NULL) {
        X509_NAME_free(signing->wish.subject);
        signing->wish.subject = X509_NAME_dup(X509_REQ_get_subject_name(signing->request));
        if (signing->wish.subject == NULL)
            return complain_openssl("%s: cannot be read", options->csr);
    }
    if (!asks_for(signing, NID_subject_alt_name))
        wish_complete(&signing->wish);
    return check_asked(signing);
}

static enum status make(struct signing *signing)
{
    const struct options *options = signing->options;
    struct issue issue = {
        .label = options->out,
        .subject = signing->wish.subject,
        .key = signing->key,
        .issuer = signing->authority.certificate,
        .issuer_key = signing->authority.key,
        .digest = signing->wish.digest,
    };
    enum status status = extensions_make(&signing->wish, signing->key, issue.issuer, &signing->extensions);
    int names;

    if (status == STATUS_OK)
        status = take_asked(signing);
    if (status != STATUS_OK)
        return status;
    names = X509v3_get_ext_by_NID(signing->extensions, NID_subject_alt_name, -1);
    if (names >= 0 && X509_NAME_entry_count(issue.subject) == 0)
        X509_EXTENSION_set_critical(sk_X509_EXTENSION_value(signing->extensions, names), 1);
    if (validity_resolve(&signing->wish, &signing->authority.validity, time(NULL), &issue.validity) < 0) {
        char end[32];
        moment_text(signing->authority.validity.not_after, end);
        return complain(STATUS_FAILED, "%s: it would be valid outside of its issuer's time, which ends %s",
                        options->out, end);
    }
    issue.extensions = signing->extensions;
    return certificate_issue(&issue, &signing->certificate);
}

static enum status deliver(const struct signing *signing)
{
    const struct options *options = signing->options;
    struct delivery delivery = {0};
    struct validity validity;
    char end[32];
    int lock = -1;
    enum status status =
        delivery_add_certificate(&delivery, options->out, signing->certificate, options->is_forced);

    if (status == STATUS_OK && options->chain != NULL)
        status = delivery_add_chain(&delivery, options->chain, signing->certificate, signing->authority.chain,
                                    options->is_forced);
    if (status == STATUS_OK)
        status = folder_lock(signing->authority.database, &lock);
    if (status == STATUS_OK)
        status = authority_deliver(signing->authority.database, signing->certificate, &delivery);
    if (lock >= 0)
        close(lock);
    delivery_finish(&delivery);
    if (status != STATUS_OK)
        return status;
    (void)validity_of(signing->certificate, &validity);
    moment_text(validity.not_after, end);
    say("%s: certificate (%s), valid until %s", options->out, profile_word(signing->wish.profile), end);
    if (options->chain != NULL)
        say("%s: chain", options->chain);
    return STATUS_OK;
}

enum status verb_sign(const struct options *options)
{
    struct signing signing = {.options = options};
    enum status status = options_need(options, options->out, "out");

    if (status == STATUS_OK)
        status = options_need(options, options->csr, "csr");
    if (status == STATUS_OK)
        status = options_need(options, options->ca, "ca");
    if (status == STATUS_OK)
        status = parse_copy(options, &signing.copied);
    if (status == STATUS_OK)
        status = options_wish(options, PROFILE_SERVER, true, &signing.wish);
    if (status == STATUS_OK)
        status = check_free(options->out, options->is_forced);
    if (status == STATUS_OK)
        status = prepare(&signing);
    if (status == STATUS_OK)
        status = make(&signing);
    if (status == STATUS_OK)
        status = deliver(&signing);
    X509_free(signing.certificate);
    sk_X509_EXTENSION_pop_free(signing.extensions, X509_EXTENSION_free);
    X509_REQ_free(signing.request);
    authority_finish(&signing.authority);
    wish_finish(&signing.wish);
    return status == STATUS_FILE ? STATUS_FAILED : status;
}

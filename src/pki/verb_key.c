// SPDX-License-Identifier: Apache-2.0
// `pki key`, `pki csr` and `pki self-signed`: what is made of a key alone.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/pem.h>

#include "src/pki/delivery.h"
#include "src/pki/extension.h"
#include "src/pki/issue.h"
#include "src/pki/key.h"
#include "src/pki/options.h"

static void say_made(const char *path, const char *what, const EVP_PKEY *key)
{
    char kind[KEY_KIND_TEXT_MAX];

    key_text(key, kind);
    say("%s: %s, %s", path, what, kind);
}

enum status verb_key(const struct options *options)
{
    const char *type = options->type != NULL ? options->type : "ec:P-256";
    bool is_encrypted = options->passphrase.kind != PASSPHRASE_UNSAID;
    struct passphrase passphrase = {0};
    struct delivery delivery = {0};
    struct key_kind kind;
    char why[WHY_MAX];
    EVP_PKEY *key = NULL;
    enum status status = options_need(options, options->out, "out");

    if (status == STATUS_OK && key_kind_parse(type, &kind, why) < 0)
        status = complain_usage(options->verb, "--type %s: %s", type, why);
    if (status == STATUS_OK)
        status = check_free(options->out, options->is_forced);
    if (status == STATUS_OK && is_encrypted)
        status = passphrase_get(&options->passphrase, options->out, true, &passphrase);
    if (status == STATUS_OK)
        status = key_make(&kind, options->out, &key);
    if (status == STATUS_OK)
        status = delivery_add_key(&delivery, options->out, key, is_encrypted ? &passphrase : NULL,
                                  options->is_forced);
    if (status == STATUS_OK)
        status = delivery_publish(&delivery);
    if (status == STATUS_OK)
        say_made(options->out, is_encrypted ? "encrypted key" : "key", key);
    delivery_finish(&delivery);
    passphrase_finish(&passphrase);
    EVP_PKEY_free(key);
    return status == STATUS_FILE ? STATUS_FAILED : status;
}

static enum status save_request(const struct options *options, X509_REQ *request)
{
    struct delivery delivery = {0};
    BIO *bio = BIO_new(BIO_s_mem());
    enum status status;

    if (bio == NULL || PEM_write_bio_X509_REQ(bio, request) != 1)
        status = complain_openssl("%s: cannot be written", options->out);
    else
        status = delivery_add_bio(&delivery, options->out, bio, options->is_forced);
    if (status == STATUS_OK)
        status = delivery_publish(&delivery);
    delivery_finish(&delivery);
    BIO_free(bio);
    return status;
}

enum status verb_csr(const struct options *options)
{
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    X509_REQ *request = NULL;
    EVP_PKEY *key = NULL;
    struct wish wish = {0};
    enum status status = options_need(options, options->out, "out");

    if (status == STATUS_OK)
        status = options_need(options, options->key, "key");
    if (status == STATUS_OK)
        status = options_wish(options, PROFILE_UNSAID, false, &wish);
    if (status == STATUS_OK)
        status = check_free(options->out, options->is_forced);
    if (status == STATUS_OK)
        status = key_load(options->key, &options->passphrase, &key, NULL);
    if (status == STATUS_OK)
        status = extensions_make_request(&wish, key, &extensions);
    if (status == STATUS_OK)
        status = request_make(options->out, wish.subject, key, wish.digest, extensions, &request);
    if (status == STATUS_OK)
        status = save_request(options, request);
    if (status == STATUS_OK)
        say_made(options->out, "request", key);
    wish_finish(&wish);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return status == STATUS_FILE ? STATUS_FAILED : status;
}

static enum status issue_self(const struct options *options, const struct wish *wish, EVP_PKEY *key)
{
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    X509 *certificate = NULL;
    struct delivery delivery = {0};
    struct issue issue = {.label = options->out,
                          .subject = wish->subject,
                          .key = key,
                          .issuer_key = key,
                          .digest = wish->digest};
    enum status status;

    if (validity_resolve(wish, NULL, time(NULL), &issue.validity) < 0)
        return complain_usage(options->verb, "--not-before: it begins after its end");
    status = extensions_make(wish, key, NULL, &extensions);
    issue.extensions = extensions;
    if (status == STATUS_OK)
        status = certificate_issue(&issue, &certificate);
    if (status == STATUS_OK)
        status = delivery_add_certificate(&delivery, options->out, certificate, options->is_forced);
    if (status == STATUS_OK)
        status = delivery_publish(&delivery);
    delivery_finish(&delivery);
    if (status == STATUS_OK) {
        char end[32];
        moment_text(issue.validity.not_after, end);
        say("%s: certificate (%s), valid until %s", options->out, profile_word(wish->profile), end);
    }
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_free(certificate);
    return status;
}

enum status verb_self_signed(const struct options *options)
{
    EVP_PKEY *key = NULL;
    struct wish wish = {0};
    enum status status = options_need(options, options->out, "out");

    if (status == STATUS_OK)
        status = options_need(options, options->key, "key");
    if (status == STATUS_OK)
        status = options_wish(options, PROFILE_SERVER, false, &wish);
    if (status == STATUS_OK)
        status = check_free(options->out, options->is_forced);
    if (status == STATUS_OK)
        status = key_load(options->key, &options->passphrase, &key, NULL);
    if (status == STATUS_OK)
        status = issue_self(options, &wish, key);
    wish_finish(&wish);
    EVP_PKEY_free(key);
    return status == STATUS_FILE ? STATUS_FAILED : status;
}

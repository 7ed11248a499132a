// SPDX-License-Identifier: Apache-2.0
// `pki renew`: the same certificate once more, with new validity and serial number; with --new-key for a new key.
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>

#include "src/config/memory.h"
#include "src/pki/authority.h"
#include "src/pki/database.h"
#include "src/pki/extension.h"
#include "src/pki/key.h"
#include "src/pki/options.h"
#include "src/pki/pem.h"

struct renewal {
    const struct options *options;
    const char *path; // of the old certificate
    const char *out;  // of the new one
    char *key_path;   // of the new key
    struct wish wish; // validity and digest only
    X509 *old;
    struct authority authority; // nothing in it for a self-signed one
    EVP_PKEY *key;              // the new certificate's
    struct passphrase passphrase;
    X509 *certificate;
    char *chain_path; // NULL: no chain is written
    STACK_OF(X509) * authorities;
    STACK_OF(X509) * old_authorities; // owned
};

static bool is_by_itself(const struct renewal *renewal)
{
    return renewal->authority.certificate == NULL;
}

// --days or --not-after; or as long as the old one was valid, but no longer than the issuer is.
static enum status choose_validity(const struct renewal *renewal, struct validity *ret)
{
    const struct validity *issuer = is_by_itself(renewal) ? NULL : &renewal->authority.validity;
    struct wish wish = renewal->wish;
    struct validity old;
    struct validity validity;

    if (validity_of(renewal->old, &old) < 0)
        return complain(STATUS_FAILED, "%s: its validity is damaged", renewal->path);
    if (wish.days == 0 && wish.not_after == 0) {
        // Not said by anybody, so it is cut at the issuer's end.
        time_t begin = wish.not_before != 0 ? wish.not_before : time(NULL) - BACKDATE_SECONDS;
        wish.not_after = begin + (old.not_after - old.not_before);
        if (issuer != NULL && wish.not_after > issuer->not_after)
            wish.not_after = issuer->not_after;
    }
    if (validity_resolve(&wish, issuer, time(NULL), &validity) < 0)
        return complain(STATUS_FAILED, "%s: it would end before it begins, or after its issuer",
                        renewal->out);
    *ret = validity;
    return STATUS_OK;
}

static enum status get_new_key(struct renewal *renewal)
{
    const struct options *options = renewal->options;
    struct key_kind kind;
    char text[KEY_KIND_TEXT_MAX];
    char why[WHY_MAX];
    enum status status = STATUS_OK;

    key_text(X509_get0_pubkey(renewal->old), text);
    if (options->type == NULL && key_kind_parse(text, &kind, why) < 0)
        return complain(STATUS_FAILED,
                        "%s: no new key of the old one's kind (%s) can be made; --type says another",
                        renewal->path, text);
    if (options->type != NULL && key_kind_parse(options->type, &kind, why) < 0)
        return complain_usage(options->verb, "--type %s: %s", options->type, why);
    renewal->key_path = options->key != NULL ? memory_copy(options->key) : path_beside(renewal->out, ".key");
    status = check_free(renewal->key_path, options->is_forced);
    if (status == STATUS_OK && options->out_passphrase.kind != PASSPHRASE_UNSAID)
        status = passphrase_get(&options->out_passphrase, renewal->key_path, true, &renewal->passphrase);
    if (status == STATUS_OK)
        status = key_make(&kind, renewal->key_path, &renewal->key);
    return status;
}

// A self-signed certificate is signed by its own key, so the old private key is needed even for the old public one.
static enum status get_own_key(struct renewal *renewal)
{
    const struct options *options = renewal->options;
    char *path = options->key != NULL ? memory_copy(options->key) : path_beside(renewal->path, ".key");
    enum status status = key_load(path, &options->passphrase, &renewal->key, NULL);

    if (status == STATUS_OK && X509_check_private_key(renewal->old, renewal->key) != 1) {
        ERR_clear_error();
        status = complain(STATUS_FAILED, "%s: is not the key of %s", path, renewal->path);
    }
    free(path);
    return status;
}

static enum status get_key(struct renewal *renewal)
{
    if (renewal->options->new_key)
        return get_new_key(renewal);
    if (is_by_itself(renewal))
        return get_own_key(renewal);
    renewal->key = X509_get_pubkey(renewal->old);
    return renewal->key != NULL ? STATUS_OK : complain_openssl("%s: its key is of no use", renewal->path);
}

static enum status load(struct renewal *renewal)
{
    const struct options *options = renewal->options;
    enum status status = pem_load_certificate(renewal->path, &renewal->old);

    if (status != STATUS_OK)
        return status;
    if (is_self_signed(renewal->old) != (options->ca == NULL))
        return options->ca == NULL
                   ? complain_usage(options->verb, "--ca is needed: %s was issued by another", renewal->path)
                   : complain_usage(options->verb, "--ca is not wanted: %s is self-signed", renewal->path);
    if (options->ca == NULL)
        return STATUS_OK;
    status = authority_load(options->ca, options->ca_key, &options->ca_passphrase, &renewal->authority);
    if (status == STATUS_OK && X509_NAME_cmp(X509_get_issuer_name(renewal->old),
                                             X509_get_subject_name(renewal->authority.certificate)) != 0)
        status = complain(STATUS_FAILED, "%s: was issued by another than %s; sign a request to change that",
                          renewal->path, options->ca);
    return status;
}

static enum status issue(struct renewal *renewal)
{
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    struct issue what = {
        .label = renewal->out,
        .subject = X509_get_subject_name(renewal->old),
        .key = renewal->key,
        .issuer = renewal->authority.certificate,
        .issuer_key = is_by_itself(renewal) ? renewal->key : renewal->authority.key,
        .digest = renewal->wish.digest,
    };
    enum status status = choose_validity(renewal, &what.validity);

    if (status == STATUS_OK)
        status = extensions_copy(renewal->old, renewal->key, what.issuer, &extensions);
    what.extensions = extensions;
    if (status == STATUS_OK)
        status = certificate_issue(&what, &renewal->certificate);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return status;
}

// --chain; or the chain beside a certificate that is being replaced, which would otherwise go on holding the old one. That
// one keeps the authorities that it has: it may hold more of them than the file of --ca.
static enum status choose_chain(struct renewal *renewal)
{
    const struct options *options = renewal->options;
    STACK_OF(X509) * certificates;
    char *beside;

    renewal->authorities = renewal->authority.chain;
    if (options->chain != NULL) {
        renewal->chain_path = memory_copy(options->chain);
        return STATUS_OK;
    }
    beside = path_beside(renewal->out, "-chain.pem");
    if (!options->is_forced || is_by_itself(renewal) || strcmp(beside, renewal->out) == 0 ||
        access(beside, F_OK) < 0) {
        free(beside);
        return STATUS_OK;
    }
    renewal->chain_path = beside;
    if (pem_load_certificates(beside, &certificates) != STATUS_OK)
        return STATUS_FAILED;
    X509_free(sk_X509_shift(certificates));
    renewal->authorities = renewal->old_authorities = certificates;
    return STATUS_OK;
}

// Key first, then certificate: a program that watches both sees a pair that does not match for as short as can be.
static enum status prepare_files(const struct renewal *renewal, struct delivery *delivery)
{
    bool is_forced = renewal->options->is_forced;
    enum status status = STATUS_OK;

    if (renewal->options->new_key)
        status = delivery_add_key(delivery, renewal->key_path, renewal->key,
                                  renewal->passphrase.text != NULL ? &renewal->passphrase : NULL, is_forced);
    if (status == STATUS_OK)
        status = delivery_add_certificate(delivery, renewal->out, renewal->certificate, is_forced);
    if (status == STATUS_OK && renewal->chain_path != NULL)
        status = delivery_add_chain(delivery, renewal->chain_path, renewal->certificate, renewal->authorities,
                                    is_forced);
    return status;
}

static void say_delivered(const struct renewal *renewal)
{
    struct validity validity;
    char end[32];

    (void)validity_of(renewal->certificate, &validity);
    moment_text(validity.not_after, end);
    if (renewal->options->new_key)
        say("%s: %skey", renewal->key_path, renewal->passphrase.text != NULL ? "encrypted " : "");
    say("%s: certificate, valid until %s", renewal->out, end);
    if (renewal->chain_path != NULL)
        say("%s: chain", renewal->chain_path);
}

static enum status deliver(const struct renewal *renewal)
{
    struct delivery delivery = {0};
    int lock = -1;
    enum status status = prepare_files(renewal, &delivery);

    if (status == STATUS_OK && is_by_itself(renewal))
        status = delivery_publish(&delivery);
    else if (status == STATUS_OK)
        status = folder_lock(renewal->authority.database, &lock);
    if (lock >= 0) {
        status = authority_deliver(renewal->authority.database, renewal->certificate, &delivery);
        close(lock);
    }
    if (status == STATUS_OK)
        say_delivered(renewal);
    delivery_finish(&delivery);
    return status;
}

static enum status check_usage(const struct options *options)
{
    if (options->out == NULL && !options->is_forced)
        return complain_usage(options->verb,
                              "--out FILE for the new certificate, or --force to replace the old one");
    if (options->type != NULL && !options->new_key)
        return complain_usage(options->verb, "--type goes with --new-key");
    if (options->out_passphrase.kind != PASSPHRASE_UNSAID && !options->new_key)
        return complain_usage(options->verb, "--out-passphrase goes with --new-key");
    return STATUS_OK;
}

enum status verb_renew(const struct options *options)
{
    struct renewal renewal = {.options = options, .path = options->operands.items[0]};
    enum status status = check_usage(options);

    renewal.out = options->out != NULL ? options->out : renewal.path;
    if (status == STATUS_OK)
        status = options_wish(options, PROFILE_UNSAID, true, &renewal.wish);
    if (status == STATUS_OK)
        status = check_free(renewal.out, options->is_forced);
    if (status == STATUS_OK && options->chain != NULL)
        status = check_free(options->chain, options->is_forced);
    if (status == STATUS_OK)
        status = load(&renewal);
    if (status == STATUS_OK)
        status = get_key(&renewal);
    if (status == STATUS_OK)
        status = issue(&renewal);
    if (status == STATUS_OK)
        status = choose_chain(&renewal);
    if (status == STATUS_OK)
        status = deliver(&renewal);
    free(renewal.key_path);
    free(renewal.chain_path);
    sk_X509_pop_free(renewal.old_authorities, X509_free);
    passphrase_finish(&renewal.passphrase);
    authority_finish(&renewal.authority);
    EVP_PKEY_free(renewal.key);
    X509_free(renewal.certificate);
    X509_free(renewal.old);
    wish_finish(&renewal.wish);
    return status == STATUS_FILE ? STATUS_FAILED : status;
}

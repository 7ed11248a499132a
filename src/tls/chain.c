// SPDX-License-Identifier: Apache-2.0
// Chains of certificates.
#include "src/tls/chain.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "src/tls/names.h"
#include "src/tls/pem.h"
#include "src/tls/pkcs12.h"

#define LENGTH_MAX      10  // clients take no longer ones (OpenSSL: 100, browsers: 8 to 10)
#define DIGEST_BITS_MIN 100 // SHA-1 is good for 63, SHA-224 for 112
#define KEY_BITS_MIN    112 // of security: RSA of 2048 bits, curves of 224

// ---- from a file ----

static int explain_bytes(const struct named_file *file, const struct content *content)
{
    const unsigned char *next = content->bytes;
    X509 *certificate = d2i_X509(NULL, &next, (long)content->size);

    if (certificate != NULL)
        file_complain(
            file, "%s %s is DER, not PEM; convert it with `openssl x509 -inform der -in %s -out FILE.pem`",
            file->what, file->path, file->path);
    else if (pkcs12_is(content->bytes, content->size))
        file_complain(file, "%s is PKCS#12; name it as `pkcs12: FILE`, in place of chain and key",
                      file->path);
    else
        file_complain(file, "%s is not a %s: it has no line -----BEGIN CERTIFICATE-----; %s", file->path,
                      file->what, file->cure);
    X509_free(certificate);
    ERR_clear_error();
    return -EINVAL;
}

static int block_take(const struct pem_block *block, struct pool *pool, STACK_OF(X509) * certificates)
{
    X509 *certificate = pool_parse(pool, block->bytes, (size_t)block->size);

    if (certificate == NULL)
        return -EBADMSG;
    if (sk_X509_push(certificates, certificate) == 0)
        abort();
    return 0;
}

int chain_parse(const struct named_file *file, const struct content *content, struct pool *pool,
                STACK_OF(X509) * certificates)
{
    bool has_key = false;
    struct pem_block block;
    struct pem pem;
    int result;

    pem_open(&pem, content->bytes, content->size);
    while ((result = pem_next(&pem, &block)) > 0) {
        has_key = has_key || pem_is_key(&block);
        if (block.kind == PEM_CERTIFICATE)
            result = block_take(&block, pool, certificates);
        pem_block_finish(&block);
        if (result < 0)
            break;
    }
    pem_close(&pem);
    if (result < 0) {
        file_complain(file, "certificate %d in %s is %s; copy the file again, as PEM",
                      sk_X509_num(certificates) + 1, file->path,
                      pem_is_cut_off(content->bytes, content->size) ? "cut off in the middle" : "damaged");
        return -EINVAL;
    }
    if (sk_X509_num(certificates) > 0)
        return 0;
    if (!has_key)
        return explain_bytes(file, content);
    file_complain(file, "%s holds a private key and no certificate; %s", file->path,
                  file->key_cure != NULL ? file->key_cure : file->cure);
    return -EINVAL;
}

// ---- in order ----

// Another certificate of the same authority or server: cross-signed, renewed.
static bool is_another(const X509 *one, const X509 *other)
{
    return X509_NAME_cmp(X509_get_subject_name(one), X509_get_subject_name(other)) == 0 &&
           X509_get0_pubkey(one) != NULL && X509_get0_pubkey(other) != NULL &&
           EVP_PKEY_eq(X509_get0_pubkey(one), X509_get0_pubkey(other)) == 1;
}

static bool is_part(const struct chain *chain, X509 *leaf, const X509 *certificate)
{
    if (is_another(leaf, certificate) || (chain->issuer != NULL && is_another(chain->issuer, certificate)))
        return true;
    for (int i = 0; i < sk_X509_num(chain->intermediates); i++) {
        if (is_another(sk_X509_value(chain->intermediates, i), certificate))
            return true;
    }
    return false;
}

// Of the file.
static X509 *find_issuer(const STACK_OF(X509) * certificates, const struct chain *chain, X509 *leaf,
                         X509 *issued)
{
    for (int i = 0; i < sk_X509_num(certificates); i++) {
        X509 *certificate = sk_X509_value(certificates, i);

        if (X509_check_issued(certificate, issued) == X509_V_OK && !is_part(chain, leaf, certificate) &&
            pool_is_issued_by(issued, certificate))
            return certificate;
    }
    ERR_clear_error();
    return NULL;
}

// Goes one step up. False when that was a root, which is not sent.
static bool climb(struct chain *chain, X509 **current, X509 *issuer)
{
    if (chain->issuer == NULL) {
        X509_up_ref(issuer);
        chain->issuer = issuer;
    }
    *current = issuer;
    if (pool_is_root(issuer))
        return false;
    X509_up_ref(issuer);
    if (sk_X509_push(chain->intermediates, issuer) == 0)
        abort();
    return sk_X509_num(chain->intermediates) < LENGTH_MAX;
}

// What the file lacks. An authority that the system trusts ends the chain, although the pool may hold it signed by another.
static void complete(const struct named_file *file, struct chain *chain, X509 *leaf, X509 *current,
                     struct pool *pool)
{
    char *name;
    X509 *issuer;
    X509 *trusted = NULL;

    while ((issuer = pool_issuer(pool, current)) != NULL && !is_part(chain, leaf, issuer)) {
        trusted = pool_is_root(issuer) ? NULL : pool_trusted_issuer(pool, current);
        if (trusted != NULL || !climb(chain, &current, issuer))
            break;
    }
    if (chain->issuer == NULL && trusted == NULL)
        trusted = pool_trusted_issuer(pool, leaf);
    if (chain->issuer == NULL && trusted != NULL)
        climb(chain, &current, trusted);
    X509_free(trusted);
    if (chain->issuer != NULL)
        return;
    name = names_print(X509_get_issuer_name(leaf));
    file_warn(file,
              "%s lacks the certificate of the authority that issued the server's (%s), so clients may not "
              "trust it; append it "
              "to the file",
              file->path, name);
    free(name);
}

static void warn_left_over(const struct named_file *file, const STACK_OF(X509) * certificates, X509 *leaf,
                           const struct chain *chain)
{
    for (int i = 0; i < sk_X509_num(certificates); i++) {
        X509 *certificate = sk_X509_value(certificates, i);
        char *name;

        if (certificate == leaf || is_part(chain, leaf, certificate) || pool_is_root(certificate))
            continue;
        name = names_print(X509_get_subject_name(certificate));
        file_warn(file,
                  "certificate %d in %s (%s) has no part in the server's chain and is not sent; remove it",
                  i + 1, file->path, name);
        free(name);
    }
    ERR_clear_error();
}

void chain_build(const struct named_file *file, const STACK_OF(X509) * certificates, X509 *leaf,
                 struct pool *pool, struct chain *ret)
{
    struct chain chain = {.intermediates = sk_X509_new_null()};
    X509 *current = leaf;
    X509 *issuer = NULL;
    bool goes_on = !pool_is_root(leaf);

    if (chain.intermediates == NULL)
        abort();
    while (goes_on && (issuer = find_issuer(certificates, &chain, leaf, current)) != NULL)
        goes_on = climb(&chain, &current, issuer);
    for (int i = 0; i < sk_X509_num(certificates); i++) {
        if (sk_X509_value(certificates, i) != leaf)
            pool_add(pool, sk_X509_value(certificates, i));
    }
    if (goes_on)
        complete(file, &chain, leaf, current, pool);
    warn_left_over(file, certificates, leaf, &chain);
    *ret = chain;
}

void chain_finish(struct chain *chain)
{
    sk_X509_pop_free(chain->intermediates, X509_free);
    X509_free(chain->issuer);
    *chain = (struct chain){0};
}

// ---- as clients see it ----

static int check_strength(const struct named_file *file, X509 *certificate)
{
    const EVP_PKEY *key = X509_get0_pubkey(certificate);
    int digest = NID_undef;
    int bits = 0;
    char *name;

    if (X509_get_signature_info(certificate, &digest, NULL, &bits, NULL) != 1)
        bits = DIGEST_BITS_MIN; // Ed25519 has no digest of its own
    if (bits >= DIGEST_BITS_MIN && key != NULL && EVP_PKEY_get_security_bits(key) >= KEY_BITS_MIN)
        return 0;
    name = names_print(X509_get_subject_name(certificate));
    if (bits < DIGEST_BITS_MIN)
        file_complain(
            file,
            "certificate %s in %s is signed with %s, which clients refuse; ask for one signed with SHA-256",
            name, file->path, OBJ_nid2sn(digest));
    else
        file_complain(file,
                      "certificate %s in %s has %s, which clients refuse; ask for one with RSA of 2048 bits "
                      "or more, or ECDSA",
                      name, file->path,
                      key != NULL ? "a key that is too small" : "a key of a kind that OpenSSL does not know");
    free(name);
    return -EINVAL;
}

int chain_check(const struct named_file *file, X509 *leaf, const struct chain *chain)
{
    int result = 0;

    // Nobody looks at the signature of a root on itself; the leaf's key is looked at elsewhere, with more words.
    if (!pool_is_root(leaf) && EVP_PKEY_get_security_bits(X509_get0_pubkey(leaf)) >= KEY_BITS_MIN)
        result = check_strength(file, leaf);
    for (int i = 0; i < sk_X509_num(chain->intermediates); i++) {
        X509 *certificate = sk_X509_value(chain->intermediates, i);
        char *name;

        if (check_strength(file, certificate) < 0)
            result = -EINVAL;
        if (X509_cmp_current_time(X509_get0_notAfter(certificate)) >= 0)
            continue;
        // Some chains carry an expired cross-signed certificate on purpose, for old clients.
        name = names_print(X509_get_subject_name(certificate));
        file_warn(file,
                  "the intermediate certificate %s in %s has expired; get the chain anew from the authority",
                  name, file->path);
        free(name);
    }
    ERR_clear_error();
    return result;
}

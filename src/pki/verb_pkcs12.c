// SPDX-License-Identifier: Apache-2.0
// `pki pkcs12`: key, certificate and chain in one encrypted file (RFC 7292), for programs that want it so.
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pkcs12.h>

#include "src/pki/delivery.h"
#include "src/pki/key.h"
#include "src/pki/options.h"
#include "src/pki/pem.h"

#define ROUNDS 100000

// How a file is protected. Old importers know triple DES and SHA-1 only; OpenSSL's default provider has both.
struct protection {
    int key_cipher;
    int certificate_cipher;
    int rounds;
    const EVP_MD *mac;
};

struct content {
    EVP_PKEY *key;
    STACK_OF(X509) * certificates; // the key's own first
};

static enum status load_content(const struct options *options, struct content *content)
{
    STACK_OF(X509) *more = NULL;
    enum status status = pem_load_certificates(options->cert, &content->certificates);

    if (status == STATUS_OK && options->chain != NULL)
        status = pem_load_certificates(options->chain, &more);
    // A chain file begins with the certificate itself; what is there already is not taken twice.
    for (int i = 0; status == STATUS_OK && i < sk_X509_num(more); i++) {
        if (X509_add_cert(content->certificates, sk_X509_value(more, i),
                          X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP) != 1)
            status = complain_openssl("%s: cannot be read", options->chain);
    }
    sk_X509_pop_free(more, X509_free);
    if (status == STATUS_OK)
        status = key_load(options->key, &options->passphrase, &content->key, NULL);
    if (status == STATUS_OK &&
        X509_check_private_key(sk_X509_value(content->certificates, 0), content->key) != 1) {
        ERR_clear_error();
        status = complain(STATUS_FAILED, "%s: is not the key of the first certificate in %s", options->key,
                          options->cert);
    }
    return status;
}

static PKCS12 *pack(const struct options *options, const struct content *content, const char *passphrase,
                    const struct protection *protection)
{
    X509 *certificate = sk_X509_shift(content->certificates);
    const char *name = options->friendly_name;
    // No MAC yet (-1): PKCS12_create() would make it with its own idea of a digest.
    PKCS12 *file =
        PKCS12_create(passphrase, name, content->key, certificate, content->certificates,
                      protection->key_cipher, protection->certificate_cipher, protection->rounds, -1, 0);

    X509_free(certificate);
    if (file != NULL &&
        PKCS12_set_mac(file, passphrase, -1, NULL, 0, protection->rounds, protection->mac) != 1) {
        PKCS12_free(file);
        file = NULL;
    }
    return file;
}

static enum status write_file(const struct options *options, PKCS12 *file)
{
    unsigned char *data = NULL;
    int size = i2d_PKCS12(file, &data);
    struct delivery delivery = {0};
    enum status status;

    if (size <= 0)
        return complain_openssl("%s: cannot be written", options->out);
    status = delivery_add(&delivery, options->out, data, (size_t)size, 0600, options->is_forced);
    if (status == STATUS_OK)
        status = delivery_publish(&delivery);
    delivery_finish(&delivery);
    OPENSSL_clear_free(data, (size_t)size);
    return status;
}

static enum status make(const struct options *options, const struct content *content)
{
    const struct protection modern = {NID_aes_256_cbc, NID_aes_256_cbc, ROUNDS, EVP_sha256()};
    const struct protection legacy = {NID_pbe_WithSHA1And3_Key_TripleDES_CBC,
                                      NID_pbe_WithSHA1And3_Key_TripleDES_CBC, ROUNDS, EVP_sha1()};
    struct passphrase passphrase = {0};
    PKCS12 *file = NULL;
    enum status status = passphrase_get(&options->out_passphrase, options->out, true, &passphrase);

    if (status == STATUS_OK) {
        file = pack(options, content, passphrase.text, options->legacy ? &legacy : &modern);
        if (file == NULL)
            status = complain_openssl("%s: the PKCS#12 file cannot be made", options->out);
    }
    if (status == STATUS_OK)
        status = write_file(options, file);
    if (status == STATUS_OK)
        say("%s: PKCS#12, key and %d certificate%s, %s", options->out, sk_X509_num(content->certificates) + 1,
            sk_X509_num(content->certificates) > 0 ? "s" : "", options->legacy ? "triple DES" : "AES-256");
    PKCS12_free(file);
    passphrase_finish(&passphrase);
    return status;
}

enum status verb_pkcs12(const struct options *options)
{
    struct content content = {0};
    enum status status = options_need(options, options->out, "out");

    if (status == STATUS_OK)
        status = options_need(options, options->cert, "cert");
    if (status == STATUS_OK)
        status = options_need(options, options->key, "key");
    if (status == STATUS_OK)
        status = check_free(options->out, options->is_forced);
    if (status == STATUS_OK)
        status = load_content(options, &content);
    if (status == STATUS_OK)
        status = make(options, &content);
    EVP_PKEY_free(content.key);
    sk_X509_pop_free(content.certificates, X509_free);
    return status == STATUS_FILE ? STATUS_FAILED : status;
}

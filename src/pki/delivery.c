// SPDX-License-Identifier: Apache-2.0
// Writing: everything that this room writes goes through here.
#include "src/pki/delivery.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "ringbolt/file.h"
#include "src/pki/pem.h"

// What it costs to try one passphrase. OpenSSL's own 2048 is too few by today's measure; this many take a CPU some
// hundredths of a second.
#define ROUNDS 100000

static enum status explain(const char *path, int error)
{
    switch (error) {
    case -EEXIST:
        return complain(STATUS_FAILED, "%s: is there already; another name, or --force to replace it", path);
    case -ELOOP:
        return complain(STATUS_FAILED, "%s: is a symbolic link, which is never replaced; remove it", path);
    case -EISDIR:
        return complain(STATUS_FAILED, "%s: is a folder; a file's name is needed", path);
    case -EINVAL:
        return complain(STATUS_FAILED, "%s: is no regular file, and only those are replaced", path);
    default:
        return complain(STATUS_FAILED, "%s: cannot be written: %s", path, strerror(-error));
    }
}

static enum file_write how(bool is_forced)
{
    return is_forced ? FILE_REPLACE : FILE_NEW;
}

enum status delivery_add(struct delivery *delivery, const char *path, const void *data, size_t size,
                         unsigned mode, bool is_forced)
{
    struct file_draft *draft;
    int error = file_prepare(path, data, size, mode, how(is_forced), &draft);

    assert(delivery->count < DELIVERY_MAX);
    if (error < 0)
        return explain(path, error);
    delivery->files[delivery->count].path = path;
    delivery->files[delivery->count].draft = draft;
    delivery->files[delivery->count++].is_forced = is_forced;
    return STATUS_OK;
}

static enum status add_bio(struct delivery *delivery, const char *path, BIO *content, unsigned mode,
                           bool is_forced)
{
    char *data = NULL;
    long size = content != NULL ? BIO_get_mem_data(content, &data) : 0;

    if (size <= 0 || data == NULL)
        return complain_openssl("%s: cannot be written", path);
    return delivery_add(delivery, path, data, (size_t)size, mode, is_forced);
}

enum status delivery_add_bio(struct delivery *delivery, const char *path, BIO *content, bool is_forced)
{
    return add_bio(delivery, path, content, 0644, is_forced);
}

// ---- keys ----

// PKCS #8 encrypted by PBES2: PBKDF2 with HMAC-SHA-256, AES-256-CBC.
static bool write_encrypted(BIO *bio, PKCS8_PRIV_KEY_INFO *info, const struct passphrase *passphrase)
{
    X509_ALGOR *algorithm = PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), ROUNDS, NULL, 0, NULL, NID_hmacWithSHA256);
    X509_SIG *encrypted = NULL;
    bool is_good;

    if (algorithm != NULL)
        encrypted = PKCS8_set0_pbe(passphrase->text, (int)passphrase->length, info, algorithm);
    if (encrypted == NULL)
        X509_ALGOR_free(algorithm); // else it is part of `encrypted`
    is_good = encrypted != NULL && PEM_write_bio_PKCS8(bio, encrypted) == 1;
    X509_SIG_free(encrypted);
    return is_good;
}

enum status delivery_add_key(struct delivery *delivery, const char *path, const EVP_PKEY *key,
                             const struct passphrase *passphrase, bool is_forced)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    BIO *bio = BIO_new(BIO_s_secmem()); // wiped when it goes
    enum status status;
    bool is_good = info != NULL && bio != NULL;

    if (is_good && passphrase != NULL)
        is_good = write_encrypted(bio, info, passphrase);
    else if (is_good)
        is_good = PEM_write_bio_PKCS8_PRIV_KEY_INFO(bio, info) == 1;
    status = is_good ? add_bio(delivery, path, bio, 0600, is_forced)
                     : complain_openssl("%s: cannot be written", path);
    PKCS8_PRIV_KEY_INFO_free(info);
    BIO_free(bio);
    return status;
}

// ---- certificates ----

enum status delivery_add_chain(struct delivery *delivery, const char *path, X509 *certificate,
                               STACK_OF(X509) * authorities, bool is_forced)
{
    BIO *bio = BIO_new(BIO_s_mem());
    enum status status;
    bool is_good = bio != NULL && PEM_write_bio_X509(bio, certificate) == 1;

    for (int i = 0; is_good && i < sk_X509_num(authorities); i++) {
        X509 *authority = sk_X509_value(authorities, i);
        if (!is_self_signed(authority))
            is_good = PEM_write_bio_X509(bio, authority) == 1;
    }
    status = is_good ? delivery_add_bio(delivery, path, bio, is_forced)
                     : complain_openssl("%s: cannot be written", path);
    BIO_free(bio);
    return status;
}

enum status delivery_add_certificate(struct delivery *delivery, const char *path, X509 *certificate,
                                     bool is_forced)
{
    return delivery_add_chain(delivery, path, certificate, NULL, is_forced);
}

// ---- the end ----

enum status delivery_publish(struct delivery *delivery)
{
    for (size_t i = 0; i < delivery->count; i++) {
        struct file_draft *draft = delivery->files[i].draft;
        int error;
        delivery->files[i].draft = NULL;
        error = file_publish(draft, how(delivery->files[i].is_forced));
        if (error < 0)
            return explain(delivery->files[i].path, error);
    }
    return STATUS_OK;
}

void delivery_finish(struct delivery *delivery)
{
    for (size_t i = 0; i < delivery->count; i++)
        file_discard(delivery->files[i].draft);
    *delivery = (struct delivery){0};
}

enum status check_free(const char *path, bool is_forced)
{
    struct stat status;

    if (!is_forced && lstat(path, &status) == 0)
        return explain(path, -EEXIST);
    return STATUS_OK;
}

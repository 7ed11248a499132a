// SPDX-License-Identifier: Apache-2.0
// Reads certificate chains and private keys from PEM files (RFC 7468), and says what a file is when it isn't that. What
// was read lies in memory of its own that is wiped: it may hold a private key.
#include "src/tls/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "ringbolt/log.h"
#include "ringbolt/secret.h"

#define FILE_SIZE_MAX ((size_t)1 << 20)
#define ASN1_SEQUENCE 0x30
#define ASN1_LONG     0x80

// What a file should be, in words.
struct expectation {
    const char *what;
    const char *cure;
    const char *command; // of openssl, that converts it
};

static const struct expectation a_chain = {
    .what = "certificate chain",
    .cure = "give a PEM file with the certificate first",
    .command = "x509",
};
static const struct expectation a_key = {
    .what = "private key",
    .cure = "give a PEM file with the certificate's private key",
    .command = "pkey",
};

struct content {
    char *bytes;
    size_t size;
    size_t capacity; // of bytes
    mode_t mode;
};

enum block_kind { BLOCK_OTHER, BLOCK_CERTIFICATE, BLOCK_KEY, BLOCK_KEY_ENCRYPTED };

// One block of a PEM file, decoded.
struct block {
    enum block_kind kind;
    unsigned char *bytes;
    long size;
};

#define complain(pem, ...) report_add((pem)->report, (pem)->where, __VA_ARGS__)

// ---- files ----

static void content_finish(struct content *content)
{
    secret_free(content->bytes, content->capacity);
}

// 0 or -errno.
static int content_fill(struct content *content, int fd)
{
    ssize_t count;

    do {
        count = read(fd, content->bytes + content->size, content->capacity - content->size);
        if (count > 0)
            content->size += (size_t)count;
    } while ((count > 0 && content->size < content->capacity) || (count < 0 && errno == EINTR));
    return count < 0 ? -errno : 0;
}

static int content_read_fd(struct content *content, int fd, const struct pem_file *pem,
                           const struct expectation *expected)
{
    struct stat facts;
    int result;

    if (fstat(fd, &facts) < 0 || !S_ISREG(facts.st_mode)) {
        complain(pem, "%s %s is not a regular file; %s", expected->what, pem->path, expected->cure);
        return -EINVAL;
    }
    if (facts.st_size == 0 || (size_t)facts.st_size > FILE_SIZE_MAX) {
        complain(pem, "%s %s is %s; %s", expected->what, pem->path,
                 facts.st_size == 0 ? "empty" : "larger than 1 MiB", expected->cure);
        return -EINVAL;
    }
    content->mode = facts.st_mode;
    content->capacity = (size_t)facts.st_size;
    content->bytes = secret_alloc(content->capacity);
    if (content->bytes == NULL)
        abort(); // nothing runs yet
    result = content_fill(content, fd);
    if (result < 0) {
        complain(pem, "cannot read %s %s: %s; %s", expected->what, pem->path, log_error_text(result),
                 expected->cure);
        return -EINVAL;
    }
    return 0;
}

// What is plainly not PEM: one ASN.1 SEQUENCE, whose length fits if it is a short one.
static int content_check_form(const struct content *content, const struct pem_file *pem,
                              const struct expectation *expected)
{
    const unsigned char *bytes = (const unsigned char *)content->bytes;

    if (content->size < 2 || bytes[0] != ASN1_SEQUENCE ||
        ((bytes[1] & ASN1_LONG) == 0 && bytes[1] != content->size - 2))
        return 0;
    complain(pem, "%s %s is DER, not PEM; convert it with `openssl %s -inform der -in %s -out FILE.pem`",
             expected->what, pem->path, expected->command, pem->path);
    return -EINVAL;
}

// content_finish() it in any case.
static int content_read(struct content *content, const struct pem_file *pem,
                        const struct expectation *expected)
{
    // O_NONBLOCK: a FIFO without a writer would otherwise wait for one.
    int fd = open(pem->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int result;

    if (fd < 0) {
        complain(pem, "cannot read %s %s: %s; %s", expected->what, pem->path, log_error_text(errno),
                 expected->cure);
        return -EINVAL;
    }
    result = content_read_fd(content, fd, pem, expected);
    close(fd);
    return result < 0 ? result : content_check_form(content, pem, expected);
}

static BIO *content_open(const struct content *content)
{
    BIO *bio = BIO_new_mem_buf(content->bytes, (int)content->size);

    if (bio == NULL)
        abort();
    return bio;
}

// ---- blocks ----

static enum block_kind block_kind_of(const char *name, const char *header)
{
    if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0)
        return BLOCK_CERTIFICATE;
    if (strcmp(name, PEM_STRING_PKCS8) == 0)
        return BLOCK_KEY_ENCRYPTED;
    if (strcmp(name, PEM_STRING_PKCS8INF) == 0 || strcmp(name, PEM_STRING_RSA) == 0 ||
        strcmp(name, PEM_STRING_ECPRIVATEKEY) == 0)
        return strstr(header, "ENCRYPTED") != NULL ? BLOCK_KEY_ENCRYPTED : BLOCK_KEY;
    return BLOCK_OTHER;
}

// 1: a block, block_finish() it. 0: no more. -EINVAL: broken.
static int block_next(BIO *bio, struct block *block)
{
    char *name = NULL;
    char *header = NULL;
    unsigned long error;

    ERR_clear_error();
    if (PEM_read_bio(bio, &name, &header, &block->bytes, &block->size) == 1) {
        block->kind = block_kind_of(name, header);
        OPENSSL_free(name);
        OPENSSL_free(header);
        return 1;
    }
    error = ERR_peek_error();
    ERR_clear_error();
    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE ? 0 : -EINVAL;
}

static void block_finish(struct block *block)
{
    OPENSSL_clear_free(block->bytes, (size_t)block->size);
}

// ---- chains ----

static bool chain_add(STACK_OF(X509) * chain, const struct block *block)
{
    const unsigned char *next = block->bytes;
    X509 *certificate = d2i_X509(NULL, &next, block->size);

    if (certificate == NULL)
        return false;
    if (sk_X509_push(chain, certificate) == 0)
        abort();
    return true;
}

static int chain_parse(BIO *bio, STACK_OF(X509) * chain, const struct pem_file *pem)
{
    bool has_key = false;
    struct block block;
    int result;

    while ((result = block_next(bio, &block)) > 0) {
        has_key = has_key || block.kind == BLOCK_KEY || block.kind == BLOCK_KEY_ENCRYPTED;
        if (block.kind == BLOCK_CERTIFICATE && !chain_add(chain, &block))
            result = -EINVAL;
        block_finish(&block);
        if (result < 0)
            break;
    }
    ERR_clear_error();
    if (result < 0)
        complain(pem, "certificate %d in %s is damaged; copy the file again, as PEM", sk_X509_num(chain) + 1,
                 pem->path);
    else if (sk_X509_num(chain) == 0 && has_key)
        complain(pem, "%s holds a private key and no certificate; chain and key look exchanged", pem->path);
    else if (sk_X509_num(chain) == 0)
        complain(pem, "%s is not a certificate chain: it has no line -----BEGIN CERTIFICATE-----; %s",
                 pem->path, a_chain.cure);
    else
        return 0;
    return -EINVAL;
}

int pem_read_chain(const struct pem_file *pem, STACK_OF(X509) * *ret)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct content content = {0};
    BIO *bio;
    int result;

    if (chain == NULL)
        abort();
    result = content_read(&content, pem, &a_chain);
    if (result == 0) {
        bio = content_open(&content);
        result = chain_parse(bio, chain, pem);
        BIO_free(bio);
    }
    content_finish(&content);
    if (result < 0)
        sk_X509_pop_free(chain, X509_free);
    else
        *ret = chain;
    return result;
}

// ---- keys ----

static int key_parse(BIO *bio, EVP_PKEY **ret, const struct pem_file *pem)
{
    enum block_kind kind = BLOCK_OTHER;
    bool has_certificate = false;
    EVP_PKEY *key = NULL;
    struct block block;
    int result;

    while (kind != BLOCK_KEY && kind != BLOCK_KEY_ENCRYPTED && (result = block_next(bio, &block)) > 0) {
        const unsigned char *next = block.bytes;

        kind = block.kind;
        has_certificate = has_certificate || kind == BLOCK_CERTIFICATE;
        if (kind == BLOCK_KEY)
            key = d2i_AutoPrivateKey(NULL, &next, block.size);
        block_finish(&block);
    }
    ERR_clear_error();
    if (key != NULL) {
        *ret = key;
        return 0;
    }
    if (kind == BLOCK_KEY_ENCRYPTED)
        complain(
            pem,
            "private key %s is encrypted; passphrases are not supported by this version; decrypt it with "
            "`openssl pkey -in %s -out FILE.key`",
            pem->path, pem->path);
    else if (kind == BLOCK_KEY || result < 0)
        complain(pem, "private key %s is damaged; copy the file again, as PEM", pem->path);
    else if (has_certificate)
        complain(pem, "%s holds a certificate and no private key; chain and key look exchanged", pem->path);
    else
        complain(pem, "%s is not a private key: it has no line -----BEGIN PRIVATE KEY-----; %s", pem->path,
                 a_key.cure);
    return -EINVAL;
}

int pem_read_key(const struct pem_file *pem, EVP_PKEY **ret)
{
    struct content content = {0};
    int result = content_read(&content, pem, &a_key);
    BIO *bio;

    if (result == 0) {
        if ((content.mode & (S_IRGRP | S_IROTH)) != 0)
            log_warning("private key can be read by others; chmod 0600 it", log_text("file", pem->path));
        bio = content_open(&content);
        result = key_parse(bio, ret, pem);
        BIO_free(bio);
    }
    content_finish(&content);
    return result;
}

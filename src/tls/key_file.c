// SPDX-License-Identifier: Apache-2.0
// The private key in a file.
#include "src/tls/key_file.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "src/tls/encrypted.h"
#include "src/tls/pem.h"
#include "src/tls/pkcs12.h"
#include "src/tls/private_key.h"

#define COPY_AGAIN "copy the file again, or export the key anew"

// An encrypted key, and where it goes once a passphrase opens it.
struct lock {
    const X509_SIG *encrypted; // or
    const struct pem_block *block;
    struct material_bytes *ret;
};

static enum private_key_form form_of(enum pem_kind kind)
{
    return kind == PEM_KEY_PKCS8   ? PRIVATE_KEY_PKCS8
           : kind == PEM_KEY_PKCS1 ? PRIVATE_KEY_PKCS1
                                   : PRIVATE_KEY_SEC1;
}

static int lock_try(void *owner, const char *phrase, size_t length)
{
    const struct lock *lock = owner;
    struct pem_block plain;
    int result;

    if (lock->encrypted != NULL)
        return encrypted_key_open(lock->encrypted, phrase, length, lock->ret);
    result = pem_decrypt(lock->block, phrase, length, &plain);
    if (result < 0)
        return result;
    // A wrong passphrase yields something that is no key, when it isn't noticed earlier.
    if (private_key_read(plain.bytes, (size_t)plain.size, form_of(plain.kind), lock->ret) < 0)
        result = -EKEYREJECTED;
    pem_block_finish(&plain);
    return result;
}

static int lock_open(struct lock *lock, const struct named_file *file, struct passphrases *passphrases,
                     const struct config_passphrase *source)
{
    int result = passphrases_open(passphrases, file, source, lock_try, lock);

    if (result != -ENOTSUP)
        return result;
    file_complain(
        file,
        "private key %s is encrypted with %s; encrypt it anew: `openssl pkcs8 -topk8 -in %s -out FILE.key`",
        file->path, encrypted_why(), file->path);
    return -EINVAL;
}

static int damaged(const struct named_file *file, const struct content *content)
{
    file_complain(file, "private key %s is %s; " COPY_AGAIN, file->path,
                  pem_is_cut_off(content->bytes, content->size) ? "cut off in the middle" : "damaged");
    return -EINVAL;
}

// ---- DER ----

// Is it one ASN.1 SEQUENCE? PEM is text: it never begins like this and a length that fits.
static bool is_der(const struct content *content)
{
    const unsigned char *next = content->bytes;
    long length;
    int tag;
    int class;
    bool is_der = (ASN1_get_object(&next, &length, &tag, &class, (long)content->size) & 0x80) == 0 &&
                  tag == V_ASN1_SEQUENCE && class == V_ASN1_UNIVERSAL && content->bytes[0] == 0x30;

    ERR_clear_error();
    return is_der && (size_t)(next - content->bytes) + (size_t)length == content->size;
}

static int der_parse(const struct named_file *file, const struct content *content,
                     struct passphrases *passphrases, const struct config_passphrase *source,
                     struct material_bytes *ret)
{
    const unsigned char *next = content->bytes;
    struct lock lock = {.ret = ret};
    X509_SIG *encrypted;
    X509 *certificate;
    int result;

    if (private_key_read(content->bytes, content->size, PRIVATE_KEY_ANY, ret) == 0)
        return 0;
    encrypted = d2i_X509_SIG(NULL, &next, (long)content->size);
    if (encrypted != NULL) {
        lock.encrypted = encrypted;
        result = lock_open(&lock, file, passphrases, source);
        X509_SIG_free(encrypted);
        return result;
    }
    next = content->bytes;
    certificate = d2i_X509(NULL, &next, (long)content->size);
    if (certificate != NULL)
        file_complain(file, "%s holds a certificate and no private key; chain and key look exchanged",
                      file->path);
    else if (pkcs12_is(content->bytes, content->size))
        file_complain(file, "%s is PKCS#12; name it as `pkcs12: FILE`, in place of chain and key",
                      file->path);
    else
        file_complain(file, "private key %s is DER of no kind of key, or damaged; " COPY_AGAIN, file->path);
    X509_free(certificate);
    ERR_clear_error();
    return -EINVAL;
}

// ---- PEM ----

static int block_parse(const struct pem_block *block, const struct named_file *file,
                       const struct content *content, struct passphrases *passphrases,
                       const struct config_passphrase *source, struct material_bytes *ret)
{
    const unsigned char *next = block->bytes;
    struct lock lock = {.ret = ret};
    X509_SIG *encrypted;
    int result;

    if (block->kind == PEM_KEY_OLD_ENCRYPTED) {
        lock.block = block;
        return lock_open(&lock, file, passphrases, source);
    }
    if (block->kind != PEM_KEY_ENCRYPTED) {
        result = private_key_read(block->bytes, (size_t)block->size, form_of(block->kind), ret);
        return result == 0 ? 0 : damaged(file, content);
    }
    encrypted = d2i_X509_SIG(NULL, &next, block->size);
    ERR_clear_error();
    if (encrypted == NULL)
        return damaged(file, content);
    lock.encrypted = encrypted;
    result = lock_open(&lock, file, passphrases, source);
    X509_SIG_free(encrypted);
    return result;
}

static int explain_missing(const struct named_file *file, bool has_certificate, bool has_openssh)
{
    if (has_certificate)
        file_complain(file, "%s holds a certificate and no private key; chain and key look exchanged",
                      file->path);
    else if (has_openssh)
        file_complain(file, "%s is a key of OpenSSH; convert it with `ssh-keygen -p -m PEM -f %s`",
                      file->path, file->path);
    else
        file_complain(file, "%s is not a private key: it has no line -----BEGIN PRIVATE KEY-----; %s",
                      file->path, file->cure);
    return -EINVAL;
}

int key_file_parse(const struct named_file *file, const struct content *content,
                   struct passphrases *passphrases, const struct config_passphrase *source,
                   struct material_bytes *ret)
{
    bool has_certificate = false;
    bool has_openssh = false;
    struct pem_block block;
    struct pem pem;
    int result;

    if (is_der(content))
        return der_parse(file, content, passphrases, source, ret);
    pem_open(&pem, content->bytes, content->size);
    while ((result = pem_next(&pem, &block)) > 0) {
        if (pem_is_key(&block))
            break;
        has_certificate = has_certificate || block.kind == PEM_CERTIFICATE;
        has_openssh = has_openssh || strcmp(block.name, "OPENSSH PRIVATE KEY") == 0;
        pem_block_finish(&block);
    }
    pem_close(&pem);
    if (result > 0) {
        result = block_parse(&block, file, content, passphrases, source, ret);
        pem_block_finish(&block);
        return result;
    }
    return result < 0 ? damaged(file, content) : explain_missing(file, has_certificate, has_openssh);
}

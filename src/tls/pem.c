// SPDX-License-Identifier: Apache-2.0
// PEM. Blocks may be private keys, so their memory is wiped.
#include "src/tls/pem.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "src/tls/encrypted.h"

#define FLAGS (PEM_FLAG_SECURE | PEM_FLAG_EAY_COMPATIBLE) // SECURE: OpenSSL wipes what it read on the way

#define BEGIN "-----BEGIN "
#define END   "-----END "

static const char byte_order_mark[] = "\xef\xbb\xbf";

void pem_open(struct pem *pem, const uint8_t *bytes, size_t size)
{
    // Some editors of other systems put it there.
    if (size >= 3 && memcmp(bytes, byte_order_mark, 3) == 0) {
        bytes += 3;
        size -= 3;
    }
    pem->bio = BIO_new_mem_buf(bytes, size <= INT_MAX ? (int)size : INT_MAX);
    if (pem->bio == NULL)
        abort();
}

void pem_close(struct pem *pem)
{
    BIO_free(pem->bio);
}

static enum pem_kind kind_of(const char *name, const char *header)
{
    static const struct {
        const char *name;
        enum pem_kind kind;
    } kinds[] = {
        {PEM_STRING_X509, PEM_CERTIFICATE},      {PEM_STRING_X509_OLD, PEM_CERTIFICATE},
        {PEM_STRING_X509_CRL, PEM_CRL},          {PEM_STRING_PKCS8, PEM_KEY_ENCRYPTED},
        {PEM_STRING_PKCS8INF, PEM_KEY_PKCS8},    {PEM_STRING_RSA, PEM_KEY_PKCS1},
        {PEM_STRING_ECPRIVATEKEY, PEM_KEY_SEC1},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(name, kinds[i].name) != 0)
            continue;
        if ((kinds[i].kind == PEM_KEY_PKCS1 || kinds[i].kind == PEM_KEY_SEC1) &&
            strstr(header, "ENCRYPTED") != NULL)
            return PEM_KEY_OLD_ENCRYPTED;
        return kinds[i].kind;
    }
    return PEM_OTHER;
}

int pem_next(struct pem *pem, struct pem_block *ret)
{
    struct pem_block block = {0};
    unsigned long error;

    ERR_clear_error();
    if (PEM_read_bio_ex(pem->bio, &block.name, &block.header, &block.bytes, &block.size, FLAGS) == 1) {
        block.kind = kind_of(block.name, block.header);
        *ret = block;
        return 1;
    }
    error = ERR_peek_error();
    ERR_clear_error();
    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE ? 0 : -EBADMSG;
}

void pem_block_finish(struct pem_block *block)
{
    OPENSSL_secure_free(block->name);
    OPENSSL_secure_free(block->header);
    OPENSSL_secure_clear_free(block->bytes, (size_t)block->size);
    *block = (struct pem_block){0};
}

bool pem_is_key(const struct pem_block *block)
{
    return block->kind >= PEM_KEY_PKCS8;
}

// ---- RFC 1421's encryption, as OpenSSL did it ----

struct phrase {
    const char *text;
    size_t length;
};

static int hand_over(char *to, int size, int is_writing, void *owner)
{
    const struct phrase *phrase = owner;

    if (size < 0 || phrase->length > (size_t)size)
        return -1;
    memcpy(to, phrase->text, phrase->length);
    return (int)phrase->length;
}

int pem_decrypt(const struct pem_block *block, const char *phrase, size_t length, struct pem_block *ret)
{
    struct phrase owner = {.text = phrase, .length = length};
    struct pem_block plain = {.size = block->size};
    char *header = OPENSSL_strdup(block->header);
    EVP_CIPHER_INFO cipher;
    bool is_known;
    bool is_open;

    plain.kind = strcmp(block->name, PEM_STRING_RSA) == 0 ? PEM_KEY_PKCS1 : PEM_KEY_SEC1;
    plain.bytes = OPENSSL_secure_malloc((size_t)block->size + 1);
    if (plain.bytes == NULL || header == NULL)
        abort();
    memcpy(plain.bytes, block->bytes, (size_t)block->size);
    ERR_clear_error();
    is_known = PEM_get_EVP_CIPHER_INFO(header, &cipher) == 1;
    is_open = is_known && PEM_do_header(&cipher, plain.bytes, &plain.size, hand_over, &owner) == 1;
    OPENSSL_free(header);
    if (is_open) {
        *ret = plain;
        return 0;
    }
    plain.size = block->size; // all of it is wiped
    pem_block_finish(&plain);
    if (is_known && !encrypted_was_unknown())
        return -EKEYREJECTED;
    ERR_clear_error();
    encrypted_set_why(is_known ? EVP_CIPHER_get0_name(cipher.cipher) : "an unknown cipher");
    return -ENOTSUP;
}

bool pem_is_cut_off(const uint8_t *bytes, size_t size)
{
    const uint8_t *last = NULL;
    const uint8_t *next = bytes;

    while ((next = memmem(next, size - (size_t)(next - bytes), BEGIN, strlen(BEGIN))) != NULL) {
        last = next;
        next += strlen(BEGIN);
    }
    return last != NULL && memmem(last, size - (size_t)(last - bytes), END, strlen(END)) == NULL;
}

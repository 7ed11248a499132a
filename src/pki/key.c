// SPDX-License-Identifier: Apache-2.0
// Private keys. What holds one in text is memory of secret.h.
#include "src/pki/key.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "ringbolt/file.h"
#include "src/pki/pem.h"

#define RSA_BITS_MIN     2048
#define RSA_BITS_MAX     8192
#define RSA_BITS_DEFAULT 3072

static const char *const curves[] = {"P-256", "P-384", "P-521"};

// ---- kinds ----

static int parse_bits(const char *text, unsigned *ret, char why[static WHY_MAX])
{
    unsigned bits = 0;

    for (; *text >= '0' && *text <= '9' && bits <= RSA_BITS_MAX; text++)
        bits = bits * 10 + (unsigned)(*text - '0');
    if (*text != '\0' || bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
        return why_set(why, "rsa: takes %d to %d bits", RSA_BITS_MIN, RSA_BITS_MAX);
    *ret = bits;
    return 0;
}

int key_kind_parse(const char *text, struct key_kind *ret, char why[static WHY_MAX])
{
    struct key_kind kind = {.type = "RSA", .bits = RSA_BITS_DEFAULT};
    int error = 0;

    if (strcmp(text, "ed25519") == 0) {
        kind = (struct key_kind){.type = "ED25519"};
    } else if (strcmp(text, "ec") == 0 || strncmp(text, "ec:", 3) == 0) {
        kind = (struct key_kind){.type = "EC", .curve = text[2] == '\0' ? curves[0] : NULL};
        for (size_t i = 0; text[2] != '\0' && i < sizeof(curves) / sizeof(curves[0]); i++) {
            if (strcasecmp(text + 3, curves[i]) == 0)
                kind.curve = curves[i];
        }
        if (kind.curve == NULL)
            error = why_set(why, "ec: takes P-256, P-384 or P-521");
    } else if (strncmp(text, "rsa:", 4) == 0) {
        error = parse_bits(text + 4, &kind.bits, why);
    } else if (strcmp(text, "rsa") != 0) {
        error = why_set(why, "rsa:BITS, ec:P-256, ec:P-384, ec:P-521 or ed25519 is needed");
    }
    if (error == 0)
        *ret = kind;
    return error;
}

void key_kind_text(const struct key_kind *kind, char text[static KEY_KIND_TEXT_MAX])
{
    if (kind->curve != NULL)
        snprintf(text, KEY_KIND_TEXT_MAX, "ec:%s", kind->curve);
    else if (kind->bits > 0)
        snprintf(text, KEY_KIND_TEXT_MAX, "rsa:%u", kind->bits);
    else
        snprintf(text, KEY_KIND_TEXT_MAX, "ed25519");
}

static const char *curve_name(const EVP_PKEY *key, char group[static KEY_KIND_TEXT_MAX])
{
    if (EVP_PKEY_get_group_name(key, group, KEY_KIND_TEXT_MAX, NULL) != 1)
        return "unknown";
    // Which of the names comes back depends on how the key came to be.
    if (strcmp(group, "prime256v1") == 0)
        return curves[0];
    if (strcmp(group, "secp384r1") == 0)
        return curves[1];
    return strcmp(group, "secp521r1") == 0 ? curves[2] : group;
}

void key_text(const EVP_PKEY *key, char text[static KEY_KIND_TEXT_MAX])
{
    const char *name;
    char group[KEY_KIND_TEXT_MAX];

    if (EVP_PKEY_is_a(key, "EC")) {
        snprintf(text, KEY_KIND_TEXT_MAX, "ec:%.*s", KEY_KIND_TEXT_MAX - 4, curve_name(key, group));
    } else if (EVP_PKEY_is_a(key, "RSA")) {
        snprintf(text, KEY_KIND_TEXT_MAX, "rsa:%d", EVP_PKEY_get_bits(key));
    } else {
        name = EVP_PKEY_get0_type_name(key);
        snprintf(text, KEY_KIND_TEXT_MAX, "%s", name != NULL ? name : "unknown");
        for (char *letter = text; *letter != '\0'; letter++)
            *letter = (char)tolower((unsigned char)*letter);
    }
}

bool key_is(const EVP_PKEY *key, const struct key_kind *kind)
{
    char is[KEY_KIND_TEXT_MAX];
    char wanted[KEY_KIND_TEXT_MAX];

    key_text(key, is);
    key_kind_text(kind, wanted);
    return strcmp(is, wanted) == 0;
}

enum status key_make(const struct key_kind *kind, const char *name, EVP_PKEY **ret)
{
    EVP_PKEY *key;

    if (kind->curve != NULL)
        key = EVP_PKEY_Q_keygen(NULL, NULL, kind->type, kind->curve);
    else if (kind->bits > 0)
        key = EVP_PKEY_Q_keygen(NULL, NULL, kind->type, (size_t)kind->bits);
    else
        key = EVP_PKEY_Q_keygen(NULL, NULL, kind->type);
    if (key == NULL)
        return complain_openssl("%s: the key cannot be made", name);
    *ret = key;
    return STATUS_OK;
}

// ---- reading ----

// What OpenSSL's request for a passphrase needs, and what came of it.
struct asking {
    const struct passphrase_source *source;
    const char *path;
    bool was_asked;
    enum status status;
};

// A pem_password_cb.
static int on_password(char *text, int size, int is_writing, void *context)
{
    struct asking *asking = context;
    struct passphrase passphrase;
    int length;

    asking->was_asked = true;
    if (asking->source == NULL) {
        asking->status = complain(STATUS_FAILED, "%s: is encrypted, and nothing says where its passphrase is",
                                  asking->path);
        return -1;
    }
    asking->status = passphrase_get(asking->source, asking->path, false, &passphrase);
    if (asking->status != STATUS_OK)
        return -1;
    length = (int)passphrase.length;
    if (length > size)
        length = -1;
    else
        memcpy(text, passphrase.text, passphrase.length);
    passphrase_finish(&passphrase);
    return length;
}

static enum status explain(const struct asking *asking, const uint8_t *data, size_t size)
{
    if (asking->status != STATUS_OK) {
        ERR_clear_error();
        return asking->status;
    }
    if (asking->was_asked) {
        // A wrong passphrase shows as bad padding, or as nonsense behind good padding.
        ERR_clear_error();
        return complain(STATUS_FAILED, "%s: the passphrase is wrong, or the file is damaged", asking->path);
    }
    if (memmem(data, size, "PRIVATE KEY-----", 16) == NULL) {
        ERR_clear_error();
        return complain(STATUS_FAILED,
                        "%s: holds no private key; a PEM file with BEGIN PRIVATE KEY is needed",
                        asking->path);
    }
    return complain_openssl("%s: the private key in it is of no use", asking->path);
}

enum status key_load(const char *path, const struct passphrase_source *source, EVP_PKEY **ret,
                     bool *ret_encrypted)
{
    struct asking asking = {.source = source, .path = path};
    enum status status = STATUS_OK;
    EVP_PKEY *key = NULL;
    uint8_t *data;
    size_t size;
    BIO *bio;
    int error = file_read_secret(path, PEM_SIZE_MAX, &data, &size);

    if (error < 0)
        return complain(STATUS_FAILED, "%s: cannot be read: %s", path,
                        error == -EINVAL ? "not a regular file" : strerror(-error));
    bio = BIO_new_mem_buf(data, (int)size);
    if (bio != NULL)
        key = PEM_read_bio_PrivateKey(bio, NULL, on_password, &asking);
    if (bio == NULL)
        status = complain_openssl("%s: cannot be read", path);
    else if (key == NULL)
        status = explain(&asking, data, size);
    BIO_free(bio);
    file_free_secret(data, size);
    if (status != STATUS_OK)
        return status;
    *ret = key;
    if (ret_encrypted != NULL)
        *ret_encrypted = asking.was_asked;
    return STATUS_OK;
}

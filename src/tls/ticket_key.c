// SPDX-License-Identifier: Apache-2.0
// Keys of session tickets: made, and read from files as nginx and HAProxy have them.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "ringbolt/material.h"
#include "ringbolt/secret.h"
#include "src/tls/content.h"

#define SMALL       48 // name, AES-128, HMAC
#define LARGE       80 // name, AES-256, HMAC
#define NAME_SIZE   16
#define TEXT_MAX    108 // LARGE in base64
#define DECODED_MAX 81

int ticket_key_make(struct ticket_key *ret)
{
    struct ticket_key key = {.size = 32};
    int result = getentropy(key.name, sizeof(key.name)) == 0 && getentropy(key.hmac, sizeof(key.hmac)) == 0 &&
                         getentropy(key.aes, sizeof(key.aes)) == 0
                     ? 0
                     : -EIO;

    if (result == 0)
        *ret = key;
    secret_wipe(&key, sizeof(key));
    return result;
}

// bytes[size] is SMALL or LARGE. nginx puts the HMAC's key first in its large keys, HAProxy never does.
static void take(struct ticket_key *key, const uint8_t *bytes, size_t size, bool hmac_is_first)
{
    size_t half = (size - NAME_SIZE) / 2;

    *key = (struct ticket_key){.size = (uint8_t)half};
    memcpy(key->name, bytes, NAME_SIZE);
    memcpy(hmac_is_first ? key->hmac : key->aes, bytes + NAME_SIZE, half);
    memcpy(hmac_is_first ? key->aes : key->hmac, bytes + NAME_SIZE + half, half);
}

// One line of base64. 0 or -EBADMSG.
static int take_text(struct ticket_key *key, const uint8_t *text, size_t length)
{
    uint8_t decoded[DECODED_MAX + 2];
    int size;

    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        length--;
    if (length > TEXT_MAX || length % 4 != 0 || memchr(text, '\n', length) != NULL)
        return -EBADMSG;
    size = EVP_DecodeBlock(decoded, text, (int)length);
    // It counts the padding as zeros.
    for (size_t i = length; size > 0 && i > 0 && text[i - 1] == '='; i--)
        size--;
    if (size == SMALL || size == LARGE)
        take(key, decoded, (size_t)size, false);
    secret_wipe(decoded, sizeof(decoded));
    return size == SMALL || size == LARGE ? 0 : -EBADMSG;
}

int loader_ticket_key(struct loader *loader, const char *path, struct config_where where,
                      struct report *report, struct ticket_key *ret)
{
    const struct named_file file = {
        .report = report,
        .where = where,
        .path = path,
        .what = "ticket key",
        .cure = "make one with `openssl rand -out FILE 80`",
    };
    struct ticket_key key;
    struct content content;
    int result = content_read(&file, &content);

    if (result < 0)
        return result;
    content_warn_mode(&file);
    if (content.size == SMALL || content.size == LARGE)
        take(&key, content.bytes, content.size, content.size == LARGE);
    else
        result = take_text(&key, content.bytes, content.size);
    if (result == 0) {
        *ret = key;
        secret_wipe(&key, sizeof(key));
    } else {
        file_complain(&file, "ticket key %s is neither %d or %d bytes nor one line of base64 of as many; %s",
                      path, SMALL, LARGE, file.cure);
        result = -EINVAL;
    }
    content_finish(&content);
    return result;
}

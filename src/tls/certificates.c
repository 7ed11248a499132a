// SPDX-License-Identifier: Apache-2.0
// What a server is told of both certificates in a PROXY header, in the words that HAProxy uses.
#include "src/tls/certificates.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>

// A name that had to be cut, or that others would take to end at a zero byte, could be somebody else's: then there is none.
static void describe_name(const X509 *client, char *ret, size_t size)
{
    const X509_NAME *subject = X509_get_subject_name(client);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *text = NULL;
    int length;

    if (at < 0)
        return;
    length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (length > 0 && (size_t)length < size && memchr(text, '\0', (size_t)length) == NULL)
        memcpy(ret, text, (size_t)length); // *ret was zeroed
    if (length >= 0)
        OPENSSL_free(text);
}

static void describe_key(const X509 *ours, char *ret, size_t size)
{
    EVP_PKEY *key = X509_get0_pubkey(ours);

    if (key == NULL)
        return;
    if (EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "EC"))
        snprintf(ret, size, "%s%d", EVP_PKEY_get0_type_name(key), EVP_PKEY_get_bits(key));
    else
        snprintf(ret, size, "%s", EVP_PKEY_get0_type_name(key));
}

int certificates_describe(X509 *client, const X509 *ours, struct engine_certificates *ret)
{
    struct engine_certificates made = {.has_client = client != NULL};
    int size = 0;

    if (client != NULL) {
        size = i2d_X509(client, &made.client);
        if (size <= 0) {
            ERR_clear_error();
            return -ENOMEM;
        }
        made.client_size = (size_t)size;
        describe_name(client, made.client_name, sizeof(made.client_name));
    }
    if (ours != NULL) {
        made.signature = OBJ_nid2sn(X509_get_signature_nid(ours));
        describe_key(ours, made.key, sizeof(made.key));
    }
    ERR_clear_error();
    *ret = made;
    return 0;
}

void engine_certificates_finish(struct engine_certificates *certificates)
{
    OPENSSL_free(certificates->client);
    certificates->client = NULL;
}

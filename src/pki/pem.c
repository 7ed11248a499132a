// SPDX-License-Identifier: Apache-2.0
// PEM files in, with complaints that say what is wrong with them.
#include "src/pki/pem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "ringbolt/file.h"
#include "src/pki/altname.h"

static enum status load(const char *path, uint8_t **ret_data, BIO **ret)
{
    uint8_t *data;
    size_t size;
    BIO *bio;
    int error = file_read(path, PEM_SIZE_MAX, &data, &size);

    if (error == -EINVAL)
        return complain(STATUS_FAILED, "%s: not a file, but a device, pipe or socket", path);
    if (error < 0)
        return complain(STATUS_FAILED, "%s: cannot be read: %s", path, strerror(-error));
    bio = BIO_new_mem_buf(data, (int)size);
    if (bio == NULL) {
        free(data);
        return complain_openssl("%s: cannot be read", path);
    }
    *ret_data = data;
    *ret = bio;
    return STATUS_OK;
}

// Whether reading stopped only because there is nothing more. Empties OpenSSL's queue then.
static bool is_at_end(void)
{
    unsigned long error = ERR_peek_last_error();

    if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE)
        return false;
    ERR_clear_error();
    return true;
}

enum status pem_load_certificates(const char *path, STACK_OF(X509) * *ret)
{
    STACK_OF(X509) *certificates = sk_X509_new_null();
    enum status status;
    uint8_t *data = NULL;
    BIO *bio = NULL;
    X509 *certificate;

    if (certificates == NULL)
        return complain_openssl("%s: cannot be read", path);
    status = load(path, &data, &bio);
    while (status == STATUS_OK && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_push(certificates, certificate) <= 0) {
            X509_free(certificate);
            status = complain_openssl("%s: cannot be read", path);
        }
    }
    if (status == STATUS_OK && !is_at_end())
        status = complain_openssl("%s: certificate %d in it is damaged", path, sk_X509_num(certificates) + 1);
    if (status == STATUS_OK && sk_X509_num(certificates) == 0)
        status = complain(STATUS_FAILED,
                          "%s: holds no certificate; a PEM file with BEGIN CERTIFICATE is needed", path);
    BIO_free(bio);
    free(data);
    if (status != STATUS_OK)
        sk_X509_pop_free(certificates, X509_free);
    else
        *ret = certificates;
    return status;
}

enum status pem_load_certificate(const char *path, X509 **ret)
{
    STACK_OF(X509) * certificates;
    enum status status = pem_load_certificates(path, &certificates);

    if (status != STATUS_OK)
        return status;
    *ret = sk_X509_shift(certificates);
    sk_X509_pop_free(certificates, X509_free);
    return STATUS_OK;
}

enum status pem_load_request(const char *path, X509_REQ **ret)
{
    X509_REQ *request;
    uint8_t *data = NULL;
    BIO *bio = NULL;
    enum status status = load(path, &data, &bio);

    if (status != STATUS_OK)
        return status;
    request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    if (request == NULL && is_at_end())
        status = complain(STATUS_FAILED,
                          "%s: holds no request; a PEM file with BEGIN CERTIFICATE REQUEST is needed", path);
    else if (request == NULL)
        status = complain_openssl("%s: the request in it is damaged", path);
    else if (X509_REQ_get0_pubkey(request) == NULL)
        status = complain_openssl("%s: the request's public key is of no use", path);
    else if (X509_REQ_verify(request, X509_REQ_get0_pubkey(request)) != 1)
        status = complain_openssl("%s: the request is not signed by the key that it is for", path);
    BIO_free(bio);
    free(data);
    if (status != STATUS_OK)
        X509_REQ_free(request);
    else
        *ret = request;
    return status;
}

bool is_self_signed(X509 *certificate)
{
    bool is = X509_self_signed(certificate, 0) == 1;

    ERR_clear_error();
    return is;
}

void whom_text(const X509 *certificate, char text[static SUBJECT_TEXT_MAX])
{
    GENERAL_NAMES *names;
    char name[ALTNAME_TEXT_MAX];

    subject_text(X509_get_subject_name(certificate), text);
    if (text[0] != '\0')
        return;
    names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && strlen(text) + sizeof(name) + 2 < SUBJECT_TEXT_MAX;
         i++) {
        altname_text(sk_GENERAL_NAME_value(names, i), name);
        strcat(text, i > 0 ? ", " : "");
        strcat(text, name);
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
}

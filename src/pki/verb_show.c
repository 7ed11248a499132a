// SPDX-License-Identifier: Apache-2.0
// `pki show`: what is in files, whatever they are.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "ringbolt/file.h"
#include "src/pki/facts.h"
#include "src/pki/key.h"
#include "src/pki/options.h"
#include "src/pki/pem.h"

// One file on its way into the list of all facts.
struct reading {
    const struct options *options;
    const char *path;
    json_t *all;
    X509 *last; // the certificate before, in the same file
    json_t *last_facts;
};

// Takes the facts over, and puts the file's name in front.
static json_t *found(struct reading *reading, json_t *facts)
{
    json_t *whole = json_object();

    if (whole == NULL)
        abort();
    facts_set(whole, "file", reading->path);
    if (json_object_update(whole, facts) < 0 || json_array_append_new(reading->all, whole) < 0)
        abort();
    json_decref(facts);
    return whole;
}

// In a chain each certificate was issued by the one that follows it; where that is not so, it should be seen.
static void found_certificate(struct reading *reading, X509 *certificate)
{
    if (reading->last != NULL) {
        bool is = X509_check_issued(certificate, reading->last) == X509_V_OK &&
                  X509_verify(reading->last, X509_get0_pubkey(certificate)) == 1;
        ERR_clear_error();
        if (json_object_set_new(reading->last_facts, "issued_by_next", json_boolean(is)) < 0)
            abort();
    }
    X509_free(reading->last);
    reading->last = certificate;
    reading->last_facts = found(reading, facts_of_certificate(certificate));
}

// ---- PEM ----

// Without a passphrase given an encrypted key is only said to be one: showing should not ask.
static enum status found_encrypted_key(struct reading *reading)
{
    const struct passphrase_source *source = &reading->options->passphrase;
    EVP_PKEY *key = NULL;
    enum status status = STATUS_OK;

    if (source->kind != PASSPHRASE_UNSAID)
        status = key_load(reading->path, source, &key, NULL);
    if (status == STATUS_OK)
        found(reading, facts_of_key(key, true));
    EVP_PKEY_free(key);
    return status;
}

static bool ends_in(const char *text, const char *ending)
{
    size_t length = strlen(text);
    size_t cut = strlen(ending);

    return length >= cut && strcmp(text + length - cut, ending) == 0;
}

static enum status found_block(struct reading *reading, const char *name, const char *header,
                               const unsigned char *data, long size)
{
    EVP_PKEY *key;
    X509_REQ *request;
    X509_CRL *crl;
    X509 *certificate;

    if (strcmp(name, PEM_STRING_PKCS8) == 0 || (ends_in(name, "PRIVATE KEY") && header[0] != '\0'))
        return found_encrypted_key(reading);
    if (ends_in(name, "PRIVATE KEY")) {
        if ((key = d2i_AutoPrivateKey(NULL, &data, size)) == NULL)
            return complain_openssl("%s: the private key in it is damaged", reading->path);
        found(reading, facts_of_key(key, false));
        EVP_PKEY_free(key);
    } else if (ends_in(name, "CERTIFICATE REQUEST")) {
        if ((request = d2i_X509_REQ(NULL, &data, size)) == NULL)
            return complain_openssl("%s: the request in it is damaged", reading->path);
        found(reading, facts_of_request(request));
        X509_REQ_free(request);
    } else if (ends_in(name, "CERTIFICATE")) {
        if ((certificate = d2i_X509(NULL, &data, size)) == NULL)
            return complain_openssl("%s: a certificate in it is damaged", reading->path);
        found_certificate(reading, certificate);
    } else if (ends_in(name, "CRL")) {
        if ((crl = d2i_X509_CRL(NULL, &data, size)) == NULL)
            return complain_openssl("%s: the CRL in it is damaged", reading->path);
        found(reading, facts_of_crl(crl));
        X509_CRL_free(crl);
    }
    return STATUS_OK;
}

static enum status read_pem(struct reading *reading, BIO *bio)
{
    enum status status = STATUS_OK;
    unsigned char *data = NULL;
    char *header = NULL;
    char *name = NULL;
    long size = 0;

    while (status == STATUS_OK && PEM_read_bio_ex(bio, &name, &header, &data, &size, PEM_FLAG_SECURE) == 1) {
        status = found_block(reading, name, header, data, size);
        OPENSSL_secure_free(name);
        OPENSSL_secure_free(header);
        OPENSSL_secure_clear_free(data, (size_t)size);
    }
    if (status == STATUS_OK && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        status = complain_openssl("%s: the PEM in it is damaged", reading->path);
    ERR_clear_error();
    return status;
}

// ---- PKCS#12 ----

static enum status open_pkcs12(struct reading *reading, PKCS12 *file, struct passphrase *passphrase)
{
    enum status status;

    if (PKCS12_mac_present(file) && PKCS12_verify_mac(file, "", 0) == 1)
        return STATUS_OK;
    status = passphrase_get(&reading->options->passphrase, reading->path, false, passphrase);
    if (status != STATUS_OK)
        return status;
    ERR_clear_error();
    if (PKCS12_mac_present(file) && PKCS12_verify_mac(file, passphrase->text, -1) != 1) {
        ERR_clear_error();
        return complain(STATUS_FAILED, "%s: the passphrase is wrong, or the file is damaged", reading->path);
    }
    return STATUS_OK;
}

static void found_mac(struct reading *reading, const PKCS12 *file)
{
    const ASN1_INTEGER *rounds = NULL;
    const X509_ALGOR *algorithm = NULL;
    const ASN1_OBJECT *object = NULL;
    json_t *facts = json_object();

    if (facts == NULL)
        abort();
    facts_set(facts, "kind", "PKCS#12");
    PKCS12_get0_mac(NULL, &algorithm, NULL, &rounds, file);
    if (algorithm != NULL)
        X509_ALGOR_get0(&object, NULL, NULL, algorithm);
    if (object != NULL)
        facts_set(facts, "mac", OBJ_nid2ln(OBJ_obj2nid(object)));
    if (rounds != NULL && json_object_set_new(facts, "rounds", json_integer(ASN1_INTEGER_get(rounds))) < 0)
        abort();
    found(reading, facts);
}

static enum status found_pkcs12(struct reading *reading, PKCS12 *file)
{
    struct passphrase passphrase = {0};
    STACK_OF(X509) *more = NULL;
    EVP_PKEY *key = NULL;
    X509 *certificate = NULL;
    enum status status = open_pkcs12(reading, file, &passphrase);

    if (status == STATUS_OK &&
        PKCS12_parse(file, passphrase.text != NULL ? passphrase.text : "", &key, &certificate, &more) != 1)
        status = complain_openssl("%s: cannot be opened", reading->path);
    if (status == STATUS_OK) {
        found_mac(reading, file);
        if (key != NULL)
            found(reading, facts_of_key(key, true));
        if (certificate != NULL)
            found_certificate(reading, certificate);
        while (sk_X509_num(more) > 0)
            found_certificate(reading, sk_X509_shift(more));
    }
    EVP_PKEY_free(key);
    sk_X509_pop_free(more, X509_free);
    passphrase_finish(&passphrase);
    return status;
}

// ---- DER ----

typedef enum status der_reader(struct reading *reading, const unsigned char **at, long size);

static enum status read_certificate(struct reading *reading, const unsigned char **at, long size)
{
    X509 *certificate = d2i_X509(NULL, at, size);

    if (certificate != NULL)
        found_certificate(reading, certificate);
    return STATUS_OK;
}

static enum status read_crl(struct reading *reading, const unsigned char **at, long size)
{
    X509_CRL *crl = d2i_X509_CRL(NULL, at, size);

    if (crl != NULL)
        found(reading, facts_of_crl(crl));
    X509_CRL_free(crl);
    return STATUS_OK;
}

static enum status read_request(struct reading *reading, const unsigned char **at, long size)
{
    X509_REQ *request = d2i_X509_REQ(NULL, at, size);

    if (request != NULL)
        found(reading, facts_of_request(request));
    X509_REQ_free(request);
    return STATUS_OK;
}

static enum status read_pkcs12(struct reading *reading, const unsigned char **at, long size)
{
    PKCS12 *file = d2i_PKCS12(NULL, at, size);
    enum status status = file != NULL ? found_pkcs12(reading, file) : STATUS_OK;

    PKCS12_free(file);
    return status;
}

static enum status read_key(struct reading *reading, const unsigned char **at, long size)
{
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, at, size);

    if (key != NULL)
        found(reading, facts_of_key(key, false));
    EVP_PKEY_free(key);
    return STATUS_OK;
}

// Each kind in turn, until one finds something.
static enum status read_der(struct reading *reading, const uint8_t *data, size_t size)
{
    static der_reader *const readers[] = {read_certificate, read_crl, read_request, read_pkcs12, read_key};
    size_t before = json_array_size(reading->all);
    enum status status = STATUS_OK;

    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
        const unsigned char *at = data;
        status = readers[i](reading, &at, (long)size);
        ERR_clear_error();
        if (status != STATUS_OK || json_array_size(reading->all) > before)
            break;
    }
    return status;
}

// ---- files ----

static enum status read_file(const struct options *options, const char *path, json_t *all)
{
    struct reading reading = {.options = options, .path = path, .all = all};
    size_t before = json_array_size(all);
    enum status status = STATUS_OK;
    uint8_t *data;
    size_t size;
    int error = file_read_secret(path, PEM_SIZE_MAX, &data, &size);

    if (error < 0)
        return complain(STATUS_FAILED, "%s: cannot be read: %s", path,
                        error == -EINVAL ? "not a regular file" : strerror(-error));
    if (memmem(data, size, "-----BEGIN ", 11) != NULL) {
        BIO *bio = BIO_new_mem_buf(data, (int)size);
        status = bio != NULL ? read_pem(&reading, bio) : complain_openssl("%s: cannot be read", path);
        BIO_free(bio);
    } else {
        status = read_der(&reading, data, size);
    }
    if (status == STATUS_OK && json_array_size(all) == before)
        status = complain(
            STATUS_FAILED,
            "%s: holds no certificate, request, CRL, private key or PKCS#12, neither as PEM nor as DER",
            path);
    X509_free(reading.last);
    file_free_secret(data, size);
    return status;
}

static void print_all(json_t *all, bool as_json)
{
    json_t *facts;
    size_t i;

    if (as_json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
        return;
    }
    json_array_foreach(all, i, facts)
    {
        facts_print(facts);
    }
}

enum status verb_show(const struct options *options)
{
    json_t *all = json_array();
    enum status status = STATUS_OK;

    if (all == NULL)
        abort();
    // One bad file does not hide the others.
    for (size_t i = 0; i < options->operands.count; i++) {
        if (read_file(options, options->operands.items[i], all) != STATUS_OK)
            status = STATUS_FAILED;
    }
    print_all(all, options->json);
    json_decref(all);
    return status;
}

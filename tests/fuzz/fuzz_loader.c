// SPDX-License-Identifier: Apache-2.0
// A file of any bytes, taken for a chain, for a private key, for both, and for PKCS#12: it becomes a certificate that keeps what
// material.h promises, or is refused with a reason.
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "fuzz.h"
#include "src/tls/certificate.h"
#include "src/tls/chain.h"
#include "src/tls/key_file.h"
#include "src/tls/pkcs12.h"
#include "src/tls/private_key.h"

static struct report report;
static const struct named_file file = {
    .report = &report, .where = {1, 1}, .path = "/etc/ringbolt/fuzz", .what = "file", .cure = "give another"};
static const struct config_passphrase source = {.env = (char *)(uintptr_t) "RINGBOLT_FUZZ_PHRASE"};

static void check_names(const struct certificate *certificate)
{
    for (size_t i = 0; i < certificate->name_count; i++) {
        const char *name = certificate->names[i];

        REQUIRE(name[0] != '\0' && strlen(name) <= 255);
        REQUIRE(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.*") == strlen(name));
        REQUIRE(strrchr(name, '*') == NULL || (strrchr(name, '*') == name && name[1] == '.'));
    }
}

static void check_text(const char *text)
{
    for (; *text != '\0'; text++)
        REQUIRE(*text >= 0x20 && *text < 0x7f);
}

static void check_certificate(const struct certificate *certificate)
{
    REQUIRE(certificate->leaf.size > 0 && certificate->key.size > 0);
    REQUIRE(certificate->kind < CERTIFICATE_KINDS);
    REQUIRE(certificate->not_before_s < certificate->not_after_s);
    for (size_t i = 0; i < certificate->intermediate_count; i++)
        REQUIRE(certificate->intermediates[i].size > 0);
    check_names(certificate);
    check_text(certificate->subject);
    check_text(certificate->issuer);
    check_text(certificate->serial);
    if (certificate->responder != NULL)
        check_text(certificate->responder);
}

// Takes both.
static void make(struct pool *pool, STACK_OF(X509) * certificates, struct material_bytes *key)
{
    struct certificate_parts parts = {
        .chain = &file,
        .key = &file,
        .certificates = certificates,
        .private_key = key->size > 0 ? key : NULL,
    };
    struct certificate *certificate = NULL;

    if (sk_X509_num(certificates) > 0 && certificate_make(&parts, pool, &certificate) == 0) {
        check_certificate(certificate);
        REQUIRE(key->size == 0);
    }
    REQUIRE(certificate != NULL || report.error_count > 0);
    certificate_destroy(certificate);
    private_key_finish(key);
    sk_X509_pop_free(certificates, X509_free);
}

static void take_pem(const struct content *content, struct pool *pool, struct passphrases *passphrases)
{
    STACK_OF(X509) *certificates = sk_X509_new_null();
    struct material_bytes key = {0};
    size_t before = report.error_count;

    REQUIRE(certificates != NULL);
    REQUIRE((chain_parse(&file, content, pool, certificates) == 0) == (report.error_count == before));
    before = report.error_count;
    // The same complaint about both is one line only.
    REQUIRE(key_file_parse(&file, content, passphrases, &source, &key) != 0 || key.size > 0);
    make(pool, certificates, &key);
}

static void take_pkcs12(const struct content *content, struct pool *pool, struct passphrases *passphrases)
{
    STACK_OF(X509) *certificates = sk_X509_new_null();
    struct material_bytes key = {0};

    REQUIRE(certificates != NULL);
    if (pkcs12_parse(&file, content, passphrases, &source, certificates, &key) < 0)
        REQUIRE(key.size == 0 && sk_X509_num(certificates) == 0 && report.error_count > 0);
    if (key.size > 0 && sk_X509_num(certificates) > 0)
        make(pool, certificates, &key);
    else
        sk_X509_pop_free(certificates, X509_free);
    private_key_finish(&key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct content content = {.bytes = malloc(size + 1), .size = size};
    struct passphrases *passphrases = passphrases_create(false);
    struct pool *pool = pool_create();

    // What the system trusts would be read for each input.
    setenv("SSL_CERT_FILE", "/nonexistent", 1);
    setenv("SSL_CERT_DIR", "/nonexistent", 1);
    setenv("RINGBOLT_FUZZ_PHRASE", "sesame", 1);
    REQUIRE(content.bytes != NULL);
    memcpy(content.bytes, data, size);
    content.bytes[size] = 0;
    report_init(&report, "fuzz.yaml");
    if (size > 0) {
        take_pem(&content, pool, passphrases);
        report_finish(&report);
        report_init(&report, "fuzz.yaml");
        take_pkcs12(&content, pool, passphrases);
    }
    REQUIRE(ERR_peek_error() == 0);
    report_finish(&report);
    pool_destroy(pool);
    passphrases_destroy(passphrases);
    free(content.bytes);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// A file of any bytes, taken for a revocation list by the loader, beside an authority that signed some of the corpus: it becomes lists that
// OpenSSL reads back, or is refused with a reason.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "fuzz.h"
#include "ringbolt/file.h"
#include "ringbolt/material.h"

static const char ca[] = "-----BEGIN CERTIFICATE-----\n"
                         "MIIBVTCB/aADAgECAgEBMAoGCCqGSM49BAMCMBIxEDAOBgNVBAMMB0Z1enogQ0Ew\n"
                         "IBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBIxEDAOBgNVBAMMB0Z1\n"
                         "enogQ0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQVV+i3zPJbbb+3l0o2hrbR\n"
                         "p72CUI6GnNhAKFvzJYgWqGiOjtyB6X0mL4FmzyV6JBetA4IUh8YygtJYv1iROnBi\n"
                         "o0IwQDAOBgNVHQ8BAf8EBAMCAQYwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQU\n"
                         "eskrR/uuS9N2kJldNDRnl6ytTpswCgYIKoZIzj0EAwIDRwAwRAIgNzV+cuWLhRgb\n"
                         "6v7CbgXMlI/XTlHqniX35wGKHOU1vJYCIHbq2t7pC8PWX9htd8M4D/eeBbXpH3fM\n"
                         "5MoVzFoLLp8h\n"
                         "-----END CERTIFICATE-----\n";

static char folder[] = "/tmp/ringbolt-fuzz-crl-XXXXXX";
static char ca_path[64], crl_path[64];

static void clean_up(void)
{
    unlink(ca_path);
    unlink(crl_path);
    rmdir(folder);
}

static void prepare(void)
{
    if (ca_path[0] != '\0')
        return;
    // What the system trusts would be read for each input.
    setenv("SSL_CERT_FILE", "/nonexistent", 1);
    setenv("SSL_CERT_DIR", "/nonexistent", 1);
    REQUIRE(mkdtemp(folder) != NULL);
    snprintf(ca_path, sizeof(ca_path), "%s/ca", folder);
    snprintf(crl_path, sizeof(crl_path), "%s/crl", folder);
    REQUIRE(file_write(ca_path, ca, sizeof(ca) - 1, 0600, FILE_REPLACE) == 0);
    atexit(clean_up);
}

// Signed by the one authority there is, and in one piece.
static void check_list(const struct material_bytes *bytes)
{
    const uint8_t *next = bytes->data;
    X509_CRL *crl = d2i_X509_CRL(NULL, &next, (long)bytes->size);

    REQUIRE(crl != NULL && next == bytes->data + bytes->size);
    X509_CRL_free(crl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *crls[] = {crl_path, crl_path};
    struct config_client_trust source = {
        .mode = CONFIG_CLIENT_AUTH_REQUIRED, .ca = ca_path, .crls = crls, .crl_count = 2};
    struct loader *loader = loader_create(false);
    struct client_trust *trust = NULL;
    struct report report;
    FILE *file;

    prepare();
    file = fopen(crl_path, "we");
    REQUIRE(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0);
    report_init(&report, "fuzz.yaml");
    if (loader_trust(loader, &source, &report, &trust) < 0) {
        REQUIRE(trust == NULL && report.error_count > 0);
    } else {
        REQUIRE(trust != NULL && report.error_count == 0 && trust->ca_count == 1 && trust->crl_count > 0);
        for (size_t i = 0; i < trust->crl_count; i++)
            check_list(&trust->crls[i]);
        REQUIRE(trust->next_update_s < INT64_MAX);
    }
    REQUIRE(ERR_peek_error() == 0);
    client_trust_destroy(trust);
    report_finish(&report);
    loader_destroy(loader);
    return 0;
}

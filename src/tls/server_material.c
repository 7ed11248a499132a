// SPDX-License-Identifier: Apache-2.0
// The files of TLS towards servers, read: authorities and lists (trust.c), and the certificate that we show.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "src/config/memory.h"
#include "src/tls/certificate.h"
#include "src/tls/pair.h"
#include "src/tls/private_key.h"

static int read_certificate(const struct config_certificate *source, struct loader *loader,
                            struct report *report, STACK_OF(X509) * certificates,
                            struct material_bytes *ret_key)
{
    struct pair pair;

    pair_read(loader, source, report, certificates, ret_key, &pair);
    if (pair.chain_result < 0 || pair.key_result < 0)
        return -EINVAL;
    if (private_key_match(ret_key, sk_X509_value(certificates, 0)) != PRIVATE_KEY_MATCHES) {
        file_complain(&pair.key,
                      "the private key in %s does not belong to the certificate in %s; give the key that it "
                      "was made with",
                      source->key, source->chain);
        return -EINVAL;
    }
    if (X509_cmp_current_time(X509_get0_notAfter(sk_X509_value(certificates, 0))) < 0)
        file_warn(&pair.chain, "the certificate in %s has expired, so servers will refuse it; renew it",
                  source->chain);
    return 0;
}

static int load_certificate(const struct config_certificate *source, struct loader *loader,
                            struct report *report, struct server_material *material)
{
    STACK_OF(X509) *certificates = sk_X509_new_null();
    int result;

    if (certificates == NULL)
        abort();
    result = read_certificate(source, loader, report, certificates, &material->key);
    if (result == 0) {
        material->certificates =
            memory_array((size_t)sk_X509_num(certificates), sizeof(*material->certificates));
        for (int i = 0; i < sk_X509_num(certificates); i++)
            material->certificates[material->certificate_count++] =
                certificate_encode(sk_X509_value(certificates, i));
    }
    sk_X509_pop_free(certificates, X509_free);
    return result;
}

static void fill_digest(struct server_material *material)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();

    if (digest == NULL || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
        abort();
    if (material->trust != NULL)
        EVP_DigestUpdate(digest, material->trust->digest, sizeof(material->trust->digest));
    // DER says itself where it ends.
    for (size_t i = 0; i < material->certificate_count; i++)
        EVP_DigestUpdate(digest, material->certificates[i].data, material->certificates[i].size);
    EVP_DigestUpdate(digest, material->key.data, material->key.size);
    if (EVP_DigestFinal_ex(digest, material->digest, NULL) != 1)
        abort();
    EVP_MD_CTX_free(digest);
}

int loader_servers(struct loader *loader, const struct config_server_tls *source, struct report *report,
                   struct server_material **ret)
{
    struct server_material *material = memory_allocate(sizeof(*material));
    int result = 0;

    *material = (struct server_material){0};
    if (source->verifies && source->trust.ca != NULL)
        result = loader_trust(loader, &source->trust, report, &material->trust);
    if (source->tls.certificate_count > 0 &&
        load_certificate(&source->tls.certificates[0], loader, report, material) < 0)
        result = -EINVAL;
    ERR_clear_error();
    if (result < 0) {
        server_material_destroy(material);
        return -EINVAL;
    }
    fill_digest(material);
    *ret = material;
    return 0;
}

void server_material_destroy(struct server_material *material)
{
    if (material == NULL)
        return;
    client_trust_destroy(material->trust);
    for (size_t i = 0; i < material->certificate_count; i++)
        free(material->certificates[i].data);
    free(material->certificates);
    private_key_finish(&material->key);
    free(material);
}

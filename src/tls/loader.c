// SPDX-License-Identifier: Apache-2.0
// The loader: from a source in the configuration to a certificate. Which file holds what is decided here; what is in them, in
// pem.c, key_file.c and pkcs12.c; whether it is good, in certificate.c and chain.c.
#include "src/tls/loader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "ringbolt/material.h"
#include "src/config/memory.h"
#include "src/tls/certificate.h"
#include "src/tls/encrypted.h"
#include "src/tls/pair.h"
#include "src/tls/pkcs12.h"
#include "src/tls/private_key.h"

struct loader *loader_create(bool may_ask)
{
    struct loader *loader = memory_allocate(sizeof(*loader));

    loader->pool = pool_create();
    loader->passphrases = passphrases_create(may_ask);
    return loader;
}

void loader_destroy(struct loader *loader)
{
    if (loader == NULL)
        return;
    encrypted_finish();
    passphrases_destroy(loader->passphrases);
    pool_destroy(loader->pool);
    free(loader);
}

void loader_ask_no_more(struct loader *loader)
{
    passphrases_ask_no_more(loader->passphrases);
}

void loader_answers(const struct loader *loader,
                    void (*each)(void *owner, const char *path, const char *phrase, size_t length),
                    void *owner)
{
    passphrases_answers(loader->passphrases, each, owner);
}

int loader_answer(struct loader *loader, const char *path, const char *phrase, size_t length)
{
    return passphrases_answer(loader->passphrases, path, phrase, length);
}

// ---- files ----

static int pkcs12_read(struct loader *loader, const struct named_file *file,
                       const struct config_certificate *source, STACK_OF(X509) * certificates,
                       struct material_bytes *ret_key)
{
    struct content content;
    int result = content_read(file, &content);

    if (result < 0)
        return result;
    content_warn_mode(file);
    result = pkcs12_parse(file, &content, loader->passphrases, &source->passphrase, certificates, ret_key);
    if (result == 0 && sk_X509_num(certificates) == 0) {
        file_complain(file,
                      "PKCS#12 file %s holds no certificate; export the key together with its certificate",
                      file->path);
        private_key_finish(ret_key);
        result = -EINVAL;
    }
    content_finish(&content);
    return result;
}

// ---- certificates ----

static int load_pair(struct loader *loader, const struct config_certificate *source, struct report *report,
                     STACK_OF(X509) * certificates, struct material_bytes *key, struct certificate **ret)
{
    struct pair pair;
    struct certificate_parts parts = {
        .chain = &pair.chain,
        .key = &pair.key,
        .certificates = certificates,
        .names = source->names,
        .name_count = source->name_count,
    };

    pair_read(loader, source, report, certificates, key, &pair);
    if (pair.key_result == 0)
        parts.private_key = key;
    return pair.chain_result == 0 ? certificate_make(&parts, loader->pool, ret) : -EINVAL;
}

static int load_pkcs12(struct loader *loader, const struct config_certificate *source, struct report *report,
                       STACK_OF(X509) * certificates, struct material_bytes *key, struct certificate **ret)
{
    const struct named_file file = {
        .report = report,
        .where = source->chain_where,
        .path = source->pkcs12,
        .what = "PKCS#12 file",
        .cure = "export certificate and key again",
    };
    struct certificate_parts parts = {
        .chain = &file,
        .key = &file,
        .certificates = certificates,
        .private_key = key,
        .names = source->names,
        .name_count = source->name_count,
    };
    int result = pkcs12_read(loader, &file, source, certificates, key);

    return result == 0 ? certificate_make(&parts, loader->pool, ret) : -EINVAL;
}

int loader_certificate(struct loader *loader, const struct config_certificate *source, struct report *report,
                       struct certificate **ret)
{
    STACK_OF(X509) *certificates = sk_X509_new_null();
    struct material_bytes key = {0};
    int result;

    if (certificates == NULL)
        abort();
    if (source->pkcs12 != NULL)
        result = load_pkcs12(loader, source, report, certificates, &key, ret);
    else
        result = load_pair(loader, source, report, certificates, &key, ret);
    private_key_finish(&key); // unless the certificate has it
    sk_X509_pop_free(certificates, X509_free);
    ERR_clear_error();
    return result;
}

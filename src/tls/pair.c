// SPDX-License-Identifier: Apache-2.0
#include "src/tls/pair.h"

#include "src/tls/chain.h"
#include "src/tls/key_file.h"

static int chain_read(struct loader *loader, const struct named_file *file, STACK_OF(X509) * certificates)
{
    struct content content;
    int result = content_read(file, &content);

    if (result < 0)
        return result;
    result = chain_parse(file, &content, loader->pool, certificates);
    content_finish(&content);
    return result;
}

static int key_read(struct loader *loader, const struct named_file *file,
                    const struct config_certificate *source, struct material_bytes *ret)
{
    struct content content;
    int result = content_read(file, &content);

    if (result < 0)
        return result;
    content_warn_mode(file);
    result = key_file_parse(file, &content, loader->passphrases, &source->passphrase, ret);
    content_finish(&content);
    return result;
}

void pair_read(struct loader *loader, const struct config_certificate *source, struct report *report,
               STACK_OF(X509) * certificates, struct material_bytes *ret_key, struct pair *ret)
{
    *ret = (struct pair){
        .chain = {.report = report,
                  .where = source->chain_where,
                  .path = source->chain,
                  .what = "certificate chain",
                  .cure = "give a PEM file with the certificate first",
                  .key_cure = "chain and key look exchanged"},
        .key = {.report = report,
                .where = source->key_where,
                .path = source->key,
                .what = "private key",
                .cure = "give a PEM file with the certificate's private key"},
    };
    ret->chain_result = chain_read(loader, &ret->chain, certificates);
    ret->key_result = key_read(loader, &ret->key, source, ret_key);
}

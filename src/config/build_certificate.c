// SPDX-License-Identifier: Apache-2.0
// A listener's certificates: which files, and which of them go together.
#include <string.h>

#include "src/config/builder.h"
#include "src/config/host.h"
#include "src/config/memory.h"

void build_passphrase(struct builder *builder, const struct raw_passphrase *raw,
                      const struct node *certificate, struct config_passphrase *passphrase)
{
    const struct node *node = node_get(certificate, "passphrase");

    passphrase->where = node_where(node);
    if (raw->env != NULL && raw->file != NULL)
        report_add(builder->report, node_where(node), "`passphrase` takes `env` or `file`, not both");
    else if (raw->env == NULL && raw->file == NULL && node != NULL && !node->is_partial)
        report_add(builder->report, node_where(node),
                   "`passphrase` is empty; write `env: NAME` or `file: PATH`, or remove it");
    else if (raw->env != NULL && strchr(raw->env, '=') != NULL)
        report_add(builder->report, node_where(node_get(node, "env")),
                   "`env` is the name of an environment variable, which holds no `=`");
    passphrase->env = raw->env != NULL ? memory_copy(raw->env) : NULL;
    passphrase->file = builder_path(builder, raw->file);
}

static void build_names(struct builder *builder, const struct raw_certificate *raw,
                        const struct node *certificate, struct config_certificate *ret)
{
    const struct node *list = node_get(certificate, "names");

    ret->names = memory_allocate(raw->names_count * sizeof(*ret->names));
    for (unsigned i = 0; i < raw->names_count; i++) {
        const struct node *node = node_item(list, i);
        const char *why;
        char *name;
        if (node_is_wrong(node))
            continue;
        if (host_parse(raw->names[i], &name, &why) < 0) {
            report_add(builder->report, node_where(node), "`names` cannot hold `%s`: %s", raw->names[i], why);
            continue;
        }
        for (size_t j = 0; j < ret->name_count; j++) {
            if (strcmp(ret->names[j], name) == 0)
                report_add(builder->report, node_where(node), "`%s` stands in `names` twice; remove one",
                           name);
        }
        ret->names[ret->name_count++] = name;
    }
}

// Reports files that don't go together.
static void check_files(struct builder *builder, const struct raw_certificate *raw, const struct node *node)
{
    if (raw->pkcs12 != NULL && (raw->chain != NULL || raw->key != NULL))
        report_add(builder->report, node_where(node_get(node, "pkcs12")),
                   "a PKCS#12 file holds the certificate and its key; remove `chain` and `key`, or `pkcs12`");
    else if (raw->pkcs12 == NULL && raw->chain == NULL && node != NULL && !node->is_partial &&
             !node->is_wrong)
        report_add(
            builder->report, node_where(node),
            "an entry of `certificates` needs `chain` and `key`, `chain` alone with the key in the same "
            "file, or `pkcs12`");
}

static void build_certificate(struct builder *builder, const struct raw_certificate *raw,
                              const struct node *node, struct config_certificate *certificate)
{
    check_files(builder, raw, node);
    certificate->chain = builder_path(builder, raw->chain);
    certificate->key = builder_path(builder, raw->key != NULL ? raw->key : raw->chain);
    certificate->pkcs12 = builder_path(builder, raw->pkcs12);
    certificate->chain_where = node_where(node_get(node, raw->pkcs12 != NULL ? "pkcs12" : "chain"));
    certificate->key_where = certificate->chain_where;
    if (raw->key != NULL)
        certificate->key_where = node_where(node_get(node, "key"));
    build_passphrase(builder, &raw->passphrase, node, &certificate->passphrase);
    certificate->ocsp = builder_path(builder, raw->ocsp);
    certificate->ocsp_where = node_where(node_get(node, "ocsp"));
    build_names(builder, raw, node, certificate);
}

void build_certificates(struct builder *builder, const struct raw_tls *raw, const struct node *node,
                        bool needs_any, struct config_tls *tls)
{
    const struct node *list = node_get(node, "certificates");

    tls->certificate_dir = builder_path(builder, raw->certificate_dir);
    tls->certificate_dir_where = node_where(node_get(node, "certificate_dir"));
    tls->certificates = memory_allocate(raw->certificates_count * sizeof(*tls->certificates));
    for (unsigned i = 0; i < raw->certificates_count; i++)
        build_certificate(builder, &raw->certificates[i], node_item(list, i),
                          &tls->certificates[tls->certificate_count++]);
    // On the command line there may be none: node is NULL then.
    if (needs_any && raw->certificates_count == 0 && raw->certificate_dir == NULL && node != NULL &&
        !node->is_partial && !node->is_wrong)
        report_add(builder->report, node_where(node), "`tls` needs `certificates` or `certificate_dir`");
}

// SPDX-License-Identifier: Apache-2.0
// An upstream's `tls`: how its servers are spoken to, and whom they must be.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "src/config/builder.h"
#include "src/config/host.h"
#include "src/config/memory.h"

static char *ip_text(const struct config_address *address)
{
    const struct sockaddr *socket = (const struct sockaddr *)&address->socket;
    char text[INET6_ADDRSTRLEN];

    if (socket->sa_family == AF_INET &&
        inet_ntop(AF_INET, &((const struct sockaddr_in *)socket)->sin_addr, text, sizeof(text)) != NULL)
        return memory_copy(text);
    if (socket->sa_family == AF_INET6 &&
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)socket)->sin6_addr, text, sizeof(text)) != NULL)
        return memory_copy(text);
    return NULL;
}

char *build_server_host(const struct config_address *address, const char *name)
{
    char *copy;
    char *host = NULL;
    const char *why;

    if (name == NULL)
        return ip_text(address);
    copy = memory_copy(name);
    if (copy[0] != '\0' && copy[strlen(copy) - 1] == '.') // as resolvers have it, and certificates don't
        copy[strlen(copy) - 1] = '\0';
    if (host_parse(copy, &host, &why) < 0)
        host = NULL;
    free(copy);
    return host;
}

static bool is_ip_address(const char *text)
{
    struct in6_addr address;

    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

static void build_name(struct builder *builder, const char *text, const struct node *node,
                       struct config_server_tls *tls)
{
    const char *why = "a certificate is for one name here; write it without `*`";

    if (text == NULL || node_is_wrong(node))
        return;
    if (is_ip_address(text))
        tls->name = memory_copy(text);
    else if (strchr(text, '*') != NULL || host_parse(text, &tls->name, &why) < 0)
        report_add(builder->report, node_where(node), "`name` cannot be `%s`: %s", text, why);
}

// Somebody must be asked for, or anybody could answer.
static void check_names(struct builder *builder, const struct raw_server_tls *raw, const struct node *node,
                        const struct config_upstream *upstream)
{
    if (!upstream->tls.verifies || raw->name != NULL || node->is_partial)
        return;
    for (size_t i = 0; i < upstream->server_count; i++) {
        if (upstream->servers[i].host != NULL)
            continue;
        report_add(builder->report, node_where(node),
                   "the server `%s` has no name that its certificate could be checked for; write `name: "
                   "HOST` in `tls`",
                   upstream->servers[i].address.text != NULL ? upstream->servers[i].address.text
                                                             : upstream->servers[i].name->text);
        return;
    }
}

static void build_verification(struct builder *builder, const struct raw_server_tls *raw,
                               const struct node *node, struct config_server_tls *tls)
{
    static const char *const keys[] = {"ca", "crl"};
    struct builder_paths crls;

    tls->verifies = raw->verify == NULL || *raw->verify != 0;
    tls->trust.is_for_servers = true;
    tls->trust.mode = raw->ca != NULL ? CONFIG_CLIENT_AUTH_REQUIRED : CONFIG_CLIENT_AUTH_OFF;
    tls->trust.ca = builder_path(builder, raw->ca);
    tls->trust.ca_where = node_where(node_get(node, "ca"));
    builder_paths(builder, node, "crl", raw->crl, raw->crl_count, &crls);
    tls->trust.crls = crls.paths;
    tls->trust.crl_count = crls.count;
    tls->trust.crl_where = node_where(node_get(node, "crl"));
    free(crls.wheres);
    if (raw->crl_count > 0 && raw->ca == NULL && !node->is_partial)
        report_add(builder->report, tls->trust.crl_where,
                   "`crl` needs `ca`: the authority that signed the revocation list");
    if (tls->verifies)
        return;
    report_warn(
        builder->report, node_where(node_get(node, "verify")),
        "`verify: false` takes any certificate, so whoever is in between reads and changes everything; "
        "name the server's authority with `ca` instead");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const struct node *value = node_get(node, keys[i]);

        if (value != NULL)
            report_warn(builder->report, node_where(value), "`%s` does nothing with `verify: false`",
                        keys[i]);
    }
}

static void build_certificate(struct builder *builder, const struct raw_certificate *raw,
                              const struct node *node, struct config_tls *tls)
{
    struct config_certificate *certificate;

    if (node == NULL)
        return;
    if (raw->chain == NULL) {
        if (!node->is_partial && !node->is_wrong)
            report_add(
                builder->report, node_where(node),
                "`certificate` needs `chain` and `key`, or `chain` alone with the key in the same file");
        return;
    }
    certificate = tls->certificates = memory_allocate(sizeof(*certificate));
    tls->certificate_count = 1;
    certificate->chain = builder_path(builder, raw->chain);
    certificate->key = builder_path(builder, raw->key != NULL ? raw->key : raw->chain);
    certificate->chain_where = node_where(node_get(node, "chain"));
    certificate->key_where = raw->key != NULL ? node_where(node_get(node, "key")) : certificate->chain_where;
    build_passphrase(builder, &raw->passphrase, node, &certificate->passphrase);
}

void build_server_tls(struct builder *builder, const struct raw_server_tls *raw,
                      const struct node *upstream_node, struct config_upstream *upstream)
{
    const struct node *node = node_get(upstream_node, "tls");
    struct config_server_tls *tls = &upstream->tls;

    if (node == NULL)
        return;
    tls->is_on = true;
    tls->resumes = raw->resume == NULL || *raw->resume != 0;
    build_negotiation(builder, &raw->like, node, &tls->tls);
    build_verification(builder, raw, node, tls);
    build_name(builder, raw->name, node_get(node, "name"), tls);
    build_certificate(builder, &raw->certificate, node_get(node, "certificate"), &tls->tls);
    check_names(builder, raw, node, upstream);
}

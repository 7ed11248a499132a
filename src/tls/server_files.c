// SPDX-License-Identifier: Apache-2.0
// The files that TLS towards servers needs. They are read before workers are forked, the system's authorities too: OpenSSL would
// look them up when a handshake needs one, in a process that opens no file.
#include "src/tls/server_files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>

#include "src/config/memory.h"
#include "src/tls/pair.h"
#include "src/tls/private_key.h"

struct tls_upstreams {
    size_t count;
    struct server_files *each; // by upstream
    X509_STORE *system;        // NULL: nobody wanted it so far
};

// ---- the system's authorities ----

// "4042bcee.0": what c_rehash(1) makes. Everything else in such a folder is there twice.
static bool is_hash(const char *name)
{
    size_t digits = strspn(name, "0123456789abcdef");

    return digits == 8 && name[8] == '.' && isdigit((unsigned char)name[9]);
}

static void load_folder(X509_STORE *store, const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    char *file;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (!is_hash(entry->d_name))
            continue;
        if (asprintf(&file, "%s/%s", path, entry->d_name) < 0)
            abort();
        (void)X509_STORE_load_file(store, file); // one broken file is no reason to trust nobody
        free(file);
    }
    if (folder != NULL)
        closedir(folder);
}

static const char *or_default(const char *variable, const char *otherwise)
{
    const char *value = secure_getenv(variable);

    return value != NULL ? value : otherwise;
}

static X509_STORE *system_store(struct tls_upstreams *upstreams, struct config_where where,
                                struct report *report)
{
    const char *file = or_default(X509_get_default_cert_file_env(), X509_get_default_cert_file());
    const char *folders = or_default(X509_get_default_cert_dir_env(), X509_get_default_cert_dir());
    char *copy = memory_copy(folders);
    char *rest = copy;
    char *folder;

    if (upstreams->system == NULL) {
        upstreams->system = X509_STORE_new();
        if (upstreams->system == NULL)
            abort();
        if (access(file, R_OK) == 0)
            (void)X509_STORE_load_file(upstreams->system, file);
        while ((folder = strsep(&rest, ":")) != NULL)
            load_folder(upstreams->system, folder);
        ERR_clear_error();
    }
    free(copy);
    if (sk_X509_OBJECT_num(X509_STORE_get0_objects(upstreams->system)) > 0)
        return upstreams->system;
    report_add(report, where,
               "this system has no authorities to check servers with (in %s, %s); install them (Debian: "
               "ca-certificates), or "
               "name the servers' authority with `ca`",
               file, folders);
    return NULL;
}

// ---- named authorities ----

static X509_STORE *make_store(const struct client_trust *trust)
{
    X509_STORE *store = X509_STORE_new();
    unsigned long flags =
        X509_V_FLAG_PARTIAL_CHAIN; // who names an authority trusts it, whether it is a root or not

    if (store == NULL)
        abort();
    for (size_t i = 0; i < trust->ca_count; i++) {
        const uint8_t *data = trust->cas[i].data;
        X509 *ca = d2i_X509(NULL, &data, (long)trust->cas[i].size);

        if (ca == NULL || X509_STORE_add_cert(store, ca) != 1)
            abort(); // the loader has seen it parse
        X509_free(ca);
    }
    for (size_t i = 0; i < trust->crl_count; i++) {
        const uint8_t *data = trust->crls[i].data;
        X509_CRL *crl = d2i_X509_CRL(NULL, &data, (long)trust->crls[i].size);

        if (crl == NULL || X509_STORE_add_crl(store, crl) != 1)
            abort();
        X509_CRL_free(crl);
    }
    if (trust->crl_count > 0)
        flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
    X509_STORE_set_flags(store, flags);
    return store;
}

static int load_trust(struct tls_upstreams *upstreams, const struct config_server_tls *config,
                      struct loader *loader, struct report *report, struct server_files *files)
{
    struct client_trust *trust = NULL;

    files->trusted_until_s = INT64_MAX;
    if (!config->verifies)
        return 0;
    if (config->trust.ca == NULL) {
        files->store = system_store(upstreams, config->tls.where, report);
        if (files->store == NULL)
            return -EINVAL;
        X509_STORE_up_ref(files->store);
        return 0;
    }
    if (loader_trust(loader, &config->trust, report, &trust) < 0)
        return -EINVAL;
    files->store = make_store(trust);
    files->trusted_until_s = trust->next_update_s;
    client_trust_destroy(trust);
    return 0;
}

// ---- the certificate that we show ----

static int load_certificate(const struct config_certificate *source, struct loader *loader,
                            struct report *report, struct server_files *files)
{
    STACK_OF(X509) *certificates = sk_X509_new_null();
    struct pair pair;

    if (certificates == NULL)
        abort();
    pair_read(loader, source, report, certificates, &files->key, &pair);
    files->certificates = certificates;
    if (pair.chain_result < 0 || pair.key_result < 0)
        return -EINVAL;
    if (private_key_match(&files->key, sk_X509_value(certificates, 0)) != PRIVATE_KEY_MATCHES) {
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

// ---- all of it ----

int tls_upstreams_load(const struct config *config, struct loader *loader, struct report *report,
                       struct tls_upstreams **ret)
{
    struct tls_upstreams *upstreams = memory_allocate(sizeof(*upstreams));
    int result = 0;

    upstreams->count = config->upstream_count;
    upstreams->each = memory_array(config->upstream_count, sizeof(*upstreams->each));
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_server_tls *tls = &config->upstreams[i].tls;

        if (!tls->is_on)
            continue;
        if (load_trust(upstreams, tls, loader, report, &upstreams->each[i]) < 0)
            result = -EINVAL;
        if (tls->tls.certificate_count > 0 &&
            load_certificate(&tls->tls.certificates[0], loader, report, &upstreams->each[i]) < 0)
            result = -EINVAL;
    }
    ERR_clear_error();
    if (result == 0)
        *ret = upstreams;
    else
        tls_upstreams_destroy(upstreams);
    return result;
}

void tls_upstreams_destroy(struct tls_upstreams *upstreams)
{
    if (upstreams == NULL)
        return;
    for (size_t i = 0; i < upstreams->count; i++) {
        X509_STORE_free(upstreams->each[i].store);
        sk_X509_pop_free(upstreams->each[i].certificates, X509_free);
        private_key_finish(&upstreams->each[i].key);
    }
    X509_STORE_free(upstreams->system);
    free(upstreams->each);
    free(upstreams);
}

const struct server_files *server_files_of(const struct tls_upstreams *upstreams, size_t upstream)
{
    return &upstreams->each[upstream];
}

// SPDX-License-Identifier: Apache-2.0
// What TLS towards servers needs of files, in every process. The system's authorities are read before workers are forked: OpenSSL would
// look them up when a handshake needs one, in a process that opens no file. Everything else comes as a change.
#include "src/tls/server_files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>

#include "ringbolt/secret.h"
#include "src/config/memory.h"
#include "src/tls/private_key.h"

struct tls_upstreams {
    const struct config *config;
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

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        char *file;

        if (!is_hash(entry->d_name))
            continue;
        file = memory_print("%s/%s", path, entry->d_name);
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

// ---- one upstream's ----

static bool add_cas(X509_STORE *store, struct change_list cas)
{
    while (cas.count > 0) {
        struct change_bytes bytes = change_list_bytes(&cas);
        X509 *ca = d2i_X509(NULL, &bytes.data, (long)bytes.size);
        bool is_added = ca != NULL && X509_STORE_add_cert(store, ca) == 1;

        X509_free(ca);
        if (!is_added)
            return false;
    }
    return true;
}

static bool add_crls(X509_STORE *store, struct change_list crls)
{
    while (crls.count > 0) {
        struct change_bytes bytes = change_list_bytes(&crls);
        X509_CRL *crl = d2i_X509_CRL(NULL, &bytes.data, (long)bytes.size);
        bool is_added = crl != NULL && X509_STORE_add_crl(store, crl) == 1;

        X509_CRL_free(crl);
        if (!is_added)
            return false;
    }
    return true;
}

static bool make_store(struct change_list cas, struct change_list crls, X509_STORE **ret)
{
    X509_STORE *store = X509_STORE_new();
    unsigned long flags =
        X509_V_FLAG_PARTIAL_CHAIN; // who names an authority trusts it, whether it is a root or not

    if (crls.count > 0)
        flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
    *ret = store;
    return store != NULL && add_cas(store, cas) && add_crls(store, crls) &&
           X509_STORE_set_flags(store, flags) == 1;
}

static bool make_certificates(struct change_list list, STACK_OF(X509) * *ret)
{
    if (list.count == 0)
        return true;
    *ret = sk_X509_new_null();
    while (*ret != NULL && list.count > 0) {
        struct change_bytes bytes = change_list_bytes(&list);
        X509 *certificate = d2i_X509(NULL, &bytes.data, (long)bytes.size);

        if (certificate == NULL || sk_X509_push(*ret, certificate) == 0) {
            X509_free(certificate);
            return false;
        }
    }
    return *ret != NULL;
}

static bool make_key(struct change_bytes bytes, struct material_bytes *ret)
{
    if (bytes.size == 0)
        return true;
    ret->data = secret_take(bytes.size);
    if (ret->data == NULL)
        return false;
    ret->size = bytes.size;
    memcpy(ret->data, bytes.data, bytes.size);
    return true;
}

static void finish(struct server_files *files)
{
    X509_STORE_free(files->store);
    sk_X509_pop_free(files->certificates, X509_free);
    private_key_finish(&files->key);
}

bool server_files_fits(const struct tls_upstreams *upstreams, const struct change_element *element)
{
    return element->servers.upstream < upstreams->count &&
           upstreams->config->upstreams[element->servers.upstream].tls.is_on;
}

int server_files_apply(struct tls_upstreams *upstreams, const struct change_element *element)
{
    const struct config_server_tls *config = &upstreams->config->upstreams[element->servers.upstream].tls;
    struct server_files *held = &upstreams->each[element->servers.upstream];
    struct server_files fresh = {.trusted_until_s = element->servers.trusted_until_s,
                                 .version = held->version + 1};
    bool is_good = true;

    memcpy(fresh.digest, element->servers.digest, sizeof(fresh.digest));
    if (config->verifies && element->servers.cas.count > 0) {
        is_good = make_store(element->servers.cas, element->servers.crls, &fresh.store);
    } else if (config->verifies) {
        is_good = upstreams->system != NULL && X509_STORE_up_ref(upstreams->system) == 1;
        fresh.store = is_good ? upstreams->system : NULL;
    }
    is_good = is_good && make_certificates(element->servers.certificates, &fresh.certificates) &&
              make_key(element->servers.key, &fresh.key);
    ERR_clear_error();
    if (!is_good) {
        finish(&fresh);
        return -ENOMEM; // the loader has seen it parse
    }
    finish(held);
    *held = fresh;
    return 0;
}

// ---- all of it ----

static void apply(struct tls_upstreams *upstreams, const struct change *change)
{
    struct change_reader reader;
    struct change_element element;

    change_reader_init(&reader, change->data, change->size);
    while (change_next(&reader, &element) == 1) {
        if (server_files_apply(upstreams, &element) < 0)
            abort(); // the loader has seen it parse
    }
}

int tls_upstreams_load(const struct config *config, struct loader *loader, struct report *report,
                       struct tls_upstreams **ret)
{
    struct tls_upstreams *upstreams = memory_allocate(sizeof(*upstreams));
    struct change change = {0};
    int result = 0;

    *upstreams = (struct tls_upstreams){.config = config, .count = config->upstream_count};
    upstreams->each = memory_array(config->upstream_count, sizeof(*upstreams->each));
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_server_tls *tls = &config->upstreams[i].tls;
        struct server_material *material;

        if (!tls->is_on)
            continue;
        if (tls->verifies && tls->trust.ca == NULL && system_store(upstreams, tls->tls.where, report) == NULL)
            result = -EINVAL;
        if (loader_servers(loader, tls, report, &material) < 0) {
            result = -EINVAL;
            continue;
        }
        change_servers(&change, (uint32_t)i, material);
        server_material_destroy(material);
    }
    ERR_clear_error();
    if (result == 0) {
        apply(upstreams, &change);
        *ret = upstreams;
    } else {
        tls_upstreams_destroy(upstreams);
    }
    change_finish(&change);
    return result;
}

void tls_upstreams_destroy(struct tls_upstreams *upstreams)
{
    if (upstreams == NULL)
        return;
    for (size_t i = 0; i < upstreams->count; i++)
        finish(&upstreams->each[i]);
    X509_STORE_free(upstreams->system);
    free(upstreams->each);
    free(upstreams);
}

bool tls_upstreams_hold(const struct tls_upstreams *upstreams, size_t upstream, const uint8_t digest[32])
{
    return memcmp(upstreams->each[upstream].digest, digest, sizeof(upstreams->each[upstream].digest)) == 0;
}

const struct server_files *server_files_of(const struct tls_upstreams *upstreams, size_t upstream)
{
    return &upstreams->each[upstream];
}

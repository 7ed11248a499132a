// SPDX-License-Identifier: Apache-2.0
// What the tests of the loader share: a folder of files, certificates of any shape, one load with its report. Included by one file of
// each test, which is an executable of its own.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/provider.h>

#include "ringbolt/material.h"
#include "tests/unit/certificates.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// ---- a folder ----

static char folder[] = "/tmp/ringbolt-loader-XXXXXX";

// A path in the folder; good until the eighth call after.
static inline char *path_of(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static inline void folder_make(void)
{
    umask(0077);
    must(mkdtemp(folder) != NULL, folder);
}

static inline void folder_remove(void)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (unlinkat(dirfd(directory), entry->d_name, 0) < 0 && entry->d_name[0] != '.')
            unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR);
    }
    if (directory != NULL)
        closedir(directory);
    rmdir(folder);
}

static inline void write_file(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(path_of(name), "w");

    must(file != NULL && (size == 0 || fwrite(bytes, 1, size, file) == size), name);
    fclose(file);
}

static inline void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

// The file's bytes, free()d by the caller.
static inline uint8_t *read_whole(const char *name, size_t *ret_size)
{
    FILE *file = fopen(path_of(name), "r");
    uint8_t *bytes = malloc(1 << 20);

    must(file != NULL && bytes != NULL, name);
    *ret_size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static inline void write_der(const char *name, int size, unsigned char *bytes)
{
    must(size > 0, name);
    write_file(name, bytes, (size_t)size);
    OPENSSL_free(bytes);
}

static inline void write_certificate_der(const char *name, X509 *certificate)
{
    unsigned char *bytes = NULL;
    int size = i2d_X509(certificate, &bytes);

    write_der(name, size, bytes);
}

// certificates end with NULL.
static inline void write_chain(const char *name, ...)
{
    va_list list;
    X509 *certificate;

    va_start(list, name);
    while ((certificate = va_arg(list, X509 *)) != NULL)
        certificate_append(path_of(name), certificate);
    va_end(list);
}

// ---- certificates ----

// Puts an extension in place of one of its kind (value NULL: takes it away) and signs again.
static inline void certificate_alter(X509 *certificate, X509 *issuer, EVP_PKEY *issuer_key, int nid,
                                     const char *value)
{
    int at = X509_get_ext_by_NID(certificate, nid, -1);

    if (at >= 0)
        X509_EXTENSION_free(X509_delete_ext(certificate, at));
    if (value != NULL)
        certificate_extend(certificate, issuer, nid, value);
    must(X509_sign(certificate, issuer_key, EVP_PKEY_is_a(issuer_key, "ED25519") ? NULL : EVP_sha256()) > 0,
         "a signature");
    // What OpenSSL has cached of the old one goes with a new object.
}

// A copy as if it came from a file: nothing cached.
static inline X509 *certificate_fresh(X509 *certificate)
{
    unsigned char *bytes = NULL;
    const unsigned char *next;
    int size = i2d_X509(certificate, &bytes);
    X509 *copy;

    next = bytes;
    copy = d2i_X509(NULL, &next, size);
    must(copy != NULL, "a copy");
    OPENSSL_free(bytes);
    X509_free(certificate);
    return copy;
}

static inline X509 *certificate_with(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                                     int nid, const char *value)
{
    X509 *certificate = certificate_of(name, key, issuer, issuer_key);

    certificate_alter(certificate, issuer, issuer_key != NULL ? issuer_key : key, nid, value);
    return certificate_fresh(certificate);
}

// ---- OpenSSL's legacy provider ----

struct legacy {
    OSSL_LIB_CTX *context;
    OSSL_PROVIDER *providers[2];
};

// False when it isn't installed. legacy_finish() it in any case.
static inline bool legacy_init(struct legacy *legacy)
{
    legacy->context = OSSL_LIB_CTX_new();
    legacy->providers[0] = OSSL_PROVIDER_load(legacy->context, "default");
    legacy->providers[1] = OSSL_PROVIDER_load(legacy->context, "legacy");
    ERR_clear_error();
    return legacy->providers[0] != NULL && legacy->providers[1] != NULL;
}

static inline void legacy_finish(struct legacy *legacy)
{
    for (int i = 1; i >= 0; i--) {
        if (legacy->providers[i] != NULL)
            OSSL_PROVIDER_unload(legacy->providers[i]);
    }
    OSSL_LIB_CTX_free(legacy->context);
}

// ---- one load ----

struct load {
    struct config_certificate source;
    struct report report;
    struct certificate *certificate;
};

static inline void load_init(struct load *load)
{
    *load = (struct load){.source = {.chain_where = {3, 5}, .key_where = {4, 7}, .ocsp_where = {8, 3}}};
    load->source.passphrase.where = (struct config_where){5, 9};
    report_init(&load->report, "test.yaml");
}

static inline int load_run(struct load *load, struct loader *loader)
{
    int result = loader_certificate(loader, &load->source, &load->report, &load->certificate);

    assert_int_equal(ERR_peek_error(), 0);
    assert_true((result == 0) == (load->certificate != NULL));
    assert_true((result == 0) == (load->report.error_count == 0));
    return result;
}

// With a chain and a key of the folder.
static inline int load_pair(struct load *load, struct loader *loader, const char *chain, const char *key)
{
    load_init(load);
    load->source.chain = path_of(chain);
    load->source.key = path_of(key);
    return load_run(load, loader);
}

static inline void load_finish(struct load *load)
{
    certificate_destroy(load->certificate);
    report_finish(&load->report);
}

// ---- reports ----

// In `line`, % stands for the folder.
static inline void expand(const char *line, char *text, size_t size)
{
    size_t length = 0;

    for (; *line != '\0'; line++) {
        if (*line == '%')
            length += (size_t)snprintf(text + length, size - length, "%s", folder);
        else
            text[length++] = *line;
        must(length < size, "a shorter line");
    }
    text[length] = '\0';
}

static inline bool has_line(const struct report *report, const char *line)
{
    char text[1024];

    expand(line, text, sizeof(text));
    for (size_t i = 0; i < report->count; i++) {
        if (strstr(report->lines[i].text, text) != NULL)
            return true;
    }
    return false;
}

static inline void expect_line(const struct report *report, const char *line, const char *what)
{
    if (has_line(report, line))
        return;
    for (size_t i = 0; i < report->count; i++)
        print_error("    said: %s\n", report->lines[i].text);
    fail_msg("%s: no line with: %s", what, line);
}

// Nothing was said.
static inline void expect_silence(const struct report *report, const char *what)
{
    for (size_t i = 0; i < report->count; i++)
        print_error("    said: %s\n", report->lines[i].text);
    if (report->count > 0)
        fail_msg("%s: nothing was to be said", what);
}

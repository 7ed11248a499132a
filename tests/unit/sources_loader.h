// SPDX-License-Identifier: Apache-2.0
// A loader in the place of the real one, whose files are lines of text: what a test of sources needs is quick to write, time can be chosen,
// and something can happen while a file is read.
//
//     chain      cert ID | name NAME | kind rsa | must_staple | begins TIME | ends SECONDS from now | link TEXT (an intermediate) | warning TEXT |
//                gives (what others lack) | lacks
//     key        key ID
//     response   ocsp ID SECONDS from now
//     authority  ca TEXT
//     ticket     ticket NUMBER
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ringbolt/file.h"
#include "ringbolt/material.h"

struct loader {
    unsigned reads; // of certificates
    void (*while_reading)(void);
};

static bool is_given; // by a file that was read

struct loader *loader_create(bool may_ask)
{
    is_given = false;
    return calloc(1, sizeof(struct loader));
}

void loader_destroy(struct loader *loader)
{
    free(loader);
}

static inline char *fake_read(const char *path, struct config_where where, struct report *report)
{
    uint8_t *text;
    size_t size;
    int error = file_read(path, 4096, &text, &size);

    if (error == 0)
        return (char *)text;
    report_add(report, where, "cannot read %s: %s", path, strerror(-error));
    return NULL;
}

static inline void fake_names(struct certificate *certificate, const char *name)
{
    certificate->names =
        reallocarray(certificate->names, certificate->name_count + 1, sizeof(*certificate->names));
    certificate->names[certificate->name_count++] = strdup(name);
}

static inline struct material_bytes fake_bytes(const char *text)
{
    return (struct material_bytes){.data = (uint8_t *)strdup(text), .size = strlen(text)};
}

static inline void fake_id(struct certificate *certificate, uint64_t id)
{
    certificate->id = id;
    for (int i = 0; i < 8; i++)
        certificate->fingerprint[i] = (uint8_t)(id >> (56 - 8 * i));
}

static inline void fake_line(struct certificate *certificate, const char *line, struct report *report)
{
    char word[256];
    unsigned long id;
    long seconds;

    if (sscanf(line, "cert %lx", &id) == 1) {
        fake_id(certificate, id);
    } else if (sscanf(line, "name %255s", word) == 1) {
        fake_names(certificate, word);
    } else if (strcmp(line, "kind rsa") == 0) {
        certificate->kind = CERTIFICATE_RSA;
    } else if (strcmp(line, "gives") == 0) {
        is_given = true;
    } else if (strcmp(line, "lacks") == 0) {
        if (is_given)
            fake_line(certificate, "link given", report);
        else
            report_warn(report, (struct config_where){0}, "an intermediate is missing");
    } else if (strcmp(line, "must_staple") == 0) {
        certificate->must_staple = true;
    } else if (sscanf(line, "ends %ld", &seconds) == 1) {
        certificate->not_after_s = time(NULL) + seconds;
    } else if (sscanf(line, "begins %ld", &seconds) == 1) {
        certificate->not_before_s = seconds;
    } else if (sscanf(line, "link %255s", word) == 1) {
        certificate->intermediates = calloc(1, sizeof(*certificate->intermediates));
        certificate->intermediates[certificate->intermediate_count++] = fake_bytes(word);
    } else if (sscanf(line, "warning %255s", word) == 1) {
        report_warn(report, (struct config_where){0}, "%s", word);
    }
}

static inline struct certificate *fake_parse(char *text, const struct config_certificate *source,
                                             struct report *report)
{
    struct certificate *certificate = calloc(1, sizeof(*certificate));
    char *rest = NULL;

    certificate->not_before_s = time(NULL) - 90 * 86400;
    certificate->not_after_s = time(NULL) + 90 * 86400;
    certificate->subject = strdup("CN=test");
    certificate->leaf = fake_bytes("leaf");
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        fake_line(certificate, line, report);
    if (certificate->id == 0) {
        report_add(report, source->chain_where, "%s holds no certificate", source->chain);
    } else if (certificate->not_after_s <= time(NULL)) {
        report_add(report, source->chain_where, "the certificate in %s has expired", source->chain);
    } else if (certificate->not_before_s > time(NULL)) {
        report_add(report, source->chain_where, "the certificate in %s is not valid yet", source->chain);
    } else {
        return certificate;
    }
    certificate_destroy(certificate);
    return NULL;
}

int loader_certificate(struct loader *loader, const struct config_certificate *source, struct report *report,
                       struct certificate **ret)
{
    char *chain = fake_read(source->chain, source->chain_where, report);
    struct certificate *certificate = chain != NULL ? fake_parse(chain, source, report) : NULL;
    unsigned long id = 0;
    char *key;
    char *at;

    loader->reads++;
    if (loader->while_reading != NULL)
        loader->while_reading();
    key = fake_read(source->key, source->key_where, report);
    at = key != NULL ? strstr(key, "key ") : NULL;
    if (at != NULL)
        sscanf(at, "key %lx", &id);
    if (certificate != NULL && key != NULL && id != certificate->id)
        report_add(report, source->key_where, "private key %s does not match %s", source->key, source->chain);
    free(chain);
    free(key);
    if (report->error_count > 0) {
        certificate_destroy(certificate);
        return -EINVAL;
    }
    certificate->key = fake_bytes("key");
    if (certificate->name_count == 0) {
        char name[32];

        snprintf(name, sizeof(name), "n%lx.example", id);
        fake_names(certificate, name);
    }
    *ret = certificate;
    return 0;
}

void certificate_destroy(struct certificate *certificate)
{
    if (certificate == NULL)
        return;
    for (size_t i = 0; i < certificate->name_count; i++)
        free(certificate->names[i]);
    for (size_t i = 0; i < certificate->intermediate_count; i++)
        free(certificate->intermediates[i].data);
    free(certificate->intermediates);
    free(certificate->names);
    free(certificate->subject);
    free(certificate->leaf.data);
    free(certificate->key.data);
    free(certificate);
}

// The file of authorities: "servers NUMBER", which is all of the digest.
int loader_servers(struct loader *loader, const struct config_server_tls *source, struct report *report,
                   struct server_material **ret)
{
    char *text = fake_read(source->trust.ca, source->trust.ca_where, report);
    unsigned number;

    if (text == NULL)
        return -EINVAL;
    if (sscanf(text, "servers %u", &number) != 1) {
        report_add(report, source->trust.ca_where, "%s is no bundle", source->trust.ca);
        free(text);
        return -EINVAL;
    }
    free(text);
    *ret = calloc(1, sizeof(**ret));
    (*ret)->digest[0] = (uint8_t)number;
    return 0;
}

void server_material_destroy(struct server_material *material)
{
    free(material);
}

static inline struct staple *fake_staple(int64_t seconds)
{
    static unsigned count;
    struct staple *staple = calloc(1, sizeof(*staple));
    char text[32];

    snprintf(text, sizeof(text), "response %u", ++count);
    *staple = (struct staple){
        .response = fake_bytes(text), .this_update_s = time(NULL), .next_update_s = time(NULL) + seconds};
    return staple;
}

int loader_staple(struct loader *loader, const struct certificate *certificate, const char *path,
                  struct config_where where, struct report *report, struct staple **ret)
{
    char *text = fake_read(path, where, report);
    unsigned long id = 0;
    long seconds = 0;

    if (text == NULL)
        return -EINVAL;
    if (sscanf(text, "ocsp %lx %ld", &id, &seconds) != 2)
        report_add(report, where, "%s is no OCSP response", path);
    else if (id != certificate->id)
        report_add(report, where, "%s is about another certificate", path);
    else if (seconds <= 0)
        report_add(report, where, "%s has expired", path);
    free(text);
    if (report->error_count > 0)
        return -EINVAL;
    *ret = fake_staple(seconds);
    return 0;
}

void staple_destroy(struct staple *staple)
{
    if (staple != NULL)
        free(staple->response.data);
    free(staple);
}

int loader_trust(struct loader *loader, const struct config_client_trust *source, struct report *report,
                 struct client_trust **ret)
{
    struct client_trust *trust = calloc(1, sizeof(*trust));

    trust->next_update_s = INT64_MAX;
    for (size_t i = 0; i <= source->crl_count; i++) {
        const char *path = i == 0 ? source->ca : source->crls[i - 1];
        char *text = fake_read(path, source->ca_where, report);

        if (text != NULL && strncmp(text, "ca ", 3) != 0)
            report_add(report, source->ca_where, "%s holds no authority", path);
        if (text != NULL)
            snprintf((char *)trust->digest + 10 * i, 10, "%s", text);
        free(text);
    }
    trust->cas = calloc(1, sizeof(*trust->cas));
    trust->cas[trust->ca_count++] = fake_bytes("ca");
    if (report->error_count > 0) {
        client_trust_destroy(trust);
        return -EINVAL;
    }
    *ret = trust;
    return 0;
}

void client_trust_destroy(struct client_trust *trust)
{
    if (trust == NULL)
        return;
    for (size_t i = 0; i < trust->ca_count; i++)
        free(trust->cas[i].data);
    free(trust->cas);
    free(trust);
}

int loader_ticket_key(struct loader *loader, const char *path, struct config_where where,
                      struct report *report, struct ticket_key *ret)
{
    char *text = fake_read(path, where, report);
    unsigned number = 0;

    if (text == NULL)
        return -EINVAL;
    if (sscanf(text, "ticket %u", &number) != 1) {
        report_add(report, where, "%s is no ticket key", path);
        free(text);
        return -EINVAL;
    }
    free(text);
    *ret = (struct ticket_key){.name = {(uint8_t)number}, .size = 32};
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Files that belong together on their way to their names: each is on the disk whole before the first is published, so that
// a full disk or a name that is taken leaves everything as it was.
#pragma once

#include <stdbool.h>

#include <openssl/x509.h>

#include "src/pki/passphrase.h"
#include "src/pki/status.h"

#define DELIVERY_MAX 4

struct delivery {
    struct {
        const char *path;
        struct file_draft *draft;
        bool is_forced;
    } files[DELIVERY_MAX];
    size_t count;
};

// Each adds a file: not over an existing one unless forced. Paths stay the caller's and alive until the end. Keys have mode 0600
// and are encrypted if there is a passphrase; the rest is 0644.
enum status delivery_add(struct delivery *delivery, const char *path, const void *data, size_t size,
                         unsigned mode, bool is_forced);
enum status delivery_add_bio(struct delivery *delivery, const char *path, BIO *content, bool is_forced);
enum status delivery_add_key(struct delivery *delivery, const char *path, const EVP_PKEY *key,
                             const struct passphrase *passphrase, bool is_forced);
enum status delivery_add_certificate(struct delivery *delivery, const char *path, X509 *certificate,
                                     bool is_forced);
// The certificate, then those of its authorities that are no roots: what servers send.
enum status delivery_add_chain(struct delivery *delivery, const char *path, X509 *certificate,
                               STACK_OF(X509) * authorities, bool is_forced);

// Gives the files their names in the order in which they were added.
enum status delivery_publish(struct delivery *delivery);
// Discards what was not published.
void delivery_finish(struct delivery *delivery);

// Says early that `path` is taken, before anything costly is done for it.
enum status check_free(const char *path, bool is_forced);

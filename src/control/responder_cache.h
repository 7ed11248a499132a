// SPDX-License-Identifier: Apache-2.0
// OCSP responses on disk: one file a certificate, FINGERPRINT.ocsp, read at start like any other answer. Nothing fails without.
#pragma once

#include <stdbool.h>

#include "ringbolt/material.h"

struct cache {
    const char *folder;   // NULL: none, then nothing is kept
    bool is_trouble_said; // writing fails
};

// Makes the folder if the one that it is in exists.
void cache_init(struct cache *cache, const char *folder);
// What is kept for the certificate, if it is still good; NULL: nothing.
struct staple *cache_read(const struct cache *cache, const struct certificate *certificate, int64_t now_s);
// What goes wrong is said in the log once, and when it healed.
void cache_write(struct cache *cache, const struct certificate *certificate, const struct staple *staple);
void cache_remove(const struct cache *cache, const struct certificate *certificate);

// SPDX-License-Identifier: Apache-2.0
// Secrets that only this master knows, as they go to its successor: passphrases that somebody typed, and the development certificate.
#pragma once

#include "pack.h"
#include "ringbolt/material.h"

// Nothing is appended where there is nothing.
void passphrases_pack(const struct loader *loader, struct pack *pack);
// All of them or, when they are not understood, none: false.
bool passphrases_unpack(struct loader *loader, const uint8_t *bytes, size_t size);

void development_pack(const struct certificate *certificate, struct pack *pack);
// NULL: these are none, or it has ended; `report` says so, if the bytes could be taken apart.
struct certificate *development_unpack(const uint8_t *bytes, size_t size, struct report *report);

// SPDX-License-Identifier: Apache-2.0
// OCSP responders: asked by a child process (libcurl; no privileges, no secrets, ends after one answer) for the certificates that want a
// staple, ahead of the end of what is in service, again with patience after failures; answers are kept in a folder on disk. No handshake
// ever waits for any of this.
#pragma once

#include "loop.h"
#include "sources.h"
#include "account.h"

struct responders;

// `answered` is told each result: a staple (the callee's from then on), or NULL and why there is none.
typedef void responders_answered(void *owner, uint32_t slot, uint64_t certificate_id, struct staple *staple,
                                 const char *why);

int responders_create(struct loop *loop, const struct config *config, const struct account *account,
                      responders_answered *answered, void *owner, struct responders **ret);
void responders_destroy(struct responders *responders); // ends a child that is under way; NULL is accepted

// A certificate that wants a staple (ocsp.fetch of one of its listeners) is in service in this slot; a copy of what is needed is
// taken. Reads the cache at once and asks when that has nothing good. A slot that holds another certificate forgets the old one.
void responders_want(struct responders *responders, uint32_t slot, const struct certificate *certificate,
                     const struct config_ocsp *ocsp);
void responders_forget(struct responders *responders, uint32_t slot);
// A child has ended: true when it was one of these.
bool responders_reap(struct responders *responders, int pid, int status);

// SPDX-License-Identifier: Apache-2.0
// OCSP responders: asked by a child process (libcurl; no privileges, no secrets, ends after one answer) for the certificates that want a
// staple, ahead of the end of what is in service, again with patience after failures; answers are kept in a folder on disk. No handshake
// ever waits for any of this.
#pragma once

#include "loop.h"
#include "sources.h"
#include "account.h"

struct responders;

// `answered` is told each result: a staple (the callee's from then on), or NULL and why there is none. It may call what is declared here,
// except responders_destroy().
typedef void responders_answered(void *owner, uint32_t slot, uint64_t certificate_id, struct staple *staple,
                                 const char *why);

// `loop`, `config` and `account` must stay until responders_destroy(). 0 and *ret, or -ENOMEM.
int responders_create(struct loop *loop, const struct config *config, const struct account *account,
                      responders_answered *answered, void *owner, struct responders **ret);
void responders_destroy(struct responders *responders); // ends a child that is under way; NULL is accepted

// A certificate that wants a staple (ocsp.fetch of one of its listeners) is in service in this slot; a copy of what is needed is
// taken. Reads the cache at once and asks when that has nothing good. A slot that holds another certificate forgets the old one.
// `ocsp` is the configuration's own. `served`: a response that a responder gave to a predecessor and that is in service already, so that one
// needs to be asked only when its time comes; NULL: none. `answered` may be called before this returns. Aborts on no memory, like all that makes changes.
void responders_want(struct responders *responders, uint32_t slot, const struct certificate *certificate,
                     const struct config_ocsp *ocsp, const struct staple *served);
void responders_forget(struct responders *responders, uint32_t slot);
// A child has ended: true when it was one of these.
bool responders_reap(struct responders *responders, int pid, int status);

// How long to wait after the first failure; twice as long after each further one, up to an hour, less a random part of up to a quarter.
// Only tests change it.
extern uint64_t responders_retry_ns;

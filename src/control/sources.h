// SPDX-License-Identifier: Apache-2.0
// Sources: where each piece of material comes from: certificate files, folders of them, CA bundles, CRLs, ticket keys, OCSP files. Loaded
// at start, looked at again when the watch or somebody says so; what is new and right becomes a change, what is wrong is said once and
// leaves the last good one in service.
//
// A certificate folder (certificate_dir) is read by the names of its files (src/control/folder.h has the details):
//     DIR/NAME.pem, .crt, .cer with NAME.key, NAME.pem.key or the key in the same file
//     DIR/NAME/fullchain.pem with privkey.pem (certbot), DIR/NAME/tls.crt with tls.key (Kubernetes)
//     NAME.ocsp beside a certificate: an OCSP response to staple
// What begins with "." or "#", or ends in anything else, is skipped. Certificates that the configuration names rank before those of folders, which
// rank by the names of their files. If the folder can't be read, or a listener would be left without any certificate, everything stays.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ringbolt/config.h"
#include "pack.h"
#include "ringbolt/material.h"

struct sources;

// One source as `ringbolt certificates` shows it.
struct source_state {
    uint32_t slot;
    const char *listeners;                 // names, separated by ", "
    const char *file;                      // chain or PKCS#12 file; NULL: made in memory
    const char *key_file;                  // NULL with PKCS#12
    const struct certificate *certificate; // the last good one; never NULL
    // A newer one that must be stapled and waits for its response: it goes into service when sources_staple() brings that, or the file, or
    // at sources_due_ns() without. A responder should be asked for it instead of `certificate`. NULL: none.
    const struct certificate *pending;
    int64_t loaded_s;             // when it was, seconds since 1970
    const char *problem;          // why the files as they are now are not served; NULL: they are
    const char *staple_problem;   // why no OCSP response is stapled though one should be; NULL
    int64_t staple_next_update_s; // of the response in service; 0: none
    bool is_default;              // of one listener at least
    // In service since the start, as a predecessor left it: a responder gave it. NULL: none
    const struct staple *staple_inherited;
    const struct config_ocsp
        *fetch; // of the first of its listeners with ocsp.fetch; NULL: none asks responders
};

// Reads everything that `config` names. Everything wrong goes into `report`: errors for what a configuration names itself, warnings for
// pairs in a folder (`check` counts those as errors: is_check). 0 and *ret, or -EINVAL: a configured file is bad, or a listener has no
// certificate. `develop` not NULL: a certificate for listeners that have no files; taken over.
int sources_load(const struct config *config, struct loader *loader, struct certificate *develop,
                 bool is_check, struct report *report, struct sources **ret);
void sources_destroy(struct sources *sources); // NULL is accepted

// Watches the files of TLS towards servers too, which `upstreams` were loaded from; it must outlive the sources and be what changes are applied to.
struct tls_upstreams;
void sources_servers(struct sources *sources, const struct tls_upstreams *upstreams);

// Everything that was loaded, as one change for an empty material.
void sources_initial(const struct sources *sources, struct change *change);

// What sources_check() did.
struct sources_result {
    unsigned changed; // pieces of material that are new
    unsigned failed;  // whose files are bad now: the last good one stays
    unsigned removed; // certificates gone from a folder
};

// Looks at the files of sources whose folder is `folder` (NULL: of all), and loads those that differ from what is in service, or from
// what was found wrong last time (force: also those that look the same). New certificates in folders are found, vanished ones go. What is to be
// changed is appended to `change`. Says in the log what was loaded, and once what is wrong and when it healed.
void sources_check(struct sources *sources, const char *folder, bool force, struct change *change,
                   struct sources_result *ret);

// When sources_check() is to be called although no file has changed (folder: ""), monotonic; UINT64_MAX: not at all.
uint64_t sources_due_ns(const struct sources *sources);

// Every folder whose entries matter: those of the files, of every symbolic link on their way, and of what does not exist yet the nearest
// folder that does. Calls `each` once for each; the text lives during the call.
void sources_folders(struct sources *sources, void (*each)(void *owner, const char *folder), void *owner);

// Calls `each` for every certificate, in the order of slots.
void sources_each(struct sources *sources, void (*each)(void *owner, const struct source_state *state),
                  void *owner);

// Calls `each` for everything whose files, as they were found last, are not what is in service: certificates, authorities and CRLs,
// ticket keys, OCSP files. The text, without a newline, names the file, the reason and the cure; it lives during the call.
void sources_problems(struct sources *sources, void (*each)(void *owner, const char *problem), void *owner);

// Takes a response that a responder or the cache gave (owned from now on), or a reason why there is none. Appends the change.
void sources_staple(struct sources *sources, uint32_t slot, uint64_t certificate_id, struct staple *staple,
                    const char *problem, struct change *change);

// Ids of certificates that `name` (a name they served, or at least 8 hexadecimal digits of a fingerprint) stands for and that were replaced or
// removed since start. At most `max` into ids[]; returns how many there are.
size_t sources_replaced(const struct sources *sources, const char *name, uint64_t *ids, size_t max);

// ---- for a successor (sources_estate.c) ----

// OCSP responses in service, each with the fingerprint of its certificate.
void sources_pack_staples(struct sources *sources, struct pack *pack);
// To be called between sources_load() and sources_initial(): those that are good, wanted and newer than what was found here are served. What is no such
// response is left out. False: it was not understood; what stands before that was taken.
bool sources_unpack_staples(struct sources *sources, const uint8_t *bytes, size_t size, int64_t now_s);

// Certificates that are served or were replaced, as sources_replaced() knows them.
void sources_pack_history(struct sources *sources, struct pack *pack);
// Those of them that are not served here were replaced.
bool sources_unpack_history(struct sources *sources, const uint8_t *bytes, size_t size);

// Warns in the log of certificates that end soon: within 21 days or the last third of their life, whichever is less, and of those
// that have ended; each once a day.
void sources_warn_expiry(struct sources *sources, int64_t now_s);

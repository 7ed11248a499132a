// SPDX-License-Identifier: Apache-2.0
// Sources from the inside: what sources.c and the files beside it share.
//
//     sources.c              the whole: load, check, and what others ask
//     sources_certificate.c  one certificate: from files into service
//     sources_staple.c       its OCSP response
//     sources_folder.c       the pairs of a folder
//     sources_trust.c        client authorities, ticket keys
//     sources_servers.c      files of TLS towards servers
//     sources_names.c        which certificate a name gets; which are defaults
//     sources_history.c      versions that were replaced
//     sources_estate.c       what a successor needs of it
//     sources_say.c          what is wrong, said once
//     sources_way.c          files and the folders on the way to them
#pragma once

#include "folder.h"
#include "ringbolt/clock.h"
#include "sources.h"
#include "sources_way.h"

#define SLOT_NONE UINT32_MAX
// Of the first certificate in a folder; configured ones rank by their number.
#define FOLDER_RANK (UINT32_C(1) << 20)
// How long a new version that must be stapled may wait for its response while an older one is in service.
#define STAPLE_PATIENCE_NS (10 * CLOCK_NS_PER_S)

// One certificate. A configured one stays until the end; one of a folder goes with its files.
struct source {
    uint32_t slot;                           // SLOT_NONE until it was good for the first time
    const struct config_certificate *config; // the configuration's, or &own
    struct config_certificate own;           // its texts are ours; chain_where is the folder's place
    struct source_folder *folder;            // NULL: configured
    char *name;                              // in the folder: of struct folder_pair; NULL: configured
    uint32_t order;                          // in the folder; ascends with the name
    struct material_place *places;           // configured: one a listener
    size_t place_count;
    struct piece files;
    struct piece staple_file;        // no file: responses come from responders alone
    struct certificate *certificate; // in service; NULL: none was good yet
    struct certificate *pending;     // newer, but it must be stapled and waits for its response; NULL
    uint64_t pending_until_ns;
    struct staple *staple;   // in service, of `certificate`; NULL
    bool is_staple_inherited; // from the predecessor, or newer ones since
    bool is_staple_doubtful; // the file's response was not compared with this version yet
    char *fetch_problem;     // why a responder gave none; NULL
    int64_t loaded_s;        // when `certificate` came
    int64_t warned_s;        // when somebody was last warned that it ends
    bool is_new;             // has not been looked at
    bool is_flawed;          // it was served as it is, with a warning
    bool is_moved;           // its rank is another one
    bool is_listed;          // while a folder is listed: it is still there
    bool is_default;
};

// A folder below a certificate folder.
struct source_below {
    char *name;
    const char *path;   // ours
    bool is_new;        // to be listed whatever happened there
    bool is_listed;     // while the folder above is listed: it is still there
    struct piece piece; // the folder itself, as a file
};

// A certificate folder, which several listeners may use.
struct source_folder {
    const char *path;
    struct config_where where;
    uint32_t *listeners;
    size_t listener_count;
    struct material_place *places; // one a listener, for source_places()
    bool is_only;                  // a listener has nothing else: the last certificate of it doesn't go
    struct piece piece;            // the folder itself, as a file
    struct source **sources;       // by name
    size_t source_count;
    struct source_below **below; // by name
    size_t below_count;
};

struct source_trust {
    const struct config_client_trust *config;
    uint32_t *listeners;
    size_t listener_count;
    struct piece files;
    struct client_trust *trust;
    int64_t warned_s; // when somebody was last warned that a revocation list has ended
};

// Of one upstream with `tls`.
struct source_servers {
    const struct config_server_tls *config;
    const char *name;
    uint32_t upstream;
    struct piece files; // none: it names none
    bool is_new;        // was not looked at since tls_upstreams_load()
};

struct source_tickets {
    struct piece files;       // none: the master makes the keys
    struct ticket_keys *keys; // in secret memory
};

struct history;
struct conflicts;

struct sources {
    const struct config *config;
    struct loader *loader;
    struct ways *ways;
    struct source **configured;
    size_t configured_count;
    struct source_folder *folders;
    size_t folder_count;
    struct source_trust *trusts;
    size_t trust_count;
    struct source_tickets tickets;
    struct source_servers *servers;
    size_t servers_count;
    const struct tls_upstreams *upstreams; // what is in service of them
    struct source **slots; // by slot; holes are NULL
    size_t slot_count;
    struct history *history;
    struct conflicts *conflicts;
    bool is_changed; // certificates came, went or moved since names_look()
    bool is_full;    // there is no slot left, and that was said

    // During sources_load():
    struct report *report; // NULL afterwards: what is wrong goes into the log
    bool is_check;
    bool is_first_pass; // not all files were seen yet, so what is no error is not said either
    // During the others:
    const struct way_folder *way; // where something happened; NULL: nowhere, or anywhere (is_look_over)
    bool is_forced;               // read also what looks the same
    bool is_look_over;            // of everything: what was bad may have become good with time
    struct change *change;        // NULL in sources_load(): sources_initial() makes it
    struct sources_result *result;
};

// ---- sources.c ----

// Calls `each` for all of them, those of folders included, also when they have no slot.
void source_each(struct sources *sources, void (*each)(struct sources *sources, struct source *source));
// The places where it is served; *ret_count of them, in memory that holds until the next call.
const struct material_place *source_places(const struct source *source, size_t *ret_count);
// Names of its listeners; free() it.
char *source_listeners(const struct sources *sources, const struct source *source);
const struct config_ocsp *source_fetch(const struct sources *sources, const struct source *source);
const char *source_file(const struct source *source);     // chain or PKCS#12
const char *source_key_file(const struct source *source); // NULL with PKCS#12
// Everything of it, out of service first if it is there (that was said).
void source_destroy(struct sources *sources, struct source *source);

// ---- sources_certificate.c ----

void certificate_init(struct source *source); // the files of source->config
// Looks at its files and takes them into service if they are new and right.
void certificate_look(struct sources *sources, struct source *source);
void certificate_read(struct sources *sources, struct source *source); // whether they are new or not
// Puts a version (owned from now on) into service.
void certificate_serve(struct sources *sources, struct source *source, struct certificate *certificate);
// A version that has waited long enough for its response goes into service without.
void certificate_wait_no_longer(struct sources *sources, struct source *source);
// It has another rank.
void certificate_move(struct sources *sources, struct source *source);
// Its files are gone for good.
void certificate_remove(struct sources *sources, struct source *source);
const char *
certificate_id_text(const struct certificate *certificate); // good until the next but three; NULL: NULL

// ---- sources_staple.c ----

bool staple_is_wanted(const struct sources *sources, const struct source *source);
void staple_look(struct sources *sources, struct source *source);
void staple_drop_ended(struct sources *sources, struct source *source);
// Takes it into service, NULL: none. Owned from now on.
void staple_serve(struct sources *sources, struct source *source, struct staple *staple);
// For a version that is not in service: what the file holds for it; NULL: nothing good.
struct staple *staple_read_for(struct sources *sources, struct source *source,
                               const struct certificate *certificate);

// ---- sources_folder.c ----

void folders_find(struct sources *sources); // those that the configuration names
// Lists what leads through `way` (NULL: everything).
void folder_look(struct sources *sources, struct source_folder *folder, const struct way_folder *way);
void folders_finish(struct sources *sources);

// ---- sources_trust.c ----

void trusts_find(struct sources *sources);
void trusts_look(struct sources *sources, const struct way_folder *way);
void trusts_initial(const struct sources *sources, struct change *change);
void trusts_finish(struct sources *sources);

// ---- sources_servers.c ----

void servers_look(struct sources *sources, const struct way_folder *way);
void servers_finish(struct sources *sources);

// ---- sources_names.c ----

// Warns of names that two certificates of a kind are for, once; finds the listeners' defaults.
void names_look(struct sources *sources);
void conflicts_destroy(struct conflicts *conflicts); // NULL is accepted

// ---- sources_history.c ----

struct history *history_create(void);
void history_destroy(struct history *history); // NULL is accepted
void history_add(struct history *history, const struct certificate *certificate);
// Calls `each` for all of them, the oldest first. The texts live during the call.
void history_each(const struct history *history,
                  void (*each)(void *owner, const uint8_t *fingerprint, const char *const *names, size_t count),
                  void *owner);
// As sources_replaced(), without those for which `is_served` is true.
size_t history_find(const struct history *history, const char *name,
                    bool (*is_served)(void *owner, uint64_t id), void *owner, uint64_t *ids, size_t max);

// ---- sources_say.c ----

// Two lines of the log, and what they are about.
struct saying {
    const char *wrong;
    const char *healed;
    const char *file;
    const char *key_file; // NULL: none
    const char *serving;  // the version that stays; NULL: none
    bool is_own;          // named by the configuration: when it is wrong, that is
};

// The files of the piece are wrong: every error in `found`. While loading that goes to the report, else into the log if the reason is
// another than before.
void say_wrong(struct sources *sources, struct piece *piece, const struct report *found,
               const struct saying *saying);
void say_healed(struct sources *sources, struct piece *piece, const struct saying *saying);
// The warnings in `found`.
void say_warnings(struct sources *sources, const struct report *found, const char *file);
// The errors in `found` as one text; free() it.
char *report_text(const struct report *found);

// SPDX-License-Identifier: Apache-2.0
// Sources, watch and responders that tell the master what a test wants. They stand in place of the library's own: the linker meets them
// first.
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ringbolt/tls.h"
#include "src/control/responder.h"
#include "src/control/sources.h"
#include "src/control/watch.h"

// What the fake sources tell the master: shared with it, so that a test can change it while it runs.
struct stage {
    uint64_t retire;               // the certificate that the change is about
    _Atomic bool is_changed;       // the next look finds a change: that certificate is retired
    _Atomic unsigned removed;      // what the next look says beside
    _Atomic bool has_problem;      // something is wrong now
    _Atomic unsigned looks;        // how often everything was looked at
    _Atomic unsigned forced;       // with `force`
    _Atomic unsigned warned;       // of certificates that end
    _Atomic unsigned certificates; // how many are served
};
static struct stage *stage;

#define FAKE_PROBLEM "chain.pem: the certificate expired; renew it"

static char *fake_names[] = {(char *)"www.example", (char *)"*.example"};
static const struct certificate fake_certificate = {
    .id = 0xfedcba9876000000,
    .fingerprint = {0xfe, 0xdc, 0xba, 0x98, 0x76},
    .names = fake_names,
    .name_count = 2,
    .subject = (char *)"CN=www.example",
    .issuer = (char *)"CN=Test,O=Example",
    .serial = (char *)"01",
    .not_before_s = 1700000000,
    .not_after_s = 1700086400,
    .kind = CERTIFICATE_ECDSA,
    .key_bits = 256,
};

struct loader *loader_create(bool may_ask)
{
    return NULL;
}

void loader_ask_no_more(struct loader *loader)
{
}

void loader_destroy(struct loader *loader)
{
}

void loader_answers(const struct loader *loader,
                    void (*each)(void *owner, const char *path, const char *phrase, size_t length), void *owner)
{
}

int loader_answer(struct loader *loader, const char *path, const char *phrase, size_t length)
{
    return -EINVAL;
}

int certificate_develop_again(const struct material_bytes *leaf, const struct material_bytes *authority,
                              const struct material_bytes *key, struct report *report, struct certificate **ret)
{
    return -EINVAL;
}

void sources_pack_staples(struct sources *sources, struct pack *pack)
{
}

bool sources_unpack_staples(struct sources *sources, const uint8_t *bytes, size_t size, int64_t now_s)
{
    return true;
}

void sources_pack_history(struct sources *sources, struct pack *pack)
{
}

bool sources_unpack_history(struct sources *sources, const uint8_t *bytes, size_t size)
{
    return true;
}

int certificate_develop(const char *ca_file, struct report *report, struct certificate **ret)
{
    return -EINVAL;
}

int tls_check(const struct config *unused, struct report *report)
{
    return 0;
}

int sources_load(const struct config *unused, struct loader *loader, struct certificate *develop,
                 bool is_check, struct report *report, struct sources **ret)
{
    *ret = (struct sources *)stage;
    return 0;
}

void sources_destroy(struct sources *sources)
{
}

void sources_servers(struct sources *sources, const struct tls_upstreams *upstreams)
{
}

void sources_initial(const struct sources *sources, struct change *change)
{
}

void sources_check(struct sources *sources, const char *looked_at, bool force, struct change *change,
                   struct sources_result *ret)
{
    *ret = (struct sources_result){.removed = atomic_exchange(&stage->removed, 0)};
    if (atomic_exchange(&stage->is_changed, false)) {
        change_retire(change, &stage->retire, 1);
        ret->changed = 1;
    }
    stage->forced += force;
    stage->looks++;
}

void sources_folders(struct sources *sources, void (*each)(void *owner, const char *name), void *owner)
{
}

uint64_t sources_due_ns(const struct sources *sources)
{
    return UINT64_MAX;
}

void sources_each(struct sources *sources, void (*each)(void *owner, const struct source_state *state),
                  void *owner)
{
    struct source_state state = {.slot = 3,
                                 .listeners = "one, two",
                                 .file = "/etc/\xff/chain.pem", // not UTF-8
                                 .key_file = "/etc/key.pem",
                                 .certificate = &fake_certificate,
                                 .loaded_s = 1700000001,
                                 .problem = stage->has_problem ? FAKE_PROBLEM : NULL,
                                 .is_default = true};

    for (unsigned i = 0; i < stage->certificates; i++)
        each(owner, &state);
}

void sources_problems(struct sources *sources, void (*each)(void *owner, const char *problem), void *owner)
{
    if (stage->has_problem)
        each(owner, FAKE_PROBLEM);
}

void sources_staple(struct sources *sources, uint32_t slot, uint64_t certificate_id, struct staple *staple,
                    const char *problem, struct change *change)
{
}

size_t sources_replaced(const struct sources *sources, const char *name, uint64_t *ids, size_t max)
{
    if (strcmp(name, "old.example") != 0)
        return 0;
    ids[0] = stage->retire;
    return 1;
}

void sources_warn_expiry(struct sources *sources, int64_t now_s)
{
    stage->warned++;
}

int watch_create(struct loop *loop, watch_changed *changed, void *owner, struct watch **ret)
{
    return 0;
}

void watch_destroy(struct watch *watch)
{
}

void watch_begin(struct watch *watch)
{
}

void watch_folder(struct watch *watch, const char *name)
{
}

void watch_end(struct watch *watch)
{
}

int responders_create(struct loop *loop, const struct config *unused, const struct account *account,
                      responders_answered *answered, void *owner, struct responders **ret)
{
    return 0;
}

void responders_destroy(struct responders *responders)
{
}

void responders_want(struct responders *responders, uint32_t slot, const struct certificate *certificate,
                     const struct config_ocsp *ocsp, const struct staple *served)
{
}

void responders_forget(struct responders *responders, uint32_t slot)
{
}

bool responders_reap(struct responders *responders, int pid, int status)
{
    return false;
}

// SPDX-License-Identifier: Apache-2.0
// A YAML file of any bytes either becomes a plan that can be carried out, or is refused with a reason. No file is opened.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "src/pki/plan.h"

static void check_entity(const struct plan *plan, size_t index)
{
    const struct entity *entity = plan->order[index];
    const struct wish *wish = &entity->wish;
    bool is_after_issuer = entity->issuer == NULL;

    for (size_t i = 0; i < index; i++)
        is_after_issuer |= plan->order[i] == entity->issuer;
    REQUIRE(is_after_issuer);
    REQUIRE(entity->name != NULL && entity->name[0] != '\0' && entity->name[0] != '.' &&
            strchr(entity->name, '/') == NULL);
    REQUIRE(entity->is_authority == (wish->profile == PROFILE_CA) && wish->profile != PROFILE_UNSAID);
    REQUIRE(entity->is_authority || entity->issuer != NULL);
    REQUIRE(entity->kind.type != NULL);
    REQUIRE(X509_NAME_entry_count(wish->subject) > 0 || sk_GENERAL_NAME_num(wish->names) > 0);
    REQUIRE(wish->days == 0 || wish->not_after == 0);
    REQUIRE(entity->source.kind == PASSPHRASE_UNSAID || entity->source.kind == PASSPHRASE_PROMPT ||
            entity->source.where != NULL);
    REQUIRE(node_get(entity->node, "name") != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct report report;
    struct plan plan;

    report_init(&report, "fuzz.yaml");
    if (plan_parse((const char *)data, size, "/fuzz", &plan, &report) == STATUS_OK) {
        REQUIRE(report.error_count == 0 && plan.count > 0);
        // Each of many would be looked for among all.
        for (size_t i = 0; i < plan.count && i < 100; i++)
            check_entity(&plan, i);
    } else {
        REQUIRE(report.error_count > 0);
    }
    plan_finish(&plan);
    report_finish(&report);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// The values of one entry of the YAML file.
#pragma once

#include "src/pki/plan.h"
#include "src/pki/raw.h"

// Fills wish, kind and source of an entity whose node and is_authority are set; reports what is wrong.
void plan_values(struct entity *entity, const struct raw_entity *raw, const char *directory,
                 struct report *report);

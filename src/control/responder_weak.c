// SPDX-License-Identifier: Apache-2.0
// Stands in for responder.c until that is there; then this file goes.
#include "responder.h"

#include <stddef.h>

#define WEAK __attribute__((weak))

WEAK int responders_create(struct loop *loop, const struct config *config, const struct account *account, responders_answered *answered,
                           void *owner, struct responders **ret)
{
    *ret = NULL;
    return 0;
}
WEAK void responders_destroy(struct responders *responders)
{
}
WEAK void responders_want(struct responders *responders, uint32_t slot, const struct certificate *certificate,
                          const struct config_ocsp *ocsp)
{
}
WEAK void responders_forget(struct responders *responders, uint32_t slot)
{
}
WEAK bool responders_reap(struct responders *responders, int pid, int status)
{
    return false;
}

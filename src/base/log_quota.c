// SPDX-License-Identifier: Apache-2.0
#include "ringbolt/log_quota.h"

bool log_quota_take(struct log_quota *quota, uint64_t now_ns)
{
    if (quota->withheld == 0 && now_ns >= quota->until_ns)
        *quota = (struct log_quota){.until_ns = now_ns + LOG_QUOTA_NS};
    if (quota->withheld == 0 && quota->said < LOG_QUOTA_LINES) {
        quota->said++;
        return true;
    }
    quota->withheld++; // also when the interval is over: what it withheld is to be said first
    return false;
}

uint64_t log_quota_due_ns(const struct log_quota *quota)
{
    return quota->withheld > 0 ? quota->until_ns : 0;
}

uint64_t log_quota_rest(struct log_quota *quota, uint64_t now_ns)
{
    uint64_t withheld = quota->withheld;

    if (withheld == 0 || now_ns < quota->until_ns)
        return 0;
    *quota = (struct log_quota){.until_ns = now_ns + LOG_QUOTA_NS};
    return withheld;
}

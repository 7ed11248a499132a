// SPDX-License-Identifier: Apache-2.0
// Names of hosts as clients ask for them (SNI).
#pragma once

// A host name or, for all names one label below another, a wildcard: "*.example.com". 0 and *ret is the name in lower
// case, the caller's; or -EINVAL and *ret_why (static text) says what is wrong and what would be right. Aborts on no memory.
int host_parse(const char *text, char **ret, const char **ret_why);

// SPDX-License-Identifier: Apache-2.0
// X.509 extensions out of a wish, and out of what was there before.
#pragma once

#include "src/pki/wish.h"

// The extensions of a certificate for `key` (public) by `issuer`; NULL: by itself. Those that the wish does not say follow
// from profile and key; both key identifiers always. Free with sk_X509_EXTENSION_pop_free().
enum status extensions_make(const struct wish *wish, EVP_PKEY *key, const X509 *issuer,
                            STACK_OF(X509_EXTENSION) * *ret);

// Those that a request may ask for.
enum status extensions_make_request(const struct wish *wish, EVP_PKEY *key, STACK_OF(X509_EXTENSION) * *ret);

// Those of `old` once more, as they are and in their order, except the two identifiers, which follow from key and
// issuer.
enum status extensions_copy(const X509 *old, EVP_PKEY *key, const X509 *issuer,
                            STACK_OF(X509_EXTENSION) * *ret);

// Replaces or adds one extension by what a request asks for, if it does. 0, 1 when it was there, or -EINVAL when what it
// asks for is damaged.
int extensions_take(STACK_OF(X509_EXTENSION) * *extensions, const X509_REQ *request, int nid);

// Whether a certificate has exactly these; *ret_nid is the first that differs.
bool extensions_equal(const X509 *certificate, const STACK_OF(X509_EXTENSION) * extensions, int *ret_nid);

// What people call an extension: `names`, `key usage` …
const char *extension_word(int nid);

// SPDX-License-Identifier: Apache-2.0
// Subject alternative names (RFC 5280 §4.2.1.6), and addresses (URIs) in other extensions.
#pragma once

#include <stdbool.h>

#include <openssl/x509v3.h>

#include "src/pki/status.h"

#define ALTNAME_TEXT_MAX 320

// `localhost`, `*.example.com`, `127.0.0.1`, `::1`, `me@example.com`, `https://example.com/me`: what it is shows; or said
// ahead of it, `DNS:`, `IP:`, `email:`, `URI:`. 0 and *ret, GENERAL_NAME_free() it; or -EINVAL and why.
int altname_parse(const char *text, GENERAL_NAME **ret, char why[static WHY_MAX]);

// Whether the text is an address or a host's name, so that it can stand for itself.
bool altname_is_host(const char *text);

// `DNS:localhost`, `IP:::1`, `email:…`, `URI:…`; other kinds by what they are.
void altname_text(const GENERAL_NAME *name, char text[static ALTNAME_TEXT_MAX]);

// An http:// (or https://, ldap://) address for CRLs, OCSP and issuers. 0, or -EINVAL and why.
int uri_check(const char *text, char why[static WHY_MAX]);

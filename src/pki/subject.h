// SPDX-License-Identifier: Apache-2.0
// Distinguished names: who a certificate is for.
#pragma once

#include <openssl/x509.h>

#include "src/pki/status.h"

#define SUBJECT_TEXT_MAX 1024

// The attributes that YAML and the command line know, in the order in which a name from YAML holds them: `DC` is
// a domain (example.com), which becomes one attribute a label.
struct subject_attribute {
    const char *name; // as OpenSSL's short name for it
    int nid;
};
extern const struct subject_attribute subject_attributes[];
extern const size_t subject_attribute_count;

// Appends an attribute. 0; -EINVAL and why; aborts on no memory.
int subject_add(X509_NAME *name, const struct subject_attribute *attribute, const char *value,
                char why[static WHY_MAX]);

// `CN=localhost, O=Example` or `/O=Example/CN=localhost`, attributes in the order they shall have; a backslash takes the
// next character as it is. 0 and *ret, X509_NAME_free() it; or -EINVAL and why.
int subject_parse(const char *text, X509_NAME **ret, char why[static WHY_MAX]);

// `CN=localhost, O=Example` as it stands in the certificate; cut when it is very long.
void subject_text(const X509_NAME *name, char text[static SUBJECT_TEXT_MAX]);

// SPDX-License-Identifier: Apache-2.0
// What certificates, requests, CRLs and keys say, as JSON; and that JSON as text for people.
#pragma once

#include <stdbool.h>

#include <jansson.h>
#include <openssl/x509.h>

// New objects, in the order in which people want to read them. Abort on no memory.
json_t *facts_of_certificate(X509 *certificate);
json_t *facts_of_request(X509_REQ *request);
json_t *facts_of_crl(X509_CRL *crl);
// key NULL: encrypted, and not opened.
json_t *facts_of_key(EVP_PKEY *key, bool is_encrypted);

// Sets a text; what is no UTF-8 in it becomes `?`.
void facts_set(json_t *facts, const char *key, const char *text);

// Writes an object to standard output: `FILE: KIND` and a line for each of its facts.
void facts_print(const json_t *facts);

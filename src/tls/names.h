// SPDX-License-Identifier: Apache-2.0
// The names that a certificate is for, as clients send them (SNI, RFC 6066 §3), and what else of its text is shown.
#pragma once

#include <stddef.h>

#include <openssl/x509.h>

// The DNS names of subjectAltName in their order, lower case, each once; without any the common name if it is a host name. Names
// that no client can send are left out: other characters, a wildcard that isn't the whole first label; IP addresses, which
// are not for SNI. *ret: an array of `*ret_count` strings, each free()d as is the array (NULL when there are none). Aborts on no memory.
void names_of(const X509 *certificate, char ***ret, size_t *ret_count);

// Frees such an array. NULL is accepted.
void names_free(char **names, size_t count);

// A distinguished name as RFC 2253, ASCII: the caller free()s it. Aborts on no memory.
char *names_print(const X509_NAME *name);

// SPDX-License-Identifier: Apache-2.0
// Files of certificates and requests in PEM.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <openssl/bio.h>
#include <openssl/x509.h>

#include "src/pki/status.h"
#include "src/pki/subject.h"

#define PEM_SIZE_MAX ((size_t)16 << 20)

// The certificates of a file, one at least, in their order.
enum status pem_load_certificates(const char *path, STACK_OF(X509) * *ret);
// The first certificate of a file.
enum status pem_load_certificate(const char *path, X509 **ret);
// The certificate request of a file, whose signature is good.
enum status pem_load_request(const char *path, X509_REQ **ret);

bool is_self_signed(X509 *certificate);

// Whom a certificate is for, in a line for people: its subject, or its names when that is empty.
void whom_text(const X509 *certificate, char text[static SUBJECT_TEXT_MAX]);

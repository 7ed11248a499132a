// SPDX-License-Identifier: Apache-2.0
// What is told of a handshake's certificates: see engine_certificates().
#pragma once

#include <openssl/x509.h>

#include "ringbolt/tls.h"

// client: the client's, ours: what it was shown; NULL: none. *ret is filled anew. 0, or -ENOMEM.
int certificates_describe(X509 *client, const X509 *ours, struct engine_certificates *ret);

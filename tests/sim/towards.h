// SPDX-License-Identifier: Apache-2.0
// A simulated server that is spoken to in TLS: its certificate, and our context that believes it.
#pragma once

#include <stdbool.h>

#include <openssl/ssl.h>

#include "ringbolt/tls.h"

// Sets `tls` of the first upstream of `config`. The server sends no tickets of TLS 1.3 and is called localhost. Everything lives as long as
// the process. False: something is missing.
bool towards_make(struct config *config, struct report *report, SSL_CTX **ret_server,
                  struct tls_context **ret_context);

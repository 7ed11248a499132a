// SPDX-License-Identifier: Apache-2.0
// What a client's handshake needs of its context, inside the room.
#pragma once

#include <stdbool.h>

#include <openssl/ssl.h>

#include "ringbolt/tls.h"

// Takes over the files as they are now for the handshakes that begin from now on. Without memory for that it says so, and is as it was.
void client_refresh(struct tls_context *context);

// Whom it is for, and what protocols are offered. False: no memory.
bool client_prepare(const struct tls_context *context, SSL *ssl, const struct engine_peer *peer);

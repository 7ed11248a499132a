// SPDX-License-Identifier: Apache-2.0
// An OpenSSL provider of our own, in this process: the key schedules of TLS 1.3 and 1.2 and their HMAC, faster than the default
// provider's, for whoever asks for them by PROVIDER_QUERY. libssl's handshake goes through it, so that the secrets that the record layer needs
// can be had from there, rather than as text from its key log. OpenSSL's interface: provider(7), provider-kdf(7), provider-mac(7).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The property query of SSL_CTX_new_ex() and of fetches. A preference only: where the machine's policy (default_properties, for FIPS)
// rules this provider out, OpenSSL takes another.
#define PROVIDER_QUERY "?ringbolt.keys=yes"

enum provider_secret {
    PROVIDER_CLIENT_TRAFFIC, // client_application_traffic_secret_0, RFC 8446 §7.1
    PROVIDER_SERVER_TRAFFIC, // server_application_traffic_secret_0
    PROVIDER_KEY_BLOCK,      // RFC 5246 §6.3
};

typedef void provider_watch_fn(void *argument, enum provider_secret which, const uint8_t *secret, size_t size);

// Loads it, in the default library context. Call it before threads begin; again: nothing happens. True if PROVIDER_QUERY leads here; false
// when the machine's policy or this OpenSSL will not have it, which is no error.
bool provider_init(void);

// What provider_init() found.
bool provider_serves(void);

void provider_finish(void);

// Until it is called with NULL, the function hears of the secrets that OpenSSL derives in this thread, at the moment when the keys of that
// direction change. They are wiped when it returns.
void provider_watch(provider_watch_fn *watch, void *argument);

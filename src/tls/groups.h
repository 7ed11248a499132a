// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>

#include <openssl/ssl.h>

#include "ringbolt/config.h"

// Sets those of the configured groups that this OpenSSL has, best first. False when it has none, or there is no memory.
bool groups_set(SSL_CTX *ssl, const struct config_tls *config);

// The same, and says of those that it has not what the configuration should be told. False: said in `report`.
bool groups_check(SSL_CTX *ssl, const struct config_tls *tls, struct report *report);

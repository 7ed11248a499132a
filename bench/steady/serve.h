// SPDX-License-Identifier: Apache-2.0
// The end behind the proxy: answers, streams, and checks every byte of its clients'.
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

struct serve_options {
    const char *address;     // HOST:PORT of this machine, port 0 for any
    const char *chain, *key; // NULL: plaintext
    bool is_proxied;         // each connection begins with a header of the PROXY protocol
};

// Prints the address, and serves until standard input ends. An exit status.
int serve(const struct serve_options *options);

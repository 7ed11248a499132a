// SPDX-License-Identifier: Apache-2.0
// The command line.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum mode {
    MODE_HANDSHAKES,
    MODE_REQUESTS,
    MODE_DOWNLOAD,
    MODE_UPLOAD,
    MODE_BOTH,
    MODE_IDLE,
    MODE_CHURN,
    MODE_PATTERN, // no load: writes the pattern that bulk modes send
    MODE_COUNT
};

#define OPTIONS_THREADS_MAX     256
#define OPTIONS_CONNECTIONS_MAX 1000000

// What the command line says, with the defaults filled in. Strings point into argv, except those that are said to be owned.
struct options {
    enum mode mode;
    // where
    const char *address_text;
    struct sockaddr_storage address;
    socklen_t address_size;
    // how much
    uint64_t warm_up_ns;
    uint64_t duration_ns; // UINT64_MAX: until `count`
    uint64_t timeout_ns;
    uint64_t count; // of units; UINT64_MAX: until the duration is over
    double rate;    // units a second; 0: as fast as the connections allow
    unsigned threads;
    unsigned connections;
    // TLS
    int version;      // 0x0303, 0x0304; 0: either
    const char *name; // of the server, for SNI and verification
    bool is_name_address;
    const char *ca; // NULL: the system's
    const char *groups, *ciphers, *ciphersuites, *key;
    uint8_t *alpn; // in wire format; owned
    size_t alpn_size;
    bool is_insecure, is_resuming, is_openssl;
    bool is_leaving; // handshakes: closes without a goodbye
    // the work
    const char *path, *host;
    bool is_raw, is_checking_alive, is_verifying;
    int status;      // 0: 200, or any 2xx for PUT
    uint64_t length; // that every answer must have; UINT64_MAX: any
    bool has_sha256;
    uint8_t sha256[32];
    uint64_t size;  // of what is sent; UINT64_MAX: raw streams go on until the time is up
    char *preamble; // owned
    size_t preamble_size;
    const char *pattern_file;
    // the report
    bool is_json, is_allowing_errors;
    int notify_fd; // -1: none
};

// What to do after the command line was read.
enum options_result { OPTIONS_GO, OPTIONS_SHOWN, OPTIONS_WRONG };

// Reads it. OPTIONS_SHOWN: it asked for help or the version and has got it; OPTIONS_WRONG: the complaint was written to
// standard error. Only with OPTIONS_GO is there something to finish.
enum options_result options_parse(int argc, char **argv, struct options *ret);
void options_finish(struct options *options);

const char *mode_name(enum mode mode);
// What is counted: "handshakes".
const char *mode_unit(const struct options *options);

// Writes the help (help.c).
void help_print(void);

// SPDX-License-Identifier: Apache-2.0
// Words for why a handshake failed. Where an operator would ask what to do about it they are ours, otherwise
// OpenSSL's reason in lower case. They are stable: people search their logs for them.
#include "src/tls/failure.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "ringbolt/record.h"

static const char *version_text(const struct failure_facts *facts)
{
    if (facts->version_offered >= facts->version_min)
        return "unsupported protocol version";
    switch (facts->version_offered) {
    case 0x0300:
        return "client offers at most SSL 3.0";
    case 0x0301:
        return "client offers at most TLS 1.0";
    case 0x0302:
        return "client offers at most TLS 1.1";
    case 0x0303:
        return "client offers at most TLS 1.2";
    default:
        return "unsupported protocol version";
    }
}

// The methods that OpenSSL doesn't look for, and HTTP/2 with prior knowledge (RFC 9113 §3.4).
static bool is_http(const uint8_t *start)
{
    static const char methods[][RECORD_HEADER_SIZE + 1] = {"DELET", "OPTIO", "PATCH", "TRACE", "PRI *"};

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (memcmp(start, methods[i], RECORD_HEADER_SIZE) == 0)
            return true;
    }
    return false;
}

// NULL when OpenSSL's own words do.
static const char *reason_text(const struct failure_facts *facts, int reason)
{
    switch (reason) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return "plain HTTP on the TLS port";
    case SSL_R_WRONG_VERSION_NUMBER:
        if (facts->is_hello_read)
            return "record of a wrong protocol version";
        return is_http(facts->start) ? "plain HTTP on the TLS port" : "not a TLS handshake";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_VERSION_TOO_HIGH:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
        return version_text(facts);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "client shows no certificate";
    case SSL_R_NO_SHARED_CIPHER:
        return "no shared cipher suite";
    case SSL_R_EXCESSIVE_MESSAGE_SIZE:
        return "handshake message too large";
    case SSL_R_DATA_LENGTH_TOO_LONG:
    case SSL_R_ENCRYPTED_LENGTH_TOO_LONG:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
        return "record too large";
    default:
        return NULL;
    }
}

// The same of a server.
static const char *server_reason_text(int reason)
{
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
        return "server does not speak TLS";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_VERSION_TOO_HIGH:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
        return "no protocol version in common";
    case SSL_R_EXCESSIVE_MESSAGE_SIZE:
        return "handshake message too large";
    default:
        return NULL;
    }
}

// The first error of libssl, which names the cause; without one the first of any kind. 0 when there is none.
static unsigned long queue_cause(void)
{
    unsigned long cause = 0;
    unsigned long error;

    while ((error = ERR_get_error()) != 0) {
        if (cause == 0 || (ERR_GET_LIB(cause) != ERR_LIB_SSL && ERR_GET_LIB(error) == ERR_LIB_SSL))
            cause = error;
    }
    return cause;
}

// OpenSSL's words are written like titles, with capitals at the start of some.
static void copy_lower(char *text, size_t size, const char *words)
{
    snprintf(text, size, "%s", words != NULL ? words : "unknown error");
    for (; *text != '\0'; text++)
        *text = (char)tolower((unsigned char)*text);
}

void failure_describe(const struct failure_facts *facts, char *text, size_t size)
{
    unsigned long cause = queue_cause();
    bool is_ssl = cause != 0 && ERR_GET_LIB(cause) == ERR_LIB_SSL;
    int reason = ERR_GET_REASON(cause);
    const char *who = facts->is_by_server ? "server" : "client";
    const char *words = !is_ssl               ? NULL
                        : facts->is_by_server ? server_reason_text(reason)
                                              : reason_text(facts, reason);

    if (words != NULL)
        snprintf(text, size, "%s", words);
    else if (is_ssl && reason > SSL_AD_REASON_OFFSET) // an alert of that number came
        snprintf(text, size, "%s sent alert %s", who,
                 record_alert_name((enum record_alert)(reason - SSL_AD_REASON_OFFSET)));
    else if (cause != 0)
        copy_lower(text, size, ERR_reason_error_string(cause));
    else if (facts->is_closed)
        snprintf(text, size, "%s sent alert close_notify", who);
    else // nothing else fails without leaving an error
        snprintf(text, size, "out of memory");
}

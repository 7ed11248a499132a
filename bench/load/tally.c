// SPDX-License-Identifier: Apache-2.0
// What a thread counts.
#include "tally.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *words;
} failures[FAILURE_COUNT] = {
    [FAILURE_NONE] = {"none", "nothing failed"},
    [FAILURE_CONNECT_REFUSED] = {"connect_refused", "connection refused"},
    [FAILURE_CONNECT_TIMEOUT] = {"connect_timeout", "no answer to connecting in time"},
    [FAILURE_CONNECT] = {"connect_failed", "could not connect"},
    [FAILURE_HANDSHAKE_ALERT] = {"handshake_alert", "the server ended the handshake with an alert"},
    [FAILURE_HANDSHAKE_REFUSED] = {"handshake_refused", "this client ended the handshake"},
    [FAILURE_HANDSHAKE_CLOSED] = {"handshake_closed", "the server closed during the handshake"},
    [FAILURE_HANDSHAKE_RESET] = {"handshake_reset", "the connection was reset during the handshake"},
    [FAILURE_HANDSHAKE_TIMEOUT] = {"handshake_timeout", "the handshake took too long"},
    [FAILURE_NOT_RESUMED] = {"not_resumed", "the server did not resume the session that was offered"},
    [FAILURE_NO_TICKET] = {"no_ticket", "the server gave no session to resume"},
    [FAILURE_ALERT] = {"alert", "the server sent an alert after the handshake"},
    [FAILURE_BAD_RECORD] = {"bad_record", "a record did not authenticate, or broke the protocol"},
    [FAILURE_RESET] = {"reset", "the connection was reset"},
    [FAILURE_TRUNCATED] = {"truncated", "the stream ended without close_notify"},
    [FAILURE_CLOSED_EARLY] = {"closed_early", "the server closed before the answer was complete"},
    [FAILURE_CLOSED_IDLE] = {"closed_idle", "the server closed an idle connection"},
    [FAILURE_TIMEOUT] = {"timeout", "nothing moved for too long"},
    [FAILURE_BAD_RESPONSE] = {"bad_response", "the answer was not an HTTP/1.1 response"},
    [FAILURE_WRONG_STATUS] = {"wrong_status", "another HTTP status than expected"},
    [FAILURE_WRONG_LENGTH] = {"wrong_length", "another length than expected"},
    [FAILURE_WRONG_CHECKSUM] = {"wrong_checksum", "another SHA-256 than expected"},
    [FAILURE_WRONG_BYTES] = {"wrong_bytes", "other bytes than expected"},
    [FAILURE_INTERNAL] = {"internal", "this client failed"},
};

const char *failure_name(enum failure failure)
{
    return failures[failure].name;
}

const char *failure_words(enum failure failure)
{
    return failures[failure].words;
}

void tally_fail(struct tally *tally, enum failure failure, const char *detail)
{
    tally->failures[failure]++;
    if (detail != NULL && tally->details[failure][0] == '\0')
        snprintf(tally->details[failure], sizeof(tally->details[failure]), "%s", detail);
}

uint64_t tally_failures(const struct tally *tally)
{
    uint64_t sum = 0;

    for (int i = 0; i < FAILURE_COUNT; i++)
        sum += tally->failures[i];
    return sum;
}

static bool same(const struct negotiated *a, const struct negotiated *b)
{
    return a->is_resumed == b->is_resumed && strcmp(a->version, b->version) == 0 &&
           strcmp(a->suite, b->suite) == 0 && strcmp(a->group, b->group) == 0 &&
           strcmp(a->key, b->key) == 0 && strcmp(a->alpn, b->alpn) == 0;
}

static void count_kind(struct tally *tally, const struct negotiated *negotiated, uint64_t count)
{
    for (unsigned i = 0; i < tally->kind_count; i++) {
        if (same(&tally->kinds[i].negotiated, negotiated)) {
            tally->kinds[i].count += count;
            return;
        }
    }
    if (tally->kind_count < TALLY_KINDS)
        tally->kinds[tally->kind_count++] = (struct tally_kind){*negotiated, count};
}

void tally_handshake(struct tally *tally, const struct negotiated *negotiated)
{
    tally->handshakes++;
    count_kind(tally, negotiated, 1);
}

void tally_merge(struct tally *into, const struct tally *from)
{
    for (int i = 0; i < FAILURE_COUNT; i++) {
        into->failures[i] += from->failures[i];
        if (into->details[i][0] == '\0')
            memcpy(into->details[i], from->details[i], sizeof(into->details[i]));
    }
    for (int i = 0; i < 256; i++) {
        into->handshake_alerts[i] += from->handshake_alerts[i];
        into->alerts[i] += from->alerts[i];
    }
    for (unsigned i = 0; i < from->kind_count; i++)
        count_kind(into, &from->kinds[i].negotiated, from->kinds[i].count);
    into->handshakes += from->handshakes;
    into->primers += from->primers;
    into->units += from->units;
    into->units_all += from->units_all;
    into->received += from->received;
    into->received_all += from->received_all;
    into->sent += from->sent;
    into->sent_all += from->sent_all;
    into->reconnects += from->reconnects;
    into->unsent += from->unsent;
    into->cut += from->cut;
    histogram_merge(&into->latency, &from->latency);
    histogram_merge(&into->service, &from->service);
    histogram_merge(&into->handshake, &from->handshake);
}

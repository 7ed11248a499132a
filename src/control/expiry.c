// SPDX-License-Identifier: Apache-2.0
// Warnings ahead of the end of a certificate: nobody should learn of it from clients.
#include "ringbolt/log.h"
#include "sources_inside.h"

#define DAY_S    86400
#define AHEAD_S  (21 * DAY_S)
#define REPEAT_S (DAY_S - 3600) // once a day, also when the day's look comes a little early

static bool is_soon(const struct certificate *certificate, int64_t now_s)
{
    int64_t third_s = (certificate->not_after_s - certificate->not_before_s) / 3;

    return certificate->not_after_s - now_s < (third_s < AHEAD_S ? third_s : AHEAD_S);
}

// An hour before is not "0 days left" but the day is.
static int64_t days_left(int64_t end_s, int64_t now_s)
{
    return end_s > now_s ? (end_s - now_s) / DAY_S : -((now_s - end_s) / DAY_S);
}

static void warn_certificate(struct source *source, int64_t now_s)
{
    const struct certificate *certificate = source->certificate;

    if (!is_soon(certificate, now_s) || now_s - source->warned_s < REPEAT_S)
        return;
    source->warned_s = now_s;
    if (certificate->not_after_s <= now_s)
        log_error("certificate has expired, clients refuse it", log_text("subject", certificate->subject),
                  log_text("certificate", certificate_id_text(certificate)),
                  log_text("file", source_file(source)),
                  log_integer("days_left", days_left(certificate->not_after_s, now_s)),
                  log_text("reason", source->files.problem),
                  log_text("cure", "put a renewed one there, it is taken into service at once"));
    else
        log_warning("certificate expires soon", log_text("subject", certificate->subject),
                    log_text("certificate", certificate_id_text(certificate)),
                    log_text("file", source_file(source)),
                    log_integer("days_left", days_left(certificate->not_after_s, now_s)),
                    log_text("reason", source->files.problem),
                    log_text("cure", "put a renewed one there, it is taken into service at once"));
}

// Past its nextUpdate a revocation list makes every client certificate of its issuer fail.
static void warn_trust(struct source_trust *trust, int64_t now_s)
{
    if (trust->trust == NULL || trust->trust->next_update_s > now_s || now_s - trust->warned_s < REPEAT_S)
        return;
    trust->warned_s = now_s;
    log_error("revocation list has ended, client certificates are refused",
              log_text("file", trust->config->crl_count > 0 ? trust->config->crls[0] : trust->config->ca),
              log_text("reason", trust->files.problem),
              log_text("cure", "put a newer one there, it is taken into service at once"));
}

void sources_warn_expiry(struct sources *sources, int64_t now_s)
{
    for (size_t i = 0; i < sources->slot_count; i++) {
        if (sources->slots[i] != NULL)
            warn_certificate(sources->slots[i], now_s);
    }
    for (size_t i = 0; i < sources->trust_count; i++)
        warn_trust(&sources->trusts[i], now_s);
}

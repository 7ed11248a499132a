// SPDX-License-Identifier: Apache-2.0
// What kernel and OpenSSL can do, as a table for people and as JSON for scripts.
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <openssl/crypto.h>

#include "ringbolt/control.h"
#include "ringbolt/log.h"
#include "ringbolt/record.h"
#include "ringbolt/ring.h"

struct probed {
    struct utsname kernel;
    struct ring_probe ring;
    struct record_probe record;
    bool has_ciphers; // OpenSSL offers the AEADs of the user record layer
    const char *aes_gcm; // whose
};

struct feature {
    const char *name;
    const char *words;
    bool has;
};

#define FEATURES 5

static void list_features(const struct ring_probe *ring, struct feature features[FEATURES])
{
    features[0] = (struct feature){"single_issuer", "single issuer", ring->single_issuer};
    features[1] = (struct feature){"buffer_rings", "buffer rings", ring->buffer_rings};
    features[2] = (struct feature){"multishot_receive", "multishot receive", ring->multishot_recv};
    features[3] = (struct feature){"send_zero_copy", "send zero copy", ring->send_zero_copy};
    features[4] = (struct feature){"bundles", "bundles", ring->bundles};
}

static const char *version_text(unsigned version)
{
    return version == 0 ? "TLSv1.2" : "TLSv1.3";
}

// ---- text ----

static const char *yes_or_no(bool has)
{
    return has ? "yes" : "no";
}

static void print_ring(const struct ring_probe *ring)
{
    struct feature features[FEATURES];

    if (ring->error != 0) {
        printf("io_uring: no (%s)\n  cure: %s\n", log_error_text(ring->error),
               ring->why ? ring->why : "none known");
        return;
    }
    printf("io_uring: yes\n");
    list_features(ring, features);
    for (size_t i = 0; i < FEATURES; i++)
        printf("  %-26s %s\n", features[i].words, yes_or_no(features[i].has));
}

// Returns whether something is missing.
static bool print_ciphers(const struct record_probe *record)
{
    bool is_missing = false;

    printf("  %-7s %-18s %-8s  %s\n", "version", "cipher", "transmit", "receive");
    for (unsigned version = 0; version < 2; version++) {
        for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++) {
            const int *error = record->error[version][cipher];
            int first = error[RECORD_TRANSMIT] != 0 ? error[RECORD_TRANSMIT] : error[RECORD_RECEIVE];

            printf("  %-7s %-18s %-8s  %s", version_text(version),
                   record_cipher_name((enum record_cipher)cipher), yes_or_no(error[RECORD_TRANSMIT] == 0),
                   yes_or_no(error[RECORD_RECEIVE] == 0));
            if (first != 0)
                printf(" (%s)", first == -ENOENT ? "the kernel has no such cipher" : log_error_text(first));
            printf("\n");
            is_missing |= first != 0;
        }
    }
    return is_missing;
}

static void print_ktls(const struct record_probe *record)
{
    if (record->attach_error != 0) {
        printf("kernel TLS: no (%s); records are protected in user space\n  cure: %s\n",
               control_ktls_reason(record->attach_error), control_ktls_cure(record->attach_error));
        return;
    }
    printf("kernel TLS: yes\n");
    if (print_ciphers(record))
        printf("  where it says no, records are protected in user space\n"
               "  cure: modprobe gcm, modprobe chacha20poly1305 (in a container: on the host), or a newer "
               "kernel\n");
    printf("  keys can be replaced (rekey): %s\n", record->rekey ? "yes" : "no (Linux 6.14 and later can)");
}

static void print_text(const struct probed *probed)
{
    printf("kernel: %s %s\n", probed->kernel.sysname, probed->kernel.release);
    printf("OpenSSL: %s\n  ciphers for records in user space: %s\n  AES-GCM there by: %s\n",
           OpenSSL_version(OPENSSL_VERSION), yes_or_no(probed->has_ciphers), probed->aes_gcm);
    print_ring(&probed->ring);
    print_ktls(&probed->record);
}

// ---- JSON ----

static void print_string(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            printf("\\u%04x", (unsigned)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

// `"NAME": null` or words for an error.
static void print_error(const char *name, int error)
{
    printf("\"%s\":", name);
    if (error == 0)
        printf("null");
    else
        print_string(log_error_text(error));
}

static const char *truth(bool is_true)
{
    return is_true ? "true" : "false";
}

static void print_json_ring(const struct ring_probe *ring)
{
    struct feature features[FEATURES];

    printf("\"io_uring\":{\"available\":%s,", truth(ring->error == 0));
    print_error("error", ring->error);
    printf(",\"cure\":");
    if (ring->error != 0 && ring->why)
        print_string(ring->why);
    else
        printf("null");
    list_features(ring, features);
    for (size_t i = 0; i < FEATURES; i++)
        printf(",\"%s\":%s", features[i].name, truth(ring->error == 0 && features[i].has));
    printf("}");
}

static void print_json_ktls(const struct record_probe *record)
{
    const char *comma = "";

    printf("\"ktls\":{\"available\":%s,", truth(record->attach_error == 0));
    print_error("error", record->attach_error);
    printf(",\"cure\":");
    if (record->attach_error != 0)
        print_string(control_ktls_cure(record->attach_error));
    else
        printf("null");
    printf(",\"rekey\":%s,\"ciphers\":[", truth(record->attach_error == 0 && record->rekey));
    for (unsigned version = 0; version < 2; version++) {
        for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++) {
            const int *error = record->error[version][cipher];

            printf("%s{\"tls\":\"%s\",\"cipher\":\"%s\",\"transmit\":%s,\"receive\":%s,", comma,
                   version_text(version), record_cipher_name((enum record_cipher)cipher),
                   truth(error[RECORD_TRANSMIT] == 0), truth(error[RECORD_RECEIVE] == 0));
            print_error("transmit_error", error[RECORD_TRANSMIT]);
            printf(",");
            print_error("receive_error", error[RECORD_RECEIVE]);
            printf("}");
            comma = ",";
        }
    }
    printf("]}");
}

static void print_json(const struct probed *probed)
{
    printf("{\"kernel\":");
    print_string(probed->kernel.release);
    printf(",\"openssl\":");
    print_string(OpenSSL_version(OPENSSL_VERSION));
    printf(",\"user_records\":%s,\"aes_gcm\":", truth(probed->has_ciphers));
    print_string(probed->aes_gcm);
    printf(",");
    print_json_ring(&probed->ring);
    printf(",");
    print_json_ktls(&probed->record);
    printf("}\n");
}

void cli_print_probe(bool json)
{
    struct probed probed = {0};

    (void)uname(&probed.kernel); // can't fail with a good pointer
    ring_probe(&probed.ring);
    probed.has_ciphers = record_init() == 0;
    probed.aes_gcm = record_cipher_library(RECORD_AES_128_GCM);
    (void)record_kernel_probe(&probed.record); // a failure shows in attach_error
    record_finish();
    if (json)
        print_json(&probed);
    else
        print_text(&probed);
}

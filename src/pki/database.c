// SPDX-License-Identifier: Apache-2.0
// The database as a file: words between single spaces, the subject last.
//
//     crl-number 2
//     valid 5D0C… 2026-11-21T09:25:00Z 2027-12-23T09:24:59Z - - CN=localhost
//     revoked 1B7A… 2026-11-21T09:25:00Z 2027-12-23T09:24:59Z 2026-11-22T10:00:00Z keyCompromise CN=client
//
// A record that nobody got the certificate of (the process was killed in between) is harmless; a certificate without a
// record could not be revoked. So the record is written first.
#include "src/pki/database.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <unistd.h>

#include <openssl/bn.h>

#include "ringbolt/file.h"
#include "src/config/memory.h"
#include "src/pki/moment.h"
#include "src/pki/pem.h"

#define SIZE_MAX_BYTES ((size_t)256 << 20)

static const char header[] =
    "# What this certificate authority has issued, and what of it is revoked. Written by `ringbolt pki`.\n"
    "# state serial not-before not-after revoked-at reason subject\n";

static const struct {
    enum reason reason;
    const char *word;
} reasons[] = {
    {REASON_UNSPECIFIED, "unspecified"},    {REASON_KEY_COMPROMISE, "keyCompromise"},
    {REASON_CA_COMPROMISE, "CACompromise"}, {REASON_AFFILIATION_CHANGED, "affiliationChanged"},
    {REASON_SUPERSEDED, "superseded"},      {REASON_CESSATION, "cessationOfOperation"},
    {REASON_HOLD, "certificateHold"},       {REASON_PRIVILEGE_WITHDRAWN, "privilegeWithdrawn"},
    {REASON_AA_COMPROMISE, "AACompromise"},
};
#define REASON_COUNT (sizeof(reasons) / sizeof(reasons[0]))

int reason_parse(const char *text, enum reason *ret, char why[static WHY_MAX])
{
    size_t used;

    for (size_t i = 0; i < REASON_COUNT; i++) {
        if (strcasecmp(text, reasons[i].word) == 0) {
            *ret = reasons[i].reason;
            return 0;
        }
    }
    used = (size_t)snprintf(why, WHY_MAX, "one of these is needed:");
    for (size_t i = 0; i < REASON_COUNT && used < WHY_MAX; i++)
        used += (size_t)snprintf(why + used, WHY_MAX - used, " %s", reasons[i].word);
    return -EINVAL;
}

const char *reason_word(enum reason reason)
{
    for (size_t i = 0; i < REASON_COUNT; i++) {
        if (reasons[i].reason == reason)
            return reasons[i].word;
    }
    return "-";
}

void serial_text(const ASN1_INTEGER *serial, char text[static SERIAL_TEXT_MAX])
{
    BIGNUM *number = ASN1_INTEGER_to_BN(serial, NULL);
    char *hex = number != NULL ? BN_bn2hex(number) : NULL;

    snprintf(text, SERIAL_TEXT_MAX, "%s", hex != NULL ? hex : "?");
    OPENSSL_free(hex);
    BN_free(number);
}

// ---- reading ----

static bool is_hex(const char *text)
{
    size_t length = strlen(text);

    return length > 0 && length < SERIAL_TEXT_MAX && strspn(text, "0123456789ABCDEF") == length;
}

// Cuts the next word off, the last one with all that is left of the line.
static const char *next_word(char **rest, bool is_last)
{
    const char *word = *rest;
    char *space = is_last || word == NULL ? NULL : strchr(*rest, ' ');

    if (space != NULL)
        *space = '\0';
    *rest = space != NULL ? space + 1 : NULL;
    return word != NULL ? word : "";
}

static int parse_revocation(struct record *record, const char *state, const char *when, const char *reason)
{
    char why[WHY_MAX];

    record->reason = REASON_NONE;
    if (strcmp(state, "valid") == 0)
        return strcmp(when, "-") == 0 && strcmp(reason, "-") == 0 ? 0 : -EINVAL;
    if (strcmp(state, "revoked") != 0 || moment_parse(when, &record->revoked, why) < 0)
        return -EINVAL;
    return reason_parse(reason, &record->reason, why);
}

static int parse_line(struct database *database, char *line)
{
    struct record record = {0};
    char why[WHY_MAX];
    char *rest = line;
    const char *state = next_word(&rest, false);
    const char *serial;
    const char *when;
    const char *reason;

    if (state[0] == '\0' || state[0] == '#')
        return 0;
    if (strcmp(state, "crl-number") == 0) {
        char *end;
        serial = next_word(&rest, true);
        errno = 0;
        database->crl_number = strtoull(serial, &end, 10);
        return errno == 0 && *end == '\0' && serial[0] >= '0' && serial[0] <= '9' ? 0 : -EINVAL;
    }
    serial = next_word(&rest, false);
    if (!is_hex(serial) || moment_parse(next_word(&rest, false), &record.issued, why) < 0 ||
        moment_parse(next_word(&rest, false), &record.expires, why) < 0)
        return -EINVAL;
    when = next_word(&rest, false);
    reason = next_word(&rest, false);
    if (parse_revocation(&record, state, when, reason) < 0)
        return -EINVAL;
    snprintf(record.serial, sizeof(record.serial), "%s", serial);
    record.subject = memory_copy(next_word(&rest, true));
    database->records = memory_grow(database->records, database->count, sizeof(record));
    database->records[database->count++] = record;
    return 0;
}

static enum status parse(struct database *database, char *text)
{
    unsigned number = 1;

    for (char *line = text; line != NULL; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        if (parse_line(database, line) < 0)
            return complain(
                STATUS_FAILED,
                "%s:%u: this is no line of a certificate authority's database; restore the file, or "
                "repair the line",
                database->path, number);
        line = end != NULL ? end + 1 : NULL;
    }
    return STATUS_OK;
}

enum status folder_lock(const char *path, int *ret_fd)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        slash == NULL ? memory_copy(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    enum status status = STATUS_OK;
    int result;
    int fd;

    if (folder == NULL)
        abort();
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    result = fd;
    while (fd >= 0 && (result = flock(fd, LOCK_EX)) < 0 && errno == EINTR)
        ;
    if (result < 0)
        status = complain(STATUS_FAILED, "%s: the folder cannot be locked: %s", folder, strerror(errno));
    free(folder);
    if (status == STATUS_OK)
        *ret_fd = fd;
    else if (fd >= 0)
        close(fd);
    return status;
}

enum status database_open(const char *path, struct database *ret)
{
    struct database database = {.path = memory_copy(path)};
    uint8_t *text = NULL;
    size_t size;
    enum status status = STATUS_OK;
    int error = file_read(path, SIZE_MAX_BYTES, &text, &size);

    if (error < 0 && error != -ENOENT)
        status = complain(STATUS_FAILED, "%s: the authority's database cannot be read: %s", path,
                          error == -EINVAL ? "not a regular file" : strerror(-error));
    else if (error == 0)
        status = parse(&database, (char *)text);
    free(text);
    if (status != STATUS_OK)
        database_close(&database);
    else
        *ret = database;
    return status;
}

void database_close(struct database *database)
{
    for (size_t i = 0; i < database->count; i++)
        free(database->records[i].subject);
    free(database->records);
    free(database->path);
    *database = (struct database){0};
}

// ---- changing ----

struct record *database_find(struct database *database, const char *serial)
{
    for (size_t i = 0; i < database->count; i++) {
        if (strcmp(database->records[i].serial, serial) == 0)
            return &database->records[i];
    }
    return NULL;
}

struct record *database_add(struct database *database, const X509 *certificate)
{
    struct record record = {.reason = REASON_NONE};
    char subject[SUBJECT_TEXT_MAX];

    serial_text(X509_get0_serialNumber(certificate), record.serial);
    (void)moment_from_asn1(X509_get0_notBefore(certificate), &record.issued);
    (void)moment_from_asn1(X509_get0_notAfter(certificate), &record.expires);
    whom_text(certificate, subject);
    for (char *byte = subject; *byte != '\0'; byte++) {
        if ((unsigned char)*byte < 0x20 || *byte == 0x7f)
            *byte = '?'; // a line stays a line
    }
    record.subject = memory_copy(subject);
    database->records = memory_grow(database->records, database->count, sizeof(record));
    database->records[database->count] = record;
    return &database->records[database->count++];
}

void database_remove_last(struct database *database)
{
    free(database->records[--database->count].subject);
}

static void write_record(FILE *to, const struct record *record)
{
    char issued[32];
    char expires[32];
    char revoked[32] = "-";

    moment_text(record->issued, issued);
    moment_text(record->expires, expires);
    if (record->reason != REASON_NONE)
        moment_text(record->revoked, revoked);
    fprintf(to, "%s %s %s %s %s %s %s\n", record->reason == REASON_NONE ? "valid" : "revoked", record->serial,
            issued, expires, revoked, reason_word(record->reason), record->subject);
}

enum status database_save(struct database *database)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    int error;

    if (to == NULL)
        abort();
    fputs(header, to);
    if (database->crl_number > 0)
        fprintf(to, "crl-number %" PRIu64 "\n", database->crl_number);
    for (size_t i = 0; i < database->count; i++)
        write_record(to, &database->records[i]);
    if (fclose(to) != 0)
        abort();
    error = file_write(database->path, text, size, 0644, FILE_REPLACE);
    free(text);
    if (error < 0)
        return complain(STATUS_FAILED, "%s: the authority's database cannot be written: %s", database->path,
                        strerror(-error));
    return STATUS_OK;
}

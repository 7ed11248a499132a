// SPDX-License-Identifier: Apache-2.0
// Where passphrases come from.
#include "src/pki/passphrase.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/file.h"
#include "ringbolt/secret.h"
#include "src/tls/terminal.h"

int passphrase_source_parse(const char *text, struct passphrase_source *ret, char why[static WHY_MAX])
{
    if (strcmp(text, "prompt") == 0)
        *ret = (struct passphrase_source){.kind = PASSPHRASE_PROMPT};
    else if (strncmp(text, "env:", 4) == 0 && text[4] != '\0' && strchr(text, '=') == NULL)
        *ret = (struct passphrase_source){.kind = PASSPHRASE_ENV, .where = text + 4};
    else if (strncmp(text, "file:", 5) == 0 && text[5] != '\0')
        *ret = (struct passphrase_source){.kind = PASSPHRASE_FILE, .where = text + 5};
    else // the text is not repeated: it may be the passphrase itself
        return why_set(why, "env:NAME, file:PATH or prompt is needed; a passphrase never stands on the "
                            "command line");
    return 0;
}

static enum status make(struct passphrase *ret)
{
    ret->text = secret_alloc(PASSPHRASE_MAX + 1);
    ret->length = 0;
    return ret->text != NULL ? STATUS_OK : complain(STATUS_FAILED, "no memory for a passphrase");
}

static enum status take(const char *text, size_t length, const char *where, const char *subject,
                        struct passphrase *ret)
{
    if (length == 0)
        return complain(STATUS_FILE, "%s: the passphrase in %s is empty; write one there", subject, where);
    if (length > PASSPHRASE_MAX)
        return complain(STATUS_FILE, "%s: the passphrase in %s is longer than %d bytes", subject, where,
                        PASSPHRASE_MAX);
    memcpy(ret->text, text, length);
    ret->text[length] = '\0';
    ret->length = length;
    return STATUS_OK;
}

static enum status take_from_env(const char *name, const char *subject, struct passphrase *ret)
{
    const char *text = getenv(name);
    char where[300];

    snprintf(where, sizeof(where), "the environment variable %s", name);
    if (text == NULL)
        return complain(STATUS_FILE, "%s: %s is not set; it must hold the passphrase", subject, where);
    return take(text, strlen(text), where, subject, ret);
}

static enum status take_from_file(const char *path, const char *subject, struct passphrase *ret)
{
    enum status status;
    const uint8_t *newline;
    uint8_t *data;
    size_t size;
    size_t length;
    int error = file_read_secret(path, 1 << 16, &data, &size);

    if (error < 0)
        return complain(STATUS_FILE, "%s: its passphrase cannot be read from %s: %s", subject, path,
                        strerror(-error));
    newline = memchr(data, '\n', size);
    length = newline != NULL ? (size_t)(newline - data) : size;
    if (length > 0 && data[length - 1] == '\r')
        length--;
    if (memchr(data, '\0', length) != NULL)
        status = complain(STATUS_FILE, "%s: %s holds a zero byte; a passphrase is one line of text", subject,
                          path);
    else
        status = take((const char *)data, length, path, subject, ret);
    file_free_secret(data, size);
    return status;
}

static enum status explain(int error, const char *subject)
{
    if (error == -ENXIO)
        return complain(
            STATUS_FAILED,
            "%s: there is no terminal to ask for the passphrase; name an environment variable or a "
            "file that holds it",
            subject);
    if (error == -ECANCELED)
        return complain(STATUS_FAILED, "%s: no passphrase was given", subject);
    if (error == -EMSGSIZE)
        return complain(STATUS_FAILED, "%s: the passphrase is longer than %d bytes", subject, PASSPHRASE_MAX);
    return complain(STATUS_FAILED, "%s: the terminal cannot be asked for the passphrase: %s", subject,
                    strerror(-error));
}

static enum status take_from_terminal(const char *subject, bool is_new, struct passphrase *ret)
{
    struct passphrase again = {0};
    char question[512];
    enum status status = STATUS_OK;
    int error;

    snprintf(question, sizeof(question), "%s for %s: ", is_new ? "New passphrase" : "Passphrase", subject);
    error = terminal_question(question, ret->text, PASSPHRASE_MAX + 1);
    if (error < 0)
        return explain(error, subject);
    ret->length = strlen(ret->text);
    if (ret->length == 0)
        return complain(STATUS_FAILED, "%s: an empty passphrase protects nothing", subject);
    if (!is_new)
        return STATUS_OK;
    if (make(&again) != STATUS_OK)
        return STATUS_FAILED;
    snprintf(question, sizeof(question), "The same again: ");
    error = terminal_question(question, again.text, PASSPHRASE_MAX + 1);
    if (error < 0)
        status = explain(error, subject);
    else if (strcmp(again.text, ret->text) != 0)
        status = complain(STATUS_FAILED, "%s: the two passphrases differ", subject);
    passphrase_finish(&again);
    return status;
}

enum status passphrase_get(const struct passphrase_source *source, const char *subject, bool is_new,
                           struct passphrase *ret)
{
    struct passphrase passphrase;
    enum status status = make(&passphrase);

    if (status != STATUS_OK)
        return status;
    switch (source->kind) {
    case PASSPHRASE_ENV:
        status = take_from_env(source->where, subject, &passphrase);
        break;
    case PASSPHRASE_FILE:
        status = take_from_file(source->where, subject, &passphrase);
        break;
    case PASSPHRASE_UNSAID:
    case PASSPHRASE_PROMPT:
        status = take_from_terminal(subject, is_new, &passphrase);
        break;
    }
    if (status != STATUS_OK)
        passphrase_finish(&passphrase);
    else
        *ret = passphrase;
    return status;
}

void passphrase_finish(struct passphrase *passphrase)
{
    if (passphrase == NULL)
        return;
    secret_free(passphrase->text, PASSPHRASE_MAX + 1);
    *passphrase = (struct passphrase){0};
}

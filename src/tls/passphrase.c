// SPDX-License-Identifier: Apache-2.0
// Passphrases. Whatever holds one is memory of secret.h.
#include "src/tls/passphrase.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/list.h"
#include "ringbolt/secret.h"
#include "src/config/memory.h"
#include "src/tls/terminal.h"

#define ASK_TRIES 3

struct answer {
    struct list node;
    char *path;   // of the file that it opens
    char *phrase; // secret_take()n
    size_t length;
};

struct passphrases {
    bool may_ask;
    struct list answers;
};

// Where a passphrase that nobody configured can be told; stands behind a semicolon.
#define CURE                                                                                                 \
    "give the name of an environment variable, `passphrase: { env: NAME }`, or of a file that holds it, "    \
    "`passphrase: { file: FILE }`"

struct passphrases *passphrases_create(bool may_ask)
{
    struct passphrases *passphrases = memory_allocate(sizeof(*passphrases));

    passphrases->may_ask = may_ask;
    list_init(&passphrases->answers);
    return passphrases;
}

static void answer_forget(struct answer *answer)
{
    list_remove(&answer->node);
    secret_give(answer->phrase);
    free(answer->path);
    free(answer);
}

void passphrases_destroy(struct passphrases *passphrases)
{
    if (passphrases == NULL)
        return;
    while (!list_empty(&passphrases->answers))
        answer_forget(list_entry(passphrases->answers.next, struct answer, node));
    free(passphrases);
}

void passphrases_ask_no_more(struct passphrases *passphrases)
{
    passphrases->may_ask = false;
}

// ---- configured ----

static int open_with(const struct named_file *file, const char *origin, const char *phrase, size_t length,
                     passphrase_try *try, void *owner)
{
    int result;

    if (length == 0 || length > PASSPHRASE_LENGTH_MAX) {
        file_complain(file, "%s is %s; it must be the passphrase of %s %s, 1 to %d bytes", origin,
                      length == 0 ? "empty" : "too long", file->what, file->path, PASSPHRASE_LENGTH_MAX);
        return -EINVAL;
    }
    result = try(owner, phrase, length);
    if (result != -EKEYREJECTED)
        return result;
    file_complain(file, "%s is the wrong passphrase for %s %s; put the right one there", origin, file->what,
                  file->path);
    return -EINVAL;
}

static int open_with_env(const struct named_file *file, const char *name, passphrase_try *try, void *owner)
{
    const char *phrase = getenv(name);
    char *origin;
    int result;

    if (phrase == NULL) {
        file_complain(
            file, "%s %s is encrypted, and the environment variable %s is not set; set it to the passphrase",
            file->what, file->path, name);
        return -EINVAL;
    }
    origin = memory_print("the environment variable %s", name);
    result = open_with(file, origin, phrase, strlen(phrase), try, owner);
    free(origin);
    return result;
}

static int open_with_file(const struct named_file *file, const char *path, passphrase_try *try, void *owner)
{
    const struct named_file phrase_file = {
        .report = file->report,
        .where = file->where,
        .path = path,
        .what = "passphrase file",
        .cure = "its first line must be the passphrase",
    };
    struct content content;
    char *origin;
    size_t length;
    int result = content_read(&phrase_file, &content);

    if (result < 0)
        return result;
    content_warn_mode(&phrase_file);
    length = strcspn((char *)content.bytes, "\n");
    if (length > 0 && content.bytes[length - 1] == '\r')
        length--;
    content.bytes[length] = '\0';
    origin = memory_print("the first line of %s", path);
    result = open_with(file, origin, (char *)content.bytes, length, try, owner);
    free(origin);
    content_finish(&content);
    return result;
}

// ---- asked for ----

static struct answer *answer_find(const struct passphrases *passphrases, const char *path)
{
    for (struct list *node = passphrases->answers.next; node != &passphrases->answers; node = node->next) {
        struct answer *answer = list_entry(node, struct answer, node);
        if (strcmp(answer->path, path) == 0)
            return answer;
    }
    return NULL;
}

static void answer_remember(struct passphrases *passphrases, const char *path, const char *phrase,
                            size_t length)
{
    struct answer *answer = memory_allocate(sizeof(*answer));
    unsigned tries = 0;

    answer->length = length;
    answer->path = memory_copy(path);
    while ((answer->phrase = secret_take(answer->length + 1)) == NULL)
        memory_wait(&tries);
    memcpy(answer->phrase, phrase, answer->length);
    list_push_back(&passphrases->answers, &answer->node);
}

void passphrases_answers(const struct passphrases *passphrases,
                         void (*each)(void *owner, const char *path, const char *phrase, size_t length),
                         void *owner)
{
    for (struct list *node = passphrases->answers.next; node != &passphrases->answers; node = node->next) {
        const struct answer *answer = list_entry(node, struct answer, node);

        each(owner, answer->path, answer->phrase, answer->length);
    }
}

int passphrases_answer(struct passphrases *passphrases, const char *path, const char *phrase, size_t length)
{
    struct answer *before = answer_find(passphrases, path);

    if (length == 0 || length > PASSPHRASE_LENGTH_MAX)
        return -EINVAL;
    if (before != NULL)
        answer_forget(before);
    answer_remember(passphrases, path, phrase, length);
    return 0;
}

static int explain(const struct named_file *file, int error)
{
    if (error == -ENXIO)
        file_complain(file, "%s %s is encrypted, and there is no terminal to ask for its passphrase; " CURE,
                      file->what, file->path);
    else
        file_complain(file, "%s %s is encrypted, and no passphrase was typed%s%s; " CURE, file->what,
                      file->path, error == -ECANCELED ? "" : ": ",
                      error == -ECANCELED ? "" : log_error_text(error));
    return -EINVAL;
}

static int ask(struct passphrases *passphrases, const struct named_file *file, char *phrase,
               passphrase_try *try, void *owner)
{
    int result = -EKEYREJECTED;
    char *question;

    for (int i = 0; i < ASK_TRIES && result == -EKEYREJECTED; i++) {
        question = memory_print("%sPassphrase of %s %s: ", i > 0 ? "That is not it. " : "", file->what,
                                file->path);
        result = terminal_question(question, phrase, PASSPHRASE_LENGTH_MAX + 1);
        free(question);
        if (result < 0)
            return explain(file, result);
        result = try(owner, phrase, strlen(phrase));
    }
    if (result == -EKEYREJECTED) {
        file_complain(file,
                      "the passphrase that was typed for %s %s is wrong; start again with the right one",
                      file->what, file->path);
        return -EINVAL;
    }
    if (result == 0)
        answer_remember(passphrases, file->path, phrase, strlen(phrase));
    return result;
}

static int open_with_answer(struct passphrases *passphrases, const struct named_file *file,
                            passphrase_try *try, void *owner)
{
    struct answer *answer = answer_find(passphrases, file->path);
    unsigned tries = 0;
    char *phrase;
    int result;

    if (answer != NULL) {
        result = try(owner, answer->phrase, answer->length);
        if (result != -EKEYREJECTED)
            return result;
        // Kept where nobody can be asked: the file may come back as it was.
        if (passphrases->may_ask)
            answer_forget(answer);
    }
    if (!passphrases->may_ask) {
        file_complain(file, "%s %s is encrypted%s; " CURE, file->what, file->path,
                      answer != NULL ? " with another passphrase than the one that was typed before"
                                     : ", and nobody is there to ask for its passphrase");
        return -EINVAL;
    }
    while ((phrase = secret_take(PASSPHRASE_LENGTH_MAX + 1)) == NULL)
        memory_wait(&tries);
    result = ask(passphrases, file, phrase, try, owner);
    secret_give(phrase);
    return result;
}

int passphrases_open(struct passphrases *passphrases, const struct named_file *file,
                     const struct config_passphrase *source, passphrase_try *try, void *owner)
{
    struct named_file here = *file;

    if (source->env == NULL && source->file == NULL)
        return open_with_answer(passphrases, file, try, owner);
    if (source->where.line != 0)
        here.where = source->where;
    if (source->env != NULL)
        return open_with_env(&here, source->env, try, owner);
    return open_with_file(&here, source->file, try, owner);
}

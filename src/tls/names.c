// SPDX-License-Identifier: Apache-2.0
// The names that a certificate is for.
#include "src/tls/names.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "src/config/memory.h"

#define NAME_LENGTH_MAX  253 // RFC 1035 §2.3.4, without the root's dot
#define LABEL_LENGTH_MAX 63

struct list {
    char **names;
    size_t count;
    size_t capacity;
};

// Whatever the locale.
static bool is_digit(unsigned char byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_host_character(unsigned char byte)
{
    return is_digit(byte) || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '-' ||
           byte == '_';
}

static bool is_host_name(const unsigned char *text, size_t length)
{
    size_t label = 0;

    if (length > 2 && text[0] == '*' && text[1] == '.') {
        text += 2;
        length -= 2;
    }
    if (length == 0 || length > NAME_LENGTH_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (is_host_character(text[i])) {
            if (++label > LABEL_LENGTH_MAX)
                return false;
        } else {
            return false;
        }
    }
    return label > 0;
}

// Digits and dots: an address, which no client sends as a name.
static bool is_address(const unsigned char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!is_digit(text[i]) && text[i] != '.')
            return false;
    }
    return true;
}

static void add(struct list *list, const unsigned char *text, int size)
{
    size_t length = size > 0 ? (size_t)size : 0;
    char *name;

    if (!is_host_name(text, length) || is_address(text, length))
        return;
    if (list->count == list->capacity) {
        list->capacity = list->capacity > 0 ? 2 * list->capacity : 4;
        list->names = memory_resize(list->names, list->capacity * sizeof(*list->names));
    }
    name = memory_allocate(length + 1);
    for (size_t i = 0; i < length; i++)
        name[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + ('a' - 'A') : text[i]);
    name[length] = '\0';
    list->names[list->count++] = name;
}

// Whether there was any DNS name, good or bad: the common name counts only without (RFC 6125 §6.4.4).
static bool add_alternatives(struct list *list, const X509 *certificate)
{
    bool has_name = false;
    GENERAL_NAMES *alternatives = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); i++) {
        const GENERAL_NAME *alternative = sk_GENERAL_NAME_value(alternatives, i);

        if (alternative->type != GEN_DNS)
            continue;
        has_name = true;
        add(list, ASN1_STRING_get0_data(alternative->d.dNSName), ASN1_STRING_length(alternative->d.dNSName));
    }
    GENERAL_NAMES_free(alternatives);
    return has_name;
}

static void add_common_name(struct list *list, const X509 *certificate)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *text = NULL;
    int length;

    if (at < 0)
        return;
    length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (length >= 0)
        add(list, text, length);
    OPENSSL_free(text);
}

// ---- each once ----

struct sorted {
    char *name;
    size_t at;
};

static int sorted_compare(const void *a, const void *b)
{
    const struct sorted *one = a;
    const struct sorted *other = b;
    int order = strcmp(one->name, other->name);

    return order != 0 ? order : one->at < other->at ? -1 : 1;
}

// By sorting: a file of 1 MiB can hold more names than could be compared each with each.
static void make_unique(struct list *list)
{
    struct sorted *sorted;
    size_t kept = 0;

    if (list->count < 2)
        return;
    sorted = memory_array(list->count, sizeof(*sorted));
    for (size_t i = 0; i < list->count; i++)
        sorted[i] = (struct sorted){.name = list->names[i], .at = i};
    qsort(sorted, list->count, sizeof(*sorted), sorted_compare);
    for (size_t i = 1; i < list->count; i++) {
        if (strcmp(sorted[i].name, sorted[i - 1].name) == 0)
            list->names[sorted[i].at] = NULL; // the later one; the text stays for the next comparison
    }
    for (size_t i = 0; i < list->count; i++) {
        if (list->names[i] != NULL)
            list->names[kept++] = list->names[i];
    }
    for (size_t i = 1, last = 0; i < list->count; i++) {
        if (strcmp(sorted[i].name, sorted[last].name) == 0)
            free(sorted[i].name);
        else
            last = i;
    }
    list->count = kept;
    free(sorted);
}

void names_of(const X509 *certificate, char ***ret, size_t *ret_count)
{
    struct list list = {0};

    if (!add_alternatives(&list, certificate))
        add_common_name(&list, certificate);
    ERR_clear_error();
    make_unique(&list);
    *ret = list.names;
    *ret_count = list.count;
}

void names_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

char *names_print(const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes = NULL;
    char *text;
    long length = 0;

    if (bio == NULL)
        abort();
    // XN_FLAG_RFC2253 escapes control characters and whatever is not ASCII. It fails for strings that are not what they say.
    if (X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
        length = BIO_get_mem_data(bio, &bytes);
    text = memory_copy_part(length > 0 ? bytes : "", length > 0 ? (size_t)length : 0);
    BIO_free(bio);
    ERR_clear_error();
    return text;
}

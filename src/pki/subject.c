// SPDX-License-Identifier: Apache-2.0
// Distinguished names (RFC 5280 §4.1.2.4, appendix A for the lengths).
#include "src/pki/subject.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>

#include "src/config/memory.h"
#include "src/config/nearest.h"

const struct subject_attribute subject_attributes[] = {
    {"DC", NID_domainComponent},
    {"C", NID_countryName},
    {"ST", NID_stateOrProvinceName},
    {"L", NID_localityName},
    {"street", NID_streetAddress},
    {"postalCode", NID_postalCode},
    {"O", NID_organizationName},
    {"OU", NID_organizationalUnitName},
    {"title", NID_title},
    {"GN", NID_givenName},
    {"SN", NID_surname},
    {"CN", NID_commonName},
    {"UID", NID_userId},
    {"serialNumber", NID_serialNumber},
    {"emailAddress", NID_pkcs9_emailAddress},
};
const size_t subject_attribute_count = sizeof(subject_attributes) / sizeof(subject_attributes[0]);

static bool is_utf8(const char *text)
{
    // A table of OpenSSL's that takes any length.
    ASN1_STRING *string = NULL;
    bool is_good =
        ASN1_mbstring_copy(&string, (const unsigned char *)text, (int)strlen(text), MBSTRING_UTF8, 0) >= 0;

    ASN1_STRING_free(string);
    ERR_clear_error();
    return is_good;
}

static int add_one(X509_NAME *name, const struct subject_attribute *attribute, const char *value,
                   char why[static WHY_MAX])
{
    const ASN1_STRING_TABLE *limits = ASN1_STRING_TABLE_get(attribute->nid);

    if (value[0] == '\0')
        return why_set(why, "%s has no value", attribute->name);
    for (const char *byte = value; *byte != '\0'; byte++) {
        if ((unsigned char)*byte < 0x20 || *byte == 0x7f)
            return why_set(why, "%s must not hold control characters", attribute->name);
    }
    if (!is_utf8(value))
        return why_set(why, "%s must be UTF-8 text", attribute->name);
    if (attribute->nid == NID_countryName &&
        (strlen(value) != 2 || !isalpha((unsigned char)value[0]) || !isalpha((unsigned char)value[1])))
        return why_set(why, "C is two letters, such as DE");
    if (X509_NAME_add_entry_by_NID(name, attribute->nid, MBSTRING_UTF8, (const unsigned char *)value, -1, -1,
                                   0) == 1)
        return 0;
    ERR_clear_error();
    if (limits != NULL && limits->maxsize > 0 && strlen(value) > (size_t)limits->maxsize)
        return why_set(why, "%s has at most %ld characters", attribute->name, limits->maxsize);
    return why_set(why, "%s holds characters that it may not have", attribute->name);
}

// example.com → DC=com, DC=example: the most significant first (RFC 2247).
static int add_domain(X509_NAME *name, const struct subject_attribute *attribute, const char *domain,
                      char why[static WHY_MAX])
{
    char *rest = memory_copy(domain);
    char *dot;
    int error = 0;

    while (error == 0 && (dot = strrchr(rest, '.')) != NULL) {
        error = add_one(name, attribute, dot + 1, why);
        *dot = '\0';
    }
    if (error == 0)
        error = add_one(name, attribute, rest, why);
    free(rest);
    return error;
}

int subject_add(X509_NAME *name, const struct subject_attribute *attribute, const char *value,
                char why[static WHY_MAX])
{
    if (attribute->nid == NID_domainComponent)
        return add_domain(name, attribute, value, why);
    return add_one(name, attribute, value, why);
}

// ---- text ----

static const struct subject_attribute *find_attribute(const char *word, char why[static WHY_MAX])
{
    const char *names[32] = {NULL};
    const char *meant;
    size_t used = 0;

    for (size_t i = 0; i < subject_attribute_count; i++) {
        if (strcasecmp(word, subject_attributes[i].name) == 0)
            return &subject_attributes[i];
        names[i] = subject_attributes[i].name;
    }
    meant = nearest_name(word, names, subject_attribute_count);
    if (meant != NULL) {
        (void)why_set(why, "there is no attribute %.64s; did you mean %s?", word, meant);
        return NULL;
    }
    used = (size_t)snprintf(why, WHY_MAX, "there is no attribute `%.64s`; known are", word);
    for (size_t i = 0; i < subject_attribute_count && used < WHY_MAX; i++)
        used += (size_t)snprintf(why + used, WHY_MAX - used, " %s", names[i]);
    return NULL;
}

// The next attribute of the text: copied into part without backslashes and without the spaces around it, up to the
// separator. Returns what follows that.
static const char *next_part(const char *text, char separator, char *part)
{
    size_t length = 0;
    size_t kept = 0; // up to here it does not end in a space of no meaning

    while (*text == ' ')
        text++;
    for (; *text != '\0' && *text != separator; text++) {
        bool is_taken_as_it_is = *text == '\\' && text[1] != '\0';
        text += is_taken_as_it_is;
        part[length++] = *text;
        if (is_taken_as_it_is || *text != ' ')
            kept = length;
    }
    part[kept] = '\0';
    return *text == separator ? text + 1 : text;
}

int subject_parse(const char *text, X509_NAME **ret, char why[static WHY_MAX])
{
    char separator = text[0] == '/' ? '/' : ',';
    char *part = memory_allocate(strlen(text) + 1);
    X509_NAME *name = X509_NAME_new();
    int error = 0;

    if (name == NULL)
        abort();
    text += separator == '/';
    while (error == 0 && *text != '\0') {
        const struct subject_attribute *attribute;
        char *equals;
        text = next_part(text, separator, part);
        equals = strchr(part, '=');
        if (equals == NULL) {
            error = why_set(why, "ATTRIBUTE=VALUE is needed, such as CN=localhost, not `%.64s`", part);
            break;
        }
        *equals = '\0';
        for (char *end = equals; end > part && end[-1] == ' '; end--)
            end[-1] = '\0';
        equals += strspn(equals + 1, " ");
        attribute = find_attribute(part, why);
        error = attribute == NULL ? -EINVAL : add_one(name, attribute, equals + 1, why);
    }
    free(part);
    if (error < 0)
        X509_NAME_free(name);
    else
        *ret = name;
    return error;
}

void subject_text(const X509_NAME *name, char text[static SUBJECT_TEXT_MAX])
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL;
    long size = 0;

    // Without the escaping of what is above ASCII: it is UTF-8 then.
    if (bio != NULL && X509_NAME_print_ex(bio, name, 0,
                                          (XN_FLAG_ONELINE & ~(ASN1_STRFLGS_ESC_MSB | XN_FLAG_SPC_EQ)) |
                                              ASN1_STRFLGS_UTF8_CONVERT) >= 0)
        size = BIO_get_mem_data(bio, &data);
    snprintf(text, SUBJECT_TEXT_MAX, "%.*s", size > 0 ? (int)size : 0, data != NULL ? data : "");
    BIO_free(bio);
    ERR_clear_error();
}

// SPDX-License-Identifier: Apache-2.0
// Names that clients compare with what they wanted to reach. What no client would accept is refused here.
#include "src/pki/altname.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>

#define DNS_MAX   253
#define LABEL_MAX 63

// RFC 1123 §2.1, and underscores, which are seen in private networks.
static int dns_check(const char *text, char why[static WHY_MAX])
{
    const char *label = strncmp(text, "*.", 2) == 0 ? text + 2 : text;

    if (strlen(text) > DNS_MAX)
        return why_set(why, "a host name has at most %d characters", DNS_MAX);
    for (const char *byte = text; *byte != '\0'; byte++) {
        if ((unsigned char)*byte >= 0x80)
            return why_set(why, "a host name is ASCII; write it in punycode (xn--…)");
    }
    for (;;) {
        size_t length = strcspn(label, ".");
        if (length == 0)
            return why_set(why, "a host name has no empty labels and no dot at its end");
        if (length > LABEL_MAX)
            return why_set(why, "a label of a host name has at most %d characters", LABEL_MAX);
        for (size_t i = 0; i < length; i++) {
            if (label[i] == '*')
                return why_set(why, "a wildcard is the whole first label, as in *.example.com");
            if (!isalnum((unsigned char)label[i]) && label[i] != '-' && label[i] != '_')
                return why_set(why, "a host name has letters, digits, hyphens and dots only");
        }
        if (label[0] == '-' || label[length - 1] == '-')
            return why_set(why, "a label of a host name neither begins nor ends with a hyphen");
        if (label[length] == '\0')
            return 0;
        label += length + 1;
    }
}

static int email_check(const char *text, char why[static WHY_MAX])
{
    const char *at = strrchr(text, '@');

    if (at == NULL || at == text || at - text > 64)
        return why_set(why, "NAME@HOST is needed");
    for (const char *byte = text; *byte != '\0'; byte++) {
        if (*byte <= 0x20 || *byte == 0x7f || (unsigned char)*byte >= 0x80)
            return why_set(why, "an email address is ASCII without spaces");
    }
    return dns_check(at + 1, why);
}

static int any_uri_check(const char *text, char why[static WHY_MAX])
{
    const char *at = text;

    while (isalnum((unsigned char)*at) || *at == '+' || *at == '-' || *at == '.')
        at++;
    if (!isalpha((unsigned char)text[0]) || *at != ':' || at[1] == '\0')
        return why_set(why, "SCHEME:… is needed, such as https://example.com/");
    for (; *at != '\0'; at++) {
        if (*at <= 0x20 || *at == 0x7f || (unsigned char)*at >= 0x80 || strchr("\"<>\\^`{|}", *at) != NULL)
            return why_set(why, "a URI holds no such character; write it as %%XX");
    }
    return 0;
}

int uri_check(const char *text, char why[static WHY_MAX])
{
    static const char *const schemes[] = {"http://", "https://", "ldap://", "ldaps://"};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t length = strlen(schemes[i]);
        if (strncasecmp(text, schemes[i], length) == 0 && text[length] != '\0' && text[length] != '/')
            return any_uri_check(text, why);
    }
    return why_set(why, "an address such as http://ca.example/root.crl is needed");
}

static GENERAL_NAME *make(int type, int string_type, const void *data, size_t size)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *string = ASN1_STRING_type_new(string_type);

    if (name == NULL || string == NULL || ASN1_STRING_set(string, data, (int)size) != 1)
        abort();
    GENERAL_NAME_set0_value(name, type, string);
    return name;
}

// The bytes of an IPv4 or IPv6 address; 0: it is none.
static size_t parse_ip(const char *text, unsigned char address[static 16])
{
    if (inet_pton(AF_INET, text, address) == 1)
        return 4;
    return inet_pton(AF_INET6, text, address) == 1 ? 16 : 0;
}

static bool has_prefix(const char *text, const char *prefix)
{
    return strncasecmp(text, prefix, strlen(prefix)) == 0;
}

// The type that a name says or shows, and where the name itself begins.
static int find_type(const char *text, const char **ret_value)
{
    unsigned char address[16];

    *ret_value = text;
    if (parse_ip(text, address) > 0)
        return GEN_IPADD;
    if (has_prefix(text, "DNS:"))
        return *ret_value = text + 4, GEN_DNS;
    if (has_prefix(text, "IP:"))
        return *ret_value = text + 3, GEN_IPADD;
    if (has_prefix(text, "email:"))
        return *ret_value = text + 6, GEN_EMAIL;
    if (has_prefix(text, "URI:"))
        return *ret_value = text + 4, GEN_URI;
    if (strstr(text, "://") != NULL)
        return GEN_URI;
    return strchr(text, '@') != NULL ? GEN_EMAIL : GEN_DNS;
}

int altname_parse(const char *text, GENERAL_NAME **ret, char why[static WHY_MAX])
{
    unsigned char address[16];
    const char *value;
    int type = find_type(text, &value);
    size_t size;
    int error;

    if (value[0] == '\0')
        return why_set(why, "a host name, an address, an email address or a URI is needed");
    switch (type) {
    case GEN_IPADD:
        size = parse_ip(value, address);
        if (size == 0)
            return why_set(why, "an address such as 192.0.2.1 or 2001:db8::1 is needed");
        *ret = make(GEN_IPADD, V_ASN1_OCTET_STRING, address, size);
        return 0;
    case GEN_EMAIL:
        error = email_check(value, why);
        break;
    case GEN_URI:
        error = any_uri_check(value, why);
        break;
    default:
        error = dns_check(value, why);
        break;
    }
    if (error == 0)
        *ret = make(type, V_ASN1_IA5STRING, value, strlen(value));
    return error;
}

bool altname_is_host(const char *text)
{
    unsigned char address[16];
    char why[WHY_MAX];

    return parse_ip(text, address) > 0 || (text[0] != '\0' && dns_check(text, why) == 0);
}

static void ip_text(const ASN1_OCTET_STRING *address, char text[static ALTNAME_TEXT_MAX])
{
    const unsigned char *bytes = ASN1_STRING_get0_data(address);
    int length = ASN1_STRING_length(address);
    char plain[INET6_ADDRSTRLEN] = "damaged";

    if (length == 4)
        (void)inet_ntop(AF_INET, bytes, plain, sizeof(plain));
    else if (length == 16)
        (void)inet_ntop(AF_INET6, bytes, plain, sizeof(plain));
    snprintf(text, ALTNAME_TEXT_MAX, "IP:%s", plain);
}

// With a zero byte shown, which would otherwise hide what follows it.
static void ia5_text(const char *prefix, const ASN1_IA5STRING *string, char text[static ALTNAME_TEXT_MAX])
{
    const unsigned char *bytes = ASN1_STRING_get0_data(string);
    int used = snprintf(text, ALTNAME_TEXT_MAX, "%s:", prefix);

    for (int i = 0; i < ASN1_STRING_length(string) && used < ALTNAME_TEXT_MAX - 5; i++)
        used += snprintf(text + used, 5, bytes[i] == '\0' ? "\\x00" : "%c", bytes[i]);
}

void altname_text(const GENERAL_NAME *name, char text[static ALTNAME_TEXT_MAX])
{
    static const char *const prefixes[] = {[GEN_DNS] = "DNS", [GEN_EMAIL] = "email", [GEN_URI] = "URI"};
    BIO *bio;
    char *data = NULL;
    long size = 0;

    if (name->type == GEN_IPADD) {
        ip_text(name->d.iPAddress, text);
        return;
    }
    if (name->type == GEN_DNS || name->type == GEN_EMAIL || name->type == GEN_URI) {
        ia5_text(prefixes[name->type], name->d.ia5, text);
        return;
    }
    bio = BIO_new(BIO_s_mem());
    if (bio != NULL && GENERAL_NAME_print(bio, (GENERAL_NAME *)name) == 1)
        size = BIO_get_mem_data(bio, &data);
    snprintf(text, ALTNAME_TEXT_MAX, "%.*s", size > 0 ? (int)size : 0, data != NULL ? data : "");
    BIO_free(bio);
    ERR_clear_error();
}

// SPDX-License-Identifier: Apache-2.0
// Authorities that client certificates are checked against, and their revocation lists.
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "src/config/memory.h"
#include "src/tls/certificate.h"
#include "src/tls/chain.h"
#include "src/tls/content.h"
#include "src/tls/loader.h"
#include "src/tls/names.h"
#include "src/tls/pem.h"

// What is being read.
struct reading {
    struct loader *loader;
    STACK_OF(X509) * cas;
    STACK_OF(X509_CRL) * crls;
    int64_t next_update_s;
};

// ---- authorities ----

// A server's own certificate may stand among the authorities: then it is trusted as it is.
static void warn_of_ca(const struct named_file *file, X509 *ca, bool is_for_servers)
{
    char *name = names_print(X509_get_subject_name(ca));

    if (is_for_servers && X509_cmp_current_time(X509_get0_notAfter(ca)) < 0)
        file_warn(file, "%s in %s has expired, so its servers are refused; renew or remove it", name,
                  file->path);
    else if (is_for_servers)
        ;
    else if (X509_check_ca(ca) == 0)
        file_warn(file,
                  "%s in %s is not the certificate of an authority, so no client is trusted by it; remove it",
                  name, file->path);
    else if (X509_cmp_current_time(X509_get0_notAfter(ca)) < 0)
        file_warn(file, "the authority %s in %s has expired, so its clients are refused; renew or remove it",
                  name, file->path);
    free(name);
    ERR_clear_error();
}

static int read_cas(struct reading *reading, const struct named_file *file, bool is_for_servers)
{
    struct content content;
    int result = content_read(file, &content);
    int authorities = 0;

    if (result < 0)
        return result;
    result = chain_parse(file, &content, reading->loader->pool, reading->cas);
    content_finish(&content);
    if (result < 0)
        return result;
    for (int i = 0; i < sk_X509_num(reading->cas); i++) {
        warn_of_ca(file, sk_X509_value(reading->cas, i), is_for_servers);
        authorities += X509_check_ca(sk_X509_value(reading->cas, i)) != 0;
    }
    if (authorities == 0 && !is_for_servers) {
        file_complain(file, "%s holds no authority's certificate (basic constraints CA:TRUE); %s", file->path,
                      file->cure);
        return -EINVAL;
    }
    return 0;
}

// ---- revocation lists ----

static bool crl_is_by(X509_CRL *crl, X509 *ca)
{
    bool is_by = X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(ca)) == 0 &&
                 X509_get0_pubkey(ca) != NULL && X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1;

    ERR_clear_error();
    return is_by;
}

static bool crl_is_known(const struct reading *reading, X509_CRL *crl)
{
    for (int i = 0; i < sk_X509_num(reading->cas); i++) {
        if (crl_is_by(crl, sk_X509_value(reading->cas, i)))
            return true;
    }
    return false;
}

static int crl_check(struct reading *reading, const struct named_file *file, X509_CRL *crl)
{
    const ASN1_TIME *from = X509_CRL_get0_lastUpdate(crl);
    const ASN1_TIME *until = X509_CRL_get0_nextUpdate(crl);
    struct tm parts;
    char when[CERTIFICATE_TIME_SIZE];
    char *name;

    if (!crl_is_known(reading, crl)) {
        name = names_print(X509_CRL_get_issuer(crl));
        file_complain(file,
                      "no authority of the bundle signed the revocation list in %s (issuer %s); add that "
                      "authority to `ca`, or remove the list",
                      file->path, name);
        free(name);
        return -EINVAL;
    }
    if (from == NULL || X509_cmp_current_time(from) >= 0) {
        file_complain(file, "the revocation list in %s is not valid before %s; check this machine's clock",
                      file->path, certificate_time_text(from, when));
        return -EINVAL;
    }
    if (until == NULL)
        return 0;
    if (X509_cmp_current_time(until) <= 0 || ASN1_TIME_to_tm(until, &parts) != 1) {
        file_complain(file, "the revocation list in %s is out of date since %s; fetch a new one", file->path,
                      certificate_time_text(until, when));
        return -EINVAL;
    }
    if (timegm(&parts) < reading->next_update_s)
        reading->next_update_s = timegm(&parts);
    return 0;
}

// Takes it over.
static int crl_take(struct reading *reading, const struct named_file *file, X509_CRL *crl)
{
    int result = crl_check(reading, file, crl);

    for (int i = 0; i < sk_X509_CRL_num(reading->crls) && result == 0; i++) {
        if (X509_CRL_match(sk_X509_CRL_value(reading->crls, i), crl) == 0) {
            X509_CRL_free(crl);
            return 0;
        }
    }
    if (result < 0)
        X509_CRL_free(crl);
    else if (sk_X509_CRL_push(reading->crls, crl) == 0)
        abort();
    ERR_clear_error();
    return result;
}

static X509_CRL *decode(const unsigned char *bytes, size_t size)
{
    const unsigned char *next = bytes;
    X509_CRL *crl = d2i_X509_CRL(NULL, &next, (long)size);

    ERR_clear_error();
    if (crl != NULL && next != bytes + size) {
        X509_CRL_free(crl);
        return NULL;
    }
    return crl;
}

// 0 and how many it held; -EBADMSG: damaged; -EINVAL, said in the report.
static int take_pem(struct reading *reading, const struct named_file *file, const struct content *content,
                    int *ret_count)
{
    struct pem_block block;
    struct pem pem;
    int count = 0;
    int wrong = 0;
    int result;

    pem_open(&pem, content->bytes, content->size);
    while ((result = pem_next(&pem, &block)) > 0) {
        X509_CRL *crl = block.kind == PEM_CRL ? decode(block.bytes, (size_t)block.size) : NULL;

        if (block.kind == PEM_CRL && crl == NULL)
            result = -EBADMSG;
        pem_block_finish(&block);
        if (result < 0)
            break;
        count += crl != NULL;
        if (crl != NULL && crl_take(reading, file, crl) < 0)
            wrong = -EINVAL;
    }
    pem_close(&pem);
    *ret_count = count;
    return result < 0 ? result : wrong;
}

static int take_crls(struct reading *reading, const struct named_file *file, const struct content *content)
{
    X509_CRL *crl = decode(content->bytes, content->size);
    int count = 0;
    int result;

    if (crl != NULL)
        return crl_take(reading, file, crl);
    result = take_pem(reading, file, content, &count);
    if (result == -EBADMSG)
        file_complain(file, "revocation list %d in %s is %s; fetch it again", count + 1, file->path,
                      pem_is_cut_off(content->bytes, content->size) ? "cut off in the middle" : "damaged");
    else if (result == 0 && count == 0)
        file_complain(file, "%s is not a revocation list, neither PEM (-----BEGIN X509 CRL-----) nor DER; %s",
                      file->path, file->cure);
    return result == 0 && count > 0 ? 0 : -EINVAL;
}

static int read_crls(struct reading *reading, const struct config_client_trust *source, struct report *report)
{
    int result = 0;

    for (size_t i = 0; i < source->crl_count; i++) {
        const struct named_file file = {
            .report = report,
            .where = source->crl_where,
            .path = source->crls[i],
            .what = "revocation list",
            .cure = "give a CRL that the authority published, PEM or DER",
        };
        struct content content;

        if (content_read(&file, &content) < 0) {
            result = -EINVAL;
            continue;
        }
        if (take_crls(reading, &file, &content) < 0)
            result = -EINVAL;
        content_finish(&content);
    }
    return result;
}

// With any list, OpenSSL wants one of each authority on the way.
static void warn_of_missing(const struct reading *reading, const struct config_client_trust *source,
                            struct report *report)
{
    for (int i = 0; i < sk_X509_num(reading->cas) && sk_X509_CRL_num(reading->crls) > 0; i++) {
        X509 *ca = sk_X509_value(reading->cas, i);
        bool is_covered = X509_check_ca(ca) == 0;
        char *name;

        for (int j = 0; j < sk_X509_CRL_num(reading->crls) && !is_covered; j++)
            is_covered = crl_is_by(sk_X509_CRL_value(reading->crls, j), ca);
        if (is_covered)
            continue;
        name = names_print(X509_get_subject_name(ca));
        report_warn(
            report, source->crl_where,
            "no revocation list is from the authority %s of %s, so what it issued is refused; add its list",
            name, source->ca);
        free(name);
    }
}

// ---- the object ----

static struct material_bytes encode_crl(const X509_CRL *crl)
{
    int size = i2d_X509_CRL(crl, NULL);
    struct material_bytes bytes = {.size = size > 0 ? (size_t)size : 0};
    unsigned char *next;

    if (size <= 0)
        abort();
    next = bytes.data = memory_allocate(bytes.size);
    i2d_X509_CRL(crl, &next);
    return bytes;
}

// Sizes in a form of their own: instances of other machines come to the same digest.
static void digest_number(EVP_MD_CTX *digest, uint64_t number)
{
    uint8_t bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(number >> (56 - 8 * i));
    EVP_DigestUpdate(digest, bytes, sizeof(bytes));
}

static void digest_list(EVP_MD_CTX *digest, const struct material_bytes *list, size_t count)
{
    digest_number(digest, count);
    for (size_t i = 0; i < count; i++) {
        digest_number(digest, list[i].size);
        EVP_DigestUpdate(digest, list[i].data, list[i].size);
    }
}

static void fill_digest(struct client_trust *trust)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();

    if (digest == NULL || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
        abort();
    digest_list(digest, trust->cas, trust->ca_count);
    digest_list(digest, trust->crls, trust->crl_count);
    if (EVP_DigestFinal_ex(digest, trust->digest, NULL) != 1)
        abort();
    EVP_MD_CTX_free(digest);
}

static bool is_repeated(const STACK_OF(X509) * certificates, int at)
{
    for (int i = 0; i < at; i++) {
        if (X509_cmp(sk_X509_value(certificates, i), sk_X509_value(certificates, at)) == 0)
            return true;
    }
    return false;
}

static struct client_trust *fill(const struct reading *reading)
{
    struct client_trust *trust = memory_allocate(sizeof(*trust));

    trust->cas = memory_array((size_t)sk_X509_num(reading->cas), sizeof(*trust->cas));
    for (int i = 0; i < sk_X509_num(reading->cas); i++) {
        if (!is_repeated(reading->cas, i))
            trust->cas[trust->ca_count++] = certificate_encode(sk_X509_value(reading->cas, i));
    }
    trust->crls = memory_array((size_t)sk_X509_CRL_num(reading->crls), sizeof(*trust->crls));
    for (int i = 0; i < sk_X509_CRL_num(reading->crls); i++)
        trust->crls[trust->crl_count++] = encode_crl(sk_X509_CRL_value(reading->crls, i));
    trust->next_update_s = reading->next_update_s;
    fill_digest(trust);
    return trust;
}

int loader_trust(struct loader *loader, const struct config_client_trust *source, struct report *report,
                 struct client_trust **ret)
{
    const struct named_file ca_file = {
        .report = report,
        .where = source->ca_where,
        .path = source->ca,
        .what = source->is_for_servers ? "bundle of authorities" : "bundle of client authorities",
        .cure =
            source->is_for_servers
                ? "give a PEM file with the certificates of the authorities that issued the servers' "
                  "certificates"
                : "give a PEM file with the certificates of the authorities that issue client certificates",
    };
    struct reading reading = {
        .loader = loader,
        .cas = sk_X509_new_null(),
        .crls = sk_X509_CRL_new_null(),
        .next_update_s = INT64_MAX,
    };
    int result;

    if (reading.cas == NULL || reading.crls == NULL)
        abort();
    result = read_cas(&reading, &ca_file, source->is_for_servers);
    // Without authorities every list would look like nobody's.
    if (result == 0)
        result = read_crls(&reading, source, report);
    if (result == 0) {
        warn_of_missing(&reading, source, report);
        *ret = fill(&reading);
    }
    sk_X509_CRL_pop_free(reading.crls, X509_CRL_free);
    sk_X509_pop_free(reading.cas, X509_free);
    ERR_clear_error();
    return result;
}

void client_trust_destroy(struct client_trust *trust)
{
    if (trust == NULL)
        return;
    for (size_t i = 0; i < trust->ca_count; i++)
        free(trust->cas[i].data);
    for (size_t i = 0; i < trust->crl_count; i++)
        free(trust->crls[i].data);
    free(trust->cas);
    free(trust->crls);
    free(trust);
}

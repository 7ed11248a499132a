// SPDX-License-Identifier: Apache-2.0
// OCSP responses (RFC 6960) that may be stapled to handshakes: a client that gets a bad one gives up, so a bad one is never sent.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>

#include "ringbolt/material.h"
#include "src/config/memory.h"
#include "src/tls/content.h"

#define RESPONSE_SIZE_MAX ((size_t)64 * 1024)
#define CLOCK_SKEW_S      (5 * 60)
#define SINGLES_MAX       100 // answers in one response; responders send one

struct time_window {
    int64_t from_s;
    int64_t until_s;
};

// What a response is about.
struct subject {
    X509 *certificate;
    X509 *issuer;
};

static X509 *decode(const struct material_bytes *der)
{
    const unsigned char *next = der->data;

    return der->size > 0 ? d2i_X509(NULL, &next, (long)der->size) : NULL;
}

// subject_finish() it in any case. False when nobody knows the issuer.
static bool subject_init(struct subject *subject, const struct certificate *certificate)
{
    const struct material_bytes *issuer = &certificate->authority;

    if (issuer->size == 0 && certificate->intermediate_count > 0)
        issuer = &certificate->intermediates[0];
    *subject = (struct subject){.certificate = decode(&certificate->leaf), .issuer = decode(issuer)};
    ERR_clear_error();
    return subject->certificate != NULL && subject->issuer != NULL;
}

static void subject_finish(struct subject *subject)
{
    X509_free(subject->certificate);
    X509_free(subject->issuer);
}

// ---- the parts of a response ----

static int read_time(const ASN1_GENERALIZEDTIME *time, int64_t *ret)
{
    struct tm parts;

    if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1)
        return -EBADMSG;
    *ret = timegm(&parts);
    return 0;
}

static const char *check_status(OCSP_RESPONSE *response)
{
    switch (OCSP_response_status(response)) {
    case OCSP_RESPONSE_STATUS_SUCCESSFUL:
        return NULL;
    case OCSP_RESPONSE_STATUS_MALFORMEDREQUEST:
        return "the responder says that the request was malformed";
    case OCSP_RESPONSE_STATUS_INTERNALERROR:
        return "the responder has an internal error";
    case OCSP_RESPONSE_STATUS_TRYLATER:
        return "the responder says: try later";
    case OCSP_RESPONSE_STATUS_SIGREQUIRED:
        return "the responder wants signed requests";
    case OCSP_RESPONSE_STATUS_UNAUTHORIZED:
        return "the responder does not know this certificate (unauthorized)";
    default:
        return "it has a status that nobody knows";
    }
}

// The issuer is the one anchor: it has signed itself, or a delegate that it gave the right to (RFC 6960 §4.2.2.2).
static bool is_signed(OCSP_BASICRESP *basic, X509 *issuer, int64_t now_s)
{
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509) *signers = sk_X509_new_null();
    bool is_signed;

    if (store == NULL || signers == NULL || X509_STORE_add_cert(store, issuer) != 1 ||
        sk_X509_push(signers, issuer) == 0)
        abort();
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN); // it may be no root
    X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), (time_t)now_s);
    is_signed = OCSP_basic_verify(basic, signers, store, OCSP_NOEXPLICIT) == 1;
    sk_X509_free(signers);
    X509_STORE_free(store);
    ERR_clear_error();
    return is_signed;
}

// Is a CertID that of the certificate? The responder chose its digest.
static bool is_about(const OCSP_CERTID *id, const struct subject *subject)
{
    ASN1_OBJECT *object = NULL;
    const EVP_MD *digest;
    OCSP_CERTID *own;
    bool is_about;

    OCSP_id_get0_info(NULL, &object, NULL, NULL, (OCSP_CERTID *)(uintptr_t)id);
    digest = EVP_get_digestbyobj(object);
    own = digest != NULL ? OCSP_cert_to_id(digest, subject->certificate, subject->issuer) : NULL;
    is_about = own != NULL && OCSP_id_cmp(own, id) == 0;
    OCSP_CERTID_free(own);
    ERR_clear_error();
    return is_about;
}

static OCSP_SINGLERESP *find_single(OCSP_BASICRESP *basic, const struct subject *subject)
{
    for (int i = 0; i < OCSP_resp_count(basic) && i < SINGLES_MAX; i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);

        if (is_about(OCSP_SINGLERESP_get0_id(single), subject))
            return single;
    }
    return NULL;
}

static const char *check_single(OCSP_SINGLERESP *single, int64_t now_s, struct time_window *ret)
{
    struct time_window window = {.until_s = INT64_MAX};
    ASN1_GENERALIZEDTIME *from = NULL;
    ASN1_GENERALIZEDTIME *until = NULL;
    int status = OCSP_single_get0_status(single, NULL, NULL, &from, &until);

    if (status == V_OCSP_CERTSTATUS_REVOKED)
        return STAPLE_REVOKED;
    if (status != V_OCSP_CERTSTATUS_GOOD)
        return "the certificate is unknown to the responder";
    if (read_time(from, &window.from_s) < 0 || (until != NULL && read_time(until, &window.until_s) < 0))
        return "its times can't be read";
    if (window.from_s > now_s + CLOCK_SKEW_S)
        return "it is from the future; check this machine's clock";
    if (window.until_s < window.from_s || window.until_s < now_s - CLOCK_SKEW_S)
        return "it is out of date";
    *ret = window;
    return NULL;
}

// NULL, or why not.
static const char *check_basic(OCSP_BASICRESP *basic, const struct certificate *certificate, int64_t now_s,
                               struct time_window *ret)
{
    OCSP_SINGLERESP *single = NULL;
    struct subject subject;
    const char *why;

    if (!subject_init(&subject, certificate))
        why = "the certificate's issuer is not known; append it to the chain";
    else if ((single = find_single(basic, &subject)) == NULL)
        why = "it is about another certificate";
    else if (!is_signed(basic, subject.issuer, now_s))
        why = "neither the certificate's issuer nor a delegate of it has signed it";
    else
        why = check_single(single, now_s, ret);
    subject_finish(&subject);
    return why;
}

static const char *check_response(OCSP_RESPONSE *response, const struct certificate *certificate,
                                  int64_t now_s, struct time_window *ret)
{
    const char *why = check_status(response);
    OCSP_BASICRESP *basic;

    if (why != NULL)
        return why;
    basic = OCSP_response_get1_basic(response);
    ERR_clear_error();
    if (basic == NULL)
        return "it is no basic OCSP response";
    why = check_basic(basic, certificate, now_s, ret);
    OCSP_BASICRESP_free(basic);
    return why;
}

static const char *check(const struct certificate *certificate, const uint8_t *bytes, size_t size,
                         int64_t now_s, struct time_window *ret)
{
    const unsigned char *next = bytes;
    OCSP_RESPONSE *response;
    const char *why;

    if (size == 0 || size > RESPONSE_SIZE_MAX)
        return size == 0 ? "it is empty" : "it is larger than 64 KiB";
    response = d2i_OCSP_RESPONSE(NULL, &next, (long)size);
    ERR_clear_error();
    if (response != NULL && next == bytes + size)
        why = check_response(response, certificate, now_s, ret);
    else
        why = "it is no OCSP response in DER";
    OCSP_RESPONSE_free(response);
    return why;
}

// ---- what the header promises ----

int staple_check(const struct certificate *certificate, const uint8_t *response, size_t size, int64_t now_s,
                 struct staple **ret, const char **ret_why)
{
    struct time_window window = {0};
    struct staple *staple;
    const char *why = check(certificate, response, size, now_s, &window);

    if (why != NULL) {
        *ret_why = why;
        return -EBADMSG;
    }
    staple = memory_allocate(sizeof(*staple));
    staple->response.data = memory_allocate(size);
    memcpy(staple->response.data, response, size);
    staple->response.size = size;
    staple->this_update_s = window.from_s;
    staple->next_update_s = window.until_s;
    *ret = staple;
    return 0;
}

int loader_staple(struct loader *loader, const struct certificate *certificate, const char *path,
                  struct config_where where, struct report *report, struct staple **ret)
{
    const struct named_file file = {
        .report = report,
        .where = where,
        .path = path,
        .what = "OCSP response",
        .cure = "fetch one with `openssl ocsp -respout FILE`, or let `ocsp: { fetch: true }` do it",
    };
    struct content content;
    const char *why = NULL;
    int result = content_read(&file, &content);

    if (result < 0)
        return result;
    if (staple_check(certificate, content.bytes, content.size, time(NULL), ret, &why) < 0) {
        file_complain(&file, "OCSP response %s is not stapled: %s; %s", path, why, file.cure);
        result = -EINVAL;
    }
    content_finish(&content);
    return result;
}

int staple_request(const struct certificate *certificate, struct material_bytes *ret)
{
    OCSP_REQUEST *request = OCSP_REQUEST_new();
    OCSP_CERTID *id = NULL;
    struct material_bytes bytes = {0};
    struct subject subject;
    unsigned char *next;
    int size;

    if (request == NULL)
        abort();
    if (subject_init(&subject, certificate))
        id = OCSP_cert_to_id(EVP_sha1(), subject.certificate, subject.issuer);
    subject_finish(&subject);
    if (id == NULL) {
        OCSP_REQUEST_free(request);
        ERR_clear_error();
        return -ENODATA;
    }
    // It owns the id from now on.
    if (OCSP_request_add0_id(request, id) == NULL || (size = i2d_OCSP_REQUEST(request, NULL)) <= 0)
        abort();
    bytes.size = (size_t)size;
    next = bytes.data = memory_allocate(bytes.size);
    i2d_OCSP_REQUEST(request, &next);
    OCSP_REQUEST_free(request);
    *ret = bytes;
    return 0;
}

void staple_destroy(struct staple *staple)
{
    if (staple == NULL)
        return;
    free(staple->response.data);
    free(staple);
}

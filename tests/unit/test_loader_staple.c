// SPDX-License-Identifier: Apache-2.0
// OCSP responses: which are stapled, and why others are not.
#include "tests/unit/loader.h"

#include <time.h>

#include <openssl/ocsp.h>

#define SKEW_S 300

static EVP_PKEY *root_key, *middle_key, *leaf_key, *delegate_key;
static X509 *root, *middle, *leaf, *sibling, *delegate, *no_delegate, *foreign_delegate, *old_delegate;
static struct loader *loader;
static struct load load;
static int64_t now_s;

static X509 *delegate_of(X509 *issuer, EVP_PKEY *issuer_key, const char *usage)
{
    return certificate_with("A responder", delegate_key, issuer, issuer_key, NID_ext_key_usage, usage);
}

static int set_up(void **state)
{
    folder_make();
    now_s = time(NULL);
    root_key = key_make("P-256");
    middle_key = key_make("P-256");
    leaf_key = key_make("P-256");
    delegate_key = key_make("RSA2048");
    root = certificate_of("Test root CA", root_key, NULL, NULL);
    middle = certificate_of("Test middle CA", middle_key, root, root_key);
    leaf = certificate_of("localhost", leaf_key, middle, middle_key);
    sibling = certificate_of("sibling.example", leaf_key, middle, middle_key);
    delegate = delegate_of(middle, middle_key, "OCSPSigning");
    no_delegate = delegate_of(middle, middle_key, "serverAuth");
    foreign_delegate = delegate_of(root, root_key, "OCSPSigning");
    old_delegate = certificate_make(&(struct certificate_wish){.name = "A responder",
                                                               .key = delegate_key,
                                                               .issuer = middle,
                                                               .issuer_key = middle_key,
                                                               .from_s = -2 * DAY_S,
                                                               .until_s = -DAY_S});
    certificate_alter(old_delegate, middle, middle_key, NID_ext_key_usage, "OCSPSigning");
    write_chain("leaf.pem", leaf, middle, NULL);
    key_append(path_of("leaf.key"), leaf_key);
    loader = loader_create(false);
    assert_int_equal(load_pair(&load, loader, "leaf.pem", "leaf.key"), 0);
    return 0;
}

static int tear_down(void **state)
{
    load_finish(&load);
    loader_destroy(loader);
    folder_remove();
    X509_free(old_delegate);
    X509_free(foreign_delegate);
    X509_free(no_delegate);
    X509_free(delegate);
    X509_free(sibling);
    X509_free(leaf);
    X509_free(middle);
    X509_free(root);
    EVP_PKEY_free(delegate_key);
    EVP_PKEY_free(leaf_key);
    EVP_PKEY_free(middle_key);
    EVP_PKEY_free(root_key);
    return 0;
}

// ---- responses ----

enum signer {
    BY_ISSUER,
    BY_DELEGATE,
    BY_NO_DELEGATE,
    BY_FOREIGN_DELEGATE,
    BY_OLD_DELEGATE,
    BY_ROOT,
    BY_LEAF
};

struct answer {
    enum signer signer;
    int status;   // V_OCSP_CERTSTATUS_GOOD …
    long from_s;  // from now
    long until_s; // 0: none
    bool is_sibling;
    bool is_sha256; // of the CertID
    bool is_second; // behind the sibling's
    bool is_named_by_name;
};

static void sign(OCSP_BASICRESP *basic, const struct answer *answer)
{
    X509 *certificates[] = {middle, delegate, no_delegate, foreign_delegate, old_delegate, root, leaf};
    EVP_PKEY *keys[] = {middle_key,   delegate_key, delegate_key, delegate_key,
                        delegate_key, root_key,     leaf_key};

    must(OCSP_basic_sign(basic, certificates[answer->signer], keys[answer->signer], EVP_sha256(), NULL,
                         answer->is_named_by_name ? 0 : OCSP_RESPID_KEY) == 1,
         "a response");
}

static void add_single(OCSP_BASICRESP *basic, X509 *certificate, const struct answer *answer)
{
    ASN1_TIME *from = X509_time_adj(NULL, answer->from_s, &(time_t){now_s});
    ASN1_TIME *until = answer->until_s != 0 ? X509_time_adj(NULL, answer->until_s, &(time_t){now_s}) : NULL;
    ASN1_TIME *revoked =
        answer->status == V_OCSP_CERTSTATUS_REVOKED ? X509_time_adj(NULL, -60, &(time_t){now_s}) : NULL;
    OCSP_CERTID *id = OCSP_cert_to_id(answer->is_sha256 ? EVP_sha256() : EVP_sha1(), certificate, middle);

    must(OCSP_basic_add1_status(basic, id, answer->status, 0, revoked, from, until) != NULL, "a status");
    OCSP_CERTID_free(id);
    ASN1_TIME_free(revoked);
    ASN1_TIME_free(until);
    ASN1_TIME_free(from);
}

// OPENSSL_free()d by the caller.
static unsigned char *respond(const struct answer *answer, size_t *ret_size)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_RESPONSE *response;
    unsigned char *bytes = NULL;

    if (answer->is_second)
        add_single(basic, sibling, answer);
    add_single(basic, answer->is_sibling ? sibling : leaf, answer);
    sign(basic, answer);
    response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    *ret_size = (size_t)i2d_OCSP_RESPONSE(response, &bytes);
    must(*ret_size > 0, "DER");
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    return bytes;
}

// ---- what is stapled ----

static const struct answer good[] = {
    {.from_s = -3600, .until_s = 3600},
    {.signer = BY_DELEGATE, .from_s = -3600, .until_s = 3600},
    {.signer = BY_DELEGATE, .from_s = -3600, .until_s = 3600, .is_named_by_name = true},
    {.from_s = -3600, .until_s = 3600, .is_named_by_name = true},
    {.from_s = -3600, .until_s = 3600, .is_sha256 = true},
    {.from_s = -3600, .until_s = 3600, .is_second = true},
    {.from_s = -3600},                        // for as long as one likes
    {.from_s = SKEW_S - 30, .until_s = 3600}, // a clock that goes a little wrong
    {.from_s = -3600, .until_s = -SKEW_S + 30},
};

static void test_good(void **state)
{
    for (size_t i = 0; i < COUNT(good); i++) {
        size_t size;
        unsigned char *bytes = respond(&good[i], &size);
        struct staple *staple = NULL;
        const char *why = "";
        int result = staple_check(load.certificate, bytes, size, now_s, &staple, &why);

        if (result != 0)
            fail_msg("%zu: %s", i, why);
        assert_int_equal(staple->response.size, size);
        assert_memory_equal(staple->response.data, bytes, size);
        assert_int_equal(staple->this_update_s, now_s + good[i].from_s);
        assert_true(staple->next_update_s == (good[i].until_s != 0 ? now_s + good[i].until_s : INT64_MAX));
        assert_int_equal(ERR_peek_error(), 0);
        staple_destroy(staple);
        OPENSSL_free(bytes);
    }
}

// ---- what is not ----

static const struct {
    struct answer answer;
    const char *why;
} bad[] = {
    {{.from_s = -3600, .until_s = 3600, .status = V_OCSP_CERTSTATUS_REVOKED}, "the certificate is revoked"},
    {{.from_s = -3600, .until_s = 3600, .status = V_OCSP_CERTSTATUS_UNKNOWN},
     "the certificate is unknown to the responder"},
    {{.from_s = -3600, .until_s = 3600, .is_sibling = true}, "it is about another certificate"},
    {{.from_s = -3600, .until_s = -SKEW_S - 30}, "it is out of date"},
    {{.from_s = -3600, .until_s = -7200}, "it is out of date"},
    {{.from_s = SKEW_S + 30, .until_s = 3600}, "it is from the future; check this machine's clock"},
    {{.signer = BY_NO_DELEGATE, .from_s = -3600, .until_s = 3600},
     "neither the certificate's issuer nor a delegate of it has signed it"},
    {{.signer = BY_FOREIGN_DELEGATE, .from_s = -3600, .until_s = 3600},
     "neither the certificate's issuer nor a delegate of it has signed it"},
    {{.signer = BY_OLD_DELEGATE, .from_s = -3600, .until_s = 3600},
     "neither the certificate's issuer nor a delegate of it has signed it"},
    {{.signer = BY_ROOT, .from_s = -3600, .until_s = 3600},
     "neither the certificate's issuer nor a delegate of it has signed it"},
    {{.signer = BY_LEAF, .from_s = -3600, .until_s = 3600},
     "neither the certificate's issuer nor a delegate of it has signed it"},
};

static void expect_refused(const void *bytes, size_t size, const char *expected)
{
    struct staple *staple = NULL;
    const char *why = "";

    assert_int_equal(staple_check(load.certificate, bytes, size, now_s, &staple, &why), -EBADMSG);
    assert_null(staple);
    assert_string_equal(why, expected);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_bad(void **state)
{
    for (size_t i = 0; i < COUNT(bad); i++) {
        size_t size;
        unsigned char *bytes = respond(&bad[i].answer, &size);

        expect_refused(bytes, size, bad[i].why);
        OPENSSL_free(bytes);
    }
}

static void test_statuses(void **state)
{
    static const struct {
        int status;
        const char *why;
    } cases[] = {
        {OCSP_RESPONSE_STATUS_MALFORMEDREQUEST, "the responder says that the request was malformed"},
        {OCSP_RESPONSE_STATUS_INTERNALERROR, "the responder has an internal error"},
        {OCSP_RESPONSE_STATUS_TRYLATER, "the responder says: try later"},
        {OCSP_RESPONSE_STATUS_SIGREQUIRED, "the responder wants signed requests"},
        {OCSP_RESPONSE_STATUS_UNAUTHORIZED, "the responder does not know this certificate (unauthorized)"},
        {77, "it has a status that nobody knows"},
        {OCSP_RESPONSE_STATUS_SUCCESSFUL, "it is no basic OCSP response"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        OCSP_RESPONSE *response = OCSP_response_create(cases[i].status, NULL);
        unsigned char *bytes = NULL;
        int size = i2d_OCSP_RESPONSE(response, &bytes);

        expect_refused(bytes, (size_t)size, cases[i].why);
        OPENSSL_free(bytes);
        OCSP_RESPONSE_free(response);
    }
}

static void test_mangled(void **state)
{
    static const uint8_t large[(64 << 10) + 1] = {0x30};
    size_t size;
    unsigned char *bytes = respond(&good[1], &size);
    unsigned char *longer = malloc(size + 1);

    expect_refused("", 0, "it is empty");
    expect_refused(large, sizeof(large), "it is larger than 64 KiB");
    expect_refused("hello", 5, "it is no OCSP response in DER");
    expect_refused(bytes, size - 1, "it is no OCSP response in DER");
    memcpy(longer, bytes, size);
    longer[size] = 0;
    expect_refused(longer, size + 1, "it is no OCSP response in DER");
    // Every byte counts: what was changed anywhere is refused, whatever for.
    for (size_t i = 0; i < size; i++) {
        struct staple *staple = NULL;
        const char *why = NULL;

        memcpy(longer, bytes, size);
        longer[i] ^= 0x01;
        if (staple_check(load.certificate, longer, size, now_s, &staple, &why) == 0) {
            // Nobody looks at the parameters of a signature's algorithm that has none.
            assert_true(bytes[i] == 0x05 && bytes[i + 1] == 0x00);
            staple_destroy(staple);
            continue;
        }
        assert_non_null(why);
        assert_int_equal(ERR_peek_error(), 0);
    }
    free(longer);
    OPENSSL_free(bytes);
}

// Nobody knows who issued it.
static void test_no_issuer(void **state)
{
    struct certificate orphan = {.leaf = load.certificate->leaf};
    size_t size;
    unsigned char *bytes = respond(&good[0], &size);
    struct material_bytes request;
    struct staple *staple = NULL;
    const char *why = "";

    assert_int_equal(staple_check(&orphan, bytes, size, now_s, &staple, &why), -EBADMSG);
    assert_string_equal(why, "the certificate's issuer is not known; append it to the chain");
    assert_int_equal(staple_request(&orphan, &request), -ENODATA);
    // The first intermediate does where `authority` was not filled in.
    orphan.intermediates = load.certificate->intermediates;
    orphan.intermediate_count = load.certificate->intermediate_count;
    assert_int_equal(staple_check(&orphan, bytes, size, now_s, &staple, &why), 0);
    staple_destroy(staple);
    OPENSSL_free(bytes);
}

// ---- requests ----

static void test_request(void **state)
{
    struct material_bytes bytes;
    const unsigned char *next;
    OCSP_REQUEST *request;
    OCSP_CERTID *expected = OCSP_cert_to_id(EVP_sha1(), leaf, middle);

    assert_int_equal(staple_request(load.certificate, &bytes), 0);
    next = bytes.data;
    request = d2i_OCSP_REQUEST(NULL, &next, (long)bytes.size);
    assert_non_null(request);
    assert_ptr_equal(next, bytes.data + bytes.size);
    assert_int_equal(OCSP_request_onereq_count(request), 1);
    assert_int_equal(OCSP_id_cmp(OCSP_onereq_get0_id(OCSP_request_onereq_get0(request, 0)), expected), 0);
    assert_int_equal(OCSP_REQUEST_get_ext_count(request), 0); // no nonce
    OCSP_CERTID_free(expected);
    OCSP_REQUEST_free(request);
    free(bytes.data);
}

// ---- files ----

static int load_staple(const char *name, struct report *report, struct staple **ret)
{
    report_init(report, "test.yaml");
    return loader_staple(loader, load.certificate, path_of(name), (struct config_where){8, 3}, report, ret);
}

static void test_files(void **state)
{
    struct staple *staple = NULL;
    struct report report;
    size_t size;
    unsigned char *bytes = respond(&good[0], &size);

    write_file("good.ocsp", bytes, size);
    OPENSSL_free(bytes);
    bytes = respond(&bad[0].answer, &size);
    write_file("revoked.ocsp", bytes, size);
    OPENSSL_free(bytes);
    assert_int_equal(load_staple("good.ocsp", &report, &staple), 0);
    expect_silence(&report, "good.ocsp");
    assert_non_null(staple);
    staple_destroy(staple);
    report_finish(&report);
    staple = NULL;
    assert_int_equal(load_staple("revoked.ocsp", &report, &staple), -EINVAL);
    expect_line(&report,
                "test.yaml:8:3: OCSP response %/revoked.ocsp is not stapled: the certificate is revoked; "
                "fetch one with `openssl "
                "ocsp -respout FILE`, or let `ocsp: { fetch: true }` do it",
                "revoked");
    report_finish(&report);
    assert_int_equal(load_staple("none.ocsp", &report, &staple), -EINVAL);
    expect_line(&report,
                "test.yaml:8:3: cannot read OCSP response %/none.ocsp: No such file or directory; fetch one",
                "none");
    report_finish(&report);
    assert_null(staple);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),    cmocka_unit_test(test_bad),       cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_mangled), cmocka_unit_test(test_no_issuer), cmocka_unit_test(test_request),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

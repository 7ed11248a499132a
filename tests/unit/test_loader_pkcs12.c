// SPDX-License-Identifier: Apache-2.0
// PKCS#12 files: what is in them, how they are protected, and what is said of bad ones.
#include "tests/unit/loader_each.h"

#include <sys/wait.h>

#include <openssl/pkcs12.h>

#include "skip.h"

#define PHRASE "open sesame"

static EVP_PKEY *root_key, *middle_key, *leaf_key, *other_key;
static X509 *root, *middle, *leaf, *expired;

// ---- files ----

struct wish {
    const char *phrase; // NULL: none
    EVP_PKEY *key;
    X509 *certificate;
    X509 *others[2];
    int key_cipher;         // 0: as OpenSSL does it today
    int certificate_cipher; // -1: not encrypted
    int mac_rounds;         // -1: without
    OSSL_LIB_CTX *context;
};

static void write_pkcs12(const char *name, const struct wish *wish)
{
    STACK_OF(X509) *others = sk_X509_new_null();
    unsigned char *bytes = NULL;
    PKCS12 *pkcs12;
    int size;

    for (size_t i = 0; i < COUNT(wish->others) && wish->others[i] != NULL; i++)
        sk_X509_push(others, wish->others[i]);
    pkcs12 = PKCS12_create_ex(wish->phrase, "a name", wish->key, wish->certificate, others, wish->key_cipher,
                              wish->certificate_cipher, 0, wish->mac_rounds, 0, wish->context, NULL);
    must(pkcs12 != NULL, name);
    size = i2d_PKCS12(pkcs12, &bytes);
    write_der(name, size, bytes);
    PKCS12_free(pkcs12);
    sk_X509_free(others);
}

static void write_damaged(void)
{
    size_t size;
    uint8_t *bytes = read_whole("good.p12", &size);
    BIO *bio = BIO_new_file(path_of("text.p12"), "w");

    write_file("cut.p12", bytes, size - 50);
    must(PEM_write_bio(bio, "PKCS12", "", bytes, (long)size) > 0, "PEM");
    BIO_free(bio);
    free(bytes);
    write_file("empty.p12", "", 0);
}

static int set_up(void **state)
{
    folder_make();
    root_key = key_make("P-256");
    middle_key = key_make("P-256");
    leaf_key = key_make("RSA2048");
    other_key = key_make("P-256");
    root = certificate_of("Test root CA", root_key, NULL, NULL);
    middle = certificate_of("Test middle CA", middle_key, root, root_key);
    leaf = certificate_of("localhost", leaf_key, middle, middle_key);
    expired = certificate_make(&(struct certificate_wish){
        .name = "localhost",
        .key = leaf_key,
        .issuer = middle,
        .issuer_key = middle_key,
        .from_s = -2 * DAY_S,
        .until_s = -DAY_S,
    });
    write_pkcs12("good.p12", &(struct wish){PHRASE, leaf_key, leaf, {middle, root}});
    write_pkcs12("mixed.p12", &(struct wish){PHRASE, leaf_key, leaf, {root, middle}});
    write_pkcs12("blank.p12", &(struct wish){"", leaf_key, leaf, {middle}});
    write_pkcs12("none.p12", &(struct wish){NULL, leaf_key, leaf, {middle}});
    write_pkcs12("plain.p12", &(struct wish){NULL, leaf_key, leaf, {middle}, -1, -1, -1});
    write_pkcs12("nomac.p12", &(struct wish){PHRASE, leaf_key, leaf, {middle}, 0, 0, -1});
    write_pkcs12("readable.p12", &(struct wish){PHRASE, leaf_key, leaf, {middle}, 0, -1, 0});
    write_pkcs12("keyless.p12", &(struct wish){PHRASE, NULL, leaf, {middle}});
    write_pkcs12("bare.p12", &(struct wish){PHRASE, leaf_key, NULL, {NULL}});
    write_pkcs12("expired.p12", &(struct wish){PHRASE, leaf_key, expired, {middle}});
    write_pkcs12("foreign.p12", &(struct wish){PHRASE, other_key, NULL, {leaf, middle}});
    write_damaged();
    setenv("RINGBOLT_TEST_PHRASE", PHRASE, 1);
    setenv("RINGBOLT_TEST_WRONG", "open barley", 1);
    return 0;
}

static int tear_down(void **state)
{
    folder_remove();
    X509_free(expired);
    X509_free(leaf);
    X509_free(middle);
    X509_free(root);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(leaf_key);
    EVP_PKEY_free(middle_key);
    EVP_PKEY_free(root_key);
    return 0;
}

static int load_file(struct load *load, const char *file, const char *env)
{
    load_init(load);
    load->source.pkcs12 = path_of(file);
    load->source.passphrase.env = (char *)(uintptr_t)env;
    return load_run(load, loader);
}

static void expect_good(const char *file, const char *env)
{
    struct load load;

    load_file(&load, file, env);
    expect_silence(&load.report, file);
    assert_int_equal(load.certificate->kind, CERTIFICATE_RSA);
    assert_int_equal(load.certificate->intermediate_count, 1);
    assert_string_equal(load.certificate->names[0], "localhost");
    assert_true(load.certificate->key.size > 1000);
    load_finish(&load);
}

static void test_good(void **state)
{
    expect_good("good.p12", "RINGBOLT_TEST_PHRASE");
    expect_good("mixed.p12", "RINGBOLT_TEST_PHRASE");
    expect_good("blank.p12", NULL);
    expect_good("none.p12", NULL);
    expect_good("plain.p12", NULL);
    expect_good("plain.p12", "RINGBOLT_TEST_WRONG"); // which nobody looks at
    expect_good("nomac.p12", "RINGBOLT_TEST_PHRASE");
    expect_good("readable.p12", "RINGBOLT_TEST_PHRASE");
}

static const struct {
    const char *file;
    const char *env;
    const char *line;
} refusals[] = {
    {"good.p12", NULL,
     "test.yaml:3:5: PKCS#12 file %/good.p12 is encrypted, and nobody is there to ask for its passphrase; "
     "give"},
    {"good.p12", "RINGBOLT_TEST_WRONG",
     "test.yaml:5:9: the environment variable RINGBOLT_TEST_WRONG is the wrong passphrase for PKCS#12 file "
     "%/good.p12; put"},
    {"nomac.p12", "RINGBOLT_TEST_WRONG", "is the wrong passphrase for PKCS#12 file %/nomac.p12"},
    {"readable.p12", "RINGBOLT_TEST_WRONG", "is the wrong passphrase for PKCS#12 file %/readable.p12"},
    {"missing.p12", NULL,
     "test.yaml:3:5: cannot read PKCS#12 file %/missing.p12: No such file or directory; export"},
    {"empty.p12", NULL, "test.yaml:3:5: PKCS#12 file %/empty.p12 is empty; export certificate and key again"},
    {"cut.p12", "RINGBOLT_TEST_PHRASE",
     "test.yaml:3:5: PKCS#12 file %/cut.p12 is damaged, or no PKCS#12; export certificate and key again"},
    {"text.p12", "RINGBOLT_TEST_PHRASE",
     "test.yaml:3:5: PKCS#12 file %/text.p12 is PEM: name it as `chain: FILE` and `key: FILE`, or convert "
     "it; export"},
    {"keyless.p12", "RINGBOLT_TEST_PHRASE",
     "test.yaml:3:5: PKCS#12 file %/keyless.p12 holds no private key; export it together with the "
     "certificate's key"},
    {"bare.p12", "RINGBOLT_TEST_PHRASE",
     "test.yaml:3:5: PKCS#12 file %/bare.p12 holds no certificate; export the key together with its "
     "certificate"},
    {"foreign.p12", "RINGBOLT_TEST_PHRASE",
     "test.yaml:3:5: the private key in %/foreign.p12 does not match the certificate in it; give the key "
     "that"},
    {"expired.p12", "RINGBOLT_TEST_PHRASE", "test.yaml:3:5: the certificate in %/expired.p12 expired on 20"},
};

static void test_refused(void **state)
{
    for (size_t i = 0; i < COUNT(refusals); i++) {
        struct load load;

        assert_int_equal(load_file(&load, refusals[i].file, refusals[i].env), -EINVAL);
        expect_line(&load.report, refusals[i].line, refusals[i].file);
        assert_int_equal(load.report.error_count, 1);
        load_finish(&load);
    }
}

// Given in place of PEM.
static void test_in_the_wrong_place(void **state)
{
    struct load load;

    assert_int_equal(load_pair(&load, loader, "good.p12", "good.p12"), -EINVAL);
    expect_line(&load.report,
                "test.yaml:3:5: %/good.p12 is PKCS#12; name it as `pkcs12: FILE`, in place of chain",
                "chain");
    expect_line(&load.report,
                "test.yaml:4:7: %/good.p12 is PKCS#12; name it as `pkcs12: FILE`, in place of chain", "key");
    load_finish(&load);
}

// ---- OpenSSL's legacy provider ----

// In a process of its own, and without cmocka's assertions there: whether the provider is there is found once.
static void run_without_provider(void)
{
    struct load load;
    bool is_said;

    setenv("OPENSSL_MODULES", "/nonexistent", 1);
    is_said =
        load_file(&load, "legacy.p12", "RINGBOLT_TEST_PHRASE") == -EINVAL &&
        has_line(&load.report,
                 "test.yaml:3:5: PKCS#12 file %/legacy.p12 is protected with PBE-SHA1-RC2-40, which OpenSSL "
                 "does not know "
                 "here, nor is its legacy provider installed; export it again with AES-256 and SHA-256");
    if (!is_said)
        report_print(&load.report, stderr);
    load_finish(&load);
    loader_destroy(loader);
    _exit(is_said ? 0 : 1);
}

static void test_legacy(void **state)
{
    struct legacy legacy;
    bool has_legacy = legacy_init(&legacy);
    int status;
    pid_t pid;

    if (has_legacy)
        write_pkcs12("legacy.p12", &(struct wish){PHRASE,
                                                  leaf_key,
                                                  leaf,
                                                  {middle},
                                                  NID_pbe_WithSHA1And3_Key_TripleDES_CBC,
                                                  NID_pbe_WithSHA1And40BitRC2_CBC,
                                                  0,
                                                  legacy.context});
    legacy_finish(&legacy);
    if (!has_legacy)
        skip_because("this OpenSSL has no legacy provider");
    pid = fork();
    if (pid == 0)
        run_without_provider();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    expect_good("legacy.p12", "RINGBOLT_TEST_PHRASE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_loader(test_legacy), // first: the provider must not have been looked for
        with_loader(test_good),
        with_loader(test_refused),
        with_loader(test_in_the_wrong_place),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

// SPDX-License-Identifier: Apache-2.0
// Private keys in every form, and passphrases that the configuration names.
#include "tests/unit/loader_each.h"

#include <sys/wait.h>

#include <openssl/pkcs12.h>

#include "skip.h"

#define PHRASE "open sesame"

static EVP_PKEY *ca_key, *ec_key, *rsa_key, *ed_key;
static X509 *ca, *ec, *rsa, *ed;

// ---- files ----

static void write_pem(const char *name, EVP_PKEY *key, const EVP_CIPHER *cipher, bool is_old)
{
    BIO *bio = BIO_new_file(path_of(name), "w");
    const char *phrase = cipher != NULL ? PHRASE : NULL;
    int size = cipher != NULL ? (int)strlen(PHRASE) : 0;

    must(bio != NULL, name);
    if (is_old)
        must(PEM_write_bio_PrivateKey_traditional(bio, key, cipher, (const unsigned char *)phrase, size, NULL,
                                                  NULL) == 1,
             name);
    else
        must(PEM_write_bio_PKCS8PrivateKey(bio, key, cipher, phrase, size, NULL, NULL) == 1, name);
    BIO_free(bio);
}

static void write_key_der(const char *name, EVP_PKEY *key)
{
    unsigned char *bytes = NULL;
    int size = i2d_PrivateKey(key, &bytes);

    write_der(name, size, bytes);
}

static void write_pkcs8_der(const char *name, EVP_PKEY *key)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    unsigned char *bytes = NULL;
    int size = i2d_PKCS8_PRIV_KEY_INFO(info, &bytes);

    write_der(name, size, bytes);
    PKCS8_PRIV_KEY_INFO_free(info);
}

// In library context `context`, so that old ciphers can be had.
static void write_encrypted_der(const char *name, EVP_PKEY *key, int cipher, const EVP_CIPHER *modern,
                                OSSL_LIB_CTX *context)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    X509_SIG *encrypted =
        PKCS8_encrypt_ex(cipher, modern, PHRASE, (int)strlen(PHRASE), NULL, 0, 0, info, context, NULL);
    unsigned char *bytes = NULL;
    int size;

    must(encrypted != NULL, name);
    size = i2d_X509_SIG(encrypted, &bytes);
    write_der(name, size, bytes);
    X509_SIG_free(encrypted);
    PKCS8_PRIV_KEY_INFO_free(info);
}

static void write_kinds(const char *kind, EVP_PKEY *key, X509 *certificate)
{
    char name[64];

    snprintf(name, sizeof(name), "%s.pem", kind);
    write_chain(name, certificate, ca, NULL);
    snprintf(name, sizeof(name), "%s.pkcs8.key", kind);
    write_pem(name, key, NULL, false);
    snprintf(name, sizeof(name), "%s.encrypted.key", kind);
    write_pem(name, key, EVP_aes_256_cbc(), false);
    snprintf(name, sizeof(name), "%s.pkcs8.der", kind);
    write_pkcs8_der(name, key);
    snprintf(name, sizeof(name), "%s.encrypted.der", kind);
    write_encrypted_der(name, key, -1, EVP_aes_128_cbc(), NULL);
    if (EVP_PKEY_is_a(key, "ED25519"))
        return;
    snprintf(name, sizeof(name), "%s.old.key", kind);
    write_pem(name, key, NULL, true);
    snprintf(name, sizeof(name), "%s.old.der", kind);
    write_key_der(name, key);
    snprintf(name, sizeof(name), "%s.old.aes.key", kind);
    write_pem(name, key, EVP_aes_128_cbc(), true);
    snprintf(name, sizeof(name), "%s.old.des3.key", kind);
    write_pem(name, key, EVP_des_ede3_cbc(), true);
}

// The text of a file between two others, its newlines as elsewhere.
static void write_around(const char *name, const char *from, const char *ahead, bool has_returns)
{
    size_t size;
    uint8_t *bytes = read_whole(from, &size);
    FILE *file = fopen(path_of(name), "w");

    must(file != NULL, name);
    fputs(ahead, file);
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n' && has_returns)
            fputc('\r', file);
        fputc(bytes[i], file);
    }
    fputs("and more text\n", file);
    fclose(file);
    free(bytes);
}

static void write_damaged(void)
{
    size_t size;
    uint8_t *bytes = read_whole("ec.pkcs8.der", &size);

    write_file("cut.der", bytes, size - 1);
    free(bytes);
    write_text(
        "old-des.key",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-CBC,0011223344556677\n\n"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END RSA PRIVATE KEY-----\n");
    write_text("old-unknown.key",
               "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: ROT13,00\n\n"
               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END RSA PRIVATE KEY-----\n");
    write_text("encrypted-nonsense.key",
               "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
}

// Asks for more rounds than anybody waits for. Put together by hand: to encrypt it would take as long.
static void write_slow(void)
{
    X509_ALGOR *algorithm = PKCS5_pbe2_set_iv(EVP_aes_128_cbc(), 1000000000, NULL, 0, NULL, -1);
    unsigned char bytes[128] = {0x30};
    unsigned char *next = bytes + 2;
    int size = i2d_X509_ALGOR(algorithm, &next);

    must(size > 0 && size < 100, "an algorithm");
    bytes[1] = (unsigned char)(size + 18);
    *next++ = 0x04;
    *next++ = 16;
    write_file("slow.der", bytes, (size_t)size + 20);
    X509_ALGOR_free(algorithm);
}

static int set_up(void **state)
{
    folder_make();
    ca_key = key_make("P-256");
    ec_key = key_make("P-256");
    rsa_key = key_make("RSA2048");
    ed_key = key_make("ED25519");
    ca = certificate_of("Test CA", ca_key, NULL, NULL);
    ec = certificate_of("localhost", ec_key, ca, ca_key);
    rsa = certificate_of("localhost", rsa_key, ca, ca_key);
    ed = certificate_of("localhost", ed_key, ca, ca_key);
    write_kinds("ec", ec_key, ec);
    write_kinds("rsa", rsa_key, rsa);
    write_kinds("ed", ed_key, ed);
    write_around("returns.key", "ec.pkcs8.key", "", true);
    write_around("text.key", "ec.pkcs8.key", "Bag Attributes\n    localKeyID: 01\n", false);
    write_around("mark.key", "ec.pkcs8.key", "\xef\xbb\xbf", false);
    write_around("parameters.key", "ec.old.key",
                 "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n", false);
    write_damaged();
    write_slow();
    write_text("phrase", PHRASE "\nsecond line\n");
    write_text("phrase.returns", PHRASE "\r\n");
    write_text("phrase.bare", PHRASE);
    write_text("phrase.wrong", "open barley\n");
    write_text("phrase.blank", "\n" PHRASE "\n");
    setenv("RINGBOLT_TEST_PHRASE", PHRASE, 1);
    setenv("RINGBOLT_TEST_WRONG", "open barley", 1);
    setenv("RINGBOLT_TEST_BLANK", "", 1);
    unsetenv("RINGBOLT_TEST_NONE");
    return 0;
}

static int tear_down(void **state)
{
    folder_remove();
    X509_free(ed);
    X509_free(rsa);
    X509_free(ec);
    X509_free(ca);
    EVP_PKEY_free(ed_key);
    EVP_PKEY_free(rsa_key);
    EVP_PKEY_free(ec_key);
    EVP_PKEY_free(ca_key);
    return 0;
}

static int load_with(struct load *load, const char *chain, const char *key, const char *env, const char *file)
{
    load_init(load);
    load->source.chain = path_of(chain);
    load->source.key = path_of(key);
    load->source.passphrase.env = (char *)(uintptr_t)env;
    load->source.passphrase.file = file != NULL ? path_of(file) : NULL;
    return load_run(load, loader);
}

// ---- forms ----

static void test_forms(void **state)
{
    static const struct {
        const char *chain, *key;
    } cases[] = {
        {"ec.pem", "ec.pkcs8.key"},     {"ec.pem", "ec.pkcs8.der"},      {"ec.pem", "ec.old.key"},
        {"ec.pem", "ec.old.der"},       {"ec.pem", "ec.encrypted.key"},  {"ec.pem", "ec.encrypted.der"},
        {"ec.pem", "ec.old.aes.key"},   {"ec.pem", "ec.old.des3.key"},   {"rsa.pem", "rsa.pkcs8.key"},
        {"rsa.pem", "rsa.pkcs8.der"},   {"rsa.pem", "rsa.old.key"},      {"rsa.pem", "rsa.old.der"},
        {"rsa.pem", "rsa.old.aes.key"}, {"rsa.pem", "rsa.old.des3.key"}, {"rsa.pem", "rsa.encrypted.key"},
        {"ed.pem", "ed.pkcs8.key"},     {"ed.pem", "ed.pkcs8.der"},      {"ed.pem", "ed.encrypted.key"},
        {"ec.pem", "returns.key"},      {"ec.pem", "text.key"},          {"ec.pem", "mark.key"},
        {"ec.pem", "parameters.key"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const unsigned char *next;
        struct load load;
        EVP_PKEY *key;

        load_with(&load, cases[i].chain, cases[i].key, "RINGBOLT_TEST_PHRASE", NULL);
        expect_silence(&load.report, cases[i].key);
        next = load.certificate->key.data;
        key = d2i_AutoPrivateKey(NULL, &next, (long)load.certificate->key.size);
        assert_non_null(key);
        assert_int_equal(EVP_PKEY_eq(key, cases[i].chain[0] == 'r'   ? rsa_key
                                          : cases[i].chain[1] == 'c' ? ec_key
                                                                     : ed_key),
                         1);
        EVP_PKEY_free(key);
        load_finish(&load);
    }
}

// ---- passphrases that are configured ----

#define ENCRYPTED "ec.encrypted.key"

static const struct {
    const char *key;
    const char *env;
    const char *file;
    const char *line; // NULL: good
} phrases[] = {
    {ENCRYPTED, "RINGBOLT_TEST_PHRASE", NULL, NULL},
    {ENCRYPTED, NULL, "phrase", NULL},
    {ENCRYPTED, NULL, "phrase.returns", NULL},
    {ENCRYPTED, NULL, "phrase.bare", NULL},
    {ENCRYPTED, NULL, NULL,
     "test.yaml:4:7: private key %/ec.encrypted.key is encrypted, and nobody is there to ask for its "
     "passphrase; give the name "
     "of an environment variable, `passphrase: { env: NAME }`, or of a file that holds it, `passphrase: { "
     "file: FILE }`"},
    {ENCRYPTED, "RINGBOLT_TEST_NONE", NULL,
     "test.yaml:5:9: private key %/ec.encrypted.key is encrypted, and the environment variable "
     "RINGBOLT_TEST_NONE is not set; "
     "set it to the passphrase"},
    {ENCRYPTED, "RINGBOLT_TEST_BLANK", NULL,
     "test.yaml:5:9: the environment variable RINGBOLT_TEST_BLANK is empty; it must be the passphrase of "
     "private key "
     "%/ec.encrypted.key, 1 to 1023 bytes"},
    {ENCRYPTED, "RINGBOLT_TEST_WRONG", NULL,
     "test.yaml:5:9: the environment variable RINGBOLT_TEST_WRONG is the wrong passphrase for private key "
     "%/ec.encrypted.key; put the right one there"},
    {"rsa.old.aes.key", "RINGBOLT_TEST_WRONG", NULL,
     "is the wrong passphrase for private key %/rsa.old.aes.key"},
    {"ec.old.des3.key", "RINGBOLT_TEST_WRONG", NULL,
     "is the wrong passphrase for private key %/ec.old.des3.key"},
    {"ec.encrypted.der", "RINGBOLT_TEST_WRONG", NULL,
     "is the wrong passphrase for private key %/ec.encrypted.der"},
    {ENCRYPTED, NULL, "phrase.wrong",
     "test.yaml:5:9: the first line of %/phrase.wrong is the wrong passphrase for private key "
     "%/ec.encrypted.key"},
    {ENCRYPTED, NULL, "phrase.blank",
     "test.yaml:5:9: the first line of %/phrase.blank is empty; it must be the passphrase"},
    {ENCRYPTED, NULL, "phrase.none",
     "test.yaml:5:9: cannot read passphrase file %/phrase.none: No such file or directory; its first line "
     "must be the"},
    {"encrypted-nonsense.key", "RINGBOLT_TEST_PHRASE", NULL,
     "test.yaml:4:7: private key %/encrypted-nonsense.key is damaged; copy the file again"},
    {"cut.der", "RINGBOLT_TEST_PHRASE", NULL, "test.yaml:4:7: %/cut.der is not a private key"},
    {"old-des.key", "RINGBOLT_TEST_PHRASE", NULL,
     "test.yaml:4:7: private key %/old-des.key is encrypted with DES-CBC, which OpenSSL does not know here"},
    {"old-unknown.key", "RINGBOLT_TEST_PHRASE", NULL,
     "private key %/old-unknown.key is encrypted with an unknown cipher, which OpenSSL does not know here"},
    {"slow.der", "RINGBOLT_TEST_PHRASE", NULL,
     "private key %/slow.der is encrypted with more rounds than Ringbolt takes (10000000); encrypt it anew"},
};

static void test_configured_phrases(void **state)
{
    for (size_t i = 0; i < COUNT(phrases); i++) {
        struct load load;
        int result = load_with(&load, phrases[i].key[0] == 'r' ? "rsa.pem" : "ec.pem", phrases[i].key,
                               phrases[i].env, phrases[i].file);

        if (phrases[i].line == NULL) {
            expect_silence(&load.report, phrases[i].key);
        } else {
            assert_int_equal(result, -EINVAL);
            expect_line(&load.report, phrases[i].line, phrases[i].key);
            assert_int_equal(load.report.error_count, 1);
        }
        load_finish(&load);
    }
}

static void test_phrase_file_mode(void **state)
{
    struct load load;

    must(chmod(path_of("phrase.bare"), 0644) == 0, "chmod");
    assert_int_equal(load_with(&load, "ec.pem", ENCRYPTED, NULL, "phrase.bare"), 0);
    expect_line(&load.report, "test.yaml:5:9: warning: passphrase file %/phrase.bare can be read by others",
                "mode");
    load_finish(&load);
    must(chmod(path_of("phrase.bare"), 0600) == 0, "chmod");
}

// A passphrase for a key that needs none is no mistake.
static void test_phrase_not_needed(void **state)
{
    struct load load;

    assert_int_equal(load_with(&load, "ec.pem", "ec.pkcs8.key", "RINGBOLT_TEST_NONE", NULL), 0);
    expect_silence(&load.report, "not needed");
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
        load_with(&load, "ec.pem", "legacy.der", "RINGBOLT_TEST_PHRASE", NULL) == -EINVAL &&
        has_line(
            &load.report,
            "test.yaml:4:7: private key %/legacy.der is encrypted with PBE-MD5-DES, which OpenSSL does not "
            "know here, "
            "nor is its legacy provider installed; encrypt it anew: `openssl pkcs8 -topk8 -in %/legacy.der ");
    if (!is_said)
        report_print(&load.report, stderr);
    load_finish(&load);
    loader_destroy(loader);
    _exit(is_said ? 0 : 1);
}

static void test_legacy(void **state)
{
    struct legacy legacy;
    struct load load;
    bool has_legacy = legacy_init(&legacy);
    int status;
    pid_t pid;

    if (has_legacy)
        write_encrypted_der("legacy.der", ec_key, NID_pbeWithMD5AndDES_CBC, NULL, legacy.context);
    legacy_finish(&legacy);
    if (!has_legacy)
        skip_because("this OpenSSL has no legacy provider");
    pid = fork();
    if (pid == 0)
        run_without_provider();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(load_with(&load, "ec.pem", "legacy.der", "RINGBOLT_TEST_PHRASE", NULL), 0);
    expect_silence(&load.report, "legacy");
    load_finish(&load);
    assert_int_equal(load_with(&load, "ec.pem", "legacy.der", "RINGBOLT_TEST_WRONG", NULL), -EINVAL);
    expect_line(&load.report, "is the wrong passphrase for private key %/legacy.der", "legacy");
    load_finish(&load);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_loader(test_legacy), // first: the provider must not have been looked for
        with_loader(test_forms),
        with_loader(test_configured_phrases),
        with_loader(test_phrase_file_mode),
        with_loader(test_phrase_not_needed),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

// SPDX-License-Identifier: Apache-2.0
// Material: what is served and what is refused, with the words and the place of each complaint; the development
// certificate as strict verifiers see it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "ringbolt/tls.h"
#include "tests/unit/certificates.h"

// ---- a folder of files ----

static char folder[] = "/tmp/ringbolt-material-XXXXXX";
static EVP_PKEY *root_key, *middle_key, *leaf_key, *rsa_key;
static X509 *root, *middle, *leaf, *rsa_leaf;

// A path in the folder; good until the fourth call after.
static char *path_of(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(path_of(name), "w");

    must(file != NULL && fwrite(bytes, 1, size, file) == size, name);
    fclose(file);
}

static void write_der(const char *name, int (*encode)(const void *, unsigned char **), const void *object)
{
    unsigned char *bytes = NULL;
    int size = encode(object, &bytes);

    must(size > 0, name);
    write_file(name, bytes, (size_t)size);
    OPENSSL_free(bytes);
}

static int encode_certificate(const void *object, unsigned char **bytes)
{
    return i2d_X509(object, bytes);
}

static int encode_key(const void *object, unsigned char **bytes)
{
    return i2d_PrivateKey(object, bytes);
}

static X509 *leaf_valid(long from_s, long until_s)
{
    return certificate_make(&(struct certificate_wish){
        .name = "localhost",
        .key = leaf_key,
        .issuer = middle,
        .issuer_key = middle_key,
        .from_s = from_s,
        .until_s = until_s,
    });
}

// A certificate of its own for each key kind, in KIND.pem and KIND.key.
static void write_kind(const char *kind, const char *file)
{
    EVP_PKEY *key = key_make(kind);
    X509 *certificate = certificate_of("localhost", key, NULL, NULL);
    char name[64];

    snprintf(name, sizeof(name), "%s.pem", file);
    certificate_append(path_of(name), certificate);
    snprintf(name, sizeof(name), "%s.key", file);
    key_append(path_of(name), key);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void write_encrypted(const char *name, bool is_traditional)
{
    FILE *file = fopen(path_of(name), "w");
    unsigned char phrase[] = "sesame";

    must(file != NULL, name);
    if (is_traditional)
        must(PEM_write_PrivateKey_ex(file, leaf_key, EVP_aes_128_cbc(), phrase, 6, NULL, NULL, NULL, NULL) ==
                 1,
             name);
    else
        must(PEM_write_PKCS8PrivateKey(file, leaf_key, EVP_aes_128_cbc(), (char *)phrase, 6, NULL, NULL) == 1,
             name);
    fclose(file);
}

static void write_good(void)
{
    certificate_append(path_of("leaf.pem"), leaf);
    key_append(path_of("leaf.key"), leaf_key);
    certificate_append(path_of("chain.pem"), leaf);
    certificate_append(path_of("chain.pem"), middle);
    certificate_append(path_of("full.pem"), leaf);
    certificate_append(path_of("full.pem"), middle);
    certificate_append(path_of("full.pem"), root);
    certificate_append(path_of("rsa.pem"), rsa_leaf);
    key_append(path_of("rsa.key"), rsa_key);
    key_append(path_of("both.pem"), leaf_key);
    certificate_append(path_of("both.pem"), leaf);
    certificate_append(path_of("both.pem"), middle);
}

static void write_bad(void)
{
    static char large[(1 << 20) + 1];
    X509 *expired = leaf_valid(-2 * DAY_S, -3600);
    X509 *early = leaf_valid(3600, DAY_S);
    EVP_PKEY *weak_key = key_make("RSA1024");
    X509 *weak = certificate_of("Weak CA", weak_key, root, root_key);
    X509 *below_weak = certificate_of("localhost", leaf_key, weak, weak_key);
    X509 *sha1 = certificate_make(&(struct certificate_wish){
        .name = "localhost",
        .key = leaf_key,
        .issuer = middle,
        .issuer_key = middle_key,
        .until_s = DAY_S,
        .digest = "SHA1",
    });

    certificate_append(path_of("gap.pem"), leaf);
    certificate_append(path_of("gap.pem"), root);
    certificate_append(path_of("backwards.pem"), middle);
    certificate_append(path_of("backwards.pem"), leaf);
    certificate_append(path_of("expired.pem"), expired);
    certificate_append(path_of("early.pem"), early);
    certificate_append(path_of("sha1.pem"), sha1);
    write_der("leaf.der", encode_certificate, leaf);
    write_der("key.der", encode_key, leaf_key);
    certificate_append(path_of("weak.pem"), below_weak);
    certificate_append(path_of("weak.pem"), weak);
    write_file("empty.pem", "", 0);
    memset(large, 'x', sizeof(large));
    write_file("large.pem", large, sizeof(large));
    write_file("prose.pem", "0 is where counting begins\n", 27);
    write_file("damaged.pem", "-----BEGIN CERTIFICATE-----\nMIIB!\n-----END CERTIFICATE-----\n", 60);
    write_file("cut.pem", "-----BEGIN PRIVATE KEY-----\nMIGH", 32);
    write_encrypted("encrypted.key", false);
    write_encrypted("encrypted-traditional.key", true);
    must(mkfifo(path_of("fifo"), 0600) == 0, "a FIFO");
    X509_free(sha1);
    X509_free(below_weak);
    X509_free(weak);
    EVP_PKEY_free(weak_key);
    X509_free(early);
    X509_free(expired);
}

static int set_up(void **state)
{
    umask(0077);
    must(mkdtemp(folder) != NULL, folder);
    root_key = key_make("P-256");
    middle_key = key_make("P-256");
    leaf_key = key_make("P-256");
    rsa_key = key_make("RSA2048");
    root = certificate_of("Test root CA", root_key, NULL, NULL);
    middle = certificate_of("Test middle CA", middle_key, root, root_key);
    leaf = certificate_of("localhost", leaf_key, middle, middle_key);
    rsa_leaf = certificate_of("localhost", rsa_key, middle, middle_key);
    write_good();
    write_bad();
    write_kind("RSA1024", "rsa1024");
    write_kind("P-384", "p384");
    write_kind("P-521", "p521");
    write_kind("ED25519", "ed25519");
    write_kind("secp256k1", "k256");
    return 0;
}

static int tear_down(void **state)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL)
        unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory != NULL)
        closedir(directory);
    rmdir(folder);
    X509_free(rsa_leaf);
    X509_free(leaf);
    X509_free(middle);
    X509_free(root);
    EVP_PKEY_free(rsa_key);
    EVP_PKEY_free(leaf_key);
    EVP_PKEY_free(middle_key);
    EVP_PKEY_free(root_key);
    return 0;
}

// ---- one load ----

struct load {
    struct config_certificate certificates[2];
    struct config_listener listener;
    struct config config;
    struct report report;
    struct material *material;
    char log[LOG_LINE_MAX]; // what was logged
};

// Loads one or two certificates (chain_2 NULL: one) and gives material_load()'s result. load_finish() it.
static int load_begin(struct load *load, const char *chain, const char *key, const char *chain_2,
                      const char *key_2)
{
    int pipe_fds[2];
    ssize_t count;
    int result;

    *load = (struct load){0};
    load->certificates[0] = (struct config_certificate){path_of(chain), path_of(key), {3, 5}, {4, 7}};
    if (chain_2 != NULL)
        load->certificates[1] = (struct config_certificate){path_of(chain_2), path_of(key_2), {5, 5}, {6, 7}};
    load->listener.name = (char *)"127.0.0.1:8443";
    load->listener.tls.version_min = CONFIG_TLS12;
    load->listener.tls.version_max = CONFIG_TLS13;
    load->listener.tls.certificates = load->certificates;
    load->listener.tls.certificate_count = chain_2 != NULL ? 2 : 1;
    load->config.listeners = &load->listener;
    load->config.listener_count = 1;
    report_init(&load->report, "test.yaml");
    must(pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC) == 0, "a pipe");
    log_setup(LOG_TEXT, LOG_INFO, pipe_fds[1]);
    result = material_load(&load->config, &load->material, &load->report);
    log_setup(LOG_TEXT, LOG_INFO, STDERR_FILENO);
    count = read(pipe_fds[0], load->log, sizeof(load->log) - 1);
    load->log[count > 0 ? count : 0] = '\0';
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    assert_int_equal(ERR_peek_error(), 0);
    return result;
}

static void load_finish(struct load *load)
{
    material_destroy(load->material);
    report_finish(&load->report);
}

// ---- what is served ----

static void test_good(void **state)
{
    static const struct {
        const char *chain, *key, *chain_2, *key_2;
    } cases[] = {
        {"leaf.pem", "leaf.key", NULL, NULL},
        {"chain.pem", "leaf.key", NULL, NULL},
        {"full.pem", "leaf.key", NULL, NULL},
        {"both.pem", "both.pem", NULL, NULL},
        {"rsa.pem", "rsa.key", "chain.pem", "leaf.key"},
        {"p384.pem", "p384.key", "rsa.pem", "rsa.key"},
        {"p521.pem", "p521.key", NULL, NULL},
        {"ed25519.pem", "ed25519.key", "leaf.pem", "leaf.key"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t ticket_keys[TICKET_KEYS_SIZE];
        struct tls_context *context;
        struct load load;
        int result = load_begin(&load, cases[i].chain, cases[i].key, cases[i].chain_2, cases[i].key_2);

        if (result != 0)
            report_print(&load.report, stderr);
        assert_int_equal(result, 0);
        assert_int_equal(load.report.count, 0);
        assert_string_equal(load.log, "");
        assert_int_equal(ticket_keys_make(ticket_keys), 0);
        assert_int_equal(tls_context_create(&load.config, 0, load.material, ticket_keys, &context), 0);
        tls_context_destroy(context);
        load_finish(&load);
    }
}

static void test_key_mode_warned(void **state)
{
    struct load load;

    assert_int_equal(chmod(path_of("leaf.key"), 0644), 0);
    assert_int_equal(load_begin(&load, "leaf.pem", "leaf.key", NULL, NULL), 0);
    assert_non_null(strstr(load.log, "private key can be read by others"));
    assert_non_null(strstr(load.log, path_of("leaf.key")));
    load_finish(&load);
    assert_int_equal(chmod(path_of("leaf.key"), 0600), 0);
}

static void test_expired_intermediate_warned(void **state)
{
    X509 *old = certificate_make(&(struct certificate_wish){
        .name = "Test middle CA",
        .key = middle_key,
        .issuer = root,
        .issuer_key = root_key,
        .is_authority = true,
        .from_s = -2 * DAY_S,
        .until_s = -DAY_S,
    });
    struct load load;

    certificate_append(path_of("old.pem"), leaf);
    certificate_append(path_of("old.pem"), old);
    assert_int_equal(load_begin(&load, "old.pem", "leaf.key", NULL, NULL), 0);
    assert_non_null(strstr(load.log, "an intermediate certificate has expired"));
    load_finish(&load);
    X509_free(old);
}

// ---- what is refused ----

// In `line`, % stands for the folder.
struct refusal {
    const char *chain;
    const char *key;
    const char *line;
};

static const struct refusal refusals[] = {
    {"none.pem", "leaf.key",
     "test.yaml:3:5: cannot read certificate chain %/none.pem: No such file or directory; give a PEM file "
     "with the "
     "certificate first"},
    {"leaf.pem", "none.key",
     "test.yaml:4:7: cannot read private key %/none.key: No such file or directory; give a PEM file with the "
     "certificate's private key"},
    {"empty.pem", "leaf.key", "test.yaml:3:5: certificate chain %/empty.pem is empty; give a PEM file"},
    {"large.pem", "leaf.key",
     "test.yaml:3:5: certificate chain %/large.pem is larger than 1 MiB; give a PEM file"},
    {"fifo", "leaf.key", "test.yaml:3:5: certificate chain %/fifo is not a regular file; give a PEM file"},
    {"", "leaf.key", "test.yaml:3:5: certificate chain %/ is not a regular file; give a PEM file"},
    {"prose.pem", "leaf.key",
     "%/prose.pem is not a certificate chain: it has no line -----BEGIN CERTIFICATE-----"},
    {"damaged.pem", "leaf.key", "certificate 1 in %/damaged.pem is damaged"},
    {"leaf.der", "leaf.key",
     "certificate chain %/leaf.der is DER, not PEM; convert it with `openssl x509 -inform der -in "
     "%/leaf.der "},
    {"leaf.pem", "key.der",
     "test.yaml:4:7: private key %/key.der is DER, not PEM; convert it with `openssl pkey -inform der -in "
     "%/key.der "},
    {"leaf.key", "leaf.key",
     "%/leaf.key holds a private key and no certificate; chain and key look exchanged"},
    {"leaf.pem", "leaf.pem",
     "%/leaf.pem holds a certificate and no private key; chain and key look exchanged"},
    {"leaf.pem", "prose.pem", "%/prose.pem is not a private key: it has no line -----BEGIN PRIVATE KEY-----"},
    {"leaf.pem", "cut.pem", "private key %/cut.pem is damaged"},
    {"leaf.pem", "encrypted.key",
     "private key %/encrypted.key is encrypted; passphrases are not supported by this version; decrypt it "
     "with "
     "`openssl pkey -in %/encrypted.key"},
    {"leaf.pem", "encrypted-traditional.key",
     "private key %/encrypted-traditional.key is encrypted; passphrases"},
    {"leaf.pem", "rsa.key",
     "test.yaml:4:7: private key %/rsa.key does not match the certificate in %/leaf.pem"},
    {"backwards.pem", "leaf.key",
     "test.yaml:3:5: private key %/leaf.key belongs to certificate 2 in %/backwards.pem; put the server's "
     "certificate"},
    {"gap.pem", "leaf.key",
     "test.yaml:3:5: %/gap.pem: certificate 2 (/CN=Test root CA) did not issue the one before it "
     "(/CN=localhost)"},
    {"expired.pem", "leaf.key", "test.yaml:3:5: the certificate in %/expired.pem expired on 20"},
    {"early.pem", "leaf.key", "test.yaml:3:5: the certificate in %/early.pem is not valid before 20"},
    {"rsa1024.pem", "rsa1024.key",
     "rsa1024.pem has an RSA key of 1024 bits, which is too small; use one of 2048 bits"},
    {"k256.pem", "k256.key",
     "k256.pem has a key of type ECDSA secp256k1, which is not served; use RSA of 2048 bits"},
    {"sha1.pem", "leaf.key",
     "test.yaml:3:5: certificate 1 in %/sha1.pem is signed with SHA1, which clients refuse; ask for"},
    {"weak.pem", "leaf.key",
     "test.yaml:3:5: %/weak.pem cannot be served: ca key too small; ask for a chain whose keys"},
};

static void expand(const char *line, char *text, size_t size)
{
    size_t length = 0;

    for (; *line != '\0'; line++) {
        if (*line == '%')
            length += (size_t)snprintf(text + length, size - length, "%s", folder);
        else
            text[length++] = *line;
        must(length < size, "a shorter line");
    }
    text[length] = '\0';
}

static bool has_line(const struct report *report, const char *line)
{
    char text[1024];

    expand(line, text, sizeof(text));
    for (size_t i = 0; i < report->count; i++) {
        if (strstr(report->lines[i].text, text) != NULL)
            return true;
    }
    return false;
}

static void test_refused(void **state)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct load load;
        int result = load_begin(&load, refusals[i].chain, refusals[i].key, NULL, NULL);

        if (result != -EINVAL || !has_line(&load.report, refusals[i].line)) {
            report_print(&load.report, stderr);
            fail_msg("%s with %s: %d, no line with: %s", refusals[i].chain, refusals[i].key, result,
                     refusals[i].line);
        }
        assert_null(load.material);
        load_finish(&load);
    }
}

static void test_all_said_at_once(void **state)
{
    struct load load;

    assert_int_equal(load_begin(&load, "expired.pem", "rsa.key", "empty.pem", "none.key"), -EINVAL);
    assert_true(has_line(&load.report, "test.yaml:3:5: the certificate in %/expired.pem expired on "));
    assert_true(has_line(&load.report, "test.yaml:4:7: private key %/rsa.key does not match"));
    assert_true(has_line(&load.report, "test.yaml:5:5: certificate chain %/empty.pem is empty"));
    assert_true(has_line(&load.report, "test.yaml:6:7: cannot read private key %/none.key"));
    assert_int_equal(load.report.count, 4);
    load_finish(&load);
}

static void test_second_of_a_type_refused(void **state)
{
    struct load load;

    assert_int_equal(load_begin(&load, "leaf.pem", "leaf.key", "p384.pem", "p384.key"), -EINVAL);
    assert_int_equal(load.report.count, 1);
    assert_true(
        has_line(&load.report, "test.yaml:5:5: %/p384.pem is a second ECDSA certificate in this listener"));
    assert_true(has_line(&load.report, "(SNI) is not supported by this version"));
    load_finish(&load);
}

// ---- the development certificate ----

static X509 *read_certificate(const char *path)
{
    FILE *file = fopen(path, "r");
    X509 *certificate;

    assert_non_null(file);
    certificate = PEM_read_X509(file, NULL, NULL, NULL);
    assert_non_null(certificate);
    assert_int_equal(getc(file), EOF);
    fclose(file);
    return certificate;
}

// The certificate that an engine with this material presents to a client.
static X509 *present(const struct config *config, const struct material *material)
{
    static const uint8_t ticket_keys[TICKET_KEYS_SIZE];
    SSL_CTX *client_context = SSL_CTX_new(TLS_client_method());
    SSL *client = SSL_new(client_context);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    struct tls_context *context;
    struct engine *engine;
    const uint8_t *output;
    size_t length;
    char *hello;
    long hello_size;
    X509 *certificate;

    assert_int_equal(tls_context_create(config, 0, material, ticket_keys, &context), 0);
    engine = engine_create_server(context);
    SSL_set_bio(client, in, out);
    assert_int_equal(SSL_connect(client), -1);
    hello_size = BIO_get_mem_data(out, &hello);
    assert_int_equal(engine_feed(engine, (uint8_t *)hello, (size_t)hello_size, &length), ENGINE_WANTS_INPUT);
    output = engine_output(engine, &length);
    BIO_write(in, output, (int)length);
    assert_int_equal(SSL_connect(client), 1);
    certificate = SSL_get1_peer_certificate(client);
    assert_non_null(certificate);
    SSL_free(client);
    SSL_CTX_free(client_context);
    engine_destroy(engine);
    tls_context_destroy(context);
    return certificate;
}

static int verify(X509 *certificate, X509 *authority, const char *host, const char *address)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *parameters;
    int error;

    X509_STORE_add_cert(store, authority);
    X509_STORE_CTX_init(context, store, certificate, NULL);
    X509_STORE_CTX_set_default(context, "ssl_server");
    parameters = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    if (host != NULL)
        X509_VERIFY_PARAM_set1_host(parameters, host, 0);
    if (address != NULL)
        X509_VERIFY_PARAM_set1_ip_asc(parameters, address);
    X509_verify_cert(context);
    error = X509_STORE_CTX_get_error(context);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    return error;
}

static void develop_begin(struct load *load)
{
    *load = (struct load){0};
    load->listener.name = (char *)"127.0.0.1:8443";
    load->listener.tls.version_min = CONFIG_TLS12;
    load->listener.tls.version_max = CONFIG_TLS13;
    load->config.listeners = &load->listener;
    load->config.listener_count = 1;
    report_init(&load->report, "command line");
}

static void test_develop(void **state)
{
    struct load load;
    struct stat facts;
    X509 *authority, *certificate;
    int days, seconds;

    develop_begin(&load);
    write_file("ca.pem", "something old", 13);
    assert_int_equal(material_develop(&load.config, path_of("ca.pem"), &load.material, &load.report), 0);
    assert_int_equal(load.report.count, 0);
    assert_int_equal(stat(path_of("ca.pem"), &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0644);
    authority = read_certificate(path_of("ca.pem"));
    certificate = present(&load.config, load.material);
    assert_int_equal(verify(certificate, authority, "localhost", NULL), X509_V_OK);
    assert_int_equal(verify(certificate, authority, NULL, "127.0.0.1"), X509_V_OK);
    assert_int_equal(verify(certificate, authority, NULL, "::1"), X509_V_OK);
    assert_int_equal(verify(certificate, authority, "example.com", NULL), X509_V_ERR_HOSTNAME_MISMATCH);
    assert_int_equal(verify(certificate, root, "localhost", NULL),
                     X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
    assert_int_equal(
        ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(certificate), X509_get0_notAfter(certificate)),
        1);
    assert_int_equal(days, 30);
    assert_true(X509_cmp_current_time(X509_get0_notBefore(certificate)) < 0);
    X509_free(certificate);
    X509_free(authority);
    load_finish(&load);
}

static void test_develop_differs_each_time(void **state)
{
    struct load first, second;
    X509 *authority, *certificate;

    develop_begin(&first);
    develop_begin(&second);
    assert_int_equal(material_develop(&first.config, path_of("ca1.pem"), &first.material, &first.report), 0);
    assert_int_equal(material_develop(&second.config, NULL, &second.material, &second.report), 0);
    authority = read_certificate(path_of("ca1.pem"));
    certificate = present(&second.config, second.material);
    assert_int_not_equal(verify(certificate, authority, "localhost", NULL), X509_V_OK);
    X509_free(certificate);
    X509_free(authority);
    load_finish(&second);
    load_finish(&first);
}

static int count_files(void)
{
    DIR *directory = opendir(folder);
    int count = 0;

    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static void test_develop_cannot_write(void **state)
{
    static const struct {
        const char *name;
        int result;
    } cases[] = {{"no/ca.pem", -ENOENT}, {"fifo", -EEXIST}, {"leaf.pem/ca.pem", -ENOTDIR}};
    int files = count_files();

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct load load;

        develop_begin(&load);
        assert_int_equal(material_develop(&load.config, path_of(cases[i].name), &load.material, &load.report),
                         cases[i].result);
        assert_null(load.material);
        assert_int_equal(load.report.count, 1);
        assert_true(has_line(&load.report, "command line: cannot write the development CA to %/"));
        load_finish(&load);
    }
    assert_int_equal(count_files(), files);
}

static void test_ticket_keys(void **state)
{
    uint8_t first[TICKET_KEYS_SIZE], second[TICKET_KEYS_SIZE];

    assert_int_equal(ticket_keys_make(first), 0);
    assert_int_equal(ticket_keys_make(second), 0);
    assert_memory_not_equal(first, second, sizeof(first));
}

static void test_destroy_accepts_null(void **state)
{
    material_destroy(NULL);
    tls_context_destroy(NULL);
    engine_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_key_mode_warned),
        cmocka_unit_test(test_expired_intermediate_warned),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_all_said_at_once),
        cmocka_unit_test(test_second_of_a_type_refused),
        cmocka_unit_test(test_develop),
        cmocka_unit_test(test_develop_differs_each_time),
        cmocka_unit_test(test_develop_cannot_write),
        cmocka_unit_test(test_ticket_keys),
        cmocka_unit_test(test_destroy_accepts_null),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

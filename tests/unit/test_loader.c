// SPDX-License-Identifier: Apache-2.0
// Certificates from files: what is served and what is refused, with the words and the place of each complaint.
#include "tests/unit/loader_each.h"

static EVP_PKEY *root_key, *middle_key, *leaf_key, *rsa_key;
static X509 *root, *middle, *leaf, *rsa_leaf;

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

static void write_good(void)
{
    write_chain("leaf.pem", leaf, NULL);
    key_append(path_of("leaf.key"), leaf_key);
    write_chain("chain.pem", leaf, middle, NULL);
    write_chain("full.pem", leaf, middle, root, NULL);
    write_chain("mixed.pem", root, middle, leaf, NULL);
    write_chain("rsa.pem", rsa_leaf, middle, NULL);
    key_append(path_of("rsa.key"), rsa_key);
    key_append(path_of("both.pem"), leaf_key);
    write_chain("both.pem", leaf, middle, NULL);
    write_kind("P-384", "p384");
    write_kind("P-521", "p521");
    write_kind("ED25519", "ed25519");
}

static void write_usage(const char *file, int nid, const char *value)
{
    X509 *certificate = certificate_with("localhost", leaf_key, middle, middle_key, nid, value);

    write_chain(file, certificate, middle, NULL);
    X509_free(certificate);
}

static void write_timed(const char *file, long from_s, long until_s, const char *digest)
{
    X509 *certificate = certificate_make(&(struct certificate_wish){
        .name = "localhost",
        .key = leaf_key,
        .issuer = middle,
        .issuer_key = middle_key,
        .from_s = from_s,
        .until_s = until_s,
        .digest = digest,
    });

    write_chain(file, certificate, middle, NULL);
    X509_free(certificate);
}

static void write_weak(void)
{
    EVP_PKEY *weak_key = key_make("RSA1024");
    X509 *weak = certificate_of("Weak CA", weak_key, root, root_key);
    X509 *below_weak = certificate_of("localhost", leaf_key, weak, weak_key);

    write_chain("weak.pem", below_weak, weak, NULL);
    X509_free(below_weak);
    X509_free(weak);
    EVP_PKEY_free(weak_key);
    write_kind("RSA1024", "rsa1024");
    write_kind("secp256k1", "k256");
}

// An EC key whose private number is another's: its public point is the certificate's.
static void write_damaged_key(void)
{
    EVP_PKEY *other = key_make("P-256");
    unsigned char *own_bytes = NULL, *other_bytes = NULL;
    int size = i2d_PrivateKey(leaf_key, &own_bytes);

    // ECPrivateKey: SEQUENCE, version, OCTET STRING of 32 bytes at 7.
    must(size == i2d_PrivateKey(other, &other_bytes) && own_bytes[5] == 0x04 && own_bytes[6] == 32, "SEC 1");
    memcpy(own_bytes + 7, other_bytes + 7, 32);
    write_der("mangled.key", size, own_bytes);
    OPENSSL_free(other_bytes);
    EVP_PKEY_free(other);
    // RSAPrivateKey: the last byte is one of qInv's.
    own_bytes = NULL;
    size = i2d_PrivateKey(rsa_key, &own_bytes);
    own_bytes[size - 1] ^= 1;
    write_der("mangled-rsa.key", size, own_bytes);
}

static void write_bad(void)
{
    static char large[(1 << 20) + 1];
    size_t size;
    uint8_t *bytes;

    write_timed("expired.pem", -2 * DAY_S, -3600, NULL);
    write_timed("early.pem", 3600, DAY_S, NULL);
    write_timed("sha1.pem", -3600, DAY_S, "SHA1");
    write_usage("client.pem", NID_ext_key_usage, "clientAuth");
    write_usage("encipher.pem", NID_key_usage, "critical,keyEncipherment");
    write_usage("any.pem", NID_ext_key_usage, "anyExtendedKeyUsage");
    write_certificate_der("leaf.der", leaf);
    write_weak();
    write_damaged_key();
    write_file("empty.pem", "", 0);
    memset(large, 'x', sizeof(large));
    write_file("large.pem", large, sizeof(large));
    write_text("prose.pem", "0 is where counting begins\n");
    write_text("damaged.pem", "-----BEGIN CERTIFICATE-----\nMIIB!\n-----END CERTIFICATE-----\n");
    write_text("openssh.key",
               "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n");
    write_text("nonsense.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    bytes = read_whole("chain.pem", &size);
    write_file("cut.pem", bytes, size - 100);
    free(bytes);
    bytes = read_whole("leaf.key", &size);
    write_file("cut.key", bytes, size / 2);
    free(bytes);
    must(mkfifo(path_of("fifo"), 0600) == 0, "a FIFO");
    must(mkdir(path_of("directory"), 0700) == 0, "a folder");
}

static int set_up(void **state)
{
    folder_make();
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
    return 0;
}

static int tear_down(void **state)
{
    folder_remove();
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

// ---- what is served ----

static void test_good(void **state)
{
    static const struct {
        const char *chain, *key;
        enum certificate_kind kind;
        unsigned bits;
        size_t intermediates;
    } cases[] = {
        {"chain.pem", "leaf.key", CERTIFICATE_ECDSA, 256, 1},
        {"full.pem", "leaf.key", CERTIFICATE_ECDSA, 256, 1},
        {"mixed.pem", "leaf.key", CERTIFICATE_ECDSA, 256, 1},
        {"both.pem", "both.pem", CERTIFICATE_ECDSA, 256, 1},
        {"rsa.pem", "rsa.key", CERTIFICATE_RSA, 2048, 1},
        {"p384.pem", "p384.key", CERTIFICATE_ECDSA, 384, 0},
        {"p521.pem", "p521.key", CERTIFICATE_ECDSA, 521, 0},
        {"ed25519.pem", "ed25519.key", CERTIFICATE_EDDSA, 256, 0},
        {"any.pem", "leaf.key", CERTIFICATE_ECDSA, 256, 1},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct load load;

        load_pair(&load, loader, cases[i].chain, cases[i].key);
        expect_silence(&load.report, cases[i].chain);
        assert_int_equal(load.certificate->kind, cases[i].kind);
        if (cases[i].kind != CERTIFICATE_EDDSA) // 253 or 256, by OpenSSL's version
            assert_int_equal(load.certificate->key_bits, cases[i].bits);
        assert_int_equal(load.certificate->intermediate_count, cases[i].intermediates);
        assert_int_equal(load.certificate->name_count, 1);
        assert_string_equal(load.certificate->names[0], "localhost");
        load_finish(&load);
    }
}

static void expect_der(const struct material_bytes *bytes, X509 *certificate)
{
    unsigned char *expected = NULL;
    int size = i2d_X509(certificate, &expected);

    assert_int_equal(bytes->size, size);
    assert_memory_equal(bytes->data, expected, bytes->size);
    OPENSSL_free(expected);
}

static void test_everything_in_it(void **state)
{
    X509 *certificate = certificate_with("localhost", leaf_key, middle, middle_key, NID_info_access,
                                         "caIssuers;URI:http://ca.example/,OCSP;URI:ldap://ocsp.example/,"
                                         "OCSP;URI:http://ocsp.example/a,OCSP;URI:http://ocsp.example/b");
    unsigned char digest[32];
    const unsigned char *next;
    EVP_PKEY *key;
    struct load load;
    BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *serial_text = BN_bn2hex(serial);

    certificate_alter(certificate, middle, middle_key, NID_tlsfeature, "status_request");
    write_chain("rich.pem", certificate, middle, NULL);
    assert_int_equal(load_pair(&load, loader, "rich.pem", "leaf.key"), 0);
    expect_silence(&load.report, "rich.pem");
    expect_der(&load.certificate->leaf, certificate);
    expect_der(&load.certificate->intermediates[0], middle);
    expect_der(&load.certificate->authority, middle);
    X509_digest(certificate, EVP_sha256(), digest, NULL);
    assert_memory_equal(load.certificate->fingerprint, digest, 32);
    for (int i = 0; i < 8; i++)
        assert_int_equal(load.certificate->id >> (56 - 8 * i) & 0xff, digest[i]);
    assert_string_equal(load.certificate->subject, "CN=localhost");
    assert_string_equal(load.certificate->issuer, "CN=Test middle CA");
    assert_string_equal(load.certificate->serial, serial_text);
    assert_string_equal(load.certificate->responder, "http://ocsp.example/a");
    assert_true(load.certificate->must_staple);
    assert_int_equal(load.certificate->not_after_s - load.certificate->not_before_s, DAY_S + 3600);
    next = load.certificate->key.data;
    key = d2i_AutoPrivateKey(NULL, &next, (long)load.certificate->key.size);
    assert_non_null(key);
    assert_ptr_equal(next, load.certificate->key.data + load.certificate->key.size);
    assert_int_equal(X509_check_private_key(certificate, key), 1);
    EVP_PKEY_free(key);
    OPENSSL_free(serial_text);
    BN_free(serial);
    X509_free(certificate);
    load_finish(&load);
}

static void test_names_of_the_configuration(void **state)
{
    char *names[] = {(char *)"a.example", (char *)"*.b.example"};
    struct load load;

    load_init(&load);
    load.source.chain = path_of("chain.pem");
    load.source.key = path_of("leaf.key");
    load.source.names = names;
    load.source.name_count = 2;
    assert_int_equal(load_run(&load, loader), 0);
    assert_int_equal(load.certificate->name_count, 2);
    assert_string_equal(load.certificate->names[0], "a.example");
    assert_string_equal(load.certificate->names[1], "*.b.example");
    load_finish(&load);
}

// ---- names ----

static const struct {
    const char *common_name;
    const char *alternatives; // "" : none
    const char *names;        // separated by spaces
} name_cases[] = {
    {"ignored.example", "DNS:b.example,DNS:a.example", "b.example a.example"},
    {"x", "DNS:Example.COM,DNS:*.Example.com,DNS:example.com", "example.com *.example.com"},
    {"x", "DNS:xn--bcher-kva.example,DNS:under_score.example", "xn--bcher-kva.example under_score.example"},
    {"x.example", "DNS:w*.example,DNS:a.*.example,DNS:*,DNS:*.,DNS:a b.example,DNS:.example,DNS:a..b,DNS:a.",
     ""},
    {"x.example", "IP:192.0.2.1,email:a@b.example,URI:http://a.example/", "x.example"},
    {"x.example", "DNS:192.0.2.1", ""},
    {"Host.Example", "", "host.example"},
    {"*.host.example", "", "*.host.example"},
    {"An organisation", "", ""},
    {"192.0.2.1", "", ""},
};

static void test_names(void **state)
{
    for (size_t i = 0; i < COUNT(name_cases); i++) {
        X509 *certificate =
            certificate_with(name_cases[i].common_name, leaf_key, middle, middle_key, NID_subject_alt_name,
                             name_cases[i].alternatives[0] != '\0' ? name_cases[i].alternatives : NULL);
        char names[512] = "";
        struct load load;

        unlink(path_of("names.pem"));
        write_chain("names.pem", certificate, middle, NULL);
        assert_int_equal(load_pair(&load, loader, "names.pem", "leaf.key"), 0);
        for (size_t j = 0; j < load.certificate->name_count; j++) {
            strcat(names, j > 0 ? " " : "");
            strcat(names, load.certificate->names[j]);
        }
        assert_string_equal(names, name_cases[i].names);
        load_finish(&load);
        X509_free(certificate);
    }
}

// ---- what is refused ----

static const struct {
    const char *chain;
    const char *key;
    const char *line;
} refusals[] = {
    {"none.pem", "leaf.key",
     "test.yaml:3:5: cannot read certificate chain %/none.pem: No such file or directory; give a PEM file "
     "with the "
     "certificate first"},
    {"chain.pem", "none.key",
     "test.yaml:4:7: cannot read private key %/none.key: No such file or directory; give a PEM file with the "
     "certificate's private key"},
    {"empty.pem", "leaf.key", "test.yaml:3:5: certificate chain %/empty.pem is empty; give a PEM file"},
    {"large.pem", "leaf.key",
     "test.yaml:3:5: certificate chain %/large.pem is larger than 1 MiB; give a PEM file"},
    {"fifo", "leaf.key", "test.yaml:3:5: certificate chain %/fifo is not a regular file; give a PEM file"},
    {"directory", "leaf.key", "test.yaml:3:5: certificate chain %/directory is a folder; give a PEM file"},
    {"chain.pem", "directory", "test.yaml:4:7: private key %/directory is a folder; give a PEM file"},
    {"prose.pem", "leaf.key",
     "%/prose.pem is not a certificate chain: it has no line -----BEGIN CERTIFICATE-----; give a PEM file"},
    {"damaged.pem", "leaf.key",
     "test.yaml:3:5: certificate 1 in %/damaged.pem is damaged; copy the file again"},
    {"cut.pem", "leaf.key",
     "test.yaml:3:5: certificate 2 in %/cut.pem is cut off in the middle; copy the file again"},
    {"leaf.der", "leaf.key",
     "certificate chain %/leaf.der is DER, not PEM; convert it with `openssl x509 -inform der -in "
     "%/leaf.der "},
    {"leaf.key", "leaf.key",
     "%/leaf.key holds a private key and no certificate; chain and key look exchanged"},
    {"chain.pem", "chain.pem",
     "%/chain.pem holds a certificate and no private key; chain and key look exchanged"},
    {"chain.pem", "leaf.der",
     "%/leaf.der holds a certificate and no private key; chain and key look exchanged"},
    {"chain.pem", "prose.pem",
     "%/prose.pem is not a private key: it has no line -----BEGIN PRIVATE KEY-----; give"},
    {"chain.pem", "cut.key",
     "test.yaml:4:7: private key %/cut.key is cut off in the middle; copy the file again"},
    {"chain.pem", "nonsense.key",
     "test.yaml:4:7: private key %/nonsense.key is damaged; copy the file again"},
    {"chain.pem", "openssh.key",
     "%/openssh.key is a key of OpenSSH; convert it with `ssh-keygen -p -m PEM -f %/openssh.key`"},
    {"chain.pem", "mangled.key",
     "private key %/mangled.key is damaged: its numbers do not belong together; copy the file again"},
    {"rsa.pem", "mangled-rsa.key",
     "private key %/mangled-rsa.key is damaged: its numbers do not belong together; copy the file again"},
    {"chain.pem", "rsa.key",
     "test.yaml:4:7: private key %/rsa.key does not match the certificate in %/chain.pem; give the key that"},
    {"chain.pem", "p384.key",
     "test.yaml:4:7: private key %/p384.key does not match the certificate in %/chain.pem"},
    {"rsa.pem", "rsa1024.key",
     "test.yaml:4:7: private key %/rsa1024.key does not match the certificate in %/rsa.pem"},
    {"expired.pem", "leaf.key", "test.yaml:3:5: the certificate in %/expired.pem expired on 20"},
    {"early.pem", "leaf.key", "test.yaml:3:5: the certificate in %/early.pem is not valid before 20"},
    {"rsa1024.pem", "rsa1024.key",
     "%/rsa1024.pem has an RSA key of 1024 bits, which is too small; use one of 2048 bits or more, or ECDSA "
     "P-256"},
    {"k256.pem", "k256.key",
     "%/k256.pem has a key of type ECDSA secp256k1, which is not served; use RSA of 2048 bits or more, "
     "ECDSA"},
    {"sha1.pem", "leaf.key",
     "test.yaml:3:5: certificate CN=localhost in %/sha1.pem is signed with SHA1, which clients refuse; ask "
     "for"},
    {"weak.pem", "leaf.key",
     "test.yaml:3:5: certificate CN=Weak CA in %/weak.pem has a key that is too small, which clients refuse; "
     "ask"},
    {"client.pem", "leaf.key",
     "test.yaml:3:5: the certificate in %/client.pem is not for servers: its extended key usage lacks "
     "serverAuth; ask"},
    {"encipher.pem", "leaf.key",
     "test.yaml:3:5: the certificate in %/encipher.pem may not sign handshakes: its key usage lacks "
     "digitalSignature"},
};

static void test_refused(void **state)
{
    for (size_t i = 0; i < COUNT(refusals); i++) {
        struct load load;

        assert_int_equal(load_pair(&load, loader, refusals[i].chain, refusals[i].key), -EINVAL);
        expect_line(&load.report, refusals[i].line, refusals[i].chain);
        assert_int_equal(load.report.error_count, 1);
        load_finish(&load);
    }
}

static void test_all_said_at_once(void **state)
{
    struct load load;

    assert_int_equal(load_pair(&load, loader, "expired.pem", "rsa.key"), -EINVAL);
    expect_line(&load.report, "test.yaml:3:5: the certificate in %/expired.pem expired on ", "expired");
    expect_line(&load.report, "test.yaml:4:7: private key %/rsa.key does not match", "not matching");
    assert_int_equal(load.report.error_count, 2);
    load_finish(&load);
    assert_int_equal(load_pair(&load, loader, "empty.pem", "none.key"), -EINVAL);
    expect_line(&load.report, "test.yaml:3:5: certificate chain %/empty.pem is empty", "empty");
    expect_line(&load.report, "test.yaml:4:7: cannot read private key %/none.key", "none");
    assert_int_equal(load.report.error_count, 2);
    load_finish(&load);
}

// ---- who may read a key ----

static void test_key_mode(void **state)
{
    static const struct {
        mode_t mode;
        const char *warning; // NULL: none
    } cases[] = {
        {0600, NULL},
        {0400, NULL},
        {0644, "test.yaml:4:7: warning: private key %/mode.key can be read by others than its owner (mode "
               "0644); chmod 0600 it"},
        {0604, "can be read by others"},
        {0660, "test.yaml:4:7: warning: private key %/mode.key can be changed by others than its owner (mode "
               "0660)"},
        {0602, "can be changed by others"},
    };

    key_append(path_of("mode.key"), leaf_key);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct load load;

        must(chmod(path_of("mode.key"), cases[i].mode) == 0, "chmod");
        assert_int_equal(load_pair(&load, loader, "chain.pem", "mode.key"), 0);
        if (cases[i].warning == NULL)
            expect_silence(&load.report, "a mode");
        else
            expect_line(&load.report, cases[i].warning, "a mode");
        load_finish(&load);
    }
}

// Of root's, its group may read: group ssl-cert on Debian.
static void test_key_mode_of_group(void **state)
{
    bool is_root = geteuid() == 0;
    struct load load;

    must(chmod(path_of("rsa.key"), 0640) == 0, "chmod");
    assert_int_equal(load_pair(&load, loader, "rsa.pem", "rsa.key"), 0);
    assert_int_equal(load.report.count, is_root ? 0 : 1);
    load_finish(&load);
    if (is_root) {
        must(chown(path_of("rsa.key"), 65534, 65534) == 0, "chown");
        assert_int_equal(load_pair(&load, loader, "rsa.pem", "rsa.key"), 0);
        expect_line(&load.report, "can be read by others than its owner (mode 0640)", "not root's");
        load_finish(&load);
        must(chown(path_of("rsa.key"), 0, 0) == 0, "chown");
    }
    must(chmod(path_of("rsa.key"), 0600) == 0, "chmod");
}

static void test_destroy_accepts_null(void **state)
{
    loader_destroy(NULL);
    certificate_destroy(NULL);
    client_trust_destroy(NULL);
    staple_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_loader(test_good),
        with_loader(test_everything_in_it),
        with_loader(test_names_of_the_configuration),
        with_loader(test_names),
        with_loader(test_refused),
        with_loader(test_all_said_at_once),
        with_loader(test_key_mode),
        with_loader(test_key_mode_of_group),
        cmocka_unit_test(test_destroy_accepts_null),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

// SPDX-License-Identifier: Apache-2.0
// Chains: put in order, completed from what was seen elsewhere, warned about.
#include "tests/unit/loader_each.h"

static EVP_PKEY *root_key, *upper_key, *middle_key, *leaf_key, *other_key;
static X509 *root, *upper, *middle, *leaf, *other, *other_middle;

static X509 *expired_of(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    return certificate_make(&(struct certificate_wish){
        .name = name,
        .key = key,
        .issuer = issuer,
        .issuer_key = issuer_key,
        .is_authority = true,
        .from_s = -2 * DAY_S,
        .until_s = -DAY_S,
    });
}

static int set_up(void **state)
{
    folder_make();
    root_key = key_make("P-256");
    upper_key = key_make("P-256");
    middle_key = key_make("P-256");
    leaf_key = key_make("P-256");
    other_key = key_make("P-256");
    root = certificate_of("Test root CA", root_key, NULL, NULL);
    upper = certificate_of("Test upper CA", upper_key, root, root_key);
    middle = certificate_of("Test middle CA", middle_key, upper, upper_key);
    leaf = certificate_of("localhost", leaf_key, middle, middle_key);
    other = certificate_of("other.example", other_key, middle, middle_key);
    other_middle = certificate_of("Test other CA", other_key, root, root_key);
    key_append(path_of("leaf.key"), leaf_key);
    key_append(path_of("other.key"), other_key);
    return 0;
}

static int tear_down(void **state)
{
    folder_remove();
    X509_free(other_middle);
    X509_free(other);
    X509_free(leaf);
    X509_free(middle);
    X509_free(upper);
    X509_free(root);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(leaf_key);
    EVP_PKEY_free(middle_key);
    EVP_PKEY_free(upper_key);
    EVP_PKEY_free(root_key);
    return 0;
}

static bool is_der(const struct material_bytes *bytes, X509 *certificate)
{
    unsigned char *expected = NULL;
    int size = i2d_X509(certificate, &expected);
    bool is_same = bytes->size == (size_t)size && memcmp(bytes->data, expected, bytes->size) == 0;

    OPENSSL_free(expected);
    return is_same;
}

// Exactly these, in this order.
static void expect_sent(const struct certificate *certificate, X509 *first, X509 *second)
{
    assert_int_equal(certificate->intermediate_count, (first != NULL) + (second != NULL));
    if (first != NULL)
        assert_true(is_der(&certificate->intermediates[0], first));
    if (second != NULL)
        assert_true(is_der(&certificate->intermediates[1], second));
}

static void load_leaf(struct load *load, const char *chain)
{
    load_pair(load, loader, chain, "leaf.key");
    assert_non_null(load->certificate);
    assert_true(is_der(&load->certificate->leaf, leaf));
}

static void test_order(void **state)
{
    struct load load;

    write_chain("order1.pem", leaf, middle, upper, root, NULL);
    write_chain("order2.pem", root, upper, middle, leaf, NULL);
    write_chain("order3.pem", upper, leaf, root, middle, NULL);
    for (int i = 1; i <= 3; i++) {
        char name[32];

        snprintf(name, sizeof(name), "order%d.pem", i);
        load_leaf(&load, name);
        expect_silence(&load.report, name);
        expect_sent(load.certificate, middle, upper);
        assert_true(is_der(&load.certificate->authority, middle));
        load_finish(&load);
    }
}

static void test_repeated(void **state)
{
    struct load load;

    write_chain("repeated.pem", leaf, leaf, middle, middle, upper, middle, root, root, NULL);
    load_leaf(&load, "repeated.pem");
    expect_silence(&load.report, "repeated.pem");
    expect_sent(load.certificate, middle, upper);
    load_finish(&load);
}

static void test_left_over(void **state)
{
    struct load load;

    write_chain("left.pem", leaf, other_middle, middle, other, upper, root, NULL);
    load_leaf(&load, "left.pem");
    expect_sent(load.certificate, middle, upper);
    assert_int_equal(load.report.count, 2);
    expect_line(&load.report,
                "test.yaml:3:5: warning: certificate 2 in %/left.pem (CN=Test other CA) has no part in the "
                "server's chain and is not "
                "sent; remove it",
                "left.pem");
    expect_line(&load.report, "certificate 4 in %/left.pem (CN=other.example) has no part", "left.pem");
    load_finish(&load);
}

static void test_missing(void **state)
{
    struct load load;

    write_chain("alone.pem", leaf, NULL);
    load_leaf(&load, "alone.pem");
    expect_sent(load.certificate, NULL, NULL);
    assert_int_equal(load.certificate->authority.size, 0);
    assert_int_equal(load.report.count, 1);
    expect_line(&load.report,
                "test.yaml:3:5: warning: %/alone.pem lacks the certificate of the authority that issued the "
                "server's (CN=Test middle "
                "CA), so clients may not trust it; append it to the file",
                "alone.pem");
    load_finish(&load);
    // An authority of the same name and another key is no issuer.
    X509 *namesake = certificate_of("Test middle CA", other_key, upper, upper_key);
    write_chain("namesake.pem", leaf, namesake, NULL);
    load_leaf(&load, "namesake.pem");
    expect_sent(load.certificate, NULL, NULL);
    expect_line(&load.report, "%/namesake.pem lacks the certificate of the authority", "namesake.pem");
    load_finish(&load);
    X509_free(namesake);
}

static void test_completed(void **state)
{
    struct load load;

    write_chain("others.pem", other, middle, upper, root, NULL);
    write_chain("alone2.pem", leaf, NULL);
    write_chain("half.pem", leaf, middle, NULL);
    load_pair(&load, loader, "others.pem", "other.key");
    expect_silence(&load.report, "others.pem");
    load_finish(&load);
    load_leaf(&load, "alone2.pem");
    expect_silence(&load.report, "alone2.pem");
    expect_sent(load.certificate, middle, upper);
    assert_true(is_der(&load.certificate->authority, middle));
    load_finish(&load);
    load_leaf(&load, "half.pem");
    expect_silence(&load.report, "half.pem");
    expect_sent(load.certificate, middle, upper);
    load_finish(&load);
}

// What has expired completes nothing.
static void test_not_completed_with_expired(void **state)
{
    X509 *old = expired_of("Test middle CA", middle_key, upper, upper_key);
    struct load load;

    write_chain("old.pem", other, old, NULL);
    write_chain("alone3.pem", leaf, NULL);
    load_pair(&load, loader, "old.pem", "other.key");
    expect_line(&load.report,
                "test.yaml:3:5: warning: the intermediate certificate CN=Test middle CA in %/old.pem has "
                "expired; get the chain anew",
                "old.pem");
    load_finish(&load);
    load_leaf(&load, "alone3.pem");
    expect_line(&load.report, "%/alone3.pem lacks the certificate of the authority", "alone3.pem");
    load_finish(&load);
    X509_free(old);
}

static void test_root_issued(void **state)
{
    X509 *direct = certificate_of("localhost", leaf_key, root, root_key);
    struct load load;

    write_chain("direct.pem", direct, root, NULL);
    assert_int_equal(load_pair(&load, loader, "direct.pem", "leaf.key"), 0);
    expect_silence(&load.report, "direct.pem");
    expect_sent(load.certificate, NULL, NULL);
    assert_true(is_der(&load.certificate->authority, root));
    load_finish(&load);
    X509_free(direct);
}

static void test_self_signed(void **state)
{
    X509 *self = certificate_of("localhost", leaf_key, NULL, NULL);
    struct load load;

    write_chain("self.pem", self, NULL);
    assert_int_equal(load_pair(&load, loader, "self.pem", "leaf.key"), 0);
    expect_silence(&load.report, "self.pem");
    expect_sent(load.certificate, NULL, NULL);
    load_finish(&load);
    X509_free(self);
}

// An issuer that the system trusts needs no appending, and ends the chain although somebody cross-signed it.
static void test_trusted_by_the_system(void **state)
{
    X509 *direct = certificate_of("localhost", leaf_key, root, root_key);
    X509 *crossed = certificate_of("Test root CA", root_key, other_middle, other_key);
    struct loader *fresh;
    struct load load;

    write_chain("store.pem", root, NULL);
    write_chain("direct2.pem", direct, NULL);
    write_chain("crossed.pem", direct, crossed, NULL);
    setenv("SSL_CERT_FILE", path_of("store.pem"), 1);
    setenv("SSL_CERT_DIR", folder, 1);
    fresh = loader_create(false);
    assert_int_equal(load_pair(&load, fresh, "direct2.pem", "leaf.key"), 0);
    expect_silence(&load.report, "direct2.pem");
    expect_sent(load.certificate, NULL, NULL);
    assert_true(is_der(&load.certificate->authority, root));
    load_finish(&load);
    // Whoever puts the cross-signed one into the file gets it sent.
    assert_int_equal(load_pair(&load, fresh, "crossed.pem", "leaf.key"), 0);
    expect_sent(load.certificate, crossed, NULL);
    load_finish(&load);
    // Others don't.
    assert_int_equal(load_pair(&load, fresh, "direct2.pem", "leaf.key"), 0);
    expect_sent(load.certificate, NULL, NULL);
    load_finish(&load);
    loader_destroy(fresh);
    unsetenv("SSL_CERT_FILE");
    unsetenv("SSL_CERT_DIR");
    X509_free(crossed);
    X509_free(direct);
}

// Two authorities that certify each other.
static void test_circle(void **state)
{
    X509 *one = certificate_of("One CA", upper_key, other_middle, other_key);
    X509 *first = certificate_make(&(struct certificate_wish){.name = "First CA",
                                                              .key = middle_key,
                                                              .issuer = one,
                                                              .issuer_key = upper_key,
                                                              .is_authority = true,
                                                              .until_s = DAY_S});
    X509 *second = certificate_make(&(struct certificate_wish){.name = "One CA",
                                                               .key = upper_key,
                                                               .issuer = first,
                                                               .issuer_key = middle_key,
                                                               .is_authority = true,
                                                               .until_s = DAY_S});
    X509 *below = certificate_of("localhost", leaf_key, first, middle_key);
    struct load load;

    write_chain("circle.pem", below, first, second, NULL);
    assert_int_equal(load_pair(&load, loader, "circle.pem", "leaf.key"), 0);
    expect_sent(load.certificate, first, second);
    load_finish(&load);
    X509_free(below);
    X509_free(second);
    X509_free(first);
    X509_free(one);
}

// More authorities than the pool holds: what is used stays.
static void test_pool_is_bounded(void **state)
{
    struct load load;

    write_chain("used.pem", leaf, middle, upper, NULL);
    write_chain("alone4.pem", leaf, NULL);
    load_leaf(&load, "used.pem");
    load_finish(&load);
    for (int i = 0; i < 300; i++) {
        X509 *stranger, *below;
        char name[32];

        snprintf(name, sizeof(name), "Stranger %d CA", i);
        stranger = certificate_of(name, other_key, root, root_key);
        below = certificate_of("other.example", other_key, stranger, other_key);
        unlink(path_of("stranger.pem"));
        write_chain("stranger.pem", below, stranger, NULL);
        load_pair(&load, loader, "stranger.pem", "other.key");
        assert_int_equal(load.certificate->intermediate_count, 1);
        load_finish(&load);
        load_leaf(&load, "alone4.pem");
        expect_silence(&load.report, "alone4.pem");
        expect_sent(load.certificate, middle, upper);
        load_finish(&load);
        X509_free(below);
        X509_free(stranger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_loader(test_order),
        with_loader(test_repeated),
        with_loader(test_left_over),
        with_loader(test_missing),
        with_loader(test_completed),
        with_loader(test_not_completed_with_expired),
        with_loader(test_root_issued),
        with_loader(test_self_signed),
        with_loader(test_trusted_by_the_system),
        with_loader(test_circle),
        with_loader(test_pool_is_bounded),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

// SPDX-License-Identifier: Apache-2.0
// The development certificate as strict verifiers see it.
#include "tests/unit/loader.h"

static int set_up(void **state)
{
    folder_make();
    write_text("file", "a file");
    must(mkfifo(path_of("fifo"), 0600) == 0, "a FIFO");
    must(mkdir(path_of("directory"), 0700) == 0, "a folder");
    must(symlink("file", path_of("link")) == 0, "a link");
    return 0;
}

static int tear_down(void **state)
{
    folder_remove();
    return 0;
}

static X509 *read_authority(const char *name)
{
    FILE *file = fopen(path_of(name), "r");
    X509 *certificate;

    assert_non_null(file);
    certificate = PEM_read_X509(file, NULL, NULL, NULL);
    assert_non_null(certificate);
    assert_int_equal(getc(file), EOF);
    fclose(file);
    return certificate;
}

static X509 *leaf_of(const struct certificate *certificate)
{
    const unsigned char *next = certificate->leaf.data;
    X509 *leaf = d2i_X509(NULL, &next, (long)certificate->leaf.size);

    assert_non_null(leaf);
    return leaf;
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

static void test_made(void **state)
{
    struct certificate *certificate = NULL;
    struct report report;
    struct stat facts;
    X509 *authority, *leaf;

    report_init(&report, "command line");
    write_text("ca.pem", "something old");
    assert_int_equal(certificate_develop(path_of("ca.pem"), &report, &certificate), 0);
    expect_silence(&report, "development");
    assert_int_equal(stat(path_of("ca.pem"), &facts), 0);
    assert_int_equal(facts.st_mode & 07777, 0644);
    authority = read_authority("ca.pem");
    leaf = leaf_of(certificate);
    assert_int_equal(verify(leaf, authority, "localhost", NULL), X509_V_OK);
    assert_int_equal(verify(leaf, authority, NULL, "127.0.0.1"), X509_V_OK);
    assert_int_equal(verify(leaf, authority, NULL, "::1"), X509_V_OK);
    assert_int_equal(verify(leaf, authority, "example.com", NULL), X509_V_ERR_HOSTNAME_MISMATCH);
    assert_int_equal(certificate->name_count, 1);
    assert_string_equal(certificate->names[0], "localhost");
    assert_int_equal(certificate->kind, CERTIFICATE_ECDSA);
    assert_int_equal(certificate->intermediate_count, 0);
    assert_int_equal(certificate->not_after_s - certificate->not_before_s, 30 * DAY_S + 300);
    assert_true(certificate->key.size > 0);
    X509_free(leaf);
    X509_free(authority);
    certificate_destroy(certificate);
    report_finish(&report);
}

static void test_differs_each_time(void **state)
{
    struct certificate *one = NULL, *other = NULL;
    struct report report;
    X509 *authority, *leaf;

    report_init(&report, "command line");
    assert_int_equal(certificate_develop(path_of("ca1.pem"), &report, &one), 0);
    assert_int_equal(certificate_develop(NULL, &report, &other), 0);
    authority = read_authority("ca1.pem");
    leaf = leaf_of(other);
    assert_int_not_equal(verify(leaf, authority, "localhost", NULL), X509_V_OK);
    assert_true(one->id != other->id);
    X509_free(leaf);
    X509_free(authority);
    certificate_destroy(other);
    certificate_destroy(one);
    report_finish(&report);
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

static void test_cannot_write(void **state)
{
    static const struct {
        const char *name;
        int result;
        const char *line;
    } cases[] = {
        {"none/ca.pem", -ENOENT,
         "command line: cannot write the development CA to %/none/ca.pem: No such file or directory"},
        {"file/ca.pem", -ENOTDIR, "%/file/ca.pem: Not a directory"},
        {"fifo", -EINVAL, "%/fifo: it is no regular file; name one that may be replaced"},
        {"directory", -EISDIR, "%/directory: it is no regular file; name one that may be replaced"},
        {"link", -ELOOP, "%/link: it is no regular file; name one that may be replaced"},
    };
    int files = count_files();

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct certificate *certificate = NULL;
        struct report report;

        report_init(&report, "command line");
        assert_int_equal(certificate_develop(path_of(cases[i].name), &report, &certificate), cases[i].result);
        assert_null(certificate);
        assert_int_equal(report.count, 1);
        expect_line(&report, cases[i].line, cases[i].name);
        report_finish(&report);
    }
    assert_int_equal(count_files(), files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made),
        cmocka_unit_test(test_differs_each_time),
        cmocka_unit_test(test_cannot_write),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

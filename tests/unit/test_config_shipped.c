// SPDX-License-Identifier: Apache-2.0
// The files in conf/: they are right, and ringbolt.yaml shows every key there is with its default.
#include <glob.h>

#include "configs.h"

// A file of the source tree. __FILE__ is relative to the build folder, three levels above this program.
static char *source_path(const char *name)
{
    static const char own[] = "tests/unit/test_config_shipped.c";
    size_t root_length = strlen(__FILE__) - strlen(own);
    char program[PATH_MAX] = "";
    char *path;

    assert_true(readlink("/proc/self/exe", program, sizeof(program) - 1) > 0);
    for (int i = 0; i < 3; i++)
        *strrchr(program, '/') = '\0';
    assert_string_equal(&__FILE__[root_length], own);
    assert_true(asprintf(&path, "%s%s%.*s%s", __FILE__[0] == '/' ? "" : program,
                         __FILE__[0] == '/' ? "" : "/", (int)root_length, __FILE__, name) > 0);
    return path;
}

// ringbolt.yaml says of each value that it is the default: so it is.
static void check_shipped(const char *path)
{
    struct config *config = NULL;
    char expected[PATH_MAX];
    struct report report;
    int folder_length = (int)(strrchr(path, '/') - path);

    report_init(&report, path);
    if (config_load(path, &config, &report) != 0)
        fail_msg("%s", report_text(&report));
    assert_int_equal(report.count, 0);
    check_defaults(config);
    assert_true(config->listener_count > 0);
    assert_int_equal(config->listeners[0].tls.alpn_count, 0);
    for (size_t i = 0; i < config->listener_count; i++) {
        if (config->listeners[i].redirect.is_on)
            continue;
        snprintf(expected, sizeof(expected), "%.*s/server.pem", folder_length, path);
        assert_string_equal(config->listeners[i].tls.certificates[0].chain, expected);
        snprintf(expected, sizeof(expected), "%.*s/server.key", folder_length, path);
        assert_string_equal(config->listeners[i].tls.certificates[0].key, expected);
    }
    config_destroy(config);
    report_finish(&report);
}

static void test_shipped(void **state)
{
    char *pattern = source_path("conf/*.yaml");
    glob_t files;

    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= 2);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        // Of another kind, and tested with `ringbolt pki`.
        if (strcmp(strrchr(files.gl_pathv[i], '/'), "/pki.yaml") != 0)
            check_shipped(files.gl_pathv[i]);
    }
    globfree(&files);
    free(pattern);
}

// The text with every option that is commented out put in again: "#key: value" and "#- key: value", where prose has a
// blank behind the #.
static char *read_whole(const char *name)
{
    char *path = source_path(name);
    FILE *file = fopen(path, "re");
    char *text = malloc(65536);
    size_t length;
    bool is_line_start = true;

    assert_non_null(file);
    length = fread(text, 1, 65535, file);
    assert_true(length > 0 && length < 65535);
    text[length] = '\0';
    assert_int_equal(fclose(file), 0);
    free(path);
    for (char *at = text; *at != '\0'; at++) {
        if (is_line_start && *at == '#' && at[1] != ' ' && at[1] != '\n') {
            memmove(at, at + 1, strlen(at));
            is_line_start = false;
        }
        is_line_start = *at == '\n' || (is_line_start && *at == ' ');
    }
    return text;
}

#define NODES_MAX 16

// Each key of the schema is in one of the nodes, which stand at the same place of the document.
static void check_names_all(const struct node *const *nodes, size_t count, const cyaml_schema_value_t *schema)
{
    const struct node *inner[NODES_MAX];
    size_t inner_count = 0;

    if (schema->type == CYAML_SEQUENCE && schema->sequence.entry->type == CYAML_MAPPING) {
        for (size_t i = 0; i < count; i++) {
            for (size_t j = 0; j < nodes[i]->count; j++) {
                assert_true(inner_count < NODES_MAX);
                inner[inner_count++] = node_item(nodes[i], j);
            }
        }
        check_names_all(inner, inner_count, schema->sequence.entry);
    }
    if (schema->type != CYAML_MAPPING)
        return;
    for (const cyaml_schema_field_t *field = schema->mapping.fields; field->key != NULL; field++) {
        inner_count = 0;
        for (size_t i = 0; i < count; i++) {
            assert_true(inner_count < NODES_MAX);
            inner[inner_count] = node_get(nodes[i], field->key);
            inner_count += inner[inner_count] != NULL;
        }
        if (inner_count == 0)
            fail_msg("conf/ringbolt.yaml does not name `%s`", field->key);
        check_names_all(inner, inner_count, &field->value);
    }
}

static void test_shipped_names_all(void **state)
{
    char *text = read_whole("conf/ringbolt.yaml");
    struct config *config = NULL;
    const struct node *root;
    struct document document;
    struct report report;

    report_init(&report, "f");
    assert_int_equal(document_load(text, strlen(text), &document, &report), 0);
    root = document.root;
    check_names_all(&root, 1, schema_config.root);
    document_finish(&document);
    // What is commented out is right too.
    if (config_parse_with(text, strlen(text), "/etc/rb", resolve, &config, &report) != 0)
        fail_msg("%s", report_text(&report));
    assert_int_equal(config->listeners[0].tls.certificate_count, 2);
    assert_non_null(config->listeners[0].tls.keylog);
    config_destroy(config);
    report_finish(&report);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped),
        cmocka_unit_test(test_shipped_names_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

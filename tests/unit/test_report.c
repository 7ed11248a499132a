// SPDX-License-Identifier: Apache-2.0
// The report: order, warnings, and what it makes of hostile text.
#include "configs.h"

// ---- the report ----

static void test_report(void **state)
{
    struct report report;
    char *said;

    report_init(&report, "f");
    report_add(&report, (struct config_where){2, 1}, "e");
    report_add(&report, (struct config_where){1, 10}, "d %d", 1);
    report_add(&report, (struct config_where){1, 9}, "c");
    report_add(&report, (struct config_where){1, 9}, "b");
    report_add(&report, (struct config_where){1, 10}, "d %d", 1);
    report_add(&report, (struct config_where){1, 9}, "c");
    report_add(&report, (struct config_where){0}, "a");
    report_add(&report, (struct config_where){3, 1}, "line\nbreak, \x7f, \xc2\x9b, \xe2\x82, \xe2\x82\xac");
    said = report_text(&report);
    assert_string_equal(said, "f: a\nf:1:9: c\nf:1:9: b\nf:1:10: d 1\nf:2:1: e\n"
                              "f:3:1: line\\x0abreak, \\x7f, \\xc2\\x9b, \\xe2\\x82, \xe2\x82\xac\n");
    assert_int_equal(report.count, 6);
    free(said);
    report_finish(&report);

    report_init(&report, NULL);
    report_add(&report, (struct config_where){2, 1}, "alone");
    said = report_text(&report);
    assert_string_equal(said, "alone\n");
    free(said);
    report_finish(&report);
}

static void test_report_warning(void **state)
{
    struct report report;
    char *said;

    report_init(&report, "f");
    report_warn(&report, (struct config_where){2, 1}, "b %s", "x");
    assert_int_equal(report.error_count, 0);
    assert_int_equal(report.count, 1);
    report_add(&report, (struct config_where){3, 1}, "c");
    report_add(&report, (struct config_where){2, 1}, "b x"); // as a warning and as an error
    report_warn(&report, (struct config_where){2, 1}, "b x");
    report_warn(&report, (struct config_where){0}, "a");
    said = report_text(&report);
    assert_string_equal(said, "f: warning: a\nf:2:1: warning: b x\nf:2:1: b x\nf:3:1: c\n");
    assert_int_equal(report.count, 4);
    assert_int_equal(report.error_count, 2);
    assert_true(report.lines[0].is_warning);
    assert_false(report.lines[2].is_warning);
    free(said);
    report_finish(&report);

    report_init(&report, NULL);
    report_warn(&report, (struct config_where){2, 1}, "alone");
    assert_string_equal(report.lines[0].text, "warning: alone");
    report_finish(&report);
}

static void test_report_long(void **state)
{
    char *text = repeat("x", "\xc3\xa9", 400, "");
    char *cut = repeat("x", "\xc3\xa9", 299, "…");
    struct report report;

    report_init(&report, NULL);
    report_add(&report, (struct config_where){0}, "%s", text);
    assert_string_equal(report.lines[0].text, cut);
    report_finish(&report);
    free(text);
    free(cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_report_warning),
        cmocka_unit_test(test_report_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

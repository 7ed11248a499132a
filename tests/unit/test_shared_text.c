// SPDX-License-Identifier: Apache-2.0
// Names kept once: the same text is the same memory while somebody uses it, and whatever else comes meanwhile, nobody's text changes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "src/proxy/shared_text.h"

static void test_shared(void **state)
{
    struct shared_texts texts = {0};
    struct shared_text *first = shared_text_take(&texts, "a.example");
    struct shared_text *second = shared_text_take(&texts, "a.example");
    struct shared_text *other = shared_text_take(&texts, "b.example");

    assert_non_null(first);
    assert_ptr_equal(first, second);
    assert_string_equal(first->text, "a.example");
    assert_string_equal(other->text, "b.example");
    assert_null(shared_text_take(&texts, ""));
    shared_text_give(first);
    assert_string_equal(second->text, "a.example");
    shared_text_give(second);
    shared_text_give(other);
    shared_text_give(NULL);
    shared_texts_finish(&texts);
}

// Far more names than places: each keeps its own, also when the table is gone (the sanitizer build sees what is lost).
static void test_crowded_out(void **state)
{
    enum { NAMES = 20 * SHARED_TEXTS };
    static struct shared_text *taken[NAMES];
    struct shared_texts texts = {0};
    char name[32];

    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof(name), "%d.example", i);
        taken[i] = shared_text_take(&texts, name);
        assert_non_null(taken[i]);
    }
    shared_texts_finish(&texts);
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof(name), "%d.example", i);
        assert_string_equal(taken[i]->text, name);
        assert_int_equal(taken[i]->uses, 1);
        shared_text_give(taken[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_crowded_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

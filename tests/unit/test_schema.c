// SPDX-License-Identifier: Apache-2.0
// A file of another room's, checked and loaded by a schema of its own, as src/config/schema.h tells it.
#include "configs.h"

struct raw_dog {
    char *name;
    int *size;
};

struct raw_house {
    char *owner;
    char **rooms;
    unsigned rooms_count;
    struct raw_dog *dogs;
    unsigned dogs_count;
};

static const cyaml_strval_t size_words[] = {{"small", 1}, {"large", 2}};
static const cyaml_schema_field_t dog_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_DEFAULT, struct raw_dog, name, 1, 10),
    CYAML_FIELD_ENUM_PTR("size", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct raw_dog, size, size_words,
                         COUNT(size_words)),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t dog_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_dog, dog_fields)};
static const cyaml_schema_value_t room_value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, 10)};
static const cyaml_schema_field_t house_fields[] = {
    CYAML_FIELD_STRING_PTR("owner", CYAML_FLAG_DEFAULT, struct raw_house, owner, 1, 10),
    CYAML_FIELD_SEQUENCE("rooms", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_house, rooms,
                         &room_value, 1, 3),
    CYAML_FIELD_SEQUENCE("dogs", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_house, dogs, &dog_value,
                         0, 3),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t house_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_house, house_fields)};
static const struct schema schema = {.root = &house_value, .name = "the house"};

// What is said of `text`; the structures, and the document for places, if nothing is.
static char *read_house(const char *text, struct document *document, struct raw_house **ret)
{
    struct report report;
    void *data = NULL;
    char *said;

    report_init(&report, "h");
    assert_int_equal(document_load(text, strlen(text), document, &report), 0);
    schema_check(&schema, document, &report);
    assert_int_equal(schema_load(&schema, document, &data, &report), 0); // also of a file that is wrong
    said = report_text(&report);
    report_finish(&report);
    *ret = data;
    return said;
}

static void test_good(void **state)
{
    struct document document;
    struct raw_house *house;
    char *said = read_house("owner: me\nrooms: [a, b]\ndogs:\n- {name: c, size: large}\n- {name: d}\n",
                            &document, &house);

    assert_string_equal(said, "");
    assert_string_equal(house->owner, "me");
    assert_int_equal(house->rooms_count, 2);
    assert_string_equal(house->rooms[1], "b");
    assert_int_equal(house->dogs_count, 2);
    assert_int_equal(*house->dogs[0].size, 2);
    assert_null(house->dogs[1].size);
    assert_int_equal(node_where(node_get(node_item(node_get(document.root, "dogs"), 1), "name")).line, 5);
    assert_int_equal(node_where(node_get(node_item(node_get(document.root, "dogs"), 2), "name")).line, 0);
    assert_false(node_is_wrong(node_get(document.root, "owner")));
    free(said);
    schema_free(&schema, house);
    document_finish(&document);
    schema_free(&schema, NULL);
}

// A list of single values, but not one of mappings, may be one value.
static void test_single(void **state)
{
    struct document document;
    struct raw_house *house;
    char *said = read_house("owner: me\nrooms: a\ndogs: b\n", &document, &house);

    assert_string_equal(said, "h:3:7: `dogs` must be a list, not a single value\n");
    assert_int_equal(house->rooms_count, 1);
    assert_string_equal(house->rooms[0], "a");
    assert_int_equal(node_get(document.root, "rooms")->kind, NODE_LIST);
    free(said);
    schema_free(&schema, house);
    document_finish(&document);
}

static void test_wrong(void **state)
{
    static const char *const cases[][2] = {
        {"", "h:1:1: required key `owner` is missing; the house needs it\n"},
        {"[]", "h:1:1: the house must be a mapping with owner, not a list\n"},
        {"{owner: a, dogs: [{name: b, size: big}]}", "h:1:35: `size` must be small or large, not \"big\"\n"},
        {"{owner: a, limits: 1}", "h:1:12: unknown key `limits`; known here are owner, rooms and dogs\n"},
        {"{owner: a, rooms: [b, c, d, e]}", "h:1:19: `rooms` has 4 entries; at most 3 are allowed\n"},
        {"owner: a\n---\nowner: b\n", "h:2:1: a second document begins here; the file may hold only one\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct document document;
        struct raw_house *house;
        char *said = read_house(cases[i][0], &document, &house);
        assert_string_equal(said, cases[i][1]);
        free(said);
        schema_free(&schema, house);
        document_finish(&document);
    }
}

// Whoever looks for what must stand together learns that something was left out.
static void test_partial(void **state)
{
    struct document document;
    struct raw_house *house;
    char *said = read_house("owner: a\ndogs: [{name: b, size: [c]}, {name: d}]\n", &document, &house);
    const struct node *dogs = node_get(document.root, "dogs");

    assert_string_equal(said, "h:2:24: `size` must be a single value, not a list\n");
    assert_true(node_item(dogs, 0)->is_partial);
    assert_false(node_item(dogs, 1)->is_partial);
    assert_null(node_get(node_item(dogs, 0), "size"));
    free(said);
    schema_free(&schema, house);
    document_finish(&document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_partial),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Reading and writing YAML. */
#include "testing.h"

#include "cli/places.h"
#include "cli/yaml_read.h"
#include "cli/yaml_scalar.h"
#include "cli/yaml_write.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/buf.h"

static int group_set_up(void **state)
{
    return dm_crypto_init();
}

static struct dm_json *json_of(const char *text)
{
    static const struct dm_json_limits limits = {1 << 20, 64};
    struct dm_json *json = NULL;
    struct dm_err err = {0};

    if (dm_json_parse(dm_str_of(text), &limits, &json, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return json;
}

static void check_reads(const char *text, const char *expected)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *wanted = json_of(expected);
    struct dm_yaml yaml = {0};
    struct dm_err err = {0};

    if (dm_yaml_read("t.yaml", dm_str_of(text), &yaml, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    assert_int_equal(yaml.documents.count, 1);
    if (!dm_json_equal(yaml.documents.items[0].json, wanted))
        fail_msg("%s is not read as %s", text, expected);
    dm_yaml_done(&yaml);
}

static void check_refuses(const char *text, const char *message)
{
    struct dm_yaml yaml = {0};
    struct dm_err err = {0};

    if (dm_yaml_read("t.yaml", dm_str_of(text), &yaml, &err) >= 0)
        fail_msg("%s is taken", text);
    assert_has(err.message, message);
    dm_yaml_done(&yaml);
}

/* --- scalars ------------------------------------------------------------------------------------------------------ */

static void test_core_schema(void **state)
{
    check_reads("{a: true, b: False, c: TRUE}", "{\"a\":true,\"b\":false,\"c\":true}");
    check_reads("{a: yes, b: no, c: on, d: off, e: y, f: n, g: tRue}",
                "{\"a\":\"yes\",\"b\":\"no\",\"c\":\"on\",\"d\":\"off\",\"e\":\"y\",\"f\":\"n\",\"g\":\"tRue\"}");
    check_reads("[null, Null, NULL, ~, nUll]", "[null,null,null,null,\"nUll\"]");
    check_reads("{a: , b: ''}", "{\"a\":null,\"b\":\"\"}");
    check_reads("[0, -1, +2, 007, 0o17, 0x1F]", "[0,-1,2,7,15,31]");
    check_reads("[1.5, -0.5, .5, 1., 1e3, 1E-2, +1.0]", "[1.5,-0.5,0.5,1.0,1000.0,0.01,1.0]");
    check_reads("[9223372036854775807, -9223372036854775808]", "[9223372036854775807,-9223372036854775808]");
    check_reads(
        "[12:30, 1_000, 0b1, 1.2.3, 0x, 0o8, 1e, e1, -, +, ., 2026-11-22]",
        "[\"12:30\",\"1_000\",\"0b1\",\"1.2.3\",\"0x\",\"0o8\",\"1e\",\"e1\",\"-\",\"+\",\".\",\"2026-11-22\"]");
    check_reads("['true', \"1\", '~']", "[\"true\",\"1\",\"~\"]");
    check_reads("a: 127.0.0.1\nb: 10.0.0.0/8\n", "{\"a\":\"127.0.0.1\",\"b\":\"10.0.0.0/8\"}");
}

static void test_texts(void **state)
{
    check_reads("a: |\n  one\n  two\nb: >\n  one\n  two\n", "{\"a\":\"one\\ntwo\\n\",\"b\":\"one two\\n\"}");
    check_reads("\"a b\": \"tab\\there \\u00e9\"", "{\"a b\":\"tab\\there \xC3\xA9\"}");
    check_reads("대문: 문", "{\"대문\":\"문\"}");
    check_reads("'1': a\n'true': b\n", "{\"1\":\"a\",\"true\":\"b\"}");
}

static void test_structure(void **state)
{
    check_reads("a:\n  - b: 1\n    c: [x, {d: e}]\n  - []\nf: {}\n",
                "{\"a\":[{\"b\":1,\"c\":[\"x\",{\"d\":\"e\"}]},[]],\"f\":{}}");
    check_reads("%YAML 1.2\n--- # comment\na: 1\n...\n", "{\"a\":1}");
    check_reads("{\"json\": [1, 2.5, null, \"x\"]}", "{\"json\":[1,2.5,null,\"x\"]}");
}

static void test_documents(void **state)
{
    struct dm_yaml yaml = {0};
    struct dm_err err = {0};

    assert_int_equal(dm_yaml_read("t", DM_STR("# nothing\n---\na: 1\n---\n---\nb: 2\n"), &yaml, &err), 0);
    assert_int_equal(yaml.documents.count, 2);
    assert_int_equal(dm_places_find(yaml.documents.items[1].places, DM_STR("/b")).line, 6);
    dm_yaml_done(&yaml);
    assert_int_equal(dm_yaml_read("t", DM_STR(""), &yaml, &err), 0);
    assert_int_equal(yaml.documents.count, 0);
    dm_yaml_done(&yaml);
}

/* --- refusals, each with its line --------------------------------------------------------------------------------- */

static void test_refusals(void **state)
{
    check_refuses("a: &x 1\n", "t.yaml:1:4: anchors (&x) are not taken");
    check_refuses("a: 1\nb: &list\n  - 1\n", "t.yaml:2:4: anchors (&list)");
    check_refuses("a: 1\nb:\n  c: *x\n", "t.yaml:3:6: aliases (*x)");
    check_refuses("a:\n  b: !!str 1\n", "t.yaml:2:6: tags (tag:yaml.org,2002:str)");
    check_refuses("a: ! 1\n", "t.yaml:1:4: tags (!)");
    check_refuses("%TAG !e! tag:example.com,2026:\n---\na: 1\n", "t.yaml:1:1: %TAG");
    check_refuses("a:\n  <<: {b: 1}\n", "t.yaml:2:3: merge keys (<<)");
    check_refuses("a: 1\nb: 2\na: 3\n", "t.yaml:3:1: key 'a' stands twice");
    check_refuses("{a: {b: 1, b: 2}}", "t.yaml:1:12: key 'b' stands twice");
    check_refuses("a: 1\n2: b\n", "t.yaml:2:1: a key must be a text; quote it: \"2\"");
    check_refuses("true: b\n", "a key must be a text; quote it: \"true\"");
    check_refuses("? [a]\n: b\n", "t.yaml:1:3: a key must be a text");
    check_refuses("a: .inf\n", "t.yaml:1:4: .inf is no number here");
    check_refuses("a: -.NaN\nb: .nan\n", "t.yaml:2:4: .nan is no number here");
    check_refuses("a: 9223372036854775808\n", "t.yaml:1:4: 9223372036854775808 is outside the range");
    check_refuses("a: \"x\\0y\"\n", "t.yaml:1:4: a text must be without NUL");
    check_refuses("a:\n\t- b\n", "t.yaml:2:1: this character can't stand here: YAML indents with spaces");
    check_refuses("a: [1, 2\n", "t.yaml:2:1: not valid YAML");
    check_refuses("a: 1\n b: 2\n", "t.yaml:2:3: not valid YAML");
    check_refuses("a: 'open\n", "not valid YAML");
    check_refuses("a: \xFF\n", "t.yaml: byte 3");
}

/* n arrays, one in the other. */
static void nest(char *ret, int n)
{
    memset(ret, '[', (size_t)n);
    memset(ret + n, ']', (size_t)n);
    ret[2 * n] = '\0';
}

static void test_caps(void **state)
{
    char *big = malloc(DM_YAML_BYTES_MAX + 1), text[80];
    struct dm_yaml yaml = {0};
    struct dm_err err = {0};

    nest(text, DM_YAML_DEPTH_MAX);
    check_reads(text, text);
    nest(text, DM_YAML_DEPTH_MAX + 1);
    check_refuses(text, "t.yaml:1:33: nested deeper than 32 levels");
    memset(big, ' ', DM_YAML_BYTES_MAX + 1);
    assert_int_equal(dm_yaml_read("t", dm_str_n(big, DM_YAML_BYTES_MAX + 1), &yaml, &err), DM_EBUDGET);
    assert_has(err.message, "larger than 8 MiB");
    free(big);
}

/* --- places ------------------------------------------------------------------------------------------------------- */

static void check_place(const struct dm_places *places, const char *pointer, size_t line, size_t column)
{
    struct dm_place place = dm_places_find(places, dm_str_of(pointer));

    if (place.line != line || place.column != column)
        fail_msg("%s: expected %zu:%zu, found %zu:%zu", pointer, line, column, place.line, place.column);
}

static void test_places(void **state)
{
    static const char text[] = "daemun: 1\n"
                               "products:\n"
                               "  - name: orders\n"
                               "    plans: [{name: basic}, {name: big}]\n"
                               "  -\n"
                               "    name: x\n"
                               "a/b~c: {d: e}\n";
    struct dm_yaml yaml = {0};
    struct dm_err err = {0};
    const struct dm_places *places;

    assert_int_equal(dm_yaml_read("t", dm_str_of(text), &yaml, &err), 0);
    places = yaml.documents.items[0].places;
    check_place(places, "", 1, 1);
    check_place(places, "/daemun", 1, 9);
    check_place(places, "/products", 2, 1);
    check_place(places, "/products/0", 3, 5);
    check_place(places, "/products/0/name", 3, 11);
    check_place(places, "/products/0/plans/1/name", 4, 35);
    check_place(places, "/products/1/name", 6, 11);
    check_place(places, "/a~1b~0c/d", 7, 12);
    check_place(places, "/products/0/domains/0", 3, 5);
    check_place(places, "/nothing/at/all", 1, 1);
    check_place(NULL, "/daemun", 0, 0);
    dm_yaml_done(&yaml);
}

static void test_json(void **state)
{
    struct dm_yaml yaml = {0};
    struct dm_err err = {0};

    assert_int_equal(dm_yaml_read_json("t.json", DM_STR("{\n  \"a\": {\"b\": 1}\n}\n"), &yaml, &err), 0);
    check_place(yaml.documents.items[0].places, "/a/b", 2, 14);
    dm_yaml_done(&yaml);
    assert_int_equal(dm_yaml_read_json("t.json", DM_STR("{\"a\": 1,}"), &yaml, &err), DM_EINVAL);
    assert_has(err.message, "t.json: not valid JSON: line 1 column ");
    dm_yaml_done(&yaml);
    assert_int_equal(dm_yaml_read_json("t.json", DM_STR("{\n\t\"a\": 1\n}"), &yaml, &err), 0);
    dm_yaml_done(&yaml);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void check_round(const char *text)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = json_of(text);
    DM_CLEANUP(dm_buf_done) struct dm_buf written = {0};

    dm_buf_init(&written, 1 << 20);
    dm_yaml_write(json, &written);
    dm_buf_add_char(&written, '\0');
    assert_false(written.failed);
    check_reads(written.ptr, text);
}

static void test_round(void **state)
{
    check_round("{\"a\":1,\"b\":-2.5,\"c\":true,\"d\":null,\"e\":\"text\",\"f\":[],\"g\":{}}");
    check_round(
        "[\"\",\"~\",\"null\",\"true\",\"1\",\"1.5\",\"0x1\",\".inf\",\"no\",\"<<\",\"1_0\",\"12:30\",\"127.0.0.1\"]");
    check_round(
        "[\" lead\",\"trail \",\"a: b\",\"# c\",\"- d\",\"*x\",\"&x\",\"!x\",\"%x\",\"@x\",\"`x\",\"'\",\"\\\"\",\"[\",\"{a}\"]");
    check_round(
        "{\"k: y\":\"multi\\nline\\n\",\"x\":\"no end\\nnl\",\"y\":\"\\ttab\",\"z\":\"\\u0007\",\"w\":\" \\n \"}");
    check_round(
        "{\"대문\":\"문\",\"long\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb "
        "cccccccccccccccccccccccccccccccccccccccccccccccccccccc\"}");
    check_round("{\"p\":[{\"n\":\"a\",\"l\":[{\"v\":[1,[2,[3]]]}]}],\"q\":{\"1\":{\"true\":\"x\"}}}");
}

/* Random strings of awkward characters come back the same. */
static void test_round_random(void **state)
{
    static const char alphabet[] = "a1 :#-?*&!|>'\"%@`{}[],\n\t\\~.=<0xeEtrufalsn";
    uint64_t seed = 0x9E3779B97F4A7C15;

    for (int i = 0; i < 20000; i++) {
        DM_CLEANUP(dm_json_freep) struct dm_json *json = dm_json_new_array();
        DM_CLEANUP(dm_buf_done) struct dm_buf written = {0};
        struct dm_yaml yaml = {0};
        struct dm_err err = {0};
        char text[9];
        size_t n;

        seed = seed * 6364136223846793005 + 1442695040888963407;
        n = seed >> 60 & 7;
        for (size_t k = 0; k < n; k++)
            text[k] = alphabet[(seed >> (k * 8)) % (sizeof(alphabet) - 1)];
        dm_json_append(json, dm_json_new_string(dm_str_n(text, n)));
        dm_buf_init(&written, 1 << 10);
        dm_yaml_write(json, &written);
        if (dm_yaml_read("t", dm_buf_str(&written), &yaml, &err) < 0 || yaml.documents.count != 1 ||
            !dm_json_equal(yaml.documents.items[0].json, json))
            fail_msg("'%.*s' became:\n%.*s\n%s", (int)n, text, DM_STR_ARG(dm_buf_str(&written)), err.message);
        dm_yaml_done(&yaml);
    }
}

static void test_looks(void **state)
{
    DM_CLEANUP(dm_json_freep)
    struct dm_json *json = json_of(
        "{\"daemun\":1,\"plans\":[{\"name\":\"basic\",\"limits\":[{\"period\":\"minute\",\"value\":100}]}],\"off\":\"no\"}");
    DM_CLEANUP(dm_buf_done) struct dm_buf written = {0};

    dm_buf_init(&written, 1 << 10);
    dm_yaml_write(json, &written);
    dm_buf_add_char(&written, '\0');
    assert_string_equal(written.ptr, "daemun: 1\n"
                                     "plans:\n"
                                     "- name: basic\n"
                                     "  limits:\n"
                                     "  - {period: minute, value: 100}\n"
                                     "\"off\": \"no\"\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_core_schema),  cmocka_unit_test(test_texts),    cmocka_unit_test(test_structure),
        cmocka_unit_test(test_documents),    cmocka_unit_test(test_refusals), cmocka_unit_test(test_caps),
        cmocka_unit_test(test_places),       cmocka_unit_test(test_json),     cmocka_unit_test(test_round),
        cmocka_unit_test(test_round_random), cmocka_unit_test(test_looks),
    };

    return cmocka_run_group_tests(tests, group_set_up, NULL);
}

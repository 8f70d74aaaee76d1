/* Whole runs of daemun against a controller played by a script. */
#include <sys/stat.h>
#include <unistd.h>

#include "testing.h"

#include "cli/exit.h"

#define PROBLEM(reason, errors)                                                                                        \
    "{\"title\":\"Title\",\"status\":0,\"reason\":\"" reason "\",\"request_id\":\"r1\",\"errors\":[" errors "]}"
#define MASTER "{\"name\":\"master\",\"role\":\"master_admin\"}"
#define TEAM "{\"name\":\"ci\",\"role\":\"tenant_admin\",\"tenant\":\"orders\"}"
#define LIVE ",\"live\":{\"gateways\":1,\"of\":1,\"lagging\":[],\"refused\":[]}"
#define UNCHANGED "{\"dry_run\":false,\"changed\":false,\"changes\":[],\"credentials\":[]" LIVE "}"

static const char team_file[] = "daemun: 1\n"
                                "tenant: orders\n"
                                "backends:\n"
                                "  - name: b\n"
                                "    endpoints: [{host: 127.0.0.1, port: 9101}]\n"
                                "products: []\n"
                                "domains: []\n"
                                "certificates: []\n"
                                "applications: []\n";

/* --- server, token, tenant ---------------------------------------------------------------------------------------- */

static int clean(void **state)
{
    set_env("DAEMUN_SERVER", NULL);
    set_env("DAEMUN_TOKEN", NULL);
    set_env("DAEMUN_TENANT", NULL);
    unlink(in_dir(".config/daemun/config.json"));
    return 0;
}

static void test_no_token(void **state)
{
    const struct result *result = run("get", "tenants");

    assert_int_equal(result->code, DM_EXIT_NOT_AUTHORISED);
    assert_has(result->err, "there is no token for http://127.0.0.1:9080");
    assert_has(result->err, "daemun login --server http://127.0.0.1:9080");
}

static void test_unreachable(void **state)
{
    const char *url = script({"GET", 200, "{}"});
    const struct result *result;

    set_env("DAEMUN_SERVER", "http://127.0.0.1:1");
    result = run("get", "tenants");
    assert_int_equal(result->code, DM_EXIT_UNREACHABLE);
    assert_has(result->err, "http://127.0.0.1:1 can't be reached");
    assert_has(result->err, "daemun serve");
    set_env("DAEMUN_SERVER", url);
    assert_int_equal(run("get", "tenants", "--server", "ftp://x")->code, DM_EXIT_USAGE);
    assert_int_equal(run("get", "tenants", "--server", "http://user:pw@x")->code, DM_EXIT_USAGE);
    assert_int_equal(run("get", "tenants", "--server", "http://x/path")->code, DM_EXIT_USAGE);
    assert_int_equal(run("get", "grants", "-t", "a")->code, DM_EXIT_OK);
    script_end();
}

static void test_login_keeps_the_token(void **state)
{
    const char *url = script({"Authorization: Bearer dmt_kept\r\n", 200, TEAM},
                             {"GET /api/v1/tenants/orders/grants HTTP/1.1\r\n", 200, "{}"});
    const struct result *result;
    char text[512];
    struct stat st;

    set_env("DAEMUN_TOKEN", NULL);
    result = run_with("  dmt_kept\n", "login", "--token-stdin", NULL);
    assert_int_equal(result->code, 0);
    assert_has(result->out, "as ci, tenant_admin of tenant orders");
    assert_has_not(result->out, "dmt_kept");
    assert_int_equal(stat(in_dir(".config/daemun/config.json"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    read_file(in_dir(".config/daemun/config.json"), text, sizeof(text));
    assert_has(text, "\"tenant\":\"orders\"");
    set_env("DAEMUN_SERVER", NULL);
    assert_int_equal(run("get", "grants")->code, 0);
    assert_has(script_end(), "Authorization: Bearer dmt_kept\r\n");
    (void)url;
}

/* A kept token goes to its own server only. */
static void test_kept_token_stays_home(void **state)
{
    script({"GET /api/v1/whoami", 200, TEAM});
    set_env("DAEMUN_TOKEN", NULL);
    assert_int_equal(run_with("dmt_kept", "login", NULL)->code, 0);
    script_end();
    assert_int_equal(run("get", "grants", "--server", "http://127.0.0.1:1")->code, DM_EXIT_NOT_AUTHORISED);
}

static void test_login_refuses(void **state)
{
    script({"GET /api/v1/whoami", 401, PROBLEM("unauthenticated", "")});
    assert_int_equal(run("login", "--token", "dmt_wrong")->code, DM_EXIT_NOT_AUTHORISED);
    script_end();
    assert_int_not_equal(access(in_dir(".config/daemun/config.json"), F_OK), 0);
    set_env("DAEMUN_TOKEN", NULL);
    assert_has(run_with("two words", "login", NULL)->err, "a token is one word");
    assert_has(run("login")->err, "there is no token in standard input");
}

static void test_open_config_is_refused(void **state)
{
    script({"GET /api/v1/whoami", 200, TEAM});
    assert_int_equal(run("login")->code, 0);
    script_end();
    assert_int_equal(chmod(in_dir(".config/daemun/config.json"), 0644), 0);
    assert_has(run("get", "grants")->err, "can be read by others; run: chmod 600");
    assert_int_equal(run("get", "grants")->code, DM_EXIT_USAGE);
}

static void test_tenant_of_a_token(void **state)
{
    script({"GET /api/v1/whoami", 200, TEAM},
           {"GET /api/v1/tenants/orders/backends?limit=1000 ", 200, "{\"items\":[]}"});
    assert_int_equal(run("get", "backends")->code, 0);
    script_end();
    script({"GET /api/v1/whoami", 200, MASTER});
    assert_int_equal(run("get", "backends")->code, DM_EXIT_USAGE);
    script_end();
    script({"GET /api/v1/tenants/a%2F..%2Fb/backends?limit=1000 ", 200, "{\"items\":[]}"});
    assert_int_equal(run("get", "backends", "--tenant", "a/../b")->code, 0);
    script_end();
}

/* --- get ---------------------------------------------------------------------------------------------------------- */

static void test_get_pages(void **state)
{
    const struct result *result;

    script({"GET /api/v1/tenants?limit=1000 ", 200,
            "{\"items\":[{\"name\":\"a\",\"state\":\"active\",\"weight\":100}],\"next\":\"c 1\"}"},
           {"GET /api/v1/tenants?limit=1000&cursor=c%201 ", 200,
            "{\"items\":[{\"name\":\"b\",\"state\":\"suspended\"}]}"});
    result = run("get", "tenants");
    assert_int_equal(result->code, 0);
    assert_has(result->out, "NAME  STATE      WEIGHT");
    assert_has(result->out, "a     active     100");
    assert_has(result->out, "b     suspended  -");
    script_end();
}

static void test_get_formats(void **state)
{
    static const char item[] =
        "{\"name\":\"p\",\"domains\":[\"a\",\"b\"],\"versions\":[{\"name\":\"v1\"}],\"off\":\"no\"}";

    script({"GET /api/v1/tenants/t/products/p ", 200, item}, {"GET", 200, item}, {"GET", 200, item});
    assert_has(run("get", "product", "p", "-t", "t")->out, "p     a, b     v1        -      -");
    assert_has(run("get", "product", "p", "-t", "t", "-o", "json")->out, "\"off\": \"no\"");
    assert_has(run("get", "product", "p", "-t", "t", "-o", "yaml")->out,
               "domains: [a, b]\nversions:\n- {name: v1}\n\"off\": \"no\"\n");
    script_end();
}

static void test_get_usage(void **state)
{
    script({"GET /api/v1/tenants/t/usage?from=2026-11-01T00%3A00%3A00Z&step=day&limit=1000 ", 200,
            "{\"items\":[{\"product\":\"p\",\"application\":\"a\",\"metric\":\"hits\",\"from\":\"x\",\"count\":7}],"
            "\"next\":\"more\"}"},
           {"GET /api/v1/tenants/t/usage?from=2026-11-01T00%3A00%3A00Z&step=day&limit=1000&cursor=more ", 200,
            "{\"items\":[{\"product\":\"q\",\"application\":\"a\",\"metric\":\"hits\",\"from\":\"x\",\"count\":8}]}"});
    assert_has(run("get", "usage", "-t", "t", "--step", "day", "--from", "2026-11-01T00:00:00Z")->out,
               "p        a            hits    x     7\nq        a            hits    x     8");
    script_end();
}

static void test_problems(void **state)
{
    static const struct {
        int status, code;
        const char *body, *says;
    } cases[] = {
        {422, DM_EXIT_REFUSED, PROBLEM("invalid", "{\"pointer\":\"/a\",\"detail\":\"must be b\"}"), "/a: must be b"},
        {401, DM_EXIT_NOT_AUTHORISED, PROBLEM("unauthenticated", ""), "Sign in"},
        {403, DM_EXIT_NOT_AUTHORISED, PROBLEM("master_only", ""), "Only the master"},
        {403, DM_EXIT_REFUSED, PROBLEM("not_granted", ""), "granted by the master"},
        {404, DM_EXIT_REFUSED, PROBLEM("not_found", ""), "not_found"},
        {503, DM_EXIT_UNREACHABLE, PROBLEM("overloaded", ""), "Try again"},
        {500, DM_EXIT_FAILED, PROBLEM("internal", ""), "log"},
        {418, DM_EXIT_REFUSED, PROBLEM("teapot", ""), "teapot"},
        {502, DM_EXIT_FAILED, "<html>", "answered with status 502 and no reason"},
        {200, DM_EXIT_FAILED, "not json", "answered with no JSON"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        const struct result *result;

        script({"GET", cases[i].status, cases[i].body});
        result = run("get", "grants", "-t", "t");
        assert_int_equal(result->code, cases[i].code);
        assert_has(result->err, cases[i].says);
        script_end();
    }
}

/* --- apply, diff, export ------------------------------------------------------------------------------------------ */

static void test_apply(void **state)
{
    const struct result *result;
    const char *requests;

    write_file("team.yaml", team_file);
    script({"PUT /api/v1/tenants/orders/document?wait=live&timeout_ms=10000 ", 200,
            "{\"dry_run\":false,\"changed\":true,\"changes\":["
            "{\"op\":\"added\",\"pointer\":\"/backends/b\",\"after\":{\"name\":\"b\"}},"
            "{\"op\":\"changed\",\"pointer\":\"/products/p/path\",\"before\":\"/\",\"after\":\"/x\"},"
            "{\"op\":\"added\",\"pointer\":\"/products/p/domains/1\",\"after\":\"d\"},"
            "{\"op\":\"removed\",\"pointer\":\"/applications/a\",\"before\":{\"name\":\"a\"}}],"
            "\"credentials\":[{\"application\":\"m\",\"name\":\"first\",\"key\":\"K1\"}]" LIVE "}"});
    result = run("apply", "-f", in_dir("team.yaml"));
    assert_int_equal(result->code, 0);
    assert_has(result->out, "created    backend b\n");
    assert_has(result->out, "changed    product p\n      path: \"/\" → \"/x\"\n      domains/1: added \"d\"\n");
    assert_has(result->out, "deleted    application a\n");
    assert_has(result->out, "key of application m, credential first: K1\n");
    assert_has(result->out, "live on 1 of 1 gateway after ");
    requests = script_end();
    assert_has(
        requests,
        "\r\n\r\n{\"daemun\":1,\"tenant\":\"orders\",\"backends\":[{\"name\":\"b\",\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":9101}]}]");
}

static void test_apply_unchanged(void **state)
{
    const struct result *result;

    write_file("team.yaml", team_file);
    script({"PUT", 200, UNCHANGED});
    result = run("apply", "-f", in_dir("team.yaml"));
    assert_int_equal(result->code, 0);
    assert_has(result->out, "unchanged  backend b\n");
    script_end();
    script({"PUT", 200, UNCHANGED});
    assert_string_equal(run("apply", "-q", "-f", in_dir("team.yaml"))->out, "");
    script_end();
    script({"PUT /api/v1/tenants/orders/document HTTP", 200, "{\"changes\":[]}"});
    assert_has(run("apply", "--no-wait", "-o", "json", "-f", in_dir("team.yaml"))->out, "\"changed\": false");
    script_end();
}

static void test_apply_refused(void **state)
{
    const struct result *result;

    write_file("team.yaml", team_file);
    script({"PUT", 422,
            PROBLEM("invalid", "{\"pointer\":\"/backends/0/endpoints/0/port\",\"detail\":\"too high\"},"
                               "{\"pointer\":\"/products/0/name\",\"detail\":\"missing\"}")});
    result = run("apply", "-f", in_dir("team.yaml"));
    assert_int_equal(result->code, DM_EXIT_REFUSED);
    assert_has(result->err, "team.yaml:5:41: /backends/0/endpoints/0/port: too high\n");
    assert_has(result->err, "team.yaml:6:1: /products/0/name: missing\n");
    assert_has(result->err, "  → ");
    script_end();
}

static void test_apply_not_live(void **state)
{
    const struct result *result;

    write_file("team.yaml", team_file);
    script({"timeout_ms=2000 ", 200,
            "{\"changes\":[],\"live\":{\"gateways\":1,\"of\":3,\"lagging\":[\"gw2\"],"
            "\"refused\":[{\"gateway\":\"gw3\",\"kind\":\"release\",\"pointer\":\"/p\",\"message\":\"no\"}]}}"});
    result = run("apply", "--timeout", "2", "-f", in_dir("team.yaml"));
    assert_int_equal(result->code, DM_EXIT_NOT_LIVE);
    assert_has(result->err, "live on 1 of 3 gateways");
    assert_has(result->err, "gateway gw2 does not have it yet");
    assert_has(result->err, "gateway gw3 refused it: /p: no");
    script_end();
    script({"PUT", 200, "{\"changes\":[],\"live\":{\"gateways\":0,\"of\":0,\"lagging\":[],\"refused\":[]}}"});
    assert_has(run("apply", "-f", in_dir("team.yaml"))->err, "no gateway is connected");
    script_end();
}

static void test_apply_new_tenant(void **state)
{
    const struct result *result;

    write_file("team.yaml", team_file);
    script({"PUT /api/v1/tenants/orders/document?", 404, PROBLEM("not_found", "")}, {"GET /api/v1/whoami", 200, MASTER},
           {"PUT /api/v1/tenants/orders HTTP", 201, "{}"}, {"PUT /api/v1/tenants/orders/document?", 200, UNCHANGED});
    result = run("apply", "-f", in_dir("team.yaml"));
    assert_int_equal(result->code, 0);
    assert_has(result->out, "created    tenant orders");
    script_end();
    script({"PUT /api/v1/tenants/orders/document?", 404, PROBLEM("not_found", "")}, {"GET /api/v1/whoami", 200, TEAM});
    assert_int_equal(run("apply", "-f", in_dir("team.yaml"))->code, DM_EXIT_REFUSED);
    script_end();
}

static void test_apply_tenant_again(void **state)
{
    static const char stored[] = "{\"name\":\"orders\",\"description\":\"ours\",\"compat_date\":\"2026-01-02\"}";

    write_file("tenant.yaml", "daemun: 1\nkind: tenant\ntenant: orders\ndescription: ours\n");
    script({"GET /api/v1/tenants/orders ", 200, stored});
    assert_has(run("apply", "-f", in_dir("tenant.yaml"))->out, "unchanged  tenant orders");
    script_end();
}

/* A section that was forgotten takes nothing with it. */
static void test_apply_guards_sections(void **state)
{
    static const char gone[] =
        "{\"changes\":[{\"op\":\"removed\",\"pointer\":\"/applications/a\"},{\"op\":\"removed\",\"pointer\":\"/applications/b\"}]}";
    const struct result *result;

    write_file("part.yaml", "daemun: 1\ntenant: orders\nbackends: []\nproducts: []\n");
    script({"PUT /api/v1/tenants/orders/document?dry_run=true ", 200, gone});
    result = run("apply", "-f", in_dir("part.yaml"));
    assert_int_equal(result->code, DM_EXIT_USAGE);
    assert_has(result->err, "does not mention `applications`, and tenant orders has 2");
    script_end();
    script({"PUT /api/v1/tenants/orders/document?wait=live", 200, UNCHANGED});
    assert_int_equal(run("apply", "--prune", "-f", in_dir("part.yaml"))->code, 0);
    script_end();
}

static void test_apply_grants(void **state)
{
    static const char stored[] =
        "{\"domains\":[{\"name\":\"orders.localhost\",\"environment\":\"production\"}],\"endpoints\":[]}";

    write_file("grants.yaml", "daemun: 1\nkind: grants\ntenant: orders\ndomains:\n  - {name: orders.localhost}\n");
    script({"GET /api/v1/tenants/orders/grants ", 200, stored});
    assert_has(run("apply", "-f", in_dir("grants.yaml"))->out, "unchanged  grants of orders");
    script_end();
    script({"GET /api/v1/tenants/orders/grants ", 200, "{\"domains\":[]}"},
           {"PUT /api/v1/tenants/orders/grants?wait=live", 200, "{\"domains\":[]" LIVE "}"});
    assert_has(run("apply", "-f", in_dir("grants.yaml"))->out,
               "changed    grants of orders\n      domains/orders.localhost: added");
    assert_has(script_end(), "\r\n\r\n{\"domains\":[{\"name\":\"orders.localhost\"}]}");
    write_file("grants.yaml", "daemun: 1\nkind: grants\ntenant: orders\ndomains:\n  - {nam: orders.localhost}\n");
    script({"GET /api/v1/tenants/orders/grants ", 200, "{}"});
    assert_has(run("apply", "-f", in_dir("grants.yaml"))->err, "grants.yaml:5:11: /domains/0/nam");
    script_end();
}

static void test_inputs(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"tenant: a\n", "in.yaml:1:1: `daemun: 1` is missing"},
        {"daemun: 2\ntenant: a\n", "in.yaml:1:9: the format must be `daemun: 1`"},
        {"daemun: 1\n", "`tenant: NAME` is missing"},
        {"daemun: 1\ntenant: 5\n", "in.yaml:2:9: `tenant: NAME` is missing"},
        {"daemun: 1\ntenant: a\nkind: thing\n", "in.yaml:3:7: kind must be tenant or grants"},
        {"- 1\n", "a document must be an object"},
        {"# nothing\n", "there is no document in"},
        {"daemun: 1\ntenant: a\n---\ndaemun: 1\ntenant: a\n", "in.yaml:1 and "},
        {"a: *b\n", "in.yaml:1:4: aliases"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        const struct result *result;

        write_file("in.yaml", cases[i].text);
        result = run("apply", "-f", in_dir("in.yaml"));
        assert_int_equal(result->code, DM_EXIT_USAGE);
        assert_has(result->err, cases[i].says);
    }
    assert_has(run("apply")->err, "-f FILE is missing");
    assert_int_equal(run("apply", "-f", in_dir("none.yaml"))->code, DM_EXIT_USAGE);
}

/* Tenants first, then grants, then files, whatever the files are called. */
static void test_directory(void **state)
{
    mkdir(in_dir("teams"), 0700);
    write_file("teams/a.yaml",
               "daemun: 1\ntenant: x\nbackends: []\nproducts: []\ndomains: []\ncertificates: []\napplications: []\n");
    write_file("teams/b.yml",
               "daemun: 1\nkind: grants\ntenant: x\n---\ndaemun: 1\nkind: tenant\ntenant: x\nweight: 5\n");
    write_file(
        "teams/c.json",
        "{\"daemun\": 1, \"tenant\": \"y\", \"backends\": [], \"products\": [], \"domains\": [], \"certificates\": [], \"applications\": []}");
    write_file("teams/.hidden.yaml", "a: *b\n");
    write_file("teams/notes.txt", "no\n");
    script({"GET /api/v1/tenants/x HTTP", 404, PROBLEM("not_found", "")},
           {"PUT /api/v1/tenants/x HTTP", 201, "{\"name\":\"x\"}"}, {"GET /api/v1/tenants/x/grants ", 200, "{}"},
           {"PUT /api/v1/tenants/x/document ", 200, "{\"changes\":[]}"},
           {"PUT /api/v1/tenants/y/document ", 200, "{\"changes\":[]}"});
    assert_int_equal(run("apply", "--no-wait", "-f", in_dir("teams"))->code, 0);
    assert_has(script_end(), "{\"weight\":5,\"name\":\"x\"}");
}

static void test_diff(void **state)
{
    script({"PUT /api/v1/tenants/orders/document?dry_run=true ", 200, "{\"changes\":[]}"});
    assert_int_equal(run_with(team_file, "diff", "-f", "-", NULL)->code, 0);
    script_end();
    script({"PUT", 200, "{\"changes\":[{\"op\":\"added\",\"pointer\":\"/backends/b\"}]}"});
    assert_int_equal(run_with(team_file, "diff", "-f", "-", NULL)->code, DM_EXIT_DIFFERENT);
    script_end();
    script({"PUT", 404, PROBLEM("not_found", "")}, {"GET /api/v1/whoami", 200, MASTER});
    assert_has(run_with(team_file, "diff", "-f", "-", NULL)->out, "  +  tenant orders\n  +  backend b\n");
    script_end();
}

static void test_export(void **state)
{
    static const char document[] = "{\"daemun\":1,\"tenant\":\"t\",\"grants\":{\"domains\":[]},\"backends\":[]}";

    script({"GET /api/v1/tenants/t/document ", 200, document}, {"GET", 200, document}, {"GET", 200, document});
    assert_string_equal(run("export", "-t", "t")->out, "daemun: 1\ntenant: t\ngrants: {domains: []}\nbackends: []\n");
    assert_has_not(run("export", "-t", "t", "--no-grants")->out, "grants");
    assert_has(run("export", "-t", "t", "-o", "json")->out, "\"daemun\": 1");
    script_end();
}

/* --- create, delete, status --------------------------------------------------------------------------------------- */

static void test_create(void **state)
{
    script({"POST /api/v1/tenants/t/tokens ", 201, "{\"name\":\"ci\",\"token\":\"dmt_new\"}"});
    assert_string_equal(run("create", "token", "ci", "-t", "t", "-q")->out, "dmt_new\n");
    assert_has(script_end(), "{\"name\":\"ci\",\"role\":\"tenant_admin\"}");
    script(
        {"POST /api/v1/tenants/t/applications/a/credentials?wait=live", 201, "{\"name\":\"c\",\"key\":\"K\"" LIVE "}"});
    assert_has(run("create", "credential", "a/c", "-t", "t")->out, "created credential a/c\n  key: K\n");
    script_end();
    assert_int_equal(run("create", "credential", "a", "-t", "t")->code, DM_EXIT_USAGE);
    assert_has(run("create", "product", "a", "-t", "t")->err, "kinds: tenant, token, credential");
}

static void test_delete(void **state)
{
    script({"DELETE /api/v1/tenants/t/applications/a/credentials/c?wait=live", 200,
            "{\"live\":{\"gateways\":1,\"of\":1}}"});
    assert_has(run("delete", "credential", "a/c", "-t", "t")->out, "deleted credential a/c");
    script_end();
    assert_has(run("delete", "tenant", "t")->err, "give --yes if you mean it");
    script({"DELETE /api/v1/tenants/t HTTP", 204, ""});
    assert_int_equal(run("delete", "tenant", "t", "--yes", "--no-wait")->code, 0);
    script_end();
    script({"GET /api/v1/tenants/t/tokens?limit=1000 ", 200, "{\"items\":[{\"id\":7,\"name\":\"ci\"}]}"},
           {"DELETE /api/v1/tenants/t/tokens/7 ", 204, ""});
    assert_int_equal(run("delete", "token", "ci", "-t", "t")->code, 0);
    script_end();
    script({"DELETE /api/v1/gateways/gateway-2 HTTP", 204, ""});
    assert_has(run("delete", "gateway", "gateway-2")->out, "deleted gateway gateway-2");
    script_end();
}

static void test_status(void **state)
{
    const struct result *result;

    script(
        {"GET /api/v1/tenants/t/status ", 200,
         "{\"units\":[{\"tenant\":\"t\",\"kind\":\"release\",\"sequence\":3,\"live\":1,\"of\":2,\"gateways\":["
         "{\"gateway\":\"g1\",\"state\":\"live\"},{\"gateway\":\"g2\",\"state\":\"refused\",\"error\":{\"pointer\":\"/p\",\"message\":\"bad\"}}]}],"
         "\"gateways\":[{\"id\":\"g1\",\"connected\":true}]}"});
    result = run("status", "-t", "t");
    assert_int_equal(result->code, DM_EXIT_DIFFERENT);
    assert_has(result->out, "t       release  3         1 of 2   g2 refused: bad");
    assert_has(result->out, "1 of 1 units are not live");
    script_end();
}

#define TEST(function) cmocka_unit_test_setup(function, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_token),
        TEST(test_unreachable),
        TEST(test_login_keeps_the_token),
        TEST(test_kept_token_stays_home),
        TEST(test_login_refuses),
        TEST(test_open_config_is_refused),
        TEST(test_tenant_of_a_token),
        TEST(test_get_pages),
        TEST(test_get_formats),
        TEST(test_get_usage),
        TEST(test_problems),
        TEST(test_apply),
        TEST(test_apply_unchanged),
        TEST(test_apply_refused),
        TEST(test_apply_not_live),
        TEST(test_apply_new_tenant),
        TEST(test_apply_tenant_again),
        TEST(test_apply_guards_sections),
        TEST(test_apply_grants),
        TEST(test_inputs),
        TEST(test_directory),
        TEST(test_diff),
        TEST(test_export),
        TEST(test_create),
        TEST(test_delete),
        TEST(test_status),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

#include "fixture.h"

#include "base/buf.h"
#include "base/crypto.h"
#include "base/jsonw.h"
#include "base/mem.h"

const char *const fixture_file =
    "{'daemun':1,'tenant':'orders',"
    "'grants':{'domains':[{'name':'orders.localhost'},{'name':'*.shop.example'}],"
    "'endpoints':[{'address':'127.0.0.1','port':9101,'comment':'orders service'},"
    "{'address':'10.1.0.0/16','port':8000,'port_to':8999}]},"
    "'backends':[{'name':'orders-service','endpoints':[{'host':'127.0.0.1','port':9101},"
    "{'host':'10.1.2.3','port':8080,'weight':3},{'host':'svc.orders.internal','port':8443}],'base_path':'/base'},"
    "{'name':'images','endpoints':[{'host':'10.1.2.4','port':8000}],'host_header':'img.example:8000',"
    "'protocol':'http2','tls':{'ca':'-----BEGIN CERTIFICATE-----','client_certificate':'main'}}],"
    "'products':[{'name':'orders','domains':['orders.localhost','eu.shop.example'],"
    "'metrics':[{'name':'list','parent':'hits'},{'name':'bytes','unit':'byte'}],"
    "'versions':[{'name':'v1','path':'/','policies':[{'type':'api_key','in':['query','header'],'header':'user_key'},"
    "{'type':'headers','request':[{'op':'set','name':'X-Team','value':'orders'}],"
    "'response':[{'op':'delete','name':'Server'}]},"
    "{'type':'ip_check','mode':'allow','addresses':['127.0.0.0/8','::1']},"
    "{'type':'cors','allow_origins':['https://app.example'],'allow_credentials':true,'max_age_s':60}],"
    "'mapping_rules':[{'method':'GET','pattern':'/orders/{id}$','metric':'list'},"
    "{'method':'ANY','pattern':'/','delta':2,'last':true}],"
    "'backends':[{'path':'/','backend':'orders-service'},{'path':'/img','backend':'images'}],"
    "'errors':{'no_mapping_rule':{'status':412},'limit_exceeded':{'status':429,'content_type':'text/plain',"
    "'body':'slow down'}}},"
    "{'name':'v2','path':'/v2','policies':[{'type':'api_key','in':['basic'],'forward':true},"
    "{'type':'compression','algorithms':['br'],'content_types':['text/*'],'level':4,'min_bytes':0}],"
    "'backends':[{'backend':'orders-service'}]}],"
    "'plans':[{'name':'basic','limits':[{'metric':'hits','period':'minute','value':100},"
    "{'metric':'list','period':'eternity','value':0}],'rate_limits':[{'rate':50,'burst':20}]}]},"
    "{'name':'catalog','domains':['de.shop.example'],"
    "'versions':[{'name':'v1','policies':[{'type':'client_certificate','match':['subject']}],"
    "'upgrades':['websocket']}],'plans':[{'name':'free'}]}],"
    "'domains':[{'name':'eu.shop.example','certificate':'main','client_certificate':'optional',"
    "'client_ca':'-----BEGIN CERTIFICATE-----','hsts_max_age_s':60}],"
    "'certificates':[{'name':'main','chain':'-----BEGIN CERTIFICATE-----','key':'-----BEGIN PRIVATE KEY-----',"
    "'ocsp_response':'MAo='}],"
    "'applications':[{'name':'mobile','subscriptions':[{'product':'orders','plan':'basic'},"
    "{'product':'catalog','plan':'free'}],'credentials':[{'name':'first','type':'api_key','key':'k-1'},"
    "{'name':'second','key':'k-2'},{'name':'third','type':'client_certificate','subject':'CN=a'}]},{'name':'web','state':'suspended'}]}";

static char *unquote(const char *text)
{
    char *copy = dm_strdup(dm_str_of(text));

    for (char *c = copy; *c; c++) {
        if (*c == '\'')
            *c = '"';
    }
    return copy;
}

struct dm_json *fixture_json(const char *text)
{
    static const struct dm_json_limits limits = {.max_bytes = 1 << 22, .max_depth = 32};
    char wrapped[64 * 1024], *json;
    struct dm_json *root = NULL, *value;
    struct dm_err err = {0};

    snprintf(wrapped, sizeof(wrapped), "[%s]", text);
    json = unquote(wrapped);
    if (dm_json_parse(dm_str_of(json), &limits, &root, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    value = dm_json_copy(dm_json_at(root, 0));
    dm_json_free(root);
    dm_free(json);
    return value;
}

/* Copy of node with the rest of the pointer replaced; NULL to remove it. */
static struct dm_json *replace(const struct dm_json *node, struct dm_str rest, const char *value)
{
    struct dm_str piece;
    struct dm_json *copy;
    bool was_there = false;

    if (!rest.ptr)
        return value[0] ? fixture_json(value) : NULL;
    dm_str_cut(&rest, '/', &piece);
    if (dm_json_type(node) == DM_JSON_ARRAY) {
        uint64_t at = 0;

        assert_int_equal(dm_str_to_u64(piece, &at), 0);
        copy = dm_json_new_array();
        for (size_t i = 0; i <= dm_json_count(node); i++) {
            struct dm_json *item;

            if (i == dm_json_count(node) && i != at)
                break;
            item = i == at ? replace(dm_json_at(node, i), rest, value) : dm_json_copy(dm_json_at(node, i));
            if (item)
                dm_json_append(copy, item);
        }
        return copy;
    }
    copy = dm_json_new_object();
    for (void *at = NULL;;) {
        struct dm_str name;
        struct dm_json *member, *item;
        char z[128];

        if (!dm_json_next(node, &at, &name, &member))
            break;
        was_there = was_there || dm_str_eq(name, piece);
        item = dm_str_eq(name, piece) ? replace(member, rest, value) : dm_json_copy(member);
        snprintf(z, sizeof(z), "%.*s", DM_STR_ARG(name));
        if (item)
            dm_json_set(copy, z, item);
    }
    if (!was_there) {
        char z[128];
        struct dm_json *item = replace(NULL, rest, value);

        snprintf(z, sizeof(z), "%.*s", DM_STR_ARG(piece));
        dm_json_set(copy, z, item);
    }
    return copy;
}

struct dm_json *fixture_with(const struct dm_json *root, const char *pointer, const char *value)
{
    if (!pointer[0])
        return fixture_json(value);
    return replace(root, dm_str_of(pointer + 1), value);
}

const struct dm_json *fixture_at(const struct dm_json *root, const char *pointer)
{
    struct dm_str rest = pointer[0] ? dm_str_of(pointer + 1) : DM_STR_NULL, piece;

    while (root && dm_str_cut(&rest, '/', &piece)) {
        uint64_t at;
        char z[300];
        size_t n = 0;

        if (dm_json_type(root) == DM_JSON_ARRAY) {
            if (dm_str_to_u64(piece, &at) < 0 || at >= dm_json_count(root))
                return NULL;
            root = dm_json_at(root, at);
            continue;
        }
        if (dm_json_type(root) != DM_JSON_OBJECT)
            return NULL;
        for (size_t i = 0; i < piece.len && n + 1 < sizeof(z); i++) {
            bool is_escape = piece.ptr[i] == '~' && i + 1 < piece.len;

            z[n++] = is_escape ? (piece.ptr[++i] == '0' ? '~' : '/') : piece.ptr[i];
        }
        z[n] = '\0';
        root = dm_json_get(root, z);
    }
    return root;
}

void fixture_read(const struct dm_schema *schema, const char *text, struct dm_arena *arena, void *ret)
{
    struct dm_json *json = fixture_json(text);
    struct dm_errs errs = {0};

    if (dm_model_read(schema, json, arena, ret, &errs) < 0)
        fail_msg("%s: %s", errs.items[0].pointer, errs.items[0].message);
    dm_json_free(json);
}

const char *fixture_text(const struct dm_schema *schema, const void *object, unsigned write_flags,
                         struct dm_arena *arena)
{
    struct dm_buf buf;
    struct dm_jsonw w;
    struct dm_str ret;

    dm_buf_init(&buf, 1 << 22);
    dm_jsonw_init(&w, &buf);
    dm_model_write(schema, object, &w, write_flags);
    assert_false(buf.failed);
    assert_int_equal(dm_arena_str(arena, dm_buf_str(&buf), &ret), 0);
    dm_buf_done(&buf);
    return ret.ptr;
}

int fixture_crypto(void **state)
{
    return dm_crypto_init();
}

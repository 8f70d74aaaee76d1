#include "gateway/forward.h"

#include <assert.h>

#include "gateway/grpc.h"
#include "gateway/grpc_call.h"
#include "gateway/observe/address.h"
#include "gateway/policy/policy.h"
#include "gateway/worker.h"

/* --- who asks ----------------------------------------------------------------------------------------------------- */

static size_t count_of(struct dm_str s, char c)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += s.ptr[i] == c;
    return n;
}

/* An address of the list: "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". */
static bool parse_client(struct dm_str text, struct dm_addr *ret)
{
    bool has_brackets = text.len > 0 && text.ptr[0] == '[', is_bare_v6 = !has_brackets && count_of(text, ':') > 1;
    bool has_port = !is_bare_v6 && text.len > 0 && text.ptr[text.len - 1] != ']' && count_of(text, ':') > 0;
    char buf[DM_ADDR_TEXT_MAX];
    struct dm_buf with_port;

    dm_buf_init_fixed(&with_port, buf, sizeof(buf));
    if (is_bare_v6)
        dm_buf_add_char(&with_port, '[');
    dm_buf_add(&with_port, text);
    if (is_bare_v6)
        dm_buf_add_char(&with_port, ']');
    if (!has_port)
        dm_buf_add_lit(&with_port, ":0");
    return !with_port.failed && !dm_str_starts(text, DM_STR("unix:")) &&
           dm_addr_parse(dm_buf_str(&with_port), ret, NULL) == 0;
}

/* One line of the list, from the right: each trusted front vouches for the one before it. True: the line before counts. */
static bool walk_list(const struct dm_listener_sources *fronts, struct dm_str list, struct dm_addr *client)
{
    struct dm_addr addr;

    for (;;) {
        size_t comma = list.len;
        while (comma > 0 && list.ptr[comma - 1] != ',')
            comma--;
        struct dm_str element = dm_str_trim(dm_str_skip(list, comma));
        if (element.len > 0 && !parse_client(element, &addr))
            return false;
        if (element.len > 0) {
            *client = addr;
            if (!dm_listener_sources_hold(fronts, &addr))
                return false;
        }
        if (comma == 0)
            return true;
        list.len = comma - 1;
    }
}

/* Several lines are one list (RFC 9110, 5.3): the last one is the nearest front's. */
static void find_client(const struct dm_exchange *ex, struct dm_addr *client)
{
    const struct dm_http_head *head = ex->head;

    for (unsigned i = head->field_count; i > 0; i--)
        if (head->fields[i - 1].id == DM_HTTP_FIELD_ID_X_FORWARDED_FOR &&
            !walk_list(&ex->listener->spec->trusted_fronts, head->fields[i - 1].value, client))
            return;
}

static void identify_behind_front(struct dm_exchange *ex)
{
    struct dm_addr *client = dm_arena_alloc(&ex->arena, sizeof(*client));

    assert(client); /* the first thing in the arena */
    *client = *ex->client;
    find_client(ex, client);
    ex->client = client;
}

static const uint8_t only_from_fronts[] = {DM_HTTP_FIELD_ID_X_FORWARDED_FOR,    DM_HTTP_FIELD_ID_X_FORWARDED_PROTO,
                                           DM_HTTP_FIELD_ID_X_FORWARDED_HOST,   DM_HTTP_FIELD_ID_X_FORWARDED_PORT,
                                           DM_HTTP_FIELD_ID_X_FORWARDED_PREFIX, DM_HTTP_FIELD_ID_X_REAL_IP,
                                           DM_HTTP_FIELD_ID_FORWARDED};
static const uint8_t never_forwarded[] = {DM_HTTP_FIELD_ID_HOST, DM_HTTP_FIELD_ID_EXPECT,
                                          DM_HTTP_FIELD_ID_CONTENT_LENGTH, DM_HTTP_FIELD_ID_X_REQUEST_ID};

static void drop(struct dm_http_head *head, enum dm_http_field_id id)
{
    dm_http_head_drop_from(head, dm_http_head_find(head, id));
}

void dm_forward_identify(struct dm_exchange *ex)
{
    dm_http_request_peer(ex->caller, &ex->peer);
    ex->client = &ex->peer;
    ex->is_direct = !dm_listener_sources_hold(&ex->listener->spec->trusted_fronts, &ex->peer);
    ex->is_secure = ex->listener->spec->is_tls;
    if (!ex->is_direct) {
        identify_behind_front(ex);
        ex->is_secure = ex->is_secure ||
                        dm_str_ieq(dm_http_head_value(ex->head, DM_HTTP_FIELD_ID_X_FORWARDED_PROTO), DM_STR("https"));
        return;
    }
    for (size_t i = 0; i < DM_COUNT(only_from_fronts); i++)
        if (ex->head->first[only_from_fronts[i]])
            drop(ex->head, only_from_fronts[i]);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

/* What the fronts before wrote into a list; their lines go. */
static void write_earlier(struct dm_buf *out, struct dm_http_head *head, enum dm_http_field_id id)
{
    struct dm_http_field *field;

    while ((field = dm_http_head_find(head, id))) {
        field->flags |= DM_HTTP_FIELD_DROPPED;
        if (field->value.len == 0)
            continue;
        dm_buf_add(out, field->value);
        dm_buf_add_lit(out, ", ");
    }
}

static void write_forwarded_for(struct dm_buf *out, struct dm_http_head *head, struct dm_str peer)
{
    dm_buf_add_lit(out, "X-Forwarded-For: ");
    write_earlier(out, head, DM_HTTP_FIELD_ID_X_FORWARDED_FOR);
    dm_buf_add(out, peer);
    dm_buf_add_lit(out, "\r\n");
}

/* RFC 7239, section 4 */
static char *put_forwarded_element(char *at, struct dm_str peer, struct dm_str host, bool is_tls)
{
    bool is_v6 = dm_str_find(peer, ':') < peer.len;

    at = dm_str_put_lit(at, "for=");
    if (is_v6)
        at = dm_str_put_lit(at, "\"[");
    at = dm_str_put(at, peer);
    if (is_v6)
        at = dm_str_put_lit(at, "]\"");
    at = dm_str_put_lit(at, ";host=\"");
    at = dm_str_put(at, host);
    return is_tls ? dm_str_put_lit(at, "\";proto=https\r\n") : dm_str_put_lit(at, "\";proto=http\r\n");
}

/* In the form by which it was routed; `text` holds DM_HOST_MAX + 6 bytes. */
static struct dm_str normal_authority(const struct dm_exchange *ex, char *text)
{
    const struct dm_http_head *head = ex->head;

    if (DM_LIKELY(head->host.name.ptr == head->authority.ptr && head->host.name.len == head->authority.len))
        return head->authority;
    return dm_str_n(text, dm_host_write(&head->host, ex->is_secure, text));
}

static void write_forwarded_list(struct dm_buf *out, struct dm_http_head *head, struct dm_str peer, struct dm_str host,
                                 bool is_tls)
{
    char *at;

    dm_buf_add_lit(out, "Forwarded: ");
    write_earlier(out, head, DM_HTTP_FIELD_ID_FORWARDED);
    if ((at = dm_buf_room(out, peer.len + host.len + 32)))
        dm_buf_took(out, put_forwarded_element(at, peer, host, is_tls));
}

static void write_forwarded(struct dm_exchange *ex, struct dm_buf *out)
{
    struct dm_http_head *head = ex->head;
    char text[DM_ADDRESS_TEXT_MAX], host_text[DM_HOST_MAX + 6];
    struct dm_str peer = dm_str_n(text, dm_address_text(&ex->peer, text)), host = normal_authority(ex, host_text);
    bool is_tls = ex->listener->spec->is_tls;

    write_forwarded_for(out, head, peer);
    write_forwarded_list(out, head, peer, host, is_tls);
    if (!dm_http_head_find(head, DM_HTTP_FIELD_ID_X_FORWARDED_PROTO))
        dm_http_write_field(out, DM_STR("X-Forwarded-Proto"), is_tls ? DM_STR("https") : DM_STR("http"));
    if (!dm_http_head_find(head, DM_HTTP_FIELD_ID_X_FORWARDED_HOST))
        dm_http_write_field(out, DM_STR("X-Forwarded-Host"), host);
}

/* The version that the message came in (RFC 9110, 7.6.3). */
static void write_via(struct dm_buf *out, const struct dm_http_head *head)
{
    if (DM_UNLIKELY(head->version_major == 2))
        dm_buf_add_lit(out, "Via: 2 daemun\r\n");
    else if (head->version_minor == 0)
        dm_buf_add_lit(out, "Via: 1.0 daemun\r\n");
    else
        dm_buf_add_lit(out, "Via: 1.1 daemun\r\n");
}

/* One line, as HTTP/2's crumbs are: servers join several in different ways. */
static int join_cookies(struct dm_exchange *ex)
{
    struct dm_http_field *first = dm_http_head_find(ex->head, DM_HTTP_FIELD_ID_COOKIE), *field;
    size_t max = 0, len = 0;
    char *joined;

    for (field = first; field; field = dm_http_head_find_next(ex->head, field))
        max += field->value.len + 2;
    if (max == 0)
        return 0;
    if (!(joined = dm_arena_alloc(&ex->arena, max)))
        return DM_EBUDGET;
    for (field = first; field; field = dm_http_head_find_next(ex->head, field)) {
        if (len > 0)
            len = (size_t)(dm_str_put_lit(joined + len, "; ") - joined);
        len = (size_t)(dm_str_put(joined + len, field->value) - joined);
        field->flags |= field == first ? 0 : DM_HTTP_FIELD_DROPPED;
    }
    first->value = dm_str_n(joined, len);
    first->flags &= (uint8_t)~DM_HTTP_FIELD_WIRE;
    return 0;
}

int dm_forward_request(struct dm_exchange *ex, struct dm_str *ret)
{
    struct dm_buf *out = dm_worker_scratch(ex->worker);
    struct dm_http_head *head = ex->head;

    for (size_t i = 0; i < DM_COUNT(never_forwarded); i++)
        if (head->first[never_forwarded[i]])
            drop(head, never_forwarded[i]);
    if (DM_UNLIKELY(head->has_cookies) && join_cookies(ex) < 0)
        return DM_EBUDGET;
    write_forwarded(ex, out);
    dm_http_write_fields(out, head, DM_HTTP_FIELD_HOP);
    write_via(out, head);
    dm_http_write_field(out, DM_STR("X-Request-Id"), ex->request_id);
    if (out->failed || out->len + ex->method.len + ex->request.target.len > DM_FORWARD_HEAD_MAX)
        return DM_EBUDGET;
    if (DM_UNLIKELY(ex->deadline != NULL))
        return dm_grpc_call_keep_fields(ex, dm_buf_str(out), ret);
    return dm_arena_str(&ex->arena, dm_buf_str(out), ret);
}

/* --- responses ---------------------------------------------------------------------------------------------------- */

int dm_forward_response(struct dm_exchange *ex, struct dm_http_head *head, struct dm_buf *fields)
{
    if (head->first[DM_HTTP_FIELD_ID_CONTENT_LENGTH])
        drop(head, DM_HTTP_FIELD_ID_CONTENT_LENGTH);
    if (head->first[DM_HTTP_FIELD_ID_X_REQUEST_ID])
        drop(head, DM_HTTP_FIELD_ID_X_REQUEST_ID);
    if (DM_UNLIKELY(head->first[DM_HTTP_FIELD_ID_STRICT_TRANSPORT_SECURITY] != 0) && !ex->is_secure)
        drop(head, DM_HTTP_FIELD_ID_STRICT_TRANSPORT_SECURITY); /* RFC 6797 section 7.2 */
    if (DM_UNLIKELY(ex->hsts.len > 0)) {
        drop(head, DM_HTTP_FIELD_ID_STRICT_TRANSPORT_SECURITY);
        dm_http_write_field(fields, DM_STR("Strict-Transport-Security"), ex->hsts);
    }
    dm_http_write_fields(fields, head, DM_HTTP_FIELD_HOP);
    if (!dm_http_head_find(head, DM_HTTP_FIELD_ID_DATE))
        dm_http_write_field(fields, DM_STR("Date"), dm_worker_date(ex->worker));
    write_via(fields, head);
    dm_http_write_field(fields, DM_STR("X-Request-Id"), ex->request_id);
    return fields->failed || fields->len > DM_FORWARD_HEAD_MAX ? DM_EBUDGET : 0;
}

/* --- trailers ----------------------------------------------------------------------------------------------------- */

static bool is_fit_trailer(const struct dm_exchange *ex, const struct dm_http_field *field, bool is_request)
{
    bool is_of_grpc = ex->is_grpc && !is_request;

    if (field->flags & DM_HTTP_FIELD_HOP || (field->flags & DM_HTTP_FIELD_FOLDED && !is_of_grpc))
        return false;
    return (is_of_grpc && dm_grpc_is_status_field(field->name)) || !dm_policies_govern(ex, field->name, is_request);
}

struct dm_str dm_forward_trailers(struct dm_exchange *ex, const struct dm_http_head *trailers, bool is_request)
{
    struct dm_buf *out = dm_worker_scratch(ex->worker);

    for (unsigned i = 0; trailers && i < trailers->field_count; i++) {
        const struct dm_http_field *field = &trailers->fields[i];
        if (is_fit_trailer(ex, field, is_request))
            dm_http_write_field(out, field->name, field->value);
    }
    return out->failed ? DM_STR_NULL : dm_buf_str(out);
}

#include "gateway/forward.h"

#include "gateway/worker.h"

/* --- who asks ----------------------------------------------------------------------------------------------------- */

static bool is_trusted(const struct dm_worker *worker, const struct dm_addr *addr)
{
    struct dm_cidr address;

    if (worker->options->n_trusted_fronts == 0 || dm_cidr_of_addr(addr, &address) < 0)
        return false;
    for (size_t i = 0; i < worker->options->n_trusted_fronts; i++)
        if (dm_cidr_holds(&worker->options->trusted_fronts[i], &address))
            return true;
    return false;
}

/* An address of the list, with or without brackets and port. */
static bool parse_client(struct dm_str text, struct dm_addr *ret)
{
    char buf[DM_ADDR_TEXT_MAX];
    struct dm_buf with_port;
    bool is_v6 = dm_str_find(text, ':') != text.len && (text.len == 0 || text.ptr[0] != '[');
    bool has_port = !is_v6 && dm_str_find(text, ':') < text.len && !dm_str_ends(text, DM_STR("]"));

    if (text.len > 64)
        return false;
    dm_buf_init_fixed(&with_port, buf, sizeof(buf));
    if (is_v6 && dm_str_find(dm_str_skip(text, dm_str_find(text, ':') + 1), ':') < text.len - dm_str_find(text, ':') - 1)
        dm_buf_printf(&with_port, "[%.*s]:0", DM_STR_ARG(text));
    else
        dm_buf_printf(&with_port, has_port || is_v6 ? "%.*s" : "%.*s:0", DM_STR_ARG(text));
    return dm_addr_parse(dm_buf_str(&with_port), ret, NULL) == 0;
}

/* From the right: each trusted front vouches for the one before it. */
static void client_behind_fronts(struct dm_exchange *ex, struct dm_str list)
{
    struct dm_addr addr;

    while (list.len > 0) {
        size_t comma = list.len;
        while (comma > 0 && list.ptr[comma - 1] != ',')
            comma--;
        if (!parse_client(dm_str_trim(dm_str_skip(list, comma)), &addr))
            return;
        ex->client = addr;
        if (comma == 0 || !is_trusted(ex->worker, &addr))
            return;
        list.len = comma - 1;
    }
}

void dm_forward_identify(struct dm_exchange *ex)
{
    const struct dm_addr *peer = dm_http_conn_peer(ex->conn);

    ex->client = *peer;
    ex->is_direct = !is_trusted(ex->worker, peer);
    if (!ex->is_direct)
        client_behind_fronts(ex, dm_http_head_value(ex->head, DM_HTTP_FIELD_ID_X_FORWARDED_FOR));
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static void drop(struct dm_http_head *head, enum dm_http_field_id id)
{
    struct dm_http_field *field;

    while ((field = dm_http_head_find(head, id)))
        field->flags |= DM_HTTP_FIELD_DROPPED;
}

/* Takes the field's value out of the head; what is written in its place stands at another place. */
static struct dm_str take(struct dm_http_head *head, enum dm_http_field_id id)
{
    struct dm_str value = dm_http_head_value(head, id);

    drop(head, id);
    return value;
}

static void add_listed(struct dm_buf *out, struct dm_str name, struct dm_str before, struct dm_str last)
{
    dm_buf_add(out, name);
    dm_buf_add_lit(out, ": ");
    if (before.len > 0) {
        dm_buf_add(out, before);
        dm_buf_add_lit(out, ", ");
    }
    dm_buf_add(out, last);
    dm_buf_add_lit(out, "\r\n");
}

static struct dm_str forwarded_element(const struct dm_exchange *ex, struct dm_str peer, char *buf, size_t size)
{
    bool is_v6 = dm_str_find(peer, ':') < peer.len;
    struct dm_buf out;

    dm_buf_init_fixed(&out, buf, size);
    dm_buf_add_lit(&out, "for=");
    if (is_v6)
        dm_buf_add_lit(&out, "\"[");
    dm_buf_add(&out, peer);
    if (is_v6)
        dm_buf_add_lit(&out, "]\"");
    dm_buf_add_lit(&out, ";host=\"");
    dm_buf_add(&out, ex->head->authority);
    dm_buf_add_lit(&out, "\";proto=http");
    return out.failed ? DM_STR("for=unknown") : dm_buf_str(&out);
}

static void write_forwarded(struct dm_exchange *ex, struct dm_buf *out)
{
    struct dm_http_head *head = ex->head;
    struct dm_str before_for = DM_STR_NULL, before = DM_STR_NULL, peer;
    char peer_text[DM_ADDR_TEXT_MAX], element[512];

    peer = dm_str_n(peer_text, dm_addr_format(dm_http_conn_peer(ex->conn), false, peer_text));
    if (peer.len > 2 && peer.ptr[0] == '[')
        peer = dm_str_n(peer.ptr + 1, peer.len - 2);
    if (!ex->is_direct) {
        before_for = take(head, DM_HTTP_FIELD_ID_X_FORWARDED_FOR);
        before = take(head, DM_HTTP_FIELD_ID_FORWARDED);
    }
    add_listed(out, DM_STR("X-Forwarded-For"), before_for, peer);
    add_listed(out, DM_STR("Forwarded"), before, forwarded_element(ex, peer, element, sizeof(element)));
    if (ex->is_direct || dm_http_head_value(head, DM_HTTP_FIELD_ID_X_FORWARDED_PROTO).len == 0)
        dm_buf_add_lit(out, "X-Forwarded-Proto: http\r\n");
    if (ex->is_direct || dm_http_head_value(head, DM_HTTP_FIELD_ID_X_FORWARDED_HOST).len == 0)
        dm_http_write_field(out, DM_STR("X-Forwarded-Host"), head->authority);
}

static const uint8_t never_forwarded[] = {DM_HTTP_FIELD_ID_HOST, DM_HTTP_FIELD_ID_EXPECT, DM_HTTP_FIELD_ID_CONTENT_LENGTH,
                                          DM_HTTP_FIELD_ID_X_REQUEST_ID};
static const uint8_t only_from_fronts[] = {DM_HTTP_FIELD_ID_X_FORWARDED_FOR, DM_HTTP_FIELD_ID_X_FORWARDED_PROTO,
                                           DM_HTTP_FIELD_ID_X_FORWARDED_HOST, DM_HTTP_FIELD_ID_X_FORWARDED_PORT,
                                           DM_HTTP_FIELD_ID_X_FORWARDED_PREFIX, DM_HTTP_FIELD_ID_X_REAL_IP, DM_HTTP_FIELD_ID_FORWARDED};

int dm_forward_request(struct dm_exchange *ex, struct dm_str *ret)
{
    struct dm_buf *out = dm_worker_scratch(ex->worker);
    struct dm_http_head *head = ex->head;

    for (size_t i = 0; i < DM_COUNT(never_forwarded); i++)
        if (head->first[never_forwarded[i]])
            drop(head, never_forwarded[i]);
    for (size_t i = 0; ex->is_direct && i < DM_COUNT(only_from_fronts); i++)
        if (head->first[only_from_fronts[i]])
            drop(head, only_from_fronts[i]);
    write_forwarded(ex, out);
    dm_http_write_fields(out, head, DM_HTTP_FIELD_HOP);
    dm_buf_add_lit(out, "Via: 1.1 daemun\r\n");
    dm_http_write_field(out, DM_STR("X-Request-Id"), dm_str_n(ex->request_id, DM_REQUEST_ID_LEN));
    return out->failed ? DM_EBUDGET : dm_arena_str(&ex->arena, dm_buf_str(out), ret);
}

void dm_forward_response(struct dm_exchange *ex, struct dm_http_head *head, struct dm_buf *fields)
{
    if (head->first[DM_HTTP_FIELD_ID_CONTENT_LENGTH])
        drop(head, DM_HTTP_FIELD_ID_CONTENT_LENGTH);
    if (head->first[DM_HTTP_FIELD_ID_X_REQUEST_ID])
        drop(head, DM_HTTP_FIELD_ID_X_REQUEST_ID);
    dm_http_write_fields(fields, head, DM_HTTP_FIELD_HOP);
    if (!head->first[DM_HTTP_FIELD_ID_DATE])
        dm_http_write_field(fields, DM_STR("Date"), dm_worker_date(ex->worker));
    dm_buf_add_lit(fields, "Via: 1.1 daemun\r\n");
    dm_http_write_field(fields, DM_STR("X-Request-Id"), dm_str_n(ex->request_id, DM_REQUEST_ID_LEN));
}

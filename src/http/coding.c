#include "http/coding.h"

/* qvalue of RFC 9110, 12.4.2, in thousandths; false when it is none. */
static bool read_weight(struct dm_str text, int *ret)
{
    int value = 0, unit = 1000;

    if (text.len == 0 || text.len > 5 || text.ptr[0] < '0' || text.ptr[0] > '1' || (text.len > 1 && text.ptr[1] != '.'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (i == 1)
            continue;
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        value += (text.ptr[i] - '0') * unit;
        unit /= 10;
    }
    *ret = value;
    return value <= 1000;
}

/* coding [ OWS ";" OWS "q=" qvalue ]; false when it is not. */
static bool read_element(struct dm_str element, struct dm_str *ret_coding, int *ret_weight)
{
    size_t semicolon = dm_str_find(element, ';');
    struct dm_str weight = dm_str_trim(dm_str_skip(element, semicolon + 1));

    *ret_coding = dm_str_trim(dm_str_n(element.ptr, semicolon));
    *ret_weight = 1000;
    if (!dm_http_field_name_is_valid(*ret_coding)) /* a token, as "*" is */
        return false;
    if (semicolon == element.len)
        return true;
    return weight.len > 2 && dm_str_ieq(dm_str_n(weight.ptr, 2), DM_STR("q=")) &&
           read_weight(dm_str_skip(weight, 2), ret_weight);
}

static bool is_coding(struct dm_str name, struct dm_str coding)
{
    if (name.len == coding.len + 2 && dm_str_ieq(dm_str_n(name.ptr, 2), DM_STR("x-")) &&
        dm_str_eq(coding, DM_STR("gzip")))
        name = dm_str_skip(name, 2);
    return dm_str_ieq(name, coding);
}

int dm_http_coding_weight(const struct dm_http_head *head, struct dm_str coding)
{
    const struct dm_http_field *field = dm_http_head_find(head, DM_HTTP_FIELD_ID_ACCEPT_ENCODING);
    int weight, any = DM_HTTP_WEIGHT_UNSAID;

    for (; field; field = dm_http_head_find_next(head, field)) {
        struct dm_str rest = field->value, element, name;

        while (dm_http_list_next(&rest, &element)) {
            if (!read_element(element, &name, &weight))
                continue;
            if (is_coding(name, coding))
                return weight;
            if (any == DM_HTTP_WEIGHT_UNSAID && dm_str_eq(name, DM_STR("*")))
                any = weight;
        }
    }
    return any;
}

#include "http/serialize.h"

#define ROW(text)                                                                                                      \
    {                                                                                                                  \
        "" text, sizeof(text) - 1                                                                                      \
    }

static const struct dm_str reasons[] = {
    [100] = ROW("Continue"),
    [101] = ROW("Switching Protocols"),
    [102] = ROW("Processing"),
    [103] = ROW("Early Hints"),
    [200] = ROW("OK"),
    [201] = ROW("Created"),
    [202] = ROW("Accepted"),
    [203] = ROW("Non-Authoritative Information"),
    [204] = ROW("No Content"),
    [205] = ROW("Reset Content"),
    [206] = ROW("Partial Content"),
    [207] = ROW("Multi-Status"),
    [208] = ROW("Already Reported"),
    [226] = ROW("IM Used"),
    [300] = ROW("Multiple Choices"),
    [301] = ROW("Moved Permanently"),
    [302] = ROW("Found"),
    [303] = ROW("See Other"),
    [304] = ROW("Not Modified"),
    [305] = ROW("Use Proxy"),
    [307] = ROW("Temporary Redirect"),
    [308] = ROW("Permanent Redirect"),
    [400] = ROW("Bad Request"),
    [401] = ROW("Unauthorized"),
    [402] = ROW("Payment Required"),
    [403] = ROW("Forbidden"),
    [404] = ROW("Not Found"),
    [405] = ROW("Method Not Allowed"),
    [406] = ROW("Not Acceptable"),
    [407] = ROW("Proxy Authentication Required"),
    [408] = ROW("Request Timeout"),
    [409] = ROW("Conflict"),
    [410] = ROW("Gone"),
    [411] = ROW("Length Required"),
    [412] = ROW("Precondition Failed"),
    [413] = ROW("Content Too Large"),
    [414] = ROW("URI Too Long"),
    [415] = ROW("Unsupported Media Type"),
    [416] = ROW("Range Not Satisfiable"),
    [417] = ROW("Expectation Failed"),
    [421] = ROW("Misdirected Request"),
    [422] = ROW("Unprocessable Content"),
    [423] = ROW("Locked"),
    [424] = ROW("Failed Dependency"),
    [425] = ROW("Too Early"),
    [426] = ROW("Upgrade Required"),
    [428] = ROW("Precondition Required"),
    [429] = ROW("Too Many Requests"),
    [431] = ROW("Request Header Fields Too Large"),
    [451] = ROW("Unavailable For Legal Reasons"),
    [500] = ROW("Internal Server Error"),
    [501] = ROW("Not Implemented"),
    [502] = ROW("Bad Gateway"),
    [503] = ROW("Service Unavailable"),
    [504] = ROW("Gateway Timeout"),
    [505] = ROW("HTTP Version Not Supported"),
    [506] = ROW("Variant Also Negotiates"),
    [507] = ROW("Insufficient Storage"),
    [508] = ROW("Loop Detected"),
    [511] = ROW("Network Authentication Required"),
};

struct dm_str dm_http_status_reason(unsigned status)
{
    return status < DM_COUNT(reasons) && reasons[status].ptr ? reasons[status] : DM_STR("");
}

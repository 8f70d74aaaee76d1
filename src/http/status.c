#include "http/serialize.h"

struct dm_str dm_http_status_reason(unsigned status)
{
    switch (status) {
    case 100: return DM_STR("Continue");
    case 101: return DM_STR("Switching Protocols");
    case 102: return DM_STR("Processing");
    case 103: return DM_STR("Early Hints");
    case 200: return DM_STR("OK");
    case 201: return DM_STR("Created");
    case 202: return DM_STR("Accepted");
    case 203: return DM_STR("Non-Authoritative Information");
    case 204: return DM_STR("No Content");
    case 205: return DM_STR("Reset Content");
    case 206: return DM_STR("Partial Content");
    case 207: return DM_STR("Multi-Status");
    case 208: return DM_STR("Already Reported");
    case 226: return DM_STR("IM Used");
    case 300: return DM_STR("Multiple Choices");
    case 301: return DM_STR("Moved Permanently");
    case 302: return DM_STR("Found");
    case 303: return DM_STR("See Other");
    case 304: return DM_STR("Not Modified");
    case 305: return DM_STR("Use Proxy");
    case 307: return DM_STR("Temporary Redirect");
    case 308: return DM_STR("Permanent Redirect");
    case 400: return DM_STR("Bad Request");
    case 401: return DM_STR("Unauthorized");
    case 402: return DM_STR("Payment Required");
    case 403: return DM_STR("Forbidden");
    case 404: return DM_STR("Not Found");
    case 405: return DM_STR("Method Not Allowed");
    case 406: return DM_STR("Not Acceptable");
    case 407: return DM_STR("Proxy Authentication Required");
    case 408: return DM_STR("Request Timeout");
    case 409: return DM_STR("Conflict");
    case 410: return DM_STR("Gone");
    case 411: return DM_STR("Length Required");
    case 412: return DM_STR("Precondition Failed");
    case 413: return DM_STR("Content Too Large");
    case 414: return DM_STR("URI Too Long");
    case 415: return DM_STR("Unsupported Media Type");
    case 416: return DM_STR("Range Not Satisfiable");
    case 417: return DM_STR("Expectation Failed");
    case 421: return DM_STR("Misdirected Request");
    case 422: return DM_STR("Unprocessable Content");
    case 423: return DM_STR("Locked");
    case 424: return DM_STR("Failed Dependency");
    case 425: return DM_STR("Too Early");
    case 426: return DM_STR("Upgrade Required");
    case 428: return DM_STR("Precondition Required");
    case 429: return DM_STR("Too Many Requests");
    case 431: return DM_STR("Request Header Fields Too Large");
    case 451: return DM_STR("Unavailable For Legal Reasons");
    case 500: return DM_STR("Internal Server Error");
    case 501: return DM_STR("Not Implemented");
    case 502: return DM_STR("Bad Gateway");
    case 503: return DM_STR("Service Unavailable");
    case 504: return DM_STR("Gateway Timeout");
    case 505: return DM_STR("HTTP Version Not Supported");
    case 506: return DM_STR("Variant Also Negotiates");
    case 507: return DM_STR("Insufficient Storage");
    case 508: return DM_STR("Loop Detected");
    case 511: return DM_STR("Network Authentication Required");
    default: return DM_STR("");
    }
}

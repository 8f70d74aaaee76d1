/* Every rule of the tenant file: one change of a good file, the pointer and the message it must give. */
#include "fixture.h"

#include "model/tenant_file.h"

struct rule {
    const char *at;      /* what is changed */
    const char *value;   /* to what; "" removes it */
    const char *pointer; /* of the first error; NULL = the change is allowed */
    const char *message;
};

#define OK(at, value)                                                                                                  \
    {                                                                                                                  \
        at, value, NULL, NULL                                                                                          \
    }

static const struct rule shapes[] = {
    {"", "[]", "", "must be an object, found array"},
    {"/daemun", "", "", "member 'daemun' is required"},
    {"/daemun", "null", "", "member 'daemun' is required"},
    {"/daemun", "2", "/daemun", "must be between 1 and 1, found 2"},
    {"/daemun", "1.5", "/daemun", "must be a whole number, found 1.5"},
    {"/daemun", "'1'", "/daemun", "must be a whole number, found '1'"},
    {"/prodcts", "[]", "/prodcts", "unknown member 'prodcts', did you mean 'products'?"},
    {"/x", "1", "/x", "unknown member 'x'"},
    {"/products", "{}", "/products", "must be an array of objects, found object"},
    {"/products/0", "7", "/products/0", "must be an object, found 7"},
    {"/products/0/verions", "[]", "/products/0/verions", "unknown member 'verions', did you mean 'versions'?"},
    {"/products/0/domains", "'a'", "/products/0/domains", "must be an array of strings, found 'a'"},
    {"/products/0/domains/0", "true", "/products/0/domains/0", "must be a string, found true"},
    {"/products/0/versions/0/mapping_rules/0/last", "'no'", "/products/0/versions/0/mapping_rules/0/last",
     "must be true or false, found 'no'"},
    {"/products/0/versions/0/a~1b", "1", "/products/0/versions/0/a~01b", "unknown member 'a~1b'"},
    OK("/grants", ""),
    OK("/grants", "null"),
    OK("/backends/0/description", "null"),
    OK("/applications", ""),
};

static const struct rule names[] = {
    {"/tenant", "'Orders'", "/tenant",
     "must be 1 to 63 lower-case letters, digits and '-', with a letter or digit at both ends, found 'Orders'"},
    {"/tenant", "''", "/tenant",
     "must be 1 to 63 lower-case letters, digits and '-', with a letter or digit at both ends, found ''"},
    {"/tenant", "'../x'", "/tenant",
     "must be 1 to 63 lower-case letters, digits and '-', with a letter or digit at both ends, found '../x'"},
    {"/tenant", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'", "/tenant",
     "must be at most 63 bytes long, found 64"},
    {"/backends/0/name", "'a b'", "/backends/0/name",
     "must be 1 to 64 lower-case letters, digits, '-', '_' and '.', with a letter or digit at both ends, found 'a b'"},
    {"/backends/0/name", "'-a'", "/backends/0/name",
     "must be 1 to 64 lower-case letters, digits, '-', '_' and '.', with a letter or digit at both ends, found '-a'"},
    {"/backends/0/name", "", "/backends/0", "member 'name' is required"},
    {"/backends/1/name", "'orders-service'", "/backends/1/name",
     "must be unique, but 'orders-service' stands in item 0 already"},
    {"/products/1/name", "'orders'", "/products/1/name", "must be unique, but 'orders' stands in item 0 already"},
    {"/products/0/versions/1/name", "'v1'", "/products/0/versions/1/name",
     "must be unique, but 'v1' stands in item 0 already"},
    {"/products/0/metrics/1/name", "'list'", "/products/0/metrics/1/name",
     "must be unique, but 'list' stands in item 0 already"},
    {"/applications/1/name", "'mobile'", "/applications/1/name",
     "must be unique, but 'mobile' stands in item 0 already"},
    {"/applications/0/credentials/1/name", "'first'", "/applications/0/credentials/1/name",
     "must be unique, but 'first' stands in item 0 already"},
    {"/backends/0/description", "'a\\u0007b'", "/backends/0/description",
     "must be text without control characters other than newline and tab, found 'a\\x07b'"},
    OK("/backends/0/description", "'주문 서비스\\n'"),
    OK("/applications/1/name", "'web_2.x'"),
};

static const struct rule grants[] = {
    {"/grants/domains/0/name", "'Orders.localhost'", "/grants/domains/0/name",
     "must be in lower case, found 'Orders.localhost'"},
    {"/grants/domains/0/name", "'a.*.example'", "/grants/domains/0/name",
     "must have '*' only as its whole first label, found 'a.*.example'"},
    {"/grants/domains/0/name", "'*a.example'", "/grants/domains/0/name",
     "must have '*' only as its whole first label, found '*a.example'"},
    {"/grants/domains/0/name", "'*.example'", "/grants/domains/0/name",
     "must have at least two labels behind '*.', found '*.example'"},
    {"/grants/domains/0/name", "'*'", "/grants/domains/0/name",
     "must have '*' only as its whole first label, found '*'"},
    {"/grants/domains/0/name", "'a..b'", "/grants/domains/0/name",
     "must be a host name whose labels have 1 to 63 characters, found 'a..b'"},
    {"/grants/domains/0/name", "'a.'", "/grants/domains/0/name",
     "must be a host name whose labels have 1 to 63 characters, found 'a.'"},
    {"/grants/domains/0/name", "'-a.b'", "/grants/domains/0/name",
     "must be a host name: lower-case letters, digits and inner '-' between dots, found '-a.b'"},
    {"/grants/domains/0/name", "'a_b.c'", "/grants/domains/0/name",
     "must be a host name: lower-case letters, digits and inner '-' between dots, found 'a_b.c'"},
    {"/grants/domains/0/name", "'10.0.0.1'", "/grants/domains/0/name",
     "must be a host name, whose last label is not a number, found '10.0.0.1'"},
    {"/grants/domains/1/name", "'orders.localhost'", "/grants/domains/1/name",
     "must be unique, but 'orders.localhost' stands in item 0 already"},
    {"/grants/domains/0/environment", "'test'", "/grants/domains/0/environment",
     "must be 'production' or 'staging', found 'test'"},
    {"/grants/endpoints/0/address", "'10.0.0.1/8'", "/grants/endpoints/0/address",
     "must have no bits set behind its prefix (did you mean 10.0.0.0/8?), found '10.0.0.1/8'"},
    {"/grants/endpoints/0/address", "'10.0.0.0/33'", "/grants/endpoints/0/address",
     "must have a prefix between 0 and 32 behind '/', found '10.0.0.0/33'"},
    {"/grants/endpoints/0/address", "'localhost'", "/grants/endpoints/0/address",
     "must be an address or a block such as 10.0.0.0/8 or 2001:db8::/32, found 'localhost'"},
    {"/grants/endpoints/0/port", "65536", "/grants/endpoints/0/port", "must be between 0 and 65535, found 65536"},
    {"/grants/endpoints/0/port", "", "/grants/endpoints/0", "member 'port' is required"},
    {"/grants/endpoints/1/port_to", "7999", "/grants/endpoints/1/port_to", "must be at least port (8000), found 7999"},
    {"/grants/endpoints/1/port", "0", "/grants/endpoints/1/port_to",
     "must be left out when port is 0, which is any port"},
    {"/products/0/domains/0", "'other.example'", "/products/0/domains/0",
     "domain 'other.example' is not granted to this tenant"},
    {"/products/0/domains/1", "'shop.example'", "/products/0/domains/1",
     "domain 'shop.example' is not granted to this tenant"},
    {"/products/0/domains/1", "'orders.localhost'", "/products/0/domains/1",
     "must be unique, but 'orders.localhost' stands in item 0 already"},
    {"/backends/0/endpoints/0/port", "9102", "/backends/0/endpoints/0",
     "'127.0.0.1' port 9102 is not granted to this tenant"},
    {"/backends/0/endpoints/1/host", "'10.2.0.1'", "/backends/0/endpoints/1",
     "'10.2.0.1' port 8080 is not granted to this tenant"},
    {"/backends/0/endpoints/2/port", "7000", "/backends/0/endpoints/2/port",
     "no endpoint with port 7000 is granted to this tenant"},
    OK("/products/0/domains/1", "'*.eu.shop.example'"),
    OK("/products/0/domains/1", "'a.b.shop.example'"),
    OK("/backends/0/endpoints/1/port", "8999"),
    OK("/backends/0/endpoints/1/host", "'::ffff:10.1.255.255'"),
};

static const struct rule backends[] = {
    {"/backends/0/endpoints", "[]", "/backends/0/endpoints", "must have at least 1 item, found 0"},
    {"/backends/0/endpoints", "", "/backends/0", "member 'endpoints' is required"},
    {"/backends/0/endpoints/0/host", "'http://x'", "/backends/0/endpoints/0/host",
     "must be a host name: lower-case letters, digits and inner '-' between dots, found 'http://x'"},
    {"/backends/0/endpoints/0/port", "0", "/backends/0/endpoints/0/port", "must be between 1 and 65535, found 0"},
    {"/backends/0/endpoints/0/weight", "-1", "/backends/0/endpoints/0/weight", "must be between 0 and 1000, found -1"},
    {"/backends/0/endpoints/3", "{'host':'127.0.0.1','port':9101}", "/backends/0/endpoints/3",
     "must be unique, but '127.0.0.1' port 9101 stands in item 0 already"},
    {"/backends/0/base_path", "'base'", "/backends/0/base_path", "must start with '/', found 'base'"},
    {"/backends/0/base_path", "''", "/backends/0/base_path", "must start with '/', found ''"},
    {"/backends/0/base_path", "'/base/'", "/backends/0/base_path", "must not end with '/', found '/base/'"},
    {"/backends/0/base_path", "'/a//b'", "/backends/0/base_path",
     "must not have an empty segment ('//'), found '/a//b'"},
    {"/backends/0/base_path", "'/a/../b'", "/backends/0/base_path",
     "must not have a segment '.' or '..', found '/a/../b'"},
    {"/backends/0/base_path", "'/a/..;x/b'", "/backends/0/base_path",
     "must not have a segment '.' or '..', found '/a/..;x/b'"},
    {"/backends/0/base_path", "'/a?b'", "/backends/0/base_path", "must be a path alone, without '?', found '/a?b'"},
    {"/backends/0/base_path", "'/%7Ea'", "/backends/0/base_path",
     "must have '~' in place of its escape, found '/%7Ea'"},
    {"/backends/0/base_path", "'/%2f'", "/backends/0/base_path", "must have escapes in upper case, found '/%2f'"},
    {"/backends/0/base_path", "'/%0A'", "/backends/0/base_path",
     "must not hold an escaped control character, found '/%0A'"},
    {"/backends/0/base_path", "'/%4'", "/backends/0/base_path",
     "must have two hexadecimal digits behind '%', found '/%4'"},
    {"/backends/0/base_path", "'/a b'", "/backends/0/base_path",
     "must hold only characters of a path; others as %XX of their UTF-8 bytes, found '/a b'"},
    {"/backends/0/host_header", "'a b'", "/backends/0/host_header",
     "must be a host name: lower-case letters, digits and inner '-' between dots, found 'a b'"},
    {"/backends/0/host_header", "'a:0'", "/backends/0/host_header",
     "must have a port between 1 and 65535 behind ':', found 'a:0'"},
    {"/backends/0/connect_timeout_ms", "0", "/backends/0/connect_timeout_ms", "must be between 1 and 60000, found 0"},
    {"/backends/0/response_timeout_ms", "3600001", "/backends/0/response_timeout_ms",
     "must be between 1 and 3600000, found 3600001"},
    {"/backends/0/idle_timeout_ms", "0", "/backends/0/idle_timeout_ms", "must be between 1 and 3600000, found 0"},
    {"/backends/0/breaker", "{'mode':'ajar'}", "/backends/0/breaker/mode",
     "must be 'auto', 'closed' or 'open', found 'ajar'"},
    {"/backends/0/breaker", "{'failure_percent':0}", "/backends/0/breaker/failure_percent",
     "must be between 1 and 100, found 0"},
    {"/backends/0/breaker", "{'open_ms':2000,'open_max_ms':1999}", "/backends/0/breaker/open_max_ms",
     "must be at least open_ms, which is 2000, found 1999"},
    {"/backends/0/breaker", "{'slow_ms':30000}", "/backends/0/breaker/slow_ms",
     "must be less than response_timeout_ms, which is 30000, found 30000"},
    {"/backends/0/breaker", "{'windw_ms':1000}", "/backends/0/breaker/windw_ms",
     "unknown member 'windw_ms', did you mean 'window_ms'?"},
    {"/backends/0/balance", "{'method':'random'}", "/backends/0/balance/method",
     "must be 'round_robin', 'least_requests' or 'hash', found 'random'"},
    {"/backends/0/balance", "{'method':'hash','hash_by':'header'}", "/backends/0/balance",
     "member 'header' is required with hash_by 'header'"},
    {"/backends/0/balance", "{'method':'hash','header':'X-User'}", "/backends/0/balance/header",
     "must be left out unless hash_by is 'header'"},
    OK("/backends/0/balance", "{'method':'hash','hash_by':'header','header':'X-User'}"),
    {"/backends/0/outlier", "{'max_percent':101}", "/backends/0/outlier/max_percent",
     "must be between 0 and 100, found 101"},
    {"/backends/0/outlier", "{'eject_ms':2000,'eject_max_ms':1999}", "/backends/0/outlier/eject_max_ms",
     "must be at least eject_ms, which is 2000, found 1999"},
    OK("/backends/0/outlier", "{'max_percent':0,'slow_start_ms':0,'eject_ms':10,'eject_max_ms':10}"),
    {"/backends/0/retry", "{'tries':0}", "/backends/0/retry/tries", "must be between 1 and 10, found 0"},
    {"/backends/0/retry", "{'budget_percent':101}", "/backends/0/retry/budget_percent",
     "must be between 0 and 100, found 101"},
    OK("/backends/0/retry", "{'tries':1,'budget_percent':0,'budget_min':0}"),
    {"/backends/0/concurrency", "{'limit':'adaptive','min':5,'max':4}", "/backends/0/concurrency/max",
     "must be at least min, which is 5, found 4"},
    {"/backends/0/concurrency", "{'limit':'fixed'}", "/backends/0/concurrency/limit",
     "must be 'none' or 'adaptive', found 'fixed'"},
    {"/backends/0/concurrency", "{'min':0}", "/backends/0/concurrency/min", "must be between 1 and 10000, found 0"},
    OK("/backends/0/concurrency", "{'limit':'adaptive'}"),
    OK("/backends/0/health", "{}"),
    OK("/backends/0/health", "null"),
    OK("/backends/0/health", "{'method':'HEAD','path':'/live','status_max':399,'interval_ms':100,'timeout_ms':100}"),
    {"/backends/0/health", "{'type':'tcp'}", "/backends/0/health/type", "must be 'http' or 'grpc', found 'tcp'"},
    {"/backends/0/health", "{'type':'grpc'}", "/backends/0/health/type", "must be 'http' unless protocol is 'http2'"},
    {"/backends/0/health", "{'service':'a.B'}", "/backends/0/health/service", "must be left out unless type is 'grpc'"},
    {"/backends/0/health", "{'type':'grpc','service':'a/B'}", "/backends/0/health/service",
     "must be the full name of a service such as orders.v1.Orders, found 'a/B'"},
    {"/backends/0/health", "{'method':'POST'}", "/backends/0/health/method",
     "must be 'GET', 'HEAD' or 'OPTIONS', found 'POST'"},
    {"/backends/0/health", "{'path':'/a?b'}", "/backends/0/health/path",
     "must be a path alone, without '?', found '/a?b'"},
    {"/backends/0/health", "{'status_min':404}", "/backends/0/health/status_max",
     "must be at least status_min, which is 404, found 299"},
    {"/backends/0/health", "{'status_min':199}", "/backends/0/health/status_min",
     "must be between 200 and 599, found 199"},
    {"/backends/0/health", "{'timeout_ms':1001,'interval_ms':1000}", "/backends/0/health/timeout_ms",
     "must be at most interval_ms, which is 1000, found 1001"},
    {"/backends/0/health", "{'interval_ms':99}", "/backends/0/health/interval_ms",
     "must be between 100 and 3600000, found 99"},
    {"/backends/0/health", "{'unhealthy_threshold':0}", "/backends/0/health/unhealthy_threshold",
     "must be between 1 and 100, found 0"},
    {"/backends/0/health", "{'healthy_threshold':101}", "/backends/0/health/healthy_threshold",
     "must be between 1 and 100, found 101"},
    OK("/backends/0/fallback", "{}"),
    OK("/backends/0/fallback", "{'on':['timeout'],'status':503,'content_type':'text/html','body':'<p>'}"),
    {"/backends/0/fallback", "{'on':['always']}", "/backends/0/fallback/on/0",
     "must be 'circuit_open', 'unreachable' or 'timeout', found 'always'"},
    {"/backends/0/fallback", "{'on':[]}", "/backends/0/fallback/on", "must have at least 1 item"},
    {"/backends/0/fallback", "{'status':199}", "/backends/0/fallback/status", "must be between 200 and 599, found 199"},
    {"/backends/0/fallback", "{'status':204,'body':'x'}", "/backends/0/fallback/body",
     "must be left out with status 204"},
    {"/backends/0/fallback", "{'content_type':'text/html'}", "/backends/0/fallback/content_type",
     "must come with a body"},
    {"/backends/0/fallback", "{'content_type':'html','body':'x'}", "/backends/0/fallback/content_type",
     "must be a media type such as application/json or text/plain; charset=utf-8, found 'html'"},
    OK("/backends/0/breaker", "null"),
    OK("/backends/0/breaker", "{'mode':'open','slow_ms':29999,'failure_statuses':'server_errors'}"),
    {"/backends/0/total_timeout_ms", "3600001", "/backends/0/total_timeout_ms",
     "must be between 0 and 3600000, found 3600001"},
    OK("/backends/0/total_timeout_ms", "1"),
    OK("/backends/0/host_header", "''"),
    OK("/backends/0/host_header", "'[::1]:80'"),
    OK("/backends/0/host_header", "'127.0.0.1:80'"),
    OK("/backends/0/base_path", "'/'"),
    OK("/backends/0/base_path", "'/%EC%A3%BC/a;b=c'"),
    OK("/backends/0/endpoints/0/weight", "0"),
};

static const struct rule products[] = {
    {"/products/0/metrics/0/name", "'a b'", "/products/0/metrics/0/name",
     "must be 1 to 64 letters, digits, '-', '_', '.' and '/', found 'a b'"},
    {"/products/0/metrics/0/parent", "'bytes'", "/products/0/metrics/0/parent",
     "must be 'hits', the only metric that has methods, found 'bytes'"},
    {"/products/0/metrics/2", "{'name':'hits','parent':'hits'}", "/products/0/metrics/2/parent",
     "must be left out for 'hits', which is the top"},
    {"/products/0/versions/1/path", "'/'", "/products/0/versions/1",
     "must have a path of its own, but '/' is the path of version 'v1' already"},
    {"/products/0/versions/1/path", "'v2'", "/products/0/versions/1/path", "must start with '/', found 'v2'"},
    {"/products/0/versions/0/backends/0/backend", "'orders-servic'", "/products/0/versions/0/backends/0/backend",
     "no backend 'orders-servic', did you mean 'orders-service'?"},
    {"/products/0/versions/0/backends/0/backend", "'zzz'", "/products/0/versions/0/backends/0/backend",
     "no backend 'zzz'"},
    {"/products/0/versions/0/backends/1/path", "'/'", "/products/0/versions/0/backends/1",
     "must be unique, but path '/' stands in item 0 already"},
    {"/products/0/versions/0/backends/0/path", "'x'", "/products/0/versions/0/backends/0/path",
     "must start with '/', found 'x'"},
    OK("/products/0/metrics/2", "{'name':'hits','description':'all calls'}"),
    OK("/products/0/versions/0/backends", "[]"),
    OK("/products/0/versions/0/mapping_rules", "[]"),
    OK("/products/0/versions/0/path", "'/v1'"),
};

static const struct rule mapping_rules[] = {
#define RULE "/products/0/versions/0/mapping_rules/0"
    {RULE "/metric", "'lst'", RULE "/metric", "no metric 'lst' in this product, did you mean 'list'?"},
    {RULE "/metric", "'hit'", RULE "/metric", "no metric 'hit' in this product, did you mean 'hits'?"},
    {RULE "/metric", "'other'", RULE "/metric", "no metric 'other' in this product"},
    {RULE "/method", "'get'", RULE "/method", "must be a method in upper case such as GET, or ANY, found 'get'"},
    {RULE "/method", "'CONNECT'", RULE "/method", "must not be CONNECT, which the gateway refuses, found 'CONNECT'"},
    {RULE "/delta", "0", RULE "/delta", "must be between 1 and 1000000000, found 0"},
    {RULE "/pattern", "''", RULE "/pattern", "must not be empty"},
    {RULE "/pattern", "'orders'", RULE "/pattern", "must start with '/', found 'orders'"},
    {RULE "/pattern", "'/a{b'", RULE "/pattern",
     "must have a name of letters, digits, '_', '-' and '.' and then '}' behind '{' (at byte 3), found '/a{b'"},
    OK(RULE "/method", "'PROPFIND'"),
    OK(RULE "/pattern", "'/주문/{id}?a=b'"),
};

static const struct rule policies[] = {
#define VERSION "/products/0/versions/0"
    {VERSION "/policies", "", VERSION, "member 'policies' is required"},
    {VERSION "/policies", "[{'type':'cors','allow_origins':['*']}]", VERSION "/policies",
     "must have exactly one authentication policy ('api_key' or 'client_certificate'), found none"},
    {VERSION "/policies/4", "{'type':'api_key'}", VERSION "/policies/4",
     "must be the only authentication policy, but 'api_key' stands in item 0 already"},
    {VERSION "/policies/1", "{'type':'header'}", VERSION "/policies/1/type",
     "must be 'api_key', 'headers', 'ip_check', 'cors', 'client_certificate' or 'compression', found 'header'"},
    {VERSION "/policies/1", "{}", VERSION "/policies/1",
     "member 'type' is required: 'api_key', 'headers', 'ip_check', 'cors', 'client_certificate' or 'compression'"},
    {VERSION "/policies/0/in", "[]", VERSION "/policies/0/in", "must have at least 1 item"},
    {VERSION "/policies/0/in", "['query','query']", VERSION "/policies/0/in/1", "'query' is listed twice"},
    {VERSION "/policies/0/in/0", "'cookie'", VERSION "/policies/0/in/0",
     "must be 'header', 'query' or 'basic', found 'cookie'"},
    {VERSION "/policies/0/query", "'a b'", VERSION "/policies/0/query",
     "must be letters, digits and the characters - . _ ~ [ ] : @ $, found 'a b'"},
    {VERSION "/policies/0/header", "'X Key'", VERSION "/policies/0/header",
     "must be a header name: letters, digits, '-' and the like, without spaces and ':', found 'X Key'"},
    {VERSION "/policies/0/header", "'Host'", VERSION "/policies/0/header",
     "must not be a header that frames the message or belongs to one connection, found 'Host'"},
    {VERSION "/policies/1/request/0/name", "'content-length'", VERSION "/policies/1/request/0/name",
     "must not be a header that frames the message or belongs to one connection, found 'content-length'"},
    {VERSION "/policies/1/request/0/name", "'Transfer-Encoding'", VERSION "/policies/1/request/0/name",
     "must not be a header that frames the message or belongs to one connection, found 'Transfer-Encoding'"},
    {VERSION "/policies/1/request/0/name", "'X-Forwarded-For'", VERSION "/policies/1/request/0/name",
     "must not be a header that the gateway writes itself, found 'X-Forwarded-For'"},
    {VERSION "/policies/1/request/0/name", "'X_Team'", VERSION "/policies/1/request/0/name",
     "must not have '_', which many servers take for '-', found 'X_Team'"},
    {VERSION "/policies/1/request/0/value", "'a\\r\\nB: c'", VERSION "/policies/1/request/0/value",
     "must have no line breaks and no control characters, found 'a\\x0D\\x0AB: c'"},
    {VERSION "/policies/1/request/0/value", "' a'", VERSION "/policies/1/request/0/value",
     "must not begin or end with a space or tab, found ' a'"},
    {VERSION "/policies/1/request/0/value", "", VERSION "/policies/1/request/0",
     "member 'value' is required when op is 'set'"},
    {VERSION "/policies/1/request/0/op", "'delete'", VERSION "/policies/1/request/0/value",
     "must be left out when op is 'delete'"},
    {VERSION "/policies/1/request/0/op", "'replace'", VERSION "/policies/1/request/0/op",
     "must be 'set', 'add', 'push' or 'delete', found 'replace'"},
    {VERSION "/policies/2/addresses", "[]", VERSION "/policies/2/addresses", "must have at least 1 item, found 0"},
    {VERSION "/policies/2/addresses/0", "'300.0.0.1'", VERSION "/policies/2/addresses/0",
     "must be an address or a block such as 10.0.0.0/8 or 2001:db8::/32, found '300.0.0.1'"},
    {VERSION "/policies/2/addresses/1", "'127.0.0.0/8'", VERSION "/policies/2/addresses/1",
     "must be unique, but '127.0.0.0/8' stands in item 0 already"},
    {VERSION "/policies/2/mode", "", VERSION "/policies/2", "member 'mode' is required"},
    {VERSION "/policies/3/allow_origins/0", "'app.example'", VERSION "/policies/3/allow_origins/0",
     "must be '*' or an origin such as https://app.example.com, found 'app.example'"},
    {VERSION "/policies/3/allow_origins/0", "'https://app.example/'", VERSION "/policies/3/allow_origins/0",
     "must be an origin, which has no path and no '/' at its end, found 'https://app.example/'"},
    {VERSION "/policies/3/allow_origins/0", "'*'", VERSION "/policies/3/allow_origins/0",
     "must be an origin when allow_credentials is true, found '*'"},
    {VERSION "/policies/3/allow_origins/1", "'*'", VERSION "/policies/3/allow_origins/1",
     "must be the only item when it is '*'"},
    {VERSION "/policies/3/max_age_s", "86401", VERSION "/policies/3/max_age_s",
     "must be between 0 and 86400, found 86401"},
    {VERSION "/policies/4", "{'type':'compression','algorithms':['deflate']}", VERSION "/policies/4/algorithms/0",
     "must be 'gzip' or 'br', found 'deflate'"},
    {VERSION "/policies/4", "{'type':'compression','algorithms':['br','br']}", VERSION "/policies/4/algorithms/1",
     "must be unique, but 'br' stands in item 0 already"},
    {VERSION "/policies/4", "{'type':'compression','content_types':['Text/html']}",
     VERSION "/policies/4/content_types/0",
     "must be a media type in lower case such as application/json, text/* or application/*+json, found 'Text/html'"},
    {VERSION "/policies/4", "{'type':'compression','content_types':['*/*']}", VERSION "/policies/4/content_types/0",
     "must be a media type in lower case such as application/json, text/* or application/*+json, found '*/*'"},
    {VERSION "/policies/4", "{'type':'compression','level':10}", VERSION "/policies/4/level",
     "must be between 1 and 9, found 10"},
    {"/products/0/versions/1/policies/2", "{'type':'compression'}", "/products/0/versions/1/policies/2",
     "must be the only policy 'compression' of the version"},
    OK(VERSION "/policies/4", "{'type':'compression'}"),
    OK(VERSION "/policies/4", "{'type':'compression','content_types':['application/*+json','a/b','text/*']}"),
    OK(VERSION "/policies/0/header", "'Authorization'"),
    OK(VERSION "/policies/1/response/0", "{'op':'push','name':'Set-Cookie','value':'a=b'}"),
    OK(VERSION "/policies/3", "{'type':'cors','allow_origins':['*']}"),
    OK(VERSION "/policies/3/allow_origins/0", "'http://localhost:3000'"),
    OK(VERSION "/policies/2/addresses/1", "'2001:db8::/32'"),
};

static const struct rule errors[] = {
    {VERSION "/errors/auth_mising", "{'status':403}", VERSION "/errors/auth_mising",
     "unknown reason 'auth_mising', did you mean 'auth_missing'?"},
    {VERSION "/errors/zzz", "{'status':403}", VERSION "/errors/zzz", "unknown reason 'zzz'"},
    {VERSION "/errors/host_unknown", "{'status':403}", VERSION "/errors/host_unknown",
     "must not reword 'host_unknown', which is answered before a version is known"},
    {VERSION "/errors/auth_missing", "{'status':200}", VERSION "/errors/auth_missing/status",
     "must be between 400 and 599, found 200"},
    {VERSION "/errors/auth_missing", "{}", VERSION "/errors/auth_missing", "must have a status or a body"},
    {VERSION "/errors/auth_missing", "{'status':403,'content_type':'text/plain'}",
     VERSION "/errors/auth_missing/content_type", "must come with a body"},
    {VERSION "/errors/auth_missing", "{'body':'x','content_type':'text'}", VERSION "/errors/auth_missing/content_type",
     "must be a media type such as application/json or text/plain; charset=utf-8, found 'text'"},
    {VERSION "/errors/auth_missing", "{'body':'x','content_type':'text/plain\\r\\nA: b'}",
     VERSION "/errors/auth_missing/content_type",
     "must be a media type such as application/json or text/plain; charset=utf-8, found 'text/plain\\x0D\\x0AA: b'"},
    {VERSION "/errors/auth_missing", "{'reason':'x'}", VERSION "/errors/auth_missing/reason",
     "unknown member 'reason'"},
    OK(VERSION "/errors/auth_missing", "{'body':'no key\\r\\n'}"),
    OK(VERSION "/errors/backend_timeout", "{'status':503,'body':'{}','content_type':'application/json; v=1'}"),
};

static const struct rule plans[] = {
#define PLAN "/products/0/plans/0"
    {PLAN "/limits/0/metric", "'byte'", PLAN "/limits/0/metric",
     "no metric 'byte' in this product, did you mean 'bytes'?"},
    {PLAN "/limits/0/period", "'second'", PLAN "/limits/0/period",
     "must be 'minute', 'hour', 'day', 'week', 'month', 'year' or 'eternity', found 'second'"},
    {PLAN "/limits/0/value", "-1", PLAN "/limits/0/value", "must be between 0 and 1000000000000, found -1"},
    {PLAN "/limits/2", "{'period':'minute','value':1}", PLAN "/limits/2",
     "must be unique, but a limit of 'hits' per minute stands in item 0 already"},
    {PLAN "/rate_limits/0/rate", "0", PLAN "/rate_limits/0/rate", "must be between 1 and 1000000000000, found 0"},
    {PLAN "/rate_limits/0/burst", "-1", PLAN "/rate_limits/0/burst", "must be between 1 and 1000000000000, found -1"},
    {PLAN "/rate_limits/0/per", "'week'", PLAN "/rate_limits/0/per",
     "must be 'second', 'minute', 'hour' or 'day', found 'week'"},
    {PLAN "/rate_limits/1", "{'rate':1}", PLAN "/rate_limits/1",
     "must be unique, but a rate limit of 'hits' per second stands in item 0 already"},
    {PLAN "/rate_limits/0/metric", "'x'", PLAN "/rate_limits/0/metric", "no metric 'x' in this product"},
    OK(PLAN "/rate_limits/1", "{'rate':1,'per':'minute'}"),
    OK(PLAN "/limits/2", "{'period':'hour','value':1}"),
};

static const struct rule applications[] = {
#define APPLICATION "/applications/0"
    {APPLICATION "/subscriptions/0/product", "'order'", APPLICATION "/subscriptions/0/product",
     "no product 'order', did you mean 'orders'?"},
    {APPLICATION "/subscriptions/0/plan", "'basik'", APPLICATION "/subscriptions/0/plan",
     "no plan of product 'orders' named 'basik', did you mean 'basic'?"},
    {APPLICATION "/subscriptions/1/product", "'orders'", APPLICATION "/subscriptions/1/product",
     "must be unique, but 'orders' stands in item 0 already"},
    {APPLICATION "/subscriptions/0/plan", "", APPLICATION "/subscriptions/0", "member 'plan' is required"},
    {APPLICATION "/state", "'off'", APPLICATION "/state", "must be 'active' or 'suspended', found 'off'"},
    {APPLICATION "/credentials/0/type", "'jwt'", APPLICATION "/credentials/0/type",
     "must be 'api_key' or 'client_certificate', found 'jwt'"},
    {APPLICATION "/credentials/0/key", "'a b'", APPLICATION "/credentials/0/key",
     "must be visible ASCII characters without spaces"},
    {APPLICATION "/credentials/0/key", "17", APPLICATION "/credentials/0/key", "must be a string, found integer"},
    {APPLICATION "/credentials/1/key", "'k-1'", APPLICATION "/credentials/1/key",
     "must be unique in the tenant, but application 'mobile' has the same key"},
    {APPLICATION "/credentials/0/digest", "'00'", APPLICATION "/credentials/0/digest", "unknown member 'digest'"},
    OK(APPLICATION "/credentials/0/key", ""),
    OK(APPLICATION "/credentials/0/id", "7"),
    OK(APPLICATION "/credentials/0/created_at", "'2026-11-01T12:00:00Z'"),
};

static void check(const struct rule *rules, size_t n)
{
    struct dm_json *good = fixture_json(fixture_file);

    for (size_t i = 0; i < n; i++) {
        struct dm_json *changed = fixture_with(good, rules[i].at, rules[i].value);
        struct dm_tenant_file file;
        struct dm_errs errs = {0};
        struct dm_arena arena;
        int rc;

        dm_arena_init(&arena, NULL, 1 << 20);
        rc = dm_model_read(&dm_schema_tenant_file, changed, &arena, &file, &errs);
        if (!rules[i].message && !rules[i].pointer && rc < 0)
            fail_msg("%s = %s: %s: %s", rules[i].at, rules[i].value, errs.items[0].pointer, errs.items[0].message);
        if (rules[i].message) {
            if (rc == 0)
                fail_msg("%s = %s was accepted", rules[i].at, rules[i].value);
            assert_string_equal(errs.items[0].pointer, rules[i].pointer);
            assert_string_equal(errs.items[0].message, rules[i].message);
        }
        dm_arena_done(&arena);
        dm_json_free(changed);
    }
    dm_json_free(good);
}

#define TEST(table)                                                                                                    \
    static void holds_##table(void **state)                                                                            \
    {                                                                                                                  \
        check(table, DM_COUNT(table));                                                                                 \
    }
TEST(shapes)
TEST(names)
TEST(grants)
TEST(backends)
TEST(products)
TEST(mapping_rules)
TEST(policies)
TEST(errors)
TEST(plans)
TEST(applications)

/* Two products on one domain may not have versions at one path, but may have them at different ones. */
static void holds_places(void **state)
{
    struct dm_json *good = fixture_json(fixture_file), *shared, *same, *apart;
    struct dm_tenant_file file;
    struct dm_errs errs = {0};
    struct dm_arena arena;

    dm_arena_init(&arena, NULL, 1 << 20);
    shared = fixture_with(good, "/products/1/domains/0", "'orders.localhost'");
    same = fixture_with(shared, "/products/1/versions", "[{'name':'x','path':'/v2','policies':[{'type':'api_key'}]}]");
    apart = fixture_with(same, "/products/1/versions/0/path", "'/v3'");
    assert_int_equal(dm_model_read(&dm_schema_tenant_file, shared, &arena, &file, NULL), DM_EINVAL);
    assert_int_equal(dm_model_read(&dm_schema_tenant_file, apart, &arena, &file, NULL), 0);
    assert_int_equal(dm_model_read(&dm_schema_tenant_file, same, &arena, &file, &errs), DM_EINVAL);
    assert_string_equal(errs.items[0].pointer, "/products/1/domains/0");
    assert_string_equal(errs.items[0].message,
                        "must not be shared at one path, but product 'orders' has a version at '/v2' there too");
    dm_arena_done(&arena);
    dm_json_free(apart);
    dm_json_free(same);
    dm_json_free(shared);
    dm_json_free(good);
}

/* What the grants forbid has a code of its own. */
static void tells_forbidden_from_invalid(void **state)
{
    struct dm_json *good = fixture_json(fixture_file);
    struct dm_json *changed = fixture_with(good, "/products/0/domains/0", "'other.example'");
    struct dm_tenant_file file;
    struct dm_errs errs = {0};
    struct dm_arena arena;

    dm_arena_init(&arena, NULL, 1 << 20);
    assert_int_equal(dm_model_read(&dm_schema_tenant_file, changed, &arena, &file, &errs), DM_EPERM);
    dm_arena_done(&arena);
    dm_json_free(changed);
    dm_json_free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_shapes),   cmocka_unit_test(holds_names),
        cmocka_unit_test(holds_grants),   cmocka_unit_test(holds_backends),
        cmocka_unit_test(holds_products), cmocka_unit_test(holds_mapping_rules),
        cmocka_unit_test(holds_policies), cmocka_unit_test(holds_errors),
        cmocka_unit_test(holds_plans),    cmocka_unit_test(holds_applications),
        cmocka_unit_test(holds_places),   cmocka_unit_test(tells_forbidden_from_invalid),
    };

    return cmocka_run_group_tests_name("model/rules", tests, fixture_crypto, NULL);
}

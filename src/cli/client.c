#include <curl/curl.h>

#include "cli/client.h"
#include "base/mem.h"

struct dm_client {
    CURL *curl;
    char *server, *token, *ca_file;
    uint32_t timeout_ms;
};

static char *copy(const char *s)
{
    return s ? dm_strdup(dm_str_of(s)) : NULL;
}

struct dm_client *dm_client_new(const struct dm_client_config *config)
{
    struct dm_client *client = dm_calloc(1, sizeof(*client));

    client->server = copy(config->server);
    client->token = copy(config->token);
    client->ca_file = copy(config->ca_file);
    client->timeout_ms = config->timeout_ms;
    client->curl = curl_easy_init();
    if (!client->curl)
        abort();
    return client;
}

void dm_client_free(struct dm_client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->curl);
    if (client->token)
        dm_mem_wipe(client->token, strlen(client->token));
    dm_free(client->server);
    dm_free(client->token);
    dm_free(client->ca_file);
    dm_free(client);
}

void dm_reply_done(struct dm_reply *reply)
{
    dm_buf_done(&reply->body);
}

/* --- one call ------------------------------------------------------------------------------------------------------
 * */

static size_t on_body(char *ptr, size_t size, size_t n, void *arg)
{
    struct dm_reply *reply = arg;

    dm_buf_add_n(&reply->body, ptr, size * n);
    return reply->body.failed ? 0 : size * n;
}

static size_t on_field(char *ptr, size_t size, size_t n, void *arg)
{
    struct dm_reply *reply = arg;
    struct dm_str line = dm_str_n(ptr, size * n), name = line, value;
    size_t colon = dm_str_find(line, ':');

    name.len = colon;
    value = dm_str_skip(line, colon + 1);
    while (value.len > 0 && (value.ptr[value.len - 1] == '\n' || value.ptr[value.len - 1] == '\r'))
        value.len--;
    value = dm_str_trim(value);
    if (dm_str_ieq(name, DM_STR("etag")))
        snprintf(reply->etag, sizeof(reply->etag), "%.*s", DM_STR_ARG(value));
    return size * n;
}

static struct curl_slist *make_fields(const struct dm_client *client, bool has_body)
{
    struct curl_slist *fields = NULL;
    char line[1024];

    fields = curl_slist_append(fields, "Accept: application/json");
    fields = curl_slist_append(fields, "Expect:");
    if (has_body)
        fields = curl_slist_append(fields, "Content-Type: application/json");
    if (client->token && snprintf(line, sizeof(line), "Authorization: Bearer %s", client->token) < (int)sizeof(line))
        fields = curl_slist_append(fields, line);
    dm_mem_wipe(line, sizeof(line));
    return fields;
}

static void set_up(const struct dm_client *client, const char *method, const char *url, struct dm_str body,
                   uint32_t wait_ms, struct dm_reply *reply)
{
    CURL *curl = client->curl;

    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "daemun/" DM_VERSION);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)client->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)client->timeout_ms + (long)wait_ms);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_field);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, reply);
    if (dm_client_is_local(client->server))
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (client->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_file);
    if (body.ptr) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.ptr);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    }
}

static int fail_curl(const struct dm_client *client, CURLcode code, const char *detail, struct dm_err *err)
{
    if (code == CURLE_OPERATION_TIMEDOUT)
        return dm_fail(err, DM_ETIMEOUT, "", "%s did not answer within %u ms", client->server, client->timeout_ms);
    if (code == CURLE_WRITE_ERROR)
        return dm_fail(err, DM_EIO, "", "%s answered with more than %u MiB", client->server, DM_REPLY_MAX >> 20);
    return dm_fail(err, DM_EIO, "", "%s can't be reached: %s", client->server,
                   detail[0] ? detail : curl_easy_strerror(code));
}

int dm_client_call(struct dm_client *client, const char *method, const char *path, struct dm_str body, uint32_t wait_ms,
                   struct dm_reply *reply, struct dm_err *err)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf url = {0};
    struct curl_slist *fields = make_fields(client, body.ptr != NULL);
    char detail[CURL_ERROR_SIZE] = "";
    CURLcode code;

    dm_buf_init(&url, 1 << 16);
    dm_buf_printf(&url, "%s%s", client->server, path);
    dm_buf_add_char(&url, '\0');
    dm_buf_done(&reply->body);
    dm_buf_init(&reply->body, DM_REPLY_MAX);
    reply->etag[0] = '\0';
    set_up(client, method, url.ptr, body, wait_ms, reply);
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, fields);
    curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, detail);
    code = curl_easy_perform(client->curl);
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(fields);
    return code == CURLE_OK ? 0 : fail_curl(client, code, detail, err);
}

/* --- URLs ----------------------------------------------------------------------------------------------------------
 * */

void dm_client_escape(struct dm_buf *buf, struct dm_str s)
{
    static const char unreserved[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

    for (size_t i = 0; i < s.len; i++) {
        if (memchr(unreserved, s.ptr[i], sizeof(unreserved) - 1))
            dm_buf_add_char(buf, s.ptr[i]);
        else
            dm_buf_printf(buf, "%%%02X", (unsigned char)s.ptr[i]);
    }
}

static char *url_part(CURLU *url, CURLUPart part)
{
    char *ret = NULL;

    return curl_url_get(url, part, &ret, 0) == CURLUE_OK ? ret : NULL;
}

static bool is_plain(CURLU *url)
{
    static const CURLUPart absent[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT};
    char *path = url_part(url, CURLUPART_PATH), *scheme = url_part(url, CURLUPART_SCHEME);
    bool is_ok =
        path && strcmp(path, "/") == 0 && scheme && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);

    for (size_t i = 0; i < DM_COUNT(absent); i++) {
        char *part = url_part(url, absent[i]);

        is_ok = is_ok && !part;
        curl_free(part);
    }
    curl_free(path);
    curl_free(scheme);
    return is_ok;
}

int dm_client_server(struct dm_str text, struct dm_buf *ret, struct dm_err *err)
{
    CURLU *url = curl_url();
    char *copied = dm_strdup(text);
    bool is_ok = url && curl_url_set(url, CURLUPART_URL, copied, 0) == CURLUE_OK && is_plain(url);

    curl_url_cleanup(url);
    dm_free(copied);
    if (!is_ok)
        return dm_fail(err, DM_EINVAL, "",
                       "a server is written as http://HOST:PORT or https://HOST[:PORT], found '%.*s'",
                       DM_STR_ARG(text));
    while (text.len > 0 && text.ptr[text.len - 1] == '/')
        text.len--;
    dm_buf_add(ret, text);
    return ret->failed ? dm_fail(err, DM_EINVAL, "", "the server's address is too long") : 0;
}

bool dm_client_is_local(const char *server)
{
    static const char *const hosts[] = {"127.0.0.1", "[::1]", "localhost"};
    CURLU *url = curl_url();
    char *host = url && curl_url_set(url, CURLUPART_URL, server, 0) == CURLUE_OK ? url_part(url, CURLUPART_HOST) : NULL;
    bool is_local = false;

    for (size_t i = 0; host && i < DM_COUNT(hosts); i++)
        is_local = is_local || strcmp(host, hosts[i]) == 0;
    curl_free(host);
    curl_url_cleanup(url);
    return is_local;
}

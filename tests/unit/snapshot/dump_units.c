/* dump_units DIR: writes compiled sample units, the seeds of fuzz_unit. */
#include "compiled.h"

#include "base/sys.h"

static const char release[] =
    "{\"backends\":[{\"name\":\"b\",\"base_path\":\"/in\",\"protocol\":\"http2\",\"tls\":{\"server_name\":\"b.test\"},\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":80},"
    "{\"host\":\"b.test\",\"port\":81,\"weight\":3},{\"host\":\"2001:db8::1\",\"port\":82}]}],\"products\":[{\"name\":\"p\","
    "\"domains\":[\"p.test\",\"*.p.test\"],\"metrics\":[{\"name\":\"m\",\"parent\":\"hits\"},{\"name\":\"n\"}],\"versions\":[{"
    "\"name\":\"v1\",\"path\":\"/v1\",\"upgrades\":[\"websocket\"],\"policies\":[{\"type\":\"api_key\",\"in\":[\"header\",\"basic\"]},"
    "{\"type\":\"headers\",\"request\":[{\"op\":\"set\",\"name\":\"X-A\",\"value\":\"1\"}],\"response\":[{\"op\":\"delete\","
    "\"name\":\"X-B\"}]},{\"type\":\"ip_check\",\"mode\":\"allow\",\"addresses\":[\"10.0.0.0/8\",\"2001:db8::/32\"]},"
    "{\"type\":\"cors\",\"allow_origins\":[\"https://a.test\"]},{\"type\":\"compression\"}],\"mapping_rules\":["
    "{\"method\":\"GET\",\"pattern\":\"/a/{x}/c$\",\"metric\":\"m\",\"delta\":2},"
    "{\"method\":\"ANY\",\"pattern\":\"/a?k=v&x={y}\",\"metric\":\"n\",\"last\":true},"
    "{\"method\":\"GET\",\"pattern\":\"/\",\"metric\":\"hits\"}],\"backends\":[{\"path\":\"/\",\"backend\":\"b\"}],"
    "\"errors\":{\"auth_missing\":{\"status\":418,\"body\":\"who?\"}}}],\"plans\":[{\"name\":\"basic\",\"limits\":["
    "{\"metric\":\"hits\",\"period\":\"day\",\"value\":5}],\"rate_limits\":[{\"metric\":\"m\",\"rate\":5,\"per\":\"second\"}]}]}]}";
static const char small_release[] = "{\"backends\":[],\"products\":[]}";
static const char applications[] =
    "{\"digest_key_id\":1,\"digest_key\":\"1111111111111111111111111111111111111111111111111111111111111111\","
    "\"applications\":[{\"id\":1,\"name\":\"one\",\"subscriptions\":[{\"product\":\"p\",\"plan\":\"basic\"}],"
    "\"credentials\":[{\"id\":1,\"name\":\"k\",\"type\":\"api_key\","
    "\"digest\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}]},"
    "{\"id\":2,\"name\":\"two\",\"state\":\"suspended\"}]}";
static const char grants[] =
    "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"*.p.test\"},{\"name\":\"p.test\"}],"
    "\"endpoints\":[{\"address\":\"10.1.0.0/16\",\"port\":80,\"port_to\":90},"
    "{\"address\":\"unix:/run/b.sock\",\"port\":0},{\"address\":\"2001:db8::/32\",\"port\":443},{\"address\":\"127.0.0.1\",\"port\":0}]}";

static const char domains[] =
    "{\"key_id\":1,\"domains\":[{\"name\":\"*.p.test\",\"certificate\":\"c\",\"client_certificate\":\"required\","
    "\"client_ca\":\"-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----\\n\",\"hsts_max_age_s\":60},"
    "{\"name\":\"p.test\",\"certificate\":\"\",\"redirect_to_https\":true}],\"certificates\":[{\"name\":\"c\","
    "\"chain\":\"-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----\\n\",\"key_sealed\":\"AAAA\"}]}";

static int dump(const char *dir, const char *name, enum dm_unit_kind kind, const char *body)
{
    struct compiled compiled;
    struct dm_err err = {0};
    char path[512];
    int rc;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    compiled_init(&compiled, kind, body);
    rc = dm_sys_write_file(dm_sys_real(), path, dm_buf_str(&compiled.builder.buf), 0644, false, &err);
    compiled_done(&compiled);
    if (rc < 0)
        fprintf(stderr, "%s\n", err.message);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: dump_units DIR\n");
        return 2;
    }
    return dump(argv[1], "release", DM_UNIT_RELEASE, release) < 0 ||
           dump(argv[1], "empty_release", DM_UNIT_RELEASE, small_release) < 0 ||
           dump(argv[1], "applications", DM_UNIT_APPLICATIONS, applications) < 0 ||
           dump(argv[1], "grants", DM_UNIT_GRANTS, grants) < 0 ||
           dump(argv[1], "domains", DM_UNIT_DOMAINS, domains) < 0;
}

#include <sys/stat.h>

#include "cli/config.h"
#include "cli/cli.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/sys.h"

#define CONFIG_MAX (64u << 10)

static const char *const members[] = {"server", "token", "tenant"};

static char **place_of(struct dm_config *config, size_t i)
{
    return i == 0 ? &config->server : i == 1 ? &config->token : &config->tenant;
}

void dm_config_done(struct dm_config *config)
{
    if (config->token)
        dm_mem_wipe(config->token, strlen(config->token));
    for (size_t i = 0; i < DM_COUNT(members); i++) {
        dm_free(*place_of(config, i));
        *place_of(config, i) = NULL;
    }
}

static int config_dir(const struct dm_cli_world *world, char ret[DM_CONFIG_PATH_MAX], struct dm_err *err)
{
    const char *xdg = world->env("XDG_CONFIG_HOME"), *home = world->env("HOME");
    int n;

    if (xdg && xdg[0] == '/')
        n = snprintf(ret, DM_CONFIG_PATH_MAX - 16, "%s/daemun", xdg);
    else if (home && home[0] != '\0')
        n = snprintf(ret, DM_CONFIG_PATH_MAX - 16, "%s/.config/daemun", home);
    else
        return dm_fail(err, DM_ENOENT, "", "neither HOME nor XDG_CONFIG_HOME says where settings are kept");
    return n < DM_CONFIG_PATH_MAX - 16 ? 0 : dm_fail(err, DM_EINVAL, "", "the path of the home directory is too long");
}

int dm_config_path(const struct dm_cli_world *world, char ret[DM_CONFIG_PATH_MAX], struct dm_err *err)
{
    int rc = config_dir(world, ret, err);

    if (rc < 0)
        return rc;
    snprintf(ret + strlen(ret), 16, "/config.json");
    return 0;
}

static int read_members(const struct dm_json *json, const char *path, struct dm_config *ret, struct dm_err *err)
{
    if (dm_json_type(json) != DM_JSON_OBJECT)
        return dm_fail(err, DM_EINVAL, "", "%s holds no JSON object; sign in again with daemun login", path);
    for (size_t i = 0; i < DM_COUNT(members); i++) {
        const struct dm_json *value = dm_json_get(json, members[i]);

        if (value && dm_json_type(value) == DM_JSON_STRING)
            *place_of(ret, i) = dm_strdup(dm_json_string(value));
    }
    return 0;
}

/* A token that others can read is no secret. */
static int check_mode(const char *path, struct dm_err *err)
{
    struct stat st;

    if (stat(path, &st) == 0 && (st.st_mode & 077) != 0)
        return dm_fail(err, DM_EPERM, "", "%s holds a token and can be read by others; run: chmod 600 %s", path, path);
    return 0;
}

int dm_config_read(const struct dm_cli_world *world, struct dm_config *ret, struct dm_err *err)
{
    static const struct dm_json_limits limits = {CONFIG_MAX, 4};
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_err inner = {0};
    char path[DM_CONFIG_PATH_MAX];
    int rc;

    if (dm_config_path(world, path, &inner) < 0)
        return 0;
    if ((rc = dm_sys_read_file(dm_sys_real(), path, CONFIG_MAX, &text, &inner)) == DM_ENOENT)
        return 0;
    if (rc < 0)
        return dm_fail(err, rc, "", "%s", inner.message);
    if ((rc = check_mode(path, err)) < 0)
        return rc;
    if ((rc = dm_json_parse(dm_buf_str(&text), &limits, &json, &inner)) < 0)
        return dm_fail(err, rc, "", "%s: %s; sign in again with daemun login", path, inner.message);
    return read_members(json, path, ret, err);
}

int dm_config_write(const struct dm_cli_world *world, const struct dm_config *config, struct dm_err *err)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_config copy = *config;
    char path[DM_CONFIG_PATH_MAX];
    struct dm_jsonw w;
    int rc;

    if ((rc = config_dir(world, path, err)) < 0 || (rc = dm_sys_make_dirs(dm_sys_real(), path, 0700, err)) < 0 ||
        (rc = dm_config_path(world, path, err)) < 0)
        return rc;
    dm_buf_init(&text, CONFIG_MAX);
    dm_jsonw_init(&w, &text);
    dm_jsonw_begin_object(&w);
    for (size_t i = 0; i < DM_COUNT(members); i++)
        if (*place_of(&copy, i))
            dm_jsonw_member_cstr(&w, members[i], *place_of(&copy, i));
    dm_jsonw_end_object(&w);
    dm_buf_add_char(&text, '\n');
    return dm_sys_write_file(dm_sys_real(), path, dm_buf_str(&text), 0600, true, err);
}

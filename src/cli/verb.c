#include "cli/verb.h"

const struct dm_verb *const dm_verbs[] = {
    &dm_verb_serve,      &dm_verb_login,
    &dm_verb_get,        &dm_verb_apply,
    &dm_verb_diff,       &dm_verb_export,
    &dm_verb_create,     &dm_verb_delete,
    &dm_verb_status,     &dm_verb_circuit,
    &dm_verb_completion, &dm_verb_version,
    &dm_verb_help,       NULL,
};

static const char *const output_names[] = {"table", "json", "yaml", NULL};

static const struct dm_option globals[] = {
    {"server", 0, "URL",
     "Where the controller's API is (DAEMUN_SERVER; default: where you signed in, or http://127.0.0.1:9080)."},
    {"token-file", 0, "FILE",
     "Take the token from this file, '-' for standard input (else DAEMUN_TOKEN, or where you signed in).",
     .completes = DM_COMPLETES_FILES},
    {"tenant", 't', "NAME", "The tenant to work on (DAEMUN_TENANT; default: the token's own)."},
    {"output", 'o', "FORMAT", "table for people (default), json as the API gives it, or yaml.",
     .choices = output_names},
    {"timeout", 0, "SECONDS", "How long to wait for an answer, and for a change to be live (default: 10)."},
    {"ca-file", 0, "FILE", "Certificates to trust for https (default: the system's).", .completes = DM_COMPLETES_FILES},
    {"quiet", 'q', NULL, "Say nothing but errors and what was asked for."},
    {"help", 'h', NULL, "Explain the verb."},
};

const struct dm_options dm_global_options = DM_OPTIONS(globals);

const struct dm_verb *dm_verb_find(const char *name)
{
    for (size_t i = 0; dm_verbs[i]; i++)
        if (strcmp(dm_verbs[i]->name, name) == 0)
            return dm_verbs[i];
    return NULL;
}

const char *dm_verb_near(const char *name)
{
    const char *names[DM_COUNT(dm_verbs)];

    for (size_t i = 0; i < DM_COUNT(names); i++)
        names[i] = dm_verbs[i] ? dm_verbs[i]->name : NULL;
    return dm_option_near(names, name);
}

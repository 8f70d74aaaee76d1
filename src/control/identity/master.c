#include "control/identity/master.h"
#include "control/identity/authenticate.h"
#include "control/store/tokens.h"
#include "base/mem.h"
#include "model/token.h"

#define ARENA_BYTES (1u << 20)

/* The file is written before the commit: a token that nobody was shown must not be the only one. */
static int show(struct dm_sys *sys, const char *text, const char *path, struct dm_err *err)
{
    char line[DM_TOKEN_TEXT_BYTES + 1];
    int len = snprintf(line, sizeof(line), "%s\n", text);

    if (path != NULL)
        return dm_sys_write_file(sys, path, dm_str_n(line, (size_t)len), 0600, true, err);
    printf("The master token, shown this once:\n\n    %s\n\n", text);
    fflush(stdout);
    return 0;
}

static int make(struct dm_txn *txn, const struct dm_keyring *keyring, char ret_text[DM_TOKEN_TEXT_BYTES],
                struct dm_err *err)
{
    struct dm_caller caller = DM_CALLER_SYSTEM;
    struct dm_token_row row = {.role = dm_str_of(dm_role_names[DM_ROLE_MASTER_ADMIN]), .name = DM_STR("master")};

    dm_authenticate_make(keyring, ret_text, row.digest);
    return dm_tokens_add(txn, &caller, NULL, &row, err);
}

static int ensure(struct dm_store *store, struct dm_arena *arena, const struct dm_keyring *keyring, struct dm_sys *sys,
                  const char *path, struct dm_err *err)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    char text[DM_TOKEN_TEXT_BYTES];
    bool is_there;
    int rc = dm_txn_begin(store, DM_TXN_WRITE, arena, &txn, err);

    if (rc < 0 || (rc = dm_tokens_any(txn, &is_there, err)) < 0 || is_there)
        return rc;
    if ((rc = make(txn, keyring, text, err)) >= 0 && (rc = show(sys, text, path, err)) >= 0)
        rc = dm_txn_commit(&txn, err);
    dm_mem_wipe(text, sizeof(text));
    return rc;
}

int dm_master_ensure(struct dm_store *store, const struct dm_keyring *keyring, struct dm_sys *sys, const char *path,
                     struct dm_err *err)
{
    struct dm_arena arena;
    int rc;

    dm_arena_init(&arena, NULL, ARENA_BYTES);
    rc = ensure(store, &arena, keyring, sys, path, err);
    dm_arena_done(&arena);
    return rc;
}

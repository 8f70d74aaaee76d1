#include "tls_rig.h"

struct pki_identity *root, *middle, *leaf, *rsa_leaf, *client_root, *client_leaf, *client_expired, *client_stranger;
struct fake_clock fake;
struct dm_loop *loop;
struct dm_tls_acceptor *acceptor;
struct dm_tls_profile *profile;
struct dm_tls_profile_settings settings;
struct conn *conn;
struct tls_peer peer;
char selected_name[256];
unsigned n_selected, n_put_off;
void (*on_select)(struct dm_stream *stream);
uint64_t wall_ns;

static uint64_t test_wall_ns(struct dm_sys *sys)
{
    return wall_ns;
}

struct dm_tls_profile *select_profile(void *arg, struct dm_stream *stream, struct dm_str server_name)
{
    assert_ptr_equal(arg, &profile);
    assert_ptr_equal(stream, &conn->stream);
    n_selected++;
    snprintf(selected_name, sizeof(selected_name), "%.*s", DM_STR_ARG(server_name));
    if (on_select)
        on_select(stream);
    if (n_put_off > 0) {
        n_put_off--;
        return dm_tls_later;
    }
    if (dm_str_eq(server_name, DM_STR("full.example")))
        return dm_tls_refused;
    if (dm_str_eq(server_name, DM_STR("busy.example")))
        return dm_tls_too_many;
    return dm_str_eq(server_name, DM_STR("unknown.example")) ? NULL : profile;
}

static void make_client_identities(void)
{
    struct pki_spec spec = {.subject = "Client, one", .is_client = true};

    client_root = pki_make(&(struct pki_spec){.subject = "Clients", .is_ca = true}, NULL);
    client_leaf = pki_make(&spec, client_root);
    client_stranger = pki_make(&spec, root);
    spec.not_after_s = NOW_S - 1;
    client_expired = pki_make(&spec, client_root);
}

int make_identities(void **state)
{
    struct pki_spec spec = {.subject = "Server", .names = "DNS:api.example,DNS:*.shop.example"};

    root = pki_make(&(struct pki_spec){.subject = "Root", .is_ca = true}, NULL);
    middle = pki_make(&(struct pki_spec){.subject = "Middle", .is_ca = true}, root);
    leaf = pki_make(&spec, middle);
    spec.key = PKI_RSA2048;
    rsa_leaf = pki_make(&spec, middle);
    make_client_identities();
    return 0;
}

int free_identities(void **state)
{
    struct pki_identity *const all[] = {root,        middle,      leaf,           rsa_leaf,
                                        client_root, client_leaf, client_expired, client_stranger};

    for (size_t i = 0; i < DM_COUNT(all); i++)
        pki_free(all[i]);
    return 0;
}

void renew_profile(void)
{
    struct dm_err err = {0};

    dm_tls_profile_unref(profile);
    if (dm_tls_profile_new(&settings, &profile, &err) < 0)
        fail_msg("no profile: %s", err.message);
}

int setup(void **state)
{
    fake_clock_init(&fake);
    fake.ops.wall_ns = test_wall_ns;
    wall_ns = (uint64_t)NOW_S * 1000000000u;
    loop = dm_loop_new(&fake.sys);
    settings =
        (struct dm_tls_profile_settings){.chain_pem = leaf->chain_pem, .key_pem = leaf->key_pem, .scope = "scope one"};
    renew_profile();
    acceptor = dm_tls_acceptor_new(select_profile, &profile);
    tls_peer_init(&peer, TLS_client_method(), root);
    n_selected = n_put_off = 0;
    on_select = NULL;
    return 0;
}

void turn_until_quiet(void)
{
    while (dm_loop_turn(loop, 0) > 0)
        ;
}

void end_conn(void)
{
    if (!conn)
        return;
    dm_stream_close(&conn->stream);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    dm_free(conn);
    conn = NULL;
    tls_peer_close(&peer);
}

int teardown(void **state)
{
    end_conn();
    tls_peer_done(&peer);
    dm_tls_profile_unref(profile);
    profile = NULL;
    dm_tls_acceptor_free(acceptor);
    dm_loop_free(loop);
    return 0;
}

int open_pair(void)
{
    int fds[2];

    end_conn();
    conn = conn_new(1 << 20);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(dm_stream_open(&conn->stream, loop, &conn_type, fds[0]), 0);
    return fds[1];
}

int accept_raw(void)
{
    int fd = open_pair();

    dm_tls_serve(&conn->stream, acceptor);
    return fd;
}

int shake(const char *server_name)
{
    int rc = 0;

    tls_peer_open(&peer, accept_raw(), server_name);
    SSL_set_connect_state(peer.ssl);
    while ((rc = tls_peer_shake(&peer)) == 0)
        turn_until_quiet();
    turn_until_quiet();
    return rc;
}

void exchange(const char *text)
{
    size_t len = strlen(text), before = conn->n_seen;
    char got[256];
    int end;

    conn->echoes = true;
    assert_int_equal(SSL_write(peer.ssl, text, (int)len), len);
    turn_until_quiet();
    assert_int_equal(conn->n_seen - before, len);
    assert_memory_equal(conn->seen + before, text, len);
    assert_int_equal(tls_peer_read(&peer, got, sizeof(got), &end), len);
    assert_memory_equal(got, text, len);
    assert_int_equal(end, 0);
}

struct dm_tls_info info_now(void)
{
    struct dm_tls_info info;

    assert_true(dm_tls_info(&conn->stream, &info));
    return info;
}

void refused(int rc, int alert, enum dm_tls_reason reason)
{
    if (rc != -alert || conn->reason != reason || conn->error != DM_ETLS)
        fail_msg("alert %d reason %s error %d, expected %d %s", -rc, dm_tls_reason_name(conn->reason), conn->error,
                 alert, dm_tls_reason_name(reason));
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(conn->n_connect, 0);
}

void forget_session(void)
{
    SSL_SESSION_free(peer.session);
    peer.session = NULL;
}

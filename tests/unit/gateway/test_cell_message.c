#include "gateway/cell_message.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "io/handover.h"

static struct dm_cell_message relayed(void)
{
    struct dm_cell_message message = {.kind = DM_CELL_RELAYED,
                                      .listener = DM_STR("0.0.0.0:8443"),
                                      .is_tls = true,
                                      .is_http2 = true,
                                      .has_certificate = true,
                                      .client_policy = {1, 2, 3},
                                      .fingerprint = DM_STR("ab01"),
                                      .subject = DM_STR("CN=app,O=Partner")};

    assert_int_equal(dm_addr_parse(DM_STR("[2001:db8::1]:443"), &message.peer, NULL), 0);
    return message;
}

static struct dm_str written(const struct dm_cell_message *message, char bytes[DM_HANDOVER_MESSAGE_MAX])
{
    struct dm_buf out;

    dm_buf_init_fixed(&out, bytes, DM_HANDOVER_MESSAGE_MAX);
    dm_cell_message_write(message, &out);
    assert_false(out.failed);
    return dm_buf_str(&out);
}

static void reads_what_it_wrote(void **state)
{
    static const char *const peers[] = {"192.0.2.7:1234", "[2001:db8::1]:1", "unix:/run/front.sock"};
    char bytes[DM_HANDOVER_MESSAGE_MAX];

    for (size_t i = 0; i < DM_COUNT(peers); i++) {
        struct dm_cell_message message = {.kind = DM_CELL_DIRECT, .listener = DM_STR("unix:/x")}, ret;
        assert_int_equal(dm_addr_parse(dm_str_of(peers[i]), &message.peer, NULL), 0);
        assert_int_equal(dm_cell_message_read(written(&message, bytes), &ret), 0);
        assert_int_equal(ret.kind, DM_CELL_DIRECT);
        assert_true(dm_str_eq(ret.listener, message.listener));
        assert_int_equal(ret.peer.ss.ss_family, message.peer.ss.ss_family);
        assert_true(i == 2 || dm_addr_eq(&ret.peer, &message.peer));
        assert_false(ret.is_tls);
    }
}

static void says_what_tls_made_sure_of(void **state)
{
    struct dm_cell_message message = relayed(), ret;
    char bytes[DM_HANDOVER_MESSAGE_MAX];

    assert_int_equal(dm_cell_message_read(written(&message, bytes), &ret), 0);
    assert_true(ret.is_tls && ret.is_http2 && ret.has_certificate && !ret.is_tls_1_3);
    assert_memory_equal(ret.client_policy, message.client_policy, sizeof(ret.client_policy));
    assert_true(dm_str_eq(ret.fingerprint, message.fingerprint));
    assert_true(dm_str_eq(ret.subject, message.subject));
}

/* Cut, longer, or with any other byte in its head. */
static void refuses_all_else(void **state)
{
    struct dm_cell_message message = relayed(), ret;
    char bytes[DM_HANDOVER_MESSAGE_MAX + 1] = "", kept;
    struct dm_str whole = written(&message, bytes);

    for (size_t n = 0; n < whole.len; n++)
        assert_int_equal(dm_cell_message_read(dm_str_n(bytes, n), &ret), DM_ECORRUPT);
    assert_int_equal(dm_cell_message_read(dm_str_n(bytes, whole.len + 1), &ret), DM_ECORRUPT);
    for (size_t at = 0; at < 8; at++) {
        kept = bytes[at];
        for (int value = 0; value < 256; value++) {
            bytes[at] = (char)value;
            if (bytes[at] == kept || (at == 2 && (value & 0xf9) == 9))
                continue; /* other flags of TLS are another message, and a good one */
            assert_int_equal(dm_cell_message_read(whole, &ret), DM_ECORRUPT);
        }
        bytes[at] = kept;
    }
    assert_int_equal(dm_cell_message_read(whole, &ret), 0);
}

static void refuses_what_contradicts_itself(void **state)
{
    char bytes[DM_HANDOVER_MESSAGE_MAX];
    struct dm_cell_message message, ret;

    message = relayed();
    message.kind = DM_CELL_DIRECT;
    assert_int_equal(dm_cell_message_read(written(&message, bytes), &ret), DM_ECORRUPT);
    message = relayed();
    message.is_tls = false;
    assert_int_equal(dm_cell_message_read(written(&message, bytes), &ret), DM_ECORRUPT);
    message = relayed();
    message.has_certificate = false;
    assert_int_equal(dm_cell_message_read(written(&message, bytes), &ret), DM_ECORRUPT);
    message = relayed();
    message.fingerprint = DM_STR("");
    assert_int_equal(dm_cell_message_read(written(&message, bytes), &ret), DM_ECORRUPT);
    message = relayed();
    message.listener = DM_STR("");
    assert_int_equal(dm_cell_message_read(written(&message, bytes), &ret), DM_ECORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_wrote),
        cmocka_unit_test(says_what_tls_made_sure_of),
        cmocka_unit_test(refuses_all_else),
        cmocka_unit_test(refuses_what_contradicts_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

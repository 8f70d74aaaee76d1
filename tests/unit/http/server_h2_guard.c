#include "server_h2_guard.h"

int guard_setup(void **state)
{
    h2_setup(state);
    h2.is_quiet = true;
    return 0;
}

const struct dm_http2_counters *counters(void)
{
    return dm_http_server_http2_counters(rig.server);
}

void check_ended_with(int code)
{
    char word[16];
    struct dm_buf text;

    h2_run();
    dm_buf_init_fixed(&text, word, sizeof(word));
    dm_buf_printf(&text, "G%d", code);
    if (!dm_str_ends(dm_buf_str(&h2.seen), dm_buf_str(&text)))
        check_text(&h2.seen, "(ends with GOAWAY)", __FILE__, __LINE__);
    assert_true(rig.is_ended);
    rig_pass_ms(3000);
    assert_int_equal(dm_http_server_connections(rig.server), 0);
}

void check_served(void)
{
    dm_buf_reset(&h2.seen);
    dm_buf_reset(&rig.heard);
    rig.script = (struct script){.on_request_end = hello_at_end};
    h2_reconnect();
    h2_get();
    check_seen("H1:200 E1");
    check_heard("R E D");
}

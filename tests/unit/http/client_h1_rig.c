#include "client_h1_rig.h"

const struct dm_http_message get = {.method = {"GET", 3}, .target = {"/", 1}, .host = {"b", 1}};

int h1_setup(void **state)
{
    rig_start(false);
    return 0;
}

int h1_teardown(void **state)
{
    rig_stop();
    return 0;
}

void connect_call(void)
{
    connect_peer();
    open_call(0);
}

void send_message(const struct dm_http_message *m)
{
    dm_http_call_send(rig.calls[0], m);
    if (m->framing == DM_HTTP_FRAMING_NONE)
        dm_http_call_end(rig.calls[0], DM_STR_NULL);
    pass_ms(2);
}

void begin_get(void)
{
    connect_peer();
    send_call(0, &get);
    accept_peer();
    pass_ms(2);
}

void get_again(void)
{
    send_call(0, &get);
    pass_ms(2);
}

void answer_n(const char *ptr, size_t len)
{
    assert_int_equal(rig.backend_sys->ops->send(rig.backend_sys, rig.fd, ptr, len), len);
    pass_ms(2);
}

void answer(const char *text)
{
    answer_n(text, strlen(text));
}

void receive(size_t max)
{
    char buf[10000];
    ssize_t n = 1;

    while (n > 0 && max > 0) {
        n = rig.backend_sys->ops->recv(rig.backend_sys, rig.fd, buf, DM_MIN(max, sizeof(buf)));
        if (n > 0) {
            dm_buf_add_n(&rig.got, buf, (size_t)n);
            max -= (size_t)n;
        }
    }
}

void check_backend_at_end(void)
{
    char c;

    assert_int_equal(rig.backend_sys->ops->recv(rig.backend_sys, rig.fd, &c, 1), 0);
}

void close_backend(void)
{
    receive(SIZE_MAX);
    close_fd();
}

/* daemun serve: the controller and the gateway as two supervised processes.
 *
 *   starting --[both answer]--> ready --[SIGTERM, SIGINT, SIGHUP]--> stopping: the gateway ends --> the controller ends
 *   starting --[a process ends that never answered]--> stopping, and the exit code says so
 *
 * V1. When this process dies, both serve on; the next `daemun serve` on the same data directory adopts them.
 *   ready --[SIGUSR2]--> upgrading: the gateway becomes its next program, the controller is started again
 *         --[both answer]--> this process becomes its next program, which adopts both (V1)
 *
 * V2. What was adopted is left running when the start fails. */
#include <limits.h>
#include <signal.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/serve_int.h"
#include "cli/verb.h"

#define NS_PER_MS 1000000u

enum { LOOK_MS = 25, ANSWER_MS = 500, HEAD_START_MS = 1000, PATIENCE_MS = 15000 };

/* --- are they ready? ---------------------------------------------------------------------------------------------- */

/* A wildcard address is asked at its loopback. */
static void url_of(const char *scheme, const char *address, char *ret, size_t max)
{
    struct dm_str text = dm_str_of(address);

    if (dm_str_starts(text, DM_STR("0.0.0.0:")))
        snprintf(ret, max, "%s://127.0.0.1%s", scheme, address + 7);
    else if (dm_str_starts(text, DM_STR("[::]:")))
        snprintf(ret, max, "%s://[::1]%s", scheme, address + 4);
    else
        snprintf(ret, max, "%s://%s", scheme, address);
}

static bool answers(const char *address)
{
    DM_CLEANUP(dm_reply_done) struct dm_reply reply = {0};
    char url[DM_ADDR_TEXT_MAX + 16];
    struct dm_client *client;
    int rc;

    url_of("http", address, url, sizeof(url));
    client = dm_client_new(&(struct dm_client_config){.server = url, .timeout_ms = ANSWER_MS});
    rc = dm_client_call(client, "GET", "/healthz", DM_STR_NULL, 0, &reply, NULL);
    dm_client_free(client);
    return rc >= 0 && reply.status == 200;
}

static void look_at(struct dm_child *child, const char *address)
{
    if (child->is_ready || child->process.state != DM_PROCESS_RUNNING || !answers(address))
        return;
    child->is_ready = child->was_ready = true;
}

/* All that the living gateway was told to listen on. */
static void tell_gates(const struct serve *s)
{
    struct dm_listener_spec specs[DM_LISTENERS_MAX];
    size_t n = dm_serve_gates(s, specs);
    char url[DM_ADDR_TEXT_MAX + 16];

    for (size_t i = 0; i < n; i++) {
        if (specs[i].addr.ss.ss_family == AF_UNIX)
            snprintf(url, sizeof(url), "%s", specs[i].name);
        else
            url_of(specs[i].is_tls ? "https" : "http", specs[i].name, url, sizeof(url));
        dm_cli_say(s->cli, i == 0 ? "  gateway  %s   what callers use" : "           %s", url);
    }
}

static void tell_ready(struct serve *s)
{
    char api[DM_ADDR_TEXT_MAX + 16], admin[DM_ADDR_TEXT_MAX + 16];
    const struct dm_cli *cli = s->cli;

    url_of("http", s->api, api, sizeof(api));
    url_of("http", s->admin, admin, sizeof(admin));
    dm_cli_say(cli, "Daemun is ready.");
    tell_gates(s);
    dm_cli_say(cli, "  API      %s   sign in: daemun login%s%s", api,
               strcmp(s->api, DM_SERVE_API_DEFAULT) == 0 ? "" : " --server ",
               strcmp(s->api, DM_SERVE_API_DEFAULT) == 0 ? "" : api);
    dm_cli_say(cli, "  metrics  %s/metrics and %s/metrics", admin, api);
    dm_cli_say(cli, "  data     %s", s->data);
    dm_cli_say(cli, "Ctrl-C stops it.");
    fflush(cli->world->out);
}

static void complain(struct serve *s)
{
    s->is_impatient = true;
    for (struct dm_child *child = &s->controller; child; child = child == &s->controller ? &s->gateway : NULL)
        if (!child->is_ready)
            fprintf(s->cli->world->err, "daemun: %s has not answered on http://%s/healthz for %d s; still waiting\n",
                    child->name, child == &s->controller ? s->api : s->admin, PATIENCE_MS / 1000);
}

static uint64_t waited_ms(const struct serve *s)
{
    return (dm_loop_now_ns(s->loop) - s->waits_since_ns) / NS_PER_MS;
}

/* The controller gets a head start, so that the gateway finds it; a slow one is not waited for. */
static void start_gateway(struct serve *s)
{
    if (s->gateway.process.state == DM_PROCESS_IDLE && (s->controller.is_ready || waited_ms(s) >= HEAD_START_MS))
        dm_process_start(&s->gateway.process);
}

/* All descriptors close with it, and with them the lock; what serves goes on serving. */
static void become_next(struct serve *s)
{
    char *const *argv = s->cli->world->argv;

    s->is_upgrading = false;
    fflush(NULL);
    execvp(argv[0], argv);
    fprintf(s->cli->world->err, "daemun: %s can't be run: %s; this program goes on\n", argv[0], strerror(errno));
}

static void on_look(struct dm_timer *timer)
{
    struct serve *s = DM_CONTAINER_OF(timer, struct serve, look);

    if (s->is_stopping)
        return;
    look_at(&s->controller, s->api);
    start_gateway(s);
    look_at(&s->gateway, s->admin);
    if (s->controller.is_ready && s->gateway.is_ready) {
        if (!s->is_ready)
            tell_ready(s);
        s->is_ready = true;
        if (s->is_upgrading)
            become_next(s);
        return;
    }
    if (!s->is_impatient && waited_ms(s) >= PATIENCE_MS)
        complain(s);
    dm_timer_arm(s->loop, &s->look, LOOK_MS);
}

static void begin_waiting(struct serve *s)
{
    s->waits_since_ns = dm_loop_now_ns(s->loop);
    s->is_impatient = false;
    s->look.on_due = on_look;
    dm_timer_arm(s->loop, &s->look, LOOK_MS);
}

/* --- stopping ----------------------------------------------------------------------------------------------------- */

static bool is_ours(const struct serve *s, const struct dm_child *child)
{
    return !(s->exit_code != DM_EXIT_OK && child->process.is_adopted);
}

/* The gateway first: what it counted goes to the controller. */
static void stop_next(struct serve *s)
{
    struct dm_child *const order[] = {&s->gateway, &s->controller};

    for (size_t i = 0; i < DM_COUNT(order); i++) {
        struct dm_process *process = &order[i]->process;

        if (process->state == DM_PROCESS_IDLE)
            continue;
        if (!is_ours(s, order[i])) {
            dm_process_release(process);
            continue;
        }
        if (process->state != DM_PROCESS_STOPPING)
            dm_process_stop(process);
        if (process->state != DM_PROCESS_IDLE)
            return;
    }
    dm_loop_stop(s->loop);
}

static void begin_stop(struct serve *s)
{
    s->is_stopping = true;
    dm_timer_cancel(s->loop, &s->look);
    stop_next(s);
}

/* The controller is away for a moment; traffic does not need it. */
static void begin_upgrade(struct serve *s)
{
    if (!s->is_ready || !s->cli->world->argv) {
        fprintf(s->cli->world->err, "daemun: not ready for an upgrade yet; ask again\n");
        return;
    }
    dm_cli_say(s->cli, "Upgrading: new programs take over.");
    s->is_upgrading = true;
    s->controller.is_ready = s->gateway.is_ready = false;
    (void)dm_process_signal(&s->gateway.process, SIGUSR2);
    dm_process_restart(&s->controller.process);
    begin_waiting(s);
}

static void on_signal(struct dm_signals *signals, int signo)
{
    struct serve *s = DM_CONTAINER_OF(signals, struct serve, signals);

    if (signo == SIGUSR2) {
        if (!s->is_stopping && !s->is_upgrading)
            begin_upgrade(s);
        return;
    }
    if (!s->is_stopping) {
        dm_cli_say(s->cli, "Stopping: requests in hand are finished first.");
        fflush(s->cli->world->out);
        begin_stop(s);
        return;
    }
    (void)dm_process_signal(&s->gateway.process, SIGTERM);
    (void)dm_process_signal(&s->controller.process, SIGTERM);
}

/* --- a process ended ---------------------------------------------------------------------------------------------- */

static void on_end(struct serve *s, struct dm_child *child, int status)
{
    char text[DM_PROCESS_STATUS_MAX];

    if (s->is_stopping) {
        stop_next(s);
        return;
    }
    dm_process_status_text(status, text);
    if (!child->was_ready && !child->process.is_adopted && status != -1) {
        s->exit_code = WIFEXITED(status) && WEXITSTATUS(status) == 2 ? DM_EXIT_USAGE : DM_EXIT_FAILED;
        dm_cli_fail(s->cli, (enum dm_exit)s->exit_code, "%s did not start (%s); what it said stands above", child->name,
                    text);
        dm_process_stop(&child->process);
        begin_stop(s);
        return;
    }
    if (!s->is_upgrading || status != 0)
        fprintf(s->cli->world->err, "daemun: %s ended (%s); starting it again\n", child->name, text);
    begin_waiting(s);
}

static void on_controller_end(struct dm_child *child, int status)
{
    on_end(DM_CONTAINER_OF(child, struct serve, controller), child, status);
}

static void on_gateway_end(struct dm_child *child, int status)
{
    on_end(DM_CONTAINER_OF(child, struct serve, gateway), child, status);
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

static int take_data(struct serve *s)
{
    char path[DM_CHILD_PATH_MAX];
    struct dm_err err = {0};
    int rc;

    snprintf(path, sizeof(path), "%s/run", s->data);
    if (dm_sys_make_dirs(dm_sys_real(), path, 0700, &err) < 0)
        return dm_cli_fail(s->cli, DM_EXIT_FAILED, "the data directory %s can't be used: %s", s->data, err.message);
    snprintf(path, sizeof(path), "%s/run/serve.lock", s->data);
    if ((rc = dm_lockfile_take(&s->lock, path, &err)) == DM_EEXIST) {
        dm_cli_fail(s->cli, DM_EXIT_FAILED, "daemun serve runs already on %s (process %d)", s->data,
                    dm_lockfile_holder(path));
        dm_cli_hint(s->cli, "Use that one, stop it, or take another directory with --data and other ports.");
        return DM_EXIT_FAILED;
    }
    return rc < 0 ? dm_cli_fail(s->cli, DM_EXIT_FAILED, "the data directory %s can't be used: %s", s->data, err.message)
                  : DM_EXIT_OK;
}

/* What it listens on is what it was started with, not what we were. */
static void tell_adopted(struct serve *s, const struct dm_child *child)
{
    dm_cli_say(s->cli, "%s runs already (process %d); taking it over with the options that it has.", child->name,
               (int)child->process.pid);
    if (child == &s->controller) {
        (void)dm_child_option(child, "--listen", 0, s->api, sizeof(s->api));
    } else {
        (void)dm_child_option(child, "--admin", 0, s->admin, sizeof(s->admin));
    }
}

static int adopt(struct serve *s)
{
    struct dm_child *const children[] = {&s->controller, &s->gateway};
    struct dm_err err = {0};

    for (size_t i = 0; i < DM_COUNT(children); i++) {
        int rc = dm_child_adopt(children[i], &err);

        if (rc < 0)
            return dm_cli_fail(s->cli, DM_EXIT_FAILED, "%s", err.message);
        if (rc > 0)
            tell_adopted(s, children[i]);
    }
    return DM_EXIT_OK;
}

static int run_loop(struct serve *s)
{
    static const int signos[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};
    int rc;

    if ((rc = dm_signals_open(&s->signals, s->loop, signos, DM_COUNT(signos), on_signal)) < 0)
        return dm_cli_fail(s->cli, DM_EXIT_FAILED, "signals can't be received: %s", strerror(-rc));
    if ((s->exit_code = adopt(s)) != DM_EXIT_OK || (s->exit_code = dm_serve_check_ports(s)) != DM_EXIT_OK) {
        begin_stop(s);
    } else {
        if (s->controller.process.state == DM_PROCESS_IDLE)
            dm_process_start(&s->controller.process);
        begin_waiting(s);
    }
    if (dm_loop_run(s->loop) < 0)
        s->exit_code = dm_cli_fail(s->cli, DM_EXIT_FAILED, "the event loop failed");
    dm_signals_close(&s->signals);
    return s->exit_code;
}

static int find_programs(struct serve *s)
{
    const char *path = s->cli->world->env("PATH");
    struct dm_err err = {0};

    if (dm_child_find(&s->controller, path, &err) < 0 || dm_child_find(&s->gateway, path, &err) < 0)
        return dm_cli_fail(s->cli, DM_EXIT_FAILED, "%s", err.message);
    return DM_EXIT_OK;
}

static int run(struct dm_cli *cli)
{
    static const struct dm_process_type controller_type = {
        .on_spawn = dm_child_on_spawn, .on_exit = dm_child_on_exit, .stop_ms = 15000};
    static const struct dm_process_type gateway_type = {
        .on_spawn = dm_child_on_spawn, .on_exit = dm_child_on_exit, .stop_ms = 30000};
    struct serve s = {.cli = cli, .loop = dm_loop_new(dm_sys_real()), .lock = {-1}};
    char data[PATH_MAX];
    int rc;

    dm_child_init(&s.controller, "daemun-controller", &controller_type, s.loop);
    dm_child_init(&s.gateway, "daemun-gateway", &gateway_type, s.loop);
    s.controller.on_exit = on_controller_end;
    s.gateway.on_exit = on_gateway_end;
    if ((rc = dm_serve_read_options(&s)) == DM_EXIT_OK && (rc = find_programs(&s)) == DM_EXIT_OK &&
        (rc = dm_serve_open_data(&s, data)) == DM_EXIT_OK && (rc = take_data(&s)) == DM_EXIT_OK) {
        dm_serve_make_args(&s);
        rc = run_loop(&s);
    }
    dm_lockfile_release(&s.lock);
    dm_child_done(&s.controller);
    dm_child_done(&s.gateway);
    dm_loop_free(s.loop);
    return rc;
}

static const char *const switch_names[] = {"on", "off", NULL};
static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};
static const char *const format_names[] = {"text", "json", NULL};

static const struct dm_option options[] = {
    {"data", 0, "DIR",
     "Where everything is kept; made when missing (default: $XDG_DATA_HOME/daemun if that is set, else ./daemun-data).",
     .completes = DM_COMPLETES_DIRECTORIES},
    {"listen", 0, "ADDRESS",
     "Where the gateway takes requests: 192.0.2.1:80, [2001:db8::1]:80, *:80 (IPv4 and IPv6) or unix:/PATH, and behind it in "
     "the same argument words for that listener, such as 'tls' or 'proxy-protocol=10.0.0.0/8 connections=1000'; may be repeated "
     "(default: 127.0.0.1:8080).",
     .is_repeatable = true},
    {"api", 0, "ADDRESS:PORT", "Where the controller's API listens (default: 127.0.0.1:9080)."},
    {"admin", 0, "ADDRESS:PORT", "Where the gateway's metrics and health are (default: 127.0.0.1:9090)."},
    {"workers", 0, "N", "Worker processes of the gateway (default: one a core)."},
    {"access-log", 0, "on|off", "Write an access log below DIR/log (default: on).", .choices = switch_names},
    {"fairness", 0, "on|off",
     "Share a worker's time among tenants; off, whoever asks first is served first, and nobody's time is counted (default: on).",
     .choices = switch_names},
    {"queue-delay-ms", 0, "N",
     "Refuse some work of tenants whose own work waits longer than this; 0: never (default: 100)."},
    {"trusted-fronts", 0, "CIDR,...",
     "Balancers whose Forwarded and X-Forwarded-* fields count; unix: is whoever comes by a Unix socket (default: none)."},
    {"cell-uid-base", 0, "UID",
     "Dedicated tenants' own workers run as users UID, UID+1 and so on, 16384 in all; needs root (default: as the gateway)."},
    {"cgroup", 0, "DIR", "Control groups that bound dedicated tenants' own workers go below it (default: none).",
     .completes = DM_COMPLETES_DIRECTORIES},
#define LIMIT_ROW(member, word, min, max, def, doc, beyond) {word, 0, "N", doc " (default: " #def ")."},
    DM_LISTENER_LIMITS(LIMIT_ROW)
#undef LIMIT_ROW
        {"log-level", 0, "LEVEL", "What the two processes log on standard error (default: info).",
         .choices = level_names},
    {"log-format", 0, "FORMAT", "text, or json for machines (default: text on a terminal).", .choices = format_names},
    {"master-token-file", 0, "FILE", "Write the first master token to this file (mode 0600) instead of showing it.",
     .completes = DM_COMPLETES_FILES},
};

const struct dm_verb dm_verb_serve = {
    .name = "serve",
    .operands = "",
    .summary = "run controller and gateway on this machine",
    .text =
        "Starts the controller (API, store) and the gateway (what callers use) as two processes, keeps them running, and "
        "says where they listen once they answer. The first start makes a master token and shows it once: keep it, it "
        "signs you in with `daemun login`.\n"
        "\n"
        "A process that dies is started again. Ctrl-C or SIGTERM stops both politely: requests in hand are finished; a "
        "second one does not wait for them. When `daemun serve` itself is killed, both serve on, and the next `daemun "
        "serve` on the same data directory takes them over.\n"
        "\n"
        "SIGUSR2 is an upgrade: put the new programs in the place of the old ones, then send it. The gateway hands over "
        "without a failed request.",
    .options = DM_OPTIONS(options),
    .examples = {{"daemun serve", "Runs everything with its defaults."},
                 {"daemun serve --data /var/lib/daemun --listen 0.0.0.0:80 --workers 4",
                  "For callers from outside; API and metrics stay on this machine."}},
    .run = run,
};

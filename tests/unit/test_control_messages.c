// SPDX-License-Identifier: Apache-2.0
// What the master tells running workers: changes of material, one after another, whoever is slow or silent; reload; ticket keys.
#include "master.h"

static void start_and_wait(void)
{
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
}

static void reload_with_change(void)
{
    stage->is_changed = true;
    signal_master(&first, SIGHUP);
}

static void end_by_term(void)
{
    signal_master(&first, SIGTERM);
    assert_int_equal(end(&first), 0);
}

// ---- changes ----

static void reaches_every_worker(void **unused)
{
    (void)unused;
    config.workers = 3;
    start_and_wait();
    for (unsigned round = 1; round <= 3; round++) {
        reload_with_change();
        for (unsigned i = 0; i < 3; i++) {
            const char *line = expect(&first, " fake applied ");

            assert_int_equal(number_in(line, " sequence="), round);
            assert_non_null(strstr(line, " retired=true"));
            assert_non_null(strstr(line, " writable=false"));
        }
    }
    end_by_term();
}

static void nothing_new(void **unused)
{
    (void)unused;
    start_and_wait();
    stage->has_problem = true;
    stage->removed = 2; // said without a change, which the fake may
    signal_master(&first, SIGHUP);
    expect(&first, " info reloaded changed=0 removed=2 failed=1");
    end_by_term();
    assert_null(strstr(first.text, " fake applied "));
    assert_int_equal(stage->looks, 2); // once at start
    assert_int_equal(stage->forced, 0);
    assert_int_equal(stage->warned, 1);
}

static void replacement_inherits(void **unused)
{
    const char *line;
    pid_t worker;

    (void)unused;
    config.workers = 1;
    add_tcp("127.0.0.1:0");
    start(&first);
    line = expect(&first, " fake ");
    worker = (pid_t)number_in(line, " own_pid=");
    assert_non_null(strstr(line, " retired=false"));
    expect(&first, " ready ");
    reload_with_change();
    expect(&first, " fake applied ");
    assert_int_equal(kill(worker, SIGKILL), 0);
    assert_non_null(strstr(expect(&first, " fake process="), " retired=true"));
    expect(&first, " worker replaced ");
    reload_with_change(); // and goes on from there
    assert_int_equal(number_in(expect(&first, " fake applied "), " sequence="), 2);
    end_by_term();
}

// ---- those who don't do what they are told ----

static void silent_worker_is_replaced(void **unused)
{
    const char *line;

    (void)unused;
    config.workers = 1;
    behaviour = WORKER_MUTE;
    supervise_patience_ns = 50 * CLOCK_NS_PER_MS;
    start_and_wait();
    reload_with_change();
    line = expect(&first, " error worker killed ");
    assert_non_null(strstr(line, " reason=\"it has not acted on the master's message within 0.05 s\""));
    expect(&first, " error worker died ");
    assert_non_null(strstr(expect(&first, " fake process="), " retired=true"));
    expect(&first, " worker replaced ");
    end_by_term();
}

// Far more than a channel holds waits for it, and the master goes on.
static void stuck_worker_blocks_nobody(void **unused)
{
    (void)unused;
    config.workers = 1;
    behaviour = WORKER_STUCK;
    supervise_patience_ns = 2000 * CLOCK_NS_PER_MS;
    start_and_wait();
    for (unsigned i = 0; i < 40; i++) {
        reload_with_change();
        expect(&first, " info reloaded changed=1 ");
    }
    expect(&first, " error worker killed ");
    expect(&first, " worker replaced ");
    reload_with_change();
    assert_int_equal(number_in(expect(&first, " fake applied "), " sequence="), 41);
    end_by_term();
}

// All that waits for a worker, more than its channel holds, is taken in order once it reads again.
static void slow_worker_gets_everything(void **unused)
{
    pid_t worker;

    (void)unused;
    config.workers = 1;
    add_tcp("127.0.0.1:0");
    start(&first);
    worker = (pid_t)number_in(expect(&first, " fake "), " own_pid=");
    expect(&first, " ready ");
    assert_int_equal(kill(worker, SIGSTOP), 0);
    for (unsigned i = 0; i < 700; i++) {
        reload_with_change();
        expect(&first, " info reloaded changed=1 ");
    }
    assert_int_equal(kill(worker, SIGCONT), 0);
    for (unsigned i = 1; i <= 700; i++)
        assert_int_equal(number_in(expect(&first, " fake applied "), " sequence="), i);
    end_by_term();
}

static void never_ready(void **unused)
{
    const char *line;

    (void)unused;
    behaviour = WORKER_NEVER_READY;
    supervise_patience_ns = 50 * CLOCK_NS_PER_MS;
    add_tcp("127.0.0.1:0");
    start(&first);
    line = expect(&first, " error worker killed ");
    assert_non_null(strstr(line, " reason=\"it was not ready within 0.05 s\""));
    expect(&first, " error worker could not start ");
    assert_int_equal(end(&first), 1);
    assert_null(strstr(first.text, " info ready "));
}

// ---- ticket keys ----

static void ticket_keys_turn_over(void **unused)
{
    (void)unused;
    config.workers = 1;
    config.tickets.rotate_ns = CLOCK_NS_PER_S; // the shortest there is
    config.tickets.lifetime_ns = CLOCK_NS_PER_S;
    log_debugs = true;
    start_and_wait();
    assert_int_equal(number_in(expect(&first, " ticket keys changed "), " keys="), 2);
    expect(&first, " fake applied ");
    end_by_term();
}

static void too_many_ticket_keys(void **unused)
{
    (void)unused;
    config.tickets.rotate_ns = CLOCK_NS_PER_S;
    config.tickets.lifetime_ns = 3600 * CLOCK_NS_PER_S;
    add_tcp("127.0.0.1:0");
    start(&first);
    assert_int_equal(number_in(expect(&first, " warning tickets.rotate is too short"), " keys_needed="),
                     3602);
    expect(&first, " ready ");
    end_by_term();
}

static void ticket_keys_from_files(void **unused)
{
    (void)unused;
    config.tickets.key_count = 1; // the fake sources bring none
    config.tickets.rotate_ns = CLOCK_NS_PER_S;
    config.tickets.lifetime_ns = 3600 * CLOCK_NS_PER_S;
    start_and_wait();
    end_by_term();
    assert_null(strstr(first.text, "tickets.rotate"));
}

// ---- the configuration's file ----

#define GOOD                                                                                                 \
    "listeners: [ { address: \"127.0.0.1:0\", tls: { certificates: [ { chain: c, key: k } ] }, "             \
    "upstream: u } ]\n"                                                                                      \
    "upstreams: [ { name: u, servers: [ { address: \"127.0.0.1:1\" } ] } ]\n"

static void write_config(const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void configuration_is_compared(void **unused)
{
    (void)unused;
    config.file = path; // a socket's name otherwise: tear_down() removes it
    write_config(GOOD);
    start_and_wait();
    signal_master(&first, SIGHUP);
    expect(&first, " info reloaded ");
    assert_null(strstr(first.text, "configuration"));
    write_config(GOOD "workers: 3\n");
    signal_master(&first, SIGHUP);
    expect(&first, " info reloaded ");
    expect(&first, " warning the changed configuration is not applied "); // nobody knows how a test was started
    write_config(GOOD "wrokers: 3\n");
    signal_master(&first, SIGHUP);
    assert_non_null(strstr(expect(&first, " error bad configuration "), "wrokers"));
    expect(&first, " info reloaded ");
    write_config(GOOD);
    signal_master(&first, SIGHUP);
    expect(&first, " info reloaded ");
    end_by_term();
    assert_null(strstr(strstr(first.text, "wrokers"), "the changed"));
}

// ---- keylog ----

static void keylog_is_opened_by_the_master(void **unused)
{
    struct stat status;
    const char *line;
    mode_t mask = umask(0);

    (void)unused;
    add_tcp("127.0.0.1:0");
    listeners[0].tls.keylog = path;
    start(&first);
    umask(mask);
    line = expect(&first, " fake ");
    assert_int_equal(number_in(line, " open="), 3 + 1 + 1 + 1); // and kept by the worker
    expect(&first, " ready ");
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    end_by_term();
}

static void keylog_that_cannot_be(void **unused)
{
    (void)unused;
    add_tcp("127.0.0.1:0");
    listeners[0].tls.keylog = folder;
    start(&first);
    expect(&first, " error cannot write the keylog file ");
    assert_int_equal(end(&first), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_of(reaches_every_worker),
        test_of(nothing_new),
        test_of(replacement_inherits),
        test_of(silent_worker_is_replaced),
        test_of(stuck_worker_blocks_nobody),
        test_of(slow_worker_gets_everything),
        test_of(never_ready),
        test_of(ticket_keys_turn_over),
        test_of(too_many_ticket_keys),
        test_of(ticket_keys_from_files),
        test_of(configuration_is_compared),
        test_of(keylog_is_opened_by_the_master),
        test_of(keylog_that_cannot_be),
    };

    return cmocka_run_group_tests_name("control_messages", tests, NULL, NULL);
}

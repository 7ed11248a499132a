// SPDX-License-Identifier: Apache-2.0
// The admin socket: its commands, its file, and who may use it.
#include "admin.h"
#include "skip.h"

// ---- commands ----

static void ping(void **unused)
{
    json_t *answer;

    (void)unused;
    start_with_admin(&first);
    answer = ask("{\"command\": \"ping\"}");
    assert_ok(answer);
    assert_int_equal(number_of(answer, "pid"), first.pid);
    assert_string_equal(text_of(answer, "state"), "serving");
    assert_true(strlen(text_of(answer, "version")) > 0);
    json_decref(answer);
    end_by_term(&first);
}

// What holds each process; the fake workers are held by nothing that shows but what the master has.
static void status(void **unused)
{
    const json_t *processes;
    const json_t *worker;
    json_t *answer;

    (void)unused;
    config.workers = 2;
    start_with_admin(&first);
    answer = ask("{\"command\": \"status\"}");
    assert_ok(answer);
    assert_int_equal(number_of(answer, "pid"), first.pid);
    processes = json_object_get(answer, "sandbox");
    assert_int_equal(json_array_size(processes), 3);
    assert_string_equal(text_of(json_array_get(processes, 0), "process"), "master");
    assert_int_equal(number_of(json_array_get(processes, 0), "pid"), first.pid);
    worker = json_array_get(processes, 2);
    assert_string_equal(text_of(worker, "process"), "worker 1");
    assert_true(json_is_true(json_object_get(worker, "told_by_kernel")));
    assert_true(json_is_true(json_object_get(worker, "no_new_privs")));
    assert_true(json_is_array(json_object_get(worker, "capabilities")));
    assert_int_equal(number_of(worker, "uid"), geteuid());
    assert_true(json_is_false(json_object_get(worker, "io_uring"))); // the fake ring can't
    json_decref(answer);
    end_by_term(&first);
}

// A worker that was taken over can write what all of them share, and say what it likes.
static void lies(void **unused)
{
    static struct config_server server = {.address.text = (char *)"192.0.2.1:80", .weight = 1};
    static struct config_upstream upstream = {.name = (char *)"app", .servers = &server, .server_count = 1};
    const json_t *told;
    json_t *answer;

    (void)unused;
    config.upstreams = &upstream;
    config.upstream_count = 1;
    behaviour = WORKER_LIES;
    start_with_admin(&first);
    answer = ask("{\"command\": \"server\"}");
    assert_ok(answer);
    told = json_array_get(json_object_get(answer, "upstreams"), 0);
    told = json_array_get(json_object_get(told, "servers"), 0);
    assert_string_equal(text_of(told, "state"), "unknown");
    json_decref(answer);
    answer = ask("{\"command\": \"server\", \"server\": \"192.0.2.1:80\", \"state\": \"ready\"}");
    assert_ok(answer);
    json_decref(answer);
    json_decref(ask("{\"command\": \"certificates\"}"));
    json_decref(ask("{\"command\": \"status\"}"));
    answer = ask("{\"command\": \"reload\"}");
    assert_ok(answer);
    json_decref(answer);
    end_by_term(&first);
    config.upstreams = NULL;
    config.upstream_count = 0;
}

static void reload_waits_for_the_workers(void **unused)
{
    json_t *answer;

    (void)unused;
    config.workers = 3;
    start_with_admin(&first);
    stage->is_changed = true;
    stage->removed = 4;
    answer = ask("{\"command\": \"reload\"}");
    assert_ok(answer);
    assert_int_equal(number_of(answer, "changed"), 1);
    assert_int_equal(number_of(answer, "removed"), 4);
    assert_int_equal(number_of(answer, "failed"), 0);
    assert_string_equal(text_of(answer, "config"), "same");
    json_decref(answer);
    for (unsigned i = 0; i < 3; i++)
        (void)expect_now(&first, " fake applied ");
    assert_int_equal(stage->forced, 0);
    answer = ask("{\"command\": \"reload\", \"force\": true}");
    assert_ok(answer);
    json_decref(answer);
    assert_int_equal(stage->forced, 1);
    end_by_term(&first);
}

static void reload_tells_what_is_wrong(void **unused)
{
    json_t *answer;

    (void)unused;
    start_with_admin(&first);
    stage->has_problem = true;
    answer = ask("{\"command\": \"reload\"}");
    assert_ok(answer);
    assert_int_equal(number_of(answer, "failed"), 1);
    assert_string_equal(json_string_value(json_array_get(json_object_get(answer, "problems"), 0)),
                        FAKE_PROBLEM);
    json_decref(answer);
    end_by_term(&first);
}

static void reload_names_who_is_late(void **unused)
{
    json_t *answer;

    (void)unused;
    config.workers = 2;
    behaviour = WORKER_MUTE;
    admin_workers_patience_ns = 50 * CLOCK_NS_PER_MS;
    start_with_admin(&first);
    stage->is_changed = true;
    answer = ask("{\"command\": \"reload\"}");
    assert_false(json_is_true(json_object_get(answer, "ok")));
    assert_non_null(strstr(text_of(answer, "error"), "worker 0 and others have not acted within 0.05 s"));
    assert_int_equal(number_of(answer, "changed"), 1);
    json_decref(answer);
    signal_master(&first, SIGINT);
    assert_int_equal(end(&first), 0);
}

// Whoever replaces it inherits the change, so nobody has to wait for the dead.
static void reload_does_not_wait_for_the_dead(void **unused)
{
    pid_t worker;
    json_t *answer;
    int fd;

    (void)unused;
    config.workers = 1;
    behaviour = WORKER_MUTE;
    config.admin.socket = admin_path;
    add_tcp("127.0.0.1:0");
    start(&first);
    worker = (pid_t)number_in(expect(&first, " fake "), " own_pid=");
    expect(&first, " ready ");
    stage->is_changed = true;
    fd = connect_raw();
    send_raw(fd, "{\"command\": \"reload\"}\n", 22);
    expect(&first, " fake applied ");
    assert_int_equal(kill(worker, SIGKILL), 0);
    answer = read_answer(fd);
    assert_ok(answer);
    json_decref(answer);
    expect(&first, " worker replaced ");
    end_by_term(&first);
}

static void certificates(void **unused)
{
    json_t *answer;
    const json_t *one;

    (void)unused;
    start_with_admin(&first);
    stage->has_problem = true;
    answer = ask("{\"command\": \"certificates\"}");
    assert_ok(answer);
    assert_int_equal(json_array_size(json_object_get(answer, "certificates")), 1);
    one = json_array_get(json_object_get(answer, "certificates"), 0);
    assert_int_equal(number_of(one, "slot"), 3);
    assert_string_equal(text_of(one, "listeners"), "one, two");
    assert_string_equal(json_string_value(json_array_get(json_object_get(one, "names"), 1)), "*.example");
    assert_string_equal(text_of(one, "issuer"), "CN=Test,O=Example");
    assert_string_equal(text_of(one, "not_after"), "2023-11-15T22:13:20Z");
    assert_string_equal(text_of(one, "not_before"), "2023-11-14T22:13:20Z");
    assert_string_equal(text_of(one, "loaded"), "2023-11-14T22:13:21Z");
    assert_true(json_is_true(json_object_get(one, "expired")));
    assert_int_equal(number_of(one, "days_left"), 0);
    assert_string_equal(text_of(one, "key"), "ECDSA");
    assert_int_equal(number_of(one, "key_bits"), 256);
    assert_string_equal(text_of(one, "fingerprint"),
                        "fedcba9876000000000000000000000000000000000000000000000000000000");
    assert_string_equal(text_of(one, "file"), "/etc/\\xff/chain.pem");
    assert_string_equal(text_of(one, "problem"), FAKE_PROBLEM);
    assert_int_equal(number_of(one, "handshakes"), 0);
    assert_true(json_is_null(json_object_get(json_object_get(one, "ocsp"), "problem")));
    json_decref(answer);
    end_by_term(&first);
}

static void drain_certificate(void **unused)
{
    json_t *answer;
    const char *line;

    (void)unused;
    config.workers = 1;
    start_with_admin(&first);
    answer = ask("{\"command\": \"drain\", \"certificate\": \"old.example\", \"timeout_ms\": 1500}");
    assert_ok(answer);
    assert_int_equal(number_of(answer, "certificates"), 1);
    json_decref(answer);
    assert_non_null(strstr(expect(&first, " fake applied "), " retired=true"));
    line = expect(&first, " fake drains retired ");
    assert_int_equal(number_in(line, " timeout_ms="), 1500);
    assert_non_null(strstr(line, " retired=true"));

    answer = ask("{\"command\": \"drain\", \"certificate\": \"WWW.example\"}"); // served, never replaced
    assert_ok(answer);
    assert_int_equal(number_of(answer, "certificates"), 0);
    json_decref(answer);
    answer = ask("{\"command\": \"drain\", \"certificate\": \"FEDCBA98\"}");
    assert_ok(answer);
    json_decref(answer);
    answer = ask("{\"command\": \"drain\", \"certificate\": \"fedcba9\"}"); // too short
    assert_false(json_is_true(json_object_get(answer, "ok")));
    assert_non_null(strstr(text_of(answer, "error"), "known are: www.example, *.example"));
    json_decref(answer);
    end_by_term(&first);
}

static void drain_everything(void **unused)
{
    json_t *answer;

    (void)unused;
    behaviour = WORKER_CLINGS;
    start_with_admin(&first);
    answer = ask("{\"command\": \"drain\"}");
    assert_ok(answer);
    assert_int_equal(number_of(answer, "connections"), 6);
    json_decref(answer);
    expect(&first, " info draining ");
    answer = ask("{\"command\": \"ping\"}");
    assert_string_equal(text_of(answer, "state"), "draining");
    json_decref(answer);
    answer = ask("{\"command\": \"stop\"}");
    assert_ok(answer);
    json_decref(answer);
    assert_int_equal(end(&first), 0);
    assert_int_equal(access(admin_path, F_OK), -1);
}

// ---- the file ----

static void file_of_the_socket(void **unused)
{
    struct stat status;
    mode_t mask = umask(0);

    (void)unused;
    config.admin.socket = admin_path;
    add_tcp("127.0.0.1:0");
    start(&first);
    umask(mask);
    expect(&first, " ready ");
    assert_int_equal(lstat(admin_path, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_int_equal(status.st_mode & 07777, 0600);
    end_by_term(&first);
    assert_int_equal(access(admin_path, F_OK), -1);
}

static void folder_is_made(void **unused)
{
    char run[128];
    struct stat status;

    (void)unused;
    snprintf(run, sizeof(run), "%.64s/run", folder);
    snprintf(admin_path, sizeof(admin_path), "%.100s/admin", run);
    start_with_admin(&first);
    assert_int_equal(stat(run, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0755);
    end_by_term(&first);
    assert_int_equal(rmdir(run), 0);
}

static void stale_and_live(void **unused)
{
    json_t *answer;

    (void)unused;
    start_with_admin(&first);
    signal_master(&first, SIGKILL);
    while (read_log(&first))
        ;
    assert_int_equal(waitpid(first.pid, NULL, 0), first.pid);
    close(first.log);
    first.pid = 0;
    assert_int_equal(access(admin_path, F_OK), 0);
    start_with_admin(&first); // over the stale file
    start(&second);
    assert_non_null(
        strstr(expect(&second, " error cannot open the admin socket "), "another ringbolt answers"));
    assert_int_equal(end(&second), 1);
    config.admin.is_default = true; // nobody asked for it
    start(&second);
    expect(&second, " warning no admin socket: ");
    expect(&second, " ready ");
    end_by_term(&second);
    answer = ask("{\"command\": \"ping\"}"); // still the first one's
    assert_int_equal(number_of(answer, "pid"), first.pid);
    json_decref(answer);
    end_by_term(&first);
}

// Like the listening addresses: who is on his way out makes room.
static void taken_over_from_one_that_drains(void **unused)
{
    json_t *answer;

    (void)unused;
    behaviour = WORKER_CLINGS;
    start_with_admin(&first);
    signal_master(&first, SIGTERM);
    expect(&first, " info draining ");
    behaviour = WORKER_OBEYS;
    start(&second);
    expect(&second, " admin socket taken over ");
    expect(&second, " ready ");
    signal_master(&first, SIGINT);
    assert_int_equal(end(&first), 0);
    answer = ask("{\"command\": \"ping\"}"); // the first one has not removed it
    assert_int_equal(number_of(answer, "pid"), second.pid);
    json_decref(answer);
    end_by_term(&second);
    assert_int_equal(access(admin_path, F_OK), -1);
}

static void other_file_in_the_way(void **unused)
{
    int fd = open(admin_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    (void)unused;
    close(fd);
    config.admin.socket = admin_path;
    add_tcp("127.0.0.1:0");
    start(&first);
    assert_non_null(
        strstr(expect(&first, " error cannot open the admin socket "), "no socket is in the way"));
    assert_int_equal(end(&first), 1);
    assert_int_equal(access(admin_path, F_OK), 0);
}

// ---- who may ----

// Connects as somebody else, in a child. What is answered, or "refused".
static void ask_as_somebody(char text[256])
{
    int fds[2];
    ssize_t length;
    pid_t child;

    fflush(NULL);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    child = fork();
    if (child == 0) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        strcpy(address.sun_path, admin_path);
        if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
            _exit(99);
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
            _exit(write(fds[1], "refused", 7) == 7 ? 0 : 1);
        }
        (void)send(fd, "{\"command\": \"stop\"}\n", 20, MSG_NOSIGNAL);
        length = recv(fd, text, 255, MSG_WAITALL);
        _exit(length > 0 && write(fds[1], text, (size_t)length) == length ? 0 : 1);
    }
    close(fds[1]);
    length = read(fds[0], text, 255);
    assert_true(length > 0);
    text[length] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void others_may_not(void **unused)
{
    char text[256];

    (void)unused;
    if (geteuid() != 0) {
        skip_because("only root can become somebody else");
    }
    assert_int_equal(chmod(folder, 0755), 0);
    start_with_admin(&first);
    ask_as_somebody(text);
    assert_string_equal(text, "refused"); // by the file's mode
    assert_int_equal(chmod(admin_path, 0666), 0);
    ask_as_somebody(text);
    assert_non_null(strstr(text, "only root and the user who started ringbolt"));
    end_by_term(&first);
}

static void nobody_there(void **unused)
{
    json_t *request = json_pack("{s:s}", "command", "ping");
    json_t *answer = NULL;
    const char *why = NULL;

    (void)unused;
    assert_int_equal(admin_call(admin_path, request, &answer, &why), -ENOENT);
    assert_non_null(strstr(why, "-s PATH"));
    memset(admin_path, 'x', sizeof(admin_path) - 1);
    admin_path[sizeof(admin_path) - 1] = '\0';
    assert_int_equal(admin_call(admin_path, request, &answer, &why), -ENAMETOOLONG);
    json_decref(request);
    assert_null(answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_of(ping),
        test_of(status),
        test_of(lies),
        test_of(reload_waits_for_the_workers),
        test_of(reload_tells_what_is_wrong),
        test_of(reload_names_who_is_late),
        test_of(reload_does_not_wait_for_the_dead),
        test_of(certificates),
        test_of(drain_certificate),
        test_of(drain_everything),
        test_of(file_of_the_socket),
        test_of(folder_is_made),
        test_of(stale_and_live),
        test_of(taken_over_from_one_that_drains),
        test_of(other_file_in_the_way),
        test_of(others_may_not),
        test_of(nobody_there),
    };

    return cmocka_run_group_tests_name("control_admin", tests, NULL, NULL);
}

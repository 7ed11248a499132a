// SPDX-License-Identifier: Apache-2.0
// Clients of the admin socket that do what none should: the master answers them in words, or sends them away, and waits for none.
#include "admin.h"

// ---- requests that are none ----

static const struct {
    const char *bytes;
    size_t length; // 0: strlen
    bool is_ended; // half-closed behind it
    const char *words;
} bad_requests[] = {
    {"\n", 0, false, "not JSON"},
    {"   \n", 0, false, "not JSON"},
    {"reload\n", 0, false, "not JSON"},
    {"{\"command\": \"ping\"\n", 0, false, "not JSON"},
    {"{\"command\": \"ping\"", 0, true, "not JSON"},
    {"{\"command\": \"ping\"} x\n", 0, false, "not JSON"},
    {"{\"command\": \"pi\0ng\"}\n", 21, false, "not JSON"},
    {"{\"command\": \"pi\\u0000ng\"}\n", 0, false, "not JSON"},
    {"{\"command\": \"\xff\xfe\"}\n", 0, false, "not JSON"},
    {"{\"command\": \"ping\", \"command\": \"stop\"}\n", 0, false, "not JSON: duplicate"},
    {"[]\n", 0, false, "not a JSON object"},
    {"[\"ping\"]\n", 0, false, "not a JSON object"},
    {"{}\n", 0, false, "names no command"},
    {"{\"command\": 7}\n", 0, false, "names no command"},
    {"{\"command\": {\"command\": \"stop\"}}\n", 0, false, "names no command"},
    {"{\"command\": \"\"}\n", 0, false, "there is no command ``"},
    {"{\"command\": \"downgrade\"}\n", 0, false, "there is no command `downgrade`"},
    {"{\"command\": \"stop\", \"now\": true}\n", 0, false, "no member `now`"},
    {"{\"command\": \"ping\", \"force\": true}\n", 0, false, "no member `force`"},
    {"{\"command\": \"reload\", \"force\": \"yes\"}\n", 0, false, "true or false"},
    {"{\"command\": \"drain\", \"certificate\": 7}\n", 0, false, "server name"},
    {"{\"command\": \"drain\", \"certificate\": \"\"}\n", 0, false, "server name"},
    {"{\"command\": \"drain\", \"timeout_ms\": 5}\n", 0, false, "goes with `certificate`"},
    {"{\"command\": \"drain\", \"certificate\": \"old.example\", \"timeout_ms\": -1}\n", 0, false,
     "from 0 to"},
    {"{\"command\": \"drain\", \"certificate\": \"old.example\", \"timeout_ms\": 1e3}\n", 0, false,
     "from 0 to"},
    {"{\"command\": \"drain\", \"certificate\": \"old.example\", \"timeout_ms\": 99999999999999}\n", 0, false,
     "from 0 to"},
};

static void bad_request(void **unused)
{
    (void)unused;
    start_with_admin(&first);
    for (size_t i = 0; i < sizeof(bad_requests) / sizeof(bad_requests[0]); i++) {
        const char *bytes = bad_requests[i].bytes;
        json_t *answer = ask_raw(bytes, bad_requests[i].length > 0 ? bad_requests[i].length : strlen(bytes),
                                 bad_requests[i].is_ended);

        assert_false(json_is_true(json_object_get(answer, "ok")));
        if (!strstr(text_of(answer, "error"), bad_requests[i].words))
            fail_msg("%s is answered with: %s", bytes, text_of(answer, "error"));
        json_decref(answer);
    }
    end_by_term(&first); // nothing of it drained or stopped anything
    assert_null(strstr(first.text, " fake drains retired "));
}

static void unusual_requests_that_are_good(void **unused)
{
    static const char *const requests[] = {
        " {\t\"command\":\"ping\"} \n",
        "{\"command\": \"ping\"}\nwhat comes behind the line is nobody's",
        "{\"command\": \"\\u0070ing\"}\r\n",
    };
    json_t *answer;
    int fd;

    (void)unused;
    start_with_admin(&first);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        answer = ask_raw(requests[i], strlen(requests[i]), false);
        assert_ok(answer);
        json_decref(answer);
    }
    answer = ask_raw("{\"command\": \"ping\"}", 19, true); // the end of file ends the line too
    assert_ok(answer);
    json_decref(answer);
    fd = connect_raw(); // byte by byte
    for (const char *at = "{\"command\": \"ping\"}\n"; *at; at++)
        send_raw(fd, at, 1);
    answer = read_answer(fd);
    assert_ok(answer);
    json_decref(answer);
    end_by_term(&first);
}

static void too_long(void **unused)
{
    size_t length = (size_t)4 << 20;
    char *flood = malloc(length);
    json_t *answer;
    int fd;

    (void)unused;
    start_with_admin(&first);
    memset(flood, '[', length); // deep, too
    flood[ADMIN_REQUEST_MAX - 1] = '\n';
    answer = ask_raw(flood, ADMIN_REQUEST_MAX, false);
    assert_non_null(strstr(text_of(answer, "error"), "not JSON"));
    json_decref(answer);
    flood[ADMIN_REQUEST_MAX - 1] = '[';
    answer = ask_raw(flood, ADMIN_REQUEST_MAX, false);
    assert_non_null(strstr(text_of(answer, "error"), "longer than 65536 bytes"));
    json_decref(answer);
    fd = connect_raw();
    send_raw(fd, flood, length);
    free(read_raw(fd)); // the answer, or that the master has closed
    free(flood);
    answer = ask("{\"command\": \"ping\"}");
    assert_ok(answer);
    json_decref(answer);
    end_by_term(&first);
}

// ---- clients that take their time ----

static void silent_clients_are_sent_away(void **unused)
{
    int silent[40];
    json_t *answer;

    (void)unused;
    admin_client_patience_ns = 50 * CLOCK_NS_PER_MS;
    start_with_admin(&first);
    for (size_t i = 0; i < 40; i++) // more than are served at once
        silent[i] = connect_raw();
    send_raw(silent[0], "{\"comm", 7);
    answer = ask("{\"command\": \"ping\"}"); // has its turn behind them
    assert_ok(answer);
    json_decref(answer);
    for (size_t i = 0; i < 40; i++) {
        char *text = read_raw(silent[i]);

        assert_non_null(strstr(text, "no whole request within 0.05 s"));
        free(text);
    }
    end_by_term(&first);
}

static void clients_that_hang_up(void **unused)
{
    static const char request[] = "{\"command\": \"reload\"}\n";
    json_t *answer;

    (void)unused;
    config.workers = 1;
    behaviour = WORKER_MUTE; // reload waits as long as the client does
    start_with_admin(&first);
    for (unsigned i = 0; i < 100; i++) {
        int fd = connect_raw();

        stage->is_changed = true;
        send_raw(fd, request, i % sizeof(request)); // nothing, a part, all of it
        close(fd);
    }
    answer = ask("{\"command\": \"ping\"}");
    assert_ok(answer);
    json_decref(answer);
    signal_master(&first, SIGINT); // with some still waiting, perhaps
    assert_int_equal(end(&first), 0);
}

static void slow_reader_blocks_nobody(void **unused)
{
    json_t *answer;
    char *text;
    int fd;

    (void)unused;
    stage->certificates = 20000; // many times what a socket takes
    start_with_admin(&first);
    fd = connect_raw();
    send_raw(fd, "{\"command\": \"certificates\"}\n", 28);
    answer = ask("{\"command\": \"ping\"}");
    assert_ok(answer);
    json_decref(answer);
    text = read_raw(fd);
    answer = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(answer, "certificates")), 20000);
    json_decref(answer);
    free(text);
    end_by_term(&first);
}

static void reader_that_never_reads(void **unused)
{
    json_t *answer;
    char *text;
    int fd;

    (void)unused;
    stage->certificates = 20000;
    admin_client_patience_ns = 100 * CLOCK_NS_PER_MS;
    start_with_admin(&first);
    fd = connect_raw();
    send_raw(fd, "{\"command\": \"certificates\"}\n", 28);
    for (struct pollfd polled = {.fd = fd, .events = POLLRDHUP}; poll(&polled, 1, PATIENCE_MS) != 1;)
        fail_msg("it is not sent away");
    text = read_raw(fd);
    answer = json_loads(text, 0, NULL);
    assert_null(answer); // cut off
    free(text);
    end_by_term(&first);
}

// A worker that reads nothing, and somebody who gives commands without an end: neither memory nor patience is without one.
static void flood_of_commands(void **unused)
{
    static const char request[] = "{\"command\": \"drain\", \"certificate\": \"old.example\"}\n";

    (void)unused;
    config.workers = 1;
    behaviour = WORKER_STUCK;
    start_with_admin(&first);
    for (unsigned i = 0; i < 4000 && !strstr(first.text, " error worker killed "); i++) { // two messages each
        int fd = connect_raw();

        send_raw(fd, request, sizeof(request) - 1);
        (void)expect(&first, " draining replaced certificates ");
        close(fd);
    }
    assert_non_null(strstr(first.text, " reason=\"it takes no messages\""));
    expect(&first, " worker replaced ");
    end_by_term(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_of(bad_request),
        test_of(unusual_requests_that_are_good),
        test_of(too_long),
        test_of(silent_clients_are_sent_away),
        test_of(clients_that_hang_up),
        test_of(slow_reader_blocks_nobody),
        test_of(reader_that_never_reads),
        test_of(flood_of_commands),
    };

    return cmocka_run_group_tests_name("control_clients", tests, NULL, NULL);
}

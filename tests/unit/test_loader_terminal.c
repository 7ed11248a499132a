// SPDX-License-Identifier: Apache-2.0
// Passphrases that are asked for at the terminal: a child process on a terminal of its own, at which this one types.
#include "tests/unit/loader.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>

#define PHRASE    "open sesame"
#define ENCRYPTED "leaf.encrypted.key"

static EVP_PKEY *key;
static X509 *leaf;

static int set_up(void **state)
{
    FILE *file;

    folder_make();
    key = key_make("P-256");
    leaf = certificate_of("localhost", key, NULL, NULL);
    write_chain("leaf.pem", leaf, NULL);
    file = fopen(path_of(ENCRYPTED), "w");
    must(file != NULL && PEM_write_PKCS8PrivateKey(file, key, EVP_aes_256_cbc(), PHRASE, (int)strlen(PHRASE),
                                                   NULL, NULL) == 1,
         ENCRYPTED);
    fclose(file);
    return 0;
}

static int tear_down(void **state)
{
    folder_remove();
    X509_free(leaf);
    EVP_PKEY_free(key);
    return 0;
}

#define TERMINAL_MAX 8192

// A child on a terminal of its own, and what it showed.
struct session {
    pid_t pid;
    int terminal;
    char shown[TERMINAL_MAX];
    size_t length;
    size_t seen; // up to here it was waited for
};

// Reads what the child shows until `text` comes behind what was waited for before; false when it ended first.
static bool await(struct session *session, const char *text)
{
    const char *found;

    while ((found = strstr(session->shown + session->seen, text)) == NULL) {
        struct pollfd poll_fd = {.fd = session->terminal, .events = POLLIN};
        ssize_t count;

        must(session->length < TERMINAL_MAX - 1, "less shown");
        if (poll(&poll_fd, 1, 30000) <= 0)
            return false;
        count = read(session->terminal, session->shown + session->length, TERMINAL_MAX - 1 - session->length);
        if (count <= 0)
            return false;
        session->length += (size_t)count;
        session->shown[session->length] = '\0';
    }
    session->seen = (size_t)(found - session->shown) + strlen(text);
    return true;
}

static void type(struct session *session, const char *text)
{
    must(write(session->terminal, text, strlen(text)) == (ssize_t)strlen(text), "typing");
}

static bool echoes(const struct session *session)
{
    struct termios settings;

    must(tcgetattr(session->terminal, &settings) == 0, "a terminal");
    return (settings.c_lflag & ECHO) != 0;
}

static void session_begin(struct session *session, void (*run)(void))
{
    *session = (struct session){0};
    session->pid = forkpty(&session->terminal, NULL, NULL, NULL);
    must(session->pid >= 0, "a terminal");
    if (session->pid == 0) {
        run();
        _exit(1); // run() ends the process itself
    }
}

static int session_end(struct session *session)
{
    int status;

    assert_int_equal(waitpid(session->pid, &status, 0), session->pid);
    close(session->terminal);
    return status;
}

static void say(const char *text)
{
    must(write(STDOUT_FILENO, text, strlen(text)) == (ssize_t)strlen(text), "saying");
}

static bool loads(struct loader *asking, struct load *load)
{
    load_init(load);
    load->source.chain = path_of("leaf.pem");
    load->source.key = path_of(ENCRYPTED);
    return loader_certificate(asking, &load->source, &load->report, &load->certificate) == 0;
}

// Loads twice: the second time nothing is asked, also when nobody may be.
static void run_twice(void)
{
    struct loader *asking = loader_create(true);
    struct load load;

    say(loads(asking, &load) && load.report.count == 0 ? "[one]" : "[failed]");
    load_finish(&load);
    say(loads(asking, &load) ? "[two]" : "[failed]");
    load_finish(&load);
    loader_ask_no_more(asking);
    say(loads(asking, &load) ? "[three]" : "[failed]");
    load_finish(&load);
    loader_destroy(asking);
    _exit(0);
}

static void test_terminal(void **state)
{
    struct session session;
    int status;

    session_begin(&session, run_twice);
    assert_true(await(&session, "Passphrase of private key "));
    assert_true(await(&session, ENCRYPTED ": "));
    assert_false(echoes(&session));
    type(&session, "open barley\n");
    assert_true(await(&session, "That is not it. Passphrase of private key "));
    assert_true(await(&session, ENCRYPTED ": "));
    type(&session, PHRASE "\n");
    assert_true(await(&session, "[three]"));
    assert_true(echoes(&session));
    status = session_end(&session);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_null(strstr(session.shown, "[failed]"));
    assert_null(strstr(session.shown, "barley"));
    assert_null(strstr(session.shown, "sesame"));
}

// Prints the report and ends.
static void run_once(void)
{
    struct loader *asking = loader_create(true);
    struct load load;

    say(loads(asking, &load) ? "[good]" : "[bad]");
    report_print(&load.report, stdout);
    fflush(stdout);
    _exit(0);
}

static void test_terminal_wrong_thrice(void **state)
{
    struct session session;

    session_begin(&session, run_once);
    for (int i = 0; i < 3; i++) {
        assert_true(await(&session, ENCRYPTED ": "));
        type(&session, "open barley\n");
    }
    assert_true(await(&session, "[bad]test.yaml:4:7: the passphrase that was typed for private key "));
    assert_true(await(&session, " is wrong; start again with the right one"));
    session_end(&session);
}

static void test_terminal_no_answer(void **state)
{
    struct session session;

    session_begin(&session, run_once);
    assert_true(await(&session, ENCRYPTED ": "));
    type(&session, "\x04");
    assert_true(await(&session,
                      "is encrypted, and no passphrase was typed; give the name of an environment variable"));
    session_end(&session);
}

// ^C ends the process, and the terminal echoes again.
static void test_terminal_interrupted(void **state)
{
    struct session session;
    int slave;
    int status;

    session_begin(&session, run_once);
    assert_true(await(&session, ENCRYPTED ": "));
    assert_false(echoes(&session));
    // Keeps the terminal's settings beyond the child's end.
    slave = open(ptsname(session.terminal), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    type(&session, "half\x03");
    assert_int_equal(waitpid(session.pid, &status, 0), session.pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    assert_true(echoes(&session));
    close(slave);
    close(session.terminal);
}

// A signal that the process keeps for later ends the question, not the process.
static void run_blocked(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    run_once();
}

static void test_terminal_interrupted_later(void **state)
{
    struct session session;

    session_begin(&session, run_blocked);
    assert_true(await(&session, ENCRYPTED ": "));
    type(&session, "\x03");
    assert_true(await(&session, "[bad]test.yaml:4:7: private key "));
    assert_true(await(&session, "no passphrase was typed"));
    session_end(&session);
}

static void run_without_terminal(void)
{
    struct loader *asking = loader_create(true);
    struct load load;
    bool is_said;

    setsid();
    is_said =
        !loads(asking, &load) &&
        has_line(&load.report, "private key %/leaf.encrypted.key is encrypted, and there is no terminal "
                               "to ask for its passphrase; give");
    if (!is_said)
        report_print(&load.report, stderr);
    load_finish(&load);
    loader_destroy(asking);
    _exit(is_said ? 0 : 1);
}

static void test_no_terminal(void **state)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        run_without_terminal();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_terminal_wrong_thrice),
        cmocka_unit_test(test_terminal_no_answer),
        cmocka_unit_test(test_terminal_interrupted),
        cmocka_unit_test(test_terminal_interrupted_later),
        cmocka_unit_test(test_no_terminal),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

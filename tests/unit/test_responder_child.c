// SPDX-License-Identifier: Apache-2.0
// The child that asks an OCSP responder: what it gets and what it can't reach, and that a hostile one harms nobody. The URL of the
// question says what the child does instead of asking.
#include "tests/unit/responder_world.h"

#include <dirent.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "ringbolt/secret.h"
#include "skip.h"

#define SECRET "an-unlikely-secret"

static struct fetch fetch;

// ---- children that misbehave ----

static void say(uint32_t magic, uint32_t result, uint32_t size, const char *bytes, size_t written)
{
    struct fetch_answer_header header = {.magic = magic, .result = result, .size = size};

    if (write(STDOUT_FILENO, &header, sizeof(header)) < 0 || write(STDOUT_FILENO, bytes, written) < 0)
        _exit(9);
}

static void say_text(const char *text)
{
    say(FETCH_MAGIC, FETCH_REFUSED, (uint32_t)strlen(text), text, strlen(text));
}

static void flood(void)
{
    static char bytes[4096];

    say(FETCH_MAGIC, FETCH_ANSWERED, 1 << 30, "", 0);
    while (write(STDOUT_FILENO, bytes, sizeof(bytes)) > 0)
        ;
    for (;;)
        pause();
}

// Somebody else holds the other end, and never ends by himself.
static void leave_a_grandchild(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        alarm(SECONDS_MAX);
        for (;;)
            pause();
    }
    say_text("grandchild");
    (void)!write(STDOUT_FILENO, "", 0);
}

// What stays open, as "0 1 2".
static void tell_descriptors(void)
{
    char text[128] = "";
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && fd != dirfd(directory) && strlen(text) < sizeof(text) - 16)
            snprintf(text + strlen(text), 16, "%d ", fd);
    }
    say_text(text);
}

static void tell_environment(void)
{
    char text[64];

    snprintf(text, sizeof(text), "passphrase %d path %d proxy %d", getenv("RINGBOLT_PASSPHRASE") != NULL,
             getenv("PATH") != NULL, getenv("http_proxy") != NULL);
    say_text(text);
}

static void tell_account(void)
{
    char text[128];

    snprintf(text, sizeof(text), "uid %u gid %u groups %d nnp %d", getuid(), getgid(), getgroups(0, NULL),
             prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say_text(text);
}

static void tell_limits(void)
{
    struct rlimit files;
    struct rlimit cpu;
    struct rlimit core;
    char text[128];

    if (fetch_confine("test") < 0)
        _exit(9);
    getrlimit(RLIMIT_FSIZE, &files);
    getrlimit(RLIMIT_CPU, &cpu);
    getrlimit(RLIMIT_CORE, &core);
    snprintf(text, sizeof(text), "files %d cpu %d core %d", (int)files.rlim_max, (int)cpu.rlim_max,
             (int)core.rlim_max);
    say_text(text);
}

// What it reads once confined: the parent's memory, a file of the parent's account, what a lookup needs.
static void tell_reach(void)
{
    char path[64];
    char text[128];
    bool can_trace;
    bool can_read_memory;
    bool can_read_file;
    bool can_read_hosts;
    pid_t parent = getppid();

    if (fetch_confine("test") < 0)
        _exit(9);
    snprintf(path, sizeof(path), "/proc/%d/mem", parent);
    can_read_memory = open(path, O_RDONLY) >= 0;
    can_trace = ptrace(PTRACE_SEIZE, parent, 0, 0) == 0;
    can_read_file = open("/proc/self/exe", O_RDONLY) >= 0;
    can_read_hosts = open("/etc/hosts", O_RDONLY) >= 0 || errno == ENOENT;
    snprintf(text, sizeof(text), "memory %d trace %d file %d hosts %d", can_read_memory, can_trace,
             can_read_file, can_read_hosts);
    say_text(text);
}

// Is a text that the parent holds in its memory somewhere in this one? Looks at everything that can be written.
static void tell_memory(void)
{
    char wanted[] = SECRET;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned found = 0;

    wanted[0] = 'A'; // so that this copy, and that of the program's text, are not what is found
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from;
        unsigned long to;
        char rights[5];

        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3 && rights[0] == 'r' && rights[1] == 'w' &&
            strstr(line, "[vvar") == NULL && to - from < 1ul << 30)
            found += memmem((void *)from, to - from, wanted, strlen(wanted)) != NULL;
    }
    snprintf(line, sizeof(line), "%s", found > 1 ? "found" : "not found"); // `wanted` itself is one
    say_text(line);
}

static const struct {
    const char *name;
    void (*act)(void);
} acts[] = {
    {"flood", flood},
    {"grandchild", leave_a_grandchild},
    {"descriptors", tell_descriptors},
    {"environment", tell_environment},
    {"account", tell_account},
    {"limits", tell_limits},
    {"reach", tell_reach},
    {"memory", tell_memory},
};

static _Noreturn void act_as_child(void)
{
    char url[128];

    peek_url(url, sizeof(url));
    for (size_t i = 0; i < COUNT(acts); i++) {
        if (strcmp(url, acts[i].name) == 0) {
            acts[i].act();
            _exit(0); // whatever it left open
        }
    }
    if (strcmp(url, "hang") == 0) {
        close(STDOUT_FILENO); // not even its socket shows that it lives
        close(STDIN_FILENO);
        for (;;)
            pause();
    }
    if (strcmp(url, "die") == 0)
        abort();
    if (strcmp(url, "fail") == 0) {
        say(FETCH_MAGIC, FETCH_ANSWERED, 4, "good", 4);
        _exit(7);
    }
    if (strcmp(url, "magic") == 0)
        say(1, FETCH_ANSWERED, 4, "good", 4);
    else if (strcmp(url, "result") == 0)
        say(FETCH_MAGIC, 99, 4, "good", 4);
    else if (strcmp(url, "short") == 0)
        say(FETCH_MAGIC, FETCH_ANSWERED, 5, "good", 4);
    else if (strcmp(url, "long") == 0)
        say(FETCH_MAGIC, FETCH_ANSWERED, 3, "good", 4);
    else if (strcmp(url, "huge") == 0)
        say(FETCH_MAGIC, FETCH_ANSWERED, UINT32_MAX, "good", 4);
    else if (strcmp(url, "control") == 0)
        say_text("\x1b[2J\n2026 ERROR forged \xff");
    else if (strcmp(url, "good") == 0)
        say(FETCH_MAGIC, FETCH_ANSWERED, 4, "good", 4);
    else if (strcmp(url, "silent") != 0)
        fetch_child();
    _exit(0);
}

// ---- one question ----

static void start(const char *url, uint64_t timeout_ns)
{
    struct fetch_question question = {
        .url = url, .request = (const uint8_t *)"request", .request_size = 7, .timeout_ns = timeout_ns};

    fetch_init(&fetch, loop);
    own_fetch = &fetch;
    is_reaped = false;
    assert_int_equal(fetch_start(&fetch, &account, &question), 0);
}

static const char *ask(const char *url)
{
    start(url, 30 * CLOCK_NS_PER_S);
    until(is_reaped);
    return reaped.why != NULL ? reaped.why : "";
}

static void done(void)
{
    fetch_stop(&fetch);
    own_fetch = NULL;
}

static void test_hostile(void **unused)
{
    static const struct {
        const char *url;
        enum fetch_result result;
        const char *why;
    } cases[] = {
        {"good", FETCH_ANSWERED, ""},
        {"flood", FETCH_FAILED, "said too much"},
        {"die", FETCH_FAILED, "ended by signal 6"},
        {"fail", FETCH_FAILED, "status 7"},
        {"silent", FETCH_FAILED, "no answer"},
        {"magic", FETCH_FAILED, "no answer"},
        {"result", FETCH_FAILED, "no answer"},
        {"short", FETCH_FAILED, "no answer"},
        {"long", FETCH_FAILED, "no answer"},
        {"huge", FETCH_FAILED, "no answer"},
        {"control", FETCH_REFUSED, "?[2J?2026 ERROR forged ?"},
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *why = ask(cases[i].url);

        if (strstr(why, cases[i].why) == NULL || reaped.result != cases[i].result)
            fail_msg("%s: %d, %s", cases[i].url, (int)reaped.result, why);
        assert_true((reaped.result == FETCH_ANSWERED) == (reaped.size == 4));
        done();
    }
}

// The child neither answers nor ends: the parent keeps the time.
static void test_hangs(void **unused)
{
    (void)unused;
    start("hang", 50 * CLOCK_NS_PER_MS);
    until(is_reaped);
    assert_int_equal(reaped.result, FETCH_UNREACHABLE);
    assert_string_equal(reaped.why, "no answer within 0.05 s");
    done();
}

// Who holds the socket after the child has ended holds up nobody.
static void test_grandchild(void **unused)
{
    (void)unused;
    // It becomes ours when the child ends: so that it can be ended.
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    assert_string_equal(ask("grandchild"), "grandchild");
    done();
    loop_unwatch(loop, &signal_watch);
    {
        char path[64];
        FILE *file;
        int pid = 0;

        snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
        file = fopen(path, "r");
        must(file != NULL && fscanf(file, "%d", &pid) == 1, "the grandchild");
        fclose(file);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

static void test_too_long(void **unused)
{
    static char url[FETCH_URL_SIZE_MAX + 2];
    struct fetch_question question = {.url = url, .timeout_ns = CLOCK_NS_PER_S};

    (void)unused;
    memset(url, 'x', sizeof(url) - 1);
    fetch_init(&fetch, loop);
    assert_int_equal(fetch_start(&fetch, &account, &question), -EMSGSIZE);
    url[FETCH_URL_SIZE_MAX] = '\0';
    question.request_size = FETCH_REQUEST_MAX + 1;
    assert_int_equal(fetch_start(&fetch, &account, &question), -EMSGSIZE);
    fetch_stop(&fetch);
    fetch_stop(&fetch);
}

// ---- what it gets, and what it can reach ----

static void test_descriptors(void **unused)
{
    int open_one = open("/dev/null", O_RDONLY); // without O_CLOEXEC

    (void)unused;
    assert_true(open_one >= 0);
    assert_string_equal(ask("descriptors"), "0 1 2 ");
    close(open_one);
    done();
}

static void test_environment(void **unused)
{
    (void)unused;
    setenv("RINGBOLT_PASSPHRASE", SECRET, 1);
    setenv("http_proxy", "", 1);
    assert_non_null(getenv("PATH"));
    assert_string_equal(ask("environment"), "passphrase 0 path 0 proxy 1");
    unsetenv("RINGBOLT_PASSPHRASE");
    unsetenv("http_proxy");
    done();
}

static void test_memory(void **unused)
{
    char *secret = secret_take(sizeof(SECRET));

    (void)unused;
#ifdef __SANITIZE_ADDRESS__
    secret_give(secret);
    skip_because("a sanitizer keeps it from looking at memory that nobody has allocated");
#endif
    must(secret != NULL, "memory");
    memcpy(secret, SECRET, sizeof(SECRET));
    secret[0] = 'A';
    assert_string_equal(ask("memory"), "not found");
    secret_give(secret);
    done();
}

static void test_account(void **unused)
{
    (void)unused;
    if (geteuid() != 0)
        skip_because("only root can become somebody else");
    account = (struct account){.uid = 65534, .gid = 65534};
    assert_string_equal(ask("account"), "uid 65534 gid 65534 groups 0 nnp 1");
    done();
}

static void test_limits(void **unused)
{
    (void)unused;
    assert_string_equal(ask("limits"), "files 0 cpu 10 core 0");
    done();
}

static bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

// Under the master's own account, as without root.
static void test_reach(void **unused)
{
    (void)unused;
    if (!has_landlock())
        skip_because("this kernel has no Landlock");
    assert_string_equal(ask("reach"), "memory 0 trace 0 file 0 hosts 1");
    done();
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_hostile),     TEST(test_hangs),       TEST(test_grandchild), TEST(test_too_long),
        TEST(test_descriptors), TEST(test_environment), TEST(test_memory),     TEST(test_account),
        TEST(test_limits),      TEST(test_reach),
    };

    if (world_is_child(argc, argv))
        act_as_child();
    return cmocka_run_group_tests_name("responder_child", tests, NULL, NULL);
}

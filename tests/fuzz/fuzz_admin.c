// SPDX-License-Identifier: Apache-2.0
// What a client of the admin socket may send, to a master with everything but workers: whatever it is, the client gets one line of JSON that says
// whether all is well, or has gone away itself, and the master goes on with the next.
//
// The first byte of an input says how it is sent: bit 0: in two pieces, cut at the second byte; bit 1: the client hangs up without an answer; bit 2:
// the master is draining; bit 3: there is a worker, which acts on whatever it is told, and what follows the first newline is what it has written as
// its page of a listing.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

#include "fuzz.h"
#include "ringbolt/clock.h"
#include "ringbolt/listing.h"
#include "ringbolt/log.h"
#include "ringbolt/shared_memory.h"
#include "ringbolt/stats.h"
#include "src/control/master.h"

#define IN_PIECES  1
#define HANGS_UP   2
#define IS_DRAINED 4
#define HAS_WORKER 8
#define PID        INT_MAX // nobody's
#define PAGES_MAX  2
#define FULL                                                                                                 \
    8 // entries take their time: a page has no more of them, unless it says that it has more than fit
#define SENT_MAX (ADMIN_REQUEST_MAX + 1000)

static struct master master;
static struct config *config;
static struct process worker;
static struct listing_page page;
static const uint8_t *written; // by the worker
static size_t written_size;
static unsigned pages;
static char folder[] = "/tmp/ringbolt-fuzz-admin-XXXXXX";
static char *answer; // ends with a zero
static size_t answer_length;

static void clean_up(void)
{
    admin_close(master.admin);
    reload_finish(&master);
    loop_destroy(master.loop);
    material_destroy(master.material);
    servers_destroy(master.servers);
    stats_destroy(master.stats);
    shared_memory_destroy((void *)master.used, MATERIAL_SLOTS_MAX * sizeof(*master.used));
    control_destroy(master.control);
    config_destroy(config);
    free(answer);
    rmdir(folder);
}

static void no_deadline(void *owner)
{
}

static void prepare(void)
{
    struct control_options options = {0};
    struct stats *stats = NULL;
    struct report report;

    if (master.loop)
        return;
    log_setup(LOG_TEXT, LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
    report_init(&report, NULL);
    REQUIRE(mkdtemp(folder) != NULL);
    REQUIRE(config_quick("127.0.0.1:1", "127.0.0.1:2", NULL, NULL, &config, &report) == 0);
    REQUIRE(stats_create(config, &stats) == 0);
    config->workers = 0;
    free(config->admin.socket);
    REQUIRE(asprintf(&config->admin.socket, "%s/socket", folder) > 0);
    options.config = config;
    master = (struct master){.config = config,
                             .stats = stats,
                             .control = control_create(NULL),
                             .succession = {.is_leading = true, .is_owner = true}};
    REQUIRE(control_load(master.control, &options, &report) == 0 && loop_create(&master.loop) == 0);
    report_finish(&report);
    master.used = shared_memory_create(MATERIAL_SLOTS_MAX * sizeof(*master.used));
    // A fuzzer that others keep from the CPU must not lose half an answer by it.
    admin_client_patience_ns = admin_workers_patience_ns = CLOCK_NS_PER_S * 3600;
    master.processes = &worker;
    master.listing = &page;
    REQUIRE(master.used != NULL && servers_create(config, &master.servers) == 0);
    loop_timer_init(&master.deadline, no_deadline, NULL);
    messages_init(&master.messages);
    REQUIRE(reload_load(&master) == 0 && reload_start(&master) == 0 && admin_open(&master) == 0 &&
            master.admin != NULL);
    answer = malloc(1);
    REQUIRE(answer != NULL);
    atexit(clean_up);
}

// Told nothing, since its channel is closed, it acts all the same when somebody waits for it. The length of the request.
static size_t worker_begin(const uint8_t *data, size_t size)
{
    const uint8_t *newline = memchr(data, '\n', size);
    size_t request = newline != NULL ? (size_t)(newline + 1 - data) : size;

    worker = (struct process){.master = &master, .pid = PID, .channel = -1, .is_killed = true};
    loop_timer_init(&worker.patience, no_deadline, NULL);
    messages_begin(&worker);
    written = data + request;
    written_size = size - request < sizeof(page) ? size - request : sizeof(page);
    pages = 0;
    return request;
}

// False: nobody waits for it. The page is the same each time; one that is empty, or comes often, is the last.
static bool worker_acts(void)
{
    if (config->workers == 0 || list_empty(&master.messages.waiters))
        return false;
    memset(&page, 0, sizeof(page));
    memcpy(&page, written, written_size);
    if (page.count > FULL && page.count <= LISTING_PAGE)
        page.count = FULL;
    if (page.count == 0 || ++pages == PAGES_MAX)
        page.has_more = 0;
    messages_answered(&worker, master.messages.sequence);
    return true;
}

static int come(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, config->admin.socket);
    REQUIRE(fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

// What is there by now. False at the end of file, or a reset: what it sent beyond its line nobody reads.
static bool hear(int fd)
{
    char bytes[4096];
    ssize_t length;

    while ((length = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        answer = realloc(answer, answer_length + (size_t)length + 1);
        REQUIRE(answer != NULL);
        memcpy(answer + answer_length, bytes, (size_t)length);
        answer_length += (size_t)length;
    }
    return length < 0 && errno == EAGAIN;
}

static void say(int fd, const uint8_t *bytes, size_t length)
{
    if (length > 0)
        REQUIRE(send(fd, bytes, length, MSG_NOSIGNAL) > 0 || errno == EPIPE || errno == ECONNRESET);
}

static void check_answer(void)
{
    json_t *object;

    answer[answer_length] = '\0';
    REQUIRE(strlen(answer) == answer_length && answer[answer_length - 1] == '\n' &&
            strchr(answer, '\n') == answer + answer_length - 1);
    object = json_loads(answer, JSON_REJECT_DUPLICATES, NULL);
    REQUIRE(json_is_boolean(json_object_get(object, "ok")));
    REQUIRE(json_is_true(json_object_get(object, "ok")) || json_is_string(json_object_get(object, "error")));
    json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t way = size > 0 ? data[0] : 0;
    size_t begin = size < 2 ? size : 2;
    size_t cut = size > 1 ? data[1] : 0;
    bool is_empty;
    int fd;

    prepare();
    master.state = way & IS_DRAINED ? MASTER_DRAINING : MASTER_SERVING;
    data += begin;
    size -= begin;
    config->workers = way & HAS_WORKER ? 1 : 0;
    if (config->workers > 0)
        size = worker_begin(data, size);
    size = size < SENT_MAX ? size : SENT_MAX;
    is_empty = size == 0;
    cut = way & IN_PIECES && cut < size ? cut : 0;
    answer_length = 0;
    fd = come();
    say(fd, data, cut);
    if (cut > 0) {
        for (int i = 0; i < 2; i++) // it is accepted, and heard
            REQUIRE(loop_turn(master.loop) == 0);
    }
    say(fd, data + cut, size - cut);
    if (way & HANGS_UP) {
        close(fd);
        fd = come(); // the next one shows that the master goes on
        is_empty = true;
    }
    (void)shutdown(fd, SHUT_WR);
    while (hear(fd))
        REQUIRE(worker_acts() || loop_turn(master.loop) == 0);
    close(fd);
    config->workers = 0;
    if (answer_length > 0)
        check_answer();
    else
        REQUIRE(is_empty); // who asks nothing is told nothing
    return 0;
}

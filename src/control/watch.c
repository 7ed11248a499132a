// SPDX-License-Identifier: Apache-2.0
// The watch on folders. Files are never watched themselves: a rename or a swapped link shows in a folder alone. For each folder that was asked
// for, its ancestors are watched too, but only for being moved or removed themselves.
#include "src/control/watch.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "src/config/memory.h"

#define LOOK_OVER_NS (60 * CLOCK_NS_PER_S)
#define POLL_NS      (5 * CLOCK_NS_PER_S) // while something can't be watched
#define DIRTY_MAX    64                   // more folders than this at once are one look at everything
#define READS_MAX    16                   // of a buffer of events, before others get their turn

#define SELF_EVENTS (IN_DELETE_SELF | IN_MOVE_SELF)
// IN_MODIFY would wake us for each write to a log file that lies in the same folder; who writes a certificate closes it.
#define ENTRY_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ATTRIB)

// A folder that was asked for, or an ancestor of one.
struct watched {
    struct watched *parent; // NULL: /
    struct list node;       // in watch->all
    struct list dirty;      // in watch->dirty while something happened there
    struct list twins;      // others that are the same folder to the kernel, by another path
    unsigned round;         // the last one that needed it
    unsigned named_round;   // the last one that asked for it
    int wd;                 // -1: not watched
    uint32_t mask;          // what is watched for
    bool is_doubtful;       // the path may lead to another folder by now
    char path[];
};

struct watch {
    struct loop *loop;
    watch_changed *changed;
    void *owner;
    int fd; // -1: no inotify
    struct loop_watch events;
    struct loop_timer quiet; // runs when what happened is told
    struct loop_timer look_over;
    void *by_path;
    void *by_wd; // one of each ring of twins
    struct list all;
    struct list dirty;
    uint64_t since_ns;  // the first event that was not told yet; 0: none
    bool is_everything; // tell NULL
    bool is_poor;       // something can't be watched
    bool is_poor_said;
    unsigned round;
};

static int path_compare(const void *a, const void *b)
{
    return strcmp(((const struct watched *)a)->path, ((const struct watched *)b)->path);
}

static int wd_compare(const void *a, const void *b)
{
    int left = ((const struct watched *)a)->wd;
    int right = ((const struct watched *)b)->wd;

    return (left > right) - (left < right);
}

static bool is_named(const struct watch *watch, const struct watched *watched)
{
    return watched->named_round == watch->round;
}

// ---- what happened ----

static void note_time(struct watch *watch)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t quiet_ns = now_ns + WATCH_QUIET_MS * CLOCK_NS_PER_MS;
    uint64_t end_ns;

    if (watch->since_ns == 0)
        watch->since_ns = now_ns;
    end_ns = watch->since_ns + WATCH_PATIENCE_MS * CLOCK_NS_PER_MS;
    loop_timer_set(watch->loop, &watch->quiet, quiet_ns < end_ns ? quiet_ns : end_ns);
}

static void note(struct watch *watch, struct watched *watched)
{
    if (!list_linked(&watched->dirty))
        list_push_back(&watch->dirty, &watched->dirty);
    note_time(watch);
}

static void note_everything(struct watch *watch)
{
    watch->is_everything = true;
    note_time(watch);
}

static bool is_below(const struct watched *watched, const struct watched *top)
{
    while (watched != NULL && watched != top)
        watched = watched->parent;
    return watched != NULL;
}

// The folder was moved or removed, and all below with it: by the same paths there is something else now, or nothing.
static void on_self(struct watch *watch, struct watched *top)
{
    for (struct list *node = watch->all.next; node != &watch->all; node = node->next) {
        struct watched *watched = list_entry(node, struct watched, node);

        if (!is_below(watched, top))
            continue;
        watched->is_doubtful = true;
        if (is_named(watch, watched))
            note(watch, watched);
    }
}

// ---- the kernel's watches ----

static struct watched *find_wd(const struct watch *watch, int wd)
{
    struct watched sought = {.wd = wd};
    void *const *place = tfind(&sought, &watch->by_wd, wd_compare);

    return place != NULL ? *place : NULL;
}

// Takes it out of its ring. Returns whether it was the last one that had this wd.
static bool detach(struct watch *watch, struct watched *watched)
{
    struct watched *first = find_wd(watch, watched->wd);
    struct list *next = watched->twins.next;
    bool is_last = !list_linked(&watched->twins);
    unsigned tries = 0;

    if (first == watched)
        tdelete(watched, &watch->by_wd, wd_compare);
    list_remove(&watched->twins);
    while (first == watched && !is_last &&
           tsearch(list_entry(next, struct watched, twins), &watch->by_wd, wd_compare) == NULL)
        memory_wait(&tries);
    watched->wd = -1;
    watched->mask = 0;
    return is_last;
}

static void unwatch(struct watch *watch, struct watched *watched)
{
    int wd = watched->wd;

    if (wd >= 0 && detach(watch, watched))
        (void)inotify_rm_watch(watch->fd, wd);
}

static void attach(struct watch *watch, struct watched *watched, int wd)
{
    struct watched **place;
    unsigned tries = 0;

    watched->wd = wd;
    while ((place = tsearch(watched, &watch->by_wd, wd_compare)) == NULL)
        memory_wait(&tries);
    if (*place != watched)
        list_push_back(&(*place)->twins, &watched->twins);
}

// Makes the kernel watch what is wanted of this folder. 0 or -errno.
static int rewatch(struct watch *watch, struct watched *watched)
{
    uint32_t wanted = is_named(watch, watched) ? SELF_EVENTS | ENTRY_EVENTS : SELF_EVENTS;
    // A mask that narrows replaces the old one, unless a twin has other wishes.
    uint32_t add =
        watched->wd >= 0 && !list_linked(&watched->twins) && !watched->is_doubtful ? 0 : IN_MASK_ADD;
    int wd;

    if (watched->wd >= 0 && watched->mask == wanted && !watched->is_doubtful)
        return 0;
    wd = inotify_add_watch(watch->fd, watched->path, wanted | IN_ONLYDIR | add);
    if (wd < 0) {
        wd = -errno;
        unwatch(watch, watched);
        return wd;
    }
    watched->is_doubtful = false;
    if (wd != watched->wd) {
        unwatch(watch, watched);
        attach(watch, watched, wd);
        // Nobody knows what happened there before this moment.
        if (is_named(watch, watched))
            note(watch, watched);
    } else if ((wanted & ~watched->mask) != 0) {
        note(watch, watched);
    }
    watched->mask = wanted;
    return 0;
}

static void forget(struct watch *watch, struct watched *watched)
{
    unwatch(watch, watched);
    list_remove(&watched->dirty);
    list_remove(&watched->node);
    tdelete(watched, &watch->by_path, path_compare);
    free(watched);
}

// ---- events ----

static void on_event(struct watch *watch, const struct inotify_event *event)
{
    struct watched *first;
    struct watched *watched;

    if (event->mask & IN_Q_OVERFLOW) {
        note_everything(watch);
        return;
    }
    first = find_wd(watch, event->wd);
    if (first == NULL) // removed by us; the kernel says so
        return;
    if (event->mask & (SELF_EVENTS | IN_UNMOUNT | IN_IGNORED)) {
        watched = first;
        do {
            on_self(watch, watched);
            watched = list_entry(watched->twins.next, struct watched, twins);
        } while (watched != first);
    }
    if (event->mask & IN_IGNORED) {
        while ((first = find_wd(watch, event->wd)) != NULL)
            detach(watch, first);
        return;
    }
    watched = first;
    do {
        if (is_named(watch, watched))
            note(watch, watched);
        watched = list_entry(watched->twins.next, struct watched, twins);
    } while (watched != first);
}

static void on_readable(void *owner, unsigned events)
{
    struct watch *watch = owner;
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t size = 1;

    for (unsigned i = 0; i < READS_MAX && size > 0; i++) {
        size = read(watch->fd, buffer, sizeof(buffer));
        for (ssize_t at = 0; at < size;) {
            const struct inotify_event *event = (const struct inotify_event *)(buffer + at);

            on_event(watch, event);
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    }
}

static void set_look_over(struct watch *watch)
{
    loop_timer_set(watch->loop, &watch->look_over,
                   clock_now_ns() + (watch->is_poor ? POLL_NS : LOOK_OVER_NS));
}

static void tell_everything(struct watch *watch)
{
    while (list_pop_front(&watch->dirty) != NULL)
        ;
    // Also a mount may have covered a folder, of which inotify says nothing.
    for (struct list *node = watch->all.next; node != &watch->all; node = node->next)
        list_entry(node, struct watched, node)->is_doubtful = true;
    watch->is_everything = false;
    watch->since_ns = 0;
    loop_timer_stop(&watch->quiet);
    set_look_over(watch);
    watch->changed(watch->owner, NULL);
}

static void on_look_over(void *owner)
{
    tell_everything(owner);
}

static void on_quiet(void *owner)
{
    struct watch *watch = owner;
    struct list told;
    struct list *node;
    size_t count = 0;

    for (node = watch->dirty.next; node != &watch->dirty; node = node->next)
        count++;
    if (watch->is_everything || count > DIRTY_MAX) {
        tell_everything(watch);
        return;
    }
    watch->since_ns = 0;
    list_init(&told);
    list_splice_back(&told, &watch->dirty);
    while ((node = list_pop_front(&told)) != NULL) {
        // The callee asks for folders again, which may free this one.
        char *path = memory_copy(list_entry(node, struct watched, dirty)->path);

        watch->changed(watch->owner, path);
        free(path);
    }
}

// ---- the folders to watch ----

void watch_begin(struct watch *watch)
{
    watch->round++;
}

static struct watched *watched_create(struct watch *watch, const char *path, size_t length)
{
    struct watched *watched = memory_allocate(sizeof(*watched) + length + 1);

    memcpy(watched->path, path, length);
    watched->wd = -1;
    list_init(&watched->node);
    list_init(&watched->dirty);
    list_init(&watched->twins);
    return watched;
}

// The one of this path, made if need be, and all its ancestors.
static struct watched *watched_get(struct watch *watch, const char *path, size_t length)
{
    struct watched *watched = watched_create(watch, path, length);
    unsigned tries = 0;
    struct watched **place;
    const char *slash;

    while ((place = tsearch(watched, &watch->by_path, path_compare)) == NULL)
        memory_wait(&tries);
    if (*place != watched) {
        free(watched);
        return *place;
    }
    list_push_back(&watch->all, &watched->node);
    slash = memrchr(path, '/', length);
    if (length > 1 && slash != NULL)
        watched->parent = watched_get(watch, path, slash == path ? 1 : (size_t)(slash - path));
    return watched;
}

void watch_folder(struct watch *watch, const char *folder)
{
    struct watched *watched;

    assert(folder[0] == '/');
    if (watch->fd < 0)
        return;
    watched = watched_get(watch, folder, strlen(folder));
    watched->named_round = watch->round;
    for (; watched != NULL && watched->round != watch->round; watched = watched->parent)
        watched->round = watch->round;
}

// Said once, until everything could be watched again. A folder that has just gone is no reason to complain.
static void say_poor(struct watch *watch, const char *folder, int error)
{
    const char *cure = "let the user that ringbolt starts as read this folder";

    if (watch->is_poor_said || error == -ENOENT || error == -ENOTDIR)
        return;
    watch->is_poor_said = true;
    if (error == -ENOSPC || error == -ENOMEM)
        cure = "raise the limit: sysctl fs.inotify.max_user_watches=524288";
    log_warning("folders can't be watched, files are looked at every 5 s", log_text("folder", folder),
                log_errno(error), log_text("cure", cure));
}

void watch_end(struct watch *watch)
{
    struct list *next;
    bool is_poor = watch->fd < 0;

    // Removed before others are added: the limit may be near.
    for (struct list *node = watch->all.next; node != &watch->all; node = next) {
        struct watched *watched = list_entry(node, struct watched, node);

        next = node->next;
        if (watched->round != watch->round)
            forget(watch, watched);
    }
    for (struct list *node = watch->all.next; node != &watch->all; node = node->next) {
        struct watched *watched = list_entry(node, struct watched, node);
        int error = rewatch(watch, watched);

        // An ancestor that may be passed but not read is how many folders of secrets are; the look-over must do.
        if (error == 0 || (error == -EACCES && !is_named(watch, watched)))
            continue;
        say_poor(watch, watched->path, error);
        is_poor = true;
    }
    if (is_poor != watch->is_poor) {
        watch->is_poor = is_poor;
        set_look_over(watch);
    }
    watch->is_poor_said = watch->is_poor_said && is_poor;
}

// ---- the object ----

static void start(struct watch *watch)
{
    int error;

    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    error = watch->fd < 0 ? -errno
                          : loop_watch(watch->loop, &watch->events, watch->fd, EPOLLIN, on_readable, watch);
    if (error == 0)
        return;
    log_warning(
        "folders can't be watched, files are looked at every 5 s", log_errno(error),
        log_text("cure", error == -EMFILE
                             ? "raise the limit: sysctl fs.inotify.max_user_instances=1024"
                             : "changes take effect all the same, or at once with `ringbolt reload`"));
    if (watch->fd >= 0)
        close(watch->fd);
    watch->fd = -1;
    watch->is_poor = true;
}

int watch_create(struct loop *loop, watch_changed *changed, void *owner, struct watch **ret)
{
    struct watch *watch = calloc(1, sizeof(*watch));

    if (watch == NULL)
        return -ENOMEM;
    *watch = (struct watch){.loop = loop, .changed = changed, .owner = owner, .fd = -1, .events = {.fd = -1}};
    list_init(&watch->all);
    list_init(&watch->dirty);
    loop_timer_init(&watch->quiet, on_quiet, watch);
    loop_timer_init(&watch->look_over, on_look_over, watch);
    start(watch);
    set_look_over(watch);
    *ret = watch;
    return 0;
}

void watch_destroy(struct watch *watch)
{
    if (watch == NULL)
        return;
    loop_timer_stop(&watch->quiet);
    loop_timer_stop(&watch->look_over);
    while (!list_empty(&watch->all))
        forget(watch, list_entry(watch->all.next, struct watched, node));
    if (watch->fd >= 0) {
        loop_unwatch(watch->loop, &watch->events);
        close(watch->fd);
    }
    free(watch);
}

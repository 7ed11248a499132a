// SPDX-License-Identifier: Apache-2.0
// Messages to the workers: a queue for each, in front of a channel that takes a few without anybody reading.
#include "messages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/file.h"
#include "ringbolt/log.h"
#include "ringbolt/socket.h"
#include "src/config/memory.h"

#define QUEUE_MAX 1024 // messages; a worker that lets so many wait takes none
#define RETRY_NS  (100 * CLOCK_NS_PER_MS)

// A descriptor that goes to each worker; that of a change is a file in memory.
struct passed_file {
    int fd;
    unsigned references;
};

struct message {
    struct list node;
    struct worker_message message;
    struct passed_file *file; // NULL: none goes with it
};

// Sequence numbers are compared as a circle: they may wrap.
static bool is_after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

// ---- files in memory ----

static void file_release(struct passed_file *file)
{
    if (!file || --file->references > 0)
        return;
    close(file->fd);
    free(file);
}

// Nobody can change it afterwards, so that a worker may read it where it is.
static int file_create(const struct change *change, struct passed_file **ret)
{
    struct passed_file *file = malloc(sizeof(*file));

    if (!file)
        return -ENOMEM;
    *file = (struct passed_file){.fd = file_sealed("ringbolt-change", change->data, change->size,
                                                   F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
                                 .references = 1};
    if (file->fd < 0) {
        int error = file->fd;

        free(file);
        return error;
    }
    *ret = file;
    return 0;
}

// ---- one worker's queue ----

static void drop_first(struct messages_queue *queue)
{
    struct message *message = list_entry(list_pop_front(&queue->queued), struct message, node);

    queue->count--;
    file_release(message->file);
    free(message);
}

// 0, or -errno.
static int send_one(int channel, const struct message *message)
{
    struct iovec part = {.iov_base = (void *)&message->message, .iov_len = sizeof(message->message)};

    return socket_send_with(channel, &part, 1, message->file ? &message->file->fd : NULL, message->file ? 1 : 0);
}

void messages_writable(struct process *process)
{
    struct messages_queue *queue = &process->messages;
    struct loop *loop = process->master->loop;

    while (process->channel >= 0 && !list_empty(&queue->queued)) {
        int error = send_one(process->channel, list_entry(queue->queued.next, struct message, node));

        if (error == -EINTR)
            continue;
        if (error == -EAGAIN) {
            (void)loop_events(loop, &process->watch, EPOLLIN | EPOLLOUT);
            return;
        }
        if (error == -ENOBUFS || error == -ENOMEM || error == -ETOOMANYREFS) {
            // Not the channel is full but the kernel: it says nothing when that is over.
            (void)loop_events(loop, &process->watch, EPOLLIN);
            loop_timer_set(loop, &process->retry, clock_now_ns() + RETRY_NS);
            return;
        }
        if (error < 0)
            break; // it is dying: SIGCHLD tells how
        drop_first(queue);
    }
    if (process->channel >= 0)
        (void)loop_events(loop, &process->watch, EPOLLIN);
}

static bool is_answered(uint32_t type)
{
    return type == WORKER_CHANGE || type == WORKER_DRAIN_RETIRED || type == WORKER_LIST || type == WORKER_PING;
}

static void enqueue(struct process *process, const struct worker_message *contents, struct passed_file *file)
{
    struct messages_queue *queue = &process->messages;
    struct message *message = NULL;
    unsigned tries = 0;

    while (queue->count < QUEUE_MAX && !(message = malloc(sizeof(*message))) && memory_hope(&tries))
        ;
    if (!message) {
        supervise_give_up(process, queue->count < QUEUE_MAX ? "no memory for a message to it"
                                                            : "it takes no messages");
        return;
    }
    *message = (struct message){.message = *contents, .file = file};
    if (file)
        file->references++;
    list_push_back(&queue->queued, &message->node);
    queue->count++;
    if (is_answered(contents->type)) {
        if (!messages_owes(process))
            queue->since_ns = clock_now_ns();
        queue->owed = contents->sequence;
        supervise_expect(process);
    }
    if (queue->count == 1)
        messages_writable(process);
}

bool messages_owes(const struct process *process)
{
    return is_after(process->messages.owed, process->messages.acted);
}

void messages_begin(struct process *process)
{
    uint32_t sequence = process->master->messages.sequence;

    process->messages = (struct messages_queue){.acted = sequence, .owed = sequence};
    list_init(&process->messages.queued);
}

// ---- those who wait ----

static unsigned count_late(const struct master *master, uint32_t sequence, unsigned *ret_first)
{
    unsigned late = 0;

    for (unsigned i = 0; i < master->config->workers; i++) {
        const struct process *process = &master->processes[i];

        if (process->pid == 0 || !is_after(sequence, process->messages.acted))
            continue;
        if (late++ == 0)
            *ret_first = i;
    }
    return late;
}

static void finish(struct messages_waiter *waiter)
{
    unsigned first = 0;
    unsigned late = count_late(waiter->master, waiter->sequence, &first);

    messages_forget(waiter);
    waiter->done(waiter->owner, late, first);
}

static void time_is_up(void *owner)
{
    finish(owner);
}

static struct messages_waiter *find_done(const struct master *master)
{
    unsigned first;

    for (struct list *node = master->messages.waiters.next; node != &master->messages.waiters;
         node = node->next) {
        struct messages_waiter *waiter = list_entry(node, struct messages_waiter, node);

        if (count_late(master, waiter->sequence, &first) == 0)
            return waiter;
    }
    return NULL;
}

static void look_at_waiters(const struct master *master)
{
    struct messages_waiter *waiter;

    while ((waiter = find_done(master))) // from the start each time: `done` may remove any of them
        finish(waiter);
}

void messages_wait(struct master *master, struct messages_waiter *waiter, uint64_t timeout_ns,
                   messages_done *done, void *owner)
{
    *waiter = (struct messages_waiter){
        .master = master, .sequence = master->messages.sequence, .done = done, .owner = owner};
    loop_timer_init(&waiter->timer, time_is_up, waiter);
    list_push_back(&master->messages.waiters, &waiter->node);
    loop_timer_set(master->loop, &waiter->timer, clock_now_ns() + timeout_ns);
    look_at_waiters(master);
}

void messages_forget(struct messages_waiter *waiter)
{
    if (!waiter->master)
        return;
    waiter->master = NULL;
    list_remove(&waiter->node);
    loop_timer_stop(&waiter->timer);
}

void messages_answered(struct process *process, uint32_t sequence)
{
    struct messages_queue *queue = &process->messages;

    if (!is_after(sequence, queue->acted) || is_after(sequence, process->master->messages.sequence))
        return; // nothing that it was told
    queue->acted = sequence;
    queue->since_ns = clock_now_ns();
    supervise_expect(process);
    look_at_waiters(process->master);
}

void messages_drop(struct process *process)
{
    loop_timer_stop(&process->retry);
    while (!list_empty(&process->messages.queued))
        drop_first(&process->messages);
    look_at_waiters(process->master);
}

// ---- all workers ----

void messages_init(struct messages *messages)
{
    list_init(&messages->waiters);
}

static void tell_all(struct master *master, enum worker_message_type type, uint64_t value,
                     struct passed_file *file)
{
    struct worker_message message = {.type = type, .sequence = ++master->messages.sequence, .value = value};

    for (unsigned i = 0; i < master->config->workers; i++) {
        // One whose channel is closed is dying.
        if (master->processes[i].pid != 0 && master->processes[i].channel >= 0)
            enqueue(&master->processes[i], &message, file);
    }
}

void messages_send(struct master *master, enum worker_message_type type, uint64_t value)
{
    tell_all(master, type, value, NULL);
}

int messages_change(struct master *master, const struct change *change)
{
    struct passed_file *file = NULL;
    unsigned tries = 0;
    int error;

    if (supervise_alive(master) == 0)
        return 0; // whoever comes inherits
    // For want of memory or descriptors: workers that miss a change would serve what was until they are replaced.
    do
        error = file_create(change, &file);
    while (error < 0 && memory_hope(&tries));
    if (error < 0) {
        log_error("cannot send a change of material to the workers", log_integer("bytes", change->size),
                  log_errno(error));
        return error;
    }
    tell_all(master, WORKER_CHANGE, change->size, file);
    file_release(file);
    return 0;
}

int messages_tell(struct process *process, enum worker_message_type type, uint64_t value, int fd)
{
    // The number of the last message to all: a worker that was not told this one owes nothing.
    struct worker_message message = {
        .type = type, .sequence = process->master->messages.sequence, .value = value};
    struct passed_file *file = process->pid != 0 && process->channel >= 0 ? malloc(sizeof(*file)) : NULL;

    if (!file) {
        close(fd);
        return process->pid != 0 && process->channel >= 0 ? -ENOMEM : -EPIPE;
    }
    *file = (struct passed_file){.fd = fd, .references = 1};
    enqueue(process, &message, file);
    file_release(file);
    return 0;
}

int messages_descriptor(struct master *master, enum worker_message_type type, int fd)
{
    struct passed_file *file = malloc(sizeof(*file));

    if (!file) {
        close(fd);
        return -ENOMEM;
    }
    *file = (struct passed_file){.fd = fd, .references = 1};
    tell_all(master, type, 0, file);
    file_release(file);
    return 0;
}

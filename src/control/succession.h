// SPDX-License-Identifier: Apache-2.0
// From one master to the next: an upgrade (the program at the path from which the first one was started), or a reload with a changed
// configuration (the program that runs). The predecessor forks, the child executes the program with the arguments and the environment of the
// first start, and both talk over a SOCK_SEQPACKET pair that nobody else has (estate.h):
//
//      successor                                   predecessor
//        HELLO version, process id, release  →
//                                            ←      HELLO version, release; the estate, item by item; END
//      loads its configuration, takes over sockets, starts its workers, which accept nobody yet
//        READY                               →      its workers pause, its admin and http sockets are left alone
//                                            ←      SERVERS, RETIRED: what operators have said meanwhile; LEAD number of workers
//      its workers accept; it answers the admin socket, the service manager and (by way of the first process) signals
//        GIVE worker, descriptor             →      that worker gives its connections there
//                                            ←      GIVE worker: that broke, another descriptor is wanted
//                                            ←      RELEASED until when it drains, after a probation of 5 s (longer while connections move), or when
//                                                   RELEASE asks for it
//                                                   drains what is left and ends, or becomes the keeper
//        SERVERS, RETIRED                    →      what operators say on probation, in case that it has to go on
//        REOPEN                              →      the log file was moved away
//        DRAIN, STOP                         →      what the successor was told to do itself
//
// FAILED, with the reason, or the end of file in place of READY: the predecessor goes on as if nothing had happened; it has never ceased to
// serve. So it does when the successor dies while it is on probation. The predecessor's end before LEAD ends the successor, after it nothing.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "estate.h"
#include "loop.h"

struct admin_client;
struct control;
struct master;
struct process;

#define SUCCESSION_VERSION 1

// How long a successor may take until it is ready (60 s), and its predecessor is able to go on afterwards (5 s, and up to twelve times as long
// while connections move).
extern uint64_t succession_patience_ns;
extern uint64_t succession_probation_ns;

enum succession_kind {
    SUCCESSION_UPGRADE, // the program at the path of the first start
    SUCCESSION_RELOAD,  // the program that runs
};

enum successor_state {
    SUCCESSOR_NONE,
    SUCCESSOR_WANTED,   // our own probation is to be over first
    SUCCESSOR_STARTING, // forked, not ready
    SUCCESSOR_LEADS,    // on probation
    SUCCESSOR_RELEASED, // for good
};

struct succession {
    // ---- towards our successor (succession_predecessor.c) ----
    enum successor_state state;
    enum succession_kind kind;
    pid_t pid;   // of the successor; 0: none, or it has ended
    int channel; // to it; -1: none
    struct loop_watch watch;
    struct estate estate; // what is being sent
    size_t sent;
    struct loop_timer patience; // STARTING: until it is ready; LEADS: of its probation
    struct loop_timer retry;    // the kernel had no room for a message
    struct admin_client *asker; // who waits for the outcome; NULL: nobody
    char *reason;               // what FAILED said; NULL: nothing
    char release[32];           // the successor's
    uint64_t began_ns;
    unsigned told; // workers of ours that were told to give their connections away
    unsigned done; // of them
    uint64_t given;
    uint64_t kept;
    struct loop_timer again; // when those whose hand-over broke ask for another
    uint64_t leads_ns;       // LEADS: since then
    uint64_t moved;          // connections that our workers were done with at the last look at the probation
    // ---- towards our predecessor (succession_successor.c) ----
    struct loop_watch predecessor_watch;
    bool is_ready;   // READY was said
    bool is_leading; // LEAD was heard, or there was no predecessor
    uint32_t givers;      // the predecessor's workers
    uint32_t givers_told; // of them: to whom to give
    uint32_t again_told;  // once more
    bool is_owner;   // the predecessor can't come back: files of unix sockets are ours
    // ---- the first process (succession_first.c) ----
    int first; // the masters' end of the channel to it; -1: none
    struct loop_watch first_watch;
    pid_t first_pid; // 0: that's us
    bool is_kept;    // it is the keeper by now
    int keeper;      // in the first process: its own end; -1: none
    struct loop_watch keeper_watch;
    pid_t leader; // in the first process: who leads; 0: we do
    bool has_leader_ended;
    int leader_status; // of wait(2)
    uint64_t term_ns;  // the last TERM or QUIT; 0: none
    pid_t term_sender;
    bool term_was_passed; // by another master, or the keeper
};

// ---- either half ----

void succession_init(struct master *master);
void succession_finish(struct master *master);
// Whether this master is the one that serves: not a successor that has not been told to lead.
bool succession_leads(const struct master *master);
// The master begins to drain or to stop by itself: the other generations do the same. Before it closes its sockets.
void succession_ending(struct master *master, bool at_once);

// ---- the predecessor ----

// Starts a successor. `asker` (NULL: a signal) gets its answer when that is ready, or has failed; admin_hold() was called. NULL, or static
// words why not: nothing was done, and nobody is answered.
const char *succession_begin(struct master *master, enum succession_kind kind, struct admin_client *asker);
// The client has gone away.
void succession_forget(struct master *master, const struct admin_client *client);
// A process has ended: true if it was the successor, or the one that leads.
bool succession_reap(struct master *master, pid_t pid, int status);
// WORKER_GIVEN or WORKER_GIVE_FAILED, with its sequence and value; or the end of a worker, which counts as the latter where it was giving.
void succession_given(struct process *process, uint32_t sequence, bool is_failed, uint64_t value);
// A signal while another leads: it is passed on. False: it is ours.
bool succession_pass(const struct master *master, int number);
// The probation of the successor is over.
void succession_release(struct master *master);
// Our own predecessor has let go.
void succession_released(struct master *master);
// Adds one of our own words to what the successor is sent. `fd` as with ESTATE_CLOSE.
void succession_say(struct master *master, enum estate_type type, const void *bytes, size_t size, int fd);

// ---- the successor ----

// Every worker is ready: says so, and waits to be told to lead. False: there is no predecessor, we lead already.
bool succession_ready(struct master *master);
// Watches the channel to the predecessor. 0 or -errno.
int succession_watch(struct master *master);
// The predecessor can't come back: what it had is ours. Harmless when it was before.
void succession_own(struct master *master);
// An operator has said something of servers or certificates: the predecessor is to know it too as long as it may go on in our place.
void succession_tell_orders(struct master *master);
// The log file is to be opened again: the predecessor, which may still drain, does the same, and so on.
void succession_reopen(struct master *master);
// We want to be succeeded ourselves while we are on probation.
void succession_ask_release(struct master *master);

// ---- the first process ----

// Makes it possible that others lead: the channel, and that all descendants are left to us. Harmless in any other process. 0 or -errno.
int succession_first_open(struct master *master);
// Tells the first process who leads: `pid`, our successor or ourselves.
void succession_first_leads(struct master *master, pid_t pid);
// The same of its end.
void succession_first_ended(struct master *master, pid_t pid, int status);
// In the first process: takes what masters have said. Harmless in any other.
void succession_first_hear(struct master *master);
// Watches for words of the first process, if we lead, or for its end only.
void succession_first_watch(struct master *master, bool is_leading);
int succession_first_inherit(struct master *master); // from the estate; 0 or -errno
int succession_first_leave(struct master *master, struct estate *ret);
void succession_first_kept(struct master *master); // the predecessor is told as well
// At the end of a master: becomes the keeper if it was the first process and another leads. Returns the exit status otherwise.
int succession_first_end(struct master *master, int status);

// ---- what the first start was like (start.c) ----

// The program that an upgrade executes; NULL: it was not found.
const char *start_program(void);
const char *start_variable(const char *name); // of its environment; NULL: there is none
bool start_is_known(enum succession_kind kind);
int start_inherit(const struct estate *inherited); // 0 or -errno
int start_leave(struct estate *ret);
// In a child just forked from `parent`: executes the program with `channel`. Returns only when that failed: -errno and *ret_what.
int start_again(enum succession_kind kind, int channel, pid_t parent, const char **ret_what);
// The channel to the predecessor that start_again() handed to this process, taken out of the environment; -1: there is none.
int start_channel(pid_t *ret_predecessor);

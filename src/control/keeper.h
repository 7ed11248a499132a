// SPDX-License-Identifier: Apache-2.0
// The first process, once a successor leads: the process id that a user, a shell, a supervisor or a container started stays the same for ever.
// It passes signals on to the master that leads, buries what was left to it, and ends as the last master did. While it still drains connections
// it does so as a master (succession_predecessor.c); afterwards it executes the program anew, as the keeper, and holds nothing else.
//
// Masters talk to it over one SOCK_SEQPACKET pair, whose end they hand on from one to the next. Releases may differ, so the format of these
// messages never changes; what is not understood is ignored.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ringbolt/log.h"

#define KEEPER_COMMAND   "keeper" // the internal command
#define KEEPER_ARGUMENTS 7        // the name and the command among them

enum keeper_word {
    KEEPER_LEADS = 1, // master → keeper: process `pid` leads
    KEEPER_ENDED = 2, // master → keeper: its child, the leading process `pid`, ended with `status` (wait(2))
    KEEPER_SAYS =
        4, // master → keeper: `text` is for the service manager, which listens to the first process only
    // keeper → master: the first process is the keeper now; it never comes back, and nobody outlives it
    KEEPER_KEEPS = 3,
};

struct keeper_message {
    uint32_t word; // enum keeper_word
    int32_t pid;
    int32_t status;
    char text[512]; // of KEEPER_SAYS; only as much of it is sent as there is, without a zero at the end
};

// Never blocks; a message that can't be sent is lost with the one who would have read it.
void keeper_say(int fd, enum keeper_word word, pid_t pid, int status);
void keeper_say_text(int fd, const char *text); // KEEPER_SAYS
// 1: a message; 0: the other side is gone; -EAGAIN: there is none.
int keeper_hear(int fd, struct keeper_message *ret);

// The exit status that stands for how a process ended: its own, or 128 and the signal.
int keeper_status(int status);

struct keeper_setup {
    int fd;       // the keeper's end
    pid_t leader; // who leads
    enum log_format format;
    enum log_level level;
    const char *log_file;      // NULL: standard error
    const char *notify_socket; // NULL: no service manager listens
};

// Becomes the keeper, by way of execve(2). Signals are blocked, and so are those of children.
_Noreturn void keeper_become(const struct keeper_setup *setup);
// The internal command.
_Noreturn void keeper_main(char **argv);

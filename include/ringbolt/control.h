// SPDX-License-Identifier: Apache-2.0
// The master: owns the listening sockets and the material, starts the workers and replaces those that die, answers
// signals and the admin socket. It never touches a peer's bytes.
//
// Signals: TERM and QUIT drain (a second one stops at once), INT stops at once, HUP looks at all certificate files again. USR2
// is not supported by this version: a warning, and everything goes on. USR1 opens `log.file` again. The workers ignore all of these, so that a terminal's ^C or
// a service manager that signals the whole group is answered by the master alone.
//
// Listening sockets: one for each worker and TCP address (SO_REUSEPORT), one for all workers at a unix address. The file
// of a unix address is made with mode 0666 less the umask (connecting needs the right to write: with the usual umask 022 only
// the user who started Ringbolt connects), replaces a file that nobody listens at any more, and is removed at the end.
#pragma once

#include <stdbool.h>

#include "ringbolt/config.h"

// A master that is not running yet: what a configuration names, read and found good.
struct control;

// First of all in a process that is to `run`, before its options are parsed: notes program, arguments, environment and standard error, as a
// successor is to be started with them (docs/upgrade.md). Once.
void control_remember(char **argv);

// Before the configuration is loaded: keeps the bytes of its file, so that a reload can tell later whether it was
// changed since. file: absolute or relative path; NULL: no file (the command line). A file that can't be read is config_load()'s
// to complain about. Aborts on no memory, as all of start-up.
struct control *control_create(const char *file);
void control_destroy(struct control *control); // NULL is accepted; wipes

// Takes what a predecessor leaves, if there is one: it has executed us. 0, or -errno with a line in the log.
int control_inherit(struct control *control);
// Tells the predecessor, if there is one, that we can't start, with the errors of `report`. True: it was told, and its log will have them.
bool control_failed(struct control *control, const struct report *report);

struct control_options {
    const struct config *config; // stays the caller's, and must outlive the control
    const char *develop_ca; // where to write the authority of a development certificate; NULL: nowhere
    bool is_check;          // for `ringbolt check`: what would only be a warning in a folder is an error
    bool may_ask;           // a passphrase that is configured nowhere is asked for at the terminal
};

// Checks what the configuration demands of this system besides files: the account that workers become. 0, or -EINVAL with
// a line in `report`.
int control_check(const struct config *config, struct report *report);

// Reads certificates, keys, authorities, revocation lists, ticket keys and OCSP responses; makes a development certificate for
// listeners that name none. 0, or -EINVAL; errors and warnings are in `report`. Once for each control.
int control_load(struct control *control, const struct control_options *options, struct report *report);

// Makes `log.file`, if there is one, this process's standard error; what is complained about afterwards goes there. 0, or -errno with a
// line in `report`.
int control_log(const struct config *config, struct report *report);

// After control_load(). Takes over the sockets that a service manager passed (sd_listen_fds(3)), binds every other address, starts the workers, logs `ready` with every address once all of them accept, and
// serves until TERM (drain, at most config->shutdown_timeout_ns), INT (stop at once), or the same by the admin socket. Returns the
// exit status: 0 after an orderly end, 1 when it could not start, or connections had to be cut at the end of a drain, or a
// worker did not end by itself; 3 when control_check() would complain, or a keylog file can't be written. What went wrong is
// in the log, which has to go to standard error (or another descriptor up to 2: a worker keeps no others of the program).
// Once a process: it changes signal mask and dispositions and the limit of descriptors.
int control_run(struct control *control);

// For the log and for `ringbolt probe`: why kernel TLS can't be had, by record_probe.attach_error, and the cure. The cure is
// static text, the reason may be log_error_text()'s.
const char *control_ktls_reason(int attach_error);
const char *control_ktls_cure(int attach_error);

// SPDX-License-Identifier: Apache-2.0
// The master: owns the listening sockets and the material, starts the workers and replaces those that die, answers
// signals. It never touches a peer's bytes.
//
// Signals: TERM and QUIT drain (a second one stops at once), INT stops at once. HUP and USR2 are not supported by this
// version: a warning, and everything goes on. The workers ignore all of these, so that a terminal's ^C or a service manager that
// signals the whole group is answered by the master alone.
//
// Listening sockets: one for each worker and TCP address (SO_REUSEPORT), one for all workers at a unix address. The file
// of a unix address is made with mode 0666 less the umask (connecting needs the right to write: with the usual umask 022 only
// the user who started Ringbolt connects), replaces a file that nobody listens at any more, and is removed at the end.
#pragma once

#include "ringbolt/config.h"
#include "ringbolt/tls.h"

// Checks what the configuration demands of this system besides files: the account that workers become. 0, or -EINVAL with
// a line in `report`.
int control_check(const struct config *config, struct report *report);

// Binds every address, starts the workers, logs `ready` with every address once all of them accept, and serves until
// TERM (drain, at most config->shutdown_timeout_ns), INT (stop at once). Returns the exit status: 0 after an orderly end, 1
// when it could not start, or connections had to be cut at the end of a drain, or a worker did not end by itself; 3 when
// control_check() would complain. What went wrong is in the log. config and material stay the caller's.
// Once a process: it changes signal mask and dispositions and the limit of descriptors.
int control_run(const struct config *config, const struct material *material);

// For the log and for `ringbolt probe`: why kernel TLS can't be had, by record_probe.attach_error, and the cure. The cure is
// static text, the reason may be log_error_text()'s.
const char *control_ktls_reason(int attach_error);
const char *control_ktls_cure(int attach_error);

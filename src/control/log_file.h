// SPDX-License-Identifier: Apache-2.0
// `log.file`: standard error becomes that file, in the master and in all workers, and another one of the same name after USR1.
#pragma once

struct master;

// USR1: opens the file anew, for who has moved the one before away (logrotate). What goes wrong is in the log, which then goes on
// where it went. Without `log.file` there is nothing to do.
void log_file_reopen(struct master *master);

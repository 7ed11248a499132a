// SPDX-License-Identifier: Apache-2.0
// The watch: tells when something in a folder changed (inotify), also when the folder itself is replaced. Events are collected until
// WATCH_QUIET_MS have passed without one, at most WATCH_PATIENCE_MS, so that the two files of a pair are usually both there.
#pragma once

#include "loop.h"

#define WATCH_QUIET_MS    100
#define WATCH_PATIENCE_MS 500

struct watch;

// `changed` is called with a folder in which something happened, NULL: anything may have changed (the kernel's queue overflowed, a folder
// is not watchable, or a look-over every 60 s for file systems that tell nothing). A folder that is watched anew counts as one in which
// something happened: whoever looks at its files then has missed nothing. The callee names the folders to watch again; where a link or a
// folder was replaced they may be others. It must not destroy the watch.
typedef void watch_changed(void *owner, const char *folder);

// 0 and *ret; inotify that can't be had is said in the log, and files are then looked at every 5 s instead. -ENOMEM.
int watch_create(struct loop *loop, watch_changed *changed, void *owner, struct watch **ret);
void watch_destroy(struct watch *watch); // NULL is accepted

// The folders to watch from now on: call watch_begin(), watch_folder() for each, watch_end(); what is not named again is not watched
// any more. An absolute path, best without symbolic links, for what happens to those is not told. A folder whose ancestor is renamed or removed
// counts as changed itself.
void watch_begin(struct watch *watch);
void watch_folder(struct watch *watch, const char *folder);
void watch_end(struct watch *watch);

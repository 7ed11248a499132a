// SPDX-License-Identifier: Apache-2.0
// Standard error rather than a descriptor of its own: what libraries, sanitizers and assertions have to say lands there too, workers
// keep it (system_keep_descriptors()), and their sandbox needs nothing but dup3(2) to have another one.
#include "log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master.h"
#include "ringbolt/log.h"

// A descriptor, or -errno.
static int open_file(const char *path)
{
    // Not blocking: a FIFO without a reader must not hang the start.
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    struct stat status;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return fd;
    close(fd);
    return -EINVAL; // its text, "Invalid argument", is put right by the words around it
}

int control_log(const struct config *config, struct report *report)
{
    const char *path = config->log.file;
    int fd;

    if (!path)
        return 0;
    fd = open_file(path);
    if (fd < 0) {
        report_add(report, config->log.file_where,
                   "cannot append to `log.file` %s: %s; it must be a regular file in a "
                   "folder that is there",
                   path, log_error_text(fd));
        return fd;
    }
    log_info("the log goes on in a file", log_text("file", path));
    (void)dup3(fd, STDERR_FILENO, 0);
    close(fd);
    log_setup(config->log.format, config->log.level, STDERR_FILENO);
    return 0;
}

void log_file_reopen(struct master *master)
{
    const char *path = master->config->log.file;
    int fd;

    succession_reopen(master);
    if (!path) {
        log_info("USR1: there is no log.file to open again");
        return;
    }
    fd = open_file(path);
    if (fd < 0) {
        log_error("cannot open the log file again", log_text("file", path), log_errno(fd),
                  log_text("cure", "a regular file that ringbolt may append to; then USR1 once more"));
        return;
    }
    (void)dup3(fd, STDERR_FILENO, 0);
    log_info("log file opened again", log_text("file", path));
    if (messages_descriptor(master, WORKER_LOG, fd) < 0)
        log_error("workers go on writing to the log file that was", log_errno(ENOMEM));
}

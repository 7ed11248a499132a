// SPDX-License-Identifier: Apache-2.0
#include "acme.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ringbolt/log.h"

// A descriptor or -errno. It gives no right but to be a beginning of paths: what is beneath is opened with the rights of who does.
static int open_folder(const char *path)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int acme_check(const struct config *config, struct report *report)
{
    int result = 0;

    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_redirect *redirect = &config->listeners[i].redirect;
        int fd = redirect->acme ? open_folder(redirect->acme) : -1;

        if (fd >= 0) {
            close(fd);
        } else if (redirect->acme) {
            report_add(report, redirect->acme_where,
                       "`acme` cannot be `%s`: %s; make this folder, which ACME clients call the webroot",
                       redirect->acme, strerror(-fd));
            result = -EINVAL;
        }
    }
    return result;
}

int acme_open(const struct config *config, int **ret)
{
    int *folders = malloc(config->listener_count * sizeof(*folders));

    if (!folders) {
        log_error("no memory");
        return -ENOMEM;
    }
    for (size_t i = 0; i < config->listener_count; i++)
        folders[i] = -1;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        int fd = listener->redirect.acme ? open_folder(listener->redirect.acme) : -1;

        if (listener->redirect.acme && fd < 0) {
            log_error("cannot open the folder for ACME tokens", log_text("listener", listener->name),
                      log_text("folder", listener->redirect.acme), log_errno(fd));
            acme_close(config, folders);
            return fd;
        }
        folders[i] = fd;
    }
    *ret = folders;
    return 0;
}

void acme_close(const struct config *config, int *folders)
{
    for (size_t i = 0; folders && i < config->listener_count; i++) {
        if (folders[i] >= 0)
            close(folders[i]);
    }
    free(folders);
}

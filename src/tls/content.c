// SPDX-License-Identifier: Apache-2.0
// The content of files.
#include "src/tls/content.h"

#include <errno.h>
#include <sys/stat.h>

#include "ringbolt/file.h"

#define SIZE_MAX_BYTES ((size_t)1 << 20)

static const char *reason_text(int error)
{
    switch (error) {
    case -EISDIR:
        return "is a folder";
    case -EINVAL:
        return "is not a regular file";
    case -EFBIG:
        return "is larger than 1 MiB";
    case -EAGAIN:
        return "is still being written";
    default:
        return NULL;
    }
}

int content_read(const struct named_file *file, struct content *ret)
{
    struct content content = {0};
    int result = file_read_secret(file->path, SIZE_MAX_BYTES, &content.bytes, &content.size);
    const char *reason = reason_text(result);

    if (result == 0 && content.size == 0) {
        content_finish(&content);
        reason = "is empty";
    }
    if (reason != NULL) {
        file_complain(file, "%s %s %s; %s", file->what, file->path, reason, file->cure);
        return -EINVAL;
    }
    if (result < 0) {
        file_complain(file, "cannot read %s %s: %s; %s", file->what, file->path, log_error_text(result),
                      result == -EACCES ? "let the user that starts Ringbolt read it" : file->cure);
        return -EINVAL;
    }
    *ret = content;
    return 0;
}

void content_finish(struct content *content)
{
    file_free_secret(content->bytes, content->size);
    *content = (struct content){0};
}

void content_warn_mode(const struct named_file *file)
{
    struct stat facts;
    mode_t wrong = S_IWGRP | S_IROTH | S_IWOTH;

    if (stat(file->path, &facts) < 0)
        return;
    if (facts.st_uid != 0)
        wrong |= S_IRGRP;
    if ((facts.st_mode & wrong) == 0)
        return;
    file_warn(file, "%s %s can be %s by others than its owner (mode %04o); chmod 0600 it", file->what,
              file->path, (facts.st_mode & wrong & (S_IWGRP | S_IWOTH)) != 0 ? "changed" : "read",
              (unsigned)facts.st_mode & 07777);
}

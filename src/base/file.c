// SPDX-License-Identifier: Apache-2.0
// Small files as a whole. Written ones come into being without a name (O_TMPFILE), so that a kill leaves
// nothing behind; only replacing one needs a second name for an instant, because link(2) does not replace.
#include "ringbolt/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ringbolt/compat.h"
#include "ringbolt/secret.h"

#define READ_TRIES 8  // of a file that grows while it is read
#define NAME_TRIES 64 // of a random name that is taken

// ---- reading ----

static int open_regular(const char *path, size_t max, int *ret_fd, size_t *ret_size)
{
    struct stat status;
    int error = 0;
    // O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing to regular files.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) < 0)
        error = -errno;
    else if (S_ISDIR(status.st_mode))
        error = -EISDIR;
    else if (!S_ISREG(status.st_mode))
        error = -EINVAL;
    else if ((uintmax_t)status.st_size > max)
        error = -EFBIG;
    if (error < 0) {
        close(fd);
        return error;
    }
    *ret_fd = fd;
    *ret_size = (size_t)status.st_size;
    return 0;
}

// Reads until the end of the file or of data[size].
static int read_up_to(int fd, uint8_t *data, size_t size, size_t *ret_got)
{
    size_t got = 0;

    while (got < size) {
        ssize_t now = read(fd, data + got, size - got);
        if (now < 0 && errno == EINTR)
            continue;
        if (now < 0)
            return -errno;
        if (now == 0)
            break;
        got += (size_t)now;
    }
    *ret_got = got;
    return 0;
}

static uint8_t *allocate(size_t size, bool is_secret)
{
    return is_secret ? secret_alloc(size) : malloc(size);
}

static void release(uint8_t *data, size_t size, bool is_secret)
{
    if (is_secret)
        secret_free(data, size);
    else
        free(data);
}

// One try: the size as fstat(2) says and one byte more, by which growth shows (-EAGAIN), and which is the
// closing zero otherwise. A file that became shorter gets memory of its new size, because the size is
// all that is known when memory is given back.
static int read_once(const char *path, size_t max, bool is_secret, uint8_t **ret, size_t *ret_size)
{
    uint8_t *data;
    size_t size = 0;
    size_t got = 0;
    int fd = -1;
    int error = open_regular(path, max, &fd, &size);

    if (error < 0)
        return error;
    data = allocate(size + 1, is_secret);
    error = data ? read_up_to(fd, data, size + 1, &got) : -ENOMEM;
    close(fd);
    if (error == 0 && got > size)
        error = -EAGAIN;
    if (error == 0 && got < size && is_secret) {
        uint8_t *shorter = allocate(got + 1, true);
        if (shorter)
            memcpy(shorter, data, got);
        release(data, size + 1, true);
        data = shorter;
        size = got;
        error = shorter ? 0 : -ENOMEM;
    }
    if (error < 0) {
        release(data, size + 1, is_secret);
        return error;
    }
    data[got] = 0;
    *ret = data;
    *ret_size = got;
    return 0;
}

static int read_whole(const char *path, size_t max, bool is_secret, uint8_t **ret, size_t *ret_size)
{
    int error = -EAGAIN;

    for (int try = 0; try < READ_TRIES && error == -EAGAIN; try++)
        error = read_once(path, max, is_secret, ret, ret_size);
    return error;
}

int file_read(const char *path, size_t max, uint8_t **ret, size_t *ret_size)
{
    return read_whole(path, max, false, ret, ret_size);
}

int file_read_secret(const char *path, size_t max, uint8_t **ret, size_t *ret_size)
{
    return read_whole(path, max, true, ret, ret_size);
}

void file_free_secret(uint8_t *data, size_t size)
{
    secret_free(data, data ? size + 1 : 0);
}

// ---- writing ----

// A file on its way to its name.
struct file_draft {
    int folder;
    char name[NAME_MAX + 1];  // the last part of the path
    int fd;                   // of what is being written
    bool has_other_name;      // `other` is in the folder
    char other[NAME_MAX + 1]; // .NAME.XXXXXX
};

static int open_folder(const char *path, struct file_draft *draft)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t length = strlen(name);
    char *folder;

    if (length == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return name == path && length == 0 ? -ENOENT : -EISDIR;
    if (length > NAME_MAX)
        return -ENAMETOOLONG;
    folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (!folder)
        return -ENOMEM;
    draft->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (draft->folder < 0)
        return -errno;
    memcpy(draft->name, name, length + 1);
    return 0;
}

// A name that nobody guesses and few know: `.NAME.XXXXXX`, cut so that it fits.
static int choose_name(struct file_draft *draft)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    uint8_t random[6];
    size_t length;

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    length = (size_t)snprintf(draft->other, sizeof(draft->other), ".%.*s.", NAME_MAX - 8, draft->name);
    for (size_t i = 0; i < sizeof(random); i++)
        draft->other[length + i] = letters[random[i] & 63];
    draft->other[length + sizeof(random)] = '\0';
    return 0;
}

static int create_named(struct file_draft *draft)
{
    int error = -EEXIST;

    for (int try = 0; try < NAME_TRIES && error == -EEXIST; try++) {
        error = choose_name(draft);
        if (error < 0)
            return error;
        draft->fd =
            openat(draft->folder, draft->other, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        error = draft->fd < 0 ? -errno : 0;
    }
    draft->has_other_name = error == 0;
    return error;
}

static void proc_path(int fd, char text[static 32])
{
    snprintf(text, 32, "/proc/self/fd/%d", fd);
}

static int create(struct file_draft *draft)
{
    char link[32];

    draft->fd = openat(draft->folder, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
    if (draft->fd < 0)
        return errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL
                   ? create_named(draft)
                   : -errno;
    // Giving it a name takes /proc (or a privilege).
    proc_path(draft->fd, link);
    if (access(link, F_OK) == 0)
        return 0;
    close(draft->fd);
    draft->fd = -1;
    return create_named(draft);
}

static int write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t now = write(fd, data, size);
        if (now < 0 && errno == EINTR)
            continue;
        if (now <= 0)
            return now < 0 ? -errno : -EIO;
        data += now;
        size -= (size_t)now;
    }
    return 0;
}

static int fill(const struct file_draft *draft, const void *data, size_t size, mode_t mode)
{
    int error = write_all(draft->fd, data, size);

    if (error < 0)
        return error;
    if (fchmod(draft->fd, mode) < 0 || fsync(draft->fd) < 0)
        return -errno;
    return 0;
}

static int link_to(const struct file_draft *draft, const char *name)
{
    char link[32];

    proc_path(draft->fd, link);
    return linkat(AT_FDCWD, link, draft->folder, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int publish_new(struct file_draft *draft)
{
    if (!draft->has_other_name)
        return link_to(draft, draft->name);
    if (renameat2(draft->folder, draft->other, draft->folder, draft->name, RENAME_NOREPLACE) == 0) {
        draft->has_other_name = false;
        return 0;
    }
    // Not every file system has RENAME_NOREPLACE; link(2) never replaces either, and finish() removes the
    // other name.
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    return linkat(draft->folder, draft->other, draft->folder, draft->name, 0) < 0 ? -errno : 0;
}

// What stands there may be replaced. If something else takes its place right afterwards, that name is replaced
// and nothing that a link points to.
static int check_replaceable(const struct file_draft *draft)
{
    struct stat status;

    if (fstatat(draft->folder, draft->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISREG(status.st_mode))
        return 0;
    return S_ISDIR(status.st_mode) ? -EISDIR : S_ISLNK(status.st_mode) ? -ELOOP : -EINVAL;
}

static int publish_over(struct file_draft *draft)
{
    int error = draft->has_other_name ? 0 : -EEXIST;

    for (int try = 0; try < NAME_TRIES && error == -EEXIST; try++) {
        error = choose_name(draft);
        if (error == 0)
            error = link_to(draft, draft->other);
    }
    if (error < 0)
        return error;
    draft->has_other_name = true;
    if (renameat(draft->folder, draft->other, draft->folder, draft->name) < 0)
        return -errno;
    draft->has_other_name = false;
    return 0;
}

static int sync_folder(int folder)
{
    // File systems without the notion say EINVAL.
    return fsync(folder) < 0 && errno != EINVAL && errno != EROFS ? -errno : 0;
}

void file_discard(struct file_draft *draft)
{
    if (draft == NULL)
        return;
    if (draft->has_other_name)
        (void)unlinkat(draft->folder, draft->other, 0);
    if (draft->fd >= 0)
        close(draft->fd);
    if (draft->folder >= 0)
        close(draft->folder);
    free(draft);
}

int file_prepare(const char *path, const void *data, size_t size, mode_t mode, enum file_write how,
                 struct file_draft **ret)
{
    struct file_draft *draft = malloc(sizeof(*draft));
    struct stat status;
    int error;

    if (draft == NULL)
        return -ENOMEM;
    *draft = (struct file_draft){.folder = -1, .fd = -1};
    error = open_folder(path, draft);
    // Said early, before anything is written; what counts is said by the kernel in publish_new().
    if (error == 0 && how == FILE_REPLACE)
        error = check_replaceable(draft);
    else if (error == 0 && fstatat(draft->folder, draft->name, &status, AT_SYMLINK_NOFOLLOW) == 0)
        error = -EEXIST;
    if (error == 0)
        error = create(draft);
    if (error == 0)
        error = fill(draft, data, size, mode);
    if (error < 0)
        file_discard(draft);
    else
        *ret = draft;
    return error;
}

int file_publish(struct file_draft *draft, enum file_write how)
{
    int error = how == FILE_REPLACE ? check_replaceable(draft) : 0;

    if (error == 0)
        error = how == FILE_NEW ? publish_new(draft) : publish_over(draft);
    if (error == 0)
        error = sync_folder(draft->folder);
    file_discard(draft);
    return error;
}

int file_write(const char *path, const void *data, size_t size, mode_t mode, enum file_write how)
{
    struct file_draft *draft;
    int error = file_prepare(path, data, size, mode, how, &draft);

    return error < 0 ? error : file_publish(draft, how);
}

int file_sync_folder(const char *path)
{
    struct file_draft place = {.folder = -1};
    int error = open_folder(path, &place);

    if (error < 0)
        return error;
    error = sync_folder(place.folder);
    close(place.folder);
    return error;
}

// ---- files in memory ----

int file_in_memory(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

int file_sealed(const char *name, const void *data, size_t size, int seals)
{
    int fd = file_in_memory(name);
    int error = fd < 0 ? fd : write_all(fd, data, size);

    if (error == 0 && fcntl(fd, F_ADD_SEALS, seals | F_SEAL_SEAL) < 0)
        error = -errno;
    if (error < 0 && fd >= 0)
        close(fd);
    return error < 0 ? error : fd;
}

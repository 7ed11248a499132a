// SPDX-License-Identifier: Apache-2.0
// Small files as a whole: read with a limit, written so that whoever looks, and whatever fails or is killed on the
// way, sees the old file or the new one and never a part. For files that are opened by their name; nothing
// here is for the data path.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum file_write {
    FILE_NEW, // -EEXIST when the name is taken by anything, decided by the kernel: not even a race overwrites
    FILE_REPLACE, // a regular file of that name, or none
};

// Reads the regular file at `path` (symbolic links are followed). 0, *ret is malloc()ed, *ret_size its size in
// bytes; behind the last byte stands one zero more, not counted. -EFBIG when it is larger than `max` bytes, -EISDIR
// for a folder, -EINVAL for a pipe, socket or device, -EAGAIN when it grew on each try, or what the system said.
int file_read(const char *path, size_t max, uint8_t **ret, size_t *ret_size);

// The same into memory of secret.h: locked, not dumped. Give it back with file_free_secret() and the same size.
int file_read_secret(const char *path, size_t max, uint8_t **ret, size_t *ret_size);

// Wipes and frees what file_read_secret() returned. data may be NULL.
void file_free_secret(uint8_t *data, size_t size);

// Writes data[size] as the file `path`, which gets exactly `mode` whatever the umask is, from its first byte on no
// more than that. The bytes go to a file of no name in the same folder (or, where the file system has none such,
// to `.NAME.XXXXXX`), to the disk, then to their name, and the folder to the disk. 0 or -errno; FILE_REPLACE
// of something else than a regular file is -EISDIR, -ELOOP (a symbolic link) or -EINVAL. On failure nothing
// has changed, except that an error of the last step (-EIO) leaves the new file in place.
int file_write(const char *path, const void *data, size_t size, mode_t mode, enum file_write how);

// The same in two steps, for files that must change together: all are prepared, which is where a full disk shows, and
// only then published one after the other.
//
// Writes data[size] to the disk without its name. 0 and *ret, which file_publish() or file_discard() takes; or -errno.
struct file_draft;
int file_prepare(const char *path, const void *data, size_t size, mode_t mode, enum file_write how,
                 struct file_draft **ret);
// Gives it its name, as file_write() does, and frees it whatever happens.
int file_publish(struct file_draft *draft, enum file_write how);
// Frees it, and nothing of it is left. NULL is accepted.
void file_discard(struct file_draft *draft);

// Brings the folder that holds `path` to the disk: after a rename or unlink there. 0 or -errno.
int file_sync_folder(const char *path);

// ---- files in memory ----

// An empty file in memory that can be sealed (memfd_create(2)), closed by execve(2), and never executable where the kernel knows how.
// `name` is for /proc. A descriptor, or -errno.
int file_in_memory(const char *name);
// The same with data[size], and with these seals (F_SEAL_…), to which none can be added. A descriptor, or -errno.
int file_sealed(const char *name, const void *data, size_t size, int seals);

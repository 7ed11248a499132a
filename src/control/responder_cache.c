// SPDX-License-Identifier: Apache-2.0
// OCSP responses on disk.
#include "responder_cache.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ringbolt/file.h"
#include "ringbolt/log.h"

#define RESPONSE_SIZE_MAX ((size_t)64 * 1024)

// False when such a path is too long for any file.
static bool path_of(const struct cache *cache, const struct certificate *certificate, char path[PATH_MAX])
{
    char name[2 * sizeof(certificate->fingerprint) + 1];

    for (size_t i = 0; i < sizeof(certificate->fingerprint); i++)
        snprintf(name + 2 * i, 3, "%02x", certificate->fingerprint[i]);
    return snprintf(path, PATH_MAX, "%s/%s.ocsp", cache->folder, name) < PATH_MAX;
}

static const char *cure_of(int error)
{
    switch (-error) {
    case ENOENT:
        return "make the folder that it is in";
    case ENOTDIR:
        return "name a folder as `ocsp.cache`";
    case ENOSPC:
    case EDQUOT:
        return "make room on its disk";
    case EROFS:
    case EACCES:
    case EPERM:
        return "let the account that starts ringbolt write there, or name another folder as `ocsp.cache`";
    default:
        return NULL;
    }
}

static void say_trouble(struct cache *cache, int error)
{
    if (!cache->is_trouble_said)
        log_warning("OCSP responses can't be kept on disk, and have to be asked for again after a restart",
                    log_text("folder", cache->folder), log_errno(error), log_text("cure", cure_of(error)));
    cache->is_trouble_said = true;
}

void cache_init(struct cache *cache, const char *folder)
{
    *cache = (struct cache){.folder = folder};
    if (folder != NULL && mkdir(folder, 0700) < 0 && errno != EEXIST)
        say_trouble(cache, -errno);
}

struct staple *cache_read(const struct cache *cache, const struct certificate *certificate, int64_t now_s)
{
    char path[PATH_MAX];
    struct staple *staple = NULL;
    const char *why = NULL;
    uint8_t *bytes;
    size_t size;
    int error;

    if (cache->folder == NULL || !path_of(cache, certificate, path))
        return NULL;
    error = file_read(path, RESPONSE_SIZE_MAX, &bytes, &size);
    if (error < 0) {
        if (error != -ENOENT)
            log_debug("OCSP response on disk can't be read", log_text("file", path), log_errno(error));
        return NULL;
    }
    if (staple_check(certificate, bytes, size, now_s, &staple, &why) < 0)
        log_debug("OCSP response on disk is not used", log_text("file", path), log_text("reason", why));
    free(bytes);
    return staple;
}

void cache_write(struct cache *cache, const struct certificate *certificate, const struct staple *staple)
{
    char path[PATH_MAX];
    int error = -ENAMETOOLONG;

    if (cache->folder == NULL)
        return;
    if (path_of(cache, certificate, path))
        error = file_write(path, staple->response.data, staple->response.size, 0600, FILE_REPLACE);
    if (error == -ENOENT && mkdir(cache->folder, 0700) == 0) // it can be made now, or was taken away
        error = file_write(path, staple->response.data, staple->response.size, 0600, FILE_REPLACE);
    if (error < 0) {
        say_trouble(cache, error);
    } else if (cache->is_trouble_said) {
        log_info("OCSP responses are kept on disk again", log_text("folder", cache->folder));
        cache->is_trouble_said = false;
    }
}

void cache_remove(const struct cache *cache, const struct certificate *certificate)
{
    char path[PATH_MAX];

    if (cache->folder != NULL && path_of(cache, certificate, path))
        (void)unlink(path);
}

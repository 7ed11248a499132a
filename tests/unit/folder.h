// SPDX-License-Identifier: Apache-2.0
// Takes a test's folder away again.
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void remove_all(const char *path)
{
    DIR *listing = opendir(path);
    const struct dirent *entry;

    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        char *below;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (asprintf(&below, "%s/%s", path, entry->d_name) < 0)
            abort();
        if (entry->d_type == DT_DIR)
            remove_all(below);
        else
            unlink(below);
        free(below);
    }
    if (listing != NULL)
        closedir(listing);
    rmdir(path);
}

// SPDX-License-Identifier: Apache-2.0
// Certificate folders: from names to pairs.
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/config/memory.h"

// A folder while it is listed.
struct listing {
    const char *dir;
    const char *below; // NULL: dir itself
    char **names;      // sorted, of what isn't skipped
    size_t count;
};

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool has(const struct listing *listing, const char *name)
{
    return bsearch(&name, listing->names, listing->count, sizeof(*listing->names), name_compare) != NULL;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name);
    size_t ending_length = strlen(ending);

    return length > ending_length && strcmp(name + length - ending_length, ending) == 0;
}

static bool is_skipped(const char *name)
{
    return name[0] == '.' || name[0] == '#';
}

static bool is_certificate_name(const char *name)
{
    return ends_with(name, ".pem") || ends_with(name, ".crt") || ends_with(name, ".cer");
}

static bool is_certbot(const struct listing *listing)
{
    return has(listing, "fullchain.pem") && has(listing, "privkey.pem");
}

static bool is_kubernetes(const struct listing *listing)
{
    return has(listing, "tls.crt") && has(listing, "tls.key");
}

// ---- one pair ----

static char *join(const char *format, const char *a, const char *b, const char *c)
{
    return memory_print(format, a, b, c);
}

static char *path_of(const struct listing *listing, const char *name)
{
    if (listing->below == NULL)
        return join("%s%s%s", listing->dir, ends_with(listing->dir, "/") ? "" : "/", name);
    return join("%s/%s/%s", listing->dir, listing->below, name);
}

// The path of `stem` of that length with an ending, if there is such a file. Otherwise NULL.
static char *path_beside(const struct listing *listing, const char *stem, size_t length, const char *ending)
{
    char *name = memory_copy_part(stem, length);
    char *path = NULL;
    char *whole;

    whole = join("%s%s%s", name, ending, "");
    if (has(listing, whole))
        path = path_of(listing, whole);
    free(whole);
    free(name);
    return path;
}

static char *key_of(const struct listing *listing, const char *name)
{
    size_t length = strlen(name);
    char *key = path_beside(listing, name, length, ".key");

    if (key == NULL)
        key = path_beside(listing, name, length - strlen(".pem"), ".key");
    if (key == NULL && strcmp(name, "fullchain.pem") == 0)
        key = path_beside(listing, "privkey", strlen("privkey"), ".pem");
    return key != NULL ? key : path_of(listing, name);
}

static char *ocsp_of(const struct listing *listing, const char *name)
{
    size_t length = strlen(name);
    char *ocsp = path_beside(listing, name, length, ".ocsp");

    return ocsp != NULL ? ocsp : path_beside(listing, name, length - strlen(".pem"), ".ocsp");
}

static bool is_pair(const struct listing *listing, const char *name)
{
    if (!is_certificate_name(name))
        return false;
    if (is_certbot(listing) &&
        (strcmp(name, "privkey.pem") == 0 || strcmp(name, "cert.pem") == 0 || strcmp(name, "chain.pem") == 0))
        return false;
    if (is_kubernetes(listing) && strcmp(name, "ca.crt") == 0)
        return false;
    return listing->below == NULL || strcmp(name, "fullchain.pem") == 0 || strcmp(name, "tls.crt") == 0;
}

static void pairs_find(const struct listing *listing, struct folder_list *list)
{
    for (size_t i = 0; i < listing->count; i++) {
        const char *name = listing->names[i];

        if (!is_pair(listing, name))
            continue;
        list->pairs = memory_grow(list->pairs, list->pair_count, sizeof(*list->pairs));
        list->pairs[list->pair_count++] = (struct folder_pair){
            .name = listing->below != NULL ? join("%s%s%s", listing->below, "/", name) : memory_copy(name),
            .chain = path_of(listing, name),
            .key = key_of(listing, name),
            .ocsp = ocsp_of(listing, name),
        };
    }
}

// ---- the folder ----

static bool is_folder(DIR *dir, const struct dirent *entry)
{
    struct stat stat;

    if (entry->d_type == DT_DIR)
        return true;
    // A link named like a file is one; a stat for each of thousands would be dear.
    if ((entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN) || is_certificate_name(entry->d_name) ||
        ends_with(entry->d_name, ".key") || ends_with(entry->d_name, ".ocsp"))
        return false;
    return fstatat(dirfd(dir), entry->d_name, &stat, 0) == 0 && S_ISDIR(stat.st_mode);
}

static int listing_read(struct listing *listing, DIR *dir, struct folder_list *list)
{
    const struct dirent *entry;

    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (is_skipped(entry->d_name))
            continue;
        if (listing->below == NULL && is_folder(dir, entry)) {
            list->folders = memory_grow(list->folders, list->folder_count, sizeof(*list->folders));
            list->folders[list->folder_count++] = memory_copy(entry->d_name);
        } else if (entry->d_type != DT_DIR) {
            listing->names = memory_grow(listing->names, listing->count, sizeof(*listing->names));
            listing->names[listing->count++] = memory_copy(entry->d_name);
        }
        errno = 0;
    }
    if (errno != 0)
        return -errno;
    if (listing->count > 0)
        qsort(listing->names, listing->count, sizeof(*listing->names), name_compare);
    if (list->folder_count > 0)
        qsort(list->folders, list->folder_count, sizeof(*list->folders), name_compare);
    return 0;
}

int folder_list(const char *path, const char *below, struct folder_list *ret)
{
    struct listing listing = {.dir = path, .below = below};
    struct folder_list list = {0};
    char *whole = below != NULL ? join("%s%s%s", path, "/", below) : memory_copy(path);
    DIR *dir = opendir(whole);
    int error = dir != NULL ? listing_read(&listing, dir, &list) : -errno;

    free(whole);
    if (dir != NULL)
        closedir(dir);
    if (error == 0)
        pairs_find(&listing, &list);
    for (size_t i = 0; i < listing.count; i++)
        free(listing.names[i]);
    free(listing.names);
    if (error == 0)
        *ret = list;
    else
        folder_list_finish(&list);
    return error;
}

void folder_list_finish(struct folder_list *list)
{
    for (size_t i = 0; i < list->pair_count; i++) {
        free(list->pairs[i].name);
        free(list->pairs[i].chain);
        free(list->pairs[i].key);
        free(list->pairs[i].ocsp);
    }
    for (size_t i = 0; i < list->folder_count; i++)
        free(list->folders[i]);
    free(list->pairs);
    free(list->folders);
    *list = (struct folder_list){0};
}

// SPDX-License-Identifier: Apache-2.0
// Following paths component by component, as the kernel does, and keeping the folders that decide where they lead.
#include "src/control/sources_way.h"

#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/config/memory.h"

#define LINKS_MAX 40 // the kernel's MAXSYMLINKS

// How coarse a clock is that a file system stamps with: a tick of the slowest kernel; whole seconds, even ones on FAT.
#define TICK_NS   20000000
#define SECOND_NS 2000000000

struct ways {
    void *tree; // of struct way_folder, by path
    // The way being found; each entry counts as a user.
    struct way_folder **found;
    size_t found_count;
    // Where the folder of the last path led: found[0 … memo_count) of that time, then the folder itself.
    char *memo_text; // NULL: nothing
    char memo_at[PATH_MAX];
    struct way_folder **memo;
    size_t memo_count;
};

// A path being followed.
struct walk {
    char at[PATH_MAX]; // the folder reached, without links; "" is /
    char rest[PATH_MAX];
    unsigned links;
    struct stat last; // what the last step led to
};

// ---- identity ----

static bool time_equal(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool identity_equal(const struct identity *a, const struct identity *b)
{
    return a->error == b->error && a->device == b->device && a->inode == b->inode && a->size == b->size &&
           time_equal(a->modified, b->modified) && time_equal(a->changed, b->changed);
}

static bool is_young(struct timespec changed)
{
    struct timespec now;
    int64_t age_ns;
    int64_t grain_ns = changed.tv_nsec == 0 ? SECOND_NS : TICK_NS;

    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec - changed.tv_sec > 4 || changed.tv_sec - now.tv_sec > 4)
        return false;
    age_ns = (int64_t)(now.tv_sec - changed.tv_sec) * 1000000000 + now.tv_nsec - changed.tv_nsec;
    return age_ns > -grain_ns && age_ns < grain_ns;
}

static struct identity identity_of(const struct stat *stat)
{
    return (struct identity){
        .is_young = is_young(stat->st_ctim),
        .device = stat->st_dev,
        .inode = stat->st_ino,
        .size = stat->st_size,
        .modified = stat->st_mtim,
        .changed = stat->st_ctim,
    };
}

// ---- folders ----

static const char *path_of(const void *folder)
{
    return ((const struct way_folder *)folder)->path;
}

static int folder_compare(const void *a, const void *b)
{
    return strcmp(path_of(a), path_of(b));
}

// The tree is searched by what it holds, so a path to look for is put into one of its own kind.
static struct way_folder *folder_create(const char *path)
{
    size_t size = strlen(path) + 1;
    struct way_folder *folder = memory_allocate(sizeof(*folder) + size);

    memcpy(folder->path, path, size);
    return folder;
}

struct way_folder *ways_find(struct ways *ways, const char *path)
{
    struct way_folder *sought = folder_create(path);
    struct way_folder *const *place = tfind(sought, &ways->tree, folder_compare);

    free(sought);
    if (place == NULL)
        return NULL;
    (*place)->users++;
    return *place;
}

// Counts the caller as a user.
static struct way_folder *folder_use(struct ways *ways, const char *path)
{
    struct way_folder *folder = folder_create(path[0] != '\0' ? path : "/");
    struct way_folder **place;
    unsigned tries = 0;

    while ((place = tsearch(folder, &ways->tree, folder_compare)) == NULL)
        memory_wait(&tries);
    if (*place != folder)
        free(folder);
    (*place)->users++;
    return *place;
}

static void folder_leave(struct ways *ways, struct way_folder *folder)
{
    if (--folder->users > 0)
        return;
    tdelete(folder, &ways->tree, folder_compare);
    free(folder);
}

void ways_leave(struct ways *ways, struct way_folder *folder)
{
    if (folder != NULL)
        folder_leave(ways, folder);
}

static void leave_all(struct ways *ways, struct way_folder **folders, size_t count)
{
    for (size_t i = 0; i < count; i++)
        folder_leave(ways, folders[i]);
}

struct ways *ways_create(void)
{
    return memory_allocate(sizeof(struct ways));
}

void ways_forget(struct ways *ways)
{
    leave_all(ways, ways->memo, ways->memo_count);
    ways->memo_count = 0;
    free(ways->memo_text);
    ways->memo_text = NULL;
}

void ways_destroy(struct ways *ways)
{
    if (ways == NULL)
        return;
    ways_forget(ways);
    tdestroy(ways->tree, free);
    free(ways->found);
    free(ways->memo);
    free(ways);
}

struct each {
    void (*call)(void *owner, const char *folder);
    void *owner;
};

static void each_visit(const void *place, VISIT order, void *closure)
{
    const struct each *each = closure;

    if (order == postorder || order == leaf)
        each->call(each->owner, path_of(*(void *const *)place));
}

void ways_each(struct ways *ways, void (*each)(void *owner, const char *folder), void *owner)
{
    ways_forget(ways);
    twalk_r(ways->tree, each_visit, &(struct each){.call = each, .owner = owner});
}

// ---- ways ----

// `folder` counts us as a user already.
static void found_add(struct ways *ways, struct way_folder *folder)
{
    for (size_t i = 0; i < ways->found_count; i++) {
        if (ways->found[i] == folder) {
            folder_leave(ways, folder);
            return;
        }
    }
    ways->found = memory_grow(ways->found, ways->found_count, sizeof(*ways->found));
    ways->found[ways->found_count++] = folder;
}

void way_begin(struct ways *ways)
{
    leave_all(ways, ways->found, ways->found_count);
    ways->found_count = 0;
}

void way_end(struct ways *ways, struct way *way)
{
    size_t size = ways->found_count * sizeof(*way->folders);

    if (way->count != ways->found_count || (size > 0 && memcmp(way->folders, ways->found, size) != 0)) {
        way_finish(ways, way);
        way->folders = memory_allocate(size);
        memcpy(way->folders, ways->found, size);
        way->count = ways->found_count;
        ways->found_count = 0; // their users are the way's now
    }
    way_begin(ways);
}

void way_finish(struct ways *ways, struct way *way)
{
    leave_all(ways, way->folders, way->count);
    free(way->folders);
    *way = (struct way){0};
}

bool way_leads_through(const struct way *way, const struct way_folder *folder)
{
    for (size_t i = 0; i < way->count; i++) {
        if (way->folders[i] == folder)
            return true;
    }
    return false;
}

// ---- following ----

// Puts what a link says ahead of the rest. 0 or an errno.
static int walk_link(struct walk *walk, const char *link)
{
    char target[PATH_MAX];
    char rest[PATH_MAX];
    ssize_t length = readlink(link, target, sizeof(target));

    if (length < 0)
        return errno;
    if (++walk->links > LINKS_MAX)
        return ELOOP;
    if ((size_t)length >= sizeof(target))
        return ENAMETOOLONG;
    target[length] = '\0';
    strcpy(rest, walk->rest);
    if (snprintf(walk->rest, sizeof(walk->rest), "%s/%s", target, rest) >= (int)sizeof(walk->rest))
        return ENAMETOOLONG;
    if (target[0] == '/')
        walk->at[0] = '\0';
    return 0;
}

// Takes the next component off the rest. Returns its length; 0: there is none.
static size_t walk_take(struct walk *walk, char name[PATH_MAX])
{
    size_t skipped = strspn(walk->rest, "/");
    size_t length = strcspn(walk->rest + skipped, "/");

    memcpy(name, walk->rest + skipped, length);
    name[length] = '\0';
    memmove(walk->rest, walk->rest + skipped + length, strlen(walk->rest + skipped + length) + 1);
    return length;
}

static void walk_up(struct walk *walk)
{
    char *slash = strrchr(walk->at, '/');

    if (slash != NULL)
        *slash = '\0';
}

static bool walk_is_over(const struct walk *walk)
{
    return walk->rest[strspn(walk->rest, "/")] == '\0';
}

// One component further. 0 or an errno. *ret_is_file: it is no folder, and the walk ends here.
static int walk_step(struct ways *ways, struct walk *walk, const char *name, bool *ret_is_file)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s", walk->at, name) >= (int)sizeof(path))
        return ENAMETOOLONG;
    if (lstat(path, &walk->last) < 0)
        return errno;
    if (S_ISDIR(walk->last.st_mode)) {
        strcpy(walk->at, path);
        return 0;
    }
    if (S_ISLNK(walk->last.st_mode)) {
        found_add(ways, folder_use(ways, walk->at));
        return walk_link(walk, path);
    }
    *ret_is_file = true;
    return walk_is_over(walk) ? 0 : ENOTDIR;
}

// To the end of the rest: walk->at is then a folder, the one of the file, or the last that could be reached. 0 or an errno.
static int walk_on(struct ways *ways, struct walk *walk, bool *ret_is_file)
{
    char name[PATH_MAX];
    int error = 0;

    while (error == 0 && walk_take(walk, name) > 0) {
        if (strcmp(name, "..") == 0)
            walk_up(walk);
        else if (strcmp(name, ".") != 0)
            error = walk_step(ways, walk, name, ret_is_file);
    }
    return error;
}

static void memo_keep(struct ways *ways, const char *text, size_t length, const struct walk *walk)
{
    ways_forget(ways);
    ways->memo_text = memory_copy_part(text, length);
    strcpy(ways->memo_at, walk->at);
    ways->memo = memory_resize(ways->memo, (ways->found_count + 1) * sizeof(struct way_folder *));
    for (size_t i = 0; i < ways->found_count; i++) {
        ways->memo[i] = ways->found[i];
        ways->memo[i]->users++;
    }
    ways->memo[ways->found_count] = folder_use(ways, walk->at);
    ways->memo_count = ways->found_count + 1;
}

// To the folder of the path's last component. 0 or an errno.
static int follow_folder(struct ways *ways, const char *path, size_t length, struct walk *walk)
{
    size_t found_before = ways->found_count;
    bool is_file = false;
    int error;

    if (ways->memo_text != NULL && strncmp(ways->memo_text, path, length) == 0 &&
        ways->memo_text[length] == '\0') {
        strcpy(walk->at, ways->memo_at);
        for (size_t i = 0; i + 1 < ways->memo_count; i++) {
            ways->memo[i]->users++;
            found_add(ways, ways->memo[i]);
        }
        return 0;
    }
    memcpy(walk->rest, path, length);
    walk->rest[length] = '\0';
    error = walk_on(ways, walk, &is_file);
    if (error == 0 && is_file)
        error = ENOTDIR;
    // What was found for another path before must not get into this one's.
    if (error == 0 && found_before == 0)
        memo_keep(ways, path, length, walk);
    return error;
}

// The folder that the walk has reached, with us as a user.
static struct way_folder *walk_folder(struct ways *ways, const struct walk *walk)
{
    struct way_folder *folder;

    if (ways->memo_text == NULL || strcmp(ways->memo_at, walk->at) != 0)
        return folder_use(ways, walk->at);
    folder = ways->memo[ways->memo_count - 1];
    folder->users++;
    return folder;
}

void way_follow(struct ways *ways, const char *path, struct identity *ret)
{
    struct walk walk;
    const char *slash = strrchr(path, '/');
    size_t length = slash != NULL ? (size_t)(slash - path) : 0;
    bool is_file = false;
    int error;

    if (strlen(path) >= sizeof(walk.rest)) {
        *ret = (struct identity){.error = ENAMETOOLONG};
        return;
    }
    walk.at[0] = '\0';
    walk.links = 0;
    error = follow_folder(ways, path, length, &walk);
    if (error == 0) {
        strcpy(walk.rest, path + length);
        error = walk_on(ways, &walk, &is_file);
    }
    found_add(ways, walk_folder(ways, &walk));
    if (error == 0 && !is_file && lstat(walk.at[0] != '\0' ? walk.at : "/", &walk.last) < 0)
        error = errno;
    *ret = error != 0 ? (struct identity){.error = error} : identity_of(&walk.last);
}

// ---- pieces ----

void piece_init(struct piece *piece, const char *const *paths, size_t count)
{
    free(piece->files);
    piece->files = memory_allocate(count * sizeof(*piece->files));
    piece->count = count;
    for (size_t i = 0; i < count; i++)
        piece->files[i] = (struct piece_file){.path = paths[i], .seen = {.error = -1}};
}

void piece_finish(struct ways *ways, struct piece *piece)
{
    way_finish(ways, &piece->way);
    free(piece->files);
    free(piece->problem);
    *piece = (struct piece){0};
}

// True when something is not what was seen.
static bool look(struct ways *ways, struct piece *piece, bool *ret_is_young)
{
    bool differs = false;
    struct identity now;

    *ret_is_young = false;
    way_begin(ways);
    for (size_t i = 0; i < piece->count; i++) {
        way_follow(ways, piece->files[i].path, &now);
        differs = differs || !identity_equal(&now, &piece->files[i].seen);
        *ret_is_young = *ret_is_young || now.is_young;
        piece->files[i].seen = now;
    }
    way_end(ways, &piece->way);
    return differs;
}

bool piece_look(struct ways *ways, struct piece *piece)
{
    bool was_doubtful = piece->is_doubtful;
    bool differs = look(ways, piece, &piece->is_doubtful);

    return differs || was_doubtful;
}

bool piece_has_changed(struct ways *ways, struct piece *piece)
{
    bool is_young;
    bool differs;

    ways_forget(ways);
    differs = look(ways, piece, &is_young);
    piece->is_doubtful = differs || is_young;
    return differs;
}

// SPDX-License-Identifier: Apache-2.0
// Files as the master watches them: what a path leads to (its identity), and the folders on its way there whose entries decide
// that. Folders are kept once, however many files lie in them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

// What was found at the end of a path. Two that are equal mean: nobody has written there in between.
struct identity {
    int error; // 0, or why there is nothing: ENOENT, EACCES, ELOOP …; then the rest is zero
    // changed a moment ago: the file system's clock may be too coarse to show another change, so equal to nothing
    bool is_young;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

bool identity_equal(const struct identity *a, const struct identity *b);

// A folder in the way of something, by the path that leads there without symbolic links.
struct way_folder {
    unsigned users;
    char path[];
};

struct way {
    struct way_folder **folders;
    size_t count;
};

struct ways;

struct ways *ways_create(void);       // aborts on no memory, as all of this
void ways_destroy(struct ways *ways); // after every way_finish(); NULL is accepted

// Finding a way anew: way_begin(), way_follow() for each path, way_end().
void way_begin(struct ways *ways);
// Follows an absolute path through all symbolic links. What it depends on: the folder where the last entry lies (of a path
// that leads nowhere: where the first missing one would), the folder of each link, and of a path to a folder that folder too.
void way_follow(struct ways *ways, const char *path, struct identity *ret);
void way_end(struct ways *ways, struct way *way); // `way` held the way so far, or {0}
void way_finish(struct ways *ways, struct way *way);

// Following keeps in mind where the folder of the last path leads, for all the others in it. To be called when time has passed.
void ways_forget(struct ways *ways);

bool way_leads_through(const struct way *way, const struct way_folder *folder);

// NULL: nothing leads through a folder of that path. Otherwise it stays until ways_leave().
struct way_folder *ways_find(struct ways *ways, const char *path);
void ways_leave(struct ways *ways, struct way_folder *folder); // NULL is accepted
void ways_each(struct ways *ways, void (*each)(void *owner, const char *folder), void *owner);

// Files that are loaded together.
struct piece_file {
    const char *path; // somebody else's
    struct identity seen;
};

struct piece {
    struct piece_file *files;
    size_t count;
    struct way way;
    bool is_doubtful; // what was read may not be what `seen` says
    char *problem;    // why what the files hold is not served; NULL: it is
};

// Names the files, all of them unseen. The piece held other ones, or was {0}.
void piece_init(struct piece *piece, const char *const *paths, size_t count);
void piece_finish(struct ways *ways, struct piece *piece);

// Looks at the files: true when they may not be what was seen last. They are what was seen now, from now on.
bool piece_look(struct ways *ways, struct piece *piece);
// After they were read: true when they changed since piece_look() or the last call of this, so that they should be read again.
bool piece_has_changed(struct ways *ways, struct piece *piece);

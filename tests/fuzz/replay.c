// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target over a folder of inputs: what stands in for libFuzzer where there is none, so that each
// input that was ever worth keeping is tried on every build. An empty folder is a failure: nothing was tried.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The size is exact, so that a sanitizer sees the first byte read too far.
static uint8_t *read_whole(FILE *file, size_t *ret_size)
{
    uint8_t *data = NULL;
    size_t size = 0;
    uint8_t block[4096];
    size_t got;

    while ((got = fread(block, 1, sizeof(block), file)) > 0) {
        uint8_t *bigger = realloc(data, size + got);
        if (bigger == NULL)
            abort();
        data = bigger;
        memcpy(data + size, block, got);
        size += got;
    }
    if (ferror(file)) {
        free(data);
        return NULL;
    }
    if (data == NULL && (data = malloc(1)) == NULL)
        abort();
    *ret_size = size;
    return data;
}

// 0, or 1 when the file could not be read. What the target finds ends the process.
static int replay(const char *path)
{
    FILE *file = fopen(path, "re");
    size_t size = 0;
    uint8_t *data;

    if (file == NULL) {
        perror(path);
        return 1;
    }
    data = read_whole(file, &size);
    fclose(file);
    if (data == NULL) {
        perror(path);
        return 1;
    }
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int replay_folder(const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, is_visible, alphasort);
    int failed = 0;

    if (count < 0) {
        perror(folder);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        char path[4096];
        if (snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name) >= (int)sizeof(path))
            abort();
        // The last name to be seen is the input that ended the process.
        fprintf(stderr, "%s\n", path);
        failed |= replay(path);
        free(entries[i]);
    }
    free(entries);
    printf("%d inputs from %s\n", count, folder);
    return failed != 0 || count == 0;
}

int main(int argc, char **argv)
{
    int failed = argc < 2;

    for (int i = 1; i < argc; i++)
        failed |= replay_folder(argv[i]);
    if (argc < 2)
        fprintf(stderr, "usage: %s FOLDER…\n", argv[0]);
    return failed;
}

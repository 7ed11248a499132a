// SPDX-License-Identifier: Apache-2.0
#include "src/config/cpus.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/config/memory.h"

#define CPU_MAX_SIZE 64 // of a cpu.max: two numbers

// Digits alone, above 0. False for all else.
static bool read_number(const char *text, char end, uint64_t *ret, const char **ret_rest)
{
    char *rest;
    uint64_t number;

    if (*text < '0' || *text > '9') // strtoull() takes signs and spaces
        return false;
    errno = 0;
    number = strtoull(text, &rest, 10);
    if (errno != 0 || number == 0 || (*rest != end && (end != '\0' || *rest != '\n')))
        return false;
    *ret = number;
    *ret_rest = rest;
    return true;
}

unsigned cpus_of_quota(const char *text)
{
    uint64_t quota;
    uint64_t period;
    const char *rest;
    uint64_t cpus;

    if (!read_number(text, ' ', &quota, &rest) || !read_number(rest + 1, '\0', &period, &rest))
        return 0; // "max" comes here too
    cpus = quota / period + (quota % period != 0);
    return cpus > UINT_MAX ? UINT_MAX : (unsigned)cpus;
}

static unsigned quota_of(const char *tree, const char *group)
{
    char text[CPU_MAX_SIZE] = "";
    char *path = memory_print("%s%s/cpu.max", tree, group);
    FILE *file = fopen(path, "re");

    free(path);
    if (!file)
        return 0; // the root has none, nor has a group whose parent has not handed the controller on
    if (!fgets(text, sizeof(text), file))
        text[0] = '\0';
    fclose(file);
    return cpus_of_quota(text);
}

// The path of our group in the unified tree, the caller's; NULL where there is none.
static char *find_group(const char *membership)
{
    FILE *file = fopen(membership, "re");
    char *line = NULL;
    char *group = NULL;
    size_t size = 0;

    while (file && !group && getline(&line, &size, file) > 0) {
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        group = memory_copy(line + 3);
    }
    free(line);
    if (file)
        fclose(file);
    return group;
}

unsigned cpus_granted(const char *membership, const char *tree)
{
    char *group = find_group(membership);
    unsigned least = 0;
    char *end;

    // A container may see its own group as the root of the tree while its path is still the machine's: what isn't there is
    // passed over.
    while (group && (end = strrchr(group, '/')) != NULL) {
        unsigned cpus = quota_of(tree, group);

        if (cpus != 0 && (least == 0 || cpus < least))
            least = cpus;
        if (end == group && end[1] != '\0')
            end[1] = '\0'; // "/": once more
        else
            *end = '\0';
    }
    free(group);
    return least;
}

unsigned cpus_usable(void)
{
    unsigned granted = cpus_granted("/proc/self/cgroup", "/sys/fs/cgroup");
    cpu_set_t cpus;
    long count;

    // EINVAL on a machine with more CPUs than the set has bits.
    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
        count = CPU_COUNT(&cpus);
    else
        count = sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1)
        count = 1;
    return granted != 0 && granted < (unsigned long)count ? granted : (unsigned)count;
}

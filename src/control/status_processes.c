// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "master.h"
#include "ringbolt/clock.h"
#include "status.h"

// What the kernel says of a process (proc(5)). False: nothing.
static bool process_usage(pid_t pid, double *ret_cpu_s, uint64_t *ret_resident)
{
    unsigned long user;
    unsigned long system;
    long resident;
    const char *behind;
    char path[64];
    char text[1024];
    FILE *file;
    size_t length;

    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    file = fopen(path, "re");
    if (!file)
        return false;
    length = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[length] = '\0';
    behind = strrchr(text, ')'); // a name may hold spaces
    // utime and stime are fields 14 and 15, rss is 24; field 3 is the first behind the name.
    if (!behind ||
        sscanf(behind + 1,
               " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu %*s %*s %*s %*s %*s %*s %*s %*s %ld",
               &user, &system, &resident) != 3)
        return false;
    *ret_cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    *ret_resident = (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

static json_t *usage_json(pid_t pid)
{
    uint64_t resident = 0;
    double cpu_s = 0;

    if (pid == 0 || !process_usage(pid, &cpu_s, &resident))
        return json_pack("{s:n, s:n}", "cpu_s", "memory_bytes");
    return json_pack("{s:f, s:I}", "cpu_s", cpu_s, "memory_bytes", (json_int_t)resident);
}

static json_t *worker_json(const struct master *master, unsigned index)
{
    const struct process *process = &master->processes[index];
    struct stats_worker sum;
    json_t *json = usage_json(process->pid);
    json_t *rest;

    stats_sum_worker(master->stats, index, &sum);
    rest = json_pack(
        "{s:i, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "worker", (int)index, "pid",
        process->pid != 0 ? json_integer(process->pid) : json_null(), "state",
        process->pid == 0   ? "dead"
        : process->is_ready ? "ready"
                            : "starting",
        "starts", (json_int_t)process->starts, "connections", (json_int_t)stats_get(&sum.connections),
        "buffer_bytes", (json_int_t)stats_get(&sum.buffers), "buffer_bytes_max",
        (json_int_t)(master->config->limits.memory / master->config->workers), "starved",
        (json_int_t)stats_get(&sum.starved), "ring_overflows", (json_int_t)stats_get(&sum.overflows),
        "ring_refused", (json_int_t)stats_get(&sum.refused), "given", (json_int_t)stats_get(&sum.given), "taken",
        (json_int_t)stats_get(&sum.taken), "not_taken", (json_int_t)stats_get(&sum.not_taken), "kept",
        (json_int_t)stats_get(&sum.kept), "deposited", (json_int_t)stats_get(&sum.deposited), "revived",
        (json_int_t)stats_get(&sum.revived));

    if (json_object_update_new(json, rest) == 0)
        return json;
    json_decref(json);
    return NULL;
}

json_t *status_workers(const struct master *master)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < master->config->workers; i++) {
        if (json_array_append_new(array, worker_json(master, i)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

json_t *status_master(void)
{
    return usage_json(getpid());
}

// SPDX-License-Identifier: Apache-2.0
// Read from /proc where the kernel tells, so that it is what is and not what was meant. It does not tell of Landlock and of a
// ring's restrictions: a worker that is ready has entered those, or it would not be.
#include "admin_sandbox.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin_socket.h"
#include "confine.h"
#include "master.h"
#include "src/worker/privileges.h"

#define LINE_SIZE 512 // a longer line of /proc/PID/status is none of those that are read here

// What /proc/PID/status says.
struct facts {
    unsigned uid;
    unsigned gid;
    uint64_t capabilities; // permitted
    unsigned no_new_privs;
    unsigned seccomp; // 0: none, 1: strict, 2: a filter
    unsigned filters; // how many: a container's or a service's own are among them
};

static bool read_facts(pid_t pid, struct facts *ret)
{
    char line[LINE_SIZE];
    unsigned found = 0;
    FILE *file;

    snprintf(line, sizeof(line), "/proc/%d/status", (int)pid);
    file = fopen(line, "re");
    *ret = (struct facts){0};
    if (!file)
        return false;
    while (fgets(line, sizeof(line), file)) {
        found += sscanf(line, "Uid:\t%*u\t%u", &ret->uid) == 1;
        found += sscanf(line, "Gid:\t%*u\t%u", &ret->gid) == 1;
        found += sscanf(line, "CapPrm:\t%" SCNx64, &ret->capabilities) == 1;
        found += sscanf(line, "NoNewPrivs:\t%u", &ret->no_new_privs) == 1;
        found += sscanf(line, "Seccomp:\t%u", &ret->seccomp) == 1;
        (void)sscanf(line, "Seccomp_filters:\t%u", &ret->filters);
    }
    fclose(file);
    return found >= 4; // a kernel without seccomp has no line for it
}

// ---- words ----

static json_t *user_json(unsigned uid)
{
    const struct passwd *entry = getpwuid(uid);

    return entry ? admin_text(entry->pw_name) : json_null();
}

static json_t *capabilities_json(uint64_t held)
{
    // include/uapi/linux/capability.h, in its order
    static const char *const names[] = {"chown",
                                        "dac_override",
                                        "dac_read_search",
                                        "fowner",
                                        "fsetid",
                                        "kill",
                                        "setgid",
                                        "setuid",
                                        "setpcap",
                                        "linux_immutable",
                                        "net_bind_service",
                                        "net_broadcast",
                                        "net_admin",
                                        "net_raw",
                                        "ipc_lock",
                                        "ipc_owner",
                                        "sys_module",
                                        "sys_rawio",
                                        "sys_chroot",
                                        "sys_ptrace",
                                        "sys_pacct",
                                        "sys_admin",
                                        "sys_boot",
                                        "sys_nice",
                                        "sys_resource",
                                        "sys_time",
                                        "sys_tty_config",
                                        "mknod",
                                        "lease",
                                        "audit_write",
                                        "audit_control",
                                        "setfcap",
                                        "mac_override",
                                        "mac_admin",
                                        "syslog",
                                        "wake_alarm",
                                        "block_suspend",
                                        "audit_read",
                                        "perfmon",
                                        "bpf",
                                        "checkpoint_restore"};
    json_t *list = json_array();

    for (unsigned i = 0; i < 64; i++) {
        char number[8];

        snprintf(number, sizeof(number), "%u", i);
        if ((held >> i & 1) != 0)
            (void)json_array_append_new(
                list, json_string(i < sizeof(names) / sizeof(names[0]) ? names[i] : number));
    }
    return list;
}

static const char *seccomp_text(unsigned mode)
{
    static const char *const texts[] = {"none", "strict", "filter"};

    return mode < sizeof(texts) / sizeof(texts[0]) ? texts[mode] : "unknown";
}

// Whether its memory can be dumped and read. The files in /proc of a process that can't be belong to root, whoever it is; of one
// that is root itself they don't tell.
static json_t *dumpable_json(pid_t pid, const struct facts *facts)
{
    struct stat status;
    char path[64];

    if (pid == getpid())
        return json_boolean(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (facts->uid == 0 || stat(path, &status) < 0)
        return json_null();
    return json_boolean(status.st_uid == facts->uid);
}

// ---- processes ----

// What a worker of which /proc tells nothing (hidepid, ProtectProc=invisible) gave up and entered, or it would not be ready.
static struct facts facts_meant(const struct master *master)
{
    bool stays = master->account.uid == (uid_t)-1;

    return (struct facts){
        .uid = stays ? geteuid() : master->account.uid,
        .gid = stays ? getegid() : master->account.gid,
        .capabilities = confine_worker_keeps(master->config) & privileges_held(),
        .no_new_privs = 1,
        .seccomp = master->sandbox.has_seccomp ? 2 : 0,
        .filters = master->sandbox.has_seccomp,
    };
}

// NULL: no memory.
static json_t *process_json(const struct master *master, const char *name, pid_t pid)
{
    bool is_worker = pid != getpid();
    struct facts facts;
    bool is_told = read_facts(pid, &facts);

    if (!is_told)
        facts = facts_meant(master);
    return json_pack(
        "{s:s, s:i, s:b, s:o, s:i, s:i, s:o, s:b, s:o, s:s, s:i, s:i, s:b}", "process", name, "pid", (int)pid,
        "told_by_kernel", is_told, "user", user_json(facts.uid), "uid", (int)facts.uid, "gid", (int)facts.gid,
        "capabilities", capabilities_json(facts.capabilities), "no_new_privs", facts.no_new_privs != 0,
        "dumpable", is_told ? dumpable_json(pid, &facts) : json_false(), "seccomp",
        seccomp_text(facts.seccomp), "seccomp_filters", (int)facts.filters, "landlock",
        is_worker ? (int)master->sandbox.landlock : 0, "io_uring", is_worker && master->sandbox.has_ring);
}

static void append(json_t *list, json_t *process)
{
    if (process)
        (void)json_array_append_new(list, process);
}

json_t *admin_sandbox(const struct master *master)
{
    json_t *list = json_array();
    char name[32];

    if (!list)
        return NULL;
    append(list, process_json(master, "master", getpid()));
    for (unsigned i = 0; i < master->config->workers; i++) {
        const struct process *process = &master->processes[i];

        snprintf(name, sizeof(name), "worker %u", i);
        if (process->pid != 0 && process->is_ready)
            append(list, process_json(master, name, process->pid));
    }
    return list;
}

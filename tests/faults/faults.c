// SPDX-License-Identifier: Apache-2.0
// Preloaded into a Ringbolt under test (LD_PRELOAD): makes what hardly ever happens happen, as the file that RINGBOLT_FAULTS names says
// from moment to moment (struct faults, mapped by all processes):
//   * the wall clock jumps: CLOCK_REALTIME, time() and gettimeofday() are off by so many seconds;
//   * allocations that the program itself asks for (not its libraries) fail, one in so many, or just one of one process;
//   * the disk with the log is full: what goes to standard error is refused.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct faults {
    _Atomic int64_t seconds;    // added to the wall clock
    _Atomic uint64_t one_in;    // allocations of the program: one in so many fails; 0: none
    _Atomic uint64_t failed;    // how many did
    _Atomic uint64_t asked;     // how many there were while one_in was set
    _Atomic uint64_t is_full;   // the disk with the log
    _Atomic uint64_t refused;   // lines of the log that were
    _Atomic uint64_t pid;       // not 0: allocations of other processes neither fail nor count
    _Atomic uint64_t at;        // which of those asked for fails, the first is 1; 0: none
};

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

static struct faults *faults;
static uintptr_t text_begin, text_end; // of the program

static int find_program(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    (void)data;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
            text_begin = info->dlpi_addr + part->p_vaddr;
            text_end = text_begin + part->p_memsz;
        }
    }
    return 1; // the first one is the program
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("RINGBOLT_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *memory;

    if (fd < 0)
        return;
    memory = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED)
        return;
    dl_iterate_phdr(find_program, NULL);
    faults = memory;
}

static bool fails(const void *caller)
{
    uint64_t one_in = faults ? atomic_load_explicit(&faults->one_in, memory_order_relaxed) : 0;
    uint64_t at = faults ? atomic_load_explicit(&faults->at, memory_order_relaxed) : 0;
    uint64_t number;

    if ((one_in == 0 && at == 0) || (uintptr_t)caller < text_begin || (uintptr_t)caller >= text_end ||
        (faults->pid != 0 && faults->pid != (uint64_t)getpid()))
        return false;
    number = atomic_fetch_add(&faults->asked, 1);
    if (at != 0 ? number + 1 != at : number * UINT64_C(0x9e3779b97f4a7c15) % one_in != 0)
        return false;
    atomic_fetch_add(&faults->failed, 1);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(memory, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
    static ssize_t (*real)(int, const void *, size_t);

    if (fd == STDERR_FILENO && faults && atomic_load_explicit(&faults->is_full, memory_order_relaxed)) {
        atomic_fetch_add(&faults->refused, 1);
        errno = ENOSPC;
        return -1;
    }
    if (!real)
        real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    return real(fd, data, size);
}

static int64_t jump(void)
{
    return faults ? atomic_load_explicit(&faults->seconds, memory_order_relaxed) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    static int (*real)(clockid_t, struct timespec *);
    int result;

    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    result = real(clock, ret);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        ret->tv_sec += jump();
    return result;
}

time_t time(time_t *ret)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// An allow-list. What takes a path, makes a process or a thread, opens anything but a stream socket, changes an identity or maps code is
// not on it. A filter sees numbers in registers only: not what the ring is asked to do (ring.c restricts that), nor what a
// pointer points at (openat2(2) is for Landlock to confine).
//
// Whoever adds a call says who makes it and why. tests/unit/test_sandbox.c holds both sides of the list.
#include "filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ringbolt/compat.h"
#include "ringbolt/ring.h"
#include "ringbolt/worker.h"

#define ARGUMENTS_MAX 3

// clang-format off
// The kernel takes an int from the lower half of a register, whatever the upper one holds.
#define IS(argument, value)       {(argument), SCMP_CMP_MASKED_EQ, UINT32_MAX, (value)}
#define LACKS(argument, bits)     {(argument), SCMP_CMP_MASKED_EQ, (bits), 0}
#define OPTION(call, level, name) {call, 2, {IS(1, level), IS(2, name)}}
// clang-format on
#define SOCKET_TYPE (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)

struct rule {
    int call;
    unsigned count; // of arguments that are looked at
    struct scmp_arg_cmp arguments[ARGUMENTS_MAX];
};

static const struct rule always[] = {
    // The loop: submits and waits. What may be submitted is for the ring's restrictions to say.
    {SCMP_SYS(io_uring_enter)},
    // ring_destroy(), at an orderly end.
    {SCMP_SYS(io_uring_register), 1, {IS(1, RING_REGISTER_AT_END)}},
    // More clients at once than the ring's accept brings (listener.c).
    {SCMP_SYS(accept4)},
    // A socket to a server: TCP and nothing else, no datagrams, no netlink, no raw.
    {SCMP_SYS(socket), 3, {IS(0, AF_INET), IS(1, SOCKET_TYPE), IS(2, 0)}},
    {SCMP_SYS(socket), 3, {IS(0, AF_INET6), IS(1, SOCKET_TYPE), IS(2, 0)}},
    {SCMP_SYS(close)},
    {SCMP_SYS(shutdown)},
    // Kernel TLS: records that are not data; what nobody wants is thrown away (socket_discard()); the channel to the master.
    {SCMP_SYS(recvmsg)},
    {SCMP_SYS(recvfrom)},
    {SCMP_SYS(sendmsg)},
    {SCMP_SYS(sendto)},
    // Who the client is, and where it came in: for PROXY headers and the log.
    {SCMP_SYS(getpeername)},
    {SCMP_SYS(getsockname)},
    // socket.c, record_kernel.c. An option that is not here could load a BPF program or a congestion control.
    OPTION(SCMP_SYS(setsockopt), SOL_SOCKET, SO_LINGER),
    OPTION(SCMP_SYS(setsockopt), SOL_SOCKET, SO_KEEPALIVE),
    OPTION(SCMP_SYS(setsockopt), IPPROTO_TCP, TCP_NODELAY),
    OPTION(SCMP_SYS(setsockopt), IPPROTO_TCP, TCP_KEEPIDLE),
    OPTION(SCMP_SYS(setsockopt), IPPROTO_TCP, TCP_KEEPINTVL),
    OPTION(SCMP_SYS(setsockopt), IPPROTO_TCP, TCP_KEEPCNT),
    OPTION(SCMP_SYS(setsockopt), IPPROTO_TCP, TCP_USER_TIMEOUT),
    OPTION(SCMP_SYS(setsockopt), IPPROTO_TCP, TCP_ULP),
    OPTION(SCMP_SYS(setsockopt), SOL_TLS, TLS_TX),
    OPTION(SCMP_SYS(setsockopt), SOL_TLS, TLS_RX),
    OPTION(SCMP_SYS(getsockopt), SOL_SOCKET, SO_ERROR),
    OPTION(SCMP_SYS(getsockopt), SOL_TLS, TLS_TX),
    OPTION(SCMP_SYS(getsockopt), SOL_TLS, TLS_RX),
    // socket_unsent()
    {SCMP_SYS(ioctl), 1, {IS(1, SIOCOUTQ)}},
    // The channel keeps a descriptor in reserve.
    {SCMP_SYS(fcntl), 1, {IS(1, F_DUPFD_CLOEXEC)}},
    // Lines of the log; keys for `keylog`; the C library's last words before abort(3).
    {SCMP_SYS(write)},
    {SCMP_SYS(writev)},
    // Whether who reads the log has room for a line; and a log that was opened again becomes standard error (WORKER_LOG).
    {SCMP_SYS(poll)},
    {SCMP_SYS(ppoll)},
    {SCMP_SYS(dup3), 1, {IS(1, STDERR_FILENO)}},
    // How large a change of material is that the master sends in a memory file.
    {SCMP_SYS(lseek)},
    // Memory: the heap, buffers, secrets, that memory file. None of it becomes code.
    {SCMP_SYS(brk)},
    {SCMP_SYS(mmap), 1, {LACKS(2, PROT_EXEC)}},
    {SCMP_SYS(mprotect), 1, {LACKS(2, PROT_EXEC)}},
    {SCMP_SYS(mremap)},
    {SCMP_SYS(munmap)},
    {SCMP_SYS(madvise)},
    {SCMP_SYS(mlock)},
    {SCMP_SYS(mlock2)},
    // Locks of OpenSSL and of the C library, though there is one thread.
    {SCMP_SYS(futex)},
    // OpenSSL's random numbers, and salts.
    {SCMP_SYS(getrandom)},
    // Where the clock can't be read without a call.
    {SCMP_SYS(clock_gettime)},
    {SCMP_SYS(gettimeofday)},
    {SCMP_SYS(time)},
    // An end: exit(3), and abort(3) with tgkill(2) below.
    {SCMP_SYS(exit_group)},
    {SCMP_SYS(rt_sigprocmask)},
    {SCMP_SYS(getpid)},
    {SCMP_SYS(gettid)},
    // The kernel's own, after a signal that has stopped and continued this process.
    {SCMP_SYS(restart_syscall)},
};

static const struct rule unix_servers[] = {
    {SCMP_SYS(socket), 3, {IS(0, AF_UNIX), IS(1, SOCKET_TYPE), IS(2, 0)}},
};

// socket_come_from()
static const struct rule transparent[] = {
    {SCMP_SYS(bind)},
    OPTION(SCMP_SYS(setsockopt), SOL_IP, IP_TRANSPARENT),
    OPTION(SCMP_SYS(setsockopt), SOL_IP, IP_BIND_ADDRESS_NO_PORT),
    OPTION(SCMP_SYS(setsockopt), SOL_IPV6, IPV6_TRANSPARENT),
};

// token.c. fstat(3) is one or the other, depending on the C library.
static const struct rule tokens[] = {
    {SCMP_SYS(openat2)},
    {SCMP_SYS(fstat)},
    {SCMP_SYS(newfstatat), 1, {IS(3, AT_EMPTY_PATH)}},
    {SCMP_SYS(read)},
};

#if IS_SANITIZED
// AddressSanitizer's and LeakSanitizer's: they read about this process in /proc, and stop it with a thread to look at its memory.
static const struct rule sanitizer[] = {
    {SCMP_SYS(open)},         {SCMP_SYS(openat)},      {SCMP_SYS(read)},        {SCMP_SYS(readlink)},
    {SCMP_SYS(readlinkat)},   {SCMP_SYS(fstat)},       {SCMP_SYS(newfstatat)},  {SCMP_SYS(stat)},
    {SCMP_SYS(getdents64)},   {SCMP_SYS(getdents)},    {SCMP_SYS(clone)},       {SCMP_SYS(ptrace)},
    {SCMP_SYS(wait4)},        {SCMP_SYS(prctl)},       {SCMP_SYS(sigaltstack)}, {SCMP_SYS(rt_sigaction)},
    {SCMP_SYS(rt_sigreturn)}, {SCMP_SYS(sched_yield)}, {SCMP_SYS(getrlimit)},   {SCMP_SYS(prlimit64)},
    {SCMP_SYS(exit)},         {SCMP_SYS(getppid)},     {SCMP_SYS(tgkill)},      {SCMP_SYS(pipe2)},
    {SCMP_SYS(nanosleep)},    {SCMP_SYS(ioctl)},       {SCMP_SYS(uname)},       {SCMP_SYS(clock_nanosleep)},
    {SCMP_SYS(fcntl)},
};
#endif

// ---- the report ----

static int report_to = -1;

// The handler runs once (SA_RESETHAND), and rt_sigaction(2) is not on the list: whoever comes here dies, whatever it had in mind.
static void on_forbidden(int number, siginfo_t *info, void *context)
{
    struct worker_message message = {.type = WORKER_FORBIDDEN, .value = (uint32_t)info->si_syscall};

    (void)number;
    (void)context;
    if (report_to >= 0 && info->si_code == 1) // SYS_SECCOMP; else somebody has sent the signal
        (void)send(report_to, &message, sizeof(message), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)syscall(SYS_chroot, NULL); // forbidden as well, and nobody handles that any more
    _exit(1);
}

static int handle(int channel)
{
    struct sigaction action = {.sa_sigaction = on_forbidden, .sa_flags = SA_SIGINFO | SA_RESETHAND};

    report_to = channel;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}

// ---- the list ----

static int add(scmp_filter_ctx filter, const struct rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int error = 0;

        if (rules[i].call >= 0) // else: this machine has no such call
            error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, rules[i].count,
                                           rules[i].arguments);
        if (error < 0)
            return error;
    }
    return 0;
}

#define ADD(filter, rules) add((filter), (rules), sizeof(rules) / sizeof((rules)[0]))

static int add_all(scmp_filter_ctx filter, const struct filter_needs *needs)
{
    // abort(3): a signal to this process and no other
    struct rule raise = {SCMP_SYS(tgkill), 1, {IS(0, (unsigned)getpid())}};
    int error = ADD(filter, always);

    if (error == 0)
        error = add(filter, &raise, 1);
    if (error == 0 && needs->unix_servers)
        error = ADD(filter, unix_servers);
    if (error == 0 && needs->transparent)
        error = ADD(filter, transparent);
    if (error == 0 && needs->tokens)
        error = ADD(filter, tokens);
#if IS_SANITIZED
    if (error == 0)
        error = ADD(filter, sanitizer);
#endif
    return error;
}

int filter_load(const struct filter_needs *needs, int channel)
{
    // Not SCMP_ACT_KILL_PROCESS: nobody would learn which call it was. A signal that nobody handles kills as well.
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    int error;

    if (!filter)
        return -ENOMEM;
    error =
        seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS); // 32-bit calls and the like
    if (error == 0)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); // a tree, not a chain
    if (error == 0)
        error = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1); // the kernel's own errors
    if (error == 0)
        error = add_all(filter, needs);
    if (error == 0)
        error = handle(channel);
    tzset(); // gmtime_r(3) would read the time zone's file with the first date
    if (error == 0)
        error = seccomp_load(filter); // sets no_new_privs, which is set already
    seccomp_release(filter);
    return error;
}

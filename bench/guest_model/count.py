# SPDX-License-Identifier: Apache-2.0
"""Counting what processes ran. On the model's CPU a nanosecond is an instruction."""
import glob
import os
import resource
import time

# linux/posix-timers.h. SCHED: what the scheduler gave it. PROF: user and system time. VIRT: user time.
CPUCLOCK_PROF, CPUCLOCK_VIRT, CPUCLOCK_SCHED = 0, 1, 2
SETTLE = 0.05  # seconds of the guest, in which nobody has anything to do; the guest's clock jumps over them


def with_children(pid):
    found = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(path, encoding="ascii") as f:
            for child in f.read().split():
                found += with_children(int(child))
    return found


def clock(pid, kind):
    """A process's CPU clock, its threads that have ended included (clock_getcpuclockid(3)). 0 when it has gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | kind)
    except OSError:
        return 0


def everybody():
    """What all processes ran, and our children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (sum(clock(int(name), CPUCLOCK_SCHED) for name in os.listdir("/proc") if name.isdigit())
            + int((ended.ru_utime + ended.ru_stime) * 1e9))


def kernel_tls():
    """How many sockets have got keys in software kernel TLS: (to transmit, to receive)."""
    try:
        with open("/proc/net/tls_stat", encoding="ascii") as f:
            numbers = dict(line.split() for line in f)
    except FileNotFoundError:
        return 0, 0  # a kernel without
    return int(numbers["TlsTxSw"]), int(numbers["TlsRxSw"])


class Refused(Exception):
    """A path did not do what its name says, or a work was not done."""


class Count:
    """What the proxy's processes ran since it was made. Nothing may be going on then, nor at the end."""

    def __init__(self, pid):
        """pid: of the proxy's first process."""
        self.pid, self.pids = pid, with_children(pid)
        self.begin = self._now()

    def _now(self):
        time.sleep(SETTLE)
        return [sum(clock(pid, kind) for pid in self.pids) for kind in (CPUCLOCK_SCHED, CPUCLOCK_PROF, CPUCLOCK_VIRT)] + [
            everybody(), *kernel_tls()]

    def end(self):
        if with_children(self.pid) != self.pids:
            raise Refused("the proxy's processes are not the same as before")
        names = ("proxy", "accounted", "user", "everybody", "kernel_transmit", "kernel_receive")
        return {name: after - before for name, after, before in zip(names, self._now(), self.begin)}


def difference(long, short):
    return {name: long[name] - short[name] for name in long}

# SPDX-License-Identifier: Apache-2.0
"""What a proxy used between two moments, and what disturbed it meanwhile.

CPU: the clock of each of the proxy's processes (clock_getcpuclockid(3)), in nanoseconds, threads that have ended included; divided into
user and system as the kernel's ticks (/proc/PID/stat) say. It is divided by the time between the two readings, not by what was
planned, and so are the units: then it does not matter whether a reading was a millisecond late.

Disturbances, as shares of the time between the two readings:
  steal     what the hypervisor took from the CPUs (/proc/stat)
  waiting   what the proxy's threads waited for a CPU (schedstat), but no more than what others ran on its CPU: the threads of
            one proxy wait for each other too, and that is its own doing
  others    what ran on the CPUs of client and backend besides them, this program and the kernel's threads for network work: what
            the CPUs were not idle for, but no more than all other processes used. A CPU that falls asleep and wakes up again tens
            of thousands of times a second spends several per cent of its time on that alone, and nobody else runs then.
Memory is PSS: pages that several processes share are counted once.
"""
import functools
import glob
import os
import re
import time

TICK = os.sysconf("SC_CLK_TCK")
NS = 1_000_000_000

# A disturbance of one part in a hundred changes a figure of CPU by at most about as much: what was stolen is counted on a kernel
# that doesn't account for steal, and whoever ran in between has emptied the caches. Rounds of the same measure differ by 3 to 10 %
# on a quiet machine, so with 5 % a disturbance still hides in that spread, and no target is decided by it.
TOLERATED = 0.05
TICKS_OFF_SECONDS = 2 / TICK  # /proc/stat is in ticks: two of them say nothing


class Gone(Exception):
    """A process that is measured has ended."""


def clock_ns(pid):
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)  # CPUCLOCK_SCHED of the whole process, as clock_getcpuclockid(3) makes it
    except OSError as error:
        raise Gone(f"process {pid} has ended") from error


def ticks(pid):
    """User and system ticks, for the division."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError as error:
        raise Gone(f"process {pid} has ended") from error
    return int(fields[11]), int(fields[12])


def waiting_ns(pid):
    """What each thread has waited for a CPU by now."""
    result = {}
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(path, encoding="ascii") as f:
                result[path] = int(f.read().split()[1])
        except (OSError, IndexError):  # it has ended; or a kernel without
            continue
    return result


def memory(pids):
    """Bytes of PSS of all of them."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
                total += sum(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))
        except OSError as error:
            raise Gone(f"process {pid} has ended") from error
    return total


def machine_ticks():
    """Of each CPU: (idle, stolen) seconds since the start of the machine."""
    with open("/proc/stat", encoding="ascii") as f:
        lines = re.findall(r"^cpu(\d+) (.*)$", f.read(), re.MULTILINE)
    result = {}
    for number, values in lines:
        fields = [int(value) / TICK for value in values.split()]
        result[int(number)] = (fields[3] + fields[4], fields[7] if len(fields) > 7 else 0)
    return result


@functools.cache
def softirq_threads():
    """The kernel's threads that go on with network work when there is much of it. They work for the transfer that is measured."""
    result = set()
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="ascii", errors="replace") as f:
                if re.fullmatch(r"ksoftirqd/\d+\n", f.read()):
                    result.add(int(path.split("/")[2]))
        except OSError:
            continue
    return result


def seconds_of_others(known):
    """Of each process besides those, with its children that have ended: the CPU it has used."""
    result = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        pid = int(path.split("/")[2])
        if pid in known:
            continue
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        result[pid] = sum(int(field) for field in fields[11:15]) / TICK
    return result


class Sample:
    """One reading. subjects: what is measured; company: client, backend and whoever else is meant to run on the other CPUs."""

    def __init__(self, subjects, company):
        self.time_ns = time.monotonic_ns()
        self.cpu_ns = {pid: clock_ns(pid) for pid in subjects}
        self.ticks = {pid: ticks(pid) for pid in subjects}
        self.company_ns = {pid: clock_ns(pid) for pid in company}
        self.softirq_ns = {pid: clock_ns(pid) for pid in softirq_threads()}
        self.machine = machine_ticks()
        self.waiting_ns = {}
        for pid in subjects:
            self.waiting_ns.update(waiting_ns(pid))
        self.others = seconds_of_others(self.cpu_ns.keys() | self.company_ns.keys() | self.softirq_ns.keys())


class Usage:
    """Between two readings, in seconds."""

    def __init__(self, before, after, proxy_cpus, other_cpus):
        if not before.cpu_ns.keys() <= after.cpu_ns.keys():
            raise Gone("one of the proxy's processes has ended")
        self.seconds = (after.time_ns - before.time_ns) / NS
        self.cpu = sum(value - before.cpu_ns.get(pid, 0) for pid, value in after.cpu_ns.items()) / NS
        parts = [sum(value[part] - before.ticks.get(pid, (0, 0))[part] for pid, value in after.ticks.items()) for part in (0, 1)]
        self.user = self.cpu * parts[0] / sum(parts) if sum(parts) else None
        self.disturbances = self.find_disturbances(before, after, proxy_cpus, other_cpus)

    def find_disturbances(self, before, after, proxy_cpus, other_cpus):
        """What kind of disturbance: how many seconds, and of which CPUs."""
        company = sum(value - before.company_ns.get(pid, value) for pid, value in after.company_ns.items()) / NS
        others = sum(value - before.others.get(pid, 0) for pid, value in after.others.items())
        waited = sum(value - before.waiting_ns.get(path, 0) for path, value in after.waiting_ns.items()) / NS

        def between(cpus, part):
            return sum(after.machine[cpu][part] - before.machine[cpu][part] for cpu in cpus)

        def strangers(cpus, known):
            return min(others, max(0, self.seconds * len(cpus) - between(cpus, 0) - between(cpus, 1) - known))

        self.others_idle = max(0, between(other_cpus, 0)) / (self.seconds * len(other_cpus))
        if proxy_cpus == other_cpus:  # one CPU for all: whoever waits, waits for the client
            return {"steal": (between(proxy_cpus, 1), 1)}
        return {
            "steal of the proxy's CPU": (between(proxy_cpus, 1), len(proxy_cpus)),
            "of the time the proxy waited while others ran on its CPU": (min(waited, strangers(proxy_cpus, self.cpu)), len(proxy_cpus)),
            "steal of the CPUs of client and backend": (between(other_cpus, 1), len(other_cpus)),
            "of the CPUs of client and backend went to others": (strangers(other_cpus, company), len(other_cpus)),
        }

    def disturbed(self, tolerated):
        """In words, if there was more than that; else None."""
        worst = []
        for what, (seconds, cpus) in self.disturbances.items():
            whole = self.seconds * cpus
            if seconds > tolerated * whole + TICKS_OFF_SECONDS * cpus:
                worst.append(f"{100 * seconds / whole:.0f} % {what}")
        return ", ".join(worst) or None

# SPDX-License-Identifier: Apache-2.0
"""Processes that are started pinned to CPUs and that end for certain, with all that they have started."""
import ctypes
import glob
import os
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 10
LIBC = ctypes.CDLL(None, use_errno=True)


def family(pid):
    """A process and all below it, the oldest first."""
    found = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path, encoding="ascii") as f:
                below = f.read().split()
        except OSError:  # a thread that has just ended
            continue
        for child in below:
            found += family(int(child))
    return found


def session_members(leader):
    """The processes of a session; those whose parent has died are no longer below it, but still in here."""
    found = set()
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                pid, _, rest = f.read().partition(" ")
        except OSError:
            continue
        state, _, _, session = rest.rpartition(")")[2].split()[:4]
        if int(session) == leader and state != "Z":
            found.add(int(pid))
    return found


class Process:
    """A program in a session of its own, so that a ^C at the terminal reaches bench/compare alone. Its output goes to a file."""

    def __init__(self, name, command, cpus, log, cwd, is_humble=False, pass_fds=(), environment=None):
        def prepare():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # should bench/compare be killed
            os.sched_setaffinity(0, cpus)
            if is_humble:
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

        self.name, self.log = name, log
        self.is_company = False  # it serves or loads the proxies, it is none
        with open(log, "ab") as to:
            self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=to, stderr=to, cwd=cwd, preexec_fn=prepare,
                                          start_new_session=True, pass_fds=pass_fds,
                                          env={**os.environ, **(environment or {})})
        self.pid = self.popen.pid

    def is_running(self):
        return self.popen.poll() is None

    def pin(self, cpus):
        """Once more, also those of its threads that have decided otherwise."""
        for pid in family(self.pid):
            for path in glob.glob(f"/proc/{pid}/task/*"):
                try:
                    os.sched_setaffinity(int(os.path.basename(path)), cpus)
                except ProcessLookupError:
                    continue

    def log_tail(self, size=1500):
        with open(self.log, "rb") as f:
            return f.read().decode(errors="replace")[-size:].strip()

    def how_it_ended(self):
        status = self.popen.poll()
        if status is None:
            return f"{self.name} is running"
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return f"{self.name} ended {how}: {self.log_tail(300) or 'it logged nothing'}"

    def stop(self, number=signal.SIGTERM):
        """Ends it in an orderly way if it obeys, and in any case, with all that it has started."""
        held = []
        for pid in set(family(self.pid) if self.is_running() else []) | session_members(self.pid):
            try:
                held.append(os.pidfd_open(pid))  # a number may be used again, this is the process itself
            except OSError:
                continue
        try:
            if self.is_running():
                self.popen.send_signal(number)
            try:
                self.popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        finally:
            for descriptor in held:
                try:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                os.close(descriptor)


def wait_until(condition, seconds, pause=0.005):
    """For what sends no event: looks again until it is so. False when it isn't in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True

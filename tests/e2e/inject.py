# SPDX-License-Identifier: Apache-2.0
"""System calls made from inside another process, as whoever has taken it over would make them. By ptrace(2): x86-64, as root."""
import ctypes
import errno
import os
import platform
import signal
import threading

import pytest

ATTACH_REQUESTS = {"SEIZE": 0x4206, "INTERRUPT": 0x4207, "GETREGS": 12, "SETREGS": 13, "STEP": 9, "DETACH": 17, "POKE": 4, "SYSCALL": 24}
SYSCALL = b"\x0f\x05"

# /usr/include/asm/unistd_64.h
CALLS = {"open": 2, "mmap": 9, "mprotect": 10, "rt_sigaction": 13, "ioctl": 16, "socket": 41, "connect": 42, "bind": 49, "fork": 57, "execve": 59, "kill": 62,
         "ptrace": 101, "prctl": 157, "openat": 257, "setresuid": 117, "io_uring_setup": 425}

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Registers(ctypes.Structure):
    """struct user_regs_struct"""
    _fields_ = [(name, ctypes.c_ulonglong) for name in
                "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs".split()]


def need():
    if platform.machine() != "x86_64":
        pytest.skip("registers are set for x86-64 only")
    if os.geteuid() != 0:
        pytest.skip("only root may reach into a worker")


def ptrace(request, pid, address=None, data=None):
    if libc.ptrace(ATTACH_REQUESTS[request], pid, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request}: {os.strerror(number)}")


class Inside:
    """A process that stands still in a system call: with Inside(pid) as inside: inside.call("openat", …)."""

    def __init__(self, pid):
        self.pid, self.is_gone = pid, False

    def __enter__(self):
        try:
            ptrace("SEIZE", self.pid)
        except PermissionError as error:
            pytest.skip(f"processes can't be traced here: {error}")
        ptrace("INTERRUPT", self.pid)
        os.waitpid(self.pid, 0)
        self.saved = self._registers()
        with open(f"/proc/{self.pid}/mem", "rb") as memory:
            memory.seek(self.saved.rip - 2)
            assert memory.read(2) == SYSCALL, "the worker does not wait in a system call"
        return self

    def __exit__(self, *_):
        if not self.is_gone:
            ptrace("SETREGS", self.pid, None, ctypes.addressof(self.saved))
            ptrace("DETACH", self.pid)

    def _registers(self):
        registers = Registers()
        ptrace("GETREGS", self.pid, None, ctypes.addressof(registers))
        return registers

    def _set(self, name, arguments):
        registers = Registers.from_buffer_copy(self.saved)
        registers.rax, registers.orig_rax, registers.rip = CALLS[name], 2 ** 64 - 1, self.saved.rip - 2
        for register, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments):
            setattr(registers, register, value % 2 ** 64)
        ptrace("SETREGS", self.pid, None, ctypes.addressof(registers))

    def bytes(self, data):
        """The address of a copy in the process, on its stack, out of the way."""
        address = (self.saved.rsp - 4096) & ~15
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(data)
        return address

    def call(self, name, *arguments):
        """What the call returns: a number, or -errno."""
        self._set(name, arguments)
        ptrace("STEP", self.pid)
        _, status = os.waitpid(self.pid, 0)
        assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP, f"{name}: status {status:#x}"
        return ctypes.c_longlong(self._registers().rax).value

    def leave_with(self, name, *arguments):
        """Lets the process go, with this call as the next thing that it does."""
        self._set(name, arguments)
        self.is_gone = True
        ptrace("DETACH", self.pid)


SENDMSG, TRACE_SYSCALLS, WALL = 46, 1, 0x40000000


class KilledAt(threading.Thread):
    """A worker that is killed when it is about to send a message of a hand-over (src/proxy/handover_message.h), or (`after`) has just sent it. From the
    moment that this is there until join(); was_killed."""

    def __init__(self, pid, message, after):
        super().__init__(daemon=True)
        self.pid, self.message, self.after, self.was_killed = pid, message, after, False
        self.is_attached, self.problem = threading.Event(), None
        self.start()
        self.is_attached.wait()
        if self.problem:
            pytest.skip(f"processes can't be traced here: {self.problem}")

    def run(self):
        # Everything by this thread: the kernel knows it as the tracer.
        try:
            ptrace("SEIZE", self.pid, None, TRACE_SYSCALLS)
            ptrace("INTERRUPT", self.pid)
        except OSError as error:
            self.problem = error
        finally:
            self.is_attached.set()
        if self.problem is None:
            self._follow()

    def _follow(self):
        was_sent = False
        while True:
            _, status = os.waitpid(self.pid, WALL)
            if not os.WIFSTOPPED(status):
                return
            number = os.WSTOPSIG(status)
            if number == signal.SIGTRAP | 0x80:
                registers = Registers()
                ptrace("GETREGS", self.pid, None, ctypes.addressof(registers))
                is_entry = ctypes.c_longlong(registers.rax).value == -errno.ENOSYS
                if registers.orig_rax == SENDMSG and is_entry:
                    was_sent = self._type(registers.rsi) == self.message
                is_over = was_sent and is_entry != self.after and registers.orig_rax == SENDMSG
                if is_over and (is_entry or ctypes.c_longlong(registers.rax).value > 0):
                    self.was_killed = True
                    os.kill(self.pid, signal.SIGKILL)
                    continue
                number = 0
            elif status >> 16 or number == signal.SIGTRAP:
                number = 0
            try:
                ptrace("SYSCALL", self.pid, None, number)
            except OSError:
                pass  # it has been killed: the next wait tells

    def _type(self, header):
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(header + 16)
            memory.seek(int.from_bytes(memory.read(8), "little"))
            memory.seek(int.from_bytes(memory.read(8), "little"))
            return int.from_bytes(memory.read(4), "little")

# SPDX-License-Identifier: Apache-2.0
"""A network namespace of one's own, as another machine has it. It lives as long as its descriptor: nothing is left behind."""
import ctypes
import fcntl
import os
import socket
import struct
import threading

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags = struct.unpack("16sh22x", fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0)))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


class Namespace:
    """OSError when this user may not make one."""

    def __init__(self):
        self.descriptor = None
        self._in_thread(self._make)

    def _make(self):
        check(libc.unshare(CLONE_NEWNET))
        loopback_up()
        self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    @staticmethod
    def _in_thread(function):
        """A namespace is a thread's: one that ends takes nothing along."""
        result = []

        def run():
            try:
                result.append((function(), None))
            except BaseException as error:  # handed on
                result.append((None, error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        value, error = result[0]
        if error:
            raise error
        return value

    def call(self, function):
        """Calls it in the namespace. A socket that it makes stays there, wherever it is used."""
        def inside():
            check(libc.setns(self.descriptor, CLONE_NEWNET))
            return function()

        return self._in_thread(inside)

    def path(self):
        """What names it to other processes."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def prefix(self):
        """In front of a command that shall run in it."""
        return ["nsenter", f"--net={self.path()}"]

    def close(self):
        os.close(self.descriptor)

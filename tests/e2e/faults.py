# SPDX-License-Identifier: Apache-2.0
"""Clocks that jump, memory that is refused and disks that are full, for a proxy that runs: tests/faults/faults.c."""
import mmap
import os
import shutil
import struct

import ringbolt

SIZE = 64


class Faults:
    """The file that tests/faults/faults.c reads, and the library; None where the program has an allocator of a sanitizer."""

    def __init__(self, folder):
        built = os.path.join(os.path.dirname(os.path.abspath(ringbolt.BINARY)), "tests", "faults", "libringbolt-faults.so")
        self.is_there = not os.environ.get("RINGBOLT_SANITIZE") and os.path.exists(built)
        # LD_PRELOAD ends a name at a space.
        self.library = shutil.copy(built, folder) if self.is_there else None
        self.path = os.path.join(folder, "faults")
        with open(self.path, "wb") as f:
            f.write(bytes(SIZE))
        os.chmod(self.path, 0o666)
        self.file = open(self.path, "r+b")
        self.memory = mmap.mmap(self.file.fileno(), SIZE)

    def environment(self):
        return {"LD_PRELOAD": self.library, "RINGBOLT_FAULTS": self.path} if self.is_there else {}

    def _put(self, offset, *values):
        struct.pack_into(f"<{len(values)}q", self.memory, offset, *values)

    def _get(self, offset):
        return struct.unpack_from("<Q", self.memory, offset)[0]

    def set(self, seconds=0, one_in=0, is_full=0, pid=0, at=0):
        """What is so from now on. Allocations are counted from one again."""
        self._put(56, 0)
        self._put(48, pid)
        self._put(24, 0)
        self._put(32, is_full)
        self._put(0, seconds, one_in)
        self._put(56, at)

    def failed(self):
        """Allocations, ever."""
        return self._get(16)

    def asked(self):
        """Allocations since set(), while some are to fail."""
        return self._get(24)

    def refused(self):
        """Lines of the log, ever."""
        return self._get(40)

    def close(self):
        self.memory.close()
        self.file.close()

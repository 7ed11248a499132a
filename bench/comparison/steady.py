# SPDX-License-Identifier: Apache-2.0
"""ringbolt-steady on both sides of a proxy: for bench/reload and bench/handover."""
import json
import os
import subprocess

from . import machine
from .lab import Lab, Trouble


def programs(ringbolt, steady):
    """The paths of ringbolt and ringbolt-steady."""
    ringbolt = os.path.abspath(ringbolt)
    steady = os.path.abspath(steady or os.path.join(os.path.dirname(ringbolt), "bench", "steady", "ringbolt-steady"))
    for path in (ringbolt, steady):
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            raise Trouble(f"there is no program {path}: build it first (meson setup -Dbuildtype=release build && ninja -C build), or say "
                          "where it is with --ringbolt and --steady")
    return ringbolt, steady


class SteadyLab(Lab):
    """With ringbolt-steady as the server, instead of the comparison's."""

    def __init__(self, ringbolt, program, connections, servers=1):
        self.server_count, self.servers = servers, []
        super().__init__(ringbolt, program, 0, connections)

    def make_files(self):
        """None is needed."""

    def start_nginx(self, _count):
        """Likewise."""

    def start_sink(self):
        for _ in range(self.server_count):
            server = subprocess.Popen([self.bench, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
                                      preexec_fn=lambda: os.sched_setaffinity(0, self.other_cpus))
            self.servers.append(server)
        self.addresses = [server.stdout.readline().strip() for server in self.servers]

    def backend(self, _kind, _number):
        return self.addresses[0]

    def close(self):
        super().close()
        for server in self.servers:
            server.stdin.close()
            server.wait()


class Load:
    """ringbolt-steady with so many connections of each kind; they are all there."""

    def __init__(self, lab, address, kinds, *options):
        self.process = subprocess.Popen([lab.bench, "keep", "--address", address, "--kinds", ",".join(f"{kind}={count}" for kind, count in kinds.items()),
                                         *map(str, options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
                                        preexec_fn=lambda: os.sched_setaffinity(0, lab.other_cpus))
        self.ready = self.line()

    def line(self):
        text = self.process.stdout.readline()
        if not text:
            raise Trouble("ringbolt-steady has ended")
        return json.loads(text)

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def mark(self, name):
        """The window that ends here."""
        self.say(f"mark {name}")
        return self.line()

    def end(self):
        """The last window: every connection has ended in order, or it says why not."""
        self.say("end")
        return self.line()

    def close(self):
        self.process.kill()
        self.process.wait()


def memory(pids):
    """Bytes of their own and their share of what they share."""
    total = 0
    for pid in pids:
        for line in machine.file_text(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += 1024 * int(line.split()[1])
    return total

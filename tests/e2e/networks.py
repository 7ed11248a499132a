# SPDX-License-Identifier: Apache-2.0
"""Networks of a test's own: machines that are namespaces, joined by veth pairs. Nothing is left behind when the namespaces are closed."""
import fcntl
import json
import os
import stat
import struct
import subprocess
import sys

import netns
import ringbolt


class Missing(Exception):
    """What this kernel, or this user, can't do; as a reason to skip."""


def ip(namespace, *words, program="ip"):
    done = subprocess.run([*namespace.prefix(), program, *map(str, words)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Missing(f"{program} {' '.join(map(str, words))}: {done.stderr.decode().strip()}")


def join(one, other, name, addresses, prefix_length=30):
    """A cable between two namespaces: the device `name` in both, with these addresses."""
    load_modules()
    ip(one, "link", "add", name, "type", "veth", "peer", "name", name, "netns", other.path())
    for namespace, address in ((one, addresses[0]), (other, addresses[1])):
        ip(namespace, "address", "add", f"{address}/{prefix_length}", "dev", name)
        ip(namespace, "link", "set", name, "up")


def load_modules():
    """The guest's kernel has as modules what others have built in, and nobody there who loads them when they are needed."""
    if ringbolt.GUEST:
        for module in ("veth", "tun", "sch_netem"):
            subprocess.run(["modprobe", "-d", "/run/modules", module], stderr=subprocess.DEVNULL, check=False)


# ---- a bad path between two machines

class Path:
    """Two namespaces and a path between them that can be made bad on both ways (faults: see impair.py). netem does that where the
    kernel has it, impair.py between two TUN devices elsewhere."""
    ADDRESSES = ("10.22.0.1", "10.22.0.2")

    def __init__(self, by_hand=False):
        """Missing when neither can be made. by_hand: not with netem, which can't swap."""
        load_modules()
        try:
            self.ends = [netns.Namespace() for _ in range(2)]
        except OSError as error:
            raise Missing(f"no network namespace may be made here: {error}") from None
        self.process = None
        try:
            self.is_netem = not by_hand and self._join_netem()
            if not self.is_netem:
                self._join_tun()
        except (Missing, OSError) as error:
            self.close()
            raise Missing(str(error)) from None

    def _join_netem(self):
        try:
            ip(self.ends[0], "link", "add", "spare", "type", "veth", "peer", "name", "spare1")
            ip(self.ends[0], "qdisc", "add", "dev", "spare", "root", "netem", "loss", "0%", program="tc")
        except Missing:
            return False
        join(*self.ends, "path", self.ADDRESSES)
        return True

    def _join_tun(self):
        descriptors = []
        if not os.path.exists(TUN):
            os.makedirs(os.path.dirname(TUN), exist_ok=True)
            os.mknod(TUN, stat.S_IFCHR | 0o600, os.makedev(10, 200))
        try:
            for end, address, peer in zip(self.ends, self.ADDRESSES, reversed(self.ADDRESSES)):
                descriptors.append(end.call(open_tun))
                ip(end, "address", "add", address, "peer", peer, "dev", "path")
                ip(end, "link", "set", "path", "up")
            self.process = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "impair.py"),
                                             *map(str, descriptors)], pass_fds=descriptors, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def set(self, mtu=1500, **faults):
        """From now on. What was done since the last time, as impair.py counts it; None of netem, which does not tell."""
        for end in self.ends:
            ip(end, "link", "set", "path", "mtu", mtu)
        if self.process:
            self.process.stdin.write(json.dumps(faults).encode() + b"\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        words = ["delay", f"{faults.get('delay', 0)}ms"]
        if "reorder" in faults:  # netem's way: those that are hit overtake the others, which wait
            words = ["delay", f"{faults.get('delay', 0) + 20}ms", "reorder", f"{faults['reorder']}%"]
        words += ["loss", "100%" if faults.get("hole") else f"{faults.get('loss', 0)}%", "corrupt", f"{faults.get('corrupt', 0)}%"]
        for end in self.ends:
            ip(end, "qdisc", "replace", "dev", "path", "root", "netem", "limit", 10000, *words, program="tc")
        return None

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
        for end in self.ends:
            end.close()


TUN, TUNSETIFF, IFF_TUN, IFF_NO_PI = "/dev/net/tun", 0x400454CA, 1, 0x1000


def open_tun():
    descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"path", IFF_TUN | IFF_NO_PI))
    return descriptor

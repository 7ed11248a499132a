# SPDX-License-Identifier: Apache-2.0
"""Networks of a test's own: machines that are namespaces, joined by veth pairs. Nothing is left behind when the namespaces are closed."""
import subprocess

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

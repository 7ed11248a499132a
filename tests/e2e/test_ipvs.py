# SPDX-License-Identifier: Apache-2.0
"""Two instances behind IPVS, the kernel's own balancer at layer 4, in NAT mode: what becomes of connections when one is drained by
weight 0, as keepalived does it with inhibit_on_failure, and when one is taken out."""
import shutil
import socket
import struct
import subprocess

import pytest

import networks
import ringbolt
from test_fleet import Shared, fleet  # noqa: F401, a fixture

pytestmark = [pytest.mark.guest,
              pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed: scripts/install-deps test")]  # the fleet has one

# linux/ip_vs.h: the older interface, which needs no library
IP_VS_BASE_CTL = 64 + 1024 + 64
ADD, ADD_SERVER, DELETE_SERVER, EDIT_SERVER = (IP_VS_BASE_CTL + number for number in (2, 7, 8, 9))


class Ipvs:
    """One service, spoken to as ipvsadm does."""

    def __init__(self, machine, address):
        if ringbolt.GUEST:
            for module in ("ip_vs", "ip_vs_rr"):
                subprocess.run(["modprobe", "-d", "/run/modules", module], stderr=subprocess.DEVNULL, check=False)
        self.socket = machine.namespace.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
        self.service = struct.pack("=H2x4s2s2xI16sII4s", socket.IPPROTO_TCP, *self._packed(address), 0, b"rr", 0, 0, b"\xff" * 4)
        try:
            self._command(ADD)
        except OSError as error:
            self.socket.close()
            pytest.skip(f"this kernel has no IPVS: {error}")

    @staticmethod
    def _packed(address):
        return socket.inet_aton(address[0]), address[1].to_bytes(2, "big")

    def _command(self, command, server=b""):
        self.socket.setsockopt(socket.SOL_IP, command, self.service + server)

    def tell(self, command, node, weight=1):
        self._command(command, struct.pack("=4s2s2xIiII", *self._packed(node.address), 0, weight, 0, 0))

    def close(self):
        self.socket.close()


@pytest.fixture
def ipvs(fleet):  # noqa: F811
    shared = Shared(fleet, "10.21.9.9")
    networks.ip(fleet.front.namespace, "address", "add", f"{shared.address[0]}/32", "dev", "lo")
    one = Ipvs(fleet.front, shared.address)
    for node in fleet.nodes.values():
        one.tell(ADD_SERVER, node)
    one.shared = shared
    yield one
    one.close()


@pytest.mark.parametrize("version", ["1.3"])
def test_weight_0(fleet, ipvs, version):  # noqa: F811
    """Nothing new goes there, what is live goes on."""
    shared, visitor = ipvs.shared, fleet.visitor(version)
    assert [shared.visit(visitor) for _ in range(5)] == [False] + [True] * 4
    ringbolt.wait_until(lambda: all(node.served() for node in fleet.nodes.values()), "both have served")
    guests = [shared.stay(version) for _ in range(4)]
    assert all(guest.is_served() for guest in guests)

    ipvs.tell(EDIT_SERVER, fleet.nodes["a"], weight=0)
    since = fleet.nodes["b"].proxy.mark()
    assert [shared.visit(visitor) for _ in range(4)] == [True] * 4
    ringbolt.wait_until(lambda: len(fleet.nodes["b"].served(since)) >= 4, "the other one served all of them")
    assert all(guest.is_served() for guest in guests)

    # Taken out: its connections lead nowhere any more.
    ipvs.tell(DELETE_SERVER, fleet.nodes["a"])
    for guest in guests:
        guest.socket.settimeout(1)
    served = 0
    for guest in guests:
        try:
            served += guest.is_served()
        except OSError:
            pass
        guest.close()
    assert served == 2

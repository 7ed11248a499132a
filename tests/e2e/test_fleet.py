# SPDX-License-Identifier: Apache-2.0
"""Two instances behind a balancer that knows nothing of TLS: HAProxy in TCP mode. What they share are ticket keys, and certificates
for the same names. Each instance has a network of its own, joined to the balancer's by a veth pair; where that can't be made, the
instances have loopback addresses of their own."""
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import pytest

import clients
import netns
import networks
import pki
import ringbolt
from test_tickets import VERSIONS, Visitor, s_client

ROTATE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "conf", "rotate-ticket-keys")
NAMES = ["a", "b"]

pytestmark = [pytest.mark.any_layer, pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed: scripts/install-deps test")]


class Machine:
    """Where programs run: a namespace, or this machine's own."""

    def __init__(self, namespace, host, port):
        self.namespace, self.host, self.port = namespace, host, port
        self.gateway = host.rpartition(".")[0] + ".1"
        self.address = (host, port.address[1] if port else 8443)

    def prefix(self):
        return self.namespace.prefix() if self.namespace else []

    def connect(self, address):
        def here():
            return socket.create_connection(address, ringbolt.WAIT)

        return self.namespace.call(here) if self.namespace else here()

    def close(self):
        for one in (self.namespace, self.port):
            if one:
                one.close()


def machines():
    """(the balancer's, {name: an instance's})"""
    made = []
    try:
        front = Machine(netns.Namespace(), "127.0.0.1", None)
        made.append(front)
        for number, name in enumerate(NAMES, 1):
            made.append(Machine(netns.Namespace(), f"10.21.{number}.2", None))
            networks.join(front.namespace, made[-1].namespace, name, (f"10.21.{number}.1", f"10.21.{number}.2"))
        return front, dict(zip(NAMES, made[1:]))
    except (OSError, networks.Missing):
        for one in made:
            one.close()
    local = [Machine(None, host, ringbolt.Port(host)) for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3")]
    return local[0], dict(zip(NAMES, local[1:]))


class Balancer:
    """HAProxy, which gives connections to a and b in turn, looks every 100 ms who listens, and tries the other one when one refuses."""

    def __init__(self, folder, machine, servers):
        self.address, self.path, self.machine = machine.address, os.path.join(folder, "haproxy.sock"), machine
        config = os.path.join(folder, "haproxy.cfg")
        lines = "".join(f"    server {name} {one.address[0]}:{one.address[1]}\n" for name, one in servers.items())
        pki.write_whole(config, f"""
global
    stats socket {self.path} level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    retries 3
    option redispatch 1
    default-server check inter 100ms fall 1 rise 1
listen web
    bind {self.address[0]}:{self.address[1]}
    balance roundrobin
{lines}""".encode())
        self.process = subprocess.Popen([*machine.prefix(), "haproxy", "-db", "-f", config], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ringbolt.wait_until(self.is_there, "HAProxy is there")
        self.wait_for(a="UP", b="UP")

    def ask(self, command):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(ringbolt.WAIT)
            sock.connect(self.path)
            sock.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: sock.recv(65536), b"")).decode()

    def is_there(self):
        try:
            return bool(self.ask("show info"))
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def states(self):
        rows = [line.split(",") for line in self.ask("show stat").splitlines() if line.startswith(("#", "web,"))]
        return {row[1]: row[rows[0].index("status")] for row in rows[1:] if row[1] in NAMES}

    def wait_for(self, **states):
        ringbolt.wait_until(lambda: states.items() <= self.states().items(), f"HAProxy sees {states}")

    def set(self, name, state):
        """drain: no new connections; ready."""
        self.ask(f"set server web/{name} state {state}")
        self.wait_for(**{name: {"drain": "DRAIN", "ready": "UP"}[state]})

    def close(self):
        self.process.terminate()
        self.process.wait(ringbolt.WAIT)


class Node:
    """One instance, with its own copies of what they share."""

    def __init__(self, work, folder, machine, pair, keys, upstream):
        self.work, self.machine, self.folder = work, machine, folder
        self.certificate = pki.Kubernetes(folder, pair)
        self.keys = os.path.join(folder, "tickets")
        self.bring(keys)
        self.config = {"workers": 1, "log": {"format": "json"}, "shutdown_timeout": "60s",
                       "tickets": {"keys": [os.path.join(self.keys, f"{name}.key") for name in ("current", "next", "previous")]},
                       "listeners": [{"address": ("*:%d" if machine.namespace else f"{machine.host}:%d") % machine.address[1], "tls": {"certificates": [self.certificate.entry]}, "upstream": "app"}],
                       "upstreams": [{"name": "app", "servers": [{"address": upstream}]}]}
        self.address, self.proxies = machine.address, []
        self.start()

    def start(self):
        """Another process, at the same address."""
        self.proxy = ringbolt.Ringbolt(self.work, self.config, prefix=self.machine.prefix())
        self.proxies.append(self.proxy)

    def bring(self, keys):
        shutil.copytree(keys, self.keys, dirs_exist_ok=True)

    def kill(self):
        """All of it at once, as when the machine dies."""
        for pid in ringbolt.process_tree(self.proxy.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.proxy.process.wait()

    def served(self, since=0):
        """Connections that have spoken TLS; the balancer's looks have not."""
        with self.proxy.changed:
            return [line for line in self.proxy.lines[since:] if line["message"] == "connection" and line.get("tls")]

    def takes(self, address):
        """It has the clients' address too."""
        networks.ip(self.machine.namespace, "address", "add", f"{address}/32", "dev", "lo")

    def answers_by_way_of_the_front(self):
        networks.ip(self.machine.namespace, "route", "add", "default", "via", self.machine.gateway)

    def serial(self, ca):
        """Of the certificate that it serves."""
        with clients.python_context(ca, "1.3").wrap_socket(self.machine.connect(self.address), server_hostname="localhost") as client:
            return client.getpeercert()["serialNumber"]


class Fleet:
    def __init__(self, work, folder, upstream):
        self.ca = pki.Authority("Ringbolt test root")
        self.ca_file = pki.write_whole(os.path.join(folder, "ca.pem"), self.ca.leaf_pem())
        self.keys = os.path.join(folder, "keys")
        os.mkdir(self.keys)
        self.rotate()
        self.front, places = machines()
        self.nodes = {}
        for name, machine in places.items():
            os.mkdir(os.path.join(folder, name))
            self.nodes[name] = Node(work, os.path.join(folder, name), machine, self.ca.issue(), self.keys, upstream)
        self.balancer = Balancer(folder, self.front, self.nodes)
        self.address = self.balancer.address

    def rotate(self):
        subprocess.run([ROTATE, self.keys], check=True)

    def visitor(self, version):
        return Visitor(self.ca_file, version)

    def visit(self, visitor, **options):
        """Through the balancer. Whether the session was resumed."""
        return visitor.visit(self, connect=self.front.connect, **options)

    def stay(self, version="1.3"):
        """A connection that stays."""
        return Guest(clients.python_context(self.ca_file, version).wrap_socket(self.front.connect(self.address), server_hostname="localhost"))

    def close(self):
        self.balancer.close()
        for node in self.nodes.values():
            for proxy in node.proxies:
                if proxy.process.returncode is None:
                    proxy.stop()
            node.machine.close()
        self.front.close()


class Guest:
    def __init__(self, sock):
        self.socket = sock
        self.socket.sendall(b"echo x\n")

    def is_served(self):
        self.socket.sendall(b"still there?")
        got = b""
        while len(got) < 12:
            more = self.socket.recv(100)
            if not more:
                return False
            got += more
        return got == b"still there?"

    def close(self):
        self.socket.close()


class Stream(threading.Thread):
    """Clients that come one after the other all the time. errors: of those that were not served."""

    def __init__(self, fleet, version):
        super().__init__()
        self.fleet, self.visitor = fleet, fleet.visitor(version)
        self.count, self.full, self.errors, self.is_over = 0, 0, [], False

    def run(self):
        while not self.is_over:
            try:
                self.full += not self.fleet.visit(self.visitor)
            except (OSError, AssertionError) as error:
                self.errors.append(error)
            self.count += 1

    def __enter__(self):
        self.start()
        self.wait_for(1)
        return self

    def wait_for(self, more):
        goal = self.count + more
        ringbolt.wait_until(lambda: self.count >= goal, "clients were served")

    def __exit__(self, *_):
        self.is_over = True
        self.join()


@pytest.fixture
def fleet(work, tmp_path, actor_unix):
    tmp_path.chmod(0o755)
    one = Fleet(work, str(tmp_path), actor_unix.address)
    yield one
    one.close()


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


def test_resumption_across(fleet):
    """Whoever met one is known to the other: OpenSSL in Python, openssl s_client, GnuTLS."""
    for version in VERSIONS:
        visitor = fleet.visitor(version)
        assert [fleet.visit(visitor) for _ in range(7)] == [False] + [True] * 6
        ringbolt.wait_until(lambda: all(any(line["resumed"] and line["tls"] == f"TLSv{version}" for line in node.served())
                                        for node in fleet.nodes.values()), "both have resumed a session")

        session = os.path.join(fleet.nodes["a"].folder, f"session-{version}.pem")
        prefix = fleet.front.prefix()
        assert not s_client(fleet.address, fleet.ca_file, version, "-sess_out", session, prefix=prefix)
        assert [s_client(fleet.address, fleet.ca_file, version, "-sess_in", session, prefix=prefix) for _ in range(2)] == [True] * 2

        done = subprocess.run([*prefix, "gnutls-cli", "--resume", "--waitresumption", "--x509cafile", fleet.ca_file, "--priority",
                               f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "--port", str(fleet.address[1]), "--verify-hostname", "localhost",
                               "--sni-hostname", "localhost", "127.0.0.1"], input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert b"This is a resumed session" in done.stdout, done.stdout.decode(errors="replace")


def test_one_is_killed(fleet, version):
    """Its connections are gone; the other's are not, and whoever comes back is resumed there. It returns, and nobody notices."""
    visitor = fleet.visitor(version)
    fleet.visit(visitor)
    guests = [fleet.stay(version), fleet.stay(version)]
    assert all(guest.is_served() for guest in guests)
    before = fleet.nodes["b"].proxy.mark()
    fleet.nodes["a"].kill()
    lost = []
    for guest in guests:
        try:
            assert guest.is_served()
        except (OSError, AssertionError) as error:
            lost.append(error)
    assert len(lost) == 1 and not isinstance(lost[0], ssl.SSLZeroReturnError)  # it is no orderly end
    assert [fleet.visit(visitor) for _ in range(6)] == [True] * 6
    ringbolt.wait_until(lambda: len(fleet.nodes["b"].served(before)) >= 6, "the other one served all of them")

    fleet.nodes["a"].start()
    fleet.balancer.wait_for(a="UP")
    assert [fleet.visit(visitor) for _ in range(6)] == [True] * 6
    ringbolt.wait_until(lambda: any(line["resumed"] for line in fleet.nodes["a"].served()), "it resumed a session")
    for guest in guests:
        guest.close()


def test_one_is_drained_and_upgraded(fleet, version):
    """No client is refused and no connection lost: first the balancer sends it nothing new, then TERM, then another process takes the
    address while the old one still serves what is live."""
    node = fleet.nodes["a"]
    guests = [fleet.stay(version) for _ in range(4)]  # alone, so that each instance gets every other one
    assert all(guest.is_served() for guest in guests)
    with Stream(fleet, version) as stream:
        fleet.balancer.set("a", "drain")
        stream.wait_for(4)
        old = node.proxy
        old.send_signal(signal.SIGTERM)
        assert old.wait_for_log(lambda e: e["message"] == "draining")["connections"] >= 1
        assert all(guest.is_served() for guest in guests)

        node.start()
        fleet.balancer.set("a", "ready")
        stream.wait_for(6)
        ringbolt.wait_until(lambda: any(line["resumed"] for line in node.served()), "the new process resumed a session")
        assert all(guest.is_served() for guest in guests)
        for guest in guests:
            guest.close()
        old.finished(0)
    assert not stream.errors and stream.full == 1


def test_keys_are_turned_over(fleet, version):
    """One machine after the other, each at its time: a key is known as the next one before it encrypts anywhere."""
    visitor = fleet.visitor(version)
    fleet.visit(visitor)
    for _ in range(2):
        fleet.rotate()
        for node in fleet.nodes.values():
            node.bring(fleet.keys)
            node.proxy.admin("reload")
            assert [fleet.visit(visitor) for _ in range(4)] == [True] * 4


def test_certificates_are_renewed(fleet):
    """As a mounted secret is: ..data is swapped at one, then at the other, and nobody is refused."""
    with Stream(fleet, "1.3") as stream:
        for node in fleet.nodes.values():
            fresh = fleet.ca.issue()
            node.certificate.replace(fresh)
            wanted = f"{fresh.certificate.serial_number:X}"
            ringbolt.wait_until(lambda: node.serial(fleet.ca_file).lstrip("0") == wanted.lstrip("0"), "the renewed certificate is served")
            stream.wait_for(4)
    assert not stream.errors and stream.full == 1


class Shared:
    """The one address that clients see, in a network of its own."""

    def __init__(self, fleet, address):
        self.fleet, self.address = fleet, (address, 8443)
        if not fleet.front.namespace:
            pytest.skip("no networks of the test's own can be made here")
        for node in fleet.nodes.values():
            node.answers_by_way_of_the_front()

    def spread(self, *names):
        """As BGP does it: the routes of those who announce the address."""
        hops = [word for name in names for word in ("nexthop", "via", self.fleet.nodes[name].machine.host)]
        try:
            networks.ip(self.fleet.front.namespace, "route", "replace", f"{self.address[0]}/32", *hops)
        except networks.Missing as error:
            pytest.skip(f"this kernel has no multipath routes: {error}")

    def live(self):
        """How many connections each has."""
        return {name: node.proxy.admin_json("server")["upstreams"][0]["servers"][0]["connections"] for name, node in self.fleet.nodes.items()}

    def visit(self, visitor):
        return visitor.visit(self, connect=self.fleet.front.connect)

    def stay(self, version):
        connect = self.fleet.front.connect
        return Guest(clients.python_context(self.fleet.ca_file, version).wrap_socket(connect(self.address), server_hostname="localhost"))


def test_routes_that_spread(fleet, version):
    """ECMP: the router knows of no connections. When one machine's route is gone its connections are reset by the other; whoever comes
    back is resumed there."""
    shared = Shared(fleet, "10.21.9.9")
    for node in fleet.nodes.values():
        node.takes(shared.address[0])
    networks.ip(fleet.front.namespace, "-w", "net.ipv4.fib_multipath_hash_policy=1", program="sysctl")  # by ports too
    shared.spread("a", "b")
    visitor = fleet.visitor(version)
    assert not shared.visit(visitor)
    for _ in range(100):
        assert shared.visit(visitor)
        if all(node.served() for node in fleet.nodes.values()):
            break
    ringbolt.wait_until(lambda: not any(shared.live().values()), "all have ended")
    guests = []
    for _ in range(100):
        guests.append(shared.stay(version))
        assert guests[-1].is_served()
        live = shared.live()
        if all(live.values()):
            break
    assert all(live.values()) and sum(live.values()) == len(guests)

    shared.spread("b")
    alive = 0
    for guest in guests:
        try:
            alive += guest.is_served()
        except (ConnectionError, ssl.SSLError):  # OpenSSL may call a reset an end of file
            pass
    assert alive == live["b"]
    assert [shared.visit(visitor) for _ in range(6)] == [True] * 6
    for guest in guests:
        guest.close()

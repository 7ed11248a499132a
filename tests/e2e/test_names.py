# SPDX-License-Identifier: Apache-2.0
"""Servers that are found by a name whose addresses change: what is looked up again, and what becomes of connections meanwhile. All of it in
a network of the test's own, with a DNS server that does as the test says."""
import os
import signal
import socket

import pytest

import backends
import dns
import netns
import ringbolt
from test_upstreams import Load, NamedServer, client_context, echo

PORT, LISTEN = 8080, 8443
NAME = "app.test"
NAMED = f"{NAME}:{PORT}"
OFTEN = {"interval": "100ms"}
LOOKUP = "ringbolt-lookup"  # the process that asks

pytestmark = [pytest.mark.any_layer, pytest.mark.skipif(os.geteuid() != 0, reason="only root may make networks")]


def host(index):
    return f"127.0.1.{index}"


class World:
    """The network, servers in it, and a proxy when it is started."""

    def __init__(self, network, certificates, work):
        self.network, self.dns, self.certificates, self.work = network, network.dns, certificates, work
        self.address, self.proxy, self.servers = ("127.0.0.1", LISTEN), None, []

    def actor(self, address):
        self.servers.append(self.network.call(lambda: backends.Actor(host=address, port=PORT)))
        return self.servers[-1]

    def actors(self, count):
        return [self.actor(host(index + 1)) for index in range(count)]

    def records(self, *addresses):
        self.dns.records[NAME] = list(addresses)

    def start(self, servers=(NAMED,), resolve=None, config=None, wait=True, **keys):
        upstream = {"name": "app", "servers": [{"address": server} for server in servers], "resolve": {**OFTEN, **(resolve or {})}, **keys}
        self.proxy = ringbolt.Ringbolt(self.work, {
            "workers": 2, "log": {"format": "json"},
            "listeners": [{"address": "127.0.0.1:%d" % LISTEN, "tls": {"certificates": self.certificates.config()}, "upstream": "app"}],
            "upstreams": [upstream], **(config or {})}, wait=wait, prefix=self.network.prefix())
        return self.proxy

    def connect(self, _listener=None):
        sock = self.network.call(lambda: socket.create_connection(self.address, ringbolt.WAIT))
        return client_context().wrap_socket(sock)

    def hold(self, tag):
        client = self.connect()
        client.sendall(f"echo {tag}\n".encode())
        assert echo(client)
        return client

    def visit(self, count=1):
        """Short connections; how many each server got."""
        before = [server.accepted for server in self.servers]
        for _ in range(count):
            with self.connect() as client:
                client.sendall(b"echo x\n")
                assert echo(client)
        return [server.accepted - was for server, was in zip(self.servers, before)]

    def said(self, message, since, **fields):
        return self.proxy.wait_for_log(lambda e: e["message"] == message and all(e.get(key) == value for key, value in fields.items()), since)

    def changes(self, *addresses):
        """The name has these now; the line that says so."""
        since = self.proxy.mark()
        self.records(*addresses)
        return self.said("a server's name has other addresses", since)

    def table(self):
        return {server["address"].rpartition(":")[0]: server
                for group in self.proxy.admin_json("server")["upstreams"] for server in group["servers"]}

    def names(self):
        return self.proxy.admin_json("server")["upstreams"][0]["names"]

    def wait_answered(self):
        """Until nobody looks up: the answer to half of the questions may be another one."""
        ringbolt.wait_until(lambda: LOOKUP not in map(ringbolt.process_name, self.proxy.workers()), "the lookups are over")

    def close(self):
        for server in self.servers:
            server.close()
        if self.proxy and self.proxy.process.poll() is None:
            self.proxy.kill()


@pytest.fixture
def world(certificates, work, tag):
    try:
        network = dns.Network(os.path.join(work, f"network-{tag}"))
    except OSError as error:
        pytest.skip(f"no network of the test's own: {error}")
    one = World(network, certificates, work)
    yield one
    one.close()
    network.finish()


# ---- addresses come and go

def test_come_and_go(world, tag):
    """What is found serves, what is lost gets no new connections, and those that live there go on."""
    world.actors(3)
    world.records(host(1))
    world.start()
    first = world.hold(f"{tag}-first")
    assert world.visit(4) == [4, 0, 0]
    line = world.changes(host(1), host(2))
    assert (line["added"], line.get("removed"), line["addresses"], line["name"]) == (f"{host(2)}:{PORT}", None, 2, NAMED)
    got = world.visit(8)
    assert got[0] + got[1] == 8 and min(got[:2]) >= 3
    line = world.changes(host(3), host(2))
    assert (line["added"], line["removed"], line["addresses"]) == (f"{host(3)}:{PORT}", f"{host(1)}:{PORT}", 2)
    got = world.visit(8)
    assert got[0] == 0 and min(got[1:]) >= 3
    assert echo(first)
    table = world.table()
    assert {address: server["gone"] for address, server in table.items()} == {host(1): True, host(2): False, host(3): False}
    assert table[host(1)]["connections"] == 1 and table[host(2)]["name"] == NAMED
    assert f"{host(1)}:{PORT} ({NAMED})" in world.proxy.admin("server") and " gone " in world.proxy.admin("server")
    first.close()
    ringbolt.wait_until(lambda: host(1) not in world.table(), "nobody is there any more")
    assert world.changes(host(1))["removed"] == f"{host(2)}:{PORT}, {host(3)}:{PORT}"
    assert world.visit(4) == [4, 0, 0]
    world.proxy.stop()
    assert not any(line["end"].startswith("server") for line in world.proxy.lines if line["message"] == "connection")


def test_many_changes(world):
    """More addresses, one after the other, than there is room for at once: what nobody uses any more makes room."""
    world.actors(6)
    world.records(host(1))
    world.start(resolve={"addresses": 2})
    for index in range(2, 7):
        world.changes(host(index))
        assert world.visit(2)[index - 1] == 2
    world.proxy.stop()


def test_both_families(world):
    """An IPv6 and an IPv4 address, one of them taken away and put back."""
    v4, v6 = world.actor(host(1)), world.actor("::1")
    world.records(host(1), "::1")
    world.start()
    assert min(world.visit(8)) >= 3
    assert world.changes("::1")["removed"] == f"{host(1)}:{PORT}"
    assert world.visit(4) == [0, 4]
    assert world.changes("::1", host(1))["added"] == f"{host(1)}:{PORT}"
    assert min(world.visit(8)) >= 3
    assert v4.accepted and v6.accepted
    world.proxy.stop()


def test_too_many(world, tag):
    """There is room for two; who has a place keeps it, whatever the order of the answer."""
    world.actors(4)
    world.records(host(1), host(2))
    world.start(resolve={"addresses": 2})
    since = world.proxy.mark()
    world.records(host(4), host(3), host(2), host(1))
    line = world.said("a server's name has more addresses than there is room for", since)
    assert (line["addresses"], line["left_out"], line["name"]) == (2, 2, NAMED)
    world.dns.wait_for_questions(6, ringbolt.WAIT)
    assert world.visit(6)[2:] == [0, 0]
    assert sum(line["message"].startswith("a server's name") for line in world.proxy.lines[since:]) == 1
    # Who left is waited for as long as he has connections: his place is taken when they are over.
    clients = [world.hold(f"{tag}-{index}") for index in range(4)]
    world.records(host(3), host(2))
    world.said("a server's name has other addresses", since, removed=f"{host(1)}:{PORT}")
    world.dns.wait_for_questions(4, ringbolt.WAIT)
    assert world.names()[0]["addresses"] == 1
    for client in clients:
        client.close()
    world.said("a server's name has other addresses", since, added=f"{host(3)}:{PORT}")
    assert min(world.visit(8)[1:3]) >= 3
    world.proxy.stop()


def test_same_as_another(world):
    """A name whose address stands in the file too: one server, which stays when the name loses it."""
    world.actors(2)
    world.records(host(1), host(2))
    world.start(servers=(NAMED, f"{host(1)}:{PORT}"))
    assert len(world.table()) == 2 and world.names()[0]["addresses"] == 1
    world.changes(host(1))
    assert world.visit(4) == [4, 0]
    world.changes(host(2))
    assert min(world.visit(8)) >= 3
    world.proxy.stop()


# ---- both families, one of them out of reach

class Hole:
    """A server whose accept queue is full: who connects hears nothing."""

    def __init__(self, network, address):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def make():
            self.listener = socket.socket(family)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((address, PORT))
            self.listener.listen(0)
            self.clients = []
            for _ in range(3):
                self.clients.append(socket.socket(family))
                self.clients[-1].setblocking(False)
                self.clients[-1].connect_ex((address, PORT))

        network.call(make)

    def close(self):
        for sock in (*self.clients, self.listener):
            sock.close()


SHORT = {"max_fails": 3, "fail_timeout": "100ms"}
PATIENT = {"timeouts": {"connect": "10m"}}


@pytest.mark.parametrize("dead,alive", [("::1", host(1)), (host(1), "::1")], ids=["v6", "v4"])
def test_other_family_is_tried(world, dead, alive):
    """Nobody waits for the address that does not answer, which has not failed for that, and nothing is left of the attempt."""
    hole = Hole(world.network, dead)
    server = world.actor(alive)
    world.records(dead, alive)
    world.start(resolve={"attempt_delay": "50ms"}, health=SHORT, config=PATIENT)
    dead = f"[{dead}]" if ":" in dead else dead
    since = world.proxy.mark()

    def late():
        """Connections that were sent to the dead one first."""
        return [line for line in world.proxy.lines[since:] if line["message"] == "connection" and line["connect_ms"] >= 50]

    def visit():
        world.visit()
        return len(late()) >= 3

    ringbolt.wait_until(visit, "three have waited")
    ringbolt.wait_until(lambda: world.table()[dead]["connections"] == 0, "the attempts are over")
    table = world.table()[dead]
    assert (table["health"], table["failures"], table["connects"]) == ("up", 0, 0)
    assert all(line["server"].rpartition(":")[0] != dead for line in world.proxy.lines[since:] if line["message"] == "connection")
    # When it answers it is tried again, and kept.
    hole.close()
    there = world.actor(dead.strip("[]"))
    ringbolt.wait_until(lambda: world.visit() and there.accepted > 2, "it serves")
    assert server.accepted
    world.proxy.stop()


def test_overtaken_is_left_alone(world):
    """Who did not answer in time is not asked again for fail_timeout, by each worker."""
    hole = Hole(world.network, "::1")
    world.actor(host(1))
    world.records("::1", host(1))
    world.start(resolve={"attempt_delay": "50ms"}, health={"fail_timeout": "1h"}, config={**PATIENT, "log": {"format": "json", "level": "debug"}})
    world.visit(20)
    assert sum(line["message"] == "server overtaken" for line in world.proxy.lines) <= 2
    world.proxy.stop()
    hole.close()


def test_both_families_fail(world):
    """One says nothing, the other refuses, in either order: the client hears of it, and no place is lost."""
    hole = Hole(world.network, "::1")
    world.records("::1", host(1))
    world.start(resolve={"attempt_delay": "50ms"}, config={"timeouts": {"connect": "300ms"}})
    for _ in range(4):
        since = world.proxy.mark()
        with pytest.raises((OSError, AssertionError)):
            world.visit()
        assert world.proxy.connection(since)["end"] == "server_unreachable"
    assert all(server["connections"] == 0 for server in world.table().values())
    world.proxy.stop()
    hole.close()


def test_leaves_while_both_are_tried(world):
    """The proxy is stopped, with nobody answering at either address."""
    holes = [Hole(world.network, "::1"), Hole(world.network, host(1))]
    world.records("::1", host(1))
    world.start(resolve={"attempt_delay": "50ms"}, config=PATIENT)
    clients = [world.connect() for _ in range(3)]
    ringbolt.wait_until(lambda: [server["connections"] for server in world.table().values()] == [3, 3], "both are tried")
    world.proxy.stop()
    for client in clients:
        client.close()
    for hole in holes:
        hole.close()


# ---- lookups that fail

@pytest.mark.parametrize("trouble", [dns.SERVFAIL, dns.NXDOMAIN, dns.SILENT, []], ids=["servfail", "nxdomain", "silent", "empty"])
def test_failing(world, trouble):
    """The last known addresses serve; said once, and once when it works again."""
    world.actors(2)
    world.records(host(1))
    # Only when told to: on a machine that is busy, a lookup may take longer than it may.
    world.start(resolve={"interval": "0s", **({"timeout": "1500ms"} if trouble == dns.SILENT else {})})
    since = world.proxy.mark()
    world.dns.records[NAME] = trouble
    world.proxy.admin("reload")
    line = world.said("cannot look up a server's name", since)
    assert (line["name"], line["upstream"], line["addresses"]) == (NAMED, "app", 1) and line["reason"]
    if trouble == dns.SILENT:
        assert line["reason"] == "no answer within 1.5 s"
    asked = world.dns.asked
    world.proxy.admin("reload")
    ringbolt.wait_until(lambda: world.dns.asked > asked, "it is asked again")
    world.wait_answered()
    assert world.visit(4) == [4, 0]
    assert world.names() == [{"name": NAMED, "addresses": 1, "problem": line["reason"]}]
    assert f"{NAMED} cannot be looked up: {line['reason']}" in world.proxy.admin("server")
    world.records(host(2))
    ringbolt.wait_until(lambda: world.proxy.admin("reload") and world.names()[0]["problem"] is None, "it is found again")
    world.said("a server's name is found again", since)
    world.said("a server's name has other addresses", since)
    assert world.visit(4) == [0, 4]
    assert sum(line["message"] == "cannot look up a server's name" for line in world.proxy.lines[since:]) == 1
    assert world.names()[0]["problem"] is None
    world.proxy.stop()


def test_start_without(world):
    """A name that is not found is an error, unless it is said that it may come later."""
    world.actors(1)
    proxy = world.start(wait=False)
    assert proxy.process.wait(ringbolt.WAIT) == 3
    assert f"`{NAMED}`: the host has no address that could be found" in "\n".join(proxy.all_noise())
    world.start(resolve={"required": False})
    line = world.said("cannot look up a server's name", 0)
    assert line["addresses"] == 0
    with pytest.raises((OSError, AssertionError)):
        world.visit()
    assert world.proxy.connection()["end"] == "server_unreachable"
    world.changes(host(1))
    assert world.visit(2) == [2]
    world.proxy.stop()


def test_reload_looks_up(world):
    """`interval: 0s`: nobody asks until somebody says so."""
    world.actors(2)
    world.records(host(1))
    world.start(resolve={"interval": "0s"})
    asked = world.dns.asked
    world.records(host(2))
    assert world.visit(4) == [4, 0] and world.dns.asked == asked
    since = world.proxy.mark()
    world.proxy.admin("reload")
    world.said("a server's name has other addresses", since)
    assert world.visit(4) == [0, 4]
    world.records(host(1))
    since = world.proxy.mark()
    world.proxy.send_signal(signal.SIGHUP)
    world.said("a server's name has other addresses", since)
    assert world.visit(4) == [4, 0]
    # A changed configuration is a start, which asks for each name and fails where there is none: what serves goes on.
    with open(world.proxy.config_path, "a", encoding="utf-8") as f:
        f.write(" ")
    world.records()
    since = world.proxy.mark()
    refused = world.proxy.admin_json("reload", status=1)
    assert refused["config"] == "changed" and "app.test:8080" in refused["successor_problems"][0], refused
    assert world.visit(4) == [4, 0]
    world.said("successor failed, going on", since)
    world.proxy.noise.clear()  # the successor has complained as every start does
    world.proxy.stop()


# ---- health, orders

def test_checks_follow(world):
    """An address that came is checked, one that went is not."""
    a, b = world.actors(2)
    world.records(host(1))
    world.start(health={"check": "tcp", "interval": "100ms", "rise": 1, "fall": 1})
    ringbolt.wait_until(lambda: a.accepted > 1, "it is checked")
    world.changes(host(2), host(1))
    ringbolt.wait_until(lambda: b.accepted > 1, "it is checked too")
    since = world.proxy.mark()
    b.close()
    world.said("server is out", since, server=f"{host(2)}:{PORT}")
    assert world.table()[host(2)]["health"] == "out"
    world.changes(host(1))
    since = world.proxy.mark()
    world.changes(host(1), host(2))  # it counts as well again, until the next check
    world.said("server is out", since, server=f"{host(2)}:{PORT}")
    world.proxy.stop()


def test_orders(world):
    """Of one address, and of a name: then those that come later have it too."""
    world.actors(3)
    world.records(host(1), host(2))
    world.start()
    world.proxy.admin("server", f"app/{host(1)}:{PORT}", "drain")
    assert world.visit(4) == [0, 4, 0]
    # The order stays with the address while it is away.
    world.changes(host(2))
    world.changes(host(2), host(1))
    assert world.table()[host(1)]["state"] == "drain" and world.visit(4) == [0, 4, 0]
    answer = world.proxy.admin_json("server", NAMED, "drain")
    assert answer == {"ok": True, "upstream": "app", "server": NAMED, "state": "drain", "changed": True, "connections": 0}
    world.changes(host(2), host(1), host(3))
    assert {server["state"] for server in world.table().values()} == {"drain"}
    assert world.proxy.admin_json("server", f"app/{NAMED}", "drain")["changed"] is False
    world.proxy.admin("server", f"app/{NAMED}", "ready")
    assert min(world.visit(9)) >= 2
    done = ringbolt.call("server", "-s", world.proxy.admin_path, "nobody.test:1", "drain")
    assert done.returncode == 1 and f"app/{NAMED}, app/{host(1)}:{PORT}, " in done.stderr
    world.proxy.stop()


# ---- under load

@pytest.fixture
def named(world):
    made = []

    def make(name, address, **options):
        port = world.network.call(lambda: ringbolt.Port(address, PORT))
        made.append(NamedServer(name, port=port, prefix=netns.Namespace.prefix(world.network), **options))
        return made[-1]

    yield make
    for server in made:
        server.signal(signal.SIGCONT)
        server.close()


def test_servers_come_and_go(world, named):
    """Under load one is killed, one stopped, one removed from the DNS, one drained, and all come back: no request is lost that had not reached
    a server."""
    a, c, d = named("a", host(1)), named("c", host(3)), named("d", host(4))
    b = named("b", host(2), backlog=1)  # when it is stopped, the kernel takes one or two connections for it; a third one gets no answer
    everybody = [host(index) for index in range(1, 5)]
    world.records(*everybody)
    proxy = world.start(health={"max_fails": 3, "fail_timeout": "500ms"}, config={"timeouts": {"connect": "300ms"}})
    load = Load(None, 8, connect=world.connect)
    load.more("a", "b", "c", "d")

    def rests(server, address):
        """Nothing new reaches it; what was on its way to a thread is 8 answers at most."""
        ringbolt.wait_until(lambda: world.table().get(address, {"connections": 0})["connections"] == 0, "its last connections have ended")
        count = load.answers[server.name]
        load.more(*({"a", "b", "d"} - {server.name}))
        assert load.answers[server.name] <= count + 8
        count = load.answers[server.name]
        load.more(*({"a", "b", "d"} - {server.name}))
        assert load.answers[server.name] == count

    since = proxy.mark()
    world.changes(*everybody[:2], everybody[3])
    rests(c, host(3))
    a.kill()
    world.said("server is out", since, server=a.address)
    load.more("b", "d")
    b.signal(signal.SIGSTOP)
    world.said("server is out", since, server=b.address)
    load.more("d")
    world.changes(*everybody)  # the removed one comes back while two are out
    load.more("c", "d")
    a.start()
    world.said("server is back", since, server=a.address)
    b.signal(signal.SIGCONT)
    world.said("server is back", since, server=b.address)
    load.more("a", "b", "c", "d")
    proxy.admin("server", d.address, "drain")
    rests(d, host(4))
    proxy.admin("server", d.address, "ready")
    load.more("a", "b", "c", "d")
    load.stop()
    proxy.stop()
    lines = [line for line in proxy.lines if line["message"] == "connection"]
    # Only who was with the one that was killed got no answer. (When it had read the question its kernel ends with FIN.)
    odd = [line for line in lines if line["end"] != "done" or line["bytes_out"] == 0]
    assert all(line["end"] in ("server_reset", "done") and line.get("server") == a.address for line in odd), odd
    assert load.lost <= len(odd) and sum(load.answers.values()) + load.lost == len(lines)

# SPDX-License-Identifier: Apache-2.0
"""Several servers behind one upstream: who gets a connection, what happens when some fail, are full, or are told to rest."""
import collections
import math
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading

import pytest

import backends
import ringbolt

pytestmark = pytest.mark.any_layer


def upstream(servers, name="app", **keys):
    """`servers`: addresses, or mappings."""
    return {"name": name, "servers": [{"address": server} if isinstance(server, str) else server for server in servers], **keys}


@pytest.fixture
def started(start):
    """A proxy before one upstream: started([address, {…}], workers=1, balance="source_hash")."""
    def make(servers, workers=2, config=None, **keys):
        return start({"app": []}, config={"workers": workers, "upstreams": [upstream(servers, **keys)], **(config or {})})
    return make


@pytest.fixture
def actors():
    made = []

    def make(count):
        made.extend(backends.Actor() for _ in range(count))
        return made[-count:]

    yield make
    for server in made:
        server.close()


def client_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(listener, source="127.0.0.1"):
    sock = socket.create_connection(listener.address, ringbolt.WAIT, source_address=(source, 0))
    return client_context().wrap_socket(sock)


def echo(client, data=b"hello"):
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        more = client.recv(100)
        if not more:
            break
        got += more
    return got == data


def visit(listener, source="127.0.0.1"):
    """A short connection that some Actor serves."""
    with connect(listener, source) as client:
        client.sendall(b"echo x\n")
        assert echo(client)


def hold(listener, tag):
    """A connection that stays; it has a server when this returns."""
    client = connect(listener)
    client.sendall(f"echo {tag}\n".encode())
    assert echo(client)
    return client


def accepted(servers):
    return [server.accepted for server in servers]


def table(stage):
    """The servers by address, as `ringbolt server` tells."""
    return {server["address"]: server for group in stage.proxy.admin_json("server")["upstreams"] for server in group["servers"]}


def check_share(got, of, share):
    """Within five standard deviations of chance."""
    assert abs(got - of * share) <= 5 * math.sqrt(of * share * (1 - share)), f"{got} of {of} are not a share of {share}"


# ---- distribution

def test_round_robin_by_weight(started, actors):
    servers = actors(3)
    stage = started([{"address": server.address, "weight": weight} for server, weight in zip(servers, (1, 2, 3))], workers=1)
    for _ in range(60):
        visit(stage["app"])
    assert accepted(servers) == [10, 20, 30]


def test_round_robin_of_two_workers(started, actors):
    """Each takes turns by itself, so the whole is off by no more than a few."""
    servers = actors(3)
    stage = started([server.address for server in servers])
    for _ in range(60):
        visit(stage["app"])
    assert sum(accepted(servers)) == 60 and all(abs(count - 20) <= 3 for count in accepted(servers)), accepted(servers)


def test_least_connections(started, actors, tag):
    """By the connections of both workers, whoever carries them."""
    servers = actors(3)
    stage = started([{"address": server.address, "weight": weight} for server, weight in zip(servers, (1, 1, 2))],
                    balance="least_connections")
    clients = [hold(stage["app"], f"{tag}-{index}") for index in range(12)]
    assert accepted(servers) == [3, 3, 6]
    assert [server["connections"] for server in table(stage).values()] == [3, 3, 6]
    of_first = [index for index in range(12) if f"{tag}-{index}" in servers[0].sessions]
    for index in of_first:
        clients[index].close()
    ringbolt.wait_until(lambda: table(stage)[servers[0].address]["connections"] == 0, "its connections are gone")
    for index in range(3):
        clients.append(hold(stage["app"], f"{tag}-again-{index}"))
    assert accepted(servers) == [6, 3, 6]
    for client in clients:
        client.close()


def test_source_hash(started, actors):
    """A client comes back to its server, over any worker; when one server rests its clients move and nobody else's do."""
    servers = actors(4)
    stage = started([server.address for server in servers], balance="source_hash")
    chance = random.Random(4711)
    sources = list({f"127.{chance.randrange(1, 255)}.{chance.randrange(256)}.{chance.randrange(1, 255)}" for _ in range(120)})

    def where():
        homes = {}
        for source in sources:
            before = accepted(servers)
            visit(stage["app"], source)
            homes[source] = next(index for index in range(4) if accepted(servers)[index] != before[index])
        return homes

    homes = where()
    counts = collections.Counter(homes.values())
    for index in range(4):
        check_share(counts[index], len(sources), 1 / 4)
    stage.proxy.admin("server", servers[2].address, "drain")
    moved = where()
    assert {source for source in sources if moved[source] != homes[source]} == {s for s in sources if homes[s] == 2}
    assert set(moved.values()) == {0, 1, 3}
    stage.proxy.admin("server", servers[2].address, "ready")
    assert where() == homes


def test_backup(started, actors):
    servers = actors(2)
    gone = ringbolt.Port()
    stage = started([gone.text, servers[0].address, {"address": servers[1].address, "backup": True}])
    for _ in range(10):
        visit(stage["app"])
    assert accepted(servers) == [10, 0]
    servers[0].close()
    for _ in range(10):
        visit(stage["app"])
    assert accepted(servers) == [10, 10]
    gone.close()


def test_weight_zero(started, actors):
    servers = actors(2)
    stage = started([{"address": servers[0].address, "weight": 0}, servers[1].address])
    for _ in range(6):
        visit(stage["app"])
    assert accepted(servers) == [0, 6]


# ---- servers that fail

class NamedServer:
    """named_server.py, which can be killed, stopped and started again at its address."""

    def __init__(self, name, backlog=128, port=None, prefix=()):
        self.name, self.backlog, self.port, self.prefix, self.process = name, backlog, port or ringbolt.Port(), prefix, None
        self.address = self.port.text
        self.start()

    def start(self):
        self.process = subprocess.Popen([*self.prefix, sys.executable, os.path.join(os.path.dirname(__file__), "named_server.py"),
                                         self.name, str(self.port.address[1]), str(self.backlog), self.port.address[0]], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def signal(self, number):
        self.process.send_signal(number)

    def close(self):
        self.kill()
        self.port.close()


class Load:
    """Threads that ask one question after the other, each over a connection of its own."""

    def __init__(self, listener, threads, connect=connect):
        self.listener, self.connect = listener, connect
        self.changed = threading.Condition()
        self.answers = collections.Counter()  # by server
        self.lost = 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(index,), daemon=True) for index in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self, index):
        number = 0
        while not self.stopping.is_set():
            number += 1
            name = self._ask(f"{index}-{number}")
            with self.changed:
                if name:
                    self.answers[name] += 1
                else:
                    self.lost += 1
                self.changed.notify_all()

    def _ask(self, question):
        """The name of the server that answered; None: nobody did."""
        got = b""
        try:
            with self.connect(self.listener) as client:
                client.sendall(question.encode() + b"\n")
                while more := client.recv(1000):
                    got += more
        except OSError:
            return None
        name, _, answer = got.decode().strip().partition(" ")
        return name if answer == question else None

    def more(self, *names, count=15):
        """Waits until each of these has answered so many times more."""
        with self.changed:
            goal = {name: self.answers[name] + count for name in names}
            assert self.changed.wait_for(lambda: all(self.answers[name] >= goal[name] for name in names), ringbolt.WAIT), \
                f"{dict(self.answers)} does not become {goal}"

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(ringbolt.WAIT)
            assert not thread.is_alive()


@pytest.fixture
def named():
    made = []

    def make(*names, **options):
        made.extend(NamedServer(name, **options) for name in names)
        return made[-len(names):]

    yield make
    for server in made:
        server.signal(signal.SIGCONT)
        server.close()


def test_servers_come_and_go(started, named):
    """Under load one is killed, one stopped, one drained, and all come back: no request is lost that had not reached a server."""
    a, c = named("a", "c")
    b, = named("b", backlog=1)  # when it is stopped, the kernel takes one or two connections for it; a third one gets no answer
    stage = started([a.address, b.address, c.address], config={"timeouts": {"connect": "300ms"}},
                    health={"max_fails": 3, "fail_timeout": "500ms"})

    def wait_for(message, server, since):
        stage.proxy.wait_for_log(lambda e: e["message"] == message and e.get("server") == server.address, since)

    load = Load(stage["app"], 8)
    load.more("a", "b", "c")
    since = stage.proxy.mark()
    a.kill()
    wait_for("server is out", a, since)
    load.more("b", "c")
    b.signal(signal.SIGSTOP)
    wait_for("server is out", b, since)
    load.more("c")
    a.start()
    wait_for("server is back", a, since)
    load.more("a", "c")
    b.signal(signal.SIGCONT)
    wait_for("server is back", b, since)
    load.more("a", "b", "c")
    stage.proxy.admin("server", f"app/{c.address}", "drain")
    ringbolt.wait_until(lambda: table(stage)[c.address]["connections"] == 0, "its last connections have ended")
    count = load.answers["c"]
    load.more("a", "b")
    assert load.answers["c"] <= count + 8  # answers that were still on their way to a thread
    count = load.answers["c"]
    load.more("a", "b")
    assert load.answers["c"] == count
    stage.proxy.admin("server", f"app/{c.address}", "ready")
    load.more("a", "b", "c")
    load.stop()
    stage.proxy.stop()
    lines = [line for line in stage.proxy.lines if line["message"] == "connection"]
    # Only who was with the one that was killed got no answer. (When it had read the question its kernel ends with FIN.)
    odd = [line for line in lines if line["end"] != "done" or line["bytes_out"] == 0]
    assert all(line["end"] in ("server_reset", "done") and line.get("server") == a.address for line in odd), odd
    assert load.lost <= len(odd) and sum(load.answers.values()) + load.lost == len(lines)


def test_out_is_said_once(started, actors):
    """Two workers see it fail; one of them says so, and both leave it alone."""
    servers = actors(2)
    gone = ringbolt.Port()
    stage = started([gone.text, *(server.address for server in servers)], health={"max_fails": 4, "fail_timeout": "1h"})
    since = stage.proxy.mark()
    for _ in range(40):
        visit(stage["app"])
    server = table(stage)[gone.text]
    assert (server["health"], server["failures"], server["failures_in_a_row"], server["connects"]) == ("out", 4, 4, 0)
    assert sum(accepted(servers)) == 40
    stage.proxy.stop()
    said = [line for line in stage.proxy.lines[since:] if line["message"] == "server is out"]
    assert len(said) == 1 and said[0]["server"] == gone.text and said[0]["upstream"] == "app" and said[0]["retry_ms"] == 3600000
    gone.close()


def test_all_out_and_all_tried(started, named):
    """Nobody is turned away because of what was an hour ago."""
    a, b = named("a", "b")
    stage = started([a.address, b.address], health={"max_fails": 1, "fail_timeout": "1h"})
    a.kill()
    b.kill()
    with pytest.raises((OSError, AssertionError)):
        visit(stage["app"])
    assert [server["health"] for server in table(stage).values()] == ["out", "out"]
    since = stage.proxy.mark()
    b.start()
    load = Load(stage["app"], 1)
    load.more("b", count=3)
    load.stop()
    assert load.lost == 0
    stage.proxy.wait_for_log(lambda e: e["message"] == "server is back" and e["server"] == b.address, since)
    a.start()


# ---- checks

CHECKS = {"check": "tcp", "interval": "100ms", "timeout": "60s", "rise": 2, "fall": 2}


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_checks(started, named, actors, work, kind):
    """The master finds out by itself that a server is gone, and that it is there again."""
    other, = actors(1)
    path = os.path.join(work, f"checked-{id(other):x}.sock")
    server, = named("a") if kind == "tcp" else [backends.Actor(path=path)]
    stage = started([server.address, other.address], health=CHECKS)
    since = stage.proxy.mark()
    if kind == "tcp":
        server.kill()
    else:
        server.close()
        os.unlink(path)
    line = stage.proxy.wait_for_log(lambda e: e["message"] == "server is out", since)
    assert line["server"] == server.address and line["failed_checks"] == 2 and line["error"] and "process" not in line
    for _ in range(6):
        visit(stage["app"])
    assert other.accepted >= 6 and table(stage)[server.address] == {**table(stage)[server.address], "health": "out", "failures": 0}
    if kind == "tcp":
        server.start()
    else:
        server = backends.Actor(path=path)
    stage.proxy.wait_for_log(lambda e: e["message"] == "server is back" and e["server"] == server.address, since)
    assert table(stage)[server.address]["health"] == "up"
    said = [line["message"] for line in stage.proxy.lines[since:] if line["message"].startswith("server is")]
    assert said == ["server is out", "server is back"]
    if kind == "unix":
        server.close()
        os.unlink(path)


def test_checks_of_a_stopped_server(started, named):
    """As long as there is room in its queue the kernel answers for it; then not even that."""
    a, b = named("a", "b", backlog=1)
    stage = started([a.address, b.address], health={**CHECKS, "timeout": "300ms"})
    since = stage.proxy.mark()
    a.signal(signal.SIGSTOP)
    # A check ends with a reset, which leaves its place in the queue taken until the server looks.
    stage.proxy.wait_for_log(lambda e: e["message"] == "server is out" and e["server"] == a.address, since)
    a.signal(signal.SIGCONT)
    stage.proxy.wait_for_log(lambda e: e["message"] == "server is back" and e["server"] == a.address, since)


def test_down_is_not_checked(started, actors):
    servers = actors(3)
    stage = started([server.address for server in servers], health=CHECKS)
    stage.proxy.admin("server", servers[0].address, "down")
    stage.proxy.admin("server", servers[1].address, "drain")
    since = stage.proxy.mark()
    for server in servers[:2]:
        server.close()
    # Who is drained is looked after, who is down is not; by then it would have been found out too.
    stage.proxy.wait_for_log(lambda e: e["message"] == "server is out" and e["server"] == servers[1].address, since)
    checked = servers[2].accepted
    ringbolt.wait_until(lambda: servers[2].accepted > checked + 4, "the third was checked a few times more")
    states = table(stage)
    assert [states[server.address]["health"] for server in servers] == ["up", "out", "up"]
    stage.proxy.admin("server", servers[0].address, "ready")
    stage.proxy.wait_for_log(lambda e: e["message"] == "server is out" and e["server"] == servers[0].address, since)


# ---- limits and the queue

def refused_with(stage, end):
    """A client that gets no server, and the line that says why."""
    since = stage.proxy.mark()
    client = connect(stage["app"])
    port = client.getsockname()[1]
    with pytest.raises(OSError):
        client.sendall(b"echo x\n")
        if client.recv(1) == b"":
            raise OSError("closed")
    client.close()
    line = stage.proxy.connection(since, client=f"127.0.0.1:{port}")
    assert line["end"] == end and line["alert"] == "internal_error" and "server" not in line, line


def test_max_connections_of_two_workers(started, actors, tag):
    servers = actors(2)
    stage = started([{"address": servers[0].address, "max_connections": 3}, {"address": servers[1].address, "max_connections": 2}])
    clients = [hold(stage["app"], f"{tag}-{index}") for index in range(5)]
    assert accepted(servers) == [3, 2]
    for _ in range(4):
        refused_with(stage, "servers_full")
    assert accepted(servers) == [3, 2]
    clients.pop().close()
    ringbolt.wait_until(lambda: sum(server["connections"] for server in table(stage).values()) == 4, "there is room again")
    clients.append(hold(stage["app"], f"{tag}-last"))
    for client in clients:
        client.close()


def test_limits_under_load(started, named):
    """A crowd, two workers, and little room: never too many at a server, and everybody's turn comes."""
    a, b = named("a", "b")
    stage = started([{"address": a.address, "max_connections": 2}, {"address": b.address, "max_connections": 1}],
                    queue={"size": 100, "timeout": "10m"})
    load = Load(stage["app"], 12)
    for _ in range(15):
        load.more("a", "b", count=3)
        states = table(stage)
        assert states[a.address]["connections"] <= 2 and states[b.address]["connections"] <= 1, states
    load.stop()
    assert load.lost == 0
    ringbolt.wait_until(lambda: not any(server["connections"] for server in table(stage).values()), "all have gone")


@pytest.mark.parametrize("workers", [1, 2])
def test_queue(started, actors, tag, workers):
    """Two may wait, whichever worker has them; they are served when somebody leaves."""
    server, = actors(1)
    stage = started([{"address": server.address, "max_connections": 1}], workers=workers, queue={"size": 2, "timeout": "10m"})
    first = hold(stage["app"], f"{tag}-first")
    waiting = []
    for index in range(2):
        client = connect(stage["app"])
        client.sendall(f"echo {tag}-{index}\nhello".encode())
        waiting.append(client)
        ringbolt.wait_until(lambda: stage.proxy.admin_json("server")["upstreams"][0]["waiting"] == index + 1, "it waits")
    assert "app: 2 of at most 2 connections wait" in stage.proxy.admin("server")
    refused_with(stage, "servers_full")
    assert server.accepted == 1
    first.close()
    if workers == 1:  # who came first; of two workers, who is faster
        assert waiting[0].recv(100) == b"hello"
        assert f"{tag}-1" not in server.sessions
        waiting[0].close()
        assert waiting[1].recv(100) == b"hello"
    else:
        for client in waiting:
            threading.Thread(target=lambda client=client: (client.recv(100), client.close()), daemon=True).start()
        for index in range(2):
            assert server.session(f"{tag}-{index}").ended.wait(ringbolt.WAIT)
    for client in waiting:
        client.close()
    ringbolt.wait_until(lambda: table(stage)[server.address]["connections"] == 0, "all have gone")
    assert server.accepted == 3 and stage.proxy.admin_json("server")["upstreams"][0]["waiting"] == 0


@pytest.mark.parametrize("way", ["close_notify and FIN", "FIN", "reset"])
def test_waiting_client_leaves(started, actors, tag, way):
    """Its place is another's, and the server never hears of it."""
    server, = actors(1)
    stage = started([{"address": server.address, "max_connections": 1}], queue={"size": 1, "timeout": "10m"})
    first = hold(stage["app"], f"{tag}-first")
    since = stage.proxy.mark()
    leaver = connect(stage["app"])
    leaver.sendall(f"echo {tag}-leaver\nhello".encode())
    ringbolt.wait_until(lambda: stage.proxy.admin_json("server")["upstreams"][0]["waiting"] == 1, "it waits")
    port = leaver.getsockname()[1]
    if way == "reset":
        leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leaver.close()
    elif way == "FIN":
        socket.socket.shutdown(leaver, socket.SHUT_WR)  # the TLS goes on
        with pytest.raises(ssl.SSLError, match="INTERNAL_ERROR"):
            leaver.recv(1)
        leaver.close()
    else:
        leaver.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            leaver.unwrap()  # close_notify, and it reads what came: else to close would be to reset
        leaver.close()
    line = stage.proxy.connection(since, client=f"127.0.0.1:{port}")
    assert line["end"] == ("client_reset" if way == "reset" else "client_left") and "server" not in line, line
    waiting = connect(stage["app"])
    waiting.sendall(f"echo {tag}-next\nhello".encode())
    ringbolt.wait_until(lambda: stage.proxy.admin_json("server")["upstreams"][0]["waiting"] == 1, "the next one has the place")
    first.close()
    assert waiting.recv(100) == b"hello"
    waiting.close()
    assert server.accepted == 2 and f"{tag}-leaver" not in server.sessions


def test_queue_timeout(started, actors, tag):
    server, = actors(1)
    stage = started([{"address": server.address, "max_connections": 1}], queue={"size": 5, "timeout": "200ms"})
    first = hold(stage["app"], tag)
    refused_with(stage, "queue_timeout")
    assert server.accepted == 1
    first.close()


def test_drain_while_somebody_waits(started, actors, tag):
    """The server that is waited for is drained: there is nothing to wait for any more."""
    server, = actors(1)
    stage = started([{"address": server.address, "max_connections": 1}], queue={"size": 5, "timeout": "10m"})
    first = hold(stage["app"], tag)
    since = stage.proxy.mark()
    client = connect(stage["app"])
    ringbolt.wait_until(lambda: stage.proxy.admin_json("server")["upstreams"][0]["waiting"] == 1, "it waits")
    stage.proxy.admin("server", server.address, "drain")
    assert stage.proxy.connection(since)["end"] == "server_unreachable"
    client.close()
    assert echo(first)
    first.close()


# ---- the command

def test_server_list(started, actors, tag):
    servers = actors(2)
    stage = started([servers[0].address, {"address": servers[1].address, "weight": 3, "backup": True, "max_connections": 7}])
    client = hold(stage["app"], tag)
    group, = stage.proxy.admin_json("server")["upstreams"]
    assert {**group, "servers": 2} == {"name": "app", "balance": "round_robin", "waiting": 0, "queue_size": 0, "servers": 2}
    assert group["servers"] == [
        {"address": servers[0].address, "state": "ready", "health": "up", "since": None, "weight": 1, "backup": False,
         "max_connections": 0, "connections": 1, "connects": 1, "failures": 0, "failures_in_a_row": 0},
        {"address": servers[1].address, "state": "ready", "health": "up", "since": None, "weight": 3, "backup": True,
         "max_connections": 7, "connections": 0, "connects": 0, "failures": 0, "failures_in_a_row": 0}]
    title, first, second = stage.proxy.admin("server").splitlines()
    assert title.split()[:3] == ["UPSTREAM", "SERVER", "STATE"]
    assert first.split() == ["app", servers[0].address, "ready", "up", "-", "1", "1", "1", "0"]
    assert second.split() == ["app", servers[1].address, "ready", "up", "-", "3", "backup", "0/7", "0", "0"]
    client.close()


def test_drain_down_ready(started, actors, tag):
    servers = actors(2)
    stage = started([server.address for server in servers], workers=1)
    clients = [hold(stage["app"], f"{tag}-{index}") for index in range(4)]
    for state in ("drain", "down"):
        since = stage.proxy.mark()
        answer = stage.proxy.admin_json("server", servers[0].address, state)
        assert answer == {"ok": True, "upstream": "app", "server": servers[0].address, "state": state, "changed": True,
                          "connections": 2}
        stage.proxy.wait_for_log(lambda e: e["message"] == "server state set" and e["state"] == state, since)
        before = accepted(servers)
        for _ in range(5):
            visit(stage["app"])
        assert accepted(servers) == [before[0], before[1] + 5]
        assert all(echo(client) for client in clients)
        assert table(stage)[servers[0].address]["state"] == state
    assert stage.proxy.admin_json("server", f"app/{servers[0].address}", "down")["changed"] is False
    assert stage.proxy.admin("server", servers[1].address, "drain").startswith(f"app/{servers[1].address}: drain, ")
    refused_with(stage, "server_unreachable")
    stage.proxy.admin("server", servers[0].address, "ready")
    before = accepted(servers)
    visit(stage["app"])
    assert accepted(servers) == [before[0] + 1, before[1]]
    for client in clients:
        client.close()


def test_server_names(start, actors):
    servers = actors(2)
    both = [server.address for server in servers]
    stage = start({"one": [], "two": []}, config={"upstreams": [upstream(both, "one"), upstream(both[:1], "two")]})

    def wrong(status, *arguments):
        done = ringbolt.call("server", "-s", stage.proxy.admin_path, *arguments)
        assert done.returncode == status and not done.stdout, done
        return done.stderr

    said = wrong(1, "127.0.0.1:1", "drain")
    assert "no server `127.0.0.1:1`" in said and f"one/{both[0]}, one/{both[1]}, two/{both[0]}" in said
    said = wrong(1, both[0], "drain")
    assert f"say which: one/{both[0]}, two/{both[0]}" in said and both[1] not in said
    assert "no server" in wrong(1, f"three/{both[0]}", "drain")
    assert "no server" in wrong(1, "one", "drain")
    assert "ready, drain or down" in wrong(2, both[1])
    assert "not `off`" in wrong(2, both[1], "off")
    assert "`x`" in wrong(2, both[1], "drain", "x")
    assert all(server["state"] == "ready" for server in table(stage).values())
    stage.proxy.admin("server", f"two/{both[0]}", "drain")
    groups = stage.proxy.admin_json("server")["upstreams"]
    assert [[server["state"] for server in group["servers"]] for group in groups] == [["ready", "ready"], ["drain"]]


def test_states_survive_a_worker(started, actors, tag):
    """What workers know of servers is no worker's own; only the connections of a dead one are gone."""
    servers = actors(2)
    gone = ringbolt.Port()
    stage = started([gone.text, *(server.address for server in servers)], workers=1, health={"max_fails": 1, "fail_timeout": "1h"})
    clients = [hold(stage["app"], f"{tag}-{index}") for index in range(6)]
    stage.proxy.admin("server", servers[0].address, "drain")
    before = table(stage)
    assert [server["health"] for server in before.values()] == ["out", "up", "up"]
    assert sum(server["connections"] for server in before.values()) == 6
    since = stage.proxy.mark()
    worker, = stage.proxy.workers()
    os.kill(worker, signal.SIGKILL)
    stage.proxy.wait_for_log(lambda e: e["message"] == "worker replaced", since)
    assert table(stage) == {address: {**server, "connections": 0} for address, server in before.items()}
    counts = accepted(servers)
    for _ in range(4):
        visit(stage["app"])
    assert accepted(servers) == [counts[0], counts[1] + 4]
    for client in clients:
        client.close()
    gone.close()


def test_limit_after_a_worker_died(started, actors, tag):
    """The places that it had are free."""
    server, = actors(1)
    stage = started([{"address": server.address, "max_connections": 2}], workers=1)
    clients = [hold(stage["app"], f"{tag}-{index}") for index in range(2)]
    refused_with(stage, "servers_full")
    since = stage.proxy.mark()
    os.kill(stage.proxy.workers()[0], signal.SIGKILL)
    stage.proxy.wait_for_log(lambda e: e["message"] == "worker replaced", since)
    clients += [hold(stage["app"], f"{tag}-again-{index}") for index in range(2)]
    refused_with(stage, "servers_full")
    for client in clients:
        client.close()

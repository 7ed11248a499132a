# SPDX-License-Identifier: Apache-2.0
"""Upstreams: which server is tried, and what a client hears when none answers."""
import os
import socket

import pytest

import backends
import rawtls
import ringbolt


def refused_address():
    """An address where nobody listens: the port stays bound meanwhile."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock, f"127.0.0.1:{sock.getsockname()[1]}"


class Blackhole:
    """An address that answers no connection attempt: the queue of a socket that never accepts is full."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.fillers = []
        while True:  # until an attempt stays unanswered
            filler = socket.socket()
            filler.settimeout(0.3)
            self.fillers.append(filler)
            try:
                filler.connect(self.listener.getsockname())
            except TimeoutError:
                break

    def close(self):
        for sock in self.fillers + [self.listener]:
            sock.close()


@pytest.fixture
def blackhole():
    hole = Blackhole()
    yield hole
    hole.close()


@pytest.fixture
def nobody():
    sock, address = refused_address()
    yield address
    sock.close()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_no_server_reachable(start, dial, nobody, work, version):
    stage = start({"app": [nobody], "unix": [f"unix:{work}/nobody-listens.sock"]})
    for name in ("app", "unix"):
        client = dial(stage[name], version=version)
        assert client.read_to_end() == (b"", "internal_error")
        line = stage.line_at_end(client)
        assert line["end"] == "server_unreachable" and line["alert"] == "internal_error" and "server" not in line


def test_next_server_is_tried(start, actor, dial, nobody, work):
    stage = start({"app": [nobody, f"unix:{work}/nobody-listens.sock", actor.address]})
    for _ in range(6):
        client = dial(stage["app"])
        client.send_data(b"echo x\nhello")
        assert client.read(5) == b"hello"
        client.close_notify()
        assert client.end() == "close_notify"
        assert stage.line(client)["server"] == actor.address


def test_round_robin(start, dial):
    actors = [backends.Actor() for _ in range(3)]
    stage = start({"app": [server.address for server in actors]}, config={"workers": 1})
    for _ in range(12):
        client = dial(stage["app"])
        client.send_data(b"echo x\nhello")
        assert client.read(5) == b"hello"
    assert [server.accepted for server in actors] == [4, 4, 4]
    for server in actors:
        server.close()


def test_connect_timeout(start, actor, dial, blackhole):
    """A server that doesn't answer is given up after timeouts.connect; the next one serves."""
    stage = start({"hole": [blackhole.address], "both": [blackhole.address, actor.address]},
                  config={"workers": 1, "timeouts": {"connect": "300ms"}})
    client = dial(stage["hole"])
    assert client.read_to_end() == (b"", "internal_error")
    assert stage.line_at_end(client)["end"] == "server_unreachable"
    client = dial(stage["both"])
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"


def test_client_leaves_while_dialling(start, dial, blackhole):
    """Nobody waits for the server any more."""
    stage = start({"hole": [blackhole.address]}, config={"timeouts": {"connect": "1s"}})
    client = dial(stage["hole"])
    client.send_data(b"hello")
    client.abort()
    line = stage.line(client)
    assert line["end"] in ("client_reset", "server_unreachable")


def test_data_waits_for_a_slow_server(start, dial, blackhole, tag):
    """What the client sends while the server is being dialled arrives whole."""
    server = backends.Actor()
    stage = start({"app": [blackhole.address, server.address]}, config={"workers": 1, "timeouts": {"connect": "500ms"}})
    client = dial(stage["app"])
    data = os.urandom(100_000)
    client.send_data(f"sink {tag}\n".encode() + data)
    client.close_notify()
    answer, end = client.read_to_end()
    assert answer.split()[0] == b"100000" and end == "close_notify"
    server.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_address_families(start, work, certificates, tag, host):
    """IPv6 towards clients and towards servers."""
    try:
        server = backends.Actor(host=host)
    except OSError as error:
        pytest.fail(f"this machine has no {host}: {error}")
    port = ringbolt.Port(host)
    stage = start({"app": [server.address]}, config={
        "listeners": [{"name": "six", "address": port.text, "upstream": "app", "tls": {"certificates": certificates.config()}}]})
    client = rawtls.RawClient(port.address).handshake()
    client.send_data(f"echo {tag}\nhello".encode())
    assert client.read(5) == b"hello"
    client.close_notify()
    assert client.end() == "close_notify"
    line = stage.proxy.connection()
    assert line["client"].startswith("[::1]:" if ":" in host else "127.0.0.1:") and line["server"] == server.address
    client.close()
    port.close()
    server.close()


def test_backend_that_closes_at_once(start, dial):
    """Accepts and closes: a clean, empty answer."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    stage = start({"app": [f"127.0.0.1:{listener.getsockname()[1]}"]})
    client = dial(stage["app"])
    accepted, _ = listener.accept()
    accepted.close()
    assert client.read_to_end() == (b"", "close_notify")
    client.close_notify()
    assert stage.line(client)["end"] == "done"
    listener.close()


def test_many_backend_resets(stage, actor, dial, tag):
    """One after the other, with data in flight in both directions."""
    for index in range(20):
        client = dial(stage["app"], version="1.2" if index % 2 else "1.3")
        client.send_data(f"reset {tag}-{index} {index * 3000}\n".encode() + b"x" * 10000)
        actor.session(f"{tag}-{index}").release()
        data, end = client.read_to_end()
        assert len(data) <= index * 3000 and end == "internal_error"
        assert stage.line_at_end(client)["end"] == "server_reset"

# SPDX-License-Identifier: Apache-2.0
"""ringbolt-steady, by which hand-overs are judged: does it notice what it is for? A relay between its ends does the damage."""
import select
import socket
import struct
import threading

import pytest

import backends
import ringbolt
import steady

pytestmark = pytest.mark.any_layer


class Relay:
    """Passes bytes on between clients and a server; damage(up, data) → what is passed on instead, None to reset, b"" to end."""

    def __init__(self, server, damage):
        self.damage = damage
        host, port = server.rsplit(":", 1)
        self.server = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = self.listener.getsockname()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self):
        while not self.over.is_set():
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._pass_on, args=(client,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _pass_on(self, client):
        server = socket.create_connection(self.server)
        other = {client: server, server: client}
        passed = {client: 0, server: 0}
        try:
            while other and not self.over.is_set():
                for sock in select.select(list(other), [], [], 0.1)[0]:
                    data = sock.recv(65536)
                    passed[sock] += len(data)
                    data = self.damage(sock is client, passed[sock], data) if data else data
                    if data is None:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    if not data:
                        other.pop(sock).shutdown(socket.SHUT_WR)
                    else:
                        other[sock].sendall(data)
        except (OSError, KeyError):
            pass
        finally:
            client.close()
            server.close()

    def close(self):
        self.over.set()
        backends.stop_accepting(self.listener, self.threads[0])
        for thread in self.threads[1:]:
            thread.join(ringbolt.WAIT)


@pytest.fixture
def through(certificates):
    """Load through a relay that does that damage: through(damage, kinds, …)."""
    made = []

    def begin(damage, kinds, **options):
        server = steady.Server(certificates.ecdsa)
        made.append(server)
        relay = Relay(server.address, damage)
        made.append(relay)
        load = steady.Load(relay.address, kinds, **options)
        made.append(load)
        return load

    yield begin
    for one in reversed(made):
        one.close()


def intact(_is_up, _passed, data):
    return data


def test_every_kind_ends_with_all_its_bytes(through):
    load = through(intact, steady.spread(20), visits=10, half=500)
    assert load.ready.live() == 20 and load.ready["faults"] == 0
    window = load.mark("one").check()
    assert window.live() == 20
    end = load.end().check()
    assert all(end.complete()[kind] == 2 for kind in steady.KINDS if kind != "half"), end.complete()


def test_a_reset_is_noticed(through):
    gate = threading.Event()
    load = through(lambda is_up, passed, data: None if gate.is_set() else data, {"echo": 4, "down": 2, "idle": 2}, idle=500)
    gate.set()
    ringbolt.wait_until(lambda: load.mark("reset").fault("broken") > 0, "a reset is counted")


def test_an_early_end_is_noticed(through):
    """TLS sees an end of file without close_notify."""
    gate = threading.Event()
    load = through(lambda is_up, passed, data: b"" if gate.is_set() and not is_up else data, {"down": 3})
    gate.set()
    ringbolt.wait_until(lambda: load.mark("end").fault("broken") > 0, "an end is counted")


def test_silence_is_noticed(through):
    gate, over = threading.Event(), threading.Event()

    def stall(_is_up, _passed, data):
        if gate.is_set():
            over.wait(ringbolt.WAIT)
        return data

    load = through(stall, {"down": 2, "echo": 2}, hang=1)
    gate.set()
    ringbolt.wait_until(lambda: load.mark("silence").fault("silent") > 0, "silence is counted")
    over.set()


def test_a_refused_visit_is_noticed(through):
    closed = ringbolt.Port()
    load = steady.Load(closed.address, {"echo": 1}, wait=False)
    try:
        ringbolt.wait_until(lambda: load.mark("refused").fault("refused") > 0, "a refused connection is counted")
    finally:
        load.close()
        closed.close()


@pytest.mark.parametrize("what", ["a wrong byte", "an orderly end of less than all"])
def test_what_tls_does_not_show_is_noticed(start, certificates, what):
    """Between a proxy and its server nothing but this end's own check protects the bytes."""
    server = steady.Server()
    gate = threading.Event()

    def damage(is_up, _passed, data):
        if not gate.is_set() or is_up:
            return data
        return bytes([data[0] ^ 1]) + data[1:] if what == "a wrong byte" else b""

    relay = Relay(server.address, damage)
    load = None
    try:
        stage = start({"app": ["{}:{}".format(*relay.address)]})
        load = steady.Load(stage["app"].address, {"echo": 2, "down": 2})
        gate.set()
        fault = "wrong" if what == "a wrong byte" else "cut"
        ringbolt.wait_until(lambda: load.mark(what).fault(fault) > 0, f"{what} is counted")
    finally:
        if load:
            load.close()
        relay.close()
        server.close()


def test_a_wrong_byte_on_the_way_up_is_noticed(start):
    server = steady.Server()
    gate = threading.Event()
    relay = Relay(server.address, lambda is_up, passed, data: data[:-1] + bytes([data[-1] ^ 1]) if gate.is_set() and is_up else data)
    load = None
    try:
        stage = start({"app": ["{}:{}".format(*relay.address)]})
        load = steady.Load(stage["app"].address, {"up": 3})
        gate.set()
        ringbolt.wait_until(lambda: load.mark("up").fault("wrong") > 0, "it is counted")
    finally:
        if load:
            load.close()
        relay.close()
        server.close()

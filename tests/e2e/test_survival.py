# SPDX-License-Identifier: Apache-2.0
"""A worker dies, and its idle connections answer the next request: those whose bytes the kernel has in both directions, or that have no TLS of
ours. The others are lost, and counted."""
import os
import signal
import socket
import ssl

import pytest

import ringbolt
import tls_backends
from conftest import Listener, Stage

FEW = 6
CONFIG = {"workers": 2, "rebalance": {"threshold": 0}, "timeouts": {"idle": "1h", "half_closed": "1h"}}


class Plain:
    """A client without TLS, as far as these tests need one."""

    def __init__(self, listener):
        self.since = listener.stage.proxy.mark()
        self.sock = socket.create_connection(listener.address, ringbolt.WAIT)
        self.name = self.sock.getsockname()

    def send_data(self, data):
        self.sock.sendall(data)

    def read(self, length, exactly=True):
        data = self.sock.recv(length, socket.MSG_WAITALL if exactly else 0)
        assert len(data) == length or not exactly, data
        return data

    def finish(self):
        self.sock.shutdown(socket.SHUT_WR)

    def is_at_end(self):
        return self.sock.recv(1) == b""

    def is_cut(self):
        """Or answers."""
        try:
            self.send_data(b"!")
            while data := self.sock.recv(1 << 16):
                if data == b"!":
                    return False
        except ConnectionError:
            pass
        return True

    def close(self):
        self.sock.close()


class Tls:
    """The same with TLS."""

    def __init__(self, client):
        self.client, self.name, self.since, self.sock = client, client.name, client.since, client.sock

    def send_data(self, data):
        self.client.send_data(data)

    def read(self, length, exactly=True):
        return self.client.read(length, exactly=exactly)

    def finish(self):
        self.client.close_notify()

    def is_at_end(self):
        return self.client.end() == "close_notify"

    def is_cut(self):
        try:
            while True:
                data, end = self.client.read_to_end()
                return end != "close_notify" or bool(data)
        except OSError:
            return True

    def close(self):
        self.client.close()


class Scene:
    """A proxy before the Actor, and clients of one kind. survives: what its idle connections do."""

    def __init__(self, start, dial, actor, way, layer=None, version="1.3", config=None):
        self.actor, self.way, self.dial, self.version = actor, way, dial, version
        options = {"layer": layer} if layer else {}
        if way == "plain":
            options["listens"] = {"app": {"tls": "off"}}
        self.stage = start({"app": [actor.address]}, config={**CONFIG, **(config or {})}, **options)
        self.proxy = self.stage.proxy
        self.survives = way == "plain" or layer == "kernel"

    def client(self):
        return Plain(self.stage["app"]) if self.way == "plain" else Tls(self.dial(self.stage["app"], version=self.version))

    def echoing(self, tag, count=1):
        clients = []
        for at in range(count):
            clients.append(self.client())
            clients[-1].send_data(f"echo {tag}-{at}\n".encode())
            talk(clients[-1], b"hello")
        return clients

    def workers(self):
        return self.proxy.admin_json("status")["workers"]

    def counted(self, key):
        return sum(worker[key] for worker in self.workers())

    def wait_deposited(self, count):
        ringbolt.wait_until(lambda: self.counted("deposited") == count, f"{count} are deposited")

    def kill(self, number=signal.SIGKILL):
        """Each worker; what became of its connections: kept, lost."""
        left = []
        for worker in self.workers():
            since = self.proxy.mark()
            os.kill(worker["pid"], number)
            line = self.proxy.wait_for_log(lambda e: e["message"] == "worker died", since)
            self.proxy.wait_for_log(lambda e: e["message"] == "worker replaced", since)
            left.append((line["connections_kept"], line["connections_lost"]))
        return tuple(sum(column) for column in zip(*left))


def talk(client, text):
    client.send_data(text)
    assert client.read(len(text)) == text


@pytest.fixture(params=["1.2", "1.3"])
def version(request):
    return request.param


@pytest.fixture
def scene(start, dial, actor):
    def make(way, layer=None, **options):
        return Scene(start, dial, actor, way, layer, **options)
    return make


def check_survivors(scene, clients, tag, rounds=2):
    """They are idle; workers are killed, and each goes on to its orderly end."""
    for _ in range(rounds):
        scene.wait_deposited(len(clients))
        assert scene.kill() == (len(clients), 0)
        assert scene.counted("deposited") == len(clients) == scene.counted("connections")
        for client in clients:
            talk(client, b"still there?")
    for client in clients:
        client.finish()
        assert client.is_at_end()
        line = scene.stage.line(client)
        assert line["end"] == "done" and line["bytes_in"] == line["bytes_out"] + len(f"echo {tag}-0\n"), line
    assert scene.counted("revived") == rounds * len(clients)
    ringbolt.wait_until(lambda: scene.counted("deposited") == scene.counted("connections") == 0, "nothing is left")


@pytest.mark.any_layer
def test_plain(scene, tag):
    plain = scene("plain")
    check_survivors(plain, plain.echoing(tag, FEW), tag)


def test_tls(scene, tag, layer, version):
    """With kernel records all of them go on. With user records, or those of one direction, none: they are lost, and clients see no orderly end."""
    tls = scene("tls", layer, version=version)
    clients = tls.echoing(tag, FEW)
    if tls.survives:
        check_survivors(tls, clients, tag)
        return
    assert tls.kill() == (0, FEW) and tls.counted("deposited") == 0
    for client in clients:
        assert client.is_cut()
    assert tls.counted("revived") == 0
    (listener,) = tls.proxy.admin_json("status")["listeners"]
    assert listener["ends"]["worker_died"] == FEW


@pytest.mark.any_layer
def test_untouched_tls(work, certificates, dial):
    """A stream that is passed through: what its keys are only its ends know."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.ecdsa)
    server = tls_backends.PythonServer(context)
    port = ringbolt.Port()
    listener = {"name": "front", "address": port.text, "tls": {}, "routes": [{"sni": "localhost", "passthrough": "behind"}]}
    stage = Stage(work, certificates, {}, config={**CONFIG, "listeners": [listener],
                                                  "upstreams": [{"name": "behind", "servers": [{"address": server.address}]}]})
    stage.listeners = {"front": Listener(stage, port)}
    try:
        client = dial(stage["front"])
        talk(client, b"hello")
        ringbolt.wait_until(lambda: sum(w["deposited"] for w in stage.proxy.admin_json("status")["workers"]) == 1, "it is deposited")
        for worker in stage.proxy.admin_json("status")["workers"]:
            since = stage.proxy.mark()
            os.kill(worker["pid"], signal.SIGKILL)
            stage.proxy.wait_for_log(lambda e: e["message"] == "worker replaced", since)
        talk(client, b"still there?")
        client.close_notify()
        client.end()
        client.close()
        line = stage.line(client)
        assert (line["end"], line["tls"], line["sni"]) == ("done", "passthrough", "localhost")
    finally:
        stage.proxy.stop()
        stage.close()
        server.close()


@pytest.mark.any_layer
def test_busy_and_half_closed(scene, tag, actor):
    """Who moves bytes when the worker dies is cut, and both sides see it; who has ended one direction and waits for the other goes on."""
    plain = scene("plain", config={"workers": 1})
    (idle,) = plain.echoing(tag + "idle")
    busy = plain.client()
    busy.send_data(f"send {tag}busy {64 << 20}\n".encode())  # of which it reads nothing
    half = plain.client()
    half.send_data(f"answer {tag}half 5 later\n".encode())
    half.finish()
    session = actor.session(tag + "half")
    assert session.finished.wait(0) or session.ended.wait(ringbolt.WAIT)
    plain.wait_deposited(2)
    assert plain.kill() == (2, 1)
    assert busy.is_cut()
    assert actor.session(tag + "busy").finished.wait(ringbolt.WAIT)
    talk(idle, b"still there?")
    session.released.set()
    assert len(half.read(5)) == 5 and half.is_at_end()
    line = plain.stage.line(half)
    assert (line["end"], line["bytes_out"]) == ("done", 5)
    assert plain.proxy.admin_json("status")["listeners"][0]["ends"]["worker_died"] == 1


@pytest.mark.any_layer
def test_crash(scene, tag):
    """By itself, and not by the kernel's hand."""
    plain = scene("plain")
    clients = plain.echoing(tag, 2)
    plain.wait_deposited(2)
    assert plain.kill(signal.SIGABRT) == (2, 0)
    for client in clients:
        talk(client, b"still there?")


@pytest.mark.any_layer
def test_woken_in_time(scene, tag):
    """Between two requests of one connection it is asleep or not: neither loses a byte. The workers die all the time."""
    plain = scene("plain", config={"workers": 1})
    (client,) = plain.echoing(tag)
    for at in range(3):
        plain.wait_deposited(1)
        talk(client, b"a word that wakes it")
        plain.wait_deposited(1)
        assert plain.kill() == (1, 0), at
        client.send_data(b"while nobody is there, perhaps")
        assert client.read(30) == b"while nobody is there, perhaps"


@pytest.mark.any_layer
def test_limit(scene, tag):
    """As many as the configuration says, the first ones; a place that becomes free is another's."""
    plain = scene("plain", config={"workers": 1, "survival": {"connections": 2}})
    first = plain.echoing(tag + "a", 2)
    plain.wait_deposited(2)
    later = plain.echoing(tag + "b", 2)
    first[0].finish()
    assert first[0].is_at_end()
    plain.wait_deposited(1)
    talk(later[0], b"it moves")  # and looks for a place when it is idle again
    plain.wait_deposited(2)
    assert plain.kill() == (2, 1)
    talk(first[1], b"still there?")
    assert sorted(client.is_cut() for client in later) == [False, True]


@pytest.mark.any_layer
def test_off(scene, tag):
    plain = scene("plain", config={"survival": {"connections": 0}})
    (client,) = plain.echoing(tag)
    since = plain.proxy.mark()
    for worker in plain.workers():
        os.kill(worker["pid"], signal.SIGKILL)
    lines = [plain.proxy.wait_for_log(lambda e, pid=worker["pid"]: e["message"] == "worker died" and e["worker_pid"] == pid, since)
             for worker in plain.workers() if worker["connections"]]
    assert client.is_cut() and not any("connections_kept" in line for line in lines)


@pytest.mark.any_layer
def test_dies_again_at_once(scene, tag):
    """What is deposited may be what kills it: the third worker begins with nothing."""
    plain = scene("plain", config={"workers": 1})
    (client,) = plain.echoing(tag)
    plain.wait_deposited(1)
    since = plain.proxy.mark()
    deaths = []
    while not deaths or deaths[-1]["connections_kept"]:
        (worker,) = plain.workers()
        if worker["pid"] and worker["pid"] not in [line["worker_pid"] for line in deaths]:
            os.kill(worker["pid"], signal.SIGKILL)
            deaths.append(plain.proxy.wait_for_log(lambda e, pid=worker["pid"]: e["message"] == "worker died" and e["worker_pid"] == pid, since))
    assert client.is_cut()
    plain.echoing(tag + "new")


@pytest.mark.any_layer
def test_drain_and_stop(scene, tag):
    """What is deposited doesn't outlive the proxy, nor keep an address or a socket."""
    plain = scene("plain")
    clients = plain.echoing(tag, 2)
    plain.wait_deposited(2)
    plain.proxy.send_signal(signal.SIGINT)
    assert plain.proxy.process.wait(ringbolt.WAIT) == 0
    for client in clients:
        assert client.is_cut()


def test_moves_on(scene, tag, layer):
    """A survivor, with kernel records where there are such, is a connection like any other: a reload with a changed configuration moves it to the next generation, where it is deposited again."""
    tls = scene("tls" if layer == "kernel" else "plain", layer)
    clients = tls.echoing(tag, 2)
    tls.wait_deposited(2)
    assert tls.kill() == (2, 0)
    since = tls.proxy.mark()
    ringbolt.write_config(tls.proxy.config_path, {**tls.stage.config, "workers": 1, "admin": {"socket": tls.proxy.admin_path}})
    assert tls.proxy.admin_json("reload")["config"] == "applied"
    tls.proxy.wait_for_log(lambda e: e["message"] == "predecessor is gone", since)
    tls.wait_deposited(2)
    assert tls.kill() == (2, 0)
    for client in clients:
        talk(client, b"still there?")

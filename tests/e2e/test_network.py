# SPDX-License-Identifier: Apache-2.0
"""Clients behind bad networks: packets lost, late, out of order, damaged, small, and none at all. What arrives must be what was sent,
and who is gone must not stay a connection for ever."""
import hashlib
import os
import socket
import ssl
import threading

import pytest

import backends
import clients
import networks
import pki
import ringbolt

PORT = 8443
SIZE = 256 << 10
FAULTS = {
    "loss": {"loss": 5},
    "reorder": {"reorder": 25},
    "delay": {"delay": 150},  # each way: 300 ms there and back
    "corrupt": {"corrupt": 1},
    "mtu": {"mtu": 576},
    "all": {"loss": 1, "reorder": 10, "delay": 20, "corrupt": 1, "mtu": 576},
}


class Far:
    """A proxy and its server at the far end of a bad path."""

    def __init__(self, path, work, certificates, layer, **config):
        self.path, self.ca, self.layer = path, certificates.ca, layer
        self.actor = path.ends[1].call(backends.Actor)
        self.address = (path.ADDRESSES[1], PORT)
        tls = {"certificates": certificates.config()}
        self.proxy = ringbolt.Ringbolt(work, {
            "workers": 1, "log": {"format": "json"}, "ktls": ringbolt.LAYERS[layer],
            "listeners": [{"address": "%s:%d" % self.address, "tls": tls, "upstream": "app", **config.pop("listener", {})}],
            "upstreams": [{"name": "app", "servers": [{"address": self.actor.address}]}], **config}, prefix=path.ends[1].prefix())

    def tcp(self):
        sock = self.path.ends[0].call(socket.socket)
        sock.settimeout(ringbolt.WAIT)
        sock.connect(self.address)
        return sock

    def connect(self, version):
        return clients.python_context(self.ca, version).wrap_socket(self.tcp(), server_hostname="localhost")

    def line(self, client, since):
        return self.proxy.connection(since, client="%s:%d" % client)

    def close(self):
        self.proxy.stop()
        self.actor.close()
        self.path.close()


def make_path(**options):
    try:
        return networks.Path(**options)
    except networks.Missing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def far(layer, work, certificates):
    one = Far(make_path(), work, certificates, layer)
    yield one
    one.close()


def download(far, version, tag):
    """(the client's name, the digest of what came)"""
    with far.connect(version) as client:
        client.sendall(f"send {tag} {SIZE}\n".encode())
        digest = hashlib.sha256()
        while data := client.recv(65536):  # its end is a close_notify, or an error
            digest.update(data)
        return client.getsockname(), digest.hexdigest()


def upload(far, version, tag):
    """The same; what the server says that it got."""
    with far.connect(version) as client:
        client.sendall(f"PUT /{tag} HTTP/1.1\r\nContent-Length: {SIZE}\r\n\r\n".encode())
        for block in backends.Pattern().blocks(SIZE):
            client.sendall(block)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
        count, digest = answer.rpartition(b"\r\n\r\n")[2].decode().split()
        assert int(count) == SIZE
        return client.getsockname(), digest


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_sent_arrives(far, fault, tag):
    """Both TLS versions, both ways, at once."""
    far.path.set(**FAULTS[fault])
    since, results = far.proxy.mark(), {}

    def run(work, version):
        try:
            results[work, version] = work(far, version, f"{tag}{work.__name__}{version}")
        except Exception as error:  # told below
            results[work, version] = error

    threads = [threading.Thread(target=run, args=(work, version)) for work in (download, upload) for version in ("1.2", "1.3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results.values():
        assert isinstance(result, tuple), result
        client, digest = result
        assert digest == backends.Pattern().digest(SIZE)
        line = far.line(client, since)
        assert line["end"] == "done" and not line["resumed"]
        assert far.layer == "late" or (line["record_tx"], line["record_rx"]) == {
            "user": ("user", "user"), "tx": ("kernel", "user"), "kernel": ("kernel", "kernel")}[far.layer]
    done = far.path.set()
    if done is not None:
        assert all(done.get(kind) for kind in FAULTS[fault] if kind not in ("mtu", "delay"))
        assert done["packets"] > len(results) * SIZE / FAULTS[fault].get("mtu", 1500)


def test_who_is_gone(layer, work, certificates, tag):
    """The path becomes a black hole: in the midst of a ClientHello, in silence, in the midst of a download. Each comes to its end."""
    far = Far(make_path(), work, certificates, layer, timeouts={"handshake": "2s"},
              listener={"tcp": {"keepalive": "1s", "user_timeout": "1s"}})
    try:
        since = far.proxy.mark()
        hello = far.tcp()
        hello.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        silent, loading = far.connect("1.3"), far.connect("1.3")
        silent.sendall(f"echo {tag}\nhello".encode())
        assert silent.recv(100) == b"hello"
        loading.sendall(f"send {tag}load {64 << 20}\n".encode())
        assert loading.recv(1)
        names = [client.getsockname() for client in (hello, silent, loading)]
        far.path.set(hole=True)
        ends = [far.line(name, since)["end"] for name in names]
        assert ends == ["handshake_timeout", "client_reset", "client_reset"]
        for name in (tag, f"{tag}load"):  # their servers learn that it was no orderly end
            session = far.actor.session(name)
            assert session.finished.wait(ringbolt.WAIT)
        assert far.actor.session(tag).end == "reset"
        for client in (hello, silent, loading):
            client.close()
    finally:
        far.close()


def test_damage_that_tcp_does_not_see(layer, work, certificates, tag):
    """Its checksum is a sum: words that change places are not found. The record layer finds them, and passes none of it on."""
    far = Far(make_path(by_hand=True), work, certificates, layer)
    try:
        for version in ("1.2", "1.3"):
            since, name = far.proxy.mark(), f"{tag}v{version[-1]}"
            client = far.connect(version)
            client.sendall(f"sink {name}\n".encode() + b"x" * 1000)
            ringbolt.wait_until(lambda: name in far.actor.sessions and far.actor.sessions[name].received == 1000, "it arrived")
            far.path.set(swap=100)
            client.sendall(os.urandom(10000))
            line = far.line(client.getsockname(), since)
            assert line["end"] == "protocol_error"
            session = far.actor.session(name)
            assert session.ended.wait(ringbolt.WAIT) and (session.end, session.received) == ("reset", 1000)
            far.path.set()
            client.close()
    finally:
        far.close()

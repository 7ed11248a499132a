# SPDX-License-Identifier: Apache-2.0
"""Connections that come from the client's address, in a network of the test's own: 10.8.0.1 is this machine, 10.9.0.0/16 are others
whose packets come back here because a rule says so."""
import os
import shutil
import socket
import ssl
import subprocess

import pytest

import netns
import proxy_header
import ringbolt

HERE, CLIENT, NAMED = "10.8.0.1", "10.9.9.9", "10.9.7.7"
IP_TRANSPARENT = 19
CAP_NET_RAW = 1 << 13

pytestmark = [pytest.mark.any_layer, pytest.mark.skipif(os.geteuid() != 0, reason="only root may make such sockets")]


@pytest.fixture
def network():
    if not shutil.which("ip"):
        pytest.skip("ip is not installed: scripts/install-deps test")
    try:
        one = netns.Namespace()
    except OSError as error:
        pytest.skip(f"no network namespace may be made here: {error}")
    for words in (f"addr add {HERE}/32 dev lo", "rule add pref 100 lookup 100", "route add local 10.9.0.0/16 dev lo table 100"):
        done = subprocess.run([*one.prefix(), "ip", *words.split()], stderr=subprocess.PIPE, check=False)
        if done.returncode:
            pytest.skip(f"this kernel has no such rules: ip {words}: {done.stderr.decode().strip()}")
    yield one
    one.close()


def config_of(certificates, port, server, transparent, **listener):
    return {"workers": 1, "log": {"format": "json"},
            "listeners": [{"address": f"{HERE}:{port}", "tls": {"certificates": certificates.config()}, "upstream": "app", **listener}],
            "upstreams": [{"name": "app", "tcp": {"transparent": transparent}, "servers": [{"address": "%s:%d" % server}]}]}


def connect(port):
    sock = socket.socket()
    sock.settimeout(ringbolt.WAIT)
    sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    sock.bind((CLIENT, 0))
    sock.connect((HERE, port))
    return sock


def capabilities(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return {line.split(":")[0]: int(line.split()[1], 16) for line in f if line.startswith("Cap")}


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
def test_source(network, certificates, work, transparent, ahead):
    listener = network.call(lambda: socket.create_server((HERE, 0)))
    listener.settimeout(ringbolt.WAIT)
    port = network.call(lambda: socket.create_server((HERE, 0))).getsockname()[1]  # nobody else chooses ports in this network
    options = {"proxy_protocol": "v1", "proxy_protocol_from": [f"{CLIENT}/32"]} if ahead else {}
    proxy = ringbolt.Ringbolt(work, config_of(certificates, port, listener.getsockname(), transparent, **options), prefix=network.prefix())
    try:
        kept = capabilities(proxy.workers()[0])
        assert kept["CapEff"] == kept["CapPrm"] == (CAP_NET_RAW if transparent else 0) and kept["CapInh"] == kept["CapAmb"] == 0
        sock = network.call(lambda: connect(port))
        sock.sendall(proxy_header.v1((NAMED, 4711)) if ahead else b"")
        with ssl.create_default_context(cafile=certificates.ca).wrap_socket(sock, server_hostname="localhost") as client:
            client.sendall(b"hello")
            served, peer = listener.accept()
            with served:
                served.settimeout(ringbolt.WAIT)
                assert served.recv(5) == b"hello"
                served.sendall(b"world")
                assert client.recv(5) == b"world"
        assert peer[0] == ((NAMED if ahead else CLIENT) if transparent else HERE)
        assert proxy.connection()["client"].startswith(NAMED if ahead else CLIENT)
    finally:
        proxy.stop()
        listener.close()


def test_not_allowed(certificates, work):
    """Without the privilege it says so and does not start."""
    config = config_of(certificates, 1, (HERE, 1), True)
    chain, key = certificates.make("ecdsa", "for-nobody")
    shutil.chown(key, "nobody")
    config["listeners"][0].update(address="127.0.0.1:0", tls={"certificates": [{"chain": chain, "key": key}]})
    proxy = ringbolt.Ringbolt(work, config, wait=False, prefix=["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"])
    proxy.finished(1)
    line, = [entry for entry in proxy.lines if entry["level"] == "error"]
    assert "tcp.transparent" in line["message"] and line["upstream"] == "app" and "CAP_NET_RAW" in line["cure"]

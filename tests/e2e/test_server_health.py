# SPDX-License-Identifier: Apache-2.0
"""Health of servers that speak TLS: the master's checks, and what connections find."""
import socket
import struct

import pytest

import pki
import ringbolt

pytestmark = pytest.mark.any_layer

CHECK = {"interval": "100ms", "timeout": "60s", "rise": 1, "fall": 1}
SHORT = "2s"  # for those who have to wait for a timeout; long enough for everybody else


@pytest.fixture
def begin(start, authority_file):
    """begin([server, …], health={…}): a proxy before them."""
    def make(servers, health=None, tls=None, config=None, **keys):
        return start({"app": [server.address for server in servers]}, config={"workers": 1, **(config or {})},
                     sends={"app": {"tls": {"ca": authority_file, **(tls or {})}, "health": health or {}, **keys}})
    return make


def wait_out(stage, server, since=0):
    """The line that says that it is out."""
    return stage.proxy.wait_for_log(lambda line: line["message"] == "server is out" and line["server"] == server.address, since)


def wait_back(stage, server, since=0):
    return stage.proxy.wait_for_log(lambda line: line["message"] == "server is back" and line["server"] == server.address, since)


def table(stage):
    return {server["address"]: server for group in stage.proxy.admin_json("server")["upstreams"] for server in group["servers"]}


def talk(stage, dial):
    client = dial(stage["app"])
    client.send_data(b"hello\n")
    return client.read_to_end() + (stage.line_at_end(client),)


# ---- checks

def closes(_sock, _served):
    raise OSError("closed")


def resets(sock, _served):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise OSError("reset")


def silent(sock, _served):
    while sock.recv(65536):
        pass
    raise OSError("silent")


def no_tls(sock, _served):
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    raise OSError("no TLS")


def endless(sock, _served):
    """Handshake records without end: a ServerHello that says it is large."""
    sock.recv(65536)
    record = b"\x16\x03\x03\x40\x00" + b"\x0b\xff\xff\xff" + bytes(16380)
    while True:
        sock.sendall(record)


BAD = {
    "expired": (lambda ca: ca.issue(days=(-9, -2)), None, ["server certificate refused: certificate has expired (CN=localhost)"]),
    "wrong_name": (lambda ca: ca.issue(["elsewhere"]), None, ["server certificate refused: not for 127.0.0.1 (CN=elsewhere)"]),
    "unknown": (lambda ca: pki.Authority("Somebody").issue(), None, ["server certificate refused: issuer not trusted (CN=localhost)"]),
    "closes": (lambda ca: ca.issue(), closes, ["server closed during the handshake", "server reset during the handshake", "Connection reset by peer", "Broken pipe"]),
    "resets": (lambda ca: ca.issue(), resets, ["server reset during the handshake", "Connection reset by peer", "Broken pipe"]),
    "silent": (lambda ca: ca.issue(), silent, ["the handshake with the server took too long"]),
    "no_tls": (lambda ca: ca.issue(), no_tls, ["server does not speak TLS"]),
    "endless": (lambda ca: ca.issue(), endless, None),
}


@pytest.mark.parametrize("case", BAD)
def test_check_finds(begin, serve, dial, authority, case):
    """What a connect alone would not see, with its reason; the other one is used."""
    make, before, reasons = BAD[case]
    good, bad = serve(authority.issue()), serve(make(authority), before=before)
    stage = begin([good, bad], {"check": "tls", **CHECK, **({"timeout": SHORT} if case == "silent" else {})})
    line = wait_out(stage, bad)
    assert line["failed_checks"] == 1 and (reasons is None or line["error"] in reasons), line
    assert table(stage)[bad.address]["health"] == "out" and table(stage)[good.address]["health"] == "up"
    for _ in range(4):
        assert talk(stage, dial)[2]["server"] == good.address


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_check_passes(begin, serve, authority, version, tmp_path):
    """A whole handshake that ends in order, with the certificate that the server wants to see; nobody calls it bad."""
    mine = authority.client("the proxy").write(str(tmp_path), "mine")
    server, other = (serve(authority.issue(), ca=authority, version=version) for _ in range(2))
    stage = begin([server, other], {"check": "tls", **CHECK}, tls={"certificate": mine})
    for count in range(1, 4):
        served = server.last(count)
        assert served.error is None and served.received == b"" and (("commonName", "the proxy"),) in served.peer["subject"]
    assert table(stage)[server.address]["health"] == "up"
    assert "server is out" not in stage.proxy.log_text()


def test_check_brings_back(begin, serve, authority):
    made = {"before": no_tls}
    server, other = serve(authority.issue(), before=lambda sock, served: made["before"] and made["before"](sock, served)), serve(authority.issue())
    stage = begin([server, other], {"check": "tls", **CHECK})
    wait_out(stage, server)
    since = stage.proxy.mark()
    made["before"] = None
    wait_back(stage, server, since)


HEADERS = {"v1": b"PROXY UNKNOWN\r\n", "v2": b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"}


@pytest.mark.parametrize("check", ["tcp", "tls"])
@pytest.mark.parametrize("version", HEADERS)
def test_check_names_itself(begin, serve, authority, check, version):
    """A server that expects a PROXY header gets one that names no client."""
    seen = []

    def before(sock, _served):
        got = b""
        while len(got) < len(HEADERS[version]):
            more = sock.recv(len(HEADERS[version]) - len(got))
            if not more:
                raise OSError(f"only {got}")
            got += more
        seen.append(got)

    server, other = (serve(authority.issue(), before=before) for _ in range(2))
    stage = begin([server, other], {"check": check, **CHECK}, proxy_protocol=version)
    for count in range(1, 4):
        served = server.last(count)
        assert check == "tcp" or served.error is None, served.error
    assert seen[:3] == [HEADERS[version]] * 3
    assert "server is out" not in stage.proxy.log_text()


def test_check_tls_wants_tls(work, tmp_path):
    path = ringbolt.write_config(str(tmp_path / "c.yaml"), {
        "listeners": [{"address": "127.0.0.1:0", "tls": "off", "upstream": "app"}],
        "upstreams": [{"name": "app", "health": {"check": "tls"}, "servers": [{"address": "127.0.0.1:1"}]}]})
    done = ringbolt.call("check", "-c", path or str(tmp_path / "c.yaml"))
    assert done.returncode == 3 and "`check: tls` is for servers that speak TLS" in done.stdout + done.stderr


# ---- what connections find

LEAVES = {
    "closes": (closes, ["server closed during the handshake", "server reset during the handshake"]),
    "resets": (resets, ["server reset during the handshake"]),
    "silent": (silent, ["the handshake with the server took too long"]),
}


def timeouts(case):
    return {"timeouts": {"handshake": SHORT}} if case == "silent" else {}


@pytest.mark.parametrize("case, version", [("closes", "off"), ("resets", "off"), ("silent", "off"), ("closes", "v1"), ("silent", "v2")])
def test_another_is_tried(begin, serve, dial, authority, case, version):
    """The server had nothing of the client's. It counts against it, and the PROXY header is told to the next one too."""
    leaves, reasons = LEAVES[case]
    headers = []

    def before(sock, _served):
        if version != "off":
            headers.append(sock.recv(4096, socket.MSG_PEEK))
            end = headers[-1].index(b"\n") + 1 if version == "v1" else 16 + int.from_bytes(headers[-1][14:16], "big")
            sock.recv(end)

    bad, good = serve(authority.issue(), before=leaves), serve(authority.issue(), before=before)
    stage = begin([bad, good], {"max_fails": 2, "fail_timeout": "1h"}, config=timeouts(case), proxy_protocol=version)
    for _ in range(5):
        data, end, line = talk(stage, dial)
        assert (data, end, line["end"], line["server"]) == (b"hello\n", "close_notify", "done", good.address), line
    out = wait_out(stage, bad)
    assert out["failures"] == 2 and out["error"] in reasons, out
    assert table(stage)[bad.address]["health"] == "out" and table(stage)[bad.address]["connects"] == 0
    assert table(stage)[good.address]["connects"] == 5 and table(stage)[good.address]["connections"] == 0
    assert len(bad.served) == 2
    assert version == "off" or len(headers) == 5


@pytest.mark.parametrize("case", LEAVES)
def test_none_is_left(begin, serve, dial, authority, case):
    """Each is tried once; then the client hears, and the log says what the last one did."""
    leaves, reasons = LEAVES[case]
    servers = [serve(authority.issue(), before=leaves) for _ in range(3)]
    stage = begin(servers, config=timeouts(case))
    data, end, line = talk(stage, dial)
    assert (data, end, line["end"]) == (b"", "internal_error", "server_handshake_failed") and line["detail"] in reasons, line
    for server in servers:
        server.last(1)
        assert len(server.served) == 1 and table(stage)[server.address]["failures"] == 1


@pytest.mark.parametrize("case", ["expired", "wrong_name", "no_tls"])
def test_none_else_is_tried(begin, serve, dial, authority, case):
    """One that answers and is not who it should be is not passed over in silence; but it goes out."""
    make, before, reasons = BAD[case]
    bad, good = serve(make(authority), before=before), serve(authority.issue())
    stage = begin([bad, good], {"max_fails": 2, "fail_timeout": "1h"})
    ends = [talk(stage, dial)[2] for _ in range(8)]
    refused = [line for line in ends if line["end"] != "done"]
    assert len(refused) == 2 and all(line["server"] == bad.address and line["detail"] in reasons for line in refused), ends
    assert wait_out(stage, bad)["error"] in reasons


def test_connecting_alone_is_no_success(begin, serve, dial, authority):
    """A trial of a server that is out is over when its handshake is."""
    made = {"before": closes}
    bad, good = serve(authority.issue(), before=lambda sock, served: made["before"] and made["before"](sock, served)), serve(authority.issue())
    stage = begin([bad, good], {"max_fails": 1, "fail_timeout": "100ms"})
    talk(stage, dial)
    talk(stage, dial)
    wait_out(stage, bad)
    since = stage.proxy.mark()
    ringbolt.wait_until(lambda: talk(stage, dial)[2]["end"] == "done" and len(bad.served) >= 3, "it was tried again")
    assert "server is back" not in stage.proxy.log_text(since)
    made["before"] = None
    ringbolt.wait_until(lambda: talk(stage, dial)[2]["server"] == bad.address, "it is used again")
    wait_back(stage, bad, since)


def test_unknown_protocol_is_no_failure(start, serve, dial, authority, authority_file):
    """What protocols are offered clients choose."""
    servers = [serve(authority.issue(), alpn=["http/1.1"]) for _ in range(2)]
    stage = start({"app": [server.address for server in servers]}, tls={"app": {"alpn": ["h2", "http/1.1"]}},
                  sends={"app": {"tls": {"ca": authority_file}, "health": {"max_fails": 1}}})
    for _ in range(4):
        client = dial(stage["app"], alpn=["h2"])
        client.send_data(b"hello\n")
        client.read_to_end()
        stage.line_at_end(client)
    assert "server is out" not in stage.proxy.log_text()

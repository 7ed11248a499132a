# SPDX-License-Identifier: Apache-2.0
"""Strict-Transport-Security in the first final response of a connection, over every record layer; everything else passes as it is."""
import socket

import pytest

import backends
import clients

YEAR = b"Strict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\n"
HSTS = {"max_age": "365d", "include_subdomains": True, "preload": True}


@pytest.fixture
def strict(start, actor, nginx, layer):
    return start({"app": [actor.address], "http": [nginx.tcp], "h2": [nginx.h2]}, layer=layer,
                 tls={"http": {"alpn": ["http/1.1"]}, "h2": {"alpn": ["h2"]}},
                 listens={name: {"hsts": HSTS} for name in ("app", "http", "h2")})


@pytest.fixture(params=["plain", "1.2", "1.3"])
def any_strict(request, start, actor, nginx, certificates, layer):
    """Also where servers are spoken to in TLS, by way of another proxy."""
    if request.param == "plain":
        return request.getfixturevalue("strict")
    inner = start({"app": [actor.address], "http": [nginx.tcp]}, layer="user")
    tls = {"ca": certificates.ca, "min_version": request.param, "max_version": request.param}
    return start({name: [f"127.0.0.1:{inner[name].number}"] for name in ("app", "http")}, layer=layer,
                 tls={"http": {"alpn": ["http/1.1"]}}, sends={name: {"tls": tls} for name in ("app", "http")},
                 listens={name: {"hsts": HSTS} for name in ("app", "http")})


def relayed(stage, dial, actor, tag, sent, step=None, **options):
    """What a client gets when the server sends this, and closes."""
    client = dial(stage["app"], **options)
    client.send_data(f"hold {tag}\n".encode())
    session = actor.session(tag)
    session.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(sent), step or len(sent)):
        session.socket.sendall(sent[at:at + (step or len(sent))])
    session.release()
    return client.read_to_end()


RESPONSES = {
    "plain": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", b"\r\nhi"),
    "bare": (b"HTTP/1.1 404 Not Found\r\n", b"\r\n"),
    "old": (b"HTTP/1.0 200 OK\nA: b\n", b"\nbody"),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nStrict-Transport-Security: a\r\n\r\nHTTP/1.1 200 OK\r\n", b"\r\n"),
    "second": (b"HTTP/1.1 204 No\r\n", b"\r\nHTTP/1.1 204 No\r\n\r\n"),
    "large head": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000 + b"\r\n", b"\r\n"),
    "full page": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 4000 + b"\r\n", b"\r\n" + b"y" * 9000),
}

UNTOUCHED = {
    "own": b"HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=1\r\n\r\nhi",
    "switched": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "other protocol": b"220 mail.example ESMTP\r\n\r\n",
    "binary": bytes(range(256)) * 40,
    "cut": b"HTTP/1.1 200 OK\r\nA: b\r\n\r",
    "bad": b"HTTP/1.1 200 OK\r\nA b\r\n\r\n",
    "carriage returns": b"\r" * 50,
}


@pytest.mark.parametrize("step", [None, 1, 7])
def test_put_in(any_strict, dial, actor, tag, step):
    for number, (name, (before, after)) in enumerate(RESPONSES.items()):
        pieces = step * 500 if step and len(before) > 1000 else step
        got, end = relayed(any_strict, dial, actor, f"{tag}-{number}", before + after, pieces)
        assert (got, end) == (before + YEAR + after, "close_notify"), name


@pytest.mark.parametrize("step", [None, 1])
def test_untouched(any_strict, dial, actor, tag, step):
    for number, (name, sent) in enumerate(UNTOUCHED.items()):
        assert relayed(any_strict, dial, actor, f"{tag}-{number}", sent, step if len(sent) < 1000 else None) == (sent, "close_notify"), name


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_bulk_behind_it(any_strict, dial, actor, tag, version):
    size = 3 << 20
    body = backends.pattern(size)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % size
    got, end = relayed(any_strict, dial, actor, tag, head + b"\r\n" + body, version=version)
    assert end == "close_notify" and got == head + YEAR + b"\r\n" + body


def test_curl(any_strict, certificates, bulk):
    output = clients.curl(any_strict["http"], "/api", certificates.ca, "-i")
    head, _, body = output.partition(b"\r\n\r\n")
    assert head.endswith(b"\r\n" + YEAR.rstrip()) and body == b'{"answer":42}\n'
    output = clients.curl(any_strict["http"], "/api?[1-3]", certificates.ca, "-i")
    assert output.count(YEAR.rstrip()) == 1 and output.count(b'{"answer":42}\n') == 3
    assert clients.curl_digest(any_strict["http"], "/bulk", certificates.ca)[:2] == (bulk.size, bulk.digest)


def test_http2_is_left_alone(strict, certificates):
    output = clients.curl(strict["h2"], "/api", certificates.ca, "--http2", "-i")
    assert b"strict-transport" not in output.lower() and output.endswith(b'{"answer":42}\n')


def test_listeners_without_it(stage, certificates):
    assert b"strict-transport" not in clients.curl(stage["http"], "/api", certificates.ca, "-i").lower()

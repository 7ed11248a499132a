# SPDX-License-Identifier: Apache-2.0
"""Sessions with servers that are resumed: when, with whom, and when not."""
import os

import pytest

import tls_backends

VERSIONS = ["1.2", "1.3"]


@pytest.fixture
def begin(start, authority_file):
    """begin([server, …], tls={…}): a proxy before them, with one worker: sessions are a worker's own."""
    def make(servers, tls=None, layer="user", **keys):
        return start({"app": [server.address for server in servers]}, layer=layer, config={"workers": 1}, sends={"app": {"tls": {"ca": authority_file, **(tls or {})}, **keys}})
    return make


def talk(stage, dial, text=b"hello\n", **options):
    client = dial(stage["app"], **options)
    client.send_data(text)
    assert client.read_to_end() == (text, "close_notify")
    return stage.line_at_end(client)


@pytest.mark.parametrize("version", VERSIONS)
def test_resumed(begin, serve, dial, authority, layer, version):
    """A whole handshake, then none; what is said is the same."""
    server = serve(authority.issue(), version=version)
    stage = begin([server], layer=layer)
    for index in range(4):
        line = talk(stage, dial, os.urandom(3000).hex().encode() + b"\n")
        assert line["end"] == "done" and line["server_tls"] == f"TLSv{version}"
        assert line["server_resumed"] == (index > 0) == server.last(index + 1).resumed
    # The client's own handshake is another matter.
    assert line["resumed"] is False


@pytest.mark.parametrize("version", VERSIONS)
def test_resumed_with_a_certificate(begin, serve, dial, authority, layer, version, tmp_path):
    """The server remembers who we are; the ticket is then larger."""
    mine = authority.client("the proxy").write(str(tmp_path), "mine")
    server = serve(authority.issue(), ca=authority, version=version)
    stage = begin([server], tls={"certificate": mine}, layer=layer)
    assert [talk(stage, dial)["server_resumed"] for _ in range(3)] == [False, True, True]
    assert (("commonName", "the proxy"),) in server.last(3).peer["subject"]


@pytest.mark.any_layer
@pytest.mark.parametrize("version", VERSIONS)
def test_forgotten_by_the_server(begin, serve, dial, authority, version, tmp_path):
    """It was started again: a whole handshake, and another session. So with another certificate that is as good; with one that isn't the
    server is refused, for a session that it doesn't know proves nothing."""
    server = serve(authority.issue(), version=version)
    stage = begin([server])
    resumed = []
    for index in range(3):
        resumed += [talk(stage, dial)["server_resumed"] for _ in range(2)]
        server.context = tls_backends.context(authority.issue(), tmp_path, f"again{index}", version=version)
    assert resumed == [False, True] * 3
    server.context = tls_backends.context(authority.issue(["elsewhere"]), tmp_path, "wrong", version=version)
    client = dial(stage["app"])
    client.send_data(b"hello\n")
    assert client.read_to_end()[0] == b""
    assert stage.line_at_end(client)["end"] == "server_untrusted"


@pytest.mark.any_layer
@pytest.mark.parametrize("before, after", [("1.2", "1.3"), ("1.3", "1.2")])
def test_another_version(begin, serve, dial, authority, before, after, tmp_path):
    server = serve(authority.issue(), version=before)
    stage = begin([server])
    talk(stage, dial)
    server.context = tls_backends.context(authority.issue(), tmp_path, "another", version=after)
    lines = [talk(stage, dial) for _ in range(2)]
    assert [line["server_resumed"] for line in lines] == [False, True] and {line["server_tls"] for line in lines} == {f"TLSv{after}"}


@pytest.mark.any_layer
@pytest.mark.parametrize("version", VERSIONS)
def test_each_server_has_its_own(begin, serve, dial, authority, version):
    """Even where the other one could read the ticket."""
    servers = [serve(authority.issue(), version=version) for _ in range(2)]
    servers[1].context = servers[0].context
    stage = begin(servers)
    lines = [talk(stage, dial) for _ in range(6)]
    for server in servers:
        assert [line["server_resumed"] for line in lines if line["server"] == server.address] == [False, True, True]


@pytest.mark.any_layer
@pytest.mark.parametrize("version", VERSIONS)
def test_switched_off(begin, serve, dial, authority, version):
    stage = begin([serve(authority.issue(), version=version)], tls={"resume": False})
    assert [talk(stage, dial)["server_resumed"] for _ in range(3)] == [False] * 3


@pytest.mark.any_layer
def test_many_at_once(begin, serve, dial, authority):
    """Before there is a session each has a whole handshake, and few wait for a ticket; all are served."""
    server = serve(authority.issue(), version="1.3")
    stage = begin([server])
    clients = [dial(stage["app"]) for _ in range(12)]
    for client in clients:
        client.send_data(b"hello\n")
    for client in clients:
        assert client.read_to_end() == (b"hello\n", "close_notify")
        assert stage.line_at_end(client)["end"] == "done"
    assert talk(stage, dial)["server_resumed"] is True

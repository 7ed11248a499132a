# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol: headers that we read and send, judged by a decoder of our own, by HAProxy, nginx and Python's ssl."""
import hashlib
import re
import socket
import ssl
import struct
import threading

import pytest

import backends
import clients
import peers
import pki
import proxy_header
import rawtls
import ringbolt

any_layer = pytest.mark.any_layer

NETWORKS = {"v4": "127.0.0.0/8", "v6": "::1"}
ELSEWHERE = ["192.0.2.0/24", "2001:db8::/32"]
CLAIMED = ("203.0.113.7", 4711)
CLAIMED6 = ("2001:db8::7", 4711)
DESTINATION6 = ("2001:db8::9", 443)


class Client(rawtls.RawClient):
    """Bytes in `ahead` go out in the same write as the ClientHello."""

    ahead = b""

    def send(self, data):
        data, self.ahead = self.ahead + data, b""
        super().send(data)


def text(address):
    return ("[%s]:%d" if ":" in address[0] else "%s:%d") % address[:2]


@pytest.fixture
def speak():
    """Connects, sends what stands ahead of TLS, and shakes hands: speak(stage["app"], header, how="together")."""
    opened = []

    def connect(listener, ahead=b"", how="together", handshake=True, **options):
        since = listener.stage.proxy.mark()
        sock = socket.create_connection(listener.address, 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(sock, **options)
        client.name, client.since = text(sock.getsockname()), since
        opened.append(client)
        if how == "together":
            client.ahead = ahead
        else:
            for piece in ([bytes([byte]) for byte in ahead] if how == "bytes" else [ahead]):
                sock.sendall(piece)
        return client.handshake() if handshake else client

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def told():
    """A server that reads a header first."""
    server = proxy_header.Actor()
    yield server
    server.close()


def echo(client, tag, size=5):
    data = backends.pattern(size)
    client.send_data(f"echo {tag}\n".encode() + data)
    assert client.read(size) == data


def end(client, stage):
    """The log line of a connection that was used and is now over."""
    client.close_notify()
    assert client.end() == "close_notify"
    client.close()
    return stage.proxy.connection(client.since, **({"peer": client.name} if client.has_header else {"client": client.name}))


# ---- out

VERSION_NAMES = {"1.2": "TLSv1.2", "1.3": "TLSv1.3"}
SUITE_NAMES = {"1.2": "ECDHE-ECDSA-AES128-GCM-SHA256", "1.3": "TLS_AES_128_GCM_SHA256"}


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_v2_out(start, told, speak, layer, tag, version):
    stage = start({"app": [told.address]}, layer=layer, sends={"app": {"proxy_protocol": "v2"}}, tls={"app": {"alpn": ["http/1.1"]}})
    client = speak(stage["app"], version=version, alpn=["http/1.1"])
    client.has_header = False
    echo(client, tag, 300000)
    header = told.session(tag).header
    assert (header.version, header.command, header.family) == (2, "PROXY", "TCP4"), header
    assert text(header.source) == client.name and header.destination == stage["app"].address
    line = end(client, stage)
    assert header.tlvs.keys() == {proxy_header.ALPN, proxy_header.AUTHORITY, proxy_header.UNIQUE_ID, proxy_header.SSL}
    assert header.tlvs[proxy_header.ALPN] == b"http/1.1" and header.tlvs[proxy_header.AUTHORITY] == b"localhost"
    assert header.tlvs[proxy_header.UNIQUE_ID].decode() == line["unique_id"] and len(line["unique_id"]) == 32
    assert header.client == proxy_header.CLIENT_SSL and header.verify != 0
    assert header.ssl == {proxy_header.VERSION: VERSION_NAMES[version].encode(), proxy_header.CIPHER: SUITE_NAMES[version].encode(),
                          proxy_header.SIG_ALG: b"ecdsa-with-SHA256", proxy_header.KEY_ALG: b"EC256"}
    assert line["end"] == "done" and line["bytes_in"] == 300000 + len(f"echo {tag}\n") and "peer" not in line
    again = speak(stage["app"])
    echo(again, tag + "x")
    other = told.session(tag + "x").header.tlvs
    assert other[proxy_header.UNIQUE_ID] != header.tlvs[proxy_header.UNIQUE_ID] and proxy_header.ALPN not in other


def test_rsa_out(start, told, speak, tag):
    stage = start({"app": [told.address]}, sends={"app": {"proxy_protocol": "v2"}})
    echo(speak(stage["app"], version="1.2", certificate="rsa"), tag)
    header = told.session(tag).header
    assert header.ssl[proxy_header.SIG_ALG] == b"ecdsa-with-SHA256" and header.ssl[proxy_header.KEY_ALG] == b"RSA2048"


@any_layer
@pytest.mark.parametrize("words,kinds,inner", [
    ([], [], None),
    (["alpn"], [proxy_header.ALPN], None),
    (["authority", "crc32c"], [proxy_header.AUTHORITY, proxy_header.CRC32C], None),
    (["unique_id"], [proxy_header.UNIQUE_ID], None),
    (["ssl"], [proxy_header.SSL], [proxy_header.VERSION]),
    (["ssl_cipher"], [proxy_header.SSL], [proxy_header.VERSION, proxy_header.CIPHER]),
    (["cert_sig", "cert_key", "crc32c"], [proxy_header.SSL, proxy_header.CRC32C],
     [proxy_header.VERSION, proxy_header.SIG_ALG, proxy_header.KEY_ALG]),
    (["cert_cn", "client_cert"], [proxy_header.SSL], [proxy_header.VERSION]),
])
def test_chosen_tlvs(start, told, speak, tag, words, kinds, inner):
    stage = start({"app": [told.address]}, sends={"app": {"proxy_protocol": "v2", "proxy_protocol_tlvs": words}},
                  tls={"app": {"alpn": ["h2"]}})
    client = speak(stage["app"], alpn=["h2"])
    client.has_header = False
    echo(client, tag)
    header = told.session(tag).header
    assert sorted(header.tlvs) == sorted(kinds) and (sorted(header.ssl) if header.ssl is not None else None) == inner
    assert ("unique_id" in end(client, stage)) == ("unique_id" in words)


def test_v1_out(start, told, speak, layer, tag):
    stage = start({"app": [told.address]}, layer=layer, sends={"app": {"proxy_protocol": "v1"}})
    client = speak(stage["app"])
    client.has_header = False
    echo(client, tag, 100000)
    header = told.session(tag).header
    assert (header.version, header.family, header.destination) == (1, "TCP4", stage["app"].address)
    assert text(header.source) == client.name and "unique_id" not in end(client, stage)


@any_layer
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_out_over_ipv6(start, told, speak, tag, version):
    stage = start({"app": [told.address]}, host="::1", sends={"app": {"proxy_protocol": version}})
    client = speak(stage["app"])
    echo(client, tag)
    header = told.session(tag).header
    assert header.family == "TCP6" and header.destination == stage["app"].address and text(header.source) == client.name


@any_layer
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_out_of_a_dual_stack_listener(start, told, speak, tag, version, certificates):
    """The kernel says ::ffff:127.0.0.1; the server is told 127.0.0.1."""
    port = ringbolt.Port("::")
    stage = start({"app": [told.address]}, sends={"app": {"proxy_protocol": version}},
                  config={"listeners": [{"name": "app", "address": f"*:{port.address[1]}", "upstream": "app",
                                         "tls": {"certificates": certificates.config()}}]})
    stage["app"].address = ("127.0.0.1", port.address[1])
    client = speak(stage["app"])
    echo(client, tag)
    header = told.session(tag).header
    assert header.family == "TCP4" and text(header.source) == client.name and header.destination == stage["app"].address
    port.close()


@any_layer
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_out_of_a_unix_listener(start, told, tag, version, certificates, tmp_path):
    """There is no address of TCP to tell."""
    tmp_path.chmod(0o755)
    path = str(tmp_path / "front.sock")
    stage = start({"app": [told.address]}, sends={"app": {"proxy_protocol": version}},
                  config={"listeners": [{"name": "app", "address": f"unix:{path}", "upstream": "app",
                                         "tls": {"certificates": certificates.config()}}]})
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    plain = Client(sock)
    plain.handshake()
    echo(plain, tag)
    header = told.session(tag).header
    assert (header.version, header.family) == (1, None) if version == "v1" else (2, "UNIX")
    assert version == "v1" or (header.source, header.destination) == ("", path)
    plain.close()
    assert stage.proxy.connection(client="unix")["end"] == "client_truncated"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_server_speaks_first(start, speak, layer, version):
    """The header leaves although the client says nothing, and what the server says meanwhile arrives."""
    listener = socket.create_server(("127.0.0.1", 0))
    got = {}

    def serve():
        sock, _ = listener.accept()
        sock.sendall(b"220 hello\r\n")
        got["header"] = proxy_header.receive(sock)
        sock.sendall(b"250 got it\r\n")
        got["rest"] = sock.recv(100)
        sock.close()

    server = threading.Thread(target=serve)
    server.start()
    stage = start({"app": ["%s:%d" % listener.getsockname()]}, layer=layer, sends={"app": {"proxy_protocol": version}})
    client = speak(stage["app"])
    assert client.read(23) == b"220 hello\r\n250 got it\r\n"
    client.send_data(b"QUIT\r\n")
    assert client.end() == "close_notify"
    server.join()
    assert text(got["header"].source) == client.name and got["rest"] == b"QUIT\r\n"
    listener.close()


def test_header_comes_before_an_immediate_end(start, speak, layer):
    """A client that says nothing and closes: the server gets the header and a clean end."""
    listener = socket.create_server(("127.0.0.1", 0))
    stage = start({"app": ["%s:%d" % listener.getsockname()]}, layer=layer, sends={"app": {"proxy_protocol": "v2"}})
    client = speak(stage["app"])
    client.close_notify()
    sock, _ = listener.accept()
    sock.settimeout(30)
    header = proxy_header.receive(sock)
    assert sock.recv(100) == b"" and header.ssl
    sock.close()
    assert client.end() == "close_notify"
    listener.close()


# ---- certificates of clients

class Guild:
    def __init__(self, folder):
        self.root = pki.Authority("Ringbolt clients root")
        self.alice = self.root.client("alice Ä")
        self.entry = self.alice.write(folder, "alice")
        self.auth = {"mode": "optional", "ca": pki.write_whole(f"{folder}/clients-ca.pem", self.root.leaf_pem())}


@pytest.fixture
def guild(tmp_path):
    tmp_path.chmod(0o755)
    return Guild(str(tmp_path))


def python_visit(stage, context, tag, session=None):
    with clients.python_connect(stage["app"], context, session) as client:
        client.sendall(f"echo {tag}\nhello".encode())
        got = b""
        while len(got) < 5:
            got += client.recv(5 - len(got))
        assert got == b"hello"
        return client.session, client.session_reused


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_client_certificate_out(start, told, certificates, guild, layer, tag, version):
    stage = start({"app": [told.address]}, layer=layer, sends={"app": {"proxy_protocol": "v2"}}, tls={"app": {"client_auth": guild.auth}})
    context = clients.python_context(certificates.ca, version)
    python_visit(stage, context, tag + "none")
    context.load_cert_chain(guild.entry["chain"], guild.entry["key"])
    session, _ = python_visit(stage, context, tag + "full")
    _, resumed = python_visit(stage, context, tag + "again", session)
    assert resumed
    none, full, again = (told.session(tag + which).header for which in ("none", "full", "again"))
    assert none.client == proxy_header.CLIENT_SSL and none.verify != 0 and not none.ssl.keys() & {proxy_header.CN, proxy_header.CLIENT_CERT}
    assert full.client == proxy_header.CLIENT_SSL | proxy_header.CERT_CONN | proxy_header.CERT_SESS
    assert again.client == proxy_header.CLIENT_SSL | proxy_header.CERT_SESS
    for header in (full, again):
        assert header.verify == 0 and header.ssl[proxy_header.CN] == "alice Ä".encode()
        assert header.ssl[proxy_header.CLIENT_CERT] == guild.alice.der
        assert header.ssl[proxy_header.VERSION] == VERSION_NAMES[version].encode()
    # A resumed session shows no certificate of ours.
    assert proxy_header.KEY_ALG in full.ssl and not again.ssl.keys() & {proxy_header.KEY_ALG, proxy_header.SIG_ALG}


# ---- in

HEADERS = {
    "v1": proxy_header.v1(),
    "v2": proxy_header.v2(),
    "v1 of IPv6": proxy_header.v1(CLAIMED6, DESTINATION6),
    "v2 of IPv6": proxy_header.v2(CLAIMED6, DESTINATION6),
    "v2 with TLVs": proxy_header.v2(tlvs=proxy_header.tlv(proxy_header.UNIQUE_ID, b"some-id") + proxy_header.tlv(proxy_header.NOOP, bytes(99)),
                                    checksum=True),
    "the largest v2": proxy_header.v2(tlvs=proxy_header.tlv(proxy_header.NOOP, bytes(4096 - 28 - 3))),
}
# What tells nothing of the client.
SILENT = {
    "UNKNOWN": b"PROXY UNKNOWN\r\n",
    "UNKNOWN with more": b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
    "LOCAL": proxy_header.v2_raw(0, 0, b""),
    "LOCAL with addresses": proxy_header.v2_raw(0, 0x11, bytes(12)),
    "UNSPEC": proxy_header.v2_raw(1, 0, b"whatever"),
}


@pytest.fixture
def trusting(start, actor, layer):
    def make(mode="any", **more):
        return start({"app": [actor.address]}, layer=layer,
                     listens={"app": {"proxy_protocol": mode, "proxy_protocol_from": list(NETWORKS.values()), **more}})

    return make


@pytest.mark.parametrize("how", ["together", "before", "bytes"])
def test_in(trusting, actor, speak, tag, how):
    """However a header comes, nothing behind it is lost."""
    stage = trusting()
    for number, (name, header) in enumerate(HEADERS.items()):
        if how == "bytes" and len(header) > 300:
            continue
        client = speak(stage["app"], header, how)
        client.has_header = True
        echo(client, f"{tag}x{number}", 50000)
        line = end(client, stage)
        assert line["client"] == text(CLAIMED6 if "IPv6" in name else CLAIMED) and line["end"] == "done", name
        assert line.get("unique_id") == ("some-id" if "TLVs" in name else None)
    for number, (name, header) in enumerate(SILENT.items()):
        client = speak(stage["app"], header, how)
        client.has_header = False
        echo(client, f"{tag}y{number}")
        assert "peer" not in end(client, stage), name


def test_in_over_ipv6(start, actor, speak, tag):
    stage = start({"app": [actor.address]}, host="::1", listens={"app": {"proxy_protocol": "v2", "proxy_protocol_from": "::1"}})
    client = speak(stage["app"], HEADERS["v2"])
    client.has_header = True
    echo(client, tag)
    assert end(client, stage)["client"] == text(CLAIMED)


@any_layer
def test_in_over_a_unix_socket(start, actor, tag, certificates, tmp_path):
    tmp_path.chmod(0o755)
    path = str(tmp_path / "front.sock")
    stage = start({"app": [actor.address]},
                  config={"listeners": [{"name": "app", "address": f"unix:{path}", "upstream": "app", "proxy_protocol": "any",
                                         "tls": {"certificates": certificates.config()}}]})
    unix = proxy_header.v2_raw(1, 0x31, b"/run/somebody".ljust(108, b"\0") + bytes(108))
    for header, client in ((HEADERS["v2"], text(CLAIMED)), (unix, "unix")):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        plain = Client(sock)
        plain.ahead = header
        plain.handshake()
        echo(plain, tag + client[:4])
        plain.close()
        assert stage.proxy.connection(client=client, peer="unix")["end"] == "client_truncated"


def refused(stage, client, pieces=()):
    """Cut with a reset, which may come before all pieces are sent, and the log says why."""
    try:
        for piece in pieces:
            client.sock.sendall(piece)
        while client.sock.recv(1000):
            pass
        ending = "eof"
    except ConnectionError:
        ending = "reset"
    assert ending == "reset"
    line = stage.proxy.connection(client.since, client=client.name)
    assert line["end"] == "proxy_header" and "tls" not in line and line["bytes_in"] == 0
    return line["detail"]


BAD = {
    "TLS": (b"\x16\x03\x01\x00\x05hello", "no PROXY header"),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header"),
    "small letters": (b"proxy TCP4 ", "no PROXY header"),
    "another family": (b"PROXY UDP4 203.0.113.7 203.0.113.9 4711 443\r\n", "family"),
    "an address that is none": (b"PROXY TCP4 203.0.113.777 203.0.113.9 4711 443\r\n", "address"),
    "a port that is none": (b"PROXY TCP4 203.0.113.7 203.0.113.9 4711 65536\r\n", "port"),
    "LF alone": (b"PROXY TCP4 203.0.113.7 203.0.113.9 4711 443\n", "CR LF"),
    "a line without an end": (b"PROXY UNKNOWN " + bytes(200), "107"),
    "UDP": (proxy_header.v2_raw(1, 0x12, bytes(12)), "datagrams"),
    "an unknown command": (proxy_header.v2_raw(5, 0x11, bytes(12)), "command"),
    "an unknown family": (proxy_header.v2_raw(1, 0x41, bytes(12)), "family"),
    "version 3": (proxy_header.SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12), "version"),
    "too short": (proxy_header.v2_raw(1, 0x21, bytes(12)), "too short"),
    "too long": (proxy_header.SIGNATURE + b"\x21\x11\x0f\xf1", "4096"),
    "a TLV too long": (proxy_header.v2_raw(1, 0x11, bytes(12) + b"\x01\x00\xffh2"), "TLV"),
    "a wrong checksum": (proxy_header.v2(checksum=True)[:-1] + b"?", "checksum"),
}


@any_layer
@pytest.mark.parametrize("how", ["before", "bytes"])
def test_bad_headers(start, actor, speak, how):
    stage = start({"app": [actor.address]}, listens={"app": {"proxy_protocol": "any"}})
    accepted = actor.accepted
    for name, (header, says) in BAD.items():
        client = speak(stage["app"], handshake=False)
        assert says in refused(stage, client, [bytes([byte]) for byte in header] if how == "bytes" else [header]), name
    assert actor.accepted == accepted


@any_layer
@pytest.mark.parametrize("mode,header", [("v1", "v2"), ("v2", "v1")])
def test_the_other_version(start, actor, speak, tag, mode, header):
    stage = start({"app": [actor.address]}, listens={"app": {"proxy_protocol": mode}})
    assert "other version" in refused(stage, speak(stage["app"], HEADERS[header], "before", handshake=False))
    client = speak(stage["app"], HEADERS[mode])
    client.has_header = True
    echo(client, tag)
    assert end(client, stage)["client"] == text(CLAIMED)


@any_layer
@pytest.mark.parametrize("ahead", ["", "v1", "v2"])
def test_not_from_there(start, actor, speak, ahead):
    """Who is in no network is not heard, whatever it would say."""
    stage = start({"app": [actor.address]}, listens={"app": {"proxy_protocol": "any", "proxy_protocol_from": ELSEWHERE}})
    try:
        client = speak(stage["app"], handshake=False)
    except ConnectionError:  # the reset came before connect() had returned
        line = stage.proxy.connection()
        assert line["end"] == "proxy_header" and "proxy_protocol_from" in line["detail"]
    else:
        assert "proxy_protocol_from" in refused(stage, client, [HEADERS[ahead]] if ahead else [])


def test_optional(trusting, speak, tag):
    stage = trusting(proxy_protocol_required=False)
    for number, how in enumerate(["together", "bytes"]):
        for header in ("v1", "v2"):
            client = speak(stage["app"], HEADERS[header], how)
            client.has_header = True
            echo(client, f"{tag}{header}{number}")
            assert end(client, stage)["client"] == text(CLAIMED)
    client = speak(stage["app"])
    client.has_header = False
    echo(client, tag, 100000)
    assert "peer" not in end(client, stage)
    # What begins like a header and is none has to be TLS, and is not.
    client = speak(stage["app"], b"POST / HTTP/1.1\r\n\r\n", "before", handshake=False)
    assert client.end() in ("eof", "reset", "unexpected_message", "protocol_version", "decode_error")
    client.close()
    assert stage.proxy.connection(client.since, client=client.name)["end"] == "handshake_failed"
    assert "port" in refused(stage, speak(stage["app"], b"PROXY TCP4 203.0.113.7 203.0.113.9 1 99999\r\n", "before", handshake=False))


@any_layer
def test_optional_and_not_from_there(start, actor, speak, tag):
    """A client that is no proxy is an ordinary client: its header is no header."""
    stage = start({"app": [actor.address]}, listens={"app": {"proxy_protocol": "any", "proxy_protocol_from": ELSEWHERE,
                                                             "proxy_protocol_required": False}})
    client = speak(stage["app"])
    client.has_header = False
    echo(client, tag)
    assert "peer" not in end(client, stage)
    client = speak(stage["app"], HEADERS["v1"], "before", handshake=False)
    client.end()
    client.close()
    line = stage.proxy.connection(client.since, client=client.name)
    assert line["end"] == "handshake_failed"


@any_layer
@pytest.mark.parametrize("ahead", [b"", b"P", HEADERS["v1"][:-1], proxy_header.SIGNATURE, HEADERS["v2"][:-1]])
def test_no_header_in_time(start, actor, speak, ahead):
    stage = start({"app": [actor.address]}, config={"timeouts": {"handshake": "400ms"}}, listens={"app": {"proxy_protocol": "any"}})
    client = speak(stage["app"], ahead, "before", handshake=False)
    assert client.stream_end() in ("eof", "reset")
    client.close()
    line = stage.proxy.connection(client.since, client=client.name)
    assert line["end"] == "handshake_timeout" and "PROXY" in line["detail"]


@any_layer
def test_header_and_then_nothing(start, actor, speak):
    """One time for both: a header does not prolong it."""
    stage = start({"app": [actor.address]}, config={"timeouts": {"handshake": "2s"}}, listens={"app": {"proxy_protocol": "any"}})
    client = speak(stage["app"], HEADERS["v2"], "before", handshake=False)
    assert client.stream_end() in ("eof", "reset")
    client.close()
    line = stage.proxy.connection(client.since, peer=client.name)
    assert (line["end"], line["client"]) == ("handshake_timeout", text(CLAIMED)) and "detail" not in line


@any_layer
@pytest.mark.parametrize("ahead,says", [(b"", "without"), (HEADERS["v2"][:20], "within")])
def test_leaves_without_a_header(start, actor, speak, ahead, says):
    """As checks of TCP do."""
    stage = start({"app": [actor.address]}, listens={"app": {"proxy_protocol": "any"}})
    client = speak(stage["app"], ahead, "before", handshake=False)
    client.close()
    line = stage.proxy.connection(client.since, client=client.name)
    assert line["end"] == "proxy_header" and says in line["detail"]


@any_layer
def test_stopped_meanwhile(start, actor, speak):
    """Connections that wait for a header, and for the rest of one, end with the proxy."""
    stage = start({"app": [actor.address]}, listens={"app": {"proxy_protocol": "any"}})
    waiting = [speak(stage["app"], ahead, "before", handshake=False) for ahead in (b"", HEADERS["v2"][:20])]
    passed = speak(stage["app"], HEADERS["v2"])  # by now the others were accepted, or wait at another worker
    passed.close()
    stage.proxy.connection(passed.since, peer=passed.name)
    stage.proxy.stop()
    for client in waiting:
        assert client.stream_end() in ("eof", "reset")


# ---- chains

@pytest.mark.parametrize("first,second", [("v1", "v2"), ("v2", "v1"), ("v2", "v2")])
def test_chain(start, told, speak, layer, tag, first, second):
    """What came in goes out: the client's address, the address that it went to, its id."""
    stage = start({"app": [told.address]}, layer=layer, listens={"app": {"proxy_protocol": first}}, sends={"app": {"proxy_protocol": second}})
    sent = proxy_header.v2(CLAIMED6, DESTINATION6, proxy_header.tlv(proxy_header.UNIQUE_ID, b"\0\x01id")) if first == "v2" else HEADERS["v1"]
    client = speak(stage["app"], sent)
    client.has_header = True
    echo(client, tag, 100000)
    header = told.session(tag).header
    line = end(client, stage)
    assert f"v{header.version}" == second
    if first == "v1":
        assert (header.source, header.destination) == (CLAIMED, ("203.0.113.9", 443))
        assert header.tlvs[proxy_header.UNIQUE_ID].decode() == line["unique_id"]
    else:
        assert (header.source, header.destination) == (CLAIMED6, DESTINATION6) and line["unique_id"] == b"\0\x01id".hex()
        assert second == "v1" or header.tlvs[proxy_header.UNIQUE_ID] == b"\0\x01id"


def test_chain_of_two(start, told, speak, layer, tag):
    """Ringbolt, a plain relay of what it sends, and Ringbolt again, in both versions."""
    inner = start({"app": [told.address]}, layer=layer, listens={"app": {"proxy_protocol": "v2"}}, sends={"app": {"proxy_protocol": "v2"}})
    # The outer one terminates TLS; within it the client speaks TLS to the inner one.
    outer = start({"app": [text(inner["app"].address)]}, sends={"app": {"proxy_protocol": "v2"}})
    client = speak(outer["app"])
    within = socket.socketpair()
    over = threading.Event()

    def carry():
        while not over.is_set():
            data = within[1].recv(65536)
            if not data:
                break
            client.send_data(data)

    def bring():
        try:
            while True:
                event = client.event()
                if event[0] == "data":
                    within[1].sendall(event[1])
                elif event[0] != "handshake":
                    break
        except OSError:
            pass

    threads = [threading.Thread(target=carry, daemon=True), threading.Thread(target=bring, daemon=True)]
    for thread in threads:
        thread.start()
    nested = Client(within[0])
    nested.handshake()
    echo(nested, tag)
    header = told.session(tag).header
    assert text(header.source) == client.name and header.destination == outer["app"].address
    nested.close_notify()
    assert nested.end() == "close_notify"
    over.set()
    within[0].close()
    for thread in threads:
        thread.join(30)
    line = inner.proxy.connection(client=client.name)
    client.close()
    assert line["unique_id"] == outer.proxy.connection(client=client.name)["unique_id"]


# ---- others behind us

def get(stage, certificates, version="1.3", guild=None):
    """(status and body, the client's address) of a request by Python's ssl."""
    context = clients.python_context(certificates.ca, version)
    context.set_alpn_protocols(["http/1.1"])
    if guild:
        context.load_cert_chain(guild.entry["chain"], guild.entry["key"])
    with clients.python_connect(stage["app"], context) as client:
        client.sendall(b"GET /seen HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        try:
            while True:
                data = client.recv(65536)
                if not data:
                    break
                answer += data
        except ssl.SSLEOFError:
            pass
        return answer.decode(), client.getsockname()


def seen(answer):
    assert answer.startswith("HTTP/1.1 200"), answer
    return dict(re.findall(r"^(\w+)=(\S*)$", answer.partition("\r\n\r\n")[2].replace("\r", ""), re.M))


@pytest.mark.parametrize("header,more", [("v1", {}), ("v2", {}), ("v2", {"proxy_protocol_tlvs": ["unique_id", "authority", "crc32c"]})])
def test_haproxy_reads_ours(start, certificates, guild, tmp_path, layer, header, more):
    peer = peers.haproxy(str(tmp_path), """
frontend behind
    mode http
    bind {behind} accept-proxy
    http-request return status 200 content-type text/plain lf-string "source=%[src]:%[src_port]\\ndestination=%[dst]:%[dst_port]\\nauthority=%[fc_pp_authority]\\nid=%[fc_pp_unique_id]\\nproxy=%[fc_rcvd_proxy]\\n"
""", ["behind"])
    try:
        stage = start({"app": [peer.text("behind")]}, layer=layer, sends={"app": {"proxy_protocol": header, **more}},
                      tls={"app": {"alpn": ["http/1.1"], "client_auth": guild.auth}})
        since = stage.proxy.mark()
        answer, name = get(stage, certificates, guild=guild)
        facts = seen(answer)
        assert facts["source"] == text(name) and facts["destination"] == text(stage["app"].address) and facts["proxy"] == "1"
        line = stage.proxy.connection(since, client=text(name))
        assert (facts["authority"], facts["id"]) == (("", "") if header == "v1" else ("localhost", line["unique_id"]))
    finally:
        peer.close()


@pytest.mark.parametrize("header", ["v1", "v2"])
def test_nginx_reads_ours(start, certificates, guild, tmp_path, layer, header):
    """Before 1.23.3 nginx reads a header of a plain listener into client_header_buffer_size."""
    tmp_path.chmod(0o755)
    peer = peers.nginx(str(tmp_path), """http {
    access_log off;
    client_header_buffer_size 8k;
    client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy; fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi; scgi_temp_path %(folder)s/scgi;
    server {
        listen %(behind)s proxy_protocol;
        default_type text/plain;
        location / { return 200 "source=$proxy_protocol_addr:$proxy_protocol_port\\ndestination=$proxy_protocol_server_addr:$proxy_protocol_server_port\\n"; }
    }
}
""", ["behind"])
    try:
        stage = start({"app": [peer.text("behind")]}, layer=layer, sends={"app": {"proxy_protocol": header}},
                      tls={"app": {"alpn": ["http/1.1"], "client_auth": guild.auth}})
        answer, name = get(stage, certificates, guild=guild)
        assert seen(answer) == {"source": text(name), "destination": text(stage["app"].address)}
    finally:
        peer.close()


@any_layer
@pytest.mark.parametrize("header,more", [("v1", {}), ("v2", {"proxy_protocol_tlvs": []})])
def test_nginx_stream_reads_ours(start, speak, tmp_path, header, more):
    """Before 1.23.3 it takes 107 bytes, so it gets addresses alone."""
    tmp_path.chmod(0o755)
    peer = peers.nginx(str(tmp_path), """stream { server {
        listen %(behind)s proxy_protocol;
        return "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port";
    } }
""", ["behind"], stream=True)
    try:
        stage = start({"app": [peer.text("behind")]}, sends={"app": {"proxy_protocol": header, **more}})
        client = speak(stage["app"])
        said, how = client.read_to_end()
        assert (said.decode(), how) == (f"{client.name} {text(stage['app'].address)}", "close_notify")
    finally:
        peer.close()


# ---- others ahead of us

HAPROXY_FRONT = """
listen front
    mode tcp
    bind {front}
    server ringbolt %s %s
"""
HAPROXY_TLS_FRONT = """
listen front
    mode tcp
    unique-id-format %%ci-%%cp
    bind {front} ssl crt %s ca-file %s verify optional alpn h2,http/1.1
    server ringbolt %s ssl %s
"""


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
def test_we_read_haproxys(start, told, speak, tmp_path, layer, tag, option):
    """HAProxy relays TLS untouched, with a header ahead."""
    stage = start({"app": [told.address]}, layer=layer, listens={"app": {"proxy_protocol": "any", "proxy_protocol_from": "127.0.0.1"}},
                  sends={"app": {"proxy_protocol": "v2"}})
    peer = peers.haproxy(str(tmp_path), HAPROXY_FRONT % (text(stage["app"].address), option), ["front"])
    try:
        stage["app"].address = peer["front"]
        client = speak(stage["app"])
        echo(client, tag, 100000)
        header = told.session(tag).header
        assert text(header.source) == client.name and header.destination == peer["front"]
        client.close_notify()
        assert client.end() == "close_notify"
        line = stage.proxy.connection(client=client.name)
        assert line["end"] == "done" and line["peer"].startswith("127.0.0.1:")
    finally:
        peer.close()


@pytest.mark.parametrize("option", ["send-proxy-v2-ssl", "send-proxy-v2-ssl-cn",
                                    "send-proxy-v2-ssl-cn proxy-v2-options ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id"])
def test_we_read_haproxys_with_ssl(start, told, certificates, guild, tmp_path, layer, tag, option):
    """HAProxy terminates the client's TLS and speaks TLS to us."""
    stage = start({"app": [told.address]}, layer=layer, listens={"app": {"proxy_protocol": "v2"}}, sends={"app": {"proxy_protocol": "v2"}})
    pem = pki.write_whole(str(tmp_path / "front.pem"), b"".join(open(path, "rb").read() for path in certificates.ecdsa), 0o600)
    peer = peers.haproxy(str(tmp_path), HAPROXY_TLS_FRONT % (pem, guild.auth["ca"], text(stage["app"].address), option), ["front"])
    try:
        stage["app"].address = peer["front"]
        context = clients.python_context(certificates.ca, "1.3")
        context.load_cert_chain(guild.entry["chain"], guild.entry["key"])
        with clients.python_connect(stage["app"], context) as client:
            name = text(client.getsockname())
            client.sendall(f"echo {tag}\nhello".encode())
            assert client.recv(100) == b"hello"
        line = stage.proxy.connection(client=name)
        header = told.session(tag).header
        assert text(header.source) == name and header.destination == peer["front"]
        assert header.tlvs[proxy_header.UNIQUE_ID].decode() == line["unique_id"]
        assert ("unique-id" not in option) or line["unique_id"] == name.replace(":", "-")
    finally:
        peer.close()


@any_layer
def test_haproxys_checks(start, actor, tmp_path):
    """Its health checks say LOCAL, or leave after the connect."""
    stage = start({"app": [actor.address]}, listens={"app": {"proxy_protocol": "v2"}})
    peer = peers.haproxy(str(tmp_path), HAPROXY_FRONT % (text(stage["app"].address), "send-proxy-v2 check check-send-proxy inter 200"),
                         ["front"])
    try:
        line = stage.proxy.connection()
        assert line["end"] in ("handshake_failed", "proxy_header") and "peer" not in line
    finally:
        peer.close()


def test_we_read_nginxs(start, told, speak, tmp_path, layer, tag):
    tmp_path.chmod(0o755)
    stage = start({"app": [told.address]}, layer=layer, listens={"app": {"proxy_protocol": "any"}}, sends={"app": {"proxy_protocol": "v1"}})
    peer = peers.nginx(str(tmp_path), "stream { server { listen %(front)s; proxy_pass " + text(stage["app"].address) +
                       "; proxy_protocol on; } }\n", ["front"], stream=True)
    try:
        stage["app"].address = peer["front"]
        client = speak(stage["app"])
        echo(client, tag, 100000)
        header = told.session(tag).header
        assert text(header.source) == client.name and header.destination == peer["front"]
    finally:
        peer.close()


# ---- at length

def test_bulk_behind_headers(start, told, speak, layer, tag):
    """Both directions at full size, a header in and a header out."""
    size = 1 << 20
    stage = start({"app": [told.address]}, layer=layer, listens={"app": {"proxy_protocol": "v2"}}, sends={"app": {"proxy_protocol": "v2"}})
    client = speak(stage["app"], HEADERS["v2 with TLVs"], "bytes")
    client.send_data(f"sink {tag}\n".encode())
    for block in backends.Pattern().blocks(size):
        client.send_data(block)
    client.close_notify()
    assert client.read(len(f"{size} ") + 65).decode().split() == [str(size), backends.Pattern().digest(size)]
    assert client.end() == "close_notify"
    assert hashlib.sha256(told.session(tag).header.raw).hexdigest() and struct.unpack("!H", told.session(tag).header.raw[14:16])[0] > 100


# ---- with routes and limits

class TlsServer:
    """Reads a header, then speaks TLS itself and answers one message with the same."""

    def __init__(self, certificates):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificates.ecdsa)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = text(self.listener.getsockname())
        self.header, self.error = None, None
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        try:
            sock, _ = self.listener.accept()
            with sock:
                sock.settimeout(ringbolt.WAIT)
                self.header = proxy_header.receive(sock)
                with self.context.wrap_socket(sock, server_side=True) as tls:
                    tls.sendall(tls.recv(100))
        except (OSError, proxy_header.Malformed) as error:
            self.error = error

    def close(self):
        self.listener.close()
        self.thread.join()


@any_layer
@pytest.mark.parametrize("ahead", ["", "v1"])
def test_passed_through(start, speak, certificates, ahead):
    """The header goes ahead of the ClientHello that is passed on, and says nothing of TLS but the name."""
    server = TlsServer(certificates)
    try:
        stage = start({"app": [server.address]}, sends={"app": {"proxy_protocol": "v2"}},
                      listens={"app": {"routes": [{"sni": "localhost", "passthrough": "app"}],
                                       **({"proxy_protocol": "v1", "proxy_protocol_from": [NETWORKS["v4"]]} if ahead else {})}})
        client = speak(stage["app"], proxy_header.v1(CLAIMED) if ahead else b"")
        client.send_data(b"hello")
        assert client.read(5) == b"hello"
    finally:
        server.close()
    assert server.error is None
    assert text(server.header.source) == (text(CLAIMED) if ahead else client.name)
    assert server.header.tlvs.keys() == {proxy_header.AUTHORITY, proxy_header.UNIQUE_ID}
    assert server.header.tlvs[proxy_header.AUTHORITY] == b"localhost"


@any_layer
def test_client_limits_count_whom_a_header_names(start, actor, speak, tag):
    stage = start({"app": [actor.address]}, config={"limits": {"connections_per_client": 2}},
                  listens={"app": {"proxy_protocol": "any", "proxy_protocol_from": [NETWORKS["v4"]]}})
    first = [speak(stage["app"], proxy_header.v1(CLAIMED)) for _ in range(2)]
    for how in "together", "apart", "bytes":
        with pytest.raises((ConnectionError, rawtls.ProtocolError)):
            speak(stage["app"], proxy_header.v2(CLAIMED), how)
    line = stage.proxy.wait_for_log(lambda e: e["message"] == "client refused")
    assert line["client"] == text(CLAIMED) and line["limit"] == "limits.connections_per_client"
    # Others are let in, and the proxy itself as often as it likes.
    clients_in = [speak(stage["app"], proxy_header.v1((f"203.0.113.{n}", 1))) for n in range(20, 24)]
    clients_in += [speak(stage["app"], proxy_header.v2_raw(0, 0, b"")) for _ in range(4)]
    for number, client in enumerate(first + clients_in):
        client.has_header = False
        echo(client, f"{tag}-{number}")
    first[0].close_notify()
    assert first[0].end() == "close_notify"
    first[0].close()
    stage.proxy.connection(first[0].since, peer=first[0].name)
    echo(speak(stage["app"], proxy_header.v1(CLAIMED)), f"{tag}-again")
    stage.proxy.stop()
    assert {line["end"] for line in stage.proxy.lines if line["message"] == "connection"} == {"done", "shutdown"}

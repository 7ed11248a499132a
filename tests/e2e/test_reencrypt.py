# SPDX-License-Identifier: Apache-2.0
"""TLS towards servers: the data cases of termination with TLS on both sides, whom we trust, what servers are shown and told."""
import hashlib
import os
import socket
import struct
import threading

import pytest

import cases
import clients
import conftest
import pki
import rawtls
import ringbolt
import tls_backends

VERSIONS = ["1.2", "1.3"]
CIPHERS = list(clients.SUITES)
SUITE_NAMES = {cipher: [suite13, *suites12.split(":")] for cipher, (suite13, suites12) in clients.SUITES.items()}


# ---- the same proxy twice: its listener `app` speaks TLS with servers, which are its own listener `inner` before the Actor

def towards(version, cipher):
    """An upstream's `tls` that leaves the server this choice alone."""
    suite13, suites12 = clients.SUITES[cipher]
    chosen = {"ciphersuites": [suite13]} if version == "1.3" else {"ciphers": suites12.split(":")}
    return {"min_version": version, "max_version": version, **chosen}


@pytest.fixture(scope="module")
def chained(work, certificates, actor, nginx):
    """Running proxies by layer, version and cipher of the server's side."""
    running = {}

    def get(stage_class, layer, version, cipher):
        key = (layer, version, cipher)
        if key not in running:
            inner = stage_class(work, certificates, {"app": [actor.address], "http": [nginx.tcp]}, layer="user")
            tls = {"ca": certificates.ca, **towards(version, cipher)}
            outer = stage_class(work, certificates, {name: [f"127.0.0.1:{inner[name].number}"] for name in ("app", "http")}, layer=layer,
                                sends={name: {"tls": tls} for name in ("app", "http")})
            running[key] = (outer, inner)
        return running[key][0]

    yield get
    for stages in running.values():
        for stage in stages:
            stage.proxy.stop()
            stage.close()


TOWARDS = [(version, cipher) for version in VERSIONS for cipher in CIPHERS]
EACH = [(towards_it, version) for towards_it in TOWARDS for version in VERSIONS]  # and of the client's side
ONE_CIPHER = [pair for pair in EACH if pair[0][1] == CIPHERS[0]]  # for what no cipher of the server's side changes
# The two sides meet in a flow of bytes: their versions in each pair, each cipher once with each version.
FEW = [pair for pair in EACH if pair in ONE_CIPHER or pair[0][0] == pair[1]]


def sides(pairs):
    return pytest.mark.parametrize("both,version", pairs, indirect=["both"], ids=["-".join((*towards_it, version)) for towards_it, version in pairs])


@pytest.fixture(params=TOWARDS, ids="-".join)
def both(request, chained, layer):
    stage = chained(conftest.Stage, layer, *request.param)
    stage.towards = request.param
    yield stage
    assert stage.is_well(), stage.proxy.log_text()


def check_line(stage, line, down=0, up=0):
    version, cipher = stage.towards
    late = stage.layer == "late"
    assert line["server_tls"] == f"TLSv{version}" and line["server_cipher"] in SUITE_NAMES[cipher]
    kernel_tx = stage.layer in ("tx", "kernel") or (late and up > 2 * ringbolt.LATE_AFTER)
    kernel_rx = stage.layer == "kernel" or (late and down > 2 * ringbolt.LATE_AFTER)
    assert line["server_record_tx"] == ("kernel" if kernel_tx else "user"), line
    assert line["server_record_rx"] == ("kernel" if kernel_rx else "user"), line
    if not kernel_tx:
        assert line["server_record_tx_why"] == ("not_yet" if late else "off"), line
    if not kernel_rx:
        assert line["server_record_rx_why"] == ("not_yet" if late else "off"), line


def other_cipher(stage, version):
    """The client's: over all pairs of versions each cipher meets each."""
    towards_version, cipher = stage.towards
    return CIPHERS[(CIPHERS.index(cipher) + 2 * VERSIONS.index(towards_version) + VERSIONS.index(version)) % len(CIPHERS)]


@sides(EACH)
def test_bulk_down(both, certificates, bulk, version):
    since = both.proxy.mark()
    tls = clients.curl_tls(version, other_cipher(both, version))
    length, digest, port = clients.curl_digest(both["http"], "/bulk", certificates.ca, *tls)
    assert (length, digest) == (bulk.size, bulk.digest)
    check_line(both, both.proxy.connection(since, client=f"127.0.0.1:{port}"), down=bulk.size)


@sides(EACH)
def test_bulk_up(both, certificates, bulk, tag, version):
    since = both.proxy.mark()
    tls = clients.curl_tls(version, other_cipher(both, version))
    answer = clients.curl(both["app"], f"/{tag}", certificates.ca, *tls, "--upload-file", bulk.path,
                          "--header", "Expect:", "--write-out", "%{local_port}").decode().splitlines()
    assert answer[0] == f"{bulk.size} {bulk.digest}"
    check_line(both, both.proxy.connection(since, client=f"127.0.0.1:{answer[1]}"), up=bulk.size)


@pytest.mark.parametrize("case", cases.CASES)
@sides(FEW)
def test_case(both, actor, dial, tag, version, case):
    cases.CASES[case](cases.Talk(both, actor, tag, lambda **options: dial(both["app"], version=version, **options),
                                 [{"cipher": cipher} for cipher in CIPHERS]))


@sides(ONE_CIPHER)
def test_truncated_by_the_client(both, actor, dial, tag, version):
    client = dial(both["app"], version=version)
    client.send_data(f"sink {tag}\n".encode() + b"x" * 1000)
    session = actor.session(tag)
    client.sock.shutdown(socket.SHUT_WR)
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset"
    assert both.line(client)["end"] == "client_truncated"


@sides(ONE_CIPHER)
def test_reset_by_the_server(both, actor, dial, tag, version):
    client = dial(both["app"], version=version)
    client.send_data(f"reset {tag} 1000\n".encode())
    client.read(1000)
    actor.session(tag).release()
    _, end = client.read_to_end()
    assert end != "close_notify"
    assert both.line(client)["end"] in ("server_alert", "server_truncated", "server_reset")


# ---- small records, towards a client that takes no others

@sides(ONE_CIPHER)
def test_small_records(both, certificates, bulk, version):
    """openssl s_client asks for records of 512 bytes (RFC 6066 §4): more of them go out than came in."""
    if "required" in ringbolt.LAYERS[both.layer].values():
        pytest.skip("the kernel makes full records, so such a client is refused where it is required")
    command = ["openssl", "s_client", "-quiet", "-ign_eof", "-maxfraglen", "512", "-CAfile", certificates.ca, "-servername", "localhost", "-verify_return_error",
               "-tls1_2" if version == "1.2" else "-tls1_3", "-connect", f"127.0.0.1:{both['http'].number}"]
    output = clients.piped(command, clients.request_of("/bulk"))
    assert hashlib.sha256(output[-bulk.size:]).hexdigest() == bulk.digest


# ---- whom we trust

def write_ca(folder, authority, name="ca.pem"):
    return pki.write_whole(os.path.join(str(folder), name), authority.leaf_pem())


def talk(stage, dial, text=b"hello\n", **options):
    """What comes back for it, and how it ended; and the log line."""
    client = dial(stage["app"], **options)
    client.send_data(text)
    data, end = client.read_to_end()
    return data, end, stage.line_at_end(client)


def start_towards(start, server, **tls):
    return start({"app": [server.address]}, sends={"app": {"tls": tls}})


@pytest.mark.any_layer
@pytest.mark.parametrize("version", VERSIONS)
def test_trusted(start, dial, serve, authority, tmp_path, version):
    """By the address, by a name; through an intermediate that the server sends; by its own certificate."""
    ca = write_ca(tmp_path, authority)
    by_address = serve(authority.issue(), version=version)
    named = serve(authority.intermediate("Between").issue(["backend.internal"]), version=version)
    wildcard = serve(authority.issue(["*.svc.internal"]), version=version)
    alone = authority.issue(["pinned.internal"])
    pinned = serve(alone, version=version)
    pin = pki.write_whole(str(tmp_path / "pin.pem"), alone.leaf_pem())
    cases = [(by_address, {"ca": ca}, None), (named, {"ca": ca, "name": "Backend.internal"}, "backend.internal"),
             (wildcard, {"ca": ca, "name": "backend.svc.internal"}, "backend.svc.internal"),
             (pinned, {"ca": pin, "name": "pinned.internal"}, "pinned.internal")]
    for server, tls, sni in cases:
        data, end, line = talk(start_towards(start, server, **tls), dial)
        assert (data, end, line["end"]) == (b"hello\n", "close_notify", "done"), line
        assert server.last().sni == sni and line["server_tls"] == f"TLSv{version}"


@pytest.mark.any_layer
def test_trusted_by_the_system(start, dial, serve, authority, tmp_path):
    """`tls: {}`: the system's authorities, here as OpenSSL's variables name them."""
    server = serve(authority.issue())
    ca = write_ca(tmp_path, authority)
    stage = start({"app": [server.address]}, sends={"app": {"tls": {}}}, environment={"SSL_CERT_FILE": ca})
    assert talk(stage, dial)[0] == b"hello\n"
    folder = tmp_path / "hashed"
    folder.mkdir()
    os.link(ca, folder / "0a1b2c3d.0")
    stage = start({"app": [server.address]}, sends={"app": {"tls": {}}}, environment={"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": str(folder)})
    assert talk(stage, dial)[0] == b"hello\n"


def self_signed():
    key = pki.key_make("ecdsa")
    builder = pki.Authority._builder("127.0.0.1", key.public_key(), None, -1, 7)
    builder = builder.add_extension(pki.x509.SubjectAlternativeName([pki.alternative("127.0.0.1")]), critical=False)
    return pki.Pair(builder.sign(key, pki.hashes.SHA256()), key)


REFUSALS = {
    "wrong_name": (lambda ca: ca.issue(["other.internal"]), {"name": "backend.internal"}, "not for backend.internal"),
    "wrong_address": (lambda ca: ca.issue(["localhost"]), {}, "not for 127.0.0.1"),
    "partial_wildcard": (lambda ca: ca.issue(["*.svc.internal"]), {"name": "a.b.svc.internal"}, "not for a.b.svc.internal"),
    "expired": (lambda ca: ca.issue(days=(-9, -2)), {}, "certificate has expired"),
    "not_yet": (lambda ca: ca.issue(days=(2, 9)), {}, "certificate is not yet valid"),
    "unknown": (lambda ca: pki.Authority("Somebody").issue(), {}, "issuer not trusted"),
    "self_signed": (lambda ca: self_signed(), {}, "self-signed and not trusted"),
    "for_clients": (lambda ca: ca.issue(usage="client"), {}, "unsuitable certificate purpose"),
}


@pytest.mark.any_layer
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", REFUSALS)
def test_refused(start, dial, serve, authority, tmp_path, case, version):
    make, tls, reason = REFUSALS[case]
    server = serve(make(authority), version=version)
    data, end, line = talk(start_towards(start, server, ca=write_ca(tmp_path, authority), **tls), dial)
    assert (data, end) == (b"", "internal_error")
    assert line["end"] == "server_untrusted" and line["detail"].startswith(f"server certificate refused: {reason} ("), line
    assert line["bytes_in"] == 0
    assert server.last().error and not server.last().received


@pytest.mark.any_layer
def test_revoked(start, dial, serve, authority, tmp_path):
    good, bad = authority.issue(), authority.issue()
    crl = pki.write_whole(str(tmp_path / "crl.pem"), authority.crl([bad]))
    tls = {"ca": write_ca(tmp_path, authority), "crl": crl}
    assert talk(start_towards(start, serve(good), **tls), dial)[0] == b"hello\n"
    _, _, line = talk(start_towards(start, serve(bad), **tls), dial)
    assert line["end"] == "server_untrusted" and "certificate revoked" in line["detail"]


@pytest.mark.any_layer
def test_verified_or_not(start, dial, serve, tmp_path):
    server = serve(pki.Authority("Somebody").issue(["elsewhere"]))
    stage = start_towards(start, server, verify=False)
    assert talk(stage, dial)[0] == b"hello\n"
    checked = ringbolt.call("check", "-c", stage.proxy.config_path)
    assert checked.returncode == 0 and "`verify: false` takes any certificate" in checked.stdout + checked.stderr


# ---- servers that fail otherwise

def no_tls(sock, _served):
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    raise OSError("done")


def closes(_sock, _served):
    raise OSError("done")


def resets(sock, _served):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise OSError("done")


@pytest.mark.any_layer
@pytest.mark.parametrize("before, details", [
    (no_tls, ["server does not speak TLS"]), (closes, ["server closed during the handshake", "server reset during the handshake"]),
    (resets, ["server reset during the handshake"])])
def test_no_handshake(start, dial, serve, authority, tmp_path, before, details):
    server = serve(authority.issue(), before=before)
    data, end, line = talk(start_towards(start, server, ca=write_ca(tmp_path, authority)), dial)
    assert data == b"" and end != "close_notify"
    assert line["end"] == "server_handshake_failed" and line["detail"] in details, line


@pytest.mark.any_layer
def test_nothing_in_common(start, dial, serve, authority, tmp_path):
    server = serve(authority.issue(), version="1.2")
    _, _, line = talk(start_towards(start, server, ca=write_ca(tmp_path, authority), min_version="1.3"), dial)
    assert line["end"] == "server_handshake_failed" and line["detail"] == "server sent alert protocol_version" and line["alert"] == "protocol_version"
    _, _, line = talk(start_towards(start, serve(authority.issue(), version="1.3"), ca=write_ca(tmp_path, authority), max_version="1.2"), dial)
    assert line["end"] == "server_handshake_failed" and line["alert"] == "protocol_version"


@pytest.mark.any_layer
def test_silent_server(start, dial, serve, authority, tmp_path):
    over = threading.Event()
    server = serve(authority.issue(), before=lambda sock, served: over.wait(60))
    stage = start({"app": [server.address]}, sends={"app": {"tls": {"ca": write_ca(tmp_path, authority)}}}, config={"timeouts": {"handshake": "2s"}})
    _, _, line = talk(stage, dial)
    over.set()
    assert line["end"] == "server_handshake_failed" and line["detail"] == "the handshake with the server took too long"


@pytest.mark.parametrize("version", VERSIONS)
def test_truncated_by_the_server(start, dial, serve, authority, tmp_path, layer, version):
    """FIN without close_notify: what came is passed on, and no clean end."""
    def cut(sock, _served):
        sock.sendall(b"x" * 100000)
        os.close(sock.detach())

    stage = start({"app": [serve(authority.issue(), cut, version=version).address]}, layer=layer, sends={"app": {"tls": {"ca": write_ca(tmp_path, authority)}}})
    client = dial(stage["app"])
    data, end = client.read_to_end()
    assert len(data) == 100000 and end != "close_notify"
    assert stage.line_at_end(client)["end"] == "server_truncated"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("record, alert", [(b"\x17\x03\x03\x00\x40" + bytes(64), "bad record mac"), (b"\x17\x03\x03\xff\xff" + bytes(64), "record overflow")], ids=["bad_mac", "too_long"])
def test_server_that_breaks_the_rules(start, dial, serve, authority, tmp_path, layer, version, record, alert):
    """It is told what was wrong; the client learns only that this won't do."""
    def spoil(sock, served):
        assert sock.recv(100) == b"hello\n"
        os.write(sock.fileno(), record)
        sock.recv(100)

    server = serve(authority.issue(), spoil, version=version)
    stage = start({"app": [server.address]}, layer=layer, sends={"app": {"tls": {"ca": write_ca(tmp_path, authority)}}})
    data, end, line = talk(stage, dial)
    assert (data, end, line["end"]) == (b"", "internal_error", "server_protocol_error"), line
    assert alert in server.last().error.lower().replace("_", " "), server.last().error


# ---- what servers see

@pytest.mark.any_layer
@pytest.mark.parametrize("version", VERSIONS)
def test_client_certificate(start, dial, serve, authority, tmp_path, version):
    server = serve(authority.issue(), ca=authority, version=version)
    ca = write_ca(tmp_path, authority)
    mine = authority.client("the proxy").write(str(tmp_path), "mine")
    assert talk(start_towards(start, server, ca=ca, certificate=mine), dial)[0] == b"hello\n"
    assert (("commonName", "the proxy"),) in server.last().peer["subject"]
    data, end, line = talk(start_towards(start, server, ca=ca), dial)
    # TLS 1.3: our side is done when the server refuses.
    assert data == b"" and end != "close_notify"
    assert line["end"] in (["server_handshake_failed"] if version == "1.2" else ["server_alert", "server_reset"]), line


@pytest.mark.any_layer
def test_alpn(start, dial, serve, authority, tmp_path):
    """What the client agreed upon is passed on, unless the configuration says something else."""
    ca = write_ca(tmp_path, authority)
    server = serve(authority.issue(), alpn=["h2", "http/1.1", "special"])
    stage = start({"app": [server.address]}, tls={"app": {"alpn": ["h2", "http/1.1"]}}, sends={"app": {"tls": {"ca": ca}}})
    for count, (offer, chosen) in enumerate([(["http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2"), ([], None)]):
        talk(stage, dial, alpn=offer)
        assert server.last(count + 1).alpn == chosen
    stage = start({"app": [server.address]}, tls={"app": {"alpn": ["h2"]}}, sends={"app": {"tls": {"ca": ca, "alpn": ["special"]}}})
    talk(stage, dial, alpn=["h2"])
    assert server.last(4).alpn == "special"


@pytest.mark.any_layer
def test_proxy_header_goes_first(start, dial, serve, authority, tmp_path):
    """In the clear, ahead of the ClientHello."""
    seen = []

    def before(sock, _served):
        line = b""
        while not line.endswith(b"\r\n"):
            line += sock.recv(1)
        seen.append(line)

    server = serve(authority.issue(), before=before)
    stage = start({"app": [server.address]}, sends={"app": {"proxy_protocol": "v1", "tls": {"ca": write_ca(tmp_path, authority)}}})
    client = dial(stage["app"])
    client.send_data(b"hello\n")
    assert client.read_to_end()[0] == b"hello\n"
    assert seen[0].startswith(f"PROXY TCP4 127.0.0.1 127.0.0.1 {client.name[1]} ".encode())


# ---- real servers, what they send besides data

@pytest.fixture
def s_server(tmp_path, authority):
    servers = []

    def make(*options):
        servers.append(tls_backends.SServer(authority.issue(), tmp_path, *options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def test_key_updates_of_the_server(start, dial, s_server, authority, tmp_path, layer):
    """openssl s_server changes its keys, and asks for ours to be changed, with data between."""
    server = s_server("-tls1_3")
    stage = start({"app": [server.address]}, layer=layer, sends={"app": {"tls": {"ca": write_ca(tmp_path, authority)}}})
    client = dial(stage["app"])
    for index in range(5):
        client.send_data(f"from the client {index}\n".encode())
        server.read_until(f"from the client {index}\n")
        server.say("K\n" if index % 2 else "k\n")
        # What it reads together with a command it drops; it looks at its input before it looks at its connection.
        client.send_data(f"now {index}\n".encode())
        server.read_until(f"now {index}\n")
        server.say(f"from the server {index}\n")
        wanted = f"from the server {index}\n".encode()
        try:
            assert client.read(len(wanted)) == wanted
        except rawtls.ProtocolError:
            line = stage.line_at_end(client)
            # Kernels before 6.14 cannot change keys.
            assert layer != "user" and line["end"] == "rekey_unsupported", (line, server.output)
            return


@pytest.mark.parametrize("tickets", [0, 1, 7])
def test_tickets_of_the_server(start, dial, s_server, authority, tmp_path, layer, tickets):
    server = s_server("-tls1_3", "-num_tickets", str(tickets), "-rev")
    stage = start({"app": [server.address]}, layer=layer, sends={"app": {"tls": {"ca": write_ca(tmp_path, authority)}}})
    client = dial(stage["app"])
    for text in (b"abc", b"xyz"):
        client.send_data(text + b"\n")
        assert client.read(4) == text[::-1] + b"\n"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_s_server(start, dial, s_server, authority, tmp_path, layer, version, cipher):
    server = s_server("-rev", "-tls1_2" if version == "1.2" else "-tls1_3")
    stage = start({"app": [server.address]}, layer=layer, sends={"app": {"tls": {"ca": write_ca(tmp_path, authority), **towards(version, cipher)}}})
    client = dial(stage["app"])
    for size in (1, 100, 4000):
        text = os.urandom(size // 2 + 1).hex()[:size].encode()
        client.send_data(text + b"\n")
        assert client.read(size + 1) == text[::-1] + b"\n"


# ---- client mode: plaintext in, TLS out

class Plain:
    """A client without TLS."""

    def __init__(self, listener):
        self.sock = socket.create_connection(listener.address, ringbolt.WAIT)
        self.name = self.sock.getsockname()
        self.since = listener.stage.proxy.mark()

    # As rawtls.RawClient has them.

    @staticmethod
    def seal(_kind, data):
        return data

    def send(self, data):
        self.sock.sendall(data)

    send_data = send

    def close_notify(self):
        self.sock.shutdown(socket.SHUT_WR)

    def read(self, length):
        got = b""
        while len(got) < length and (data := self.sock.recv(length - len(got))):
            got += data
        return got

    def read_to_end(self):
        got = b""
        try:
            while data := self.sock.recv(1 << 20):
                got += data
        except ConnectionResetError:
            return got, "reset"
        return got, "eof"

    def close(self):
        self.sock.close()


@pytest.fixture
def plain():
    clients_open = []

    def make(listener):
        clients_open.append(Plain(listener))
        return clients_open[-1]

    yield make
    for client in clients_open:
        client.close()


@pytest.fixture(params=[(version, cipher) for version in VERSIONS for cipher in CIPHERS], ids="-".join)
def mode(request, work, certificates, actor, nginx, start, layer):
    """Ringbolt in client mode before one that terminates."""
    inner = start({"app": [actor.address], "http": [nginx.tcp]})
    outer = start({name: [f"127.0.0.1:{inner[name].number}"] for name in ("app", "http")}, layer=layer,
                  listens={name: {"tls": "off"} for name in ("app", "http")},
                  sends={name: {"tls": {"ca": certificates.ca, **towards(*request.param)}} for name in ("app", "http")})
    outer.towards = request.param
    return outer


def test_client_mode(mode, plain, actor, bulk, tag):
    client = plain(mode["http"])
    client.sock.sendall(clients.request_of("/bulk"))
    data, end = client.read_to_end()
    assert end == "eof" and hashlib.sha256(data[-bulk.size:]).hexdigest() == bulk.digest
    client.close()
    line = mode.line(client)
    check_line(mode, line, down=bulk.size)
    assert line["end"] == "done" and "tls" not in line and "record_tx" not in line and "handshake_ms" not in line

    client = plain(mode["app"])
    with open(bulk.path, "rb") as f:
        body = f.read()
    client.sock.sendall(f"sink {tag}-up\n".encode() + body)
    client.sock.shutdown(socket.SHUT_WR)
    data, end = client.read_to_end()
    assert end == "eof" and data.split() == [str(bulk.size).encode(), bulk.digest.encode()]
    check_line(mode, mode.line(client), up=bulk.size)

    for name, case in cases.CASES.items():
        case(cases.Talk(mode, actor, f"{tag}-{name}", lambda: plain(mode["app"]), clean="eof"))


@pytest.mark.any_layer
def test_client_mode_refused(start, plain, serve, authority, tmp_path):
    """A client without TLS has no alert: it sees a reset, never a clean end."""
    def cut(sock, _served):
        sock.sendall(b"x" * 100000)
        os.close(sock.detach())

    server = serve(pki.Authority("Somebody").issue())
    stage = start({"app": [server.address]}, listens={"app": {"tls": "off"}}, sends={"app": {"tls": {"ca": write_ca(tmp_path, authority)}}})
    client = plain(stage["app"])
    assert client.read_to_end() == (b"", "reset")
    line = stage.line(client)
    assert line["end"] == "server_untrusted" and "issuer not trusted" in line["detail"]
    stage = start({"app": [serve(authority.issue(), cut).address]}, listens={"app": {"tls": "off"}},
                  sends={"app": {"tls": {"ca": write_ca(tmp_path, authority)}}})
    client = plain(stage["app"])
    data, end = client.read_to_end()
    assert len(data) == 100000 and end == "reset"
    assert stage.line(client)["end"] == "server_truncated"


@pytest.mark.any_layer
@pytest.mark.parametrize("size", [1, 1000, 4000])
def test_client_mode_behind_a_proxy(start, plain, serve, authority, tmp_path, size):
    """A PROXY header comes in, with the first bytes or without, and goes out ahead of TLS."""
    seen = []

    def before(sock, _served):
        line = b""
        while not line.endswith(b"\r\n"):
            line += sock.recv(1)
        seen.append(line)

    stage = start({"app": [serve(authority.issue(), before=before).address]}, listens={"app": {"tls": "off", "proxy_protocol": "v1"}},
                  sends={"app": {"proxy_protocol": "v1", "tls": {"ca": write_ca(tmp_path, authority)}}})
    client = plain(stage["app"])
    text = b"x" * (size - 1) + b"\n"
    client.sock.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\n" + text)
    assert client.read_to_end() == (text, "eof")
    assert seen == [b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\n"]


@pytest.mark.any_layer
def test_plain_relay(start, plain, actor, tag):
    stage = start({"app": [actor.address]}, listens={"app": {"tls": "off"}})
    client = plain(stage["app"])
    client.sock.sendall(f"answer {tag} 100000\n".encode())
    client.sock.shutdown(socket.SHUT_WR)
    data, end = client.read_to_end()
    assert (len(data), end) == (100000, "eof") and stage.line(client)["end"] == "done"
    checked = ringbolt.call("check", "-c", stage.proxy.config_path)
    assert checked.returncode == 0 and "nothing is encrypted here" in checked.stdout + checked.stderr

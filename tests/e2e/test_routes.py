# SPDX-License-Identifier: Apache-2.0
"""Routes: several names and protocols on one listener, to different upstreams, passed through, or rejected."""
import hashlib
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading

import pytest

import backends
import clients
import rawtls
import ringbolt
from conftest import Stage, Shared

any_layer = pytest.mark.any_layer


class Recorder:
    """A server that keeps the bytes of each connection as they come, and says what the test tells it to."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.listener.settimeout(ringbolt.WAIT)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def accept(self):
        sock, _ = self.listener.accept()
        sock.settimeout(ringbolt.WAIT)
        return sock

    def close(self):
        self.listener.close()


def read_exactly(sock, length):
    got = b""
    while len(got) < length:
        more = sock.recv(length - len(got))
        if not more:
            break
        got += more
    return got


def read_all(sock):
    """(bytes, "eof" or "reset")"""
    got = b""
    while True:
        try:
            more = sock.recv(65536)
        except ConnectionResetError:
            return got, "reset"
        if not more:
            return got, "eof"
        got += more


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class TlsNginx:
    """Debian's nginx with TLS of its own and certificates for *.pass.example: what a stream is passed through to."""

    def __init__(self, work, chain, key):
        work = os.path.join(work, "nginx-tls")
        os.mkdir(work)
        os.chmod(work, 0o755)
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen(1024)
        os.set_inheritable(sock.fileno(), True)
        self.address = "127.0.0.1:%d" % sock.getsockname()[1]
        with open(os.path.join(work, "nginx.conf"), "w", encoding="utf-8") as f:
            f.write(f"""
daemon off;
worker_processes 1;
pid {work}/pid;
error_log {work}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    server {{
        listen {self.address} ssl http2;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        default_type text/plain;
        location / {{ return 200 "$ssl_server_name $ssl_protocol $server_protocol\\n"; }}
    }}
}}
""")
        self.process = subprocess.Popen(["/usr/sbin/nginx", "-p", work, "-e", f"{work}/error.log", "-c", f"{work}/nginx.conf"],
                                        env={**os.environ, "NGINX": f"{sock.fileno()};"}, stdin=subprocess.DEVNULL,
                                        pass_fds=[sock.fileno()])
        sock.close()

    def close(self):
        self.process.terminate()
        self.process.wait(30)


class World:
    """What the listeners lead to."""

    def __init__(self, work, certificates, nginx):
        self.front = certificates.make("ecdsa", "front", names="DNS:a.example,DNS:*.b.example,DNS:h.example,DNS:localhost")
        self.behind = certificates.make("ecdsa", "behind", names="DNS:pass.example,DNS:*.pass.example")
        self.a, self.b, self.default = backends.Actor(), backends.Actor(), backends.Actor()
        self.recorder = Recorder()
        self.tls = TlsNginx(work, *self.behind)
        self.nginx = nginx

    def upstreams(self):
        return {"a": [self.a.address], "b": [self.b.address], "default": [self.default.address], "raw": [self.recorder.address],
                "tls": [self.tls.address], "http": [self.nginx.tcp], "h2c": [self.nginx.h2]}

    def close(self):
        for one in (self.a, self.b, self.default, self.recorder, self.tls):
            one.close()


@pytest.fixture(scope="session")
def world(work, certificates, nginx):
    made = World(work, certificates, nginx)
    yield made
    made.close()


class Listener:
    def __init__(self, stage, port):
        self.stage, self.port, self.address = stage, port, port.address
        self.number = port.address[1]


class Front(Stage):
    """A stage whose listeners are as the test says: name → what stands in the file besides its name and address. Those that terminate
    TLS have a certificate of their own."""

    def __init__(self, work, certificates, world, listeners, config=None, **options):
        ports = {name: ringbolt.Port() for name in listeners}
        tls = {"certificates": [dict(zip(("chain", "key"), world.front))]}
        config = {"listeners": [{"name": name, "address": ports[name].text, "tls": tls, **listeners[name]} for name in listeners],
                  "upstreams": [{"name": name, "servers": [{"address": address} for address in addresses]}
                                for name, addresses in world.upstreams().items()], **(config or {})}
        super().__init__(work, certificates, {}, config=config, **options)
        self.listeners = {name: Listener(self, ports[name]) for name in listeners}


ROUTES = [
    {"sni": "a.example", "upstream": "a"},
    {"sni": ["x.b.example", "*.b.example"], "upstream": "b"},
    {"sni": "no.example", "reject": True},
    {"sni": ["pass.example", "*.pass.example"], "passthrough": "tls"},
    {"sni": "raw.example", "passthrough": "raw"},
]
PROTOCOLS = [{"sni": "h.example", "alpn": "h2", "upstream": "h2c"}, {"sni": "h.example", "upstream": "http"},
             {"sni": "p.example", "alpn": ["own", "other"], "upstream": "a"}]


@pytest.fixture(scope="session")
def fronts(work, certificates, world):
    """`routed` with everything; `strict` without an upstream of its own; `apart` without passthrough."""
    tls = {"certificates": [dict(zip(("chain", "key"), world.front))], "alpn": ["http/1.1"]}
    listeners = {"routed": {"routes": ROUTES + PROTOCOLS, "upstream": "default", "tls": tls}, "strict": {"routes": ROUTES + PROTOCOLS},
                 "apart": {"routes": [route for route in ROUTES if "passthrough" not in route] + PROTOCOLS, "upstream": "default",
                           "tls": tls}}
    stages = Shared(lambda layer: Front(work, certificates, world, listeners, layer=layer))
    yield stages
    stages.close()


@pytest.fixture
def front(fronts, layer):
    running = fronts.get(layer)
    yield running
    if not running.is_well():
        dropped = fronts.drop(layer)
        pytest.fail("the proxy died or complained:\n" + dropped.proxy.log_text())


@pytest.fixture
def begin(work, certificates, world):
    """A proxy of the test's own."""
    stages = []

    def make(listeners, **options):
        stages.append(Front(work, certificates, world, listeners, **options))
        return stages[-1]

    yield make
    for stage in stages:
        if stage.proxy.process.returncode is None:
            stage.proxy.stop()
        stage.close()


# ---- where TLS ends here

# name, upstream, route
TERMINATED = [("a.example", "a", 1), ("A.Example", "a", 1), ("a.example.", "a", 1), ("x.b.example", "b", 2), ("y.b.example", "b", 2),
              ("b.example", "default", None), ("y.x.b.example", "default", None), ("c.example", "default", None),
              ("127.0.0.1", "default", None), ("", "default", None)]


@any_layer
@pytest.mark.parametrize("listener", ["routed", "apart"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("name, upstream, route", TERMINATED)
def test_names(front, world, dial, tag, listener, version, name, upstream, route):
    client = dial(front[listener], sni=name, version=version)
    client.send_data(f"echo {tag}\nhello".encode())
    assert client.read(5) == b"hello"
    getattr(world, upstream).session(tag)
    client.close_notify()
    assert client.end() == "close_notify"
    line = front.line(client)
    assert (line["end"], line["upstream"], line.get("route")) == ("done", upstream, route)
    assert line.get("sni", "") == name and line["tls"] == f"TLSv{version}"


@any_layer
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("listener, name, offered, chosen, upstream", [
    ("routed", "h.example", ("h2",), "h2", "h2c"),
    ("routed", "h.example", ("http/1.1", "h2"), "h2", "h2c"),
    ("apart", "h.example", ("http/1.1", "h2"), "h2", "h2c"),
    ("routed", "h.example", ("http/1.1",), "http/1.1", "http"),
    ("routed", "h.example", (), None, "http"),
    ("strict", "h.example", ("http/1.1",), None, "http"),
    ("routed", "p.example", ("other", "own"), "own", "a"),
    ("routed", "p.example", ("other",), "other", "a"),
    ("routed", "p.example", ("http/1.1",), "http/1.1", "default"),
    ("routed", "c.example", ("h2", "http/1.1"), "http/1.1", "default"),
])
def test_protocols(front, dial, version, listener, name, offered, chosen, upstream):
    client = dial(front[listener], sni=name, alpn=offered, version=version)
    assert client.alpn == chosen
    client.close_notify()
    line = front.line_at_end(client)
    assert line["upstream"] == upstream and line.get("alpn") == chosen


def curl(front, listener, name, ca, *options, scheme="https"):
    port = front[listener].number
    done = subprocess.run(["curl", "--silent", "--show-error", "--fail", "--max-time", "60", "--cacert", ca, "--resolve",
                           f"{name}:{port}:127.0.0.1", "--write-out", "\n%{http_version}", *options,
                           f"{scheme}://{name}:{port}/api"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    body, _, version = done.stdout.decode().rpartition("\n")
    return body, version


@pytest.mark.parametrize("listener", ["routed", "apart"])
def test_curl_by_protocol(front, certificates, listener):
    """The h2c server speaks nothing else, the other one nothing of HTTP/2."""
    since = front.proxy.mark()
    assert curl(front, listener, "h.example", certificates.ca, "--http2") == ('{"answer":42}\n', "2")
    assert front.proxy.connection(since, alpn="h2")["upstream"] == "h2c"
    since = front.proxy.mark()
    assert curl(front, listener, "h.example", certificates.ca, "--http1.1") == ('{"answer":42}\n', "1.1")
    assert front.proxy.connection(since, alpn="http/1.1")["upstream"] == "http"


@pytest.mark.skipif(not shutil.which("h2load"), reason="h2load is not here")
def test_h2load(front):
    port = front["routed"].number
    done = subprocess.run(["h2load", "-n", "400", "-c", "8", "-m", "10", "--connect-to", f"127.0.0.1:{port}",
                           f"https://h.example:{port}/api"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, timeout=ringbolt.WAIT)
    output = done.stdout.decode()
    assert "400 succeeded, 0 failed, 0 errored" in output and "Application protocol: h2" in output, output


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("listener", ["routed", "apart"])
def test_tickets_follow_the_hello(front, certificates, version, listener):
    """A session that began with h2 at one upstream goes on with http/1.1 at the other, and back."""

    context = clients.python_context(certificates.ca, version)
    session = None
    since = front.proxy.mark()
    for protocols, chosen in ((["h2"], "h2"), (["http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2")):
        context.set_alpn_protocols(protocols)
        with context.wrap_socket(socket.create_connection(front[listener].address, 30), server_hostname="h.example",
                                 session=session) as sock:
            assert sock.selected_alpn_protocol() == chosen and sock.session_reused == (session is not None)
            if chosen == "http/1.1":
                sock.sendall(b"GET /api HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                while sock.recv(4096):
                    pass
            else:  # the preface, and SETTINGS; it is answered by SETTINGS
                sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
                assert sock.recv(4096)[3] == 4
            session = sock.session
        line = front.proxy.connection(since, alpn=chosen)
        since = front.proxy.mark()
        assert line["upstream"] == {"h2": "h2c", "http/1.1": "http"}[chosen]


# ---- rejected

@any_layer
@pytest.mark.parametrize("listener, name, offered, alert, route", [
    ("routed", "no.example", (), "unrecognized_name", 3),
    ("apart", "no.example", ("h2",), "unrecognized_name", 3),
    ("strict", "no.example", (), "unrecognized_name", 3),
    ("strict", "c.example", (), "unrecognized_name", None),
    ("strict", "", ("h2",), "unrecognized_name", None),
    ("strict", "127.0.0.1", (), "unrecognized_name", None),
    ("strict", "p.example", ("h2",), "no_application_protocol", None),
])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_rejected(front, dial, listener, name, offered, alert, route, version):
    client = dial(front[listener], handshake=False, sni=name, alpn=offered, version=version)
    client.send(client.hello())
    assert client.read_to_end() == (b"", alert)
    line = front.line_at_end(client)
    assert (line["end"], line["alert"], line.get("route"), line.get("sni", "")) == ("rejected", alert, route, name)
    assert "upstream" not in line and "tls" not in line


def test_no_common_protocol(front, dial):
    """Not a route's business: the listener's own `alpn` has it, as ever."""
    client = dial(front["routed"], handshake=False, sni="c.example", alpn=("own",))
    client.send(client.hello())
    assert client.read_to_end() == (b"", "no_application_protocol")
    assert front.line_at_end(client)["end"] == "handshake_failed"


# ---- passed through

def peer_certificate(front, name, ca, version):
    context = clients.python_context(ca, version)
    with context.wrap_socket(socket.create_connection(front["routed"].address, 30), server_hostname=name) as sock:
        return sock.getpeercert(True)


def der(path):
    with open(path, encoding="ascii") as f:
        return ssl.PEM_cert_to_DER_cert(re.search("-----BEGIN CERT.*?-----END CERTIFICATE-----\n", f.read(), re.DOTALL).group(0))


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_certificates(front, world, certificates, version):
    """Those of a name that is passed through are the server's, and the client verifies them; next to it others are ours."""
    assert peer_certificate(front, "pass.example", certificates.ca, version) == der(world.behind[0])
    assert peer_certificate(front, "a.example", certificates.ca, version) == der(world.front[0])
    assert peer_certificate(front, "y.pass.example", certificates.ca, version) == der(world.behind[0])


@pytest.mark.parametrize("options, version", [(["--http2"], "2"), (["--http1.1"], "1.1"), (["--http1.1", "--tls-max", "1.2"], "1.1")])
def test_curl_through(front, certificates, options, version):
    """The protocol is the server's choice too."""
    since = front.proxy.mark()
    body, got = curl(front, "routed", "w.pass.example", certificates.ca, *options)
    assert got == version and body.split()[0] == "w.pass.example"
    line = front.proxy.connection(since, sni="w.pass.example")
    assert (line["end"], line["tls"], line["upstream"], line["route"]) == ("done", "passthrough", "tls", 4)
    assert line["bytes_in"] > 300 and line["bytes_out"] > 300 and line["connect_ms"] >= 0
    assert not {"cipher", "alpn", "resumed", "certificate", "record_tx", "record_rx", "record_tx_why", "record_rx_why",
                "handshake_ms"} & line.keys()


@pytest.mark.skipif(not shutil.which("gnutls-cli"), reason="gnutls-cli is not here")
def test_gnutls_through(front, certificates):
    request = b"GET / HTTP/1.0\r\nHost: pass.example\r\n\r\n"
    output = clients.piped(["gnutls-cli", "--x509cafile", certificates.ca, "--port", str(front["routed"].number), "--sni-hostname",
                            "pass.example", "--verify-hostname", "pass.example", "127.0.0.1"], request)
    assert b"pass.example TLSv1.3 HTTP/1.0" in output


# How large the hello is made, and in what records and segments it comes.
PADDINGS = [0, 1200, 2000, 5000, 14000]


def hello_cases():
    for padding in PADDINGS:
        for record_size in (1, 3, 100, 1400, 16384):
            yield padding, record_size


@pytest.mark.parametrize("padding, record_size", hello_cases())
def test_bytes_are_the_same(front, world, dial, padding, record_size):
    client = dial(front["routed"], handshake=False, sni="raw.example", hello_padding=padding)
    sent = client.hello(record_size)
    client.send(sent)
    server = world.recorder.accept()
    assert read_exactly(server, len(sent)) == sent
    answer = os.urandom(100000)
    threading.Thread(target=server.sendall, args=(answer,)).start()
    assert read_exactly(client.sock, len(answer)) == answer
    more = os.urandom(300000)
    threading.Thread(target=client.send, args=(more,)).start()
    assert read_exactly(server, len(more)) == more
    client.sock.shutdown(socket.SHUT_WR)
    assert read_all(server) == (b"", "eof")
    server.sendall(b"after the client's end")
    server.close()
    assert read_all(client.sock) == (b"after the client's end", "eof")
    line = front.line(client)
    assert (line["end"], line["sni"], line["upstream"]) == ("done", "raw.example", "raw")
    assert (line["bytes_in"], line["bytes_out"]) == (len(sent) + len(more), len(answer) + 22)


@pytest.mark.parametrize("padding, record_size, segment", [(0, 16384, 1), (0, 1, 1), (0, 7, 5), (2000, 16384, 1000), (2000, 500, 1460),
                                                           (9000, 16384, 1460), (14000, 1, 4000)])
def test_hello_in_segments(front, world, dial, padding, record_size, segment):
    """Each is sent when the one before has been taken from the socket, as far as that can be had."""
    client = dial(front["routed"], handshake=False, sni="raw.example", hello_padding=padding)
    sent = client.hello(record_size)
    for at in range(0, len(sent), segment):
        client.send(sent[at:at + segment])
        if at % (16 * segment) == 0:
            threading.Event().wait(0.001)
    server = world.recorder.accept()
    assert read_exactly(server, len(sent)) == sent
    server.close()
    assert read_all(client.sock) == (b"", "eof")
    client.close()
    assert front.line(client)["end"] == "done"


@pytest.mark.parametrize("record_size", [1, 100, 16384])
@pytest.mark.parametrize("padding", [0, 2000, 9000])
@pytest.mark.parametrize("name, upstream", [("a.example", "a"), ("h.example", "http")])
def test_terminated_whatever_the_pieces(front, dial, name, upstream, padding, record_size):
    """The same listener looks at these hellos first too."""
    client = dial(front["routed"], handshake=False, sni=name, hello_padding=padding)
    client.handshake(record_size=record_size)
    client.close_notify()
    line = front.line_at_end(client)
    assert (line["tls"], line["upstream"]) == ("TLSv1.3", upstream)


def test_what_follows_the_hello(front, world, dial):
    """A client that doesn't wait, as with early data: all of it arrives, in order."""
    client = dial(front["routed"], handshake=False, sni="raw.example")
    sent = client.hello() + rawtls.record(rawtls.CCS, b"\1") + os.urandom(70000)
    client.send(sent)
    server = world.recorder.accept()
    assert read_exactly(server, len(sent)) == sent
    server.close()
    assert read_all(client.sock)[0] == b""


def test_bulk_through(front, world, dial):
    """Both ways at once, and the digests agree."""
    size = 4 << 20
    client = dial(front["routed"], handshake=False, sni="raw.example")
    hello = client.hello()
    client.send(hello)
    server = world.recorder.accept()
    assert read_exactly(server, len(hello)) == hello
    data = b"".join(backends.Pattern().blocks(size))
    senders = [threading.Thread(target=sock.sendall, args=(data,)) for sock in (client.sock, server)]
    got = {}
    readers = [threading.Thread(target=lambda name, sock: got.update({name: hashlib.sha256(read_exactly(sock, size)).digest()}),
                                args=(name, sock)) for name, sock in (("client", client.sock), ("server", server))]
    for thread in senders + readers:
        thread.start()
    for thread in senders + readers:
        thread.join()
    assert got["client"] == got["server"] == hashlib.sha256(data).digest()
    server.close()


@pytest.mark.parametrize("who", ["client", "server", "silent server"])
def test_resets(front, world, dial, who):
    client = dial(front["routed"], handshake=False, sni="raw.example")
    sent = client.hello()
    client.send(sent)
    server = world.recorder.accept()
    assert read_exactly(server, len(sent)) == sent
    if who == "client":
        client.abort()
        assert read_all(server) == (b"", "reset")
        assert front.line(client)["end"] == "client_reset"
    elif who == "server":
        server.sendall(b"the beginning of something")
        assert read_exactly(client.sock, 26) == b"the beginning of something"
        reset(server)
        assert read_all(client.sock)[0] == b""
        line = front.line_at_end(client)
        assert line["end"] == "server_reset" and "alert" not in line
    else:
        reset(server)
        assert client.read_to_end() == (b"", "internal_error")
        line = front.line_at_end(client)
        assert (line["end"], line["alert"]) == ("server_reset", "internal_error")


def test_server_ends_first(front, world, dial):
    client = dial(front["routed"], handshake=False, sni="raw.example")
    sent = client.hello()
    client.send(sent)
    server = world.recorder.accept()
    server.sendall(b"and no more")
    server.shutdown(socket.SHUT_WR)
    assert read_all(client.sock) == (b"and no more", "eof")
    client.send(b"still there")
    assert read_exactly(server, len(sent) + 11) == sent + b"still there"
    client.close()
    assert read_all(server)[1] == "eof"
    server.close()
    assert front.line(client)["end"] == "done"


def test_server_unreachable(begin, dial, world):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        upstreams = [{"name": "nobody", "servers": [{"address": "127.0.0.1:%d" % nobody.getsockname()[1]}]}]
        stage = begin({"front": {"routes": [{"sni": "*", "passthrough": "nobody"}]}}, config={"upstreams": upstreams})
        client = dial(stage["front"], handshake=False)
        client.send(client.hello())
        assert client.read_to_end() == (b"", "internal_error")
        line = stage.line_at_end(client)
        assert (line["end"], line["upstream"], line["sni"]) == ("server_unreachable", "nobody", "localhost")
        assert line["alert"] == "internal_error" and "server" not in line


def test_without_certificates(begin, dial, world):
    """A listener that decrypts nothing needs none."""
    stage = begin({"front": {"tls": {}, "routes": [{"sni": "raw.example", "passthrough": "raw"}, {"sni": "no.example", "reject": True}]}})
    client = dial(stage["front"], handshake=False, sni="raw.example")
    sent = client.hello()
    client.send(sent)
    server = world.recorder.accept()
    assert read_exactly(server, len(sent)) == sent
    server.close()
    for name in ("no.example", "c.example"):
        client = dial(stage["front"], handshake=False, sni=name)
        client.send(client.hello())
        assert client.read_to_end() == (b"", "unrecognized_name")


def test_by_protocol(begin, dial, world):
    """What ACME's tls-alpn-01 takes: one protocol of every name goes to who answers it."""
    stage = begin({"front": {"routes": [{"alpn": "acme-tls/1", "passthrough": "raw"}], "upstream": "a"}})
    client = dial(stage["front"], handshake=False, sni="any.example", alpn=("acme-tls/1",))
    sent = client.hello()
    client.send(sent)
    server = world.recorder.accept()
    assert read_exactly(server, len(sent)) == sent
    server.close()
    client = dial(stage["front"], sni="any.example")
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"


# ---- hellos that don't come, or too large

@any_layer
@pytest.mark.parametrize("listener", ["routed", "apart"])
@pytest.mark.parametrize("name", ["raw.example", "a.example"])
def test_too_large(front, dial, listener, name):
    client = dial(front[listener], handshake=False, sni=name, hello_padding=16384)
    try:
        client.send(client.hello())
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert client.read_to_end() == (b"", "illegal_parameter")
    line = front.line_at_end(client)
    assert (line["end"], line["alert"], line["detail"]) == ("handshake_failed", "illegal_parameter", "ClientHello too large")


@pytest.mark.parametrize("limit, padding, is_taken", [("64k", 60000, True), ("64k", 65400, False), ("1k", 0, True), ("1k", 1000, False)])
def test_limit(begin, dial, world, limit, padding, is_taken):
    stage = begin({"front": {"routes": [{"sni": "raw.example", "passthrough": "raw"}], "upstream": "a"},
                   "plain": {"upstream": "a"}}, config={"limits": {"client_hello": limit}})
    for listener, name in (("front", "raw.example"), ("front", "a.example"), ("plain", "a.example")):
        client = dial(stage[listener], handshake=False, sni=name, hello_padding=padding)
        if not is_taken:
            client.send(client.hello())
            assert client.read_to_end() == (b"", "illegal_parameter")
            assert stage.line_at_end(client)["detail"] == "ClientHello too large"
        elif name == "raw.example":
            sent = client.hello()
            client.send(sent)
            server = world.recorder.accept()
            assert read_exactly(server, len(sent)) == sent
            server.close()
        else:
            client.handshake()


@pytest.mark.parametrize("sends", [b"", b"\x16\x03\x01", "half"])
def test_hello_that_does_not_come(begin, dial, sends):
    stage = begin({"front": {"routes": [{"sni": "raw.example", "passthrough": "raw"}], "upstream": "a"}},
                  config={"timeouts": {"handshake": "1s"}})
    client = dial(stage["front"], handshake=False, sni="raw.example", hello_padding=6000)
    client.send(client.hello()[:5000] if sends == "half" else sends)
    assert client.stream_end() in ("eof", "reset")
    assert stage.line_at_end(client)["end"] == "handshake_timeout"


@any_layer
@pytest.mark.parametrize("sends", [b"", b"\x16\x03\x01", "half"])
def test_client_leaves_during_the_hello(front, dial, sends):
    client = dial(front["routed"], handshake=False, sni="raw.example")
    client.send(client.hello()[:100] if sends == "half" else sends)
    client.close()
    line = front.line(client)
    assert line["end"] == "handshake_failed" and "closed" in line["detail"]


def test_idle_through(begin, dial, world):
    stage = begin({"front": {"routes": [{"sni": "raw.example", "passthrough": "raw"}], "upstream": "a"}},
                  config={"timeouts": {"idle": "400ms"}})
    client = dial(stage["front"], handshake=False, sni="raw.example")
    sent = client.hello()
    client.send(sent)
    server = world.recorder.accept()
    assert read_exactly(server, len(sent)) == sent
    assert read_all(server) == (b"", "reset")
    server.close()
    assert read_all(client.sock)[0] == b""
    assert stage.line_at_end(client)["end"] == "idle_timeout"


NO_TLS = {
    "http": (b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "plain HTTP on the TLS port"),
    "http2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "plain HTTP on the TLS port"),
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n", "not a TLS handshake"),
    "sslv2": (b"\x80\x2e\x01\x03\x03\0\x15\0\0\0\x10" + bytes(35), "SSLv2-style ClientHello"),
}


@any_layer
@pytest.mark.parametrize("what", list(NO_TLS))
def test_no_tls(front, dial, what):
    """The same words and alerts with and without routes that pass streams through."""
    data, detail = NO_TLS[what]
    answers = []
    for listener in ("routed", "apart"):
        client = dial(front[listener], handshake=False)
        client.send(data)
        client.sock.shutdown(socket.SHUT_WR)
        answers.append(read_all(client.sock)[0])
        line = front.line_at_end(client)
        assert (line["end"], line["detail"]) == ("handshake_failed", detail)
    assert answers[0] == answers[1]


# ---- the configuration

def test_check_tells(work, world):
    path = os.path.join(work, "routes.yaml")
    config = {"listeners": [{"address": "127.0.0.1:8443", "tls": {"certificates": [dict(zip(("chain", "key"), world.front))]},
                             "routes": ROUTES + PROTOCOLS, "upstream": "default"}],
              "upstreams": [{"name": name, "servers": [{"address": addresses[0]}]} for name, addresses in world.upstreams().items()]}
    ringbolt.write_config(path, config)
    done = ringbolt.call("check", "-c", path)
    assert done.returncode == 0, done.stderr
    assert "route 4: *.pass.example pass.example, passed through to upstream tls\n" in done.stdout
    assert "route 6: h.example, alpn h2, to upstream h2c\n" in done.stdout and "route 3: no.example, rejected\n" in done.stdout
    config["listeners"][0]["routes"] += [{"sni": "z.b.example", "upstream": "a"}]
    ringbolt.write_config(path, config)
    done = ringbolt.call("check", "-c", path)
    assert done.returncode == 3 and "no client gets to this route" in done.stderr

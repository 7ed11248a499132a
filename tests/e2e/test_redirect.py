# SPDX-License-Identifier: Apache-2.0
"""Listeners that redirect, judged by curl, Python's http.client and raw sockets; ACME tokens; hostile requests."""
import http.client
import os
import re
import signal
import socket
import subprocess
import types

import pytest

import ringbolt

pytestmark = pytest.mark.any_layer

CHALLENGE = "/.well-known/acme-challenge/"


@pytest.fixture
def redirecting(work):
    """redirecting({"port": 8443}, config={…}, listener={…}): a proxy with one listener that redirects, and nothing else."""
    running = []

    def start(redirect=None, config=None, listener=None, host="127.0.0.1", **options):
        port = ringbolt.Port(host)
        proxy = ringbolt.Ringbolt(work, {
            "workers": 1, "log": {"format": "json"},
            "listeners": [{"name": "web", "address": port.text, "redirect": redirect or {}, **(listener or {})}],
            **(config or {})}, **options)
        running.append((proxy, port))
        return types.SimpleNamespace(proxy=proxy, address=port.address, url=f"http://{port.text}")

    yield start
    for proxy, port in running:
        if proxy.process.returncode is None:
            proxy.stop()
        port.close()


@pytest.fixture
def webroot(work):
    """What certbot calls it: the folder, and one for tokens in it that its client makes."""
    path = os.path.join(work, f"webroot-{os.urandom(4).hex()}")
    os.mkdir(path)
    return path


def make_token(webroot, name, content):
    folder = webroot + CHALLENGE
    os.makedirs(folder, exist_ok=True)
    with open(folder + name, "w", encoding="ascii") as f:
        f.write(content)


class Raw:
    """Bytes out, responses in."""

    def __init__(self, address):
        self.sock = socket.create_connection(address, 30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.name = "%s:%d" % self.sock.getsockname()[:2]
        self.buffer = b""

    def send(self, data, step=None):
        for at in range(0, len(data), step or len(data)):
            self.sock.sendall(data[at:at + (step or len(data))])

    def response(self):
        """(status, headers, content)"""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        assert len(headers) == len(lines)
        size = int(headers["content-length"])
        while len(self.buffer) < size:
            self.more()
        content, self.buffer = self.buffer[:size], self.buffer[size:]
        assert first.startswith("HTTP/1.1 ")
        return int(first.split(" ")[1]), headers, content

    def more(self):
        data = self.sock.recv(65536)
        assert data, "the connection was closed"
        self.buffer += data

    def is_at_end(self):
        """An end of file and no reset: what was answered arrived."""
        assert self.buffer == b""
        return self.sock.recv(1) == b""

    def close(self):
        self.sock.close()


def get(path="/", host="a.example", method="GET", version="1.1", more=""):
    return f"{method} {path} HTTP/{version}\r\nHost: {host}\r\n{more}\r\n".encode("latin-1")


def curl(*arguments):
    return subprocess.run(["curl", "-s", "--max-time", "30", *arguments], stdout=subprocess.PIPE, check=True, text=True).stdout


def line_of(running, client):
    return running.proxy.connection(client=client.name)


# ---- who is redirected

@pytest.mark.parametrize("redirect, host, location", [
    ({}, "a.example", "https://a.example/x?y=%20z"),
    ({}, "a.example:8080", "https://a.example/x?y=%20z"),
    ({"port": 443}, "[2001:db8::1]:80", "https://[2001:db8::1]/x?y=%20z"),
    ({"port": 8443}, "a.example:80", "https://a.example:8443/x?y=%20z"),
    ({"host": "www.example", "port": 8443}, "a.example", "https://www.example:8443/x?y=%20z"),
])
def test_curl(redirecting, redirect, host, location):
    running = redirecting(redirect)
    for options in ([], ["-0"], ["-I"], ["-d", "a=b"], ["-X", "DELETE"], ["-T", __file__]):
        said = curl("-o", os.devnull, "-w", "%{http_code} %{redirect_url}", "-H", f"Host: {host}", *options, running.url + "/x?y=%20z")
        assert said == f"308 {location}", options


def test_python(redirecting):
    running = redirecting()
    client = http.client.HTTPConnection(*running.address, timeout=30)
    sock = None
    for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "PATCH"):
        client.request(method, f"/{method}?q#f", headers={"Host": "a.example"})
        response = client.getresponse()
        assert response.status == 308 and response.reason == "Permanent Redirect" and response.read() == b""
        assert response.getheader("Location") == f"https://a.example/{method}?q#f"
        sock = sock or client.sock
        assert client.sock is sock  # kept alive
    client.request("POST", "/", b"x" * 100000)
    response = client.getresponse()
    assert response.status == 308 and response.getheader("Connection") == "close"
    client.close()
    line = running.proxy.connection(listener="web")
    assert line["requests"] == 7 and line["end"] == "done"
    assert "tls" not in line and "upstream" not in line and "handshake_ms" not in line


def test_ipv6(redirecting):
    running = redirecting(host="::1")
    assert curl("-o", os.devnull, "-w", "%{redirect_url}", running.url + "/a") == "https://[::1]/a"


def test_the_real_thing(nginx, work, certificates):
    """From http to a page: curl follows to the TLS listener beside it."""
    plain = ringbolt.Port()
    secure = ringbolt.Port()
    proxy = ringbolt.Ringbolt(work, {
        "workers": 2, "log": {"format": "json"},
        "listeners": [{"address": plain.text, "redirect": {"port": secure.address[1]}},
                      {"address": secure.text, "tls": {"certificates": certificates.config()}, "upstream": "app"}],
        "upstreams": [{"name": "app", "servers": [{"address": nginx.tcp}]}]})
    said = curl("-L", "-o", os.devnull, "-w", "%{http_code} %{num_redirects} %{scheme}", "--cacert", certificates.ca,
                f"http://localhost:{plain.address[1]}/")
    assert said.split()[1:] == ["1", "HTTPS"]
    proxy.stop()
    plain.close()
    secure.close()


# ---- how requests come

def test_pipelining(redirecting):
    running = redirecting()
    client = Raw(running.address)
    paths = [f"/{i}" for i in range(90)]
    client.send(b"".join(get(path) for path in paths))
    assert [client.response()[1]["location"] for _ in paths] == [f"https://a.example{path}" for path in paths]
    client.send(get("/last", more="Connection: close\r\n") + get("/never"))
    status, headers, _ = client.response()
    assert (status, headers["connection"]) == (308, "close")
    assert client.is_at_end()
    client.close()
    assert line_of(running, client)["requests"] == 91


def test_as_many_as_a_connection_gets(redirecting):
    running = redirecting()
    client = Raw(running.address)
    client.send(get() * 150)
    for _ in range(99):
        assert "connection" not in client.response()[1]
    assert client.response()[1]["connection"] == "close"
    assert client.is_at_end()
    client.close()
    assert line_of(running, client)["requests"] == 100


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 1000])
def test_in_pieces(redirecting, step):
    running = redirecting()
    client = Raw(running.address)
    for size in (1, 300, 5000, 8000):
        client.send(get("/" + "x" * size)[:-1], step=step)
        client.send(b"\n")
        assert client.response()[1]["location"] == "https://a.example/" + "x" * size
    client.close()
    assert line_of(running, client)["end"] == "done"


def test_heads_of_every_size(redirecting):
    running = redirecting()
    for size, status in ((8192, 308), (8193, 431), (100000, 431)):
        for padding in ("target", "header"):
            room = size - len(get(more="X: \r\n"))
            request = (get("/" + "x" * room, more="X: \r\n") if padding == "target" else get(more=f"X: {'x' * room}\r\n"))
            assert len(request) == size
            client = Raw(running.address)
            client.send(request)
            assert client.response()[0] == status
            if status == 431:
                assert client.is_at_end()
            client.close()
            line = line_of(running, client)
            assert line["end"] == ("done" if status == 308 else "bad_request")


def test_bodies_are_not_waited_for(redirecting):
    running = redirecting()
    for more in ("Content-Length: 1000000000\r\n", "Transfer-Encoding: chunked\r\n",
                 "Content-Length: 5\r\nExpect: 100-continue\r\n"):
        client = Raw(running.address)
        client.send(get(method="POST", more=more))
        assert client.response()[1]["connection"] == "close"
        assert client.is_at_end()
        client.close()


def test_a_body_does_not_cost_the_answer(redirecting):
    running = redirecting()
    client = Raw(running.address)
    client.send(get(method="POST", more="Content-Length: 500000\r\n") + b"GET / HTTP/1.1\r\nHost: b\r\n\r\n" * 15000)
    assert client.response()[1]["location"] == "https://a.example/"
    assert client.is_at_end()  # what came behind is no request
    client.close()


# ---- hostile ones

@pytest.mark.parametrize("request_bytes", [
    get(host=""), get(host="a b"), get(host="a\rb"), get(host="a\r\n X: y"), get(host="a\x00b"), get(host="u@a"), get(host="a:b"),
    get(host="a/b"), get(host="[::1"), get(host="a%0d%0aX: y"), get(host="x" * 300), get(host="\xe4.example"), get(host="a\r\nHost: b"),
    b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", get("/a\rSet-Cookie: x"), get("/a\x00"), get("/a\tb"), get(version="2.0"),
    get("a.example:443", method="CONNECT"), get("http://u@b/"), b"\x16\x03\x01\x00\x05hello\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00" * 100, b"SSH-2.0-x\r\n", get(more="Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), get(more="X\r\n"),
], ids=lambda value: re.sub(r"\W+", "_", repr(value[:60])))
def test_bad_requests(redirecting, request_bytes):
    running = redirecting()
    for step in (None, 1):
        client = Raw(running.address)
        try:
            client.send(request_bytes, step=step)
        except ConnectionError:
            pytest.fail("reset before the answer")
        status, headers, content = client.response()
        assert (status, content) == (400, b"")
        assert set(headers) == {"date", "content-length", "connection"}
        assert client.is_at_end()
        client.close()
        line = line_of(running, client)
        assert line["end"] == "bad_request" and line["detail"]


def test_no_header_is_injected(redirecting):
    running = redirecting()
    for path in ("/%0d%0aSet-Cookie:%20x", "/a\\r\\nb", "//evil.example", "/\xe4\xff", "/;a,b\"'<>"):
        client = Raw(running.address)
        client.send(get(path))
        status, headers, _ = client.response()
        assert status == 308 and headers["location"] == "https://a.example" + path
        assert set(headers) == {"date", "location", "content-length"}
        client.close()


# ---- tokens

def test_tokens(redirecting, webroot):
    running = redirecting({"acme": webroot})
    url = running.url + CHALLENGE
    code = ["-o", os.devnull, "-w", "%{http_code}"]
    assert curl(*code, url + "abc") == "404"  # not even the folder is there
    make_token(webroot, "abc-_XYZ", "abc-_XYZ.thumbprint")
    assert curl(url + "abc-_XYZ") == "abc-_XYZ.thumbprint"
    assert "Content-Length: 19" in curl("-I", url + "abc-_XYZ")
    assert curl(*code, running.url + "/other") == "308"
    assert curl(*code, "-d", "x", url + "abc-_XYZ") == "308"
    os.unlink(webroot + CHALLENGE + "abc-_XYZ")
    os.rmdir(webroot + CHALLENGE)
    os.rmdir(webroot + "/.well-known")  # as certbot leaves it
    assert curl(*code, url + "abc-_XYZ") == "404"
    make_token(webroot, "second", "again")
    assert curl(url + "second") == "again"
    client = Raw(running.address)  # all of it on one connection
    client.send(get(CHALLENGE + "second") + get(CHALLENGE + "second", method="HEAD")[:-2] + b"\r\n")
    assert client.response()[::2] == (200, b"again")
    client.close()


def test_tokens_lead_nowhere_else(redirecting, webroot, work):
    with open(os.path.join(work, "secret"), "w", encoding="ascii") as f:
        f.write("secret")
    running = redirecting({"acme": webroot})
    make_token(webroot, "good", "good")
    folder = webroot + CHALLENGE
    os.symlink(os.path.join(work, "secret"), folder + "link")
    os.symlink("good", folder + "inside")
    os.link(os.path.join(work, "secret"), folder + "name.with.dots")
    os.mkdir(folder + "folder")
    os.mkfifo(folder + "fifo")
    with open(folder + "large", "wb") as f:
        f.write(b"x" * 4097)
    with open(folder + "just", "wb") as f:
        f.write(b"x" * 4096)
    client = Raw(running.address)
    for name in ("link", "inside", "name.with.dots", "folder", "fifo", "large", "", ".", "..", "../../../secret", "..%2f..%2fsecret", "good/",
                 "good?x", "./good", "/good", "good%00", "a" * 200):
        client.send(get(CHALLENGE + name))
        status, _, content = client.response()
        assert (status, content) == (404, b""), name
    client.send(get(CHALLENGE + "just"))
    assert client.response()[2] == b"x" * 4096
    client.close()


def test_tokens_that_workers_may_not_read(redirecting, webroot):
    if os.geteuid() != 0:
        pytest.skip("only root's workers become somebody else")
    running = redirecting({"acme": webroot})
    make_token(webroot, "mine", "mine")
    os.chmod(webroot + CHALLENGE + "mine", 0o600)
    for _ in range(3):
        assert curl("-o", os.devnull, "-w", "%{http_code}", running.url + CHALLENGE + "mine") == "404"
    line = running.proxy.wait_for_log(lambda e: e["message"] == "cannot read an ACME token")
    assert line["listener"] == "web" and line["folder"] == webroot
    running.proxy.stop()
    assert sum(line["message"] == "cannot read an ACME token" for line in running.proxy.lines) == 1


def test_a_folder_that_is_not_there(work):
    path = os.path.join(work, "bad-redirect.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write('listeners:\n  - address: "127.0.0.1:0"\n    redirect:\n      acme: nowhere\n')
    for command in ("check", "run"):
        done = ringbolt.call(command, "-c", path)
        assert done.returncode == 3
        assert f"{path}:4:13: `acme` cannot be `{work}/nowhere`: No such file or directory" in done.stderr


def test_check_says_what_it_does(work, webroot):
    path = os.path.join(work, "good-redirect.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'listeners:\n  - address: "127.0.0.1:0"\n    redirect: {{ acme: "{webroot}", host: a.example, port: 444 }}\n')
    done = ringbolt.call("check", "-c", path)
    assert done.returncode == 0, done
    assert f"redirects to https://a.example:444, ACME tokens from {webroot}" in done.stdout


# ---- time, and ends

def test_timeouts(redirecting):
    running = redirecting(config={"timeouts": {"handshake": "2s", "idle": "1500ms"}})
    silent, slow, idle, second = (Raw(running.address) for _ in range(4))
    slow.send(get()[:-1])
    idle.send(get())
    second.send(get())
    assert idle.response()[0] == second.response()[0] == 308
    second.send(get()[:-1])
    for client in (silent, slow, idle, second):
        assert client.is_at_end()
        client.close()
    ends = {client: line_of(running, client)["end"] for client in (silent, slow, idle, second)}
    assert list(ends.values()) == ["handshake_timeout", "handshake_timeout", "idle_timeout", "handshake_timeout"]


def test_ends_of_clients(redirecting):
    running = redirecting()
    for sent, end in ((b"", "done"), (get(), "done"), (get()[:-2], "client_truncated")):
        client = Raw(running.address)
        client.send(sent) if sent else None
        if sent == get():
            client.response()
        client.sock.shutdown(socket.SHUT_WR)
        assert client.is_at_end()
        client.close()
        assert line_of(running, client)["end"] == end
    client = Raw(running.address)  # says all it has to say, and listens
    client.send(get())
    client.sock.shutdown(socket.SHUT_WR)
    assert client.response()[0] == 308
    assert client.is_at_end()
    client.close()


def test_drain(redirecting):
    running = redirecting()
    idle, within, new = (Raw(running.address) for _ in range(3))
    idle.send(get())
    assert idle.response()[0] == 308
    within.send(get())
    within.response()
    within.send(get()[:-1])
    new.send(get()[:5])
    running.proxy.process.send_signal(signal.SIGTERM)
    assert idle.is_at_end()
    for client, rest in ((within, get()[-1:]), (new, get()[5:])):
        client.send(rest)
        status, headers, _ = client.response()
        assert (status, headers["connection"]) == (308, "close")
        assert client.is_at_end()
    for client in (idle, within, new):
        client.close()
        assert line_of(running, client)["end"] == "done"
    running.proxy.finished()


def test_stop(redirecting):
    running = redirecting()
    idle, within = Raw(running.address), Raw(running.address)
    idle.send(get())
    idle.response()
    within.send(get()[:5])
    running.proxy.stop()
    for client in (idle, within):
        client.close()


def test_proxy_protocol(redirecting):
    running = redirecting(listener={"proxy_protocol": "any"})
    for rest in (get(), b""):
        client = Raw(running.address)
        client.send(b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n" + rest)
        if not rest:
            client.send(get())
        assert client.response()[1]["location"] == "https://a.example/"
        client.close()
        line = running.proxy.connection(client="203.0.113.7:4711", peer=client.name)
        assert line["end"] == "done" and line["requests"] == 1


def test_limits(redirecting):
    running = redirecting(config={"limits": {"connections_per_client": 2}})
    clients = [Raw(running.address) for _ in range(2)]
    for client in clients:
        client.send(get())
        assert client.response()[0] == 308
    with pytest.raises((ConnectionError, AssertionError)):
        third = Raw(running.address)
        third.send(get())
        third.response()
    for client in clients:
        client.close()

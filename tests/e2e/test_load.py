# SPDX-License-Identifier: Apache-2.0
"""ringbolt-bench in each of its modes, for a moment each: that what it reports is true. Its speed means nothing here."""
import hashlib
import os
import signal
import socket
import subprocess
import tempfile

import pytest

import backends
import load
import ringbolt

pytestmark = [pytest.mark.any_layer, pytest.mark.seconds(300)]

RECORDS = ["ringbolt", "openssl"]
VERSIONS = ["1.2", "1.3"]
BRIEF = ["--duration", "300ms", "--warm-up", "0"]
BIG = 3 * 1024 * 1024 + 17
SMALL = 100


class Site:
    """nginx with an access log and a folder that takes PUT, behind a proxy."""

    def __init__(self, work, start):
        self.work = tempfile.mkdtemp(prefix="site-", dir=work)  # where nginx's worker may look
        self.www = os.path.join(self.work, "www")
        os.makedirs(os.path.join(self.www, "up"))
        for path in (self.work, self.www):
            os.chmod(path, 0o755)
        os.chmod(os.path.join(self.www, "up"), 0o777)
        for name, size in (("big", BIG), ("small", SMALL)):
            with open(os.path.join(self.www, name), "wb") as f:
                f.write(load.pattern(size))
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        listener.set_inheritable(True)
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.log = os.path.join(self.work, "access.log")
        folders = "".join(f"{kind}_temp_path {self.work}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(os.path.join(self.work, "nginx.conf"), "w", encoding="utf-8") as f:
            f.write(f"daemon off; worker_processes 1; pid {self.work}/pid; error_log {self.work}/error.log warn;\n"
                    "events { worker_connections 4096; }\n"
                    f"http {{ {folders} access_log {self.log}; sendfile on; keepalive_requests 100;\n"
                    f"server {{ listen {self.address}; root \"{self.www}\"; client_max_body_size 1g;\n"
                    "location /up/ { dav_methods PUT; } } }\n")
        self.process = subprocess.Popen(["/usr/sbin/nginx", "-p", self.work, "-e", f"{self.work}/error.log", "-c",
                                         f"{self.work}/nginx.conf"], env={**os.environ, "NGINX": f"{listener.fileno()};"},
                                        stdin=subprocess.DEVNULL, pass_fds=[listener.fileno()])
        listener.close()
        self.stage = start({"http": [self.address]})

    def logged(self):
        """Requests that nginx has answered, once it has ended: then all is written."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(ringbolt.WAIT)
        with open(self.log, encoding="utf-8") as f:
            return f.read().splitlines()

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(ringbolt.WAIT)


@pytest.fixture
def site(work, start):
    running = Site(work, start)
    yield running
    running.close()


@pytest.fixture
def proxied(start, nginx, actor):
    return start({"http": [nginx.tcp], "app": [actor.address]})


def flags(listener, certificates, *more):
    return [f"localhost:{listener.number}", "--ca", certificates.ca, *more]


def check_sums(found):
    """What must hold in every report without errors."""
    assert found["errors"]["total"] == 0 and not found["errors"]["kinds"], found["errors"]
    assert found["units"]["count"] <= found["units"]["whole_run"]
    assert sum(kind["count"] for kind in found["tls"]) == found["connections"]["handshakes"]
    for name in ("latency_us", "handshake_us"):
        latency = found[name]
        if latency["count"]:
            row = [latency[key] for key in ("min", "p50", "p90", "p99", "p99.9", "p99.99", "max")]
            assert row == sorted(row) and latency["min"] <= latency["mean"] <= latency["max"]
    assert found["client"]["bottleneck"] in (True, False)
    return found


# ---- handshakes

@pytest.mark.parametrize("resume", [False, True], ids=["full", "resumed"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("records", RECORDS)
def test_handshakes(proxied, certificates, records, version, resume):
    since = proxied.proxy.mark()
    found = check_sums(load.report("handshakes", *flags(proxied["http"], certificates, "--tls", version, "--records", records,
                                                        "--count", 60, "--connections", 5, "--key", "rsa"),
                                   *(["--resume"] if resume else [])))
    assert {kind["version"] for kind in found["tls"]} == {f"TLSv{version}"}
    assert {kind["key"] for kind in found["tls"]} == {"RSA-2048"}
    counts = {kind["resumed"]: kind["count"] for kind in found["tls"]}
    assert found["units"] == {**found["units"], "name": "handshakes", "count": 60, "whole_run": 60}
    assert found["latency_us"]["count"] == 60
    if resume:
        assert counts[True] == 60 and counts[False] == found["connections"]["primers"] <= 5
    else:
        assert counts == {False: 60}
    lines = proxied.proxy.connections(found["connections"]["handshakes"], since)
    assert sum(line["resumed"] for line in lines) == counts.get(True, 0)
    assert {line["tls"] for line in lines} == {f"TLSv{version}"}


@pytest.mark.parametrize("version,key,group,suite", [
    ("1.3", "ecdsa", "X25519", "TLS_CHACHA20_POLY1305_SHA256"),
    ("1.3", "rsa", "P-256", "TLS_AES_256_GCM_SHA384"),
    ("1.2", "ecdsa", "P-256", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("1.2", "rsa", "X25519", "ECDHE-RSA-CHACHA20-POLY1305"),
])
@pytest.mark.parametrize("records", RECORDS)
def test_what_was_agreed(proxied, certificates, records, version, key, group, suite):
    """Each suite carries data in both directions, and the report says what it was."""
    found = check_sums(load.report(
        "requests", *flags(proxied["app"], certificates, "--raw", "--preamble", "echo agreed\\n", "--size", "70000", "--count", 20,
                           "--connections", 2, "--records", records, "--tls", version, "--key", key, "--groups", group,
                           "--ciphersuites" if version == "1.3" else "--ciphers", suite)))
    kind, = found["tls"]
    assert (kind["version"], kind["group"], kind["suite"]) == (f"TLSv{version}", group, suite)
    assert kind["key"] == ("RSA-2048" if key == "rsa" else "ECDSA P-256")
    assert found["bytes"]["received"] == found["bytes"]["sent"] == 20 * 70000


# ---- requests

@pytest.mark.parametrize("records", RECORDS)
def test_requests_are_those_that_the_server_saw(site, certificates, records):
    found = check_sums(load.report("requests", *flags(site.stage["http"], certificates, "--records", records, "--path", "/small",
                                                      "--length", SMALL, "--verify", "--connections", 8, "--threads", 2, *BRIEF)))
    logged = site.logged()
    assert found["units"]["whole_run"] == len(logged) > 0
    assert all(f'"GET /small HTTP/1.1" 200 {SMALL} ' in line for line in logged)
    assert found["bytes"]["received_whole_run"] == SMALL * len(logged)
    assert found["units"]["count"] <= found["latency_us"]["count"] <= len(logged)
    assert found["connections"]["open_at_start"] == 8
    # nginx closes after 100 requests, and that is no error.
    # Those that were closed at the very end are not opened again.
    assert 0 <= found["connections"]["reopened"] - (found["connections"]["handshakes"] - 8) <= 8
    assert found["connections"]["handshakes"] >= len(logged) / 100


def test_requests_at_a_rate(site, certificates):
    found = check_sums(load.report("requests", *flags(site.stage["http"], certificates, "--path", "/small", "--rate", 400, "--threads",
                                                      2, "--connections", 4, "--duration", "500ms", "--warm-up", "250ms")))
    unsent = found["units"]["unsent"]  # none, unless the machine stood still at the end
    assert found["latency_us"]["count"] == found["service_us"]["count"] + unsent == 200
    assert found["units"]["whole_run"] == len(site.logged()) == 300 - unsent
    assert found["latency_us"]["p50"] >= found["service_us"]["p50"]


def test_a_rate_too_high(proxied, certificates):
    """Nobody answers a million requests a second on one connection: what was due and not sent counts in the latencies."""
    found = load.report("requests", *flags(proxied["http"], certificates, "--path", "/api", "--rate", 1000000, "--connections", 1, *BRIEF))
    assert found["errors"]["total"] == 0
    assert found["units"]["unsent"] > 0
    assert found["latency_us"]["count"] == found["service_us"]["count"] + found["units"]["unsent"] == 300000
    assert found["latency_us"]["p50"] > found["service_us"]["p50"]
    assert b"the rate was too high" in load.call("requests", *flags(proxied["http"], certificates, "--path", "/api", "--rate", 1000000,
                                                                    "--connections", 1, *BRIEF)).stdout


@pytest.mark.parametrize("size", [1, 100, 16384, 300000])
def test_echo(proxied, certificates, actor, tag, size):
    found = check_sums(load.report("requests", *flags(proxied["app"], certificates, "--raw", "--preamble", f"echo {tag}\\n", "--size", size,
                                                      "--count", 50, "--connections", 1)))
    assert found["units"] == {**found["units"], "name": "echoes", "count": 50}
    session = actor.session(tag)
    assert session.finished.wait(ringbolt.WAIT) and session.end == "eof"
    assert session.received == 50 * size == found["bytes"]["sent"] == found["bytes"]["received"]
    assert session.digest.hexdigest() == hashlib.sha256(load.pattern(50 * size)).hexdigest()


def test_churn(site, certificates):
    found = check_sums(load.report("churn", *flags(site.stage["http"], certificates, "--path", "/small", "--length", SMALL, "--resume",
                                                   "--count", 40, "--connections", 4)))
    assert found["units"]["whole_run"] == 40
    primers = found["connections"]["primers"]
    assert 1 <= primers <= 4 and found["connections"]["handshakes"] == 40 + primers
    assert len(site.logged()) == 40 + primers


# ---- bulk

@pytest.mark.parametrize("records", RECORDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_download(site, certificates, records, version):
    sum_ = hashlib.sha256(load.pattern(BIG)).hexdigest()
    found = check_sums(load.report("download", *flags(site.stage["http"], certificates, "--records", records, "--tls", version, "--path",
                                                      "/big", "--length", BIG, "--sha256", sum_, "--verify", "--count", 6)))
    assert found["units"]["count"] == 6 == len(site.logged())
    assert found["bytes"]["received"] == 6 * BIG


def test_download_is_cut_at_the_end(site, certificates):
    found = check_sums(load.report("download", *flags(site.stage["http"], certificates, "--path", "/big", "--verify", *BRIEF)))
    assert found["bytes"]["received_whole_run"] >= found["units"]["whole_run"] * BIG
    assert found["units"]["cut"] <= 4


def test_raw_download(proxied, certificates):
    sum_ = backends.Pattern().digest(BIG)
    found = check_sums(load.report("download", *flags(proxied["app"], certificates, "--raw", "--preamble", f"send down {BIG}\\n", "--size",
                                                      BIG, "--sha256", sum_, "--count", 5, "--connections", 2)))
    assert found["units"]["count"] == 5 and found["bytes"]["received"] == 5 * BIG


@pytest.mark.parametrize("records", RECORDS)
def test_upload(site, certificates, records):
    found = check_sums(load.report("upload", *flags(site.stage["http"], certificates, "--records", records, "--path", "/up/file",
                                                    "--size", BIG, "--count", 3, "--connections", 1)))
    assert found["units"]["count"] == 3 and found["bytes"]["sent"] == 3 * BIG
    assert [line.split('"')[1] for line in site.logged()] == ["PUT /up/file HTTP/1.1"] * 3
    with open(os.path.join(site.www, "up", "file"), "rb") as f:
        assert f.read() == load.pattern(BIG)


@pytest.mark.parametrize("version", VERSIONS)
def test_raw_upload(proxied, certificates, actor, tag, version):
    found = check_sums(load.report("upload", *flags(proxied["app"], certificates, "--raw", "--preamble", f"sink {tag}\\n", "--size", BIG,
                                                    "--tls", version, "--count", 1, "--connections", 1)))
    assert found["units"]["count"] == 1 and found["bytes"]["sent"] == BIG
    session = actor.session(tag)
    assert session.finished.wait(ringbolt.WAIT) and session.received == BIG
    assert session.digest.hexdigest() == hashlib.sha256(load.pattern(BIG)).hexdigest()


def test_pattern_of_a_file(proxied, certificates, actor, tag, tmp_path):
    (tmp_path / "p").write_bytes(b"abc")
    check_sums(load.report("upload", *flags(proxied["app"], certificates, "--raw", "--preamble", f"sink {tag}\\n", "--size", 100000,
                                            "--pattern", tmp_path / "p", "--count", 1, "--connections", 1)))
    session = actor.session(tag)
    assert session.finished.wait(ringbolt.WAIT)
    assert session.digest.hexdigest() == hashlib.sha256((b"abc" * 33334)[:100000]).hexdigest()


def test_both(site, certificates):
    os.symlink(os.path.join(site.www, "big"), os.path.join(site.www, "up", "same"))
    found = load.report("both", *flags(site.stage["http"], certificates, "--path", "/up/same", "--size", BIG, "--connections", 4, *BRIEF),
                        "--allow-errors")
    # nginx puts a new file in the place of the one that is read.
    assert found["errors"]["total"] == 0, found["errors"]
    methods = {line.split('"')[1].split()[0] for line in site.logged()}
    assert methods == {"GET", "PUT"}
    assert found["bytes"]["received"] > 0 and found["bytes"]["sent"] > 0


@pytest.mark.parametrize("records", RECORDS)
def test_raw_both(proxied, certificates, actor, tag, records):
    found = check_sums(load.report("both", *flags(proxied["app"], certificates, "--raw", "--preamble", f"echo {tag}\\n", "--size", BIG,
                                                  "--records", records, "--count", 1, "--connections", 1)))
    assert found["bytes"]["received"] == found["bytes"]["sent"] == BIG
    session = actor.session(tag)
    assert session.finished.wait(ringbolt.WAIT) and session.end == "eof"


def test_raw_both_without_end(proxied, certificates, actor):
    found = check_sums(load.report("both", *flags(proxied["app"], certificates, "--raw", "--preamble", "echo endless\\n", *BRIEF)))
    assert found["units"]["cut"] == 4 and 0 < found["bytes"]["received_whole_run"] <= found["bytes"]["sent_whole_run"]


# ---- idle

def test_idle(proxied, certificates):
    since = proxied.proxy.mark()
    reader, writer = os.pipe()
    process = load.start("idle", *flags(proxied["http"], certificates, "--path", "/api", "--connections", 300, "--duration", "300ms",
                                        "--check-alive", "--threads", 2, "--json", "--notify", writer), pass_fds=[writer])
    os.close(writer)
    with os.fdopen(reader) as notes:
        assert notes.readline() == "open 300\n"
        assert notes.read() == "measure\nend\n"
    output, complaints = process.communicate(timeout=ringbolt.WAIT)
    found = check_sums(load.check(output, complaints, process.returncode, 0))
    connections = found["connections"]
    assert (connections["asked"], connections["open_at_start"], connections["open_at_end"]) == (300, 300, 300)
    assert found["units"]["whole_run"] == 300
    assert len(proxied.proxy.connections(300, since)) == 300


# ---- around it

def test_table(proxied, certificates):
    done = load.call("requests", *flags(proxied["http"], certificates, "--path", "/api", "--count", 20, "--connections", 2))
    text = done.stdout.decode()
    assert done.returncode == 0 and not done.stderr
    assert "TLSv1.3" in text and "20 in " in text and "p99.99" in text and "errors         0" in text


def test_fewer_units_than_threads(proxied, certificates):
    found = check_sums(load.report("requests", *flags(proxied["http"], certificates, "--path", "/api", "--count", 1, "--connections", 4,
                                                      "--threads", 3)))
    assert found["units"]["whole_run"] == 1 and found["threads"] == 3 == len(found["client"]["threads"])


def test_signal_ends_it_early(proxied, certificates):
    reader, writer = os.pipe()
    process = load.start("requests", *flags(proxied["http"], certificates, "--path", "/api", "--duration", "1h", "--warm-up", "0", "--json",
                                            "--notify", writer), pass_fds=[writer])
    os.close(writer)
    with os.fdopen(reader) as notes:
        while notes.readline() != "measure\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, complaints = process.communicate(timeout=ringbolt.WAIT)
        assert notes.read() == "end\n"
    found = check_sums(load.check(output, complaints, process.returncode, 0))
    assert found["interrupted"] is True and found["seconds"] < 3000


def test_progress_is_for_terminals(proxied, certificates):
    arguments = ["requests", *flags(proxied["http"], certificates, "--path", "/api", "--duration", "700ms", "--warm-up", "0")]
    assert load.call(*arguments).stderr == b""
    master, slave = os.openpty()
    process = subprocess.Popen([load.find(), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            more = os.read(master, 4096)
        except OSError:  # EIO: the last one has closed it
            break
        if not more:
            break
        shown += more
    os.close(master)
    assert process.communicate(timeout=ringbolt.WAIT)[0] and process.returncode == 0
    assert b"requests/s" in shown and shown.endswith(b"\r\x1b[K")


def test_alpn(start, nginx, certificates):
    stage = start({"http": [nginx.tcp]}, tls={"http": {"alpn": ["http/1.1"]}})
    found = check_sums(load.report("requests", *flags(stage["http"], certificates, "--path", "/api", "--alpn", "h2,http/1.1", "--count",
                                                      4, "--connections", 2)))
    assert [kind["alpn"] for kind in found["tls"]] == ["http/1.1"]


def test_addresses(certificates, tmp_path):
    for options in ({"host": "::1"}, {"path": str(tmp_path / "s.sock")}, {}):
        server = load.Server(certificates, load.serve_requests(lambda _count: load.answer(b"hello")), **options)
        name = ["--name", "localhost"] if "path" in options else []
        try:
            found = check_sums(load.report("requests", server.address, "--ca", certificates.ca, "--length", 5, "--count", 10,
                                           "--connections", 2, *name))
        finally:
            server.close()
        assert found["units"]["count"] == 10


@pytest.mark.parametrize("arguments,complaint", [
    ([], "the mode is missing"),
    (["dance", "localhost:1"], "no such mode"),
    (["requests"], "address is missing"),
    (["requests", "localhost"], "localhost: "),
    (["requests", "localhost:1", "localhost:2"], "more than one address"),
    (["requests", "unix:/x"], "--name NAME or --insecure"),
    (["requests", "localhost:1", "--fast"], "--fast: there is no such option"),
    (["requests", "localhost:1", "--rate"], "--rate: its value is missing"),
    (["requests", "localhost:1", "--rate", "0"], "--rate 0"),
    (["requests", "localhost:1", "--duration", "10"], "--duration 10"),
    (["requests", "localhost:1", "--threads", "0"], "--threads 0"),
    (["requests", "localhost:1", "--threads", "3", "--connections", "2"], "3 threads for 2 connections"),
    (["requests", "localhost:1", "--raw"], "needs --size"),
    (["requests", "localhost:1", "--resume"], "--resume is for handshakes and churn"),
    (["requests", "localhost:1", "--tls", "1.1"], "--tls 1.1"),
    (["requests", "localhost:1", "--records", "kernel"], "--records kernel"),
    (["requests", "localhost:1", "--sha256", "abc"], "--sha256 abc"),
    (["requests", "localhost:1", "--preamble", "x"], "--preamble is for --raw"),
    (["download", "localhost:1", "--raw", "--preamble", "\\q"], "--preamble"),
    (["upload", "localhost:1"], "needs --size"),
    (["idle", "localhost:1", "--count", "3"], "--count"),
    (["requests", "localhost:1", "--alpn", "a,,b"], "--alpn a,,b"),
])
def test_usage(arguments, complaint):
    done = load.call(*arguments)
    assert done.returncode == 2 and not done.stdout
    assert complaint in done.stderr.decode() and "see ringbolt-bench --help" in done.stderr.decode()


@pytest.mark.parametrize("arguments,complaint", [
    (["--ca", "/nonexistent/ca.pem"], "--ca /nonexistent/ca.pem"),
    (["--ciphersuites", "NO_SUCH"], "--ciphersuites NO_SUCH"),
    (["--groups", "NO_SUCH"], "--groups NO_SUCH"),
    (["--pattern", "/nonexistent/pattern"], "--pattern /nonexistent/pattern"),
])
def test_what_cannot_begin(arguments, complaint):
    done = load.call("requests", "localhost:1", *arguments, "--threads", 2)
    assert done.returncode == 1 and complaint in done.stderr.decode() and not done.stdout


def test_help_and_version():
    assert load.call("--version").stdout.startswith(b"ringbolt-bench ")
    text = load.call("--help").stdout.decode()
    assert all(mode in text for mode in ("handshakes", "requests", "churn", "download", "upload", "both", "idle", "pattern"))

# SPDX-License-Identifier: Apache-2.0
"""ringbolt-bench against servers that fail: each failure is counted, and by its name."""
import array
import fcntl
import os
import signal
import socket
import ssl
import subprocess
import termios
import threading

import pytest

import load
import ringbolt

pytestmark = [pytest.mark.any_layer, pytest.mark.seconds(300)]

RECORDS = ["ringbolt", "openssl"]
FEW = ["--count", "3", "--connections", "1", "--timeout", "20s"]


@pytest.fixture
def serve(certificates):
    servers = []

    def make(behave, **options):
        servers.append(load.Server(certificates, behave, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def failing(mode, address, certificates, *arguments):
    """The failures of a run that must have some, and its whole report."""
    found = load.report(mode, address, "--ca", certificates.ca, "--name", "localhost", *arguments, status=1)
    errors = found["errors"]
    assert errors["total"] == sum(errors["kinds"].values()) > 0
    return errors["kinds"], found


# ---- ahead of TLS

def test_refused(certificates):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        kinds, found = failing("requests", f"127.0.0.1:{unused.getsockname()[1]}", certificates, *FEW)
    assert set(kinds) == {"connect_refused"} and found["units"]["whole_run"] == 0 and found["given_up"] is True


def test_no_such_socket(certificates, tmp_path):
    kinds, found = failing("requests", f"unix:{tmp_path}/none", certificates, *FEW)
    assert set(kinds) == {"connect_failed"} and "No such file" in found["errors"]["details"]["connect_failed"]


@pytest.mark.parametrize("mode", ["handshakes", "requests"])
def test_closed_in_the_handshake(serve, certificates, mode):
    def behave(sock, _number):
        sock.recv(65536)

    kinds, _ = failing(mode, serve(behave, plain=True).address, certificates, *FEW)
    assert set(kinds) == {"handshake_closed"}


def test_reset_in_the_handshake(serve, certificates):
    def behave(sock, _number):
        sock.recv(1)
        load.reset(sock)

    kinds, _ = failing("handshakes", serve(behave, plain=True).address, certificates, *FEW)
    assert set(kinds) == {"handshake_reset"}


def test_silence_in_the_handshake(serve, certificates):
    def behave(sock, _number):
        while sock.recv(65536):
            pass

    kinds, found = failing("requests", serve(behave, plain=True).address, certificates, "--timeout", "100ms", *FEW[:4])
    assert set(kinds) == {"handshake_timeout"} and found["connections"]["handshakes"] == 0


def test_not_tls(serve, certificates):
    def behave(sock, _number):
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        sock.recv(65536)

    kinds, _ = failing("requests", serve(behave, plain=True).address, certificates, *FEW)
    assert set(kinds) == {"handshake_refused"}


# ---- the handshake

def test_alert_by_name(start, nginx, certificates):
    stage = start({"http": [nginx.tcp]}, tls={"http": {"min_version": "1.3"}})
    kinds, found = failing("handshakes", stage["http"].port.text, certificates, "--tls", "1.2", *FEW)
    assert set(kinds) == {"handshake_alert"}
    assert found["errors"]["handshake_alerts"] == {"protocol_version": kinds["handshake_alert"]}


@pytest.mark.parametrize("records", RECORDS)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_certificate_required(start, nginx, certificates, records, version):
    """In TLS 1.3 the alert comes when this client believes that all is done: it doesn't count as a handshake all the same."""
    stage = start({"http": [nginx.tcp]}, tls={"http": {"client_auth": {"mode": "required", "ca": certificates.ca}}})
    kinds, found = failing("handshakes", stage["http"].port.text, certificates, "--tls", version, "--records", records, *FEW)
    assert found["units"]["whole_run"] == 0
    if version == "1.2":
        assert set(kinds) == {"handshake_alert"}
    else:
        assert set(kinds) == {"alert"} and set(found["errors"]["alerts"]) == {"certificate_required"}


def test_verification(serve, certificates):
    address = serve(load.serve_requests(lambda _count: load.answer(b"x"))).address
    done = load.report("requests", address, "--name", "localhost", *FEW, status=1)
    assert set(done["errors"]["kinds"]) == {"handshake_refused"}
    kinds, found = failing("requests", address, certificates, "--name", "elsewhere.example", *FEW)
    assert set(kinds) == {"handshake_refused"} and "hostname" in found["errors"]["details"]["handshake_refused"].lower()
    assert load.report("requests", address, "--insecure", *FEW)["units"]["count"] == 3
    assert load.report("requests", address, "--ca", certificates.ca, *FEW)["units"]["count"] == 3  # 127.0.0.1 is in it


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_no_ticket(serve, certificates, version):
    server = serve(load.serve_requests(lambda _count: load.answer(b"x")), version=version)
    server.context.num_tickets = 0
    server.context.options |= ssl.OP_NO_TICKET
    for records in RECORDS:
        for mode in ("handshakes", "churn") if version == "1.3" else ():  # TLS 1.2 would resume by session id
            kinds, found = failing(mode, server.address, certificates, "--resume", "--records", records, *FEW)
            assert set(kinds) == {"no_ticket"} and found["units"]["whole_run"] == 0


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_not_resumed(certificates, version):
    """A server whose ticket keys change with every connection."""
    server = load.Server(certificates, lambda tls, _number: load.say_goodbye(tls), version=version)
    server.context = server.make_context
    try:
        kinds, found = failing("handshakes", server.address, certificates, "--resume", *FEW)
    finally:
        server.close()
    assert set(kinds) == {"not_resumed"} and found["units"]["whole_run"] == 0


# ---- afterwards

def after(tls, what, bytes_=b""):
    """Answers a request with half of what it announces, and then fails in one way or another."""
    if not load.read_request(tls):
        return
    if what == "truncated":
        tls.sendall(load.answer(b"x" * 50, length=100))
        socket.socket.shutdown(tls, socket.SHUT_WR)  # TCP's end without TLS's
    elif what == "closed_early":
        tls.sendall(load.answer(b"x" * 50, length=100))
        load.say_goodbye(tls)
    elif what == "reset":
        tls.sendall(load.answer(b"x" * 50, length=100))
        load.reset(tls)
    elif what == "bad_record":
        load.write_below(tls, bytes_)
        load.read_request(tls)
    elif what == "timeout":
        load.read_request(tls)
    else:
        tls.sendall(bytes_)
        load.read_request(tls)


FORGED = b"\x17\x03\x03\x00\x30" + bytes(48)
WRONG = [
    ("truncated", b"", []),
    ("closed_early", b"", []),
    ("reset", b"", []),
    ("bad_record", FORGED, []),
    ("bad_record", b"\x17\x03\x03\xff\xff" + bytes(100), []),
    ("timeout", b"", ["--timeout", "2s"]),
    ("bad_response", b"SSH-2.0-OpenSSH\r\n\r\n", []),
    ("bad_response", load.answer(b"hello") + b"more", []),
    ("wrong_status", load.answer(b"no", status="500 Oops"), []),
    ("wrong_status", load.answer(b"ok"), ["--status", "404"]),
    ("wrong_length", load.answer(b"hello"), ["--length", "6"]),
    ("wrong_checksum", load.answer(b"hello"), ["--sha256", "0" * 64]),
    ("wrong_bytes", load.answer(b"hello"), ["--verify"]),
]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("records", RECORDS)
@pytest.mark.parametrize("what,sent,arguments", WRONG, ids=[f"{i}-{row[0]}" for i, row in enumerate(WRONG)])
def test_wrong_answers(serve, certificates, records, version, what, sent, arguments):
    server = serve(lambda tls, _number: after(tls, what, sent), version=version)
    kinds, found = failing("requests", server.address, certificates, "--records", records, "--count", 1, "--connections", 1, "--timeout",
                           "20s", *arguments)
    assert set(kinds) == {what}
    assert found["units"]["whole_run"] == 0 and found["units"]["count"] == 0


def test_errors_may_be_allowed(serve, certificates):
    address = serve(load.serve_requests(lambda count: load.answer(b"x", status="200 OK" if count % 2 else "503 No"))).address
    found = load.report("requests", address, "--ca", certificates.ca, "--count", 10, "--connections", 1, "--allow-errors")
    assert found["errors"]["kinds"] == {"wrong_status": 5} and found["units"]["whole_run"] == 5
    assert found["errors"]["details"] == {"wrong_status": "status 503"}


def test_idle_connection_is_closed(certificates):
    """One of three is closed by the server while it is held."""
    reader, writer = os.pipe()
    closed = threading.Event()
    with os.fdopen(reader) as notes:
        def behave(tls, number):
            if number == 2:
                assert notes.readline() == "open 3\n"
                load.say_goodbye(tls)  # waits for the client's
                closed.set()
            else:
                load.read_request(tls)

        server = load.Server(certificates, behave)
        process = load.start("idle", server.address, "--ca", certificates.ca, "--connections", 3, "--duration", "1h", "--json", "--notify",
                             writer, pass_fds=[writer])
        os.close(writer)
        assert closed.wait(ringbolt.WAIT)
        process.send_signal(signal.SIGINT)
        output, complaints = process.communicate(timeout=ringbolt.WAIT)
        server.close()
    found = load.check(output, complaints, process.returncode, 1)
    assert found["errors"]["kinds"] == {"closed_idle": 1}
    assert (found["connections"]["open_at_start"], found["connections"]["open_at_end"]) == (3, 2)


def test_echo_of_other_bytes(serve, certificates):
    def behave(tls, _number):
        data = tls.recv(65536)
        tls.sendall(data[:-1] + bytes([data[-1] ^ 1]))
        tls.recv(1)

    kinds, _ = failing("requests", serve(behave).address, certificates, "--raw", "--size", "1000", *FEW)
    assert set(kinds) == {"wrong_bytes"}


def test_stream_of_another_length(serve, certificates):
    def behave(tls, _number):
        tls.recv(65536)
        tls.sendall(b"12345")
        load.say_goodbye(tls)

    address = serve(behave).address
    for size in (4, 6):
        kinds, _ = failing("download", address, certificates, "--raw", "--preamble", "go", "--size", size, *FEW)
        assert set(kinds) == {"wrong_length"}


def test_suite_that_our_records_lack(serve, certificates):
    server = serve(load.serve_requests(lambda _count: load.answer(b"x")), version="1.2")
    server.context.set_ciphers("ECDHE+AES128+SHA256")
    suite = ["--ciphers", "ECDHE-ECDSA-AES128-SHA256", "--tls", "1.2"]
    kinds, found = failing("requests", server.address, certificates, *suite, *FEW)
    assert set(kinds) == {"internal"} and "--records openssl" in found["errors"]["details"]["internal"]
    assert load.report("requests", server.address, "--ca", certificates.ca, *suite, "--records", "openssl", *FEW)["units"]["count"] == 3


# ---- another server

class OpensslServer:
    """`openssl s_server`, which does what it is told by its standard input."""

    def __init__(self, certificates):
        with socket.socket() as chosen:  # it can't be given a socket, nor say which port it got
            chosen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            chosen.bind(("127.0.0.1", 0))
            self.port = chosen.getsockname()[1]
        chain, key = certificates.ecdsa
        self.process = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert", chain, "-key", key, "-tls1_3",
                                         "-nbio", "-naccept", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.seen = self.output = b""
        self.wait_for(b"ACCEPT")

    def wait_for(self, text):
        while text not in self.seen:
            more = os.read(self.process.stdout.fileno(), 4096)
            assert more, self.seen
            self.seen += more
            self.output += more
        self.seen = self.seen[self.seen.index(text) + len(text):]

    def say(self, text):
        """It takes a command only at the start of what it reads at once, so the next must not come too soon."""
        self.process.stdin.write(text)
        self.process.stdin.flush()
        waiting = array.array("i", [1])

        def is_read():
            fcntl.ioctl(self.process.stdin.fileno(), termios.FIONREAD, waiting)
            return waiting[0] == 0

        ringbolt.wait_until(is_read, "s_server has read its input")

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=ringbolt.WAIT)


@pytest.mark.parametrize("records", RECORDS)
def test_key_update(certificates, tmp_path, records):
    """Between three echoes, of which this test is the echo, the server changes its keys and asks for ours to change."""
    (tmp_path / "line").write_bytes(b"a line\n")
    server = OpensslServer(certificates)
    try:
        process = load.start("requests", f"127.0.0.1:{server.port}", "--ca", certificates.ca, "--raw", "--size", 7, "--pattern",
                             tmp_path / "line", "--records", records, "--count", 3, "--connections", 1, "--timeout", "60s", "--json")
        for _ in range(3):
            server.wait_for(b"a line\n")
            server.say(b"K\n")
            server.say(b"a line\n")
        output, complaints = process.communicate(timeout=ringbolt.WAIT)
        found = load.check(output, complaints, process.returncode, 0)
        assert found["units"]["count"] == 3 and found["bytes"]["received"] == found["bytes"]["sent"] == 21
        server.wait_for(b"CONNECTION CLOSED")  # by our close_notify
    finally:
        server.close()
    assert server.output.count(b"SSL_do_handshake -> 1\n") == 3  # how it answers K
    assert b"ERROR" not in server.output and b"error" not in server.output, server.output

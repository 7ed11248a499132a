# SPDX-License-Identifier: Apache-2.0
"""What a correct client may do and few do: records of every shape, KeyUpdates, half-closes, and ends of every kind."""
import hashlib
import json
import os
import socket
import subprocess
import threading

import pytest

import backends
import rawtls
import ringbolt

VERSIONS = ["1.2", "1.3"]
both_versions = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(scope="session")
def kernel_rekeys():
    """Whether this kernel can replace keys (Linux 6.14 and later)."""
    output = subprocess.run([ringbolt.BINARY, "probe", "--json"], stdout=subprocess.PIPE, check=True).stdout

    def find(value):
        if isinstance(value, dict):
            if "rekey" in value:
                return value["rekey"]
            return next((found for found in map(find, value.values()) if found is not None), None)
        return None

    found = find(json.loads(output))
    assert isinstance(found, bool), f"ringbolt probe --json does not say whether the kernel can rekey: {output}"
    return found


@both_versions
def test_first_request_in_the_segment_of_finished(stage, dial, version):
    client = dial(stage["app"], handshake=False, version=version)
    client.handshake(first_data=b"echo x\nhello")
    assert client.read(5) == b"hello"


@both_versions
def test_much_data_in_the_segment_of_finished(stage, dial, tag, version):
    """More than one buffer of it, the last record cut in the middle."""
    client = dial(stage["app"], handshake=False, version=version)
    data = os.urandom(50000)
    client.send(client.hello())
    client.server_flight()
    whole = client.final_flight() + client.seal(rawtls.DATA, f"sink {tag}\n".encode())
    whole += b"".join(client.seal(rawtls.DATA, data[i:i + 9000]) for i in range(0, len(data), 9000))
    client.send(whole[:-4321])
    if version == "1.2":
        client.server_finished()
    client.send(whole[-4321:])
    client.close_notify()
    answer, end = client.read_to_end()
    assert answer.decode() == f"{len(data)} {hashlib.sha256(data).hexdigest()}\n" and end == "close_notify"


@both_versions
def test_one_byte_a_record(stage, dial, version):
    client = dial(stage["app"], version=version)
    text = b"echo x\n" + os.urandom(500)
    client.send(b"".join(client.seal(rawtls.DATA, bytes([byte])) for byte in text))
    assert client.read(500) == text[7:]


@both_versions
def test_one_byte_a_segment(stage, dial, version):
    """A record that arrives byte by byte, so that every cut through header, nonce, body and tag happens."""
    client = dial(stage["app"], version=version)
    for byte in client.seal(rawtls.DATA, b"echo x\nhello"):
        client.send(bytes([byte]))
    assert client.read(5) == b"hello"


@both_versions
def test_hello_in_tiny_records(stage, dial, version):
    client = dial(stage["app"], handshake=False, version=version)
    client.handshake(first_data=b"echo x\nhello", record_size=7)
    assert client.read(5) == b"hello"


@both_versions
def test_hello_of_many_kilobytes(stage, dial, version):
    """A ClientHello in several records, as large key shares make it."""
    client = dial(stage["app"], handshake=False, version=version, hello_padding=12000)
    client.handshake(first_data=b"echo x\nhello", record_size=4096)
    assert client.read(5) == b"hello"


@both_versions
def test_empty_records_between(stage, dial, version):
    client = dial(stage["app"], version=version)
    client.send_data(b"echo x\n")
    for index in range(100):
        client.send(client.seal(rawtls.DATA, b"") + client.seal(rawtls.DATA, bytes([index])))
    assert client.read(100) == bytes(range(100))


def test_padding(stage, dial):
    client = dial(stage["app"], version="1.3")
    client.send_data(b"echo x\n")
    for padding in (0, 1, 255, 4096, 16000):
        client.send_record(rawtls.DATA, b"padded", padding=padding)
        assert client.read(6) == b"padded"
    client.send_record(rawtls.DATA, b"", padding=10000)  # nothing but padding
    client.send_record(rawtls.DATA, b"x" * rawtls.RECORD_PLAINTEXT_MAX)
    assert client.read(rawtls.RECORD_PLAINTEXT_MAX) == b"x" * rawtls.RECORD_PLAINTEXT_MAX


@both_versions
def test_user_canceled_then_close_notify(stage, dial, version):
    client = dial(stage["app"], version=version)
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"
    client.send(client.alert("user_canceled"))
    client.close_notify()
    assert client.end() == "close_notify"
    assert stage.line(client)["end"] == "done"


# ---- KeyUpdate

def rekeys_here(stage, kernel_rekeys, request):
    """Whether a KeyUpdate can be followed in this record layer, once data has gone both ways: what arrives with the handshake's
    end the user layer still opens."""
    if kernel_rekeys or stage.layer in ("user", "late"):
        return True
    return stage.layer == "tx" and not request


@pytest.mark.parametrize("cipher", list(rawtls.CIPHERS))
@pytest.mark.parametrize("request_update", [False, True])
def test_key_update_every_few_records(stage, dial, kernel_rekeys, cipher, request_update):
    client = dial(stage["app"], version="1.3", cipher=cipher)
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"
    possible = rekeys_here(stage, kernel_rekeys, request_update)
    for index in range(40 if possible else 1):
        client.send(client.key_update(request_update) + client.seal(rawtls.DATA, b"abc") + client.seal(rawtls.DATA, b"%03d" % index))
        if possible:
            assert client.read(6) == b"abc%03d" % index
    if not possible:
        assert client.end() == "internal_error"
        line = stage.line_at_end(client)
        assert line["end"] == "rekey_unsupported" and line["alert"] == "internal_error"
        return
    assert client.key_updates_received == ([False] * 40 if request_update else [])
    client.close_notify()
    assert client.end() == "close_notify"
    assert stage.line(client)["end"] == "done"


def test_key_update_requests_in_one_segment(stage, dial, kernel_rekeys):
    """Several requests at once may be answered by one KeyUpdate (RFC 8446 §4.6.3)."""
    client = dial(stage["app"], version="1.3")
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"
    client.send(b"".join(client.key_update(True) for _ in range(5)) + client.seal(rawtls.DATA, b"hello"))
    if not rekeys_here(stage, kernel_rekeys, True):
        assert client.end() == "internal_error"
        assert stage.line_at_end(client)["end"] == "rekey_unsupported"
        return
    assert client.read(5) == b"hello"
    assert 1 <= len(client.key_updates_received) <= 5 and not any(client.key_updates_received)


def test_key_update_under_load(stage, dial, kernel_rekeys, tag):
    """KeyUpdates with request from the client while it receives a stream."""
    if stage.layer != "user" and not kernel_rekeys:
        size = 0  # such a layer refuses, or comes to: the tests above say how
    else:
        size = 16_000_000  # more than the sockets on the way hold
    client = dial(stage["app"], handshake=False, version="1.3")
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.handshake()
    client.send_data(f"send {tag} {size}\n".encode())
    received = requests = 0
    digest = hashlib.sha256()
    while received < size:
        event = client.event()
        if event[0] == "data":
            received += len(event[1])
            digest.update(event[1])
            if received // 500_000 > requests:
                client.send(client.key_update(True) + client.seal(rawtls.DATA, b"x"))
                requests += 1
    assert digest.hexdigest() == backends.Pattern().digest(size)
    assert client.end() == "close_notify"
    assert min(1, requests) <= len(client.key_updates_received) <= requests


# ---- the client ends

@both_versions
def test_close_notify_and_reading_on(stage, actor, dial, tag, version):
    """close_notify from the client is only its half: what the backend says afterwards arrives."""
    client = dial(stage["app"], version=version)
    size = 500_000
    client.send_data(f"answer {tag} {size}\nquestion".encode())
    client.close_notify()
    session = actor.session(tag)
    data, end = client.read_to_end()
    assert (len(data), end) == (size, "close_notify")
    assert hashlib.sha256(data).hexdigest() == backends.Pattern().digest(size)
    assert client.stream_end() == "eof"
    assert session.finished.wait(ringbolt.WAIT) and session.end == "eof" and session.received == len(b"question")
    line = stage.line(client)
    assert line["end"] == "done" and line["bytes_out"] == size


@both_versions
def test_close_notify_with_fin_and_reading_on(stage, actor, dial, tag, version):
    """The same with a TCP FIN behind the close_notify."""
    client = dial(stage["app"], version=version)
    client.send_data(f"answer {tag} 300000 wait\nquestion".encode())
    client.close_notify()
    client.sock.shutdown(socket.SHUT_WR)
    session = actor.session(tag)
    assert session.ended.wait(ringbolt.WAIT) and session.end == "eof"
    session.release()
    data, end = client.read_to_end()
    assert (len(data), end) == (300000, "close_notify")
    assert stage.line(client)["end"] == "done"


@both_versions
@pytest.mark.parametrize("backend", ["app", "app-unix"])
def test_truncation(stage, actor, actor_unix, dial, tag, version, backend):
    """A client's FIN without close_notify: everything so far is delivered, then the backend sees a reset."""
    client = dial(stage[backend], version=version)
    data = os.urandom(200_000)
    client.send_data(f"sink {tag}\n".encode() + data)
    client.sock.shutdown(socket.SHUT_WR)
    session = (actor if backend == "app" else actor_unix).session(tag)
    assert session.ended.wait(ringbolt.WAIT)
    if backend == "app":  # a unix socket closed with nothing unread gives end of file
        assert session.end == "reset"
    assert session.received == len(data) and session.digest.digest() == hashlib.sha256(data).digest()
    assert client.end() != "close_notify"
    line = stage.line(client)
    assert line["end"] == "client_truncated" and line["bytes_in"] == len(f"sink {tag}\n") + len(data)


@both_versions
def test_truncation_towards_a_slow_backend(stage, actor, dial, tag, version):
    """The same when the backend begins to read only then: nothing that was accepted from the client is thrown away."""
    client = dial(stage["app"], version=version)
    data = os.urandom(100_000)
    client.send_data(f"stall {tag}\n".encode() + data)
    session = actor.session(tag)
    client.sock.shutdown(socket.SHUT_WR)
    session.release()
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset"
    assert session.received == len(data) and session.digest.digest() == hashlib.sha256(data).digest()


@both_versions
def test_client_resets(stage, actor, dial, tag, version):
    client = dial(stage["app"], version=version)
    client.send_data(f"sink {tag}\nhello".encode())
    session = actor.session(tag)
    ringbolt.wait_until(lambda: session.received == 5, "the backend has it all")
    client.abort()
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset"
    assert stage.line(client)["end"] == "client_reset"


@both_versions
def test_client_resets_while_it_is_sent_to(stage, actor, dial, tag, version):
    client = dial(stage["app"], version=version)
    client.send_data(f"send {tag} 100000000\n".encode())
    assert len(client.read(1, exactly=False)) >= 1
    client.abort()
    session = actor.session(tag)
    assert session.finished.wait(ringbolt.WAIT)
    assert stage.line(client)["end"] == "client_reset"


@both_versions
@pytest.mark.parametrize("alert", ["internal_error", "bad_record_mac"])
def test_client_sends_a_fatal_alert(stage, actor, dial, tag, version, alert):
    client = dial(stage["app"], version=version)
    client.send_data(f"sink {tag}\nhello".encode())
    session = actor.session(tag)
    client.send(client.alert(alert))
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset" and session.received == 5
    assert client.end() != "close_notify"
    line = stage.line(client)
    assert line["end"] == "client_alert" and line["alert"] == alert


# ---- the backend ends

@both_versions
def test_backend_ends_and_client_goes_on(stage, actor, dial, tag, version):
    client = dial(stage["app"], version=version)
    client.send_data(f"send {tag} 100000\n".encode())
    data, end = client.read_to_end()
    assert (len(data), end) == (100_000, "close_notify")
    more = os.urandom(300_000)
    client.send_data(more)
    client.close_notify()
    session = actor.session(tag)
    assert session.finished.wait(ringbolt.WAIT) and session.end == "eof"
    assert session.digest.digest() == hashlib.sha256(more).digest()
    line = stage.line(client)
    assert line["end"] == "done" and line["bytes_in"] == len(f"send {tag} 100000\n") + len(more)


@both_versions
@pytest.mark.parametrize("size", [0, 1000, 1_000_000])
def test_backend_resets(stage, actor, dial, tag, version, size):
    """Never a clean end: the data so far, then a fatal alert."""
    client = dial(stage["app"], version=version)
    client.send_data(f"reset {tag} {size}\n".encode())
    session = actor.session(tag)
    assert len(client.read(size)) == size
    session.release()
    data, end = client.read_to_end()
    assert (data, end) == (b"", "internal_error")
    line = stage.line_at_end(client)
    assert line["end"] == "server_reset" and line["alert"] == "internal_error" and line["bytes_out"] == size


# ---- flow

@both_versions
def test_both_directions_at_once(stage, dial, version):
    """What the client sends comes back while it sends more; neither side waits for the other."""
    client = dial(stage["app"], version=version)
    client.send_data(b"echo x\n")
    size = 2_000_000
    blocks = list(backends.Pattern().blocks(size))

    def send():
        for block in blocks:
            client.send_data(block)
        client.close_notify()

    sender = threading.Thread(target=send)
    sender.start()
    data, end = client.read_to_end()
    sender.join()
    assert (len(data), end) == (size, "close_notify") and data == b"".join(blocks)
    assert stage.line(client)["end"] == "done"


@both_versions
def test_backend_that_does_not_read(stage, actor, dial, tag, version):
    """Back-pressure reaches the client, and nothing is lost when the backend goes on."""
    client = dial(stage["app"], version=version)
    client.send_data(f"stall {tag}\n".encode())
    session = actor.session(tag)
    sent = hashlib.sha256()
    count = 0
    client.sock.settimeout(0.5)
    pending = b""
    try:
        while count < 64 << 20:
            block = os.urandom(16000)
            pending = client.seal(rawtls.DATA, block)
            sent.update(block)
            count += len(block)
            while pending:
                pending = pending[client.sock.send(pending):]
    except TimeoutError:
        pass
    assert pending, "the proxy took 64 MB for a backend that reads nothing"
    client.sock.settimeout(ringbolt.WAIT)
    session.release()
    client.send(pending)
    client.close_notify()
    answer, end = client.read_to_end()
    assert answer.decode() == f"{count} {sent.hexdigest()}\n" and end == "close_notify"


@both_versions
def test_client_that_does_not_read(stage, actor, dial, tag, version):
    client = dial(stage["app"], version=version)
    size = 8 << 20
    client.send_data(f"send {tag} {size}\n".encode())
    other = dial(stage["app"], version=version)  # meanwhile others are served
    other.send_data(b"echo x\nhello")
    assert other.read(5) == b"hello"
    data, end = client.read_to_end()
    assert end == "close_notify" and hashlib.sha256(data).hexdigest() == backends.Pattern().digest(size)

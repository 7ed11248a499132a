# SPDX-License-Identifier: Apache-2.0
"""What no correct client sends: a clear reason in the log, the right alert, no crash, and others unaffected."""
import hashlib
import os
import re
import socket

import pytest

import rawtls
import ringbolt
from rawtls import ALERT, CCS, DATA, HANDSHAKE, message, record


@pytest.fixture(autouse=True)
def bystander(stage, dial):
    """Somebody else's connection, opened before the attack, must work after it, and so must a new one."""
    other = dial(stage["app"])
    other.send_data(b"echo x\nbefore")
    assert other.read(6) == b"before"
    yield
    other.send_data(b"after")
    assert other.read(5) == b"after"
    new = dial(stage["app"], version="1.2")
    new.send_data(b"echo x\nnew")
    assert new.read(3) == b"new"


# ---- after the handshake

def wrong_tag(client):
    return client.seal_broken(DATA, b"x" * 100)


def sequence_skipped(client):
    client.transmit.sequence += 1
    return client.seal(DATA, b"x")


def record_repeated(client):
    whole = client.seal(DATA, b"x")
    return whole + whole


def oversize_record(client):
    return client.seal(DATA, b"x" * (rawtls.RECORD_PLAINTEXT_MAX + 1 + (0 if client.version == "1.3" else 2048)))


def oversize_length(client):
    """The header says it all, long before the body is there (the kernel looks at the nonce behind it too)."""
    return record(DATA, bytes(8), length=0xFFFF)


def too_short(client):
    return record(DATA, b"x" * 8)


def plaintext_record(client):
    return record(DATA, b"GET / HTTP/1.0\r\n\r\n" * 3)


def plaintext_http(client):
    return b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"


def unknown_type(client):
    return client.seal(42, b"x") if client.version == "1.3" else record(42, client.seal(DATA, b"x" * 100)[5:])


def wrong_version(client):
    whole = bytearray(client.seal(DATA, b"x"))
    whole[1:3] = b"\2\0"
    return bytes(whole)


def change_cipher_spec(client):
    return record(CCS, b"\1") if client.version == "1.3" else client.seal(CCS, b"\1")


def client_hello_again(client):
    return client.seal(HANDSHAKE, client.hello_message())


def finished_again(client):
    return client.seal(HANDSHAKE, message(rawtls.FINISHED, bytes(32)))


def alert_of_one_byte(client):
    return client.seal(ALERT, b"\2")


def alert_of_three_bytes(client):
    return client.seal(ALERT, b"\1\0\0")


def empty_alert(client):
    return client.seal(ALERT, b"")


def empty_handshake(client):
    return client.seal(HANDSHAKE, b"")


def key_update_bad_request(client):
    return client.seal(HANDSHAKE, message(rawtls.KEY_UPDATE, b"\2"))


def key_update_too_long(client):
    return client.seal(HANDSHAKE, message(rawtls.KEY_UPDATE, b"\0\0"))


def key_update_not_at_the_end(client):
    return client.seal(HANDSHAKE, message(rawtls.KEY_UPDATE, b"\0") * 2)


def key_update_fragmented(client):
    whole = message(rawtls.KEY_UPDATE, b"\0")
    return client.seal(HANDSHAKE, whole[:2]) + client.seal(HANDSHAKE, whole[2:])


def without_type(client):
    """TLS 1.3: nothing but padding, not even a type (RFC 8446 §5.4)."""
    return client.seal(0, b"", padding=50)


def key_update_flood(client):
    return b"".join(client.key_update(False) for _ in range(1000))


def key_update_request_flood(client):
    return b"".join(client.key_update(True) for _ in range(1000))


def empty_flood(client):
    return b"".join(client.seal(DATA, b"") for _ in range(2000))


def padding_flood(client):
    return b"".join(client.seal(DATA, b"", padding=1000) for _ in range(500))


# (what is sent, TLS versions, alerts that may answer it); the first is what RFC 8446 or RFC 5246 asks for
AFTER = [
    (wrong_tag, "1.2 1.3", "bad_record_mac"),
    (sequence_skipped, "1.2 1.3", "bad_record_mac"),
    (record_repeated, "1.2 1.3", "bad_record_mac"),
    (oversize_record, "1.2 1.3", "record_overflow"),
    (oversize_length, "1.2 1.3", "record_overflow"),
    (too_short, "1.2 1.3", "bad_record_mac decode_error"),
    (plaintext_record, "1.2 1.3", "bad_record_mac"),
    (plaintext_http, "1.2 1.3", "unexpected_message record_overflow decode_error protocol_version illegal_parameter"),
    (unknown_type, "1.2 1.3", "unexpected_message decode_error bad_record_mac"),
    (wrong_version, "1.2 1.3", "protocol_version decode_error illegal_parameter unexpected_message bad_record_mac"),
    (change_cipher_spec, "1.2 1.3", "unexpected_message bad_record_mac decode_error"),
    (client_hello_again, "1.2", "no_renegotiation"),
    (client_hello_again, "1.3", "unexpected_message"),
    (finished_again, "1.3", "unexpected_message"),
    (alert_of_one_byte, "1.2 1.3", "decode_error"),
    (alert_of_three_bytes, "1.2 1.3", "decode_error"),
    (empty_alert, "1.2 1.3", "decode_error unexpected_message"),
    (empty_handshake, "1.3", "unexpected_message"),
    (key_update_bad_request, "1.3", "illegal_parameter"),
    (key_update_too_long, "1.3", "decode_error"),
    (key_update_not_at_the_end, "1.3", "unexpected_message decode_error"),
    (key_update_fragmented, "1.3", "unexpected_message"),
    (without_type, "1.3", "unexpected_message"),
]

# The kernel says EBADMSG to more than wrong tags.
KERNEL_SAYS_BAD_RECORD = (without_type,)


def after_cases():
    for send, versions, alerts in AFTER:
        for version in versions.split():
            yield pytest.param(send, version, alerts.split(), id=f"{send.__name__}-{version}")


def attack(client, data):
    """Sends; a proxy that has already hung up is fine."""
    try:
        client.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


@pytest.mark.parametrize("send, version, alerts", after_cases())
def test_after_the_handshake(stage, actor, dial, tag, send, version, alerts):
    client = dial(stage["app"], version=version)
    client.send_data(f"sink {tag}\nhello".encode())
    session = actor.session(tag)
    if stage.layer == "kernel" and send in KERNEL_SAYS_BAD_RECORD:
        alerts = alerts + ["bad_record_mac"]
    attack(client, send(client))
    data, end = client.read_to_end()
    assert data == b"" and end in alerts
    assert client.stream_end() in ("eof", "reset")
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset", "the backend must not see a clean end"
    assert session.digest.digest() in (digest(b"hello"), digest(b"hellox")), "what was valid is delivered, nothing else"
    line = stage.line_at_end(client)
    assert line["end"] == "protocol_error" and line["alert"] == end and line["detail"]


def digest(data):
    return hashlib.sha256(data).digest()


def flooded(stage, client):
    """How a flood ended. Empty records the kernel drops without a word, so in its layer nobody counts them: there the
    connection must simply go on."""
    if stage.layer != "kernel":
        return stage.line(client)
    client.send_data(b"end")
    client.close_notify()
    answer, end = client.read_to_end()
    assert answer.split()[0] == b"3" and end == "close_notify"
    return None


@pytest.mark.parametrize("send, version", [(empty_flood, "1.2"), (empty_flood, "1.3"), (padding_flood, "1.3")])
def test_empty_floods(stage, dial, tag, send, version):
    client = dial(stage["app"], version=version)
    client.send_data(f"sink {tag}\n".encode())
    attack(client, send(client))
    line = flooded(stage, client)
    if line:
        assert line["end"] == "protocol_error" and line["alert"] == "unexpected_message" and "too many" in line["detail"]


@pytest.mark.parametrize("send", [key_update_flood, key_update_request_flood])
def test_key_update_floods(stage, dial, tag, send):
    """Work for us and none for the sender: cut off, whatever the record layer."""
    client = dial(stage["app"], version="1.3")
    client.send_data(f"sink {tag}\n".encode())
    attack(client, send(client))
    line = stage.line(client)
    if line["end"] == "rekey_unsupported":
        assert stage.layer != "user"
    else:
        assert line["end"] == "protocol_error" and line["alert"] == "unexpected_message" and "too many" in line["detail"]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_warning_alert_flood(stage, dial, tag, version):
    client = dial(stage["app"], version=version)
    client.send_data(f"sink {tag}\n".encode())
    attack(client, b"".join(client.alert("user_canceled") for _ in range(2000)))
    line = stage.line(client)
    assert line["end"] == "protocol_error" and line["alert"] == "unexpected_message"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_cut_within_a_record(stage, actor, dial, tag, version):
    """The stream ends in the middle of a record: truncation, and the half record stays out."""
    client = dial(stage["app"], version=version)
    client.send_data(f"sink {tag}\nhello".encode())
    session = actor.session(tag)
    client.send(client.seal(DATA, b"x" * 1000)[:500])
    client.sock.shutdown(socket.SHUT_WR)
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset" and session.received == 5
    assert stage.line(client)["end"] == "client_truncated"


# ---- instead of a handshake

SSL2_HELLO = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x07\x00\xc0\x05\x00\x80\x03\x00\x80\x01\x00\x80\x06\x00\x40" \
    b"\x04\x00\x80\x02\x00\x80" + bytes(range(16))


def hello_with(**options):
    """A ClientHello without a connection."""
    with socket.socket() as unconnected:
        return rawtls.RawClient(unconnected, **options).hello()


# name → (bytes, alerts that may answer or "" for none, words of the log's detail that may tell)
INSTEAD = {
    "http": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "http"),
    "http_connect": (b"CONNECT localhost:443 HTTP/1.1\r\n\r\n", "", "http"),
    "http2_preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", "http|version|not tls"),
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n", "*", "."),
    "ssl2_hello": (SSL2_HELLO, "*", "."),
    "tls10_only": (hello_with(version="1.2", versions=[0x0301], suites=[0xC009, 0xC013, 0x002F]),
                   "protocol_version handshake_failure", "TLS 1.0"),
    "tls11_only": (hello_with(version="1.2", versions=[0x0302], suites=[0xC009, 0xC013, 0x002F]),
                   "protocol_version handshake_failure", "TLS 1.1"),
    "cbc_only": (hello_with(version="1.2", suites=[0xC009, 0xC00A, 0xC013, 0xC014, 0xC023, 0xC024, 0xC027, 0xC028]),
                 "handshake_failure", "shared cipher"),
    "rsa_key_exchange_only": (hello_with(version="1.2", suites=[0x009C, 0x009D, 0x002F]), "handshake_failure", "shared cipher"),
    "null_suite": (hello_with(version="1.2", suites=[0x0000, 0xC006]), "handshake_failure", "shared cipher"),
    "unknown_suites": (hello_with(version="1.3", suites=[0xFEFE, 0xFAFA]), "handshake_failure", "shared cipher"),
    "zeros": (bytes(100), "*", "."),
    "ones": (b"\xff" * 100, "*", "."),
    "noise": (b"\x16\x03\x01\x00\x20" + bytes((i * 73 + 41) % 256 for i in range(32)), "*", "."),
    "data_first": (record(DATA, b"x" * 50), "*", "."),
    "alert_first": (record(ALERT, b"\2\50"), "*", "."),
    "ccs_first": (record(CCS, b"\1") * 3, "*", "."),
    "empty_handshake_records": (record(HANDSHAKE, b"", 0x0301) * 100, "*", "."),
    "server_hello": (record(HANDSHAKE, message(rawtls.SERVER_HELLO, bytes(70)), 0x0301), "*", "."),
    "hello_without_body": (record(HANDSHAKE, message(rawtls.CLIENT_HELLO, b""), 0x0301), "decode_error", "."),
    "hello_of_16_megabytes": (record(HANDSHAKE, b"\1\xff\xff\xff" + bytes(1000), 0x0301), "*", "."),
    "record_too_long": (record(HANDSHAKE, b"", 0x0301, length=0x7FFF), "*", "."),
    "finished_first": (record(HANDSHAKE, message(rawtls.FINISHED, bytes(12))), "*", "."),
    "hello_with_trailing_garbage": (hello_with() + os.urandom(64), "*", "."),
}


def connect(stage, dial):
    return dial(stage["app"], handshake=False)


def handshake_failed(stage, client, alerts, detail):
    """Reads to the end, then checks alert and log."""
    end = "nothing"
    try:
        client.sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    try:
        while True:
            event = client.event()
            if event[0] == "alert":
                end = rawtls.ALERT_NAMES.get(event[2], str(event[2]))
                break
            if event[0] in ("eof", "reset"):
                break
    except Exception as error:  # the server's answer may be unreadable for a client that never sent a real hello
        end = f"unreadable: {error!r}"
    line = stage.line(client)
    assert line["end"] == "handshake_failed" and line["detail"], line
    assert re.search(detail, line["detail"], re.IGNORECASE), line
    if alerts != "*":
        assert end in (alerts.split() or ["nothing"]), f"{end}: {line}"
    return line


@pytest.mark.parametrize("name", list(INSTEAD))
def test_instead_of_a_handshake(stage, dial, name):
    data, alerts, detail = INSTEAD[name]
    client = connect(stage, dial)
    attack(client, data)
    handshake_failed(stage, client, alerts, detail)


# ---- in the midst of a handshake

def states(version):
    """How far a handshake goes before the attack."""
    return ["connected", "hello"] + (["key_exchange", "change_cipher_spec"] if version == "1.2" else [])


def advance(client, state):
    if state == "connected":
        return
    client.send(client.hello())
    client.server_flight()
    if state in ("key_exchange", "change_cipher_spec"):
        client.send(client.key_exchange())
    if state == "change_cipher_spec":
        client.send(record(CCS, b"\1"))


GARBAGE = {
    "noise": bytes((i * 73 + 41) % 256 for i in range(200)),
    "zeros": bytes(200),
    "http": b"GET / HTTP/1.0\r\n\r\n",
    "unprotected_data": record(DATA, b"x" * 100),
    "unprotected_finished": record(HANDSHAKE, message(rawtls.FINISHED, bytes(32))),
    "unknown_message": record(HANDSHAKE, message(77, b"x" * 30)),
    "fatal_alert": record(ALERT, bytes([rawtls.FATAL, rawtls.ALERTS["handshake_failure"]])),
    "close_notify": record(ALERT, bytes([rawtls.WARNING, rawtls.ALERTS["close_notify"]])),
    "too_long": record(HANDSHAKE, b"", length=0x5000),
    "end": b"",
}


@pytest.mark.parametrize("garbage", list(GARBAGE))
@pytest.mark.parametrize("version, state", [(v, s) for v in ("1.2", "1.3") for s in states(v)])
def test_garbage_in_each_state(stage, dial, version, state, garbage):
    client = dial(stage["app"], handshake=False, version=version)
    advance(client, state)
    attack(client, GARBAGE[garbage])
    handshake_failed(stage, client, "*", ".")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_wrong_finished(stage, dial, version):
    client = dial(stage["app"], handshake=False, version=version)
    client.send(client.hello())
    client.server_flight()
    client.send(client.final_flight(corrupt=True))
    handshake_failed(stage, client, "decrypt_error" if version == "1.3" else "decrypt_error illegal_parameter", ".")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_reset_in_the_midst(stage, dial, version):
    client = dial(stage["app"], handshake=False, version=version)
    advance(client, "hello")
    client.abort()
    line = stage.line(client)
    assert line["end"] == "handshake_failed" and "reset" in line["detail"]
    assert line["sni"] == "localhost", "the name is known by then"


def test_hello_of_a_megabyte(stage, dial):
    """In pieces, as one message: refused before it is held in memory."""
    client = connect(stage, dial)
    whole = b"\1" + (1 << 20).to_bytes(3, "big") + bytes(1 << 20)
    attack(client, b"".join(record(HANDSHAKE, whole[i:i + 16384], 0x0301) for i in range(0, len(whole), 16384)))
    handshake_failed(stage, client, "*", ".")


def test_name_that_forges_a_log_line(stage, dial):
    client = dial(stage["app"], handshake=False, sni='x"\n{"level":"error"} end=done')
    try:
        client.handshake()
    except (rawtls.Alerted, rawtls.ProtocolError, ConnectionResetError):
        pass
    client.close()
    line = stage.line(client)
    assert "\n" not in line.get("sni", "") and not stage.proxy.noise

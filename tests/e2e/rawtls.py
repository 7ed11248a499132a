# SPDX-License-Identifier: Apache-2.0
"""A TLS client (1.2 and 1.3) that gives away control over every byte, for tests of what no well-behaved client sends.

It verifies the server's Finished, not its certificate: other clients do that. Everything blocks, with the socket's
timeout. What arrives is told as events:

    ("data", bytes)  ("alert", level, code)  ("handshake", type, body)  ("ccs",)  ("eof",)  ("reset",)

RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2), RFC 5288 and RFC 7905 (their AEAD suites), RFC 8422 (ECDHE), RFC 7627 (EMS).
"""
import hashlib
import hmac
import os
import socket
import struct

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import ringbolt

CCS, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, ENCRYPTED_EXTENSIONS = 1, 2, 4, 8
CERTIFICATE, SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE, CERTIFICATE_VERIFY = 11, 12, 14, 15
CLIENT_KEY_EXCHANGE, FINISHED, KEY_UPDATE = 16, 20, 24
WARNING, FATAL = 1, 2

ALERTS = {
    "close_notify": 0, "unexpected_message": 10, "bad_record_mac": 20, "record_overflow": 22, "handshake_failure": 40,
    "bad_certificate": 42, "certificate_unknown": 46, "illegal_parameter": 47, "unknown_ca": 48, "decode_error": 50,
    "decrypt_error": 51, "protocol_version": 70, "insufficient_security": 71, "internal_error": 80, "user_canceled": 90,
    "no_renegotiation": 100, "missing_extension": 109, "unrecognized_name": 112, "no_application_protocol": 120,
}
ALERT_NAMES = {code: name for name, code in ALERTS.items()}

# name → (key size, hash, TLS 1.3 suite, TLS 1.2 suites for RSA and ECDSA certificates)
CIPHERS = {
    "AES-128-GCM": (16, "sha256", 0x1301, {"rsa": 0xC02F, "ecdsa": 0xC02B}),
    "AES-256-GCM": (32, "sha384", 0x1302, {"rsa": 0xC030, "ecdsa": 0xC02C}),
    "CHACHA20-POLY1305": (32, "sha256", 0x1303, {"rsa": 0xCCA8, "ecdsa": 0xCCA9}),
}
GROUPS = {"x25519": 29, "p256": 23}
RECORD_PLAINTEXT_MAX = 16384


class ProtocolError(Exception):
    """The server did what no TLS server may do."""


class Alerted(Exception):
    """The server ended a handshake with an alert."""

    def __init__(self, level, code):
        super().__init__(f"alert {ALERT_NAMES.get(code, code)} (level {level})")
        self.level, self.code, self.name = level, code, ALERT_NAMES.get(code, str(code))


def vector(size, data):
    """A length of `size` bytes, and the data."""
    return len(data).to_bytes(size, "big") + data


def record(kind, body, version=0x0303, length=None):
    """A record as it goes on the wire, unprotected or already sealed; length lies if told to."""
    return struct.pack("!BHH", kind, version, len(body) if length is None else length) + body


def message(kind, body):
    return bytes([kind]) + vector(3, body)


def extension(kind, body):
    return struct.pack("!H", kind) + vector(2, body)


def expand_label(digest, secret, label, context, length):
    """HKDF-Expand-Label, RFC 8446 §7.1."""
    info = struct.pack("!H", length) + vector(1, b"tls13 " + label.encode()) + vector(1, context)
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.new(secret, block + info + bytes([counter]), digest).digest()
        output += block
        counter += 1
    return output[:length]


def prf(digest, secret, label, seed, length):
    """The PRF of TLS 1.2, RFC 5246 §5."""
    seed = label.encode() + seed
    output, a = b"", seed
    while len(output) < length:
        a = hmac.new(secret, a, digest).digest()
        output += hmac.new(secret, a + seed, digest).digest()
    return output[:length]


class Direction:
    """Keys of one direction and the number of its next record."""

    def __init__(self, cipher, version, digest, key=None, iv=None, secret=None):
        self.version, self.cipher, self.digest = version, cipher, digest
        self.secret, self.sequence = secret, 0
        if secret is not None:
            key = expand_label(digest, secret, "key", b"", CIPHERS[cipher][0])
            iv = expand_label(digest, secret, "iv", b"", 12)
        self.key, self.iv = key, iv
        self.aead = ChaCha20Poly1305(key) if cipher.startswith("CHACHA") else AESGCM(key)

    def updated(self):
        secret = expand_label(self.digest, self.secret, "traffic upd", b"", len(self.secret))
        return Direction(self.cipher, self.version, self.digest, secret=secret)

    def _nonce(self, sequence, explicit=None):
        if explicit is not None:
            return self.iv[:4] + explicit
        return bytes(a ^ b for a, b in zip(self.iv, sequence.to_bytes(12, "big")))

    def _explicit(self):
        return self.version == "1.2" and not self.cipher.startswith("CHACHA")

    def seal(self, kind, content, padding=0, sequence=None):
        """One record. padding: zero bytes behind the content (TLS 1.3 only)."""
        if sequence is None:
            sequence = self.sequence
            self.sequence += 1
        if self.version == "1.3":
            inner = content + bytes([kind]) + bytes(padding)
            header = struct.pack("!BHH", DATA, 0x0303, len(inner) + 16)
            return header + self.aead.encrypt(self._nonce(sequence), inner, header)
        aad = struct.pack("!QBHH", sequence, kind, 0x0303, len(content))
        explicit = sequence.to_bytes(8, "big") if self._explicit() else None
        sealed = self.aead.encrypt(self._nonce(sequence, explicit), content, aad)
        return record(kind, (explicit or b"") + sealed)

    def open(self, header, body):
        """(type, content) of one record."""
        sequence = self.sequence
        self.sequence += 1
        if self.version == "1.3":
            inner = self.aead.decrypt(self._nonce(sequence), body, header).rstrip(b"\0")
            if not inner:
                raise ProtocolError("a record without a type")
            return inner[-1], inner[:-1]
        explicit = None
        if self._explicit():
            explicit, body = body[:8], body[8:]
        aad = struct.pack("!QBHH", sequence, header[0], 0x0303, len(body) - 16)
        return header[0], self.aead.decrypt(self._nonce(sequence, explicit), body, aad)


class RawClient:
    """One connection. handshake() does all of it; or its steps one by one: hello(), server_flight(), final_flight(),
    server_finished() (TLS 1.2)."""

    def __init__(self, address, version="1.3", cipher="AES-128-GCM", group="x25519", certificate="ecdsa", sni="localhost",
                 alpn=(), timeout=ringbolt.WAIT, compat=True, hello_padding=0, suites=None, versions=None):
        self.sock = address if isinstance(address, socket.socket) else socket.create_connection(address, timeout)
        self.sock.settimeout(timeout)
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.version, self.cipher, self.group, self.certificate = version, cipher, group, certificate
        self.sni, self.alpn_offered, self.compat, self.hello_padding = sni, alpn, compat, hello_padding
        self.key_size, self.digest, suite13, suites12 = CIPHERS[cipher]
        self.suites = suites or ([suite13] if version == "1.3" else [suites12[certificate]])
        self.versions = versions or ([0x0304] if version == "1.3" else [0x0303])
        self.random = os.urandom(32)
        self.session_id = os.urandom(32) if compat else b""
        self.transcript = b""
        self.pending = b""   # received bytes that are no whole record yet
        self.messages = b""  # handshake bytes that are no whole message yet
        self.transmit = self.receive = None
        self.alpn = None
        self.chain = []  # the server's certificates, DER
        self.tickets = []
        self.key_updates_received = []  # request_update of each
        self.extended_master_secret = False

    # ---- bytes and records

    def send(self, data):
        self.sock.sendall(data)

    def send_record(self, kind, content, padding=0):
        self.send(self.seal(kind, content, padding))

    def send_data(self, data, record_size=RECORD_PLAINTEXT_MAX):
        self.send(b"".join(self.seal(DATA, data[i:i + record_size]) for i in range(0, len(data), record_size)))

    def seal(self, kind, content, padding=0):
        return self.transmit.seal(kind, content, padding) if self.transmit else record(kind, content)

    def seal_broken(self, kind, content):
        """A record whose tag is wrong."""
        whole = bytearray(self.seal(kind, content))
        whole[-1] ^= 1
        return bytes(whole)

    def alert(self, name, level=None):
        code = ALERTS[name]
        if level is None:
            level = WARNING if name in ("close_notify", "user_canceled") else FATAL
        return self.seal(ALERT, bytes([level, code]))

    def close_notify(self):
        self.send(self.alert("close_notify"))

    def key_update(self, request=False):
        """The KeyUpdate record; what is sealed from here on is under the new key."""
        whole = self.seal(HANDSHAKE, message(KEY_UPDATE, bytes([1 if request else 0])))
        self.transmit = self.transmit.updated()
        return whole

    def close(self):
        self.sock.close()

    def abort(self):
        """Closes with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _receive_more(self):
        data = self.sock.recv(65536)
        self.pending += data
        return bool(data)

    def _read_record(self):
        """(type, content), or None at the end of the stream."""
        while len(self.pending) < 5 or len(self.pending) < 5 + int.from_bytes(self.pending[3:5], "big"):
            if not self._receive_more():
                if self.pending:
                    raise ProtocolError(f"the stream ends within a record ({len(self.pending)} bytes of it)")
                return None
        length = int.from_bytes(self.pending[3:5], "big")
        header, body, self.pending = self.pending[:5], self.pending[5:5 + length], self.pending[5 + length:]
        if self.receive and header[0] != CCS:
            return self.receive.open(header, body)
        return header[0], body

    def _next_message(self):
        """A whole handshake message from what was read, or None."""
        if len(self.messages) < 4:
            return None
        length = 4 + int.from_bytes(self.messages[1:4], "big")
        if len(self.messages) < length:
            return None
        whole, self.messages = self.messages[:length], self.messages[length:]
        return whole

    def event(self):
        """The next thing that the server says."""
        while True:
            whole = self._next_message()
            if whole:
                return self._on_message(whole)
            try:
                got = self._read_record()
            except ConnectionResetError:
                return ("reset",)
            if got is None:
                return ("eof",)
            kind, content = got
            if kind == DATA:
                return ("data", content)
            if kind == ALERT:
                return ("alert", content[0], content[1])
            if kind == CCS:
                return ("ccs",)
            if kind != HANDSHAKE:
                raise ProtocolError(f"a record of type {kind}")
            self.messages += content

    def _on_message(self, whole):
        kind, body = whole[0], whole[4:]
        if kind == NEW_SESSION_TICKET and self.version == "1.3":
            self.tickets.append(body)
        if kind == KEY_UPDATE:
            self.key_updates_received.append(body[0] == 1)
            self.receive = self.receive.updated()
        return ("handshake", kind, body, whole)

    # ---- reading, once the handshake is done

    def read(self, length, exactly=True):
        """So many bytes of data (or with exactly=False more); what else arrives meanwhile may only be tickets and
        KeyUpdates."""
        got = b""
        while len(got) < length:
            event = self.event()
            if event[0] == "data":
                got += event[1]
            elif event[0] != "handshake":
                raise ProtocolError(f"{event} after {len(got)} of {length} bytes")
        if len(got) > length and exactly:
            raise ProtocolError(f"{len(got)} bytes instead of {length}")
        return got

    def read_to_end(self):
        """(data, how it ended): "close_notify", "eof" (without one), "reset", or the name of a fatal alert."""
        got = []
        while True:
            event = self.event()
            if event[0] == "data":
                got.append(event[1])
            elif event[0] == "alert":
                return b"".join(got), ALERT_NAMES.get(event[2], str(event[2]))
            elif event[0] in ("eof", "reset"):
                return b"".join(got), event[0]

    def end(self):
        """How the server ends the connection, whatever data comes first."""
        return self.read_to_end()[1]

    def stream_end(self):
        """After an alert: "eof" or "reset"."""
        while True:
            event = self.event()
            if event[0] in ("eof", "reset"):
                return event[0]

    # ---- the handshake

    def _share_make(self, group):
        self.group = group
        self.private = x25519.X25519PrivateKey.generate() if self.group == "x25519" else ec.generate_private_key(ec.SECP256R1())
        public = self.private.public_key()
        self.share = (public.public_bytes(Encoding.Raw, PublicFormat.Raw) if self.group == "x25519"
                      else public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    def hello_message(self):
        self._share_make(self.group)
        # In TLS 1.2 the list also says which curves an ECDSA certificate may use.
        groups = [self.group] + (["p256"] if self.version == "1.2" and self.group != "p256" else [])
        signatures = {"ecdsa": [0x0403, 0x0503, 0x0603, 0x0807], "rsa": [0x0804, 0x0805, 0x0806, 0x0401, 0x0501]}[self.certificate]
        extensions = b""
        if self.sni:
            extensions += extension(0, vector(2, b"\0" + vector(2, self.sni.encode())))
        extensions += extension(10, vector(2, b"".join(struct.pack("!H", GROUPS[g]) for g in groups)))
        extensions += extension(11, vector(1, b"\0"))
        extensions += extension(13, vector(2, b"".join(struct.pack("!H", s) for s in signatures)))
        if self.alpn_offered:
            extensions += extension(16, vector(2, b"".join(vector(1, p.encode()) for p in self.alpn_offered)))
        extensions += extension(23, b"")
        if 0x0304 in self.versions:
            extensions += extension(43, vector(1, b"".join(struct.pack("!H", v) for v in self.versions)))
            extensions += extension(51, vector(2, struct.pack("!H", GROUPS[self.group]) + vector(2, self.share)))
        if self.hello_padding:
            extensions += extension(21, bytes(self.hello_padding))
        body = struct.pack("!H", min(0x0303, max(self.versions))) + self.random + vector(1, self.session_id)
        body += vector(2, b"".join(struct.pack("!H", s) for s in self.suites)) + vector(1, b"\0") + vector(2, extensions)
        return message(CLIENT_HELLO, body)

    def hello(self, record_size=RECORD_PLAINTEXT_MAX):
        """The ClientHello as records of at most record_size bytes."""
        whole = self.hello_message()
        self.transcript += whole
        return b"".join(record(HANDSHAKE, whole[i:i + record_size], 0x0301) for i in range(0, len(whole), record_size))

    def _hash(self):
        return hashlib.new(self.digest, self.transcript).digest()

    def _expect(self, kind):
        while True:
            event = self.event()
            if event[0] == "alert":
                raise Alerted(event[1], event[2])
            if event[0] == "ccs":
                continue
            if event[0] != "handshake" or event[1] != kind:
                raise ProtocolError(f"{event[:2]} instead of handshake message {kind}")
            return event

    def _chain_take(self, body):
        at = 3 if self.version == "1.2" else 4 + body[0]
        while at < len(body):
            size = int.from_bytes(body[at:at + 3], "big")
            self.chain.append(body[at + 3:at + 3 + size])
            at += 3 + size
            if self.version == "1.3":
                at += 2 + int.from_bytes(body[at:at + 2], "big")

    def _shared_secret(self, peer):
        if self.group == "x25519":
            return self.private.exchange(x25519.X25519PublicKey.from_public_bytes(peer))
        return self.private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), peer))

    @staticmethod
    def _extensions(body):
        found, length = {}, int.from_bytes(body[:2], "big")
        at = 2
        while at < 2 + length:
            kind, size = struct.unpack_from("!HH", body, at)
            found[kind] = body[at + 4:at + 4 + size]
            at += 4 + size
        return found

    def server_flight(self):
        """Reads what the server answers the ClientHello with."""
        event = self._expect(SERVER_HELLO)
        self.transcript += event[3]
        body = event[2]
        self.server_random = body[2:34]
        at = 35 + body[34]
        suite = int.from_bytes(body[at:at + 2], "big")
        if suite not in self.suites:
            raise ProtocolError(f"suite {suite:04x} was not offered")
        extensions = self._extensions(body[at + 3:]) if len(body) > at + 3 else {}
        if self.version == "1.3":
            if extensions.get(43) != b"\3\4":
                raise ProtocolError("the server did not choose TLS 1.3")
            self._server_flight_13(extensions)
        else:
            self.extended_master_secret = 23 in extensions
            self._alpn_take(extensions)
            self._server_flight_12()

    def _alpn_take(self, extensions):
        if 16 in extensions:
            self.alpn = extensions[16][3:].decode()

    def _server_flight_13(self, extensions):
        digest, empty = self.digest, hashlib.new(self.digest, b"").digest()
        size = len(empty)
        early = hmac.new(bytes(size), bytes(size), digest).digest()
        derived = expand_label(digest, early, "derived", empty, size)
        secret = hmac.new(derived, self._shared_secret(extensions[51][4:]), digest).digest()
        client = expand_label(digest, secret, "c hs traffic", self._hash(), size)
        server = expand_label(digest, secret, "s hs traffic", self._hash(), size)
        self.receive = Direction(self.cipher, "1.3", digest, secret=server)
        self.handshake_keys = Direction(self.cipher, "1.3", digest, secret=client)
        self.client_finished_key = expand_label(digest, client, "finished", b"", size)
        server_finished_key = expand_label(digest, server, "finished", b"", size)
        event = self._expect(ENCRYPTED_EXTENSIONS)
        self.transcript += event[3]
        self._alpn_take(self._extensions(event[2]))
        event = self._expect(CERTIFICATE)
        self.transcript += event[3]
        self._chain_take(event[2])
        self.transcript += self._expect(CERTIFICATE_VERIFY)[3]
        verify = hmac.new(server_finished_key, self._hash(), digest).digest()
        event = self._expect(FINISHED)
        if event[2] != verify:
            raise ProtocolError("the server's Finished is wrong")
        self.transcript += event[3]
        derived = expand_label(digest, secret, "derived", empty, size)
        master = hmac.new(derived, bytes(size), digest).digest()
        self.client_secret = expand_label(digest, master, "c ap traffic", self._hash(), size)
        self.server_secret = expand_label(digest, master, "s ap traffic", self._hash(), size)
        self.receive = Direction(self.cipher, "1.3", digest, secret=self.server_secret)

    def _server_flight_12(self):
        event = self._expect(CERTIFICATE)
        self.transcript += event[3]
        self._chain_take(event[2])
        event = self._expect(SERVER_KEY_EXCHANGE)
        self.transcript += event[3]
        curve, size = int.from_bytes(event[2][1:3], "big"), event[2][3]
        self.peer_share = event[2][4:4 + size]
        self._share_make({number: name for name, number in GROUPS.items()}[curve])
        self.transcript += self._expect(SERVER_HELLO_DONE)[3]

    def final_flight(self, corrupt=False):
        """The client's last records, up to and with its Finished. Afterwards seal() uses the application keys."""
        return self._final_flight_13(corrupt) if self.version == "1.3" else self._final_flight_12(corrupt)

    def _final_flight_13(self, corrupt):
        verify = hmac.new(self.client_finished_key, self._hash(), self.digest).digest()
        if corrupt:
            verify = bytes(len(verify))
        whole = message(FINISHED, verify)
        flight = (record(CCS, b"\1") if self.compat else b"") + self.handshake_keys.seal(HANDSHAKE, whole)
        self.transcript += whole
        self.transmit = Direction(self.cipher, "1.3", self.digest, secret=self.client_secret)
        return flight

    def key_exchange(self):
        """TLS 1.2: the ClientKeyExchange record; derives the keys."""
        whole = message(CLIENT_KEY_EXCHANGE, vector(1, self.share))
        self.transcript += whole
        premaster = self._shared_secret(self.peer_share)
        if self.extended_master_secret:
            self.master = prf(self.digest, premaster, "extended master secret", self._hash(), 48)
        else:
            self.master = prf(self.digest, premaster, "master secret", self.random + self.server_random, 48)
        iv_size = 12 if self.cipher.startswith("CHACHA") else 4
        block = prf(self.digest, self.master, "key expansion", self.server_random + self.random, 2 * (self.key_size + iv_size))
        keys, ivs = block[:2 * self.key_size], block[2 * self.key_size:]
        self.client_keys = (keys[:self.key_size], ivs[:iv_size])
        self.server_keys = (keys[self.key_size:], ivs[iv_size:])
        return record(HANDSHAKE, whole)

    def _final_flight_12(self, corrupt):
        flight = self.key_exchange() + record(CCS, b"\1")
        self.transmit = Direction(self.cipher, "1.2", self.digest, *self.client_keys)
        verify = prf(self.digest, self.master, "client finished", self._hash(), 12)
        whole = message(FINISHED, bytes(12) if corrupt else verify)
        self.transcript += whole
        return flight + self.transmit.seal(HANDSHAKE, whole)

    def server_finished(self):
        """TLS 1.2: reads the server's ticket, ChangeCipherSpec and Finished."""
        while True:
            event = self.event()
            if event[0] == "alert":
                raise Alerted(event[1], event[2])
            if event[0] == "handshake" and event[1] == NEW_SESSION_TICKET and not self.receive:
                self.tickets.append(event[2])
                self.transcript += event[3]
            elif event[0] == "ccs":
                self.receive = Direction(self.cipher, "1.2", self.digest, *self.server_keys)
            elif event[0] == "handshake" and event[1] == FINISHED and self.receive:
                if event[2] != prf(self.digest, self.master, "server finished", self._hash(), 12):
                    raise ProtocolError("the server's Finished is wrong")
                return
            else:
                raise ProtocolError(f"{event[:2]} at the end of the handshake")

    def handshake(self, first_data=b"", record_size=RECORD_PLAINTEXT_MAX):
        """All of it. first_data goes out in the same write as the client's Finished. Returns self."""
        self.send(self.hello(record_size))
        self.server_flight()
        flight = self.final_flight()
        if first_data:
            flight += self.seal(DATA, first_data)
        self.send(flight)
        if self.version == "1.2":
            self.server_finished()
        return self

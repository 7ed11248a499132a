# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol, read and written from its specification (HAProxy's doc/proxy-protocol.txt), and a backend that reads it."""
import ipaddress
import struct

import backends

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 1, 2, 3, 4, 5, 0x20, 0x30
VERSION, CN, CIPHER, SIG_ALG, KEY_ALG, CLIENT_CERT = 0x21, 0x22, 0x23, 0x24, 0x25, 0x28
CLIENT_SSL, CERT_CONN, CERT_SESS = 1, 2, 4


class Malformed(Exception):
    """It breaks the specification."""


def need(fact, words):
    if not fact:
        raise Malformed(words)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def tlv(kind, value=b""):
    return struct.pack("!BH", kind, len(value)) + value


def tlvs_of(data):
    """{type: value}; a type comes once."""
    found = {}
    while data:
        need(len(data) >= 3, "a TLV is cut")
        kind, length = struct.unpack("!BH", data[:3])
        need(len(data) >= 3 + length, "a TLV is longer than its room")
        need(kind not in found, f"TLV {kind:#x} comes twice")
        found[kind], data = data[3:3 + length], data[3 + length:]
    return found


class Header:
    """What a header says. source and destination: (host, port), of unix addresses the paths, None when it tells none."""

    def __init__(self, raw, version, command="PROXY", family=None, source=None, destination=None, tlvs=None):
        self.raw, self.version, self.command, self.family = raw, version, command, family
        self.source, self.destination, self.tlvs = source, destination, tlvs or {}
        self.ssl, self.client, self.verify = None, None, None
        if SSL in self.tlvs:
            value = self.tlvs[SSL]
            need(len(value) >= 5, "the SSL TLV lacks its fixed part")
            self.client, self.verify = struct.unpack("!BI", value[:5])
            self.ssl = tlvs_of(value[5:])
            need(not self.client & CLIENT_SSL or VERSION in self.ssl, "SSL without its version")
        if CRC32C in self.tlvs:
            at = raw.index(tlv(CRC32C, self.tlvs[CRC32C])) + 3
            said, = struct.unpack("!I", raw[at:at + 4])
            need(crc32c(raw[:at] + bytes(4) + raw[at + 4:]) == said, "the checksum is wrong")


def parse_v1(line):
    need(line.endswith(b"\r\n") and len(line) <= 107, "no line of at most 107 bytes")
    words = line[:-2].decode("ascii").split(" ")
    need(words[0] == "PROXY", "no PROXY")
    if words[1] == "UNKNOWN":
        return Header(line, 1)
    need(len(words) == 6 and words[1] in ("TCP4", "TCP6"), "not TCP4 or TCP6 with two addresses and two ports")
    hosts = [ipaddress.ip_address(word) for word in words[2:4]]
    need(all(host.version == int(words[1][3]) for host in hosts), "an address of another family")
    ports = [int(word) for word in words[4:]]
    need(all(str(port) == word and port < 65536 for port, word in zip(ports, words[4:])), "a port that is none")
    return Header(line, 1, family=words[1], source=(str(hosts[0]), ports[0]), destination=(str(hosts[1]), ports[1]))


def parse_v2(raw):
    need(raw[:12] == SIGNATURE, "no signature")
    command, family, length = struct.unpack("!BBH", raw[12:16])
    need(command in (0x20, 0x21), "not version 2, or an unknown command")
    need(len(raw) == 16 + length, "not as long as it says")
    block = raw[16:]
    if command == 0x20:
        return Header(raw, 2, command="LOCAL")
    if family == 0:
        return Header(raw, 2)
    need(family in (0x11, 0x21, 0x31), f"family {family:#x}")
    if family == 0x31:
        need(length >= 216, "too short")
        paths = [block[at:at + 108].rstrip(b"\0").decode() for at in (0, 108)]
        return Header(raw, 2, family="UNIX", source=paths[0], destination=paths[1], tlvs=tlvs_of(block[216:]))
    size = 4 if family == 0x11 else 16
    need(length >= 2 * size + 4, "too short")
    hosts = [str(ipaddress.ip_address(block[at:at + size])) for at in (0, size)]
    ports = struct.unpack("!HH", block[2 * size:2 * size + 4])
    return Header(raw, 2, family="TCP4" if size == 4 else "TCP6", source=(hosts[0], ports[0]), destination=(hosts[1], ports[1]),
                  tlvs=tlvs_of(block[2 * size + 4:]))


def receive_exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        need(more, f"the stream ends within the header: {data!r}")
        data += more
    return data


def receive(sock):
    """The header that comes first; not a byte behind it is read."""
    data = receive_exactly(sock, 8)
    if data.startswith(b"PROXY "):
        while not data.endswith(b"\r\n"):
            need(len(data) < 107, f"no CR LF within 107 bytes: {data!r}")
            data += receive_exactly(sock, 1)
        return parse_v1(data)
    data += receive_exactly(sock, 8)
    return parse_v2(data + receive_exactly(sock, struct.unpack("!H", data[14:16])[0]))


# ---- writing

def v1(source=("203.0.113.7", 4711), destination=("203.0.113.9", 443)):
    family = ipaddress.ip_address(source[0]).version
    return f"PROXY TCP{family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode()


def v2_raw(command, family, block):
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(block)) + block


def v2(source=("203.0.113.7", 4711), destination=("203.0.113.9", 443), tlvs=b"", checksum=False):
    hosts = [ipaddress.ip_address(host) for host, _ in (source, destination)]
    block = hosts[0].packed + hosts[1].packed + struct.pack("!HH", source[1], destination[1]) + tlvs
    raw = v2_raw(1, 0x11 if hosts[0].version == 4 else 0x21, block + (tlv(CRC32C, bytes(4)) if checksum else b""))
    return raw[:-4] + struct.pack("!I", crc32c(raw)) if checksum else raw


# ---- a backend

class Actor(backends.Actor):
    """The Actor behind a header: session.header is what came first."""

    def _serve(self, session):
        try:
            session.header = receive(session.socket)
        except (Malformed, OSError) as error:
            session.header = error
        super()._serve(session)

# SPDX-License-Identifier: Apache-2.0
"""Streams that have to come through whole, whoever protects them on which side: one table for termination, TLS on both sides, and client mode.
Bulk goes through curl, where there is TLS for it."""
import hashlib
import os

import rawtls
import ringbolt

# Around where a record, a buffer, or the late move into the kernel begins or ends.
SIZES = [0, 1, 15, 4000, 4047, 4048, 4095, 4096, 16383, 16384, 16385, 65536, 262143, 262144, 262145, 300000]


class Talk:
    """Clients of the Actor through one listener. connect(**options) → a client with the methods of rawtls.RawClient that are used below."""

    def __init__(self, stage, actor, tag, connect, options=({},), clean="close_notify"):
        self.stage, self.actor, self.tag, self.connect, self.options, self.clean = stage, actor, tag, connect, options, clean

    def ended_well(self, client, **wanted):
        line = self.stage.line(client)
        assert {key: line[key] for key in ("end", *wanted)} == {"end": "done", **wanted}, line


def sizes(talk):
    for index, size in enumerate(SIZES):
        client = talk.connect()
        client.send_data(f"send {talk.tag}-{index} {size}\n".encode())
        data, end = client.read_to_end()
        assert (len(data), end) == (size, talk.clean)
        client.send_data(os.urandom(size))
        client.close_notify()
        session = talk.actor.session(f"{talk.tag}-{index}")
        assert session.ended.wait(ringbolt.WAIT) and session.end == "eof" and session.received == size
        talk.ended_well(client, bytes_out=size)


def odd_records(talk):
    """Records of odd sizes, several in a segment and split between segments, while the late layer moves into the kernel: each is opened, and
    sealed again with other room around."""
    for number, options in enumerate(talk.options):
        client = talk.connect(**options)
        client.send_data(f"sink {talk.tag}-{number}\n".encode())
        wire, sent, said = b"", 0, hashlib.sha256()
        for index in range(400):
            size = (index * 2654435761) % 2500 + (0 if index % 10 else 8000) if index % 7 else index % 40
            data = os.urandom(size)
            wire += client.seal(rawtls.DATA, data)
            sent += size
            said.update(data)
            if len(wire) > 50000:
                client.send(wire[:-1000])
                wire = wire[-1000:]
        client.send(wire)
        client.close_notify()
        data, end = client.read_to_end()
        assert data.split() == [str(sent).encode(), said.hexdigest().encode()] and end == talk.clean


def half_close(talk):
    """The client has said all: the server still answers."""
    client = talk.connect()
    client.send_data(f"answer {talk.tag} 300000\n".encode() + b"x" * 50000)
    client.close_notify()
    data, end = client.read_to_end()
    assert (len(data), end) == (300000, talk.clean)
    talk.ended_well(client)


def server_ends_first(talk):
    """The server has said all: the client may still talk, for as long as it likes."""
    client = talk.connect()
    client.send_data(f"send {talk.tag} 5000\n".encode())
    assert len(client.read_to_end()[0]) == 5000
    for _ in range(20):
        client.send_data(os.urandom(10000))
    client.close_notify()
    session = talk.actor.session(talk.tag)
    assert session.ended.wait(ringbolt.WAIT) and session.end == "eof" and session.received == 200000
    talk.ended_well(client)


def both_ways(talk):
    """Questions and answers in turn, small and large."""
    client = talk.connect()
    client.send_data(f"echo {talk.tag}\n".encode())
    for size in (1, 100, 5000, 70000, 3):
        data = os.urandom(size)
        client.send_data(data)
        assert client.read(size) == data


CASES = {case.__name__: case for case in (sizes, odd_records, half_close, server_ends_first, both_ways)}

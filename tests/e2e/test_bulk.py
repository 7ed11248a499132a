# SPDX-License-Identifier: Apache-2.0
"""A big file goes down and up and keeps its checksum, in every combination of version, cipher, record layer and backend."""
import os

import pytest

import clients
import rawtls
import ringbolt

pytestmark = pytest.mark.seconds(900)

VERSIONS = ["1.2", "1.3"]
CIPHERS = list(clients.SUITES)


def check_line(stage, line, version, cipher, carried_down, carried_up):
    """The log says what was asked for, and that the layer was the one of this test."""
    suite13, suites12 = clients.SUITES[cipher]
    assert line["tls"] == f"TLSv{version}"
    assert line["cipher"] in [suite13, *suites12.split(":")]
    late = stage.layer == "late"
    kernel_tx = stage.layer in ("tx", "kernel") or (late and carried_down > 2 * ringbolt.LATE_AFTER)
    kernel_rx = stage.layer == "kernel" or (late and carried_up > 2 * ringbolt.LATE_AFTER)
    assert line["record_tx"] == ("kernel" if kernel_tx else "user"), line
    assert line["record_rx"] == ("kernel" if kernel_rx else "user"), line
    if not kernel_tx:
        assert line["record_tx_why"] == ("not_yet" if late else "off"), line
    if not kernel_rx:
        assert line["record_rx_why"] == ("not_yet" if late else "off"), line


@pytest.mark.parametrize("backend", ["tcp", "unix"])
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_down(stage, certificates, bulk, version, cipher, backend):
    listener = stage["http" if backend == "tcp" else "http-unix"]
    since = stage.proxy.mark()
    length, digest, port = clients.curl_digest(listener, "/bulk", certificates.ca, *clients.curl_tls(version, cipher))
    assert (length, digest) == (bulk.size, bulk.digest)
    line = stage.proxy.connection(since, client=f"127.0.0.1:{port}")
    assert line["bytes_out"] > bulk.size
    check_line(stage, line, version, cipher, bulk.size, 0)


@pytest.mark.parametrize("backend", ["tcp", "unix"])
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_up(stage, certificates, bulk, tag, version, cipher, backend):
    listener = stage["app" if backend == "tcp" else "app-unix"]
    since = stage.proxy.mark()
    answer = clients.curl(listener, f"/{tag}", certificates.ca, *clients.curl_tls(version, cipher), "--upload-file", bulk.path,
                          "--header", "Expect:", "--write-out", "%{local_port}").decode().splitlines()
    assert answer[0] == f"{bulk.size} {bulk.digest}"
    line = stage.proxy.connection(since, client=f"127.0.0.1:{answer[1]}")
    assert line["bytes_in"] > bulk.size
    check_line(stage, line, version, cipher, 0, bulk.size)


@pytest.mark.parametrize("version", VERSIONS)
def test_sizes_around_a_record(stage, actor, dial, tag, version):
    """Sizes at which a record, a buffer, or the late move into the kernel begins or ends."""
    for index, size in enumerate([0, 1, 15, 4095, 4096, 16383, 16384, 16385, 65536, 262143, 262144, 262145, 300000]):
        client = dial(stage["app"], version=version)
        client.send_data(f"send {tag}-{index} {size}\n".encode())
        data, end = client.read_to_end()
        assert (len(data), end) == (size, "close_notify")
        client.send_data(os.urandom(size))
        client.close_notify()
        session = actor.session(f"{tag}-{index}")
        assert session.ended.wait(ringbolt.WAIT) and session.end == "eof" and session.received == size
        line = stage.line(client)
        assert line["end"] == "done" and line["bytes_out"] == size


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_odd_records_across_the_move(stage, actor, dial, tag, version, cipher):
    """Records of odd sizes, several in a segment and split between segments, while the late layer moves into the kernel."""
    client = dial(stage["app-unix"], version=version, cipher=cipher)
    client.send_data(f"sink {tag}\n".encode())
    wire, sent = b"", 0
    for index in range(400):
        size = (index * 2654435761) % 2500 + (0 if index % 10 else 8000)
        wire += client.seal(rawtls.DATA, os.urandom(size))
        sent += size
        if len(wire) > 50000:
            client.send(wire[:-1000])
            wire = wire[-1000:]
    client.send(wire)
    client.close_notify()
    data, end = client.read_to_end()
    assert data.split()[0] == str(sent).encode() and end == "close_notify"

# SPDX-License-Identifier: Apache-2.0
"""A big file goes down and up and keeps its checksum, in every combination of version, cipher, record layer and backend."""
import pytest

import cases
import clients
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


@pytest.mark.parametrize("backend", ["tcp", "unix"])
@pytest.mark.parametrize("case", cases.CASES)
@pytest.mark.parametrize("version", VERSIONS)
def test_case(stage, actor, actor_unix, dial, tag, version, case, backend):
    listener, server = (stage["app"], actor) if backend == "tcp" else (stage["app-unix"], actor_unix)
    cases.CASES[case](cases.Talk(stage, server, tag, lambda **options: dial(listener, version=version, **options),
                                 [{"cipher": cipher} for cipher in CIPHERS]))

# SPDX-License-Identifier: Apache-2.0
"""Clients that other people wrote: each fetches something through the proxy and verifies its certificate."""
import re
import ssl
import subprocess

import pytest

import clients
import rawtls

ANSWER = b'{"answer":42}\n'
VERSIONS = ["1.2", "1.3"]


@pytest.mark.parametrize("version", VERSIONS)
def test_curl(stage, certificates, version):
    since = stage.proxy.mark()
    body = clients.curl(stage["http"], "/api", certificates.ca, *clients.curl_tls(version, "AES-256-GCM"))
    assert body == ANSWER
    line = stage.proxy.connection(since, listener="http")
    assert (line["sni"], line["tls"], line["end"]) == ("localhost", f"TLSv{version}", "done")
    assert line["alpn"] == "http/1.1" and line["listener"] == "http" and line["upstream"] == "http"


def test_curl_many_requests_in_one_connection(stage, certificates):
    since = stage.proxy.mark()
    body = clients.curl(stage["http"], "/api?[1-100]", certificates.ca)
    assert body == 100 * ANSWER
    assert stage.proxy.connection(since, listener="http")["bytes_out"] > 100 * len(ANSWER)


def test_curl_http2(stage, certificates):
    since = stage.proxy.mark()
    output = clients.curl(stage["h2"], "/api", certificates.ca, "--http2", "--write-out", "%{http_version}")
    assert output == ANSWER + b"2"
    assert stage.proxy.connection(since, listener="h2")["alpn"] == "h2"


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
@pytest.mark.parametrize("version", VERSIONS)
def test_both_certificates_are_served(stage, dial, version, kind):
    client = dial(stage["app"], version=version, certificate=kind)
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"


@pytest.mark.parametrize("cipher", list(clients.SUITES))
@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_s_client(stage, certificates, version, cipher):
    since = stage.proxy.mark()
    output = clients.s_client(stage["http"], "/api", certificates.ca, version, cipher)
    assert ANSWER.strip() in output
    assert stage.proxy.connection(since, listener="http")["end"] == "done"


@pytest.mark.parametrize("version", VERSIONS)
def test_gnutls_cli(stage, certificates, version):
    since = stage.proxy.mark()
    output = clients.gnutls_cli(stage["http"], "/api", certificates.ca, version)
    assert ANSWER.strip() in output
    line = stage.proxy.connection(since, listener="http")
    assert (line["tls"], line["end"]) == (f"TLSv{version}", "done")


@pytest.mark.parametrize("version", VERSIONS)
def test_node(stage, certificates, bulk, version):
    result = clients.node(stage["http"], "/bulk", certificates.ca, version)
    assert result == {**result, "protocol": f"TLSv{version}", "length": bulk.size, "digest": bulk.digest, "complete": True}


@pytest.mark.parametrize("version", VERSIONS)
def test_python_resumes(stage, certificates, version):
    """A ticket from one connection resumes the next ones, whichever worker they meet."""
    context = clients.python_context(certificates.ca, version)
    session = None
    for attempt in range(6):
        since = stage.proxy.mark()
        with clients.python_connect(stage["app"], context, session) as client:
            host, port = client.getsockname()
            client.sendall(b"echo x\nhello")
            assert client.recv(100) == b"hello"
            assert client.session_reused == (attempt > 0)
            session = client.session
            client = client.unwrap()
            client.close()
        line = stage.proxy.connection(since, client=f"{host}:{port}")
        assert line["resumed"] == (attempt > 0) and line["end"] == "done"


def test_wrk(stage):
    """Load over many connections that are dropped without a goodbye."""
    output = subprocess.run(["wrk", "--threads", "1", "--connections", "20", "--duration", "2s",
                             f"https://localhost:{stage['http'].number}/api"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, check=True).stdout
    assert "Socket errors" not in output and "Non-2xx" not in output, output
    assert int(re.search(r"(\d+) requests in", output).group(1)) > 20, output


@pytest.mark.parametrize("protocol", ["h2", "http"])
def test_h2load(stage, protocol):
    options = ["--h1"] if protocol == "http" else []
    output = subprocess.run(["h2load", "--requests", "1000", "--clients", "10", "--max-concurrent-streams", "10", *options,
                             f"https://localhost:{stage[protocol].number}/api"], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in output, output


def test_certificate_of_a_stranger_is_refused_by_the_client(stage, work):
    """The other side of verification: without our CA a client says so in an alert, and the log tells."""
    context = ssl.create_default_context()
    since = stage.proxy.mark()
    with pytest.raises(ssl.SSLCertVerificationError):
        clients.python_connect(stage["h2"], context)
    line = stage.proxy.connection(since, listener="h2")
    # In TLS 1.3 the server may be done when the client's alert comes.
    assert line["end"] in ("handshake_failed", "client_alert") and line["alert"] == "unknown_ca"


def test_websocket_like(stage, certificates, tag):
    """A long exchange of small messages in turns and in bursts, as a WebSocket has."""
    with clients.python_connect(stage["app"], clients.python_context(certificates.ca, "1.3")) as client:
        stream = client.makefile("rwb")
        stream.write(f"echo {tag}\n".encode())
        for turn in range(300):
            burst = [bytes([turn % 251]) * ((turn * 37 + i * 101) % 1500 + 1) for i in range(turn % 5 + 1)]
            for message in burst:
                stream.write(len(message).to_bytes(4, "big") + message)
                stream.flush()
            for message in burst:
                length = int.from_bytes(stream.read(4), "big")
                assert length == len(message) and stream.read(length) == message


def test_many_clients_at_once(stage, certificates, bulk):
    """Several kinds of client together, none disturbs another."""
    command = clients.curl_command(stage["http"], "/bulk", certificates.ca)
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for _ in range(4)]
    quick = clients.curl(stage["http"], "/api", certificates.ca)
    assert quick == ANSWER
    for process in running:
        length = 0
        while data := process.stdout.read(1 << 20):
            length += len(data)
        assert process.wait() == 0 and length == bulk.size


def test_raw_client_agrees(stage, dial):
    """The client of the hostile tests is itself a correct one."""
    for version in VERSIONS:
        for cipher in rawtls.CIPHERS:
            for group in rawtls.GROUPS:
                client = dial(stage["app"], version=version, cipher=cipher, group=group)
                client.send_data(b"echo x\nhello")
                assert client.read(5) == b"hello"
                client.close_notify()
                assert client.end() == "close_notify"

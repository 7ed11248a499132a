# SPDX-License-Identifier: Apache-2.0
"""Files of TLS towards servers that change while the proxy runs: seen without being told, good ones taken over by all workers and checks, bad
ones named."""
import os
import signal

import pytest

import pki
import ringbolt

pytestmark = pytest.mark.any_layer


@pytest.fixture
def put(tmp_path):
    """put(name, bytes): replaces a file as tools do, whole or not at all."""
    def write(name, data):
        path = str(tmp_path / name)
        with open(path + ".new", "wb") as file:
            file.write(data)
        os.chmod(path + ".new", 0o600)
        os.replace(path + ".new", path)
        return path
    return write


def begin(start, servers, tls, **keys):
    return start({"app": [server.address for server in servers]}, config={"workers": 1}, sends={"app": {"tls": tls, **keys}})


def end_of(stage, dial):
    client = dial(stage["app"])
    client.send_data(b"hello\n")
    client.read_to_end()
    return stage.line_at_end(client)


REPLACED = "files of TLS towards servers replaced"
WRONG = "files of TLS towards servers are wrong"
HEALED = "files of TLS towards servers healed"


def wait_for(stage, message, since):
    return stage.proxy.wait_for_log(lambda line: line["message"] == message, since)


def acted(stage):
    """Every worker has what was changed so far."""
    stage.proxy.admin("reload")


def test_authorities(start, serve, dial, put, authority):
    """Another authority: who was trusted no longer is, whatever sessions there were; a bad file changes nothing."""
    other = pki.Authority("Another root")
    server, others = serve(authority.issue()), serve(other.issue())
    ca = put("ca.pem", authority.leaf_pem())
    stage = begin(start, [server], {"ca": ca})
    assert [end_of(stage, dial)["server_resumed"] for _ in range(2)] == [False, True]
    since = stage.proxy.mark()
    put("ca.pem", other.leaf_pem())
    line = wait_for(stage, REPLACED, since)
    assert (line["upstream"], line["authorities"], line["revocation_lists"], line["certificate"]) == ("app", 1, 0, False)
    acted(stage)
    assert "issuer not trusted" in end_of(stage, dial)["detail"]
    server.context = others.context
    assert [end_of(stage, dial)["server_resumed"] for _ in range(2)] == [False, True]
    since = stage.proxy.mark()
    put("ca.pem", b"nonsense")
    assert ca in wait_for(stage, WRONG, since)["reason"]
    done = ringbolt.call("reload", "-s", stage.proxy.admin_path)
    assert done.returncode == 1 and ca in done.stderr
    assert end_of(stage, dial)["end"] == "done"
    put("ca.pem", other.leaf_pem())
    wait_for(stage, HEALED, since)
    assert stage.proxy.log_text(since).count(REPLACED) == 0
    assert end_of(stage, dial)["server_resumed"] is True


def test_revoked(start, serve, dial, put, authority):
    pair = authority.issue()
    server = serve(pair)
    crl = put("crl.pem", authority.crl([]))
    stage = begin(start, [server], {"ca": put("ca.pem", authority.leaf_pem()), "crl": [crl]})
    assert [end_of(stage, dial)["server_resumed"] for _ in range(2)] == [False, True]
    since = stage.proxy.mark()
    put("crl.pem", authority.crl([pair]))
    assert wait_for(stage, REPLACED, since)["revocation_lists"] == 1
    acted(stage)
    line = end_of(stage, dial)
    assert line["end"] == "server_untrusted" and "certificate revoked" in line["detail"]


def test_certificate(start, serve, dial, put, authority):
    """Chain and key change together, or not at all."""
    server = serve(authority.issue(), ca=authority)
    first, second = authority.client("first"), authority.client("second")
    files = {"chain": put("mine.pem", first.chain_pem()), "key": put("mine.key", first.key_pem())}
    stage = begin(start, [server], {"ca": put("ca.pem", authority.leaf_pem()), "certificate": files})

    def shown(count):
        assert end_of(stage, dial)["end"] == "done"
        return server.last(count).peer["subject"][-1][0][1]

    assert shown(1) == "first"
    since = stage.proxy.mark()
    put("mine.pem", second.chain_pem())
    assert "does not belong to the certificate" in wait_for(stage, WRONG, since)["reason"]
    assert shown(2) == "first"
    put("mine.key", second.key_pem())
    wait_for(stage, REPLACED, since)
    acted(stage)
    assert shown(3) == "second"


def test_checks_and_later_workers(start, serve, dial, put, authority):
    """The master's checks go by the new files, and so does a worker that is started later."""
    other = pki.Authority("Another root")
    servers = [serve(authority.issue()), serve(other.issue())]
    stage = begin(start, servers, {"ca": put("ca.pem", authority.leaf_pem())},
                  health={"check": "tls", "interval": "100ms", "timeout": "5s", "rise": 1, "fall": 1})

    def is_out(server):
        return lambda line: line["message"] == "server is out" and line["server"] == server.address

    stage.proxy.wait_for_log(is_out(servers[1]))
    since = stage.proxy.mark()
    put("ca.pem", other.leaf_pem())
    stage.proxy.wait_for_log(is_out(servers[0]), since)
    stage.proxy.wait_for_log(lambda line: line["message"] == "server is back" and line["server"] == servers[1].address, since)
    acted(stage)
    before = stage.proxy.workers()
    os.kill(before[0], signal.SIGKILL)
    ringbolt.wait_until(lambda: stage.proxy.workers() and stage.proxy.workers() != before, "the worker is replaced")
    line = end_of(stage, dial)
    assert (line["end"], line["server"]) == ("done", servers[1].address)

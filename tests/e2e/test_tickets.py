# SPDX-License-Identifier: Apache-2.0
"""Session tickets: whoever comes back needs no full handshake, whichever worker it meets, whatever was reloaded, and with key files
also after a restart and at another instance."""
import base64
import os
import re
import socket
import subprocess

import pytest

import clients
import netns
import pki
import ringbolt

VERSIONS = ["1.2", "1.3"]
KEY_SIZES = {48: "AES-128", 80: "AES-256"}

pytestmark = pytest.mark.any_layer


class Visitor:
    """A client that comes back with its last session."""

    def __init__(self, ca, version):
        self.context, self.session = clients.python_context(ca, version), None

    def visit(self, listener, connect=socket.create_connection, keep=True):
        """Whether the session was resumed."""
        with self.context.wrap_socket(connect(listener.address), server_hostname="localhost", session=self.session) as client:
            client.sendall(b"echo x\nhello")
            assert client.recv(100) == b"hello"
            if keep:
                self.session = client.session
            return client.session_reused

    def met(self, listener, **options):
        """It comes for the first time."""
        assert not self.visit(listener, **options)
        return self


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def visitor(certificates, version):
    return lambda: Visitor(certificates.ca, version)


def key_file(path, size, encoded=False):
    data = os.urandom(size)
    return pki.write_whole(str(path), base64.b64encode(data) + b"\n" if encoded else data, 0o600), data[:16]


def key_name(dial, listener):
    """The name of the key that encrypts tickets now: what they begin with (RFC 5077 §4). Through this one worker or the other."""
    client = dial(listener)
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"
    ticket = client.tickets[0]
    client.close()
    at = 8 + 1 + ticket[8]  # lifetime, age_add, nonce (RFC 8446 §4.6.1)
    return ticket[at + 2:at + 2 + 16]


def key_names(dial, listener, count=8):
    return {key_name(dial, listener) for _ in range(count)}


# ---- one instance, keys of its own

def test_every_worker_resumes(start, actor, visitor):
    """100 % over two workers."""
    stage = start({"app": [actor.address]})
    one = visitor().met(stage["app"])
    count = 40
    assert [one.visit(stage["app"]) for _ in range(count)] == [True] * count
    lines = stage.proxy.connections(count + 1)
    assert {line["process"] for line in lines if line["resumed"]} == {"worker 0", "worker 1"}
    assert len([line for line in lines if not line["resumed"]]) == 1
    assert len({line["certificate"] for line in lines}) == 1


def test_a_new_worker_resumes(start, actor, visitor):
    """One that takes a dead one's place has its keys."""
    stage = start({"app": [actor.address]})
    one = visitor().met(stage["app"])
    for pid in stage.proxy.workers():
        since = stage.proxy.mark()
        os.kill(pid, 9)
        stage.proxy.wait_for_log(lambda e: e["message"] == "worker replaced", since)
    assert [one.visit(stage["app"]) for _ in range(8)] == [True] * 8


def test_a_reload_keeps_sessions(start, actor, version, tmp_path):
    """Nothing changed, or another certificate: who has a session comes back with it."""
    tmp_path.chmod(0o755)
    ca = pki.Authority("Ringbolt test root")
    files = pki.Rename(str(tmp_path), ca.issue())
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": [files.entry]}})
    one = Visitor(pki.write_whole(str(tmp_path / "ca.pem"), ca.leaf_pem()), version).met(stage["app"])
    stage.proxy.admin("reload")
    assert [one.visit(stage["app"]) for _ in range(8)] == [True] * 8
    files.replace(ca.issue())
    stage.proxy.admin("reload")
    assert [one.visit(stage["app"]) for _ in range(8)] == [True] * 8


def test_own_keys_rotate_and_old_ones_decrypt(start, actor, visitor, dial):
    stage = start({"app": [actor.address]}, config={"tickets": {"rotate": "1s", "lifetime": "60s"}})
    one = visitor().met(stage["app"])
    first = key_names(dial, stage["app"])
    ringbolt.wait_until(lambda: not first & key_names(dial, stage["app"], 1), "another key encrypts")
    assert [one.visit(stage["app"], keep=False) for _ in range(8)] == [True] * 8


def test_without_files_a_restart_forgets(start, actor, visitor):
    """Which shows that the tests below can fail."""
    one = visitor()
    one.met(start({"app": [actor.address]})["app"])
    assert not one.visit(start({"app": [actor.address]})["app"])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_lifetime_is_told(start, actor, certificates, version):
    stage = start({"app": [actor.address]}, config={"tickets": {"lifetime": "90m"}})
    assert b"TLS session ticket lifetime hint: 5400 (seconds)" in s_client_output(stage["app"].address, certificates.ca, version)


# ---- keys from files

@pytest.mark.parametrize("size", list(KEY_SIZES))
def test_a_restart_with_key_files(start, actor, visitor, tmp_path, size):
    tickets = {"keys": [key_file(tmp_path / "ticket.key", size)[0]]}
    stage = start({"app": [actor.address]}, config={"tickets": tickets})
    one = visitor().met(stage["app"])
    stage.proxy.stop()
    again = start({"app": [actor.address]}, config={"tickets": tickets})
    assert [one.visit(again["app"]) for _ in range(12)] == [True] * 12


def test_key_files_in_their_three_forms(start, actor, dial, tmp_path):
    """nginx's 48 and 80 bytes, and HAProxy's base64: each is the key whose name it begins with."""
    for size, encoded in ((48, False), (80, False), (80, True)):
        path, name = key_file(tmp_path / f"{size}-{encoded}.key", size, encoded)
        stage = start({"app": [actor.address]}, config={"tickets": {"keys": [path]}})
        assert key_names(dial, stage["app"], 4) == {name}


def test_key_files_rotate(start, actor, visitor, dial, tmp_path):
    """The new key encrypts, the old one still decrypts, until it is gone."""
    current, previous = (str(tmp_path / name) for name in ("current.key", "previous.key"))
    _, first = key_file(current, 80)
    key_file(previous, 48)
    stage = start({"app": [actor.address]}, config={"tickets": {"keys": [current, previous]}})
    one = visitor().met(stage["app"])
    assert key_names(dial, stage["app"]) == {first}

    os.rename(current, previous)
    _, second = key_file(current, 80)
    stage.proxy.admin("reload")
    assert key_names(dial, stage["app"]) == {second}
    assert [one.visit(stage["app"], keep=False) for _ in range(8)] == [True] * 8

    key_file(previous, 48)
    stage.proxy.admin("reload")
    assert [one.visit(stage["app"], keep=False) for _ in range(4)] == [False] * 4
    one.visit(stage["app"])
    assert [one.visit(stage["app"]) for _ in range(8)] == [True] * 8


def test_key_files_are_watched(start, actor, dial, tmp_path):
    path, _ = key_file(tmp_path / "ticket.key", 80)
    stage = start({"app": [actor.address]}, config={"tickets": {"keys": [path]}})
    _, name = key_file(path, 80)
    ringbolt.wait_until(lambda: key_names(dial, stage["app"], 4) == {name}, "the new key encrypts")


def test_a_bad_key_file_keeps_the_old_keys(start, actor, visitor, tmp_path):
    path, _ = key_file(tmp_path / "ticket.key", 80)
    stage = start({"app": [actor.address]}, config={"tickets": {"keys": [path]}})
    one = visitor().met(stage["app"])
    since = stage.proxy.mark()
    pki.write_whole(path, b"short", 0o600)
    stage.proxy.admin("reload", status=1)
    line = stage.proxy.wait_for_log(lambda e: e["level"] in ("warning", "error") and path in str(e), since)
    assert re.search(r"48|80", str(line))
    assert [one.visit(stage["app"]) for _ in range(8)] == [True] * 8


# ---- two instances

@pytest.fixture
def namespace():
    try:
        one = netns.Namespace()
    except OSError as error:
        pytest.skip(f"no network namespace may be made here: {error}")
    yield one
    one.close()


class Elsewhere:
    """A second instance, in its own network namespace, in front of a server at a unix address."""

    def __init__(self, namespace, work, config):
        self.namespace, self.address = namespace, config["listeners"][0]["address"]
        host, _, port = self.address.rpartition(":")
        self.address = (host, int(port))
        self.proxy = ringbolt.Ringbolt(work, config, prefix=namespace.prefix())

    def connect(self, address):
        return self.namespace.call(lambda: socket.create_connection(address))


@pytest.fixture
def elsewhere(start, actor_unix, namespace, work):
    """Two instances with the same configuration, the same address and the same files, on two networks."""
    made = []

    def make(tickets):
        stage = start({"app": [actor_unix.address]}, config={"tickets": tickets} if tickets else None)
        config = {key: value for key, value in stage.config.items() if key != "admin"}
        made.append(Elsewhere(namespace, work, config))
        return stage, made[-1]

    yield make
    for one in made:
        one.proxy.stop()


@pytest.mark.parametrize("size", list(KEY_SIZES))
def test_a_second_instance_with_the_same_files(elsewhere, visitor, tmp_path, size):
    here, there = elsewhere({"keys": [key_file(tmp_path / "ticket.key", size)[0]]})
    one = visitor().met(here["app"])
    assert [one.visit(there, connect=there.connect) for _ in range(12)] == [True] * 12
    assert [one.visit(here["app"]) for _ in range(12)] == [True] * 12
    assert there.proxy.connections(12)  # it was indeed the other one


def test_a_second_instance_without_files(elsewhere, visitor):
    here, there = elsewhere(None)
    one = visitor().met(here["app"])
    assert not one.visit(there, connect=there.connect)


# ---- another client

def s_client_output(address, ca, version, *session, prefix=()):
    return clients.piped([*prefix, "openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", "-servername", "localhost",
                          "-CAfile", ca, "-verify_return_error", "-ign_eof", f"-tls1_{version[-1]}", *session], b"send x 100\n")


def s_client(*arguments, **options):
    """Whether openssl says that it resumed."""
    output = s_client_output(*arguments, **options)
    words = re.search(rb"^(New|Reused), TLSv1\.[23]", output, re.M)
    assert words, output
    return words.group(1) == b"Reused"


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_resumes(elsewhere, namespace, certificates, version, tmp_path):
    """`openssl s_client` keeps its session in a file, from one instance to the other."""
    here, there = elsewhere({"keys": [key_file(tmp_path / "ticket.key", 80)[0]]})
    session = str(tmp_path / "session.pem")
    assert not s_client(here["app"].address, certificates.ca, version, "-sess_out", session)
    for _ in range(4):
        assert s_client(here["app"].address, certificates.ca, version, "-sess_in", session)
    assert s_client(there.address, certificates.ca, version, "-sess_in", session, prefix=namespace.prefix())
    assert not s_client(here["app"].address, certificates.ca, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_gnutls_resumes(start, actor, certificates, version):
    """`gnutls-cli --resume` connects twice."""
    stage = start({"app": [actor.address]})
    done = subprocess.run(["gnutls-cli", "--resume", "--x509cafile", certificates.ca, "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}",
                           "--port", str(stage["app"].number), "--verify-hostname", "localhost", "--sni-hostname", "localhost",
                           "--waitresumption", "127.0.0.1"], input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert b"This is a resumed session" in done.stdout, done.stdout.decode(errors="replace")


# ---- what a ticket must not do

def test_a_forged_ticket_is_a_full_handshake(start, actor, certificates, tmp_path):
    """A ticket of a key with the same name and another secret decrypts to nothing: no alert, a full handshake."""
    path, name = key_file(tmp_path / "ticket.key", 80)
    stage = start({"app": [actor.address]}, config={"tickets": {"keys": [path]}})
    visitors = [Visitor(certificates.ca, version).met(stage["app"]) for version in VERSIONS]
    pki.write_whole(path, name + os.urandom(64), 0o600)
    stage.proxy.admin("reload")
    for one in visitors:
        assert not one.visit(stage["app"])
        assert one.visit(stage["app"])

# SPDX-License-Identifier: Apache-2.0
"""Certificates of clients: who is let in, what the others are told, and what stands in the log."""
import os
import re
import socket
import ssl

import pytest

import clients
import pki
import ringbolt

pytestmark = pytest.mark.any_layer

VERSIONS = ["1.2", "1.3"]


class Guild:
    """Authorities of clients, and members of every kind."""

    def __init__(self, folder):
        self.folder = folder
        self.root = pki.Authority("Ringbolt clients root")
        self.issuing = self.root.intermediate("Ringbolt clients intermediate")
        self.other = pki.Authority("Somebody else's root")
        self.members = {
            "good": self.issuing.client("alice"),
            "of the root itself": self.root.client("bob"),
            "with an RSA key": self.issuing.client("rosa", kind="rsa"),
            "with an Ed25519 key": self.issuing.client("eddie", kind="ed25519"),
            "of another CA": self.other.client("alice"),
            "revoked": self.issuing.client("mallory"),
            "expired": self.issuing.client("old", days=(-9, -1)),
            "not yet valid": self.issuing.client("young", days=(1, 9)),
            "for servers": self.issuing.issue(names=(), subject="server"),
            "without its intermediate": self.issuing.client("lonely"),
        }
        self.members["without its intermediate"].intermediates = []
        self.entries = {name: pair.write(folder, name.replace(" ", "-")) for name, pair in self.members.items()}
        self.ca = self.file("clients-ca.pem", self.root.leaf_pem())
        self.crls = [self.file("root.crl", self.root.crl()), self.file("issuing.crl", self.issuing.crl([self.members["revoked"]]))]
        self.crl_issuer = self.file("clients-ca-and-intermediate.pem", self.root.leaf_pem() + self.issuing.leaf_pem())

    def file(self, name, data):
        return pki.write_whole(os.path.join(self.folder, name), data)

    def auth(self, mode="required", crl=True, **more):
        """A CRL is checked against the bundle, so the authority that signed it is in there."""
        return {"mode": mode, "ca": self.crl_issuer if crl else self.ca, **({"crl": self.crls} if crl else {}), **more}


@pytest.fixture
def guild(tmp_path):
    tmp_path.chmod(0o755)
    return Guild(str(tmp_path))


class Refused(Exception):
    def __init__(self, error):
        super().__init__(str(error))
        self.text = str(error)


class Client:
    """One program with one certificate or none, which may come back with its last session."""

    def __init__(self, ca, version, entry=None):
        self.context, self.session, self.name = clients.python_context(ca, version), None, None
        if entry:
            self.context.load_cert_chain(entry["chain"], entry["key"])

    def visit(self, listener, resume=False):
        """Whether a session was resumed. Refused, if it was not served: in TLS 1.3 a client's handshake is over before the server has
        seen its certificate."""
        try:
            sock = socket.create_connection(listener.address, 30)
            self.name = "%s:%d" % sock.getsockname()
            with self.context.wrap_socket(sock, server_hostname="localhost", session=self.session if resume else None) as client:
                client.sendall(b"echo x\nhello")
                if client.recv(100) != b"hello":
                    raise ConnectionError("closed without an alert")
                self.session = client.session
                return client.session_reused
        except (ssl.SSLError, ConnectionError) as error:
            raise Refused(error) from None


def refused(stage, ca, version, entry, alert, says, listener="app"):
    """Both sides say why."""
    since, client = stage.proxy.mark(), Client(ca, version, entry)
    with pytest.raises(Refused) as caught:
        client.visit(stage[listener])
    words = alert.replace("_", " ")
    assert words in caught.value.text.lower() or f"ALERT_{alert.upper()}" in caught.value.text, caught.value.text
    line = stage.proxy.connection(since, client=client.name)
    assert (line["end"], line["alert"]) == ("handshake_failed", alert), line
    assert re.search(says, line["detail"], re.I), line
    assert "server" not in line and "client_subject" not in line
    return line


def served(stage, ca, version, entry, pair=None, listener="app"):
    since, client = stage.proxy.mark(), Client(ca, version, entry)
    client.visit(stage[listener])
    line = stage.proxy.connection(since, client=client.name)
    assert line.get("client_subject") == (pair.certificate.subject.rfc4514_string() if pair else None), line
    assert line.get("client_fingerprint") == (pair.fingerprint if pair else None), line
    return line


MISSING = {"1.2": "handshake_failure", "1.3": "certificate_required"}

# who → (alert, what the log says of it)
REFUSED = {
    "of another CA": ("unknown_ca", "issuer|authority"),
    "revoked": ("certificate_revoked", "revoked"),
    "expired": ("certificate_expired", "expired"),
    "not yet valid": ("bad_certificate", "not yet valid"),
    "for servers": ("unsupported_certificate", "purpose"),
}
SERVED = ["good", "of the root itself", "with an RSA key", "with an Ed25519 key"]


@pytest.mark.parametrize("version", VERSIONS)
def test_required(start, actor, certificates, guild, version):
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth()}})
    for name in SERVED:
        served(stage, certificates.ca, version, guild.entries[name], guild.members[name])
    refused(stage, certificates.ca, version, None, MISSING[version], "certificate")
    for name, (alert, says) in REFUSED.items():
        refused(stage, certificates.ca, version, guild.entries[name], alert, says)


@pytest.mark.parametrize("version", VERSIONS)
def test_optional(start, actor, certificates, guild, version):
    """Without one is all right; with one it must be good."""
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth("optional")}})
    served(stage, certificates.ca, version, None)
    served(stage, certificates.ca, version, guild.entries["good"], guild.members["good"])
    for name in ("of another CA", "revoked", "expired"):
        refused(stage, certificates.ca, version, guild.entries[name], *REFUSED[name])


def test_off(start, actor, certificates, guild):
    """Nobody is asked, so nobody tells."""
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": {"mode": "off"}}})
    served(stage, certificates.ca, "1.3", guild.entries["of another CA"])


def test_without_crl_nobody_is_revoked(start, actor, certificates, guild):
    """And the intermediate has to come from the client."""
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth(crl=False)}})
    served(stage, certificates.ca, "1.3", guild.entries["revoked"], guild.members["revoked"])
    refused(stage, certificates.ca, "1.3", guild.entries["without its intermediate"], "unknown_ca", "issuer")


def test_the_bundle_may_hold_the_intermediate(start, actor, certificates, guild):
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth()}})
    name = "without its intermediate"
    served(stage, certificates.ca, "1.3", guild.entries[name], guild.members[name])


@pytest.mark.parametrize("version", VERSIONS)
def test_depth(start, actor, certificates, guild, version):
    """How many intermediates there may be."""
    stage = start({name: [actor.address] for name in ("none", "one")},
                  tls={"none": {"client_auth": guild.auth(crl=False, depth=0)}, "one": {"client_auth": guild.auth(crl=False, depth=1)}})
    for listener in ("none", "one"):
        served(stage, certificates.ca, version, guild.entries["of the root itself"], guild.members["of the root itself"], listener)
    served(stage, certificates.ca, version, guild.entries["good"], guild.members["good"], "one")
    refused(stage, certificates.ca, version, guild.entries["good"], "unknown_ca", "long|depth", "none")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_crl_is_reloaded(start, actor, certificates, guild, version):
    """Revoked while everything runs: by itself, and no session from before gets around it."""
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth()}})
    entry, pair = guild.entries["good"], guild.members["good"]
    client = Client(certificates.ca, version, entry)
    client.visit(stage["app"])
    assert client.visit(stage["app"], resume=True)
    guild.file("issuing.crl", guild.issuing.crl([pair, guild.members["revoked"]]))

    def is_revoked():
        try:
            Client(certificates.ca, version, entry).visit(stage["app"])
            return False
        except Refused:
            return True

    ringbolt.wait_until(is_revoked, "the new CRL counts")
    stage.proxy.admin("reload")
    refused(stage, certificates.ca, version, entry, "certificate_revoked", "revoked")
    with pytest.raises(Refused):
        client.visit(stage["app"], resume=True)
    served(stage, certificates.ca, version, guild.entries["with an RSA key"], guild.members["with an RSA key"])


def test_a_ca_is_reloaded(start, actor, certificates, guild):
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth(crl=False)}})
    stranger = "of another CA"
    refused(stage, certificates.ca, "1.3", guild.entries[stranger], *REFUSED[stranger])
    guild.file("clients-ca.pem", guild.root.leaf_pem() + guild.other.leaf_pem())
    stage.proxy.admin("reload")
    served(stage, certificates.ca, "1.3", guild.entries[stranger], guild.members[stranger])
    served(stage, certificates.ca, "1.3", guild.entries["good"], guild.members["good"])
    guild.file("clients-ca.pem", guild.other.leaf_pem())
    stage.proxy.admin("reload")
    refused(stage, certificates.ca, "1.3", guild.entries["good"], "unknown_ca", "issuer")


def test_a_bad_crl_keeps_the_last_good_one(start, actor, certificates, guild):
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth()}})
    bad = {"cut off": guild.issuing.crl()[:100], "out of date": guild.issuing.crl(days=(-9, -1)), "of somebody else": guild.other.crl()}
    for name, data in bad.items():
        since = stage.proxy.mark()
        guild.file("issuing.crl", data)
        stage.proxy.admin("reload", status=1)
        stage.proxy.wait_for_log(lambda e: e["level"] in ("warning", "error") and "issuing.crl" in str(e), since)
        served(stage, certificates.ca, "1.3", guild.entries["good"], guild.members["good"])
        refused(stage, certificates.ca, "1.3", guild.entries["revoked"], *REFUSED["revoked"])


def test_a_session_does_not_get_around_it(start, actor, certificates, guild):
    """A ticket from a listener that asks nobody is a full handshake at one that does."""
    stage = start({name: [actor.address] for name in ("open", "closed", "closed too")},
                  tls={"closed": {"client_auth": guild.auth()}, "closed too": {"client_auth": guild.auth()}})
    for version in VERSIONS:
        client = Client(certificates.ca, version)
        client.visit(stage["open"])
        assert client.visit(stage["open"], resume=True)
        with pytest.raises(Refused):
            client.visit(stage["closed"], resume=True)
        client = Client(certificates.ca, version, guild.entries["good"])
        client.visit(stage["open"])
        assert not client.visit(stage["closed"], resume=True)
        assert client.visit(stage["closed too"], resume=True)


def test_a_resumed_client_is_still_named(start, actor, certificates, guild):
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth()}})
    pair = guild.members["good"]
    for version in VERSIONS:
        client = Client(certificates.ca, version, guild.entries["good"])
        client.visit(stage["app"])
        since = stage.proxy.mark()
        assert client.visit(stage["app"], resume=True)
        line = stage.proxy.connection(since, client=client.name)
        assert line["resumed"]
        assert (line["client_subject"], line["client_fingerprint"]) == (pair.certificate.subject.rfc4514_string(), pair.fingerprint)


def test_names_of_authorities_are_sent(start, actor, certificates, guild):
    """A browser asks its user only for certificates that the server would take."""
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth("optional", crl=False)}})
    for version in VERSIONS:
        output = clients.piped(["openssl", "s_client", "-connect", f"127.0.0.1:{stage['app'].number}", "-servername", "localhost",
                                "-CAfile", certificates.ca, "-ign_eof", f"-tls1_{version[-1]}"], b"send x 100\n")
        # OpenSSL 3.5 prints names without blanks.
        assert b"Acceptable client certificate CA names\nCN=Ringbolt clients root\n" in output.replace(b" = ", b"="), output


def test_a_gnutls_client(start, actor, certificates, guild):
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth()}})
    entry = guild.entries["good"]
    since = stage.proxy.mark()
    output = clients.piped(["gnutls-cli", "--x509cafile", certificates.ca, "--port", str(stage["app"].number), "--verify-hostname",
                            "localhost", "--sni-hostname", "localhost", "--x509certfile", entry["chain"], "--x509keyfile", entry["key"],
                            "127.0.0.1"], b"send x 100\n")
    assert b"- Successfully sent 1 certificate(s) to server." in output or b"Handshake was completed" in output
    assert stage.proxy.connection(since)["client_fingerprint"] == guild.members["good"].fingerprint


def test_a_hostile_name_in_a_client_certificate(start, actor, certificates, guild):
    """It can't forge a line, and a long one is cut."""
    stage = start({"app": [actor.address]}, config={"log": {"format": "text"}}, tls={"app": {"client_auth": guild.auth(crl=False)}})
    hostile = guild.issuing.client('x\n2026-11-21T00:00:00.000Z info ready end="done" \x1b[31m')
    entry = hostile.write(guild.folder, "hostile")
    since = stage.proxy.mark()
    Client(certificates.ca, "1.3", entry).visit(stage["app"])
    line = stage.proxy.connection(since)
    assert line["client_fingerprint"] == hostile.fingerprint
    assert "\n" not in line["client_subject"] and "\x1b" not in line["client_subject"]
    assert len([one for one in stage.proxy.lines if one["message"] == "ready"]) == 1


def test_a_client_without_tls_is_no_client(start, actor, guild):
    """Whoever sends nothing or garbage gets nowhere near the server."""
    accepted = actor.accepted
    stage = start({"app": [actor.address]}, tls={"app": {"client_auth": guild.auth()}})
    since = stage.proxy.mark()
    with socket.create_connection(stage["app"].address) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        sock.recv(100)
    assert stage.proxy.connection(since)["end"] == "handshake_failed"
    assert actor.accepted == accepted

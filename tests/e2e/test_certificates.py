# SPDX-License-Identifier: Apache-2.0
"""Which certificate a client is shown, the forms that keys come in, the policy of a listener, and the commands that tell and drain.

RINGBOLT_E2E_NAMES=500   certificates in the big folder (default 2000)
"""
import base64
import datetime
import json
import os
import re
import socket
import ssl
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import clients
import pki
import rawtls
import ringbolt

pytestmark = pytest.mark.any_layer

VERSIONS = ["1.2", "1.3"]
NAMES = int(os.environ.get("RINGBOLT_E2E_NAMES", "2000"))


@pytest.fixture(scope="module")
def ca():
    return pki.Authority("Ringbolt names root").intermediate("Ringbolt names intermediate")


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    return str(tmp_path)


def shown(listener, sni="localhost", version="1.3", kind="ecdsa"):
    """Fingerprint of the certificate that a client is shown which can only use this kind."""
    client = rawtls.RawClient(listener.address, version=version, sni=sni, certificate=kind)
    try:
        client.handshake()
        return pki.fingerprint(client.chain[0])
    finally:
        client.close()


def identify(pairs, fingerprint):
    return next(name for name, pair in pairs.items() if pair.fingerprint == fingerprint)


class Hosts:
    """A listener with a certificate for each of some names."""

    def __init__(self, start, actor, folder, pairs, **tls):
        self.pairs = pairs
        entries = [pair.write(folder, f"{index}") for index, pair in enumerate(pairs.values())]
        self.stage = start({"app": [actor.address]}, tls={"app": {"certificates": entries, **tls}})

    def ask(self, sni, **options):
        return identify(self.pairs, shown(self.stage["app"], sni, **options))


# ---- by name

# the client asks for → it is shown
ASKED = {
    "a.example": "a", "A.EXAMPLE": "a", "b.example": "b", "also-b.example": "b",
    "x.example": "wildcard", "y.example": "wildcard",
    "x.y.example": "default", "example": "default", "unknown.test": "default", "": "default", "default.test": "default",
    "deep.x.example": "default",
}


@pytest.fixture(scope="module")
def pairs(ca):
    return {"default": ca.issue(["default.test"]), "wildcard": ca.issue(["*.example"]), "a": ca.issue(["a.example"]),
            "b": ca.issue(["b.example", "also-b.example"])}


@pytest.mark.parametrize("version", VERSIONS)
def test_names(start, actor, folder, pairs, version):
    """Exact, wildcard (one label only), whatever the case; and the first one for everybody else."""
    hosts = Hosts(start, actor, folder, pairs)
    assert {sni: hosts.ask(sni, version=version) for sni in ASKED} == ASKED


@pytest.mark.parametrize("version", VERSIONS)
def test_strict_sni(start, actor, folder, pairs, version):
    hosts = Hosts(start, actor, folder, pairs, strict_sni=True)
    for sni in ("a.example", "x.example", "default.test"):
        assert hosts.ask(sni, version=version) == ASKED[sni]
    for sni in ("unknown.test", "x.y.example", ""):
        since = hosts.stage.proxy.mark()
        with pytest.raises(rawtls.Alerted) as caught:
            hosts.ask(sni, version=version)
        assert caught.value.name == "unrecognized_name" and caught.value.level == rawtls.FATAL
        line = hosts.stage.proxy.connection(since, end="handshake_failed")
        assert (line["end"], line["alert"], line.get("sni", "")) == ("handshake_failed", "unrecognized_name", sni)
        assert line["detail"]


def test_names_from_the_configuration(start, actor, folder, ca):
    """`names` counts instead of what the certificate holds."""
    first, second = ca.issue(["a.example"]), ca.issue(["b.example"])
    entries = [first.write(folder, "first"), {**second.write(folder, "second"), "names": ["c.example", "*.d.example"]}]
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": entries}})
    for sni, pair in {"a.example": first, "b.example": first, "c.example": second, "x.d.example": second}.items():
        assert shown(stage["app"], sni) == pair.fingerprint, sni


@pytest.mark.parametrize("version", VERSIONS)
def test_both_kinds(start, actor, folder, ca, version):
    """RSA and ECDSA for the same name: by what the client can. A name with its own pair does not take the default's other kind away."""
    pairs = {"default ecdsa": ca.issue(["default.test"]), "default rsa": ca.issue(["default.test"], kind="rsa"),
             "ecdsa": ca.issue(["a.example"]), "rsa": ca.issue(["a.example"], kind="rsa"), "only rsa": ca.issue(["b.example"], kind="rsa")}
    hosts = Hosts(start, actor, folder, pairs)
    for kind in ("ecdsa", "rsa"):
        assert hosts.ask("a.example", version=version, kind=kind) == kind
        assert hosts.ask("unknown.test", version=version, kind=kind) == f"default {kind}"
    assert hosts.ask("b.example", version=version, kind="rsa") == "only rsa"
    # Who can do both is shown the one for its name, whichever kind that is.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    for name, expected in {"b.example": "only rsa", "a.example": "ecdsa"}.items():
        with context.wrap_socket(socket.create_connection(hosts.stage["app"].address), server_hostname=name) as client:
            assert identify(pairs, pki.fingerprint(client.getpeercert(True))) == expected


def test_the_chain_is_sent_in_order(start, actor, folder, ca):
    """Intermediates are sent after the certificate however the file has them, and the root is left out."""
    deeper = ca.intermediate("Ringbolt deeper intermediate")
    pair = deeper.issue(["a.example"])
    entry = pair.write(folder, "a")
    pki.write_whole(entry["chain"], pair.leaf_pem() + ca.leaf_pem() + deeper.leaf_pem())
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": [entry]}})
    for version in VERSIONS:
        client = rawtls.RawClient(stage["app"].address, version=version, sni="a.example").handshake()
        assert client.chain == [pair.der, deeper.der, ca.der]
        client.close()


# ---- a folder of them

def test_a_folder(start, actor, folder, ca):
    """Pairs come, change and go while it runs."""
    pairs = {name: ca.issue([f"{name}.example"]) for name in ("a", "b", "c")}
    where = os.path.join(folder, "certificates")
    os.mkdir(where)
    for name in ("a", "b"):
        pairs[name].write(where, name)
    stage = start({"app": [actor.address]}, tls={"app": {"certificate_dir": where}})
    for name in ("a", "b"):
        assert shown(stage["app"], f"{name}.example") == pairs[name].fingerprint
    entry = pairs["c"].write(where, "c")
    ringbolt.wait_until(lambda: shown(stage["app"], "c.example") == pairs["c"].fingerprint, "a new pair is served")
    pairs["c"] = ca.issue(["c.example", "d.example"])
    pairs["c"].write(where, "c")
    ringbolt.wait_until(lambda: shown(stage["app"], "d.example") == pairs["c"].fingerprint, "a changed pair is served")
    assert shown(stage["app"], "c.example") == pairs["c"].fingerprint
    for path in entry.values():
        os.unlink(path)
    ringbolt.wait_until(lambda: shown(stage["app"], "d.example") == pairs["a"].fingerprint, "the pair is gone")
    assert len(stage.proxy.admin_json("certificates")["certificates"]) == 2


def test_a_bad_pair_in_a_folder(start, actor, folder, ca):
    """It is warned about and the others are served; it comes in when it is right."""
    good, other = ca.issue(["a.example"]), ca.issue(["b.example"])
    good.write(folder, "a")
    entry = other.write(folder, "b")
    pki.write_whole(entry["key"], good.key_pem(), 0o600)
    stage = start({"app": [actor.address]}, tls={"app": {"certificate_dir": folder}})
    assert [line for line in stage.proxy.lines if line["level"] == "warning" and entry["key"] in json.dumps(line)]
    assert shown(stage["app"], "b.example") == good.fingerprint
    pki.write_whole(entry["key"], other.key_pem(), 0o600)
    ringbolt.wait_until(lambda: shown(stage["app"], "b.example") == other.fingerprint, "the healed pair is served")


def private(path, flags):
    return os.open(path, flags, 0o600)


@pytest.fixture(scope="module")
def many(ca, work):
    """A folder of certificates for n0.example, n1.example, … and a wildcard, each in one file with the key that they share."""
    where = os.path.join(work, "many")
    os.mkdir(where)
    key = pki.key_make("ecdsa")
    key_pem = ca.issue(key=key).key_pem()
    for number in range(NAMES):
        with open(os.path.join(where, f"n{number}.pem"), "wb", opener=private) as f:
            f.write(ca.issue([f"n{number}.example"], key=key).chain_pem() + key_pem)
    ca.issue(["*.wild.example"], key=key).write(where, "wildcard")
    return where


@pytest.mark.seconds(600)
def test_many_names(start, actor, ca, many, work):
    """Every name is served, and the change of one is seen soon, by the watch and by a reload."""
    default = ca.issue(["default.test"])
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": [default.write(work, "default")], "certificate_dir": many}})

    def is_own(sni):
        client = rawtls.RawClient(stage["app"].address, sni=sni).handshake()
        client.close()
        with open(os.path.join(many, sni.partition(".")[0] + ".pem"), "rb") as f:
            body = f.read().split(b"-----")[2]
        return client.chain[0] == base64.b64decode(body)

    for number in [0, NAMES - 1, *range(7, NAMES, max(1, NAMES // 60))]:
        assert is_own(f"n{number}.example"), number
    assert shown(stage["app"], f"n{NAMES}.example") == default.fingerprint
    assert shown(stage["app"], "x.wild.example") not in (default.fingerprint, shown(stage["app"], "n1.example"))
    assert len(stage.proxy.admin_json("certificates")["certificates"]) == NAMES + 2

    for number, nudge in ((5, False), (NAMES // 2, True)):
        pair = ca.issue([f"n{number}.example"])
        pki.write_whole(os.path.join(many, f"n{number}.pem"), pair.chain_pem() + pair.key_pem(), 0o600)
        if nudge:
            stage.proxy.admin("reload")
            assert shown(stage["app"], f"n{number}.example") == pair.fingerprint
        else:
            ringbolt.wait_until(lambda pair=pair: shown(stage["app"], "n5.example") == pair.fingerprint, "the new one is served")
    assert is_own("n6.example")


# ---- the forms of keys

FORMS = {
    "PKCS#8": {}, "SEC1": {"form": "traditional"}, "PKCS#1": {"form": "traditional"}, "PKCS#8 in DER": {"encoding": Encoding.DER},
    "Ed25519": {}, "P-384": {},
}
KINDS = {"PKCS#1": "rsa", "Ed25519": "ed25519", "P-384": "p384"}
SECRETS = {"PKCS#8 encrypted": {}, "SEC1 encrypted": {"form": "traditional"}, "PKCS#1 encrypted": {"form": "traditional"}}


def trusts(entry, ca, start, actor, folder, environment=None):
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": [entry]}}, environment=environment)
    trusted = pki.write_whole(os.path.join(folder, "trusted.pem"), ca.leaf_pem())
    clients.piped(["openssl", "s_client", "-connect", f"127.0.0.1:{stage['app'].number}", "-servername", "localhost", "-partial_chain",
                   "-CAfile", trusted, "-verify_return_error", "-verify_hostname", "localhost", "-ign_eof"], b"send x 10\n")
    return stage


@pytest.mark.parametrize("name", list(FORMS))
def test_forms_of_keys(start, actor, folder, ca, name):
    pair = ca.issue(kind=KINDS.get(name, "ecdsa"))
    trusts(pair.write(folder, "server", **FORMS[name]), ca, start, actor, folder)


@pytest.mark.parametrize("source", ["env", "file"])
@pytest.mark.parametrize("name", list(SECRETS))
def test_encrypted_keys(start, actor, folder, ca, name, source):
    pair = ca.issue(kind="rsa" if name.startswith("PKCS#1") else "ecdsa")
    entry = pair.write(folder, "server", passphrase="open sesame", **SECRETS[name])
    stage = trusts({**entry, "passphrase": passphrase(folder, source)}, ca, start, actor, folder, {"TEST_PASSPHRASE": "open sesame"})
    assert "open sesame" not in json.dumps(stage.proxy.lines)


def passphrase(folder, source):
    if source == "env":
        return {"env": "TEST_PASSPHRASE"}
    return {"file": pki.write_whole(os.path.join(folder, "passphrase"), b"open sesame\nsecond line\n", 0o600)}


@pytest.mark.parametrize("source", ["env", "file"])
def test_pkcs12(start, actor, folder, ca, source):
    path = pki.write_whole(os.path.join(folder, "server.p12"), ca.issue().pkcs12("open sesame"), 0o600)
    stage = trusts({"pkcs12": path, "passphrase": passphrase(folder, source)}, ca, start, actor, folder, {"TEST_PASSPHRASE": "open sesame"})
    client = rawtls.RawClient(stage["app"].address).handshake()
    assert len(client.chain) == 2  # with its intermediate
    client.close()
    again = ca.issue()
    pki.write_whole(path, again.pkcs12("open sesame"), 0o600)
    stage.proxy.admin("reload")
    assert shown(stage["app"]) == again.fingerprint


def test_key_and_chain_in_one_file(start, actor, folder, ca):
    pair = ca.issue()
    path = pki.write_whole(os.path.join(folder, "all.pem"), pair.key_pem() + pair.chain_pem(), 0o600)
    trusts({"chain": path}, ca, start, actor, folder)
    trusts({"chain": path, "key": path}, ca, start, actor, folder)


# ---- policy

def handshake(stage, *options):
    """What openssl tells of a handshake; None if there was none."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{stage['app'].number}", "-servername", "localhost", *options],
                          input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    found = re.search(r"(?:New|Reused), (TLSv1\.[23]), Cipher is (\S+)", text)
    if not found:
        return None
    # OpenSSL 3.5 has other words for it.
    group = re.search(r"(?:Server|Peer) Temp Key: (?:ECDH, )?([\w-]+)", text) or re.search(r"Negotiated TLS1.3 group: ([\w-]+)", text)
    return found.group(1), found.group(2), group.group(1) if group else None


def test_profile_modern(start, actor):
    stage = start({"app": [actor.address]}, tls={"app": {"profile": "modern"}})
    assert handshake(stage, "-tls1_2") is None
    assert handshake(stage)[0] == "TLSv1.3"


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384"])
def test_profile_intermediate(start, actor, suite):
    """The client's order counts, and only suites with forward secrecy and authenticated encryption."""
    stage = start({"app": [actor.address]}, tls={"app": {"profile": "intermediate"}})
    rest = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"
    assert handshake(stage, "-tls1_2", "-cipher", f"{suite}:{rest}")[1] == suite
    assert handshake(stage, "-tls1_2", "-cipher", "AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA") is None
    assert handshake(stage)[0] == "TLSv1.3"


def test_suites(start, actor):
    stage = start({"app": [actor.address]}, tls={"app": {"ciphers": ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"],
                                                         "ciphersuites": ["TLS_CHACHA20_POLY1305_SHA256"]}})
    both = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    assert handshake(stage, "-tls1_2", "-cipher", both)[1] == "ECDHE-ECDSA-AES256-GCM-SHA384"  # our order
    assert handshake(stage, "-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305") is None
    assert handshake(stage, "-tls1_3")[1] == "TLS_CHACHA20_POLY1305_SHA256"
    assert handshake(stage, "-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256") is None


def test_groups(start, actor):
    stage = start({"app": [actor.address]}, tls={"app": {"groups": ["P-384", "P-256"]}})
    for version in ("-tls1_2", "-tls1_3"):
        assert handshake(stage, version)[2] == "secp384r1"  # our order
        assert handshake(stage, version, "-groups", "P-256")[2] in ("prime256v1", "P-256")
        assert handshake(stage, version, "-groups", "X25519") is None


def test_keylog(start, actor, certificates, folder):
    """The same lines as the client's own, which is what Wireshark reads; and a warning that says what it is."""
    theirs, ours = os.path.join(folder, "theirs.log"), os.path.join(folder, "ours.log")
    stage = start({"app": [actor.address]}, tls={"app": {"keylog": theirs}})
    warnings = [line for line in stage.proxy.lines if line["level"] == "warning" and theirs in json.dumps(line)]
    assert warnings, stage.proxy.log_text()
    assert stat.S_IMODE(os.stat(theirs).st_mode) & 0o077 == 0
    for version in VERSIONS:
        context = clients.python_context(certificates.ca, version)
        context.keylog_filename = ours
        for _ in range(4):  # both workers write to it
            with clients.python_connect(stage["app"], context) as client:
                client.sendall(b"echo x\nhello")
                assert client.recv(100) == b"hello"

    def lines(path):
        with open(path, encoding="ascii") as f:
            return {line.strip() for line in f if not line.startswith("#")}

    expected = {line for line in lines(ours) if not line.startswith("EXPORTER")}
    ringbolt.wait_until(lambda: expected <= lines(theirs), "everything is in the key log")
    shape = re.compile(r"(CLIENT_RANDOM [0-9a-f]{64} [0-9a-f]{96}|[A-Z_0-9]+ [0-9a-f]{64} [0-9a-f]{64,96})", re.I)
    assert all(shape.fullmatch(line) for line in lines(theirs))
    assert {line.split()[0] for line in expected} == {"CLIENT_RANDOM", "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                                                      "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"}


def test_no_keylog_unless_asked_for(start, actor, dial, folder):
    """The environment variable that other programs obey is not obeyed."""
    path = os.path.join(folder, "keys.log")
    stage = start({"app": [actor.address]}, environment={"SSLKEYLOGFILE": path})
    dial(stage["app"]).close()
    stage.proxy.connection()
    assert not os.path.exists(path)


# ---- ringbolt certificates

def test_certificates_are_listed(start, actor, folder, ca, dial):
    ecdsa, rsa = ca.issue(["a.example", "*.a.example"], subject="a"), ca.issue(["b.example"], kind="rsa", days=(-1, 90))
    entries = [ecdsa.write(folder, "a"), rsa.write(folder, "b")]
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": entries}})
    for _ in range(5):
        assert shown(stage["app"], "a.example") == ecdsa.fingerprint
    assert shown(stage["app"], "b.example", kind="rsa") == rsa.fingerprint
    first, second = stage.proxy.admin_json("certificates")["certificates"]
    now = datetime.datetime.utcnow()
    for listed, pair, entry, names, kind, bits, used in ((first, ecdsa, entries[0], ["a.example", "*.a.example"], "ECDSA", 256, 5),
                                                         (second, rsa, entries[1], ["b.example"], "RSA", 2048, 1)):
        assert listed == {**listed, "names": names, "issuer": "CN=Ringbolt names intermediate", "fingerprint": pair.fingerprint,
                          "key": kind, "key_bits": bits, "file": entry["chain"], "key_file": entry["key"], "handshakes": used,
                          "listeners": "app", "default": True, "problem": None}, listed
        assert listed["not_after"] == pair.certificate.not_valid_after.strftime("%Y-%m-%dT%H:%M:%SZ")
        loaded = datetime.datetime.strptime(listed["loaded"], "%Y-%m-%dT%H:%M:%SZ")
        assert now - datetime.timedelta(hours=1) < loaded < now + datetime.timedelta(minutes=1)
        assert int(listed["serial"], 16) == pair.certificate.serial_number
    table = stage.proxy.admin("certificates")
    for word in ("a.example", "b.example", "ECDSA", "RSA", entries[0]["chain"], "Ringbolt names intermediate"):
        assert word in table, table


def test_a_problem_is_listed(start, actor, folder, ca):
    """What is served and why the files as they are now are not."""
    pair = ca.issue()
    entry = pair.write(folder, "a")
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": [entry]}})
    pki.write_whole(entry["key"], ca.issue().key_pem(), 0o600)
    stage.proxy.admin("reload", status=1)
    listed, = stage.proxy.admin_json("certificates")["certificates"]
    assert listed["fingerprint"] == pair.fingerprint and entry["key"] in listed["problem"]
    assert "a.key" in stage.proxy.admin("certificates")


def test_expiry_is_warned_about(start, actor, folder, ca):
    """At start, and not of those that have time."""
    soon, later = ca.issue(["a.example"], days=(-20, 2)), ca.issue(["b.example"], days=(-1, 400))
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": [soon.write(folder, "soon"), later.write(folder, "later")]}})
    stage.proxy.wait_for_log(lambda e: e["level"] == "warning" and "soon.pem" in json.dumps(e))
    assert not [line for line in stage.proxy.lines if line["level"] == "warning" and "later.pem" in json.dumps(line)]


# ---- ringbolt drain --certificate

@pytest.fixture
def renewed(start, actor, folder, ca):
    """A proxy whose certificate was replaced, with a connection and a session from before."""
    files = pki.Rename(folder, ca.issue())
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": [files.entry]}})
    trusted = pki.write_whole(os.path.join(folder, "trusted.pem"), ca.leaf_pem())
    context = clients.python_context(trusted, "1.3")
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    class Renewed:
        def __init__(self):
            self.stage, self.files, self.first = stage, files, None

        @staticmethod
        def connect(session=None):
            client = clients.python_connect(stage["app"], context, session)
            client.sendall(b"echo x\nhello")
            assert client.recv(100) == b"hello"
            return client

        @staticmethod
        def is_live(client):
            client.sendall(b"again")
            return client.recv(100) == b"again"

        def renew(self):
            pair = ca.issue()
            files.replace(pair)
            stage.proxy.admin("reload")
            return pair

    return Renewed()


@pytest.mark.parametrize("by", ["name", "fingerprint"])
def test_drain_of_a_certificate(renewed, by):
    """Connections under what was replaced end, new ones stay; sessions from then are resumed no more."""
    stage = renewed.stage
    old = renewed.connect()
    session, fingerprint = old.session, pki.fingerprint(old.getpeercert(True))
    renewed.renew()
    with renewed.connect(session) as resumed, renewed.connect() as new:
        assert resumed.session_reused and renewed.is_live(old)
        since = stage.proxy.mark()
        answer = stage.proxy.admin_json("drain", "--certificate", "localhost" if by == "name" else fingerprint[:16], "--timeout", "100ms")
        assert answer["certificates"] == 1
        lines = stage.proxy.connections(2, since)
        assert {line["end"] for line in lines} == {"retired"} and {line["certificate"] for line in lines} == {fingerprint[:16]}
        assert renewed.is_live(new)  # first: in Python 3.13 the other one's error shows in the next connection
        with pytest.raises((AssertionError, OSError)):
            assert renewed.is_live(old)
    for _ in range(6):
        with renewed.connect(session) as again:
            assert not again.session_reused
    with renewed.connect() as fresh:
        session = fresh.session
    for _ in range(6):
        with renewed.connect(session) as again:
            assert again.session_reused


def test_drain_waits_for_those_that_end(renewed):
    """Within the timeout they may finish."""
    stage = renewed.stage
    old = renewed.connect()
    renewed.renew()
    since = stage.proxy.mark()
    stage.proxy.admin("drain", "--certificate", "localhost", "--timeout", "1h")
    assert renewed.is_live(old)
    old.unwrap().close()
    assert stage.proxy.connection(since)["end"] == "done"


def test_drain_of_what_is_still_served(renewed):
    """Nothing was replaced: nothing ends. A name that nobody has is an error that lists those there are."""
    with renewed.connect() as client:
        assert renewed.stage.proxy.admin_json("drain", "--certificate", "localhost", "--timeout", "0s")["certificates"] == 0
        assert renewed.is_live(client)
        done = ringbolt.call("drain", "-s", renewed.stage.proxy.admin_path, "--certificate", "nobody.example")
        assert done.returncode == 1 and "nobody.example" in done.stderr and "localhost" in done.stderr
        assert renewed.is_live(client)


# ---- the other commands

def test_reload_says_what_it_did(start, actor, folder, ca):
    files = pki.Hidden(folder, ca.issue())
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": [files.entry]}})
    assert stage.proxy.admin_json("reload") == {**stage.proxy.admin_json("reload"), "changed": 0, "failed": 0, "removed": 0}

    def finds_it():
        files.replace(ca.issue())
        return stage.proxy.admin_json("reload")["changed"] == 1

    # Files that were young when they were looked at are looked at again a moment later, which may come first.
    ringbolt.wait_until(finds_it, "a reload finds new files")
    files.replace(ca.issue(), key=False)
    answer = stage.proxy.admin_json("reload", status=1)
    assert answer["failed"] == 1 and files.entry["key"] in json.dumps(answer["problems"])
    # It is as bad the second time.
    done = ringbolt.call("reload", "-s", stage.proxy.admin_path)
    assert done.returncode == 1 and files.entry["key"] in done.stdout + done.stderr


def test_reload_of_a_changed_configuration(start, actor):
    """A successor applies it; test_upgrade.py has the rest."""
    stage = start({"app": [actor.address]})
    ringbolt.write_config(stage.proxy.config_path, {**stage.config, "admin": {"socket": stage.proxy.admin_path}, "workers": 3})
    assert stage.proxy.admin_json("reload")["config"] == "applied"
    assert len(stage.proxy.admin_json("status")["workers"]) == 3


def test_commands_by_configuration(start, actor):
    """-c names the file that it was started with."""
    stage = start({"app": [actor.address]})
    done = ringbolt.call("certificates", "-c", stage.proxy.config_path)
    assert done.returncode == 0 and "localhost" in done.stdout, done


@pytest.mark.parametrize("command", ["reload", "certificates", "drain", "stop"])
def test_nobody_there(folder, command):
    done = ringbolt.call(command, "-s", os.path.join(folder, "nobody.sock"))
    assert done.returncode == 1 and "nobody.sock" in done.stderr and not done.stdout, done


def test_drain_and_stop(start, actor):
    stage = start({"app": [actor.address]})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(stage["app"].address)) as client:
        client.sendall(b"echo x\nhello")
        assert client.recv(100) == b"hello"
        assert stage.proxy.admin_json("drain")["connections"] == 1
        stage.proxy.wait_for_log(lambda e: e["message"] == "draining")
        client.sendall(b"again")
        assert client.recv(100) == b"again"
        stage.proxy.admin("stop")
        stage.proxy.finished(0 if stage.proxy.process.wait(ringbolt.WAIT) == 0 else 1)
    assert not os.path.exists(stage.proxy.admin_path)


def test_the_socket_is_for_its_owner(start, actor):
    stage = start({"app": [actor.address]})
    assert stat.S_IMODE(os.stat(stage.proxy.admin_path).st_mode) == 0o600

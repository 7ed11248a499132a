# SPDX-License-Identifier: Apache-2.0
"""Every way in which a file can be bad, as data: `ringbolt check` names the file, the reason and the cure, and a reload keeps what
serves and says the same in the log, once."""
import json
import os
import re
import subprocess

import pytest

import pki
import rawtls
import ringbolt

pytestmark = pytest.mark.any_layer

PASSPHRASE = "open sesame"


class Place:
    """A folder as a user has it: everything in it is good, until a case does something to it."""

    def __init__(self, folder):
        self.folder = folder
        self.root = pki.Authority("Ringbolt bad files root")
        self.ca = self.root.intermediate("Ringbolt bad files intermediate")
        self.pair = self.ca.issue()
        self.put(self.pair)
        self.encrypted = self.ca.issue(["secret.test"])
        self.write("secret.pem", self.encrypted.chain_pem())
        self.write("secret.key", self.encrypted.key_pem(passphrase=PASSPHRASE), 0o600)
        self.write("passphrase", f"{PASSPHRASE}\n".encode(), 0o600)
        self.write("both.p12", self.ca.issue(["bundle.test"]).pkcs12(PASSPHRASE), 0o600)
        self.write("clients-ca.pem", self.root.leaf_pem())
        self.write("clients.crl", self.root.crl())
        self.write("ticket.key", os.urandom(80), 0o600)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data, mode=0o644):
        pki.write_whole(self.path(name), data, mode)
        os.chmod(self.path(name), mode)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def cut(self, name, part=0.5):
        data = self.read(name)
        self.write(name, data[:int(len(data) * part)], os.stat(self.path(name)).st_mode & 0o777)

    def put(self, pair, chain=None):
        self.write("server.key", pair.key_pem(), 0o600)
        self.write("server.pem", chain or pair.chain_pem())

    def config(self, port, address):
        certificates = [{"chain": "server.pem", "key": "server.key"},
                        {"chain": "secret.pem", "key": "secret.key", "passphrase": {"file": "passphrase"}},
                        {"pkcs12": "both.p12", "passphrase": {"file": "passphrase"}}]
        return {"workers": 1, "log": {"format": "json"}, "tickets": {"keys": ["ticket.key"]},
                "listeners": [{"name": "app", "address": port, "upstream": "app", "tls": {
                    "certificates": certificates,
                    "client_auth": {"mode": "optional", "ca": "clients-ca.pem", "crl": ["clients.crl"]}}}],
                "upstreams": [{"name": "app", "servers": [{"address": address}]}]}


def trailing(place):
    place.write("server.pem", place.pair.chain_pem() + b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")


def swapped(place):
    chain, key = place.read("server.pem"), place.read("server.key")
    place.write("server.pem", key)
    place.write("server.key", chain, 0o600)


def folder_instead(place):
    os.unlink(place.path("server.pem"))
    os.mkdir(place.path("server.pem"))


def fifo_instead(place):
    os.unlink(place.path("server.key"))
    os.mkfifo(place.path("server.key"), 0o600)


def dangling(place):
    os.unlink(place.path("server.pem"))
    os.symlink("nowhere.pem", place.path("server.pem"))


def unseen(place):
    """A certificate of an intermediate that stands in no other file."""
    pair = place.root.intermediate("Nobody has seen this one").issue()
    place.put(pair, pair.leaf_pem())
    return pair


def other_intermediate(place):
    place.write("server.pem", unseen(place).leaf_pem() + pki.Authority("Somebody else").leaf_pem())


def group_of_somebody(place):
    """Root's files may be for a group, as Debian's ssl-cert; somebody else's may not."""
    path = place.path("server.key")
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    os.chmod(path, 0o640)


# name → (what is done, the file that must be named, what must be said of it: reason and cure)
BAD = {
    "a chain that ends in the middle": (lambda p: p.cut("server.pem", 0.25), "server.pem", ["PEM|cut off|truncated|incomplete|END"]),
    "an intermediate that ends in the middle": (lambda p: p.cut("server.pem", 0.75), "server.pem", ["PEM|cut off|truncated|incomplete|END"]),
    "a chain with rubbish at its end": (trailing, "server.pem", ["PEM|base64|damaged|certificate"]),
    "an empty chain": (lambda p: p.write("server.pem", b""), "server.pem", ["empty|no certificate"]),
    "a key that ends in the middle": (lambda p: p.cut("server.key"), "server.key", ["PEM|cut off|truncated|incomplete|END"]),
    "an empty key": (lambda p: p.write("server.key", b"", 0o600), "server.key", ["empty|no .*key"]),
    "a key that is rubbish": (lambda p: p.write("server.key", os.urandom(200), 0o600), "server.key", ["key"]),
    "chain and key swapped": (swapped, "server.pem", ["no certificate|private key"]),
    "the key of another certificate": (lambda p: p.write("server.key", p.ca.issue().key_pem(), 0o600), "server.key",
                                       ["match|belong", "server.pem"]),
    "an expired certificate": (lambda p: p.put(p.ca.issue(days=(-9, -1))), "server.pem", [r"expired|ended", r"20\d\d-", "renew"]),
    "a certificate of the future": (lambda p: p.put(p.ca.issue(days=(1, 9))), "server.pem", ["not valid before", r"20\d\d-"]),
    "a certificate for clients": (lambda p: p.put(p.ca.client("localhost")), "server.pem", ["serverAuth|server"]),
    "a certificate that may not sign": (lambda p: p.put(p.ca.issue(key_usages=("key_agreement",))), "server.pem",
                                        ["digitalSignature|key usage"]),
    "an RSA key of 1024 bits": (lambda p: p.put(p.ca.issue(key=pki.key_shared("rsa1024"))), "server.pem", ["1024", "2048"]),
    "no chain": (lambda p: os.unlink(p.path("server.pem")), "server.pem", ["No such file|not there|no such"]),
    "no key": (lambda p: os.unlink(p.path("server.key")), "server.key", ["No such file|not there|no such"]),
    "a link that leads nowhere": (dangling, "server.pem", ["No such file|not there|no such"]),
    "a folder in place of a chain": (folder_instead, "server.pem", ["directory|folder|regular"]),
    "a FIFO in place of a key": (fifo_instead, "server.key", ["FIFO|regular|not a file"]),
    "a wrong passphrase": (lambda p: p.write("secret.key", p.encrypted.key_pem(passphrase="something else"), 0o600), "secret.key",
                           ["passphrase"]),
    "an empty passphrase": (lambda p: p.write("passphrase", b"\n", 0o600), "passphrase", ["passphrase|empty"]),
    "no passphrase file": (lambda p: os.unlink(p.path("passphrase")), "passphrase", ["No such file|not there|no such"]),
    "a PKCS#12 file with another passphrase": (lambda p: p.write("both.p12", p.ca.issue().pkcs12("something else"), 0o600), "both.p12",
                                               ["passphrase"]),
    "a PKCS#12 file that ends in the middle": (lambda p: p.cut("both.p12"), "both.p12", ["PKCS#12"]),
    "a CA bundle that ends in the middle": (lambda p: p.cut("clients-ca.pem"), "clients-ca.pem", ["PEM|cut off|truncated|incomplete|END"]),
    "an empty CA bundle": (lambda p: p.write("clients-ca.pem", b""), "clients-ca.pem", ["empty|no certificate"]),
    "a CA that is none": (lambda p: p.write("clients-ca.pem", p.pair.leaf_pem()), "clients-ca.pem", ["authority|CA"]),
    "a CRL out of date": (lambda p: p.write("clients.crl", p.root.crl(days=(-9, -1))), "clients.crl", ["out of date|expired|nextUpdate|next update",
                                                                                                   r"20\d\d-"]),
    "a CRL of the future": (lambda p: p.write("clients.crl", p.root.crl(days=(1, 9))), "clients.crl", ["not valid before", r"20\d\d-"]),
    "a CRL that ends in the middle": (lambda p: p.cut("clients.crl"), "clients.crl", ["PEM|cut off|truncated|incomplete|END|CRL"]),
    "a CRL of somebody else": (lambda p: p.write("clients.crl", pki.Authority("Somebody else").crl()), "clients.crl", ["CA|authorit|issue|sign"]),
    "a ticket key of another size": (lambda p: p.write("ticket.key", os.urandom(64), 0o600), "ticket.key", ["64", "48", "80"]),
}

# These are served; check says how it could be better, and ends with 0.
WARNED = {
    "a missing intermediate": (unseen, "server.pem", ["intermediate|chain|issue"]),
    "an intermediate of somebody else": (other_intermediate, "server.pem", ["intermediate|chain|issue"]),
    "a key that others can read": (lambda p: os.chmod(p.path("server.key"), 0o644), "server.key", ["chmod|0?600|mode", "read"]),
    "a key that others can write": (lambda p: os.chmod(p.path("server.key"), 0o602), "server.key", ["chmod|0?600|mode", "change"]),
    "a key that a group can read": (group_of_somebody, "server.key", ["chmod|0?600|mode", "read"]),
    "a passphrase that others can read": (lambda p: os.chmod(p.path("passphrase"), 0o644), "passphrase", ["chmod|0?600|mode", "read"]),
    "a ticket key that others can read": (lambda p: os.chmod(p.path("ticket.key"), 0o644), "ticket.key", ["chmod|0?600|mode", "read"]),
}


def test_a_missing_intermediate_is_found_in_another_file(place, running):
    """Whichever of them was read first."""
    proxy, port = running
    proxy.stop()
    place.put(place.pair, place.pair.leaf_pem())
    for order in (1, -1):
        config = place.config(port.text, "127.0.0.1:9")
        tls = config["listeners"][0]["tls"]
        tls["certificates"] = tls["certificates"][::order]
        del tls["client_auth"]
        again = ringbolt.Ringbolt(place.folder, config)
        try:
            client = rawtls.RawClient(port.address).handshake()
            client.close()
        finally:
            again.stop()
        assert client.chain == [place.pair.der, place.ca.der], order


@pytest.fixture
def place(tmp_path):
    tmp_path.chmod(0o755)
    return Place(str(tmp_path))


def check(place, prefix=()):
    path = place.path("check.yaml")
    ringbolt.write_config(path, place.config("127.0.0.1:0", "127.0.0.1:9"))
    return subprocess.run([*prefix, ringbolt.BINARY, "check", "-c", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=ringbolt.WAIT, check=False)


def says(line, path, words):
    return path in line and all(re.search(word, line, re.I) for word in words)


def test_the_place_is_good(place):
    """Without which no case below would mean anything."""
    done = check(place)
    assert done.returncode == 0 and "warning" not in done.stderr, done


@pytest.mark.parametrize("name", list(BAD))
def test_check(place, name):
    break_it, file, words = BAD[name]
    break_it(place)
    done = check(place)
    assert done.returncode == 3 and not done.stdout, done
    lines = done.stderr.splitlines()
    assert any(says(line, place.path(file), words) for line in lines), done.stderr
    for line in lines:
        assert re.match(re.escape(place.path("check.yaml")) + r":\d+:\d+: ", line), line
    assert PASSPHRASE not in done.stderr


@pytest.mark.parametrize("name", list(WARNED))
def test_check_warns(place, name):
    break_it, file, words = WARNED[name]
    break_it(place)
    done = check(place)
    assert done.returncode == 0, done
    assert any(says(line, place.path(file), ["warning", *words]) for line in (done.stdout + done.stderr).splitlines()), done


def test_check_tells_everything_at_once(place):
    for name in ("an expired certificate", "a wrong passphrase", "a CRL out of date", "a ticket key of another size"):
        BAD[name][0](place)
    done = check(place)
    for file in ("server.pem", "secret.key", "clients.crl", "ticket.key"):
        assert place.path(file) in done.stderr, done.stderr


def test_check_of_what_may_not_be_read(work):
    """As somebody who is not root: the mode counts."""
    folder = os.path.join(work, "may-not-be-read")
    os.mkdir(folder)
    place = Place(folder)
    if os.geteuid() != 0:
        os.chmod(place.path("server.key"), 0)
        done = check(place)
    else:
        for file in ("secret.key", "passphrase", "both.p12", "ticket.key"):  # these are not the matter here
            os.chmod(place.path(file), 0o644)
        prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        if subprocess.run([*prefix, ringbolt.BINARY, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode != 0:
            pytest.skip("another user can't run the program where it lies")
        done = check(place, prefix)
    assert done.returncode == 3, done
    assert any(says(line, place.path("server.key"), ["permission|may not|allowed"]) for line in done.stderr.splitlines()), done.stderr


# ---- at reload

@pytest.fixture
def running(place, actor):
    port = ringbolt.Port()
    proxy = ringbolt.Ringbolt(place.folder, place.config(port.text, actor.address))
    yield proxy, port
    if proxy.process.poll() is None:
        proxy.stop()
    port.close()


@pytest.mark.parametrize("name", list(BAD))
def test_reload(place, running, name):
    """What was good goes on being served, the log says why, once, and when it is over."""
    proxy, _ = running
    break_it, file, words = BAD[name]
    before = [one["fingerprint"] for one in proxy.admin_json("certificates")["certificates"]]
    kept = {one: place.read(one) for one in os.listdir(place.folder) if one.endswith((".pem", ".key", ".crl", ".p12", "passphrase"))}
    modes = {one: os.stat(place.path(one)).st_mode & 0o777 for one in kept}
    since = proxy.mark()
    break_it(place)

    def is_said(entry):
        return entry["level"] == "error" and says(json.dumps(entry), place.path(file), words)

    answer = proxy.admin_json("reload", status=1)
    assert answer["failed"] >= 1 and any(says(problem, place.path(file), words) for problem in answer["problems"]), answer
    proxy.wait_for_log(is_said, since)
    proxy.admin("reload", status=1)
    said = [(entry["file"], entry["reason"]) for entry in proxy.lines[since:] if entry["level"] and is_said(entry)]
    assert len(said) == len(set(said)), proxy.log_text(since)
    assert [one["fingerprint"] for one in proxy.admin_json("certificates")["certificates"]] == before

    since = proxy.mark()
    for one, data in kept.items():
        if os.path.isdir(place.path(one)):
            os.rmdir(place.path(one))
        elif os.path.lexists(place.path(one)):
            os.unlink(place.path(one))
        place.write(one, data, modes[one])
    assert proxy.admin_json("reload")["failed"] == 0
    for healed in {one for one, _ in said}:
        proxy.wait_for_log(lambda e, healed=healed: e["level"] == "info" and "healed" in e["message"] and e.get("file") == healed, since)


def test_reload_warns(place, running):
    proxy, _ = running
    since = proxy.mark()
    unseen(place)
    os.chmod(place.path("server.key"), 0o644)
    proxy.admin("reload")
    for file, words in (("server.pem", ["intermediate|chain|issue"]), ("server.key", ["chmod|0?600|mode"])):
        proxy.wait_for_log(lambda e, f=file, w=words: e["level"] == "warning" and says(json.dumps(e), place.path(f), w), since)


def test_run_refuses_what_check_refuses(place):
    BAD["the key of another certificate"][0](place)
    proxy = ringbolt.Ringbolt(place.folder, place.config("127.0.0.1:0", "127.0.0.1:9"), wait=False)
    try:
        assert proxy.process.wait(ringbolt.WAIT) == 3
    finally:
        proxy.kill()
    assert any(place.path("server.key") in line for line in proxy.all_noise()), proxy.noise

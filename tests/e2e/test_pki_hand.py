# SPDX-License-Identifier: Apache-2.0
"""`ringbolt pki` by hand: keys, requests, signing, revoking, CRLs, PKCS#12, showing, renewing, and passphrases."""
import json
import os
import pty
import re
import select
import signal
import ssl
import stat
import subprocess

import pytest

import ringbolt
from test_pki import contents, good, limited, openssl, pki, text_of

pytestmark = pytest.mark.any_layer

PHRASE = {"PHRASE": "correct horse"}


@pytest.fixture
def ca(tmp_path):
    """A folder with an authority in it, ca.pem, whose key is encrypted."""
    good("key", "--out", "ca.key", "--type", "ec:P-384", "--passphrase", "env:PHRASE", cwd=tmp_path, env=PHRASE)
    good("self-signed", "--key", "ca.key", "--out", "ca.pem", "--profile", "ca", "--subject", "O=Example, CN=Hand CA",
         "--passphrase", "env:PHRASE", cwd=tmp_path, env=PHRASE)
    return tmp_path


def sign(folder, name, *arguments, request=("--name", "hand.example")):
    """NAME.key, NAME.csr, and what signing it said."""
    good("key", "--out", f"{name}.key", cwd=folder)
    good("csr", "--key", f"{name}.key", "--out", f"{name}.csr", *request, cwd=folder)
    return pki("sign", "--ca", "ca.pem", "--ca-passphrase", "env:PHRASE", "--csr", f"{name}.csr", "--out", f"{name}.pem",
               *arguments, cwd=folder, env=PHRASE)


def certtool(*arguments, **options):
    done = subprocess.run(["certtool", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=ringbolt.WAIT, check=False, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


# ---- usage

VERBS = ["make", "key", "csr", "sign", "self-signed", "revoke", "crl", "pkcs12", "show", "renew"]


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb):
    out = good(verb, "--help")
    assert out.startswith("Usage: ringbolt pki " + verb) and max(map(len, out.splitlines())) <= 120
    assert verb in good("--help")
    # What the help names is taken, and what is taken is named.
    for option in set(re.findall(r"--([a-z][a-z0-9-]+)", out)) - {"help"}:
        assert "there is no option" not in pki(verb, f"--{option}").stderr, option


@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["--nonsense"], ["make"], ["make", "extra"], ["key"], ["key", "--out"], ["key", "--out", "x", "--nonsense"],
    ["key", "--out", "x", "--type", "rsa:1024"], ["key", "--out", "x", "--type", "rsa:8193"], ["key", "--out", "x", "--type", "dsa"],
    ["key", "--out", "x", "--passphrase", "pass:secret"], ["key", "--out", "x", "--out", "y"], ["csr", "--out", "x"],
    ["self-signed", "--key", "x", "--out", "y", "--subject", "CN=a", "--days", "0"],
    ["self-signed", "--key", "x", "--out", "y", "--subject", "nothing"],
    ["self-signed", "--key", "x", "--out", "y", "--subject", "CN=a b"],
    ["self-signed", "--key", "x", "--out", "y", "--name", "a", "--path-length", "1"],
    ["self-signed", "--key", "x", "--out", "y", "--name", "a", "--not-after", "2020-02-30"],
    ["self-signed", "--key", "x", "--out", "y", "--name", "a", "--days", "5", "--not-after", "2030-01-01"],
    ["self-signed", "--key", "x", "--out", "y", "--profile", "ca", "--name", "a"],
    ["sign", "--csr", "x", "--out", "y"], ["sign", "--ca", "x", "--csr", "x", "--out", "y", "--copy", "everything"],
    ["revoke", "x"], ["revoke", "--ca", "x"], ["revoke", "--ca", "x", "y", "--reason", "boredom"], ["revoke", "--ca", "x", "y", "z"],
    ["crl", "--ca", "x", "--days", "5", "--next-update", "2030-01-01"], ["show"], ["renew", "x"], ["renew"],
])
def test_wrong_usage(arguments, tmp_path):
    done = pki(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--help" in done.stderr and not done.stdout
    assert "secret" not in done.stderr and not os.listdir(tmp_path)


# ---- keys and passphrases

@pytest.mark.parametrize("kind", ["rsa:2048", "ec:P-256", "ec:P-384", "ec:P-521", "ed25519"])
def test_keys(tmp_path, kind):
    out = good("key", "--out", "plain.key", "--type", kind, cwd=tmp_path)
    assert out == f"plain.key: key, {kind}\n"
    (tmp_path / "phrase").write_text("from a file\r\n")
    good("key", "--out", "hidden.key", "--type", kind, "--passphrase", "file:phrase", cwd=tmp_path)
    for name in ("plain.key", "hidden.key"):
        assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) == 0o600
        openssl("pkey", "-in", f"{tmp_path}/{name}", "-passin", "pass:from a file", "-noout")
        certtool("--key-info", "--infile", f"{tmp_path}/{name}", "--password", "from a file")
    openssl("pkey", "-in", f"{tmp_path}/hidden.key", "-passin", "pass:wrong", "-noout", status=1)
    before = contents(tmp_path)
    done = pki("key", "--out", "plain.key", cwd=tmp_path)
    assert done.returncode == 1 and "--force" in done.stderr and contents(tmp_path) == before
    good("key", "--out", "plain.key", "--force", cwd=tmp_path)
    assert contents(tmp_path)["plain.key"] != before["plain.key"]


def test_wrong_passphrases(ca):
    def csr(source, **env):
        done = pki("csr", "--key", "ca.key", "--out", "x.csr", "--subject", "CN=x", *source, cwd=ca, env=env)
        assert done.returncode == 1 and not (ca / "x.csr").exists() and "horse" not in done.stderr
        return done.stderr

    (ca / "empty").write_text("\n")
    (ca / "zero").write_bytes(b"a\0b\n")
    assert "the passphrase is wrong" in csr(["--passphrase", "env:PHRASE"], PHRASE="correct horse ")
    assert "NOT_SET" in csr(["--passphrase", "env:NOT_SET"])
    assert "is empty" in csr(["--passphrase", "env:PHRASE"], PHRASE="")
    assert "longer than" in csr(["--passphrase", "env:PHRASE"], PHRASE="x" * 1024)
    assert "none: No such file" in csr(["--passphrase", "file:none"])
    assert "is empty" in csr(["--passphrase", "file:empty"])
    assert "zero byte" in csr(["--passphrase", "file:zero"])
    # pki() starts a session without a terminal.
    assert "no terminal" in csr([]) and "no terminal" in csr(["--passphrase", "prompt"])


class Terminal:
    """A process that has a terminal, and what it shows there."""

    def __init__(self, *arguments, cwd):
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job's is ignored
            os.execv(ringbolt.BINARY, [ringbolt.BINARY, "pki", *arguments])

    def wait_for(self, text):
        while text not in self.shown:
            assert select.select([self.fd], [], [], ringbolt.WAIT)[0], self.shown
            self.shown += os.read(self.fd, 4096).decode()
        self.shown = self.shown[self.shown.index(text) + len(text):]

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """What was shown up to the end, and the exit status (negative: the signal)."""
        try:
            while True:
                assert select.select([self.fd], [], [], ringbolt.WAIT)[0], self.shown
                data = os.read(self.fd, 4096)
                if not data:
                    break
                self.shown += data.decode()
        except OSError:  # EIO: the other side is gone
            pass
        os.close(self.fd)
        return self.shown, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_passphrase_is_asked_for_twice_and_not_shown(tmp_path):
    terminal = Terminal("key", "--out", "asked.key", "--passphrase", "prompt", cwd=tmp_path)
    terminal.wait_for("New passphrase for asked.key: ")
    terminal.type("typed\n")
    terminal.wait_for("again: ")
    terminal.type("typed\n")
    shown, status = terminal.end()
    assert status == 0 and "typed" not in shown
    openssl("pkey", "-in", f"{tmp_path}/asked.key", "-passin", "pass:typed", "-noout")

    terminal = Terminal("csr", "--key", "asked.key", "--out", "x.csr", "--subject", "CN=x", cwd=tmp_path)
    terminal.wait_for("Passphrase for asked.key: ")
    terminal.type("typed\n")
    shown, status = terminal.end()
    assert status == 0 and "typed" not in shown and (tmp_path / "x.csr").exists()


@pytest.mark.parametrize("first, second, says", [("one\n", "two\n", "differ"), ("\n", None, "empty"), ("\x04", None, "no passphrase"),
                                                 ("x" * 1100 + "\n", None, "longer")])
def test_bad_answers(tmp_path, first, second, says):
    terminal = Terminal("key", "--out", "asked.key", "--passphrase", "prompt", cwd=tmp_path)
    terminal.wait_for(": ")
    terminal.type(first)
    if second:
        terminal.wait_for("again: ")
        terminal.type(second)
    shown, status = terminal.end()
    assert status == 1 and says in shown and not os.listdir(tmp_path)


def test_make_asks_only_for_what_it_needs(tmp_path):
    (tmp_path / "asking.yaml").write_text("authorities:\n  - { name: root, subject: { CN: R }, passphrase: { prompt: true } }\n"
                                          "certificates:\n  - { name: server, issuer: root, names: s.example }\n")
    terminal = Terminal("make", "-c", "asking.yaml", cwd=tmp_path)
    for question in ("New passphrase for root.key: ", "again: "):
        terminal.wait_for(question)
        terminal.type("typed\n")
    assert terminal.end()[1] == 0
    openssl("pkey", "-in", f"{tmp_path}/root.key", "-passin", "pass:typed", "-noout")
    # Everything is there: no question, so no terminal is needed. Something is to be signed: a question.
    assert "made" not in good("make", "-c", "asking.yaml", cwd=tmp_path)
    os.remove(tmp_path / "server.pem")
    os.remove(tmp_path / "server-chain.pem")
    assert "no terminal" in pki("make", "-c", "asking.yaml", cwd=tmp_path).stderr
    terminal = Terminal("make", "-c", "asking.yaml", cwd=tmp_path)
    terminal.wait_for("Passphrase for root.key: ")
    terminal.type("typed\n")
    assert terminal.end()[1] == 0
    openssl("verify", "-CAfile", f"{tmp_path}/root.pem", f"{tmp_path}/server.pem")


def test_interrupted_while_asking(tmp_path):
    terminal = Terminal("key", "--out", "asked.key", "--passphrase", "prompt", cwd=tmp_path)
    terminal.wait_for(": ")
    terminal.type("\x03")
    assert terminal.end()[1] == -signal.SIGINT and not os.listdir(tmp_path)


# ---- requests and signing

def test_requests(tmp_path):
    good("key", "--out", "k.key", "--type", "rsa:2048", cwd=tmp_path)
    good("csr", "--key", "k.key", "--out", "k.csr", "--subject", r"/O=Comma, Ltd./CN=k.example", "--name", "k.example", "--name",
         "192.0.2.7", "--name", "me@k.example", "--name", "spiffe://k.example/x", "--profile", "peer", "--must-staple",
         "--digest", "sha512", cwd=tmp_path)
    text = openssl("req", "-in", f"{tmp_path}/k.csr", "-noout", "-verify", "-text")
    assert "verify OK" in text and re.search('O ?= ?"?Comma(,|\\\\,) Ltd."?, CN ?= ?k.example', text) and "sha512WithRSAEncryption" in text
    assert "DNS:k.example, IP Address:192.0.2.7, email:me@k.example, URI:spiffe://k.example/x" in text
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text and "status_request" in text
    certtool("--crq-info", "--infile", f"{tmp_path}/k.csr")


def test_signing(ca):
    done = sign(ca, "server", "--copy", "names", "--chain", "chain.pem", "--days", "10", "--ocsp-url", "http://ocsp.example/")
    assert done.returncode == 0, done.stderr
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "hand.example", "-CAfile", f"{ca}/ca.pem",
            f"{ca}/server.pem")
    assert (ca / "chain.pem").read_text() == (ca / "server.pem").read_text()
    assert "OCSP - URI:http://ocsp.example/" in text_of(ca / "server.pem")
    assert re.search(r"^valid [0-9A-F]+ \S+Z \S+Z - - ", (ca / "ca.db").read_text(), re.MULTILINE)

    done = sign(ca, "client", "--profile", "client", request=("--subject", "CN=me"))
    assert done.returncode == 0, done.stderr
    openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", f"{ca}/ca.pem", f"{ca}/client.pem")

    done = sign(ca, "sub", "--profile", "ca", "--path-length", "0", request=("--subject", "CN=Sub"))
    assert done.returncode == 0, done.stderr
    good("sign", "--ca", "sub.pem", "--csr", "server.csr", "--out", "deep.pem", "--copy", "all", "--chain", "deep-chain.pem", cwd=ca)
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", f"{ca}/ca.pem", "-untrusted", f"{ca}/deep-chain.pem",
            f"{ca}/deep.pem")
    assert (ca / "deep-chain.pem").read_text().count("BEGIN") == 2
    done = pki("sign", "--ca", "sub.pem", "--csr", "sub.csr", "--out", "x.pem", "--profile", "ca", cwd=ca)
    assert done.returncode == 1 and "path length 0" in done.stderr


def test_a_request_gets_only_what_is_granted(ca):
    names = ("--name", "bank.example", "--subject", "CN=evil")
    done = sign(ca, "a", request=names)
    assert done.returncode == 1 and "asks for names" in done.stderr and not (ca / "a.pem").exists()
    done = sign(ca, "b", "--name", "mine.example", request=names + ("--profile", "ca"))
    assert done.returncode == 0, done.stderr
    text = text_of(ca / "b.pem")
    assert "DNS:mine.example" in text and "bank.example" not in text and "CA:FALSE" in text
    assert "Certificate Sign" not in text
    done = sign(ca, "c", "--copy", "all", request=names + ("--profile", "ca"))
    assert done.returncode == 1 and "--profile ca only" in done.stderr
    done = sign(ca, "d", "--copy", "names,must-staple", request=names + ("--must-staple", "--key-usage", "keyAgreement"))
    assert done.returncode == 0 and "status_request" in text_of(ca / "d.pem") and "Key Agreement" not in text_of(ca / "d.pem")
    done = sign(ca, "e", request=("--subject", "CN=two words"))
    assert done.returncode == 1 and "a server needs some" in done.stderr
    done = sign(ca, "f", "--copy", "names", "--days", "5000")
    assert done.returncode == 1 and "outside of its issuer's time" in done.stderr


def test_refused_authorities_and_files(ca):
    assert sign(ca, "server", "--copy", "names").returncode == 0
    common = ["--csr", "server.csr", "--out", "x.pem", "--copy", "names"]
    for arguments, says in [
            (["--ca", "server.pem"], "is no certificate authority"), (["--ca", "none.pem"], "No such file"),
            (["--ca", "ca.key"], "holds no certificate"), (["--ca", "ca.pem", "--ca-key", "server.key"], "is not the key of"),
            (["--ca", "ca.pem", "--ca-key", "ca.pem"], "holds no private key"), (["--ca", "."], "Is a directory"),
            (["--ca", "/dev/null"], "not a file")]:
        done = pki("sign", *arguments, *common, cwd=ca)
        assert done.returncode == 1 and says in done.stderr and done.stderr.count("\n") == 1, done.stderr
    lines = (ca / "server.csr").read_text().splitlines(True)
    (ca / "cut.csr").write_text("".join(lines[:2] + lines[-1:]))
    der = bytearray(ssl.PEM_cert_to_DER_cert("".join(lines).replace("CERTIFICATE REQUEST", "CERTIFICATE")))
    der[-1] ^= 1  # in the signature
    (ca / "forged.csr").write_text(ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST"))
    for name, says in (("cut.csr", "damaged"), ("forged.csr", "not signed by the key"), ("ca.pem", "holds no request")):
        done = pki("sign", "--ca", "ca.pem", "--csr", name, "--out", "x.pem", cwd=ca)
        assert done.returncode == 1 and says in done.stderr, done.stderr
    assert not (ca / "x.pem").exists()


def test_self_signed(tmp_path):
    good("key", "--out", "s.key", cwd=tmp_path)
    good("self-signed", "--key", "s.key", "--out", "s.pem", "--subject", "CN=localhost", "--not-before", "2026-01-01",
         "--not-after", "2036-01-01T12:00:00Z", cwd=tmp_path)
    openssl("verify", "-x509_strict", "-verify_hostname", "localhost", "-CAfile", f"{tmp_path}/s.pem", f"{tmp_path}/s.pem")
    text = text_of(tmp_path / "s.pem")
    assert "Not Before: Jan  1 00:00:00 2026 GMT" in text and "Not After : Jan  1 12:00:00 2036 GMT" in text


# ---- revoking

def test_revoking(ca):
    for name in ("good", "bad", "held"):
        assert sign(ca, name, "--copy", "names").returncode == 0

    def crl(*arguments):
        return good("crl", "--ca", "ca.pem", "--ca-passphrase", "env:PHRASE", *arguments, cwd=ca, env=PHRASE)

    def check(name, status=0):
        return openssl("verify", "-crl_check", "-CAfile", f"{ca}/ca.pem", "-CRLfile", f"{ca}/ca.crl", f"{ca}/{name}.pem",
                       status=status)

    assert "CRL 1, 0 revoked" in crl()
    check("bad")
    assert "keyCompromise" in good("revoke", "--ca", "ca.pem", "bad.pem", "--reason", "keyCompromise", cwd=ca)
    serial = openssl("x509", "-in", f"{ca}/held.pem", "-noout", "-serial").split("=")[1].strip()
    good("revoke", "--ca", "ca.pem", "--serial", ":".join(re.findall("..", "00" + serial.lower())), "--reason", "certificateHold", cwd=ca)
    done = pki("crl", "--ca", "ca.pem", cwd=ca)
    assert done.returncode == 1 and "--force" in done.stderr
    assert "CRL 2, 2 revoked, next update 2040-01-01T00:00:00Z" in crl("--force", "--next-update", "2040-01-01")
    check("good")
    assert "certificate revoked" in check("bad", status=1) and "certificate revoked" in check("held", status=1)
    text = openssl("crl", "-in", f"{ca}/ca.crl", "-CAfile", f"{ca}/ca.pem", "-noout", "-text")
    assert "verify OK" in text and "Key Compromise" in text and "Certificate Hold" in text and "ecdsa-with-SHA384" in text
    assert re.search(r"CRL Number:\s+2\n", text) and "Authority Key Identifier" in text
    certtool("--verify-crl", "--load-ca-certificate", f"{ca}/ca.pem", "--infile", f"{ca}/ca.crl")

    done = pki("revoke", "--ca", "ca.pem", "bad.pem", cwd=ca)
    assert done.returncode == 1 and "revoked already" in done.stderr
    done = pki("revoke", "--ca", "ca.pem", "bad.pem", "--release", cwd=ca)
    assert done.returncode == 1 and "not on hold" in done.stderr
    good("revoke", "--ca", "ca.pem", "held.pem", "--release", cwd=ca)
    assert "CRL 3, 1 revoked" in crl("--force")
    check("held")
    for operand, says in (("ca.key", "holds no certificate"), ("none.pem", "No such file"), ("ca.pem", "the authority itself")):
        done = pki("revoke", "--ca", "ca.pem", operand, cwd=ca)
        assert done.returncode == 1 and says in done.stderr


def test_revoking_without_a_database(ca):
    """Whoever lost the database can still revoke what was issued, but nothing of others."""
    assert sign(ca, "leaf", "--copy", "names").returncode == 0
    os.remove(ca / "ca.db")
    good("revoke", "--ca", "ca.pem", "leaf.pem", cwd=ca)
    assert re.search(r"^revoked [0-9A-F]+ .* unspecified ", (ca / "ca.db").read_text(), re.MULTILINE)
    good("key", "--out", "o.key", cwd=ca)
    good("self-signed", "--key", "o.key", "--out", "o.pem", "--name", "o.example", cwd=ca)
    done = pki("revoke", "--ca", "ca.pem", "o.pem", cwd=ca)
    assert done.returncode == 1 and "was not issued by" in done.stderr


@pytest.mark.parametrize("line", ["nonsense", "valid XY 2026-01-01T00:00:00Z 2027-01-01T00:00:00Z - - CN=x", "crl-number -1",
                                  "revoked AB 2026-01-01T00:00:00Z 2027-01-01T00:00:00Z - boredom CN=x", "valid"])
def test_a_damaged_database(ca, line):
    assert sign(ca, "leaf", "--copy", "names").returncode == 0
    with open(ca / "ca.db", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    before = contents(ca)
    done = pki("revoke", "--ca", "ca.pem", "leaf.pem", cwd=ca)
    assert done.returncode == 1 and "ca.db:4: " in done.stderr and contents(ca) == before


@pytest.mark.parametrize("kind", ["rsa:2048", "ec:P-521", "ed25519"])
def test_crls_of_every_key(tmp_path, kind):
    good("key", "--out", "ca.key", "--type", kind, cwd=tmp_path)
    good("self-signed", "--key", "ca.key", "--out", "ca.pem", "--profile", "ca", "--subject", "CN=CA", cwd=tmp_path)
    good("crl", "--ca", "ca.pem", "--out", "list.crl", "--days", "1", cwd=tmp_path)
    assert "verify OK" in openssl("crl", "-in", f"{tmp_path}/list.crl", "-CAfile", f"{tmp_path}/ca.pem", "-noout")
    certtool("--verify-crl", "--load-ca-certificate", f"{tmp_path}/ca.pem", "--infile", f"{tmp_path}/list.crl")
    good("crl", "--ca", "ca.pem", "--out", "list.crl", "--force", "--der", cwd=tmp_path)
    assert "verify OK" in openssl("crl", "-inform", "DER", "-in", f"{tmp_path}/list.crl", "-CAfile", f"{tmp_path}/ca.pem", "-noout")
    assert json.loads(good("show", "--json", f"{tmp_path}/list.crl"))[0]["number"] == "2"


def test_signing_at_once(ca):
    good("key", "--out", "k.key", cwd=ca)
    good("csr", "--key", "k.key", "--out", "k.csr", "--name", "k.example", cwd=ca)
    runs = [subprocess.Popen([ringbolt.BINARY, "pki", "sign", "--ca", "ca.pem", "--ca-passphrase", "env:PHRASE", "--csr", "k.csr",
                              "--copy", "names", "--out", f"{i}.pem"], cwd=ca, env={**os.environ, **PHRASE},
                             stdout=subprocess.DEVNULL) for i in range(8)]
    assert [run.wait(timeout=ringbolt.WAIT) for run in runs] == [0] * 8
    serials = re.findall(r"^valid ([0-9A-F]+) ", (ca / "ca.db").read_text(), re.MULTILINE)
    assert len(set(serials)) == 8
    for i in range(8):
        assert openssl("x509", "-in", f"{ca}/{i}.pem", "-noout", "-serial").split("=")[1].strip() in serials


def test_no_space_issues_nothing(ca):
    good("key", "--out", "k.key", cwd=ca)
    good("csr", "--key", "k.key", "--out", "k.csr", "--name", "k.example", cwd=ca)
    before = contents(ca)
    done = pki("sign", "--ca", "ca.pem", "--ca-passphrase", "env:PHRASE", "--csr", "k.csr", "--copy", "names", "--out", "k.pem",
               cwd=ca, env=PHRASE, preexec_fn=limited, restore_signals=False)
    assert done.returncode == 1 and "File too large" in done.stderr and contents(ca) == before


# ---- PKCS#12

@pytest.mark.parametrize("legacy", [[], ["--legacy"]])
def test_pkcs12(ca, legacy):
    assert sign(ca, "server", "--copy", "names", "--chain", "chain.pem").returncode == 0
    out = good("pkcs12", "--cert", "server.pem", "--key", "server.key", "--chain", "ca.pem", "--out", "server.p12",
               "--out-passphrase", "env:PHRASE", "--friendly-name", "my server", *legacy, cwd=ca, env=PHRASE)
    assert "key and 2 certificates" in out and stat.S_IMODE(os.stat(ca / "server.p12").st_mode) == 0o600
    info = openssl("pkcs12", "-in", f"{ca}/server.p12", "-passin", "pass:correct horse", "-info", "-nodes")
    if legacy:
        assert "pbeWithSHA1And3-KeyTripleDES-CBC" in info and "MAC: sha1" in info
    else:
        assert info.count("PBES2, PBKDF2, AES-256-CBC") == 2 and "MAC: sha256" in info
    assert "my server" in info and info.count("BEGIN CERTIFICATE") == 2 and "BEGIN PRIVATE KEY" in info
    openssl("pkcs12", "-in", f"{ca}/server.p12", "-passin", "pass:wrong", "-noout", status=1)
    assert "my server" in certtool("--p12-info", "--inder", "--infile", f"{ca}/server.p12", "--password", "correct horse")
    shown = json.loads(good("show", "--json", "server.p12", "--passphrase", "env:PHRASE", cwd=ca, env=PHRASE))
    assert [one["kind"] for one in shown] == ["PKCS#12", "private key", "certificate", "certificate"]
    assert shown[2]["issued_by_next"] is True and shown[1]["public_key_sha256"] == shown[2]["public_key_sha256"]
    done = pki("show", "server.p12", "--passphrase", "env:PHRASE", cwd=ca, env={"PHRASE": "wrong"})
    assert done.returncode == 1 and "passphrase is wrong" in done.stderr
    done = pki("pkcs12", "--cert", "ca.pem", "--key", "server.key", "--out", "x.p12", "--out-passphrase", "env:PHRASE", cwd=ca,
               env=PHRASE)
    assert done.returncode == 1 and "is not the key of" in done.stderr and not (ca / "x.p12").exists()


# ---- showing

def test_showing(ca):
    assert sign(ca, "server", "--copy", "names", "--chain", "chain.pem", "--must-staple", "--crl-url",
                "http://crl.example/x.crl").returncode == 0
    good("crl", "--ca", "ca.pem", "--ca-passphrase", "env:PHRASE", cwd=ca, env=PHRASE)
    (ca / "both.pem").write_text((ca / "server.pem").read_text() + (ca / "ca.pem").read_text())
    openssl("x509", "-in", f"{ca}/server.pem", "-outform", "DER", "-out", f"{ca}/server.der")
    files = ["both.pem", "server.csr", "ca.crl", "server.key", "ca.key", "server.der"]
    shown = json.loads(good("show", "--json", *files, cwd=ca))
    assert [(one["file"], one["kind"]) for one in shown] == [
        ("both.pem", "certificate"), ("both.pem", "certificate"), ("server.csr", "request"), ("ca.crl", "CRL"),
        ("server.key", "private key"), ("ca.key", "private key"), ("server.der", "certificate")]
    first, issuer, request, crl, key, hidden, der = shown
    assert first["names"] == ["DNS:hand.example"] and first["issuer"] == "O=Example, CN=Hand CA" and first["must_staple"]
    assert first["issued_by_next"] and first["crl_urls"] == ["http://crl.example/x.crl"] and first["days_left"] == 396
    assert issuer["self_signed"] and issuer["ca"] and issuer["key_usage"] == ["keyCertSign", "cRLSign"]
    assert first["public_key_sha256"] == request["public_key_sha256"] == key["public_key_sha256"] and request["verified"]
    assert crl["number"] == "1" and crl["revoked"] == [] and hidden == {"file": "ca.key", "kind": "private key", "encrypted": True}
    assert der["sha256"] == first["sha256"]
    fingerprint = openssl("x509", "-in", f"{ca}/server.pem", "-noout", "-fingerprint", "-sha256")
    assert fingerprint.split("=")[1].strip().replace(":", "") == first["sha256"]
    text = good("show", *files, cwd=ca)
    assert "names               DNS:hand.example" in text and text.count("certificate\n") == 3
    opened = json.loads(good("show", "--json", "ca.key", "--passphrase", "env:PHRASE", cwd=ca, env=PHRASE))
    assert opened[0]["key"] == "ec:P-384"


def test_showing_strange_files(tmp_path):
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "cut.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    (tmp_path / "torn.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB")
    (tmp_path / "empty").write_text("")
    good("key", "--out", "k.key", cwd=tmp_path)
    done = pki("show", "text", "cut.pem", "torn.pem", "empty", "none", ".", "k.key", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 6 and "k.key: private key" in done.stdout
    good("self-signed", "--key", "k.key", "--out", "esc.pem", "--name", "a.example", "--subject", "CN=\u009b31mred", cwd=tmp_path)
    out = good("show", "esc.pem", cwd=tmp_path)
    assert "\u009b" not in out


# ---- renewing

def test_renewing(ca):
    assert sign(ca, "server", "--copy", "names", "--days", "20", "--must-staple", "--chain", "server-chain.pem").returncode == 0
    before = contents(ca)
    options = ["--ca", "ca.pem", "--ca-passphrase", "env:PHRASE"]
    good("renew", "server.pem", *options, "--out", "next.pem", cwd=ca, env=PHRASE)
    assert contents(ca)["server.pem"] == before["server.pem"]
    old, new = (json.loads(good("show", "--json", f"{ca}/{name}.pem"))[0] for name in ("server", "next"))
    assert old.keys() == new.keys() and old["serial"] != new["serial"] and old["days_left"] == new["days_left"]
    for key in ("subject", "names", "must_staple", "key_usage", "extended_key_usage", "public_key_sha256", "subject_key_id"):
        assert old[key] == new[key]
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", f"{ca}/ca.pem", f"{ca}/next.pem")

    done = pki("renew", "server.pem", *options, "--out", "next.pem", cwd=ca, env=PHRASE)
    assert done.returncode == 1 and "--force" in done.stderr
    good("renew", "server.pem", *options, "--force", "--new-key", "--type", "rsa:2048", "--days", "5", "--out-passphrase", "env:PHRASE",
         cwd=ca, env=PHRASE)
    after = contents(ca)
    assert all(after[name] != before[name] for name in ("server.pem", "server.key", "server-chain.pem"))
    assert after["server-chain.pem"] == after["server.pem"]
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", f"{ca}/ca.pem", f"{ca}/server.pem")
    newest = json.loads(good("show", "--json", f"{ca}/server.pem"))[0]
    assert newest["key"] == "rsa:2048" and newest["days_left"] == 4 and newest["names"] == old["names"]
    public = openssl("pkey", "-in", f"{ca}/server.key", "-passin", "pass:correct horse", "-pubout")
    assert public == openssl("x509", "-in", f"{ca}/server.pem", "-noout", "-pubkey")
    assert (ca / "ca.db").read_text().count("\nvalid ") == 3


def test_renewing_an_authority(ca):
    """With the same key, what it has issued stays good."""
    assert sign(ca, "server", "--copy", "names").returncode == 0
    done = pki("renew", "ca.pem", "--out", "new.pem", cwd=ca, env=PHRASE)
    assert done.returncode == 1 and "no terminal" in done.stderr
    good("renew", "ca.pem", "--passphrase", "env:PHRASE", "--out", "new.pem", "--days", "4000", cwd=ca, env=PHRASE)
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", f"{ca}/new.pem", f"{ca}/server.pem")
    done = pki("renew", "ca.pem", "--ca", "ca.pem", "--out", "x.pem", cwd=ca)
    assert done.returncode == 2 and "self-signed" in done.stderr
    done = pki("renew", "server.pem", "--out", "x.pem", cwd=ca)
    assert done.returncode == 2 and "--ca is needed" in done.stderr


def test_links_are_never_replaced(tmp_path):
    (tmp_path / "target").write_text("mine\n")
    os.symlink("target", tmp_path / "link.key")
    for force in ([], ["--force"]):
        done = pki("key", "--out", "link.key", *force, cwd=tmp_path)
        assert done.returncode == 1 and (tmp_path / "target").read_text() == "mine\n"

# SPDX-License-Identifier: Apache-2.0
"""`ringbolt pki make`: hierarchies out of YAML, judged by OpenSSL's and GnuTLS's programs."""
import glob
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess

import pytest

import ringbolt

pytestmark = pytest.mark.any_layer

EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conf", "pki.yaml")
SECRET = {"SERVER_KEY_PASSPHRASE": "correct horse"}

SMALLEST = """\
authorities:
  - name: root
    subject: { CN: Private root }
certificates:
  - name: server
    issuer: root
    names: [ localhost, 127.0.0.1 ]
"""


def pki(*arguments, env=None, **options):
    return subprocess.run([ringbolt.BINARY, "pki", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=ringbolt.WAIT, check=False, start_new_session=True,
                          env={**os.environ, **(env or {})}, **options)


def good(*arguments, **options):
    done = pki(*arguments, **options)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def openssl(*arguments, status=0):
    done = subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=ringbolt.WAIT, check=False)
    assert (done.returncode == 0) == (status == 0), done.stdout
    return done.stdout


def verify(folder, name, purpose, *arguments, status=0):
    return openssl("verify", "-x509_strict", "-purpose", purpose, *arguments, "-CAfile", f"{folder}/root.pem", "-untrusted",
                   f"{folder}/{name}-chain.pem", f"{folder}/{name}.pem", status=status)


def text_of(path):
    return openssl("x509", "-in", str(path), "-noout", "-text")


def contents(folder):
    found = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = file.read()
    return found


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("pki") / "out")
    good("make", "-c", EXAMPLE, "--out", folder, env=SECRET)
    return folder


# ---- what is made

def test_the_example(example):
    names = set(os.listdir(example))
    assert names == {"root.key", "root.pem", "root.db", "intermediate.key", "intermediate.pem", "intermediate.db", "server.key",
                     "server.pem", "server-chain.pem", "client.key", "client.pem", "client-chain.pem"}
    for name in names:
        mode = stat.S_IMODE(os.stat(os.path.join(example, name)).st_mode)
        assert mode == (0o600 if name.endswith(".key") else 0o644), name
    verify(example, "server", "sslserver", "-verify_hostname", "localhost")
    verify(example, "server", "sslserver", "-verify_ip", "127.0.0.1")
    verify(example, "server", "sslserver", "-verify_ip", "::1")
    verify(example, "server", "sslserver", "-verify_hostname", "elsewhere", status=1)
    verify(example, "server", "sslclient", status=1)
    verify(example, "client", "sslclient", "-verify_email", "client@example.com")
    verify(example, "client", "sslserver", status=1)


def test_gnutls_agrees(example):
    for name in ("server", "client"):
        with open(f"{example}/{name}-chain.pem", "rb") as chain:
            done = subprocess.run(["certtool", "--verify", "--load-ca-certificate", f"{example}/root.pem"], stdin=chain,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=ringbolt.WAIT, check=False)
        assert done.returncode == 0 and b"Verified. The certificate is trusted" in done.stdout, done.stdout
    openssl("pkey", "-in", f"{example}/client.key", "-noout")
    key = subprocess.run(["certtool", "--key-info", "--infile", f"{example}/server.key", "--password", "correct horse"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=ringbolt.WAIT, check=False)
    assert key.returncode == 0 and b"SECP256R1" in key.stdout, key.stdout


def test_what_the_certificates_say(example):
    root, intermediate, server, client = (text_of(f"{example}/{name}.pem") for name in
                                          ("root", "intermediate", "server", "client"))
    assert re.search(r"Basic Constraints: critical\s+CA:TRUE\n", root)
    assert re.search(r"Basic Constraints: critical\s+CA:TRUE, pathlen:0\n", intermediate)
    for authority in (root, intermediate):
        assert re.search(r"Key Usage: critical\s+Certificate Sign, CRL Sign\n", authority)
    assert re.search(r"CA:FALSE", server) and re.search(r"Key Usage: critical\s+Digital Signature\n", server)
    assert re.search(r"Extended Key Usage:\s+TLS Web Server Authentication\n", server)
    assert "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in server
    assert "URI:http://127.0.0.1:8888/intermediate.crl" in server
    assert "OCSP - URI:http://127.0.0.1:8889/" in server
    assert "CA Issuers - URI:http://127.0.0.1:8888/intermediate.crt" in server
    assert re.search(r"TLS Web Client Authentication, E-mail Protection", client)
    assert re.search(r"Subject: C ?= ?DE, O ?= ?Example, OU ?= ?Tests, CN ?= ?Example client, emailAddress ?= ?client@example.com", client)
    for one in (root, intermediate, server, client):
        assert "Subject Key Identifier" in one and "Authority Key Identifier" in one
        serial = int(re.search(r"Serial Number:\s+([0-9a-f:]+)", one).group(1).replace(":", ""), 16)
        assert 0 < serial < 1 << 159


def test_the_encrypted_key(example):
    with open(f"{example}/server.key", encoding="ascii") as file:
        assert file.readline() == "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    openssl("pkey", "-in", f"{example}/server.key", "-passin", "pass:correct horse", "-noout")
    openssl("pkey", "-in", f"{example}/server.key", "-passin", "pass:wrong", "-noout", status=1)
    info = openssl("asn1parse", "-in", f"{example}/server.key")
    assert "PBES2" in info and "aes-256-cbc" in info and "hmacWithSHA256" in info


def test_the_smallest_file(tmp_path):
    file = write(tmp_path / "small.yaml", SMALLEST)
    assert good("make", "-c", file, cwd=tmp_path).count(": made") == 5
    verify(tmp_path, "server", "sslserver", "-verify_hostname", "localhost")
    # Nothing but names: the subject is empty, and the names are critical.
    assert re.search(r"Subject: ?\n", text_of(tmp_path / "server.pem"))
    assert "Subject Alternative Name: critical" in text_of(tmp_path / "server.pem")


def test_every_kind_of_key_and_extension(tmp_path):
    kinds = ["rsa:2048", "rsa:3072", "ec:P-256", "ec:P-384", "ec:P-521", "ed25519"]
    lines = ["authorities:"]
    for i, kind in enumerate(kinds):
        lines += [f"  - {{ name: ca{i}, key: '{kind}', subject: {{ CN: CA {kind} }} }}"]
    lines += ["certificates:"]
    for i, kind in enumerate(kinds):
        lines += [f"  - {{ name: leaf{i}, issuer: ca{i}, key: '{kind}', names: leaf.example, must_staple: true }}"]
    lines += ["  - { name: responder, issuer: ca2, profile: ocsp, subject: { CN: OCSP } }",
              "  - { name: peer, issuer: ca0, profile: peer, key: rsa, days: 7, digest: sha512,",
              "      subject: { DC: example.com, GN: A, SN: B, UID: u, serialNumber: '1', street: s, postalCode: p, title: t,",
              "                 ST: x, L: y, CN: peer.example } }"]
    good("make", "-c", write(tmp_path / "kinds.yaml", "\n".join(lines)), "--out", str(tmp_path / "out"))
    out = tmp_path / "out"
    for i, kind in enumerate(kinds):
        openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", f"{out}/ca{i}.pem", f"{out}/leaf{i}.pem")
        assert re.search(r"TLS Feature:\s+status_request", text_of(out / f"leaf{i}.pem"))
        assert json.loads(good("show", "--json", f"{out}/leaf{i}.key"))[0]["key"] == kind
        done = subprocess.run(["certtool", "--key-info", "--infile", f"{out}/leaf{i}.key"], stdout=subprocess.DEVNULL,
                              timeout=ringbolt.WAIT, check=False)
        assert done.returncode == 0
    assert "Key Encipherment" in text_of(out / "leaf0.pem") and "Key Encipherment" not in text_of(out / "leaf2.pem")
    assert re.search(r"OCSP Signing[\s\S]*OCSP No Check", text_of(out / "responder.pem"))
    peer = text_of(out / "peer.pem")
    assert "sha512WithRSAEncryption" in peer and re.search("DC ?= ?com, DC ?= ?example, ST ?= ?x", peer) and "DNS:peer.example" in peer
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in peer


def test_three_levels(tmp_path):
    file = write(tmp_path / "deep.yaml", """\
authorities:
  - { name: issuing, issuer: policy, subject: { CN: Issuing } }
  - { name: policy, issuer: root, subject: { CN: Policy } }
  - { name: root, subject: { CN: Root } }
certificates:
  - { name: server, issuer: issuing, names: deep.example }
""")
    good("make", "-c", file, cwd=tmp_path)
    verify(tmp_path, "server", "sslserver")
    assert (tmp_path / "server-chain.pem").read_text().count("BEGIN") == 3
    assert (tmp_path / "issuing-chain.pem").read_text().count("BEGIN") == 2
    assert not (tmp_path / "policy-chain.pem").exists()
    assert "pathlen:1" in text_of(tmp_path / "policy.pem") and "pathlen:0" in text_of(tmp_path / "issuing.pem")


# ---- again

def test_again_keeps_everything(example):
    before = contents(example)
    stamps = {name: os.stat(os.path.join(example, name)).st_mtime_ns for name in before}
    out = good("make", "-c", EXAMPLE, "--out", example, env=SECRET)
    assert ": made" not in out and ": replaced" not in out and out.count("kept") == 10
    assert contents(example) == before
    assert stamps == {name: os.stat(os.path.join(example, name)).st_mtime_ns for name in before}


def test_only_what_is_missing(tmp_path):
    file = write(tmp_path / "small.yaml", SMALLEST)
    good("make", "-c", file, cwd=tmp_path)
    before = contents(tmp_path)
    os.remove(tmp_path / "server.pem")
    os.remove(tmp_path / "server-chain.pem")
    out = good("make", "-c", file, cwd=tmp_path)
    assert re.findall(r"^(\S+): made", out, re.MULTILINE) == ["server.pem", "server-chain.pem"]
    after = contents(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"root.db", "server-chain.pem", "server.pem"}
    assert after["root.key"] == before["root.key"] and after["server.key"] == before["server.key"]


@pytest.mark.parametrize("old, new, names, replaced", [
    ("127.0.0.1", "127.0.0.2", ["server.pem", "names"], {"server.pem", "server-chain.pem", "root.db"}),
    ("CN: Private root", "CN: Other root", ["root.pem", "subject"], {"root.pem", "server.pem", "server-chain.pem", "root.db"}),
    ("    issuer", "    key: rsa:2048\n    issuer", ["server.key", "ec:P-256", "rsa:2048"],
     {"server.key", "server.pem", "server-chain.pem", "root.db"}),
    ("    issuer", "    digest: sha512\n    issuer", ["server.pem", "digest"], {"server.pem", "server-chain.pem", "root.db"}),
    ("    issuer", "    not_after: 2030-01-01\n    issuer", ["server.pem", "ends"],
     {"server.pem", "server-chain.pem", "root.db"}),
    ("    issuer", "    passphrase: { env: SERVER_KEY_PASSPHRASE }\n    issuer", ["server.key", "not encrypted"], {"server.key"}),
])
def test_what_no_longer_fits_needs_force(tmp_path, old, new, names, replaced):
    good("make", "-c", write(tmp_path / "small.yaml", SMALLEST), cwd=tmp_path)
    changed = write(tmp_path / "small.yaml", SMALLEST.replace(old, new))
    before = contents(tmp_path)
    done = pki("make", "-c", changed, cwd=tmp_path, env=SECRET)
    assert done.returncode == 1 and not done.stdout and all(name in done.stderr for name in names), done.stderr
    assert "--force" in done.stderr and contents(tmp_path) == before
    good("make", "-c", changed, "--force", cwd=tmp_path, env=SECRET)
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == replaced
    verify(tmp_path, "server", "sslserver")
    out = good("make", "-c", changed, cwd=tmp_path, env=SECRET)
    assert ": made" not in out and ": replaced" not in out


@pytest.mark.parametrize("name", ["server.pem", "server-chain.pem", "root.pem"])
def test_damaged_files_need_force(tmp_path, name):
    small = write(tmp_path / "small.yaml", SMALLEST)
    good("make", "-c", small, cwd=tmp_path)
    write(tmp_path / name, "no certificate\n")
    before = contents(tmp_path)
    done = pki("make", "-c", small, cwd=tmp_path)
    assert done.returncode == 1 and "--force" in done.stderr and name in done.stderr and contents(tmp_path) == before
    assert pki("make", "-c", small, "--force", cwd=tmp_path).returncode == 0
    verify(tmp_path, "server", "sslserver")


def test_a_root_key_in_a_safe(tmp_path):
    """An authority's key is wanted only when there is something to sign."""
    file = write(tmp_path / "small.yaml", SMALLEST)
    good("make", "-c", file, cwd=tmp_path)
    os.rename(tmp_path / "root.key", tmp_path / "safe")
    assert "root.key" not in good("make", "-c", file, cwd=tmp_path)
    os.remove(tmp_path / "server.pem")
    done = pki("make", "-c", file, cwd=tmp_path)
    assert done.returncode == 1 and "root.key: is not there" in done.stderr


def test_a_key_that_does_not_open_is_never_replaced(example, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(example, folder)
    before = contents(folder)
    done = pki("make", "-c", EXAMPLE, "--out", str(folder), "--force", env={"SERVER_KEY_PASSPHRASE": "wrong"})
    assert done.returncode == 1 and "server.key: the passphrase is wrong" in done.stderr
    assert contents(folder) == before


# ---- bad files

def test_all_errors_at_once(tmp_path):
    file = write(tmp_path / "bad.yaml", """\
authorities:
  - name: root
    subject: { CN: Root, C: Germany }
    key: rsa:1024
  - name: below
    issuer: rot
    subjekt: { CN: x }
certificates:
  - name: server
    issuer: root
    names: [ "a..b", 192.0.2.1 ]
    days: 0
    profile: sever
    extended_key_usage: clientAut
    crl_url: nowhere
    passphrase: { env: A, file: b }
  - name: server
    issuer: server
""")
    done = pki("make", "-c", file, "--out", str(tmp_path / "out"))
    assert done.returncode == 3 and not done.stdout and not (tmp_path / "out").exists()
    places = [re.match(re.escape(file) + r":(\d+):(\d+): .", line) for line in done.stderr.splitlines()]
    assert all(places), done.stderr
    assert {(int(place[1]), int(place[2])) for place in places} >= {
        (3, 29), (4, 10), (6, 13), (7, 5), (11, 14), (12, 11), (13, 14), (14, 25), (15, 14), (16, 17), (17, 11), (18, 13)}


@pytest.mark.parametrize("text, says", [
    ("", "authorities"),
    ("authorities: [ { name: a, issuer: b, subject: { CN: a } }, { name: b, issuer: a, subject: { CN: b } } ]", "circle"),
    ("authorities: [ { name: a, path_length: 0, subject: { CN: a } }, { name: b, issuer: a, subject: { CN: b } } ]", "too few"),
    ("authorities: [ { name: a, days: 5, subject: { CN: a } } ]\n"
     "certificates: [ { name: b, issuer: a, names: b.example, days: 6 } ]", "`a` is valid until"),
    ("authorities: [ { name: a, subject: { CN: a } } ]\n"
     "certificates: [ { name: b, issuer: a, names: b.example, passphrase: { env: RINGBOLT_NOT_SET } } ]", "RINGBOLT_NOT_SET"),
    ("authorities: [ { name: a, subject: { CN: a } } ]\n"
     "certificates: [ { name: b, issuer: a, names: b.example, passphrase: { file: none } } ]", "none"),
    ("authorities: [ { name: a, key: ed25519, digest: sha256, subject: { CN: a } } ]", "of its own"),
    ("authorities: [ { name: ../a, subject: { CN: a } } ]", "letters"),
    ("authorities: [ { name: a, subject: { CN: a } } ]\ncertificates: [ { name: b, issuer: a } ]", "needs names"),
    ("authorities: [\n", "authorities"),
])
def test_bad_files(tmp_path, text, says):
    file = write(tmp_path / "bad.yaml", text)
    done = pki("make", "-c", file, "--out", str(tmp_path / "out"))
    assert done.returncode == 3 and file in done.stderr, done.stderr
    assert says in done.stderr or text.endswith("[\n"), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_passphrase_from_a_file(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "phrase").write_text("from a file\nnot this line\n")
    file = write(tmp_path / "conf" / "small.yaml", SMALLEST + "    passphrase: { file: phrase }\n")
    good("make", "-c", file, cwd=tmp_path)
    openssl("pkey", "-in", f"{tmp_path}/server.key", "-passin", "pass:from a file", "-noout")


# ---- trouble

def limited():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def test_no_space(tmp_path):
    file = write(tmp_path / "small.yaml", SMALLEST)
    done = pki("make", "-c", file, "--out", str(tmp_path / "out"), preexec_fn=limited, restore_signals=False)
    assert done.returncode == 1 and "root.key: cannot be written: File too large" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_without_the_right_to_write(tmp_path):
    file = write(tmp_path / "small.yaml", SMALLEST)
    folder = tmp_path / "closed"
    folder.mkdir(0o555)
    done = pki("make", "-c", file, "--out", "/proc/self" if os.geteuid() == 0 else str(folder))
    assert done.returncode == 1 and "cannot be written" in done.stderr and not os.listdir(folder)
    done = pki("make", "-c", file, "--out", file)
    assert done.returncode == 1 and "no folder" in done.stderr


def whole(folder):
    """Every file there is one that its program reads to its end; nothing else is there."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        assert not name.startswith("."), name
        if name.endswith(".pem"):
            openssl("x509", "-in", path, "-noout")
        elif name.endswith(".key"):
            openssl("pkey", "-in", path, "-noout")
        else:
            with open(path, encoding="utf-8") as file:
                assert file.read().endswith("\n")


def many(count):
    lines = ["authorities:", "  - { name: root, subject: { CN: Root } }", "certificates:"]
    return "\n".join(lines + [f"  - {{ name: leaf{i}, issuer: root, names: leaf{i}.example }}" for i in range(count)]) + "\n"


def test_killed_at_any_point(tmp_path):
    """Killed after the first, the fifth… file has appeared: no half file, and the next run makes the rest."""
    file = write(tmp_path / "many.yaml", many(12))
    for files in (0, 1, 2, 5, 11, 23):
        folder = tmp_path / f"killed{files}"
        folder.mkdir()
        process = subprocess.Popen([ringbolt.BINARY, "pki", "make", "-c", file, "--out", str(folder)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(os.listdir(folder)) < files and process.poll() is None:
            os.sched_yield()
        process.kill()
        process.wait()
        # Replacing the database needs a second name for an instant; it is whole, too.
        for left in glob.glob(f"{folder}/.root.db.*"):
            os.remove(left)
        whole(folder)
        good("make", "-c", file, "--out", str(folder))
        whole(folder)
        for i in (0, 11):
            verify(folder, f"leaf{i}", "sslserver")


def test_runs_at_once(tmp_path):
    file = write(tmp_path / "many.yaml", many(4))
    runs = [subprocess.Popen([ringbolt.BINARY, "pki", "make", "-c", file, "--out", str(tmp_path / "out")],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [run.communicate(timeout=ringbolt.WAIT) for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, outputs
    assert sum("root.key: made" in out for out, _ in outputs) == 1
    for i in range(4):
        verify(tmp_path / "out", f"leaf{i}", "sslserver")
    assert (tmp_path / "out" / "root.db").read_text().count("\nvalid ") == 4

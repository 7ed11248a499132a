# SPDX-License-Identifier: Apache-2.0
"""OCSP stapling: what clients are shown, with a responder run by `openssl ocsp`: good, revoked, unknown, forged, down, back again, from
the disk, from a file, and in time.

RINGBOLT_E2E_RESPONDERS=200   certificates of the test with many (default 40)
"""
import contextlib
import datetime
import http.server
import os
import re
import socket
import subprocess
import tempfile
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

import pki
import ringbolt

pytestmark = pytest.mark.any_layer

VERSIONS = ["1.2", "1.3"]
TIME = "%b %d %H:%M:%S %Y GMT"  # as openssl prints it
MANY = int(os.environ.get("RINGBOLT_E2E_RESPONDERS", "40"))


# ---- certificates

@pytest.fixture(scope="module")
def root():
    return pki.Authority("Ringbolt stapling root")


@pytest.fixture(scope="module")
def ca(root):
    return root.intermediate("Ringbolt stapling intermediate")


@pytest.fixture(scope="module")
def root_path(root):
    with tempfile.TemporaryDirectory(prefix="ringbolt-e2e-") as folder:
        yield pki.write_whole(os.path.join(folder, "root.pem"), root.leaf_pem())


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    return str(tmp_path)


def issue(ca, names=("localhost",), url=None, must_staple=False, usage=ExtendedKeyUsageOID.SERVER_AUTH):
    """A certificate that names its responder, or must be stapled, or signs responses."""
    key = pki.key_make("ecdsa")
    builder = ca._builder(names[0], key.public_key(), ca.certificate, -1, 7)  # pylint: disable=protected-access
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    builder = builder.add_extension(pki.key_usage("digital_signature"), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([pki.alternative(name) for name in names]), critical=False)
    if url:
        access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    if must_staple:
        builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
    return pki.Pair(builder.sign(ca.key, hashes.SHA256()), key, ca.intermediates)


# ---- the responder

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/ocsp-request"
        with self.server.responder.counted():
            answer = self.server.responder.answer(body)
        self.send_response(200)
        self.send_header("Content-Type", "application/ocsp-response")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, address, responder):
        self.responder = responder
        super().__init__(address, Handler, bind_and_activate=False)
        self.server_bind()

    def handle_error(self, request, client_address):
        pass  # a client that hung up


class Responder:
    """HTTP in front of `openssl ocsp`, which signs what its index says. It keeps its port while it is down."""

    def __init__(self, folder, ca, signer=None):
        self.folder, self.ca, self.signer = tempfile.mkdtemp(prefix="responder-", dir=folder), ca, signer or ca
        self.changed = threading.Condition()
        self.asked = []      # serial numbers
        self.now = self.most = 0  # at once
        self.index = {}
        self.seconds = None  # the life of its responses; None: a day
        self.is_forging = False
        self.port = socket.socket()
        self.port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.port.getsockname()[1]}/"
        pki.write_whole(self._path("ca.pem"), ca.leaf_pem())
        pki.write_whole(self._path("signer.pem"), self.signer.leaf_pem())
        pki.write_whole(self._path("signer.key"), self.signer.key_pem(), 0o600)
        self.server = None

    def _path(self, name):
        return os.path.join(self.folder, name)

    def start(self):
        self.server = Server(self.port.getsockname(), self)
        self.server.server_activate()
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return self

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()
            self.server = None

    def close(self):
        self.stop()
        self.port.close()

    def set(self, pair, status="good"):
        """good, revoked or unknown."""
        with self.changed:
            self.index[pair.certificate.serial_number] = (status, pair)

    @contextlib.contextmanager
    def counted(self):
        with self.changed:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            yield
        finally:
            with self.changed:
                self.now -= 1

    def _index_text(self):
        lines = []
        for serial, (status, _) in self.index.items():
            if status != "unknown":
                text = f"{serial:x}".upper()
                lines.append("\t".join(["V" if status == "good" else "R", "391231235959Z", "" if status == "good" else "260101000000Z",
                                        text if len(text) % 2 == 0 else "0" + text, "unknown", f"/CN={text}"]) + "\n")
        return "".join(lines)

    def answer(self, request):
        serial = ocsp.load_der_ocsp_request(request).serial_number
        with self.changed:
            index, seconds, pair = self._index_text(), self.seconds, self.index.get(serial, (None, None))[1]
            self.asked.append(serial)
            self.changed.notify_all()
        if seconds and pair:
            return self.short(pair, seconds)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            paths = {name: os.path.join(folder, name) for name in ("index", "request", "response")}
            for name, data in (("index", index.encode()), ("request", request)):
                with open(paths[name], "wb") as f:
                    f.write(data)
            subprocess.run(["openssl", "ocsp", "-index", paths["index"], "-CA", self._path("ca.pem"), "-rsigner", self._path("signer.pem"),
                            "-rkey", self._path("signer.key"), "-reqin", paths["request"], "-respout", paths["response"],
                            "-ndays", "1"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            with open(paths["response"], "rb") as f:
                response = f.read()
        if self.is_forging:
            built = ocsp.load_der_ocsp_response(response)
            response = response.replace(built.signature, bytes([*built.signature[:-1], built.signature[-1] ^ 1]))
        return response

    def short(self, pair, seconds):
        """`openssl ocsp` counts in minutes."""
        now = datetime.datetime.utcnow().replace(microsecond=0)
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=pair.certificate, issuer=self.ca.certificate, algorithm=hashes.SHA1(), cert_status=ocsp.OCSPCertStatus.GOOD,
            this_update=now, next_update=now + datetime.timedelta(seconds=seconds), revocation_time=None, revocation_reason=None)
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.signer.certificate)
        return builder.sign(self.signer.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def response(self, pair):
        """For a file."""
        request = ocsp.OCSPRequestBuilder().add_certificate(pair.certificate, self.ca.certificate, hashes.SHA1()).build()
        response = self.answer(request.public_bytes(Encoding.DER))
        with self.changed:
            self.asked.clear()
        return response

    def wait_for(self, count, timeout=ringbolt.WAIT):
        """Until it was asked so often."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked) >= count, timeout), f"asked {len(self.asked)} times, not {count}"


@pytest.fixture
def responder(folder, ca):
    """Not started."""
    one = Responder(folder, ca)
    yield one
    one.close()


# ---- what a client is shown

def status(listener, root_path, version="1.3", name="localhost"):
    """What `openssl s_client -status` says of the stapled response: its status, serial number and times; None: there is none."""
    done = subprocess.run(["openssl", "s_client", "-status", "-connect", f"127.0.0.1:{listener.number}", "-servername", name, "-CAfile",
                           root_path, "-verify_return_error", f"-tls{version.replace('.', '_')}"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=ringbolt.WAIT)
    assert "Verify return code: 0 (ok)" in done.stdout, done
    if "OCSP response: no response sent" in done.stdout:
        return None
    assert "OCSP Response Status: successful" in done.stdout, done.stdout
    return {key: re.search(rf"{label}: *(.*)", done.stdout).group(1)
            for key, label in (("status", "Cert Status"), ("serial", "Serial Number"), ("from", "This Update"), ("until", "Next Update"))}


def is_good(shown, pair):
    return bool(shown) and shown["status"] == "good" and int(shown["serial"], 16) == pair.certificate.serial_number


def wait_stapled(listener, root_path, pair, **options):
    ringbolt.wait_until(lambda: is_good(status(listener, root_path, **options), pair), "the response is stapled")


def gnutls(listener, root_path):
    """(exit status, output) of gnutls-cli, which checks what is stapled."""
    done = subprocess.run(["gnutls-cli", "-d", "0", "--x509cafile", root_path, "--port", str(listener.number), "--verify-hostname",
                           "localhost", "--sni-hostname", "localhost", "-V", "127.0.0.1"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=ringbolt.WAIT)
    return done.returncode, done.stdout


def ocsp_state(proxy, name="localhost"):
    answer = proxy.admin_json("certificates")
    return next(one["ocsp"] for one in answer["certificates"] if name in one["names"])


@pytest.fixture
def serve(start, actor, folder, responder):
    """Starts a proxy with these certificates that asks the responder."""
    def make(*pairs, cache=True, **section):
        entries = [pair.write(folder, f"{pair.id}") for pair in pairs]
        section = {"fetch": True, "responder": responder.url, "cache": os.path.join(folder, "cache") if cache is True else cache, **section}
        return start({"app": [actor.address]}, tls={"app": {"certificates": entries, "ocsp": {k: v for k, v in section.items() if v}}})

    return make


def complaints(proxy):
    return [line for line in proxy.lines if line["level"] in ("warning", "error") and
            ("OCSP" in line["message"] or "revoked" in line["message"])]


# ---- good

@pytest.mark.parametrize("version", VERSIONS)
def test_stapled(serve, responder, ca, root_path, version):
    pair = issue(ca)
    responder.set(pair)
    responder.start()
    stage = serve(pair)
    wait_stapled(stage["app"], root_path, pair, version=version)
    code, output = gnutls(stage["app"], root_path)
    assert code == 0 and "OCSP status request" in output and "Certificate Status: good" in output, output
    state = ocsp_state(stage.proxy)
    assert state["stapled"] and state["problem"] is None and state["next_update"], state
    assert responder.asked == [pair.certificate.serial_number]
    assert not complaints(stage.proxy)


def test_responder_of_the_certificate(serve, responder, ca, root_path):
    """The address that it names, by the name of a host."""
    pair = issue(ca, url=responder.url.replace("127.0.0.1", "localhost"))
    responder.set(pair)
    responder.start()
    wait_stapled(serve(pair, responder=None)["app"], root_path, pair)


def test_delegate(serve, folder, ca, root_path):
    """Signed by somebody whom the issuer has given the right to."""
    pair = issue(ca)
    responder = Responder(folder, ca, signer=issue(ca, ["responder"], usage=ExtendedKeyUsageOID.OCSP_SIGNING))
    try:
        responder.set(pair)
        responder.start()
        wait_stapled(serve(pair, responder=responder.url)["app"], root_path, pair)
    finally:
        responder.close()


# ---- not good

BAD = {
    "revoked": ("error", "certificate is revoked", "revoked"),
    "unknown": ("warning", "no OCSP response for a certificate", "unknown"),
    "forged": ("warning", "no OCSP response for a certificate", "signed"),
    "stranger": ("warning", "no OCSP response for a certificate", "signed"),
}


@pytest.mark.parametrize("kind", BAD)
def test_not_good(serve, folder, ca, root_path, kind):
    """Nothing is stapled, the log says why, and clients connect as before."""
    pair = issue(ca)
    signer = {"stranger": issue(pki.Authority("Ringbolt stapling stranger"), ["responder"], usage=ExtendedKeyUsageOID.OCSP_SIGNING)}
    responder = Responder(folder, ca, signer=signer.get(kind))
    try:
        responder.set(pair, kind if kind in ("revoked", "unknown") else "good")
        responder.is_forging = kind == "forged"
        responder.start()
        stage = serve(pair, responder=responder.url)
        level, message, reason = BAD[kind]
        line = stage.proxy.wait_for_log(lambda e: e["message"] == message)
        assert line["level"] == level and line["certificate"] == pair.id and line["name"] == "localhost", line
        assert line["responder"] == responder.url
        assert reason in ocsp_state(stage.proxy)["problem"]
        assert not ocsp_state(stage.proxy)["stapled"]
        for version in VERSIONS:
            assert status(stage["app"], root_path, version) is None
        assert gnutls(stage["app"], root_path)[0] == 0
        assert not os.listdir(os.path.join(folder, "cache"))
    finally:
        responder.close()


def test_revoked_later(serve, responder, folder, ca, root_path):
    pair = issue(ca)
    responder.set(pair)
    responder.seconds = 8
    responder.start()
    stage = serve(pair)
    wait_stapled(stage["app"], root_path, pair)
    assert os.listdir(os.path.join(folder, "cache")) == [f"{pair.fingerprint}.ocsp"]
    responder.seconds = None
    responder.set(pair, "revoked")
    stage.proxy.wait_for_log(lambda e: e["message"] == "certificate is revoked" and e["level"] == "error")
    assert not os.listdir(os.path.join(folder, "cache"))
    ringbolt.wait_until(lambda: status(stage["app"], root_path) is None, "nothing is stapled")


def test_must_staple(serve, responder, ca, root_path):
    """With it, clients that know of must-staple are content; without, they are not, and the log has warned."""
    pair = issue(ca, must_staple=True)
    responder.set(pair)
    responder.start()
    stage = serve(pair, cache=False)
    wait_stapled(stage["app"], root_path, pair)
    code, output = gnutls(stage["app"], root_path)
    assert code == 0, output
    stage.proxy.stop()
    responder.stop()
    stage = serve(pair, cache=False)
    ringbolt.wait_until(lambda: ocsp_state(stage.proxy)["problem"], "it is said why there is none")
    state = ocsp_state(stage.proxy)
    assert state["must_staple"] and not state["stapled"] and "Connection refused" in state["problem"], state
    code, output = gnutls(stage["app"], root_path)
    assert code != 0 and "OCSP" in output and "missing" in output, output


def test_must_staple_replaced(serve, responder, folder, ca, root_path):
    """The new one waits for its response: nobody sees it without."""
    old, new = issue(ca, must_staple=True), issue(ca, must_staple=True)
    responder.set(old)
    responder.set(new)
    responder.start()
    stage = serve(old)
    wait_stapled(stage["app"], root_path, old)
    pki.write_whole(os.path.join(folder, f"{old.id}.key"), new.key_pem(), 0o600)
    pki.write_whole(os.path.join(folder, f"{old.id}.pem"), new.chain_pem())

    def is_replaced():
        shown = status(stage["app"], root_path)
        assert is_good(shown, old) or is_good(shown, new), shown
        return is_good(shown, new)

    ringbolt.wait_until(is_replaced, "the new one is served")


# ---- time

def test_down_and_back(serve, responder, ca, root_path):
    """Down at the start: nobody waits for it. Back later: it is asked again."""
    pair = issue(ca)
    responder.set(pair)
    stage = serve(pair)
    line = stage.proxy.wait_for_log(lambda e: e["message"] == "no answer from an OCSP responder")
    assert line["level"] == "warning" and "Connection refused" in line["reason"] and line["retry_s"] <= 30, line
    assert status(stage["app"], root_path) is None
    responder.start()
    wait_stapled(stage["app"], root_path, pair)
    stage.proxy.wait_for_log(lambda e: e["message"] == "OCSP responder answers again" and e["responder"] == responder.url)
    assert len(complaints(stage.proxy)) == 1


def test_kept_over_a_restart(serve, responder, folder, ca, root_path):
    """The responder is down by then: what is on the disk is stapled to the first handshake. What is not good there is not."""
    pair = issue(ca)
    responder.set(pair)
    responder.start()
    stage = serve(pair)
    wait_stapled(stage["app"], root_path, pair)
    stage.proxy.stop()
    responder.stop()
    stage = serve(pair)
    assert is_good(status(stage["app"], root_path), pair)
    stage.proxy.stop()
    path = os.path.join(folder, "cache", f"{pair.fingerprint}.ocsp")
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    other = issue(ca)
    responder.set(other)
    pki.write_whole(path, responder.response(other))
    stage = serve(pair)
    stage.proxy.wait_for_log(lambda e: e["message"] == "no answer from an OCSP responder")
    assert status(stage["app"], root_path) is None


def test_refreshed(serve, responder, ca, root_path):
    """Responses of a short life: a client never sees one that has ended, and never none."""
    pair = issue(ca)
    responder.set(pair)
    responder.seconds = 8
    responder.start()
    stage = serve(pair)
    wait_stapled(stage["app"], root_path, pair)
    seen = set()
    while len(seen) < 4:
        before = datetime.datetime.utcnow()
        shown = status(stage["app"], root_path)
        assert is_good(shown, pair), shown
        assert datetime.datetime.strptime(shown["until"], TIME) > before, shown
        seen.add(shown["until"])
    assert len(responder.asked) <= 5


def test_ended(serve, responder, ca, root_path):
    """The responder goes down: what is there is stapled to its end, and no longer."""
    pair = issue(ca)
    responder.set(pair)
    responder.seconds = 8
    responder.start()
    stage = serve(pair)
    wait_stapled(stage["app"], root_path, pair)
    responder.stop()
    ends = set()
    while (shown := status(stage["app"], root_path)) is not None:
        assert is_good(shown, pair), shown
        ends.add(datetime.datetime.strptime(shown["until"], TIME))
    assert datetime.datetime.utcnow() >= max(ends)


# ---- where it comes from

def test_file(start, actor, responder, folder, ca, root_path):
    """From a file, which is watched; nobody is asked."""
    pair = issue(ca)
    responder.set(pair)
    responder.seconds = 600
    path = pki.write_whole(os.path.join(folder, "server.ocsp"), responder.response(pair))
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": [{**pair.write(folder, "server"), "ocsp": path}]}})
    first = status(stage["app"], root_path)
    assert is_good(first, pair)
    responder.seconds = 1200
    pki.write_whole(path, responder.response(pair))
    ringbolt.wait_until(lambda: status(stage["app"], root_path)["until"] != first["until"], "the new response is stapled")
    assert is_good(status(stage["app"], root_path), pair)
    assert gnutls(stage["app"], root_path)[0] == 0
    assert not responder.asked


def test_replaced(serve, responder, folder, ca, root_path):
    """A new certificate gets a response of its own, and what was kept of the old one goes."""
    old, new = issue(ca), issue(ca)
    responder.set(old)
    responder.set(new)
    responder.start()
    stage = serve(old)
    wait_stapled(stage["app"], root_path, old)
    pki.write_whole(os.path.join(folder, f"{old.id}.key"), new.key_pem(), 0o600)
    pki.write_whole(os.path.join(folder, f"{old.id}.pem"), new.chain_pem())
    wait_stapled(stage["app"], root_path, new)
    assert os.listdir(os.path.join(folder, "cache")) == [f"{new.fingerprint}.ocsp"]


def test_many(start, actor, responder, folder, ca, root_path):
    """All of them get theirs, and the responder is not stormed."""
    names = [f"n{number}.example" for number in range(MANY)]
    pairs = {name: issue(ca, [name]) for name in names}
    certificates = os.path.join(folder, "certificates")
    os.mkdir(certificates)
    for name, pair in pairs.items():
        responder.set(pair)
        pair.write(certificates, name)
    responder.start()
    stage = start({"app": [actor.address]},
                  tls={"app": {"certificate_dir": certificates, "ocsp": {"fetch": True, "responder": responder.url}}})
    responder.wait_for(MANY)
    for name in names[::10]:
        wait_stapled(stage["app"], root_path, pairs[name], name=name)
    assert responder.most <= 4
    assert sorted(responder.asked) == sorted(pair.certificate.serial_number for pair in pairs.values())


def test_no_place_to_keep(serve, responder, folder, ca, root_path):
    """Said once; stapled all the same."""
    pair = issue(ca)
    responder.set(pair)
    responder.start()
    stage = serve(pair, cache=os.path.join(folder, "missing", "cache"))
    wait_stapled(stage["app"], root_path, pair)
    lines = complaints(stage.proxy)
    assert [line["folder"] for line in lines] == [os.path.join(folder, "missing", "cache")], lines
    assert "kept on disk" in lines[0]["message"] and lines[0]["cure"]

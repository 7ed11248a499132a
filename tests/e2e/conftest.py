# SPDX-License-Identifier: Apache-2.0
"""Fixtures. The proxy under test is the program that the environment variable RINGBOLT names.

RINGBOLT_E2E_BULK=1g   size of the bulk transfers (default 4m in the guest, 32m natively)
"""
import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import backends  # noqa: E402
import pki  # noqa: E402
import rawtls  # noqa: E402
import ringbolt  # noqa: E402
import tls_backends  # noqa: E402

TEST_SECONDS_MAX = int(os.environ.get("RINGBOLT_E2E_SECONDS", "180"))


# For several workers at once. Files of which a test takes long begin, so that in the end no worker waits for another one.
LONG = [f"test_{name}.py" for name in (
    "page_browser", "servers", "certificates", "soak", "pki", "memory", "compare", "bench", "flood", "reload_bench", "systemd", "handover", "fleet",
    "estate", "upgrade", "tracing", "stapling", "rebalance", "names", "rotation", "network", "timeouts", "bench_guest", "limits", "agree",
    "upstreams", "life", "reencrypt")]
WHOLE = LONG[:3]  # one worker does all of such a file: what its tests have in common takes long
AT_ONCE = 2       # tests that a worker is given else


class TestTookTooLong(BaseException):
    """Not an Exception: no handler in a test shall swallow it."""

    def __init__(self, text="this test took too long"):
        super().__init__(text)


@contextlib.contextmanager
def alarm_of_main_thread(most):
    def on_alarm(_number, _frame):
        raise TestTookTooLong(f"this test took longer than {most} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(most)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def alarm_of_thread(most):
    """A worker of pytest-xdist may run in another thread than the main one, where there are no signals: execnet before 2.1 starts one when its main
    thread is late. What the kernel lets this one wait for comes first."""
    late = ctypes.pythonapi.PyThreadState_SetAsyncExc
    timer = threading.Timer(most, late, (ctypes.c_ulong(threading.get_ident()), ctypes.py_object(TestTookTooLong)))
    timer.start()
    yield
    timer.cancel()
    timer.join()


def pytest_configure(config):
    if not os.path.exists(ringbolt.BINARY):
        raise pytest.UsageError(f"RINGBOLT must name the program to test; there is no {ringbolt.BINARY}")
    config.addinivalue_line("markers", "seconds(most): this test may take so long")
    config.addinivalue_line("markers", "any_layer: what it tests is the same over every record layer: not repeated in the guest")
    config.addinivalue_line("markers", "guest: asks for no record layer, and is run in the guest all the same: the kernel makes the difference")


def file_of(nodeid):
    """test_x.py of tests/e2e/test_x.py::test_y."""
    return os.path.basename(nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Few tests at a time for each worker: pytest-xdist gives them a quarter of all at once, however long those take."""
    from xdist.scheduler import LoadScheduling

    class Scheduler(LoadScheduling):
        def _send_tests(self, node, num):
            files = [file_of(self.collection[index]) for index in self.pending[:num]]
            if files and files[0] in WHOLE:
                files = [file_of(self.collection[index]) for index in self.pending]
                num = files.count(files[0])
            else:
                num = min(num, AT_ONCE)
            super()._send_tests(node, num)

    return Scheduler(config, log)


def pytest_collection_modifyitems(config, items):
    """What takes long comes first. In the guest what depends on the record layer, and what is meant for its kernel."""
    items.sort(key=lambda item: LONG.index(file_of(item.nodeid)) if file_of(item.nodeid) in LONG else len(LONG))
    repeated = [item for item in items if ringbolt.GUEST and not item.get_closest_marker("guest") and
                (item.get_closest_marker("any_layer") or "layer" not in item.fixturenames)]
    if repeated:
        config.hook.pytest_deselected(items=repeated)
        items[:] = [item for item in items if item not in repeated]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """A test that hangs fails, with a trace of where."""
    marker = item.get_closest_marker("seconds")
    is_main = threading.current_thread() is threading.main_thread()
    with (alarm_of_main_thread if is_main else alarm_of_thread)(marker.args[0] if marker else TEST_SECONDS_MAX):
        yield


def pytest_generate_tests(metafunc):
    if "layer" in metafunc.fixturenames:
        metafunc.parametrize("layer", ringbolt.layers_here(), scope="session")


def size_parse(text):
    return int(text[:-1]) << {"k": 10, "m": 20, "g": 30}[text[-1]] if text[-1] in "kmg" else int(text)


# ---- the surroundings

@pytest.fixture(scope="session")
def work():
    """A directory that a worker without rights can look into."""
    path = tempfile.mkdtemp(prefix="ringbolt-e2e-", dir=os.environ.get("RINGBOLT_E2E_DIR"))
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Certificates:
    """A certificate authority, and certificates of both kinds for localhost."""

    def __init__(self, directory):
        self.directory = directory
        self.ca = self._path("ca.pem")
        self._openssl("req", "-x509", *self._new_key("ecdsa", "ca"), "-out", self.ca, "-days", "2", "-subj", "/CN=Ringbolt test CA",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.ecdsa = self.make("ecdsa", "ecdsa")
        self.rsa = self.make("rsa", "rsa")

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def _new_key(self, kind, name):
        algorithm = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ecdsa" else ["rsa:2048"]
        return ["-newkey", *algorithm, "-nodes", "-keyout", self._path(f"{name}.key")]

    def make(self, kind, name, subject="localhost", names="DNS:localhost,IP:127.0.0.1,IP:::1", days="2"):
        """(chain, key), signed by the CA."""
        chain = self._path(f"{name}.pem")
        self._openssl("req", "-x509", "-CA", self.ca, "-CAkey", self._path("ca.key"), *self._new_key(kind, name), "-out", chain,
                      "-days", days, "-subj", f"/CN={subject}", "-addext", f"subjectAltName={names}",
                      "-addext", "basicConstraints=critical,CA:FALSE")
        return chain, self._path(f"{name}.key")

    def config(self):
        return [{"chain": chain, "key": key} for chain, key in (self.ecdsa, self.rsa)]


@pytest.fixture(scope="session")
def certificates(work):
    path = os.path.join(work, "certificates")
    os.mkdir(path)
    return Certificates(path)


@pytest.fixture(scope="session")
def actor():
    server = backends.Actor()
    yield server
    server.close()


@pytest.fixture(scope="session")
def actor_unix(work):
    server = backends.Actor(path=os.path.join(work, "actor.sock"))
    yield server
    server.close()


class Bulk:
    """A big file, and what it must hash to."""

    def __init__(self, directory):
        default = "4m" if ringbolt.GUEST else "32m"
        self.size = size_parse(os.environ.get("RINGBOLT_E2E_BULK", default))
        self.directory = os.path.join(directory, "www")
        os.mkdir(self.directory)
        self.path = os.path.join(self.directory, "bulk")
        with open(self.path, "wb") as f:
            for block in backends.Pattern().blocks(self.size):
                f.write(block)
        self.digest = backends.Pattern().digest(self.size)


@pytest.fixture(scope="session")
def bulk(work):
    return Bulk(work)


@pytest.fixture(scope="session")
def nginx(work, bulk):
    server = backends.Nginx(bulk.directory, work)
    yield server
    server.close()


# ---- servers that speak TLS

@pytest.fixture(scope="module")
def authority():
    return pki.Authority("Root of the servers")


@pytest.fixture
def authority_file(authority, tmp_path):
    return pki.write_whole(str(tmp_path / "ca.pem"), authority.leaf_pem())


@pytest.fixture
def serve(tmp_path):
    """serve(pair, …) → a tls_backends.PythonServer with that certificate; closed at the end."""
    servers = []

    def make(pair, serve=None, before=None, **options):
        servers.append(tls_backends.PythonServer(tls_backends.context(pair, tmp_path, f"server{len(servers)}", **options), serve, before))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


# ---- the proxy

class Listener:
    """What a test needs to reach one listener."""

    def __init__(self, stage, port):
        self.stage, self.port, self.address = stage, port, port.address
        self.number = port.address[1]


class Stage:
    """A running proxy with one listener for each upstream: stage["echo"].address. listens and sends: more keys of listeners and
    upstreams, by name."""

    def __init__(self, work, certificates, upstreams, layer="user", config=None, tls=None, host="127.0.0.1", listens=None, sends=None,
                 **options):
        self.listeners = {name: Listener(self, ringbolt.Port(host)) for name in upstreams}
        # A listener that says where its certificates are gets no others.
        tls = {name: {**({} if {"certificates", "certificate_dir"} & (tls or {}).get(name, {}).keys()
                         else {"certificates": certificates.config()}), **(tls or {}).get(name, {})} for name in upstreams}
        self.config = {
            "workers": 2,
            "log": {"format": "json"},
            "ktls": ringbolt.LAYERS[layer],
            "listeners": [{"name": name, "address": self.listeners[name].port.text, "upstream": name, "tls": tls[name],
                           **(listens or {}).get(name, {})}
                          for name in upstreams],
            "upstreams": [{"name": name, "servers": [{"address": address} for address in addresses], **(sends or {}).get(name, {})}
                          for name, addresses in upstreams.items()],
            **(config or {}),
        }
        self.layer = layer
        self.proxy = ringbolt.Ringbolt(work, self.config, **options)

    def __getitem__(self, name):
        return self.listeners[name]

    def line(self, client):
        """The log line of a client's connection, once it has ended."""
        host, port = client.name[:2]
        return self.proxy.connection(client.since, client=f"{host}:{port}")

    def line_at_end(self, client):
        """The same when there is nothing left to read: a proxy that has ended a connection waits a while for the client to
        close too."""
        client.close()
        return self.line(client)

    def is_well(self):
        return self.proxy.process.poll() is None and not self.proxy.noise

    def close(self):
        for listener in self.listeners.values():
            listener.port.close()


_tags = itertools.count(1)


@pytest.fixture
def tag():
    """A name for one connection, for the Actor."""
    return f"t{os.getpid()}x{next(_tags)}"


class Shared:
    """One stage a record layer, for tests that need nothing special; replaced when a test has broken it."""

    def __init__(self, make):
        self.make, self.stages = make, {}

    def get(self, layer):
        if layer not in self.stages:
            self.stages[layer] = self.make(layer)
        return self.stages[layer]

    def drop(self, layer):
        stage = self.stages.pop(layer)
        if stage.proxy.process.poll() is None:
            stage.proxy.kill()
        stage.close()
        return stage

    def close(self):
        for stage in self.stages.values():
            stage.proxy.stop()
            stage.close()


@pytest.fixture(scope="session")
def shared(work, certificates, actor, actor_unix, nginx):
    upstreams = {"app": [actor.address], "app-unix": [actor_unix.address], "http": [nginx.tcp], "http-unix": [nginx.unix],
                 "h2": [nginx.h2]}
    tls = {"http": {"alpn": ["http/1.1"]}, "h2": {"alpn": ["h2", "http/1.1"]}}
    stages = Shared(lambda layer: Stage(work, certificates, upstreams, layer=layer, tls=tls))
    yield stages
    stages.close()


@pytest.fixture
def stage(shared, layer):
    """A running proxy in front of the Actor and nginx, in the record layer of this test."""
    running = shared.get(layer)
    yield running
    if not running.is_well():
        dropped = shared.drop(layer)
        pytest.fail("the proxy died or complained:\n" + dropped.proxy.log_text())


@pytest.fixture
def start(work, certificates):
    """Starts a proxy of this test's own: start({"app": [address]}, config={…}). It is stopped, and how it ends is checked,
    unless the test did that."""
    stages = []

    def make(upstreams, **options):
        stage = Stage(work, certificates, upstreams, **options)
        stages.append(stage)
        return stage

    yield make
    errors = []
    for stage in stages:
        try:
            if stage.proxy.process.returncode is None:
                stage.proxy.stop()
            else:
                assert not stage.proxy.noise, stage.proxy.log_text()
        except AssertionError as error:
            errors.append(str(error))
        stage.close()
    assert not errors, "\n".join(errors)


@pytest.fixture
def dial():
    """Opens raw TLS clients and closes them at the end: dial(stage["app"], version="1.2")."""
    clients = []

    def open_client(listener, handshake=True, **options):
        since = listener.stage.proxy.mark()  # ports are used again
        client = rawtls.RawClient(listener.address, **options)
        client.name, client.since = client.sock.getsockname(), since
        clients.append(client)
        return client.handshake() if handshake else client

    yield open_client
    for client in clients:
        client.close()

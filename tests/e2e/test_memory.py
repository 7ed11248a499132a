# SPDX-License-Identifier: Apache-2.0
"""Memory that is refused at any one place: what was asked for may fail, but the process lives on, or is replaced, and serves what it should.

Each test asks for the same again and again, and each time the next allocation of one process fails, until there is none left that could."""
import os
import shutil
import ssl

import pytest

import faults
import rawtls
import ringbolt

pytestmark = pytest.mark.any_layer
ALLOCATIONS_MAX = 5000  # more than any of this asks for


class Scene:
    def __init__(self, start, certificates, actor, folder):
        self.folder = folder
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        self.faults = faults.Faults(folder)
        if not self.faults.is_there:
            pytest.skip("the allocator of a sanitizer is in use")
        self.pairs = {kind: [[shutil.copy(path, os.path.join(folder, f"{kind}{number}{end}")) for path, end in zip(made, (".pem", ".key"))]
                             for number, made in enumerate((getattr(certificates, kind), certificates.make(kind, f"memory-{kind}")))]
                      for kind in ("ecdsa", "rsa")}
        self.used = [[os.path.join(folder, f"{kind}.pem"), os.path.join(folder, f"{kind}.key")] for kind in ("ecdsa", "rsa")]
        self.install(0)
        self.stage = start({"app": [actor.address]}, config={"workers": 1}, environment=self.faults.environment(),
                           tls={"app": {"certificates": [{"chain": chain, "key": key} for chain, key in self.used]}})
        self.proxy = self.stage.proxy

    def install(self, number):
        for kind, (chain, key) in zip(("ecdsa", "rsa"), self.used):
            for made, there in zip(reversed(self.pairs[kind][number % 2]), (key, chain)):
                shutil.copy(made, there + ".new")
                os.rename(there + ".new", there)

    def served(self):
        return ssl.get_server_certificate(self.stage["app"].address)

    def served_if_any(self):
        try:
            return self.served()
        except OSError:
            return None  # the worker has just ended

    def installed(self, number):
        with open(self.pairs["ecdsa"][number % 2][0], encoding="utf-8") as f:
            return f.read()

    def worker(self):
        ringbolt.wait_until(self.proxy.carriers, "there is a worker")
        return self.proxy.carriers()[0]

    def master(self):
        return self.proxy.process.pid

    def fail_each(self, process, work):
        """work(number), until every allocation that a process makes for it has failed once."""
        at = 0
        while True:
            at += 1
            assert at < ALLOCATIONS_MAX
            self.faults.set(pid=process(), at=at)
            before = self.faults.failed()
            try:
                work(at)
            finally:
                self.faults.set()
            assert self.proxy.process.poll() is None, (at, self.proxy.process.returncode, self.proxy.log_text())
            if self.faults.failed() == before:
                return at


@pytest.fixture
def scene(start, certificates, actor, work, tag):
    made = Scene(start, certificates, actor, os.path.join(work, f"memory-{tag}"))
    yield made
    made.faults.close()


def ask(scene, command, *arguments):
    """A command that may fail, with an answer or without one."""
    done = ringbolt.call(command, "-s", scene.proxy.admin_path, *arguments)
    assert done.returncode in (0, 1, 3), (done, scene.proxy.log_text())
    return done


def test_reload(scene):
    def work(number):
        scene.install(number)
        ask(scene, "reload")
        scene.faults.set()
        scene.proxy.admin("reload")
        assert scene.served() == scene.installed(number), scene.proxy.log_text()

    assert scene.fail_each(scene.master, work) > 10


def test_reload_of_a_broken_configuration(scene):
    """The master itself reads it; one that is good is read by a successor."""
    with open(scene.proxy.config_path, "a", encoding="utf-8") as f:
        f.write("\nwrokers: 3\n")
    assert scene.fail_each(scene.master, lambda number: ask(scene, "reload")) > 10
    scene.proxy.admin("reload", status=3)


def test_reload_in_a_worker(scene):
    """It takes the change, or is replaced by one that has it."""
    def work(number):
        scene.install(number)
        scene.proxy.admin("reload")
        ringbolt.wait_until(lambda: scene.served_if_any() == scene.installed(number), "the new certificate is served")

    assert scene.fail_each(scene.worker, work) > 5


def test_connection_in_a_worker(scene, dial, tag):
    """It is served or refused, and so is none after it."""
    def work(number):
        for _ in range(2):
            try:
                client = dial(scene.stage["app"])
                client.send_data(f"echo {tag}x{number}\nhello".encode())
                assert client.read(5) == b"hello"
                client.close()
            except (OSError, rawtls.Alerted, rawtls.ProtocolError):
                assert scene.faults.failed() > before[0]
        before[0] = scene.faults.failed()
        scene.faults.set()
        scene.served()

    before = [0]
    assert scene.fail_each(scene.worker, work) > 1


@pytest.mark.parametrize("command", ["status", "certificates", "server", "connections"])
def test_question(scene, command):
    wanted = scene.proxy.admin_json(command).keys()
    assert scene.fail_each(scene.master, lambda number: ask(scene, command, "--json")) > 1
    assert scene.proxy.admin_json(command).keys() == wanted

# SPDX-License-Identifier: Apache-2.0
"""Certificates replaced under load, in all the ways that others replace files: not one handshake fails, what is new is served soon, and
what is bad never.

RINGBOLT_E2E_ROTATIONS=200   how often each (default 12)
pytest -s                    shows how long it took until the new one was served
"""
import contextlib
import json
import os
import signal
import socket
import ssl
import statistics
import threading
import time

import pytest

import clients
import pki
import ringbolt

ROTATIONS = int(os.environ.get("RINGBOLT_E2E_ROTATIONS", "12"))
SERVED_SECONDS_MAX = 10  # generous: an event is waited for, no speed is tested


class Load:
    """Clients that connect without a pause, full and resumed, TLS 1.2 and 1.3, and verify what they see."""

    def __init__(self, address, ca):
        self.address, self.ca = address, ca
        self.changed = threading.Condition()
        self.full = []      # (when it began, when it ended, fingerprint) of each full handshake
        self.resumed = 0
        self.failures = []
        self.is_over = False
        self.threads = [threading.Thread(target=self._run, args=(version, resumes), daemon=True)
                        for version in ("1.2", "1.3") for resumes in (False, True)]
        for thread in self.threads:
            thread.start()

    def _run(self, version, resumes):
        context, session = clients.python_context(self.ca, version), None
        while not self.is_over:
            began = time.monotonic()
            try:
                with socket.create_connection(self.address, 30) as sock, \
                        context.wrap_socket(sock, server_hostname="localhost", session=session) as tls:
                    ended = time.monotonic()
                    tls.sendall(b"echo x\nhello")
                    if tls.recv(100) != b"hello":
                        raise OSError("no echo")
                    if session and not tls.session_reused:
                        raise OSError("not resumed")
                    is_full = not tls.session_reused
                    # Of a resumed session it is the one that the session began with.
                    fingerprint = pki.fingerprint(tls.getpeercert(True))
                    session = tls.session if resumes else None
            except OSError as error:
                with self.changed:
                    self.failures.append(f"TLS {version}, {'resuming' if session else 'full'}: {error!r}")
                    self.changed.notify_all()
                continue
            with self.changed:
                if is_full:
                    self.full.append((began, ended, fingerprint))
                else:
                    self.resumed += 1
                self.changed.notify_all()

    def wait_for(self, pair, timeout=SERVED_SECONDS_MAX):
        """When the first full handshake ended that was given this certificate."""
        def served():
            return self.failures or any(one[2] == pair.fingerprint for one in reversed(self.full))

        with self.changed:
            assert self.changed.wait_for(served, timeout), f"the new certificate is not served after {timeout} s"
            assert not self.failures, self.failures[:5]
            return min(ended for _, ended, fingerprint in self.full if fingerprint == pair.fingerprint)

    def wait_for_more(self, count=4):
        """Until so many more handshakes were done."""
        with self.changed:
            target = len(self.full) + self.resumed + count
            assert self.changed.wait_for(lambda: self.failures or len(self.full) + self.resumed >= target, ringbolt.WAIT)
            assert not self.failures, self.failures[:5]

    def seen(self):
        with self.changed:
            return {fingerprint for _, _, fingerprint in self.full}

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join(ringbolt.WAIT)


class CutOff(pki.Pair):
    """Its chain file ends in the middle."""

    def chain_pem(self):
        whole = super().chain_pem()
        return whole[:len(whole) // 4]


class Rotation:
    """A proxy that serves a certificate which is being replaced, and the load on it."""

    def __init__(self, start, actor, folder, way, layer="user"):
        self.root = pki.Authority("Ringbolt rotation root")
        self.ca = self.root.intermediate("Ringbolt rotation intermediate")
        ca_path = pki.write_whole(os.path.join(folder, "root.pem"), self.root.leaf_pem())
        first = self.ca.issue()
        self.files = way(folder, first)
        self.stage = start({"app": [actor.address]}, layer=layer, tls={"app": {"certificates": [self.files.entry]}})
        self.proxy = self.stage.proxy
        self.never = []
        self.load = Load(self.stage["app"].address, ca_path)
        self.load.wait_for(first)

    def is_complaint(self, entry):
        return entry["level"] in ("warning", "error") and any(path in json.dumps(entry) for path in self.files.entry.values())

    def complaints(self, since):
        return [{key: value for key, value in line.items() if key != "time"}
                for line in self.proxy.lines[since:] if line["level"] and self.is_complaint(line)]

    def bad(self, number):
        """Something that must not be served. Returns what to do, and whether it can be told apart from what is served."""
        kind = number % 4
        if kind == 0:  # a chain whose key is not there
            pair = self.ca.issue()
            self.files.replace(pair, key=False)
        elif kind == 1:
            pair = self.ca.issue(days=(-9, -1))
            self.files.replace(pair)
        elif kind == 2:
            good = self.ca.issue()
            pair = CutOff(good.certificate, good.key, good.intermediates)
            self.files.replace(pair)
        else:
            pair = self.ca.issue(usage="client")
            self.files.replace(pair)
        self.never.append(pair)

    def said_once(self, since):
        lines = self.complaints(since)
        twice = [line for line in lines if lines.count(line) > 1]
        assert not twice, twice[:4]


@pytest.fixture
def rotation(start, actor, tmp_path):
    made = []
    tmp_path.chmod(0o755)

    def make(way, **options):
        made.append(Rotation(start, actor, str(tmp_path), way, **options))
        return made[-1]

    yield make
    for one in made:
        one.load.stop()


def turn(rotation, number, nudge):
    """One replacement, every third time with something bad in between. Returns the seconds until the new one was served."""
    proxy, since = rotation.proxy, rotation.proxy.mark()
    if number % 3 == 1:
        rotation.bad(number // 3)
        nudge(proxy, False)
        proxy.wait_for_log(rotation.is_complaint, since)
        rotation.load.wait_for_more()
    pair = rotation.ca.issue()
    rotation.files.replace(pair)
    changed = time.monotonic()
    nudge(proxy, True)
    answered = time.monotonic()
    served = rotation.load.wait_for(pair)
    if nudge is by_reload:  # its answer says that all workers have it
        rotation.load.wait_for_more()
        late = [one for one in rotation.load.full if one[0] > answered and one[2] != pair.fingerprint]
        assert not late, late
    rotation.said_once(since)
    return served - changed


def by_watch(_proxy, _is_good):
    pass


def by_hup(proxy, _is_good):
    proxy.send_signal(signal.SIGHUP)


def by_reload(proxy, is_good):
    proxy.admin("reload", status=0 if is_good else 1)


WAYS = {**{name: (way, by_watch) for name, way in pki.WAYS.items()}, "hup": (pki.Hidden, by_hup), "reload": (pki.Hidden, by_reload)}


def rotate(rotation, name, rounds, layer="user"):
    way, nudge = WAYS[name]
    running = rotation(way, layer=layer)
    seconds = [turn(running, number, nudge) for number in range(rounds)]
    running.load.stop()
    assert not running.load.failures, running.load.failures[:5]
    seen = running.load.seen()
    assert not [pair for pair in running.never if pair.fingerprint in seen]
    assert running.load.resumed > rounds
    print(json.dumps({"way": name, "rotations": rounds, "full": len(running.load.full), "resumed": running.load.resumed, "failed": 0,
                      "seconds_median": round(statistics.median(seconds), 3), "seconds_max": round(max(seconds), 3)}))
    # Everybody has the last one, and nothing is left to complain about.
    certificates = running.proxy.admin_json("certificates")["certificates"]
    assert len(certificates) == 1 and not certificates[0].get("problem"), certificates


@pytest.mark.any_layer
@pytest.mark.seconds(1800)
@pytest.mark.parametrize("name", list(WAYS))
def test_no_handshake_fails(rotation, name):
    rotate(rotation, name, ROTATIONS)


def test_no_handshake_fails_over_each_record_layer(rotation, layer):
    rotate(rotation, "rename", 4, layer)


@pytest.mark.any_layer
def test_every_worker_serves_the_new_one(rotation):
    """Also one that is started after the change."""
    running = rotation(pki.Rename)
    pair = running.ca.issue()
    since = running.proxy.mark()
    running.files.replace(pair)
    running.load.wait_for(pair)
    for name in ("worker 0", "worker 1"):
        running.proxy.connection(since, process=name, certificate=pair.id)
    running.load.stop()

    for pid in running.proxy.workers():
        before = running.proxy.mark()
        os.kill(pid, signal.SIGKILL)
        running.proxy.wait_for_log(lambda e: e["message"] == "worker replaced", before)
    since = running.proxy.mark()
    context = clients.python_context(running.load.ca, "1.3")
    for _ in range(12):
        with clients.python_connect(running.stage["app"], context) as client:
            assert pki.fingerprint(client.getpeercert(True)) == pair.fingerprint
    assert {line["certificate"] for line in running.proxy.connections(12, since)} == {pair.id}


@pytest.mark.any_layer
def test_a_missing_file_keeps_the_last_good_one(rotation):
    """Deleted, and there again: nobody notices but the log."""
    running = rotation(pki.Rename)
    since = running.proxy.mark()
    os.unlink(running.files.entry["key"])
    running.proxy.wait_for_log(running.is_complaint, since)
    running.load.wait_for_more(10)
    pair = running.ca.issue()
    running.files.replace(pair)
    running.load.wait_for(pair)
    running.said_once(since)


@pytest.mark.any_layer
def test_existing_connections_go_on(rotation):
    """A certificate is for handshakes: who is connected stays, whatever becomes of it."""
    running = rotation(pki.InPlace)
    running.load.stop()
    context = clients.python_context(running.load.ca, "1.3")
    with clients.python_connect(running.stage["app"], context) as client:
        client.sendall(b"echo x\nhello")
        assert client.recv(100) == b"hello"
        for _ in range(3):
            pair = running.ca.issue()
            running.files.replace(pair)
            running.proxy.admin("reload")
            client.sendall(b"still here")
            assert client.recv(100) == b"still here"
        with pytest.raises(ssl.SSLError):  # and the context above still verifies, as it should for this test to mean anything
            clients.python_connect(running.stage["app"], ssl.create_default_context())


def test_drain_over_each_record_layer(rotation, layer):
    """Who came under the old certificate is ended, who came under the new one is not, whoever protects the records."""
    running = rotation(pki.Rename, layer=layer)
    running.load.stop()
    context = clients.python_context(running.load.ca, "1.3")

    def come():
        client = clients.python_connect(running.stage["app"], context)
        client.sendall(b"echo x\nhello")
        assert client.recv(100) == b"hello"
        return client

    with come() as old:
        running.files.replace(running.ca.issue())
        running.proxy.admin("reload")
        with come() as new:
            since = running.proxy.mark()
            running.proxy.admin("drain", "--certificate", "localhost", "--timeout", "0s")
            line = running.proxy.connection(since)
            assert (line["end"], line["certificate"]) == ("retired", pki.fingerprint(old.getpeercert(True))[:16])
            assert (line["record_tx"], line["record_rx"]) == {"user": ("user", "user"), "tx": ("kernel", "user"), "late": ("user", "user"),
                                                              "kernel": ("kernel", "kernel")}[layer]
            new.sendall(b"still here")
            assert new.recv(100) == b"still here"
            # The last, since in Python 3.13 its error shows in the other connection.
            with contextlib.suppress(OSError):  # a reset is an end too
                while old.recv(100):
                    pass

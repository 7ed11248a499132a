# SPDX-License-Identifier: Apache-2.0
"""Everything at once, for as long as it pleases: RINGBOLT_SOAK_SECONDS=1800 (default: each fault once).

Traffic of every kind goes on while one fault after the other is done to the proxy, in an order that RINGBOLT_SOAK_SEED repeats. After each the
streams that were live are waited for. No stream may ever be told something false; streams may fail only where a process was killed that carried
them, or memory refused; then the traffic must flow again. In the end no descriptor is left, and memory is what it was after the first
round. RINGBOLT_SOAK_REPORT=FILE writes what was counted.
"""
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import sys
import termios
import time

import pytest

import faults
import ringbolt
import soak

SECONDS = float(os.environ.get("RINGBOLT_SOAK_SECONDS", "0"))
SEED = os.environ.get("RINGBOLT_SOAK_SEED", "1")
REPORT = os.environ.get("RINGBOLT_SOAK_REPORT", "")
IS_SANITIZED = bool(os.environ.get("RINGBOLT_SANITIZE"))
CLIENTS = 4 if ringbolt.GUEST else 10
MEMORY_SLACK = 6 << 20  # what a process at rest may have more than after the first round
DESCRIPTORS = 200  # that each process of the proxy may have


class Soak:
    """The proxy, its servers and the traffic, and what can be done to them. A fault's name says whether streams may fail of it: those in
    MAY_BREAK end processes that carry them."""

    MAY_BREAK = {"kill_worker", "kill_server", "failing_allocations"}

    def __init__(self, start, layer, work, certificates, tag):
        self.rng = random.Random(SEED)
        self.certificates = certificates
        self.folder = os.path.join(work, f"soak-{tag}")
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o755)
        self.faults = faults.Faults(self.folder)
        self.pairs = []
        for chain, key in (certificates.ecdsa, certificates.rsa):
            self.pairs.append([shutil.copy(path, self.folder) for path in (chain, key)])
        self.servers = [soak.Server() for _ in range(3)]
        self.stage = start({"app": [server.address for server in self.servers]}, layer=layer, environment=self.faults.environment(),
                           prefix=ringbolt.few_descriptors(DESCRIPTORS),
                           tls={"app": {"certificates": [{"chain": chain, "key": key} for chain, key in self.pairs]}},
                           sends={"app": {"health": {"fail_timeout": "100ms"}}},
                           config={"timeouts": {"connect": "2s"}, "limits": {"connections": 2000}})
        self.proxy = self.stage.proxy
        self.address = self.stage["app"].address
        self.traffic = soak.Traffic(self.address, SEED, CLIENTS, rekeys=layer == "user")  # most kernels can't
        self.over = self.traffic.over
        self.resumer = soak.Resumer(self.address)
        self.generation = 0

    def pause(self, seconds):
        self.over.wait(seconds)

    # ---- faults that no stream may notice

    def nothing(self):
        self.pause(0.3)

    def reloads(self):
        for _ in range(20):
            self.proxy.send_signal(signal.SIGHUP)
            self.pause(0.01)
        self.proxy.admin("reload")

    def new_certificates(self):
        """Both pairs are replaced, and new clients must see it."""
        self.generation += 1
        for kind, (chain, key) in zip(("ecdsa", "rsa"), self.pairs):
            made_chain, made_key = self.certificates.make(kind, f"soak{self.generation}", subject=f"generation {self.generation}")
            for made, there in ((made_key, key), (made_chain, chain)):
                shutil.copy(made, there + ".new")
                os.rename(there + ".new", there)
        self.proxy.admin("reload")
        listed = json.dumps(self.proxy.admin_json("certificates"))
        assert f"CN=generation {self.generation}" in listed or f"generation {self.generation}" in listed

    def bad_certificates(self):
        """A broken file is refused, the old one is served."""
        with open(self.pairs[0][0], "rb") as f:
            good = f.read()
        with open(self.pairs[0][0] + ".new", "wb") as f:
            f.write(good[:len(good) // 2])
        os.rename(self.pairs[0][0] + ".new", self.pairs[0][0])
        self.proxy.admin("reload", status=1)
        with open(self.pairs[0][0] + ".new", "wb") as f:
            f.write(good)
        os.rename(self.pairs[0][0] + ".new", self.pairs[0][0])
        self.proxy.admin("reload")

    def garbage(self):
        """Clients that say nonsense, half of something, or nothing."""
        kept = []
        for i in range(60):
            sock = socket.create_connection(self.address, ringbolt.WAIT)
            sock.sendall([b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", self.rng.randbytes(300)][i % 4])
            kept.append(sock)
        for sock in kept:
            sock.close()

    def resumptions(self):
        assert sum(self.resumer.once() for _ in range(10)) >= 5

    def stop_worker(self):
        soak.stop_and_go(self.rng.choice(self.proxy.carriers()), 0.5, self.over)

    def stop_master(self):
        soak.stop_and_go(self.proxy.process.pid, 0.5, self.over)

    def stop_server(self):
        soak.stop_and_go(self.rng.choice(self.servers).process.pid, 0.5, self.over)

    def drain_server(self):
        name = "app/" + self.rng.choice(self.servers).address
        self.proxy.admin("server", name, "drain")
        self.pause(0.2)
        self.proxy.admin("server", name, "ready")

    def clock_jumps(self):
        if not self.faults.is_there:
            return
        for seconds in (3600, -3600, 40 * 86400, -400 * 86400, 0):
            self.faults.set(seconds=seconds)
            self.pause(0.1)
            self.resumer.once()

    def log_stands_still(self):
        """Who reads the log stops for a while: a pipe fills up."""
        self.proxy.log_gate.clear()
        try:
            ringbolt.wait_until(self.log_is_full, "the pipe of the log is full")
            self.garbage()
            self.traffic.wait_complete(5)
        finally:
            self.proxy.log_gate.set()

    def log_is_full(self):
        """Or nearly so: 16 pages, of which each has some bytes left behind its last line."""
        self.garbage()
        waiting = fcntl.ioctl(self.proxy.process.stderr.fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) > 50000

    def full_disk(self):
        """No line gets into the log for a while; then there is room again, and the log says that lines are missing."""
        if not self.faults.is_there:
            return
        before = self.faults.refused()
        self.faults.set(is_full=1)
        self.garbage()
        self.traffic.wait_complete(5)
        ringbolt.wait_until(lambda: self.faults.refused() > before, "a line does not fit")
        since = self.proxy.mark()
        self.faults.set()
        self.traffic.wait_complete(5)
        self.proxy.wait_for_log(lambda e: e["message"] == "log lines lost", since)

    def no_descriptors(self):
        """More clients than all workers have descriptors for, and none of them says anything: the others wait their turn."""
        crowd = [socket.create_connection(self.address, ringbolt.WAIT) for _ in range(2 * DESCRIPTORS)]
        self.pause(0.3)
        for sock in crowd:
            sock.close()

    # ---- faults that streams may break of, if they know it

    def kill_worker(self):
        since = self.proxy.mark()
        os.kill(self.rng.choice(self.proxy.carriers()), signal.SIGKILL)
        self.proxy.wait_for_log(lambda e: e["message"] == "worker started again" or "worker" in e["message"], since)

    def kill_server(self):
        server = self.rng.choice(self.servers)
        server.kill()
        self.pause(0.3)
        server.start()

    def failing_allocations(self):
        if not self.faults.is_there:
            return
        before = self.faults.failed()

        def enough():
            self.proxy.send_signal(signal.SIGHUP)  # a reload asks for more memory than traffic does
            return self.faults.failed() >= before + 20

        self.faults.set(one_in=5)
        ringbolt.wait_until(enough, "allocations fail")
        self.faults.set()
        self.proxy.admin("reload")  # as if nothing had been

    FAULTS = ["nothing", "reloads", "new_certificates", "bad_certificates", "garbage", "resumptions", "stop_worker", "stop_master",
              "stop_server", "drain_server", "clock_jumps", "log_stands_still", "full_disk", "no_descriptors", "kill_worker",
              "kill_server", "failing_allocations"]

    def memory(self):
        """Bytes of its own that each process at rest has, the master first."""
        found = []
        for pid in [self.proxy.process.pid, *sorted(self.proxy.carriers())]:
            with open(f"/proc/{pid}/status", encoding="utf-8") as f:
                found.append(sum(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon:")))
        return found

    def ends(self, since):
        """What the log has to say of connections that did not end well, and besides."""
        return [line for line in self.proxy.lines[since:] if line.get("end") not in ("done", "handshake_failed", "handshake_timeout")][:20]

    def close(self):
        self.traffic.close()
        for server in self.servers:
            server.close()
        self.faults.close()


@pytest.fixture
def made(start, layer, work, certificates, tag):
    soaks = []

    def make():
        soaks.append(Soak(start, layer, work, certificates, tag))
        return soaks[0]

    yield make
    for one in soaks:
        one.close()


@pytest.mark.seconds(int(SECONDS) + 170)
def test_soak(made, layer):
    run = made()
    report = {"layer": layer, "seed": SEED, "faults": {}, "rounds": 0}
    began = time.monotonic()
    memory = []  # after each round
    while report["rounds"] < 1 or time.monotonic() - began < SECONDS:
        order = run.rng.sample(run.FAULTS, len(run.FAULTS))
        for name in order:
            since = run.proxy.mark()
            getattr(run, name)()
            run.traffic.wait_complete(3)  # it flows, or flows again
            run.traffic.pause()
            counts = run.traffic.take_counts()
            of_this = report["faults"].setdefault(name, {"times": 0, "complete": 0, "failed": 0})
            of_this["times"] += 1
            of_this["complete"] += counts.complete
            of_this["failed"] += counts.failed
            assert not counts.violations, (name, counts.violations[:5])
            assert name in run.MAY_BREAK or not counts.failures, (name, counts.failures[:5], run.ends(since))
            assert not run.proxy.noise, (name, run.proxy.noise[-40:])
            run.traffic.go_on()
        report["rounds"] += 1
        run.traffic.pause()
        memory.append(run.memory())
        run.traffic.go_on()
    run.traffic.pause()
    report["seconds"] = round(time.monotonic() - began, 1)
    report["failed_allocations"], report["refused_lines"] = run.faults.failed(), run.faults.refused()
    report["memory"] = {"first": memory[0], "most": [max(of_one) for of_one in zip(*memory)], "last": run.memory()}
    if REPORT:
        with open(f"{REPORT}.{layer}" if ringbolt.GUEST else REPORT, "w", encoding="utf-8") as f:
            json.dump(report, f, indent=2)
    if not IS_SANITIZED:
        for first, last in zip(memory[0], report["memory"]["last"]):
            assert last <= first + MEMORY_SLACK, report

    def is_free():
        """A connection whose streams are over may be at its server for a moment yet."""
        (listed,) = run.proxy.admin_json("server")["upstreams"]
        return not any(server["connections"] for server in listed["servers"]) and listed["waiting"] == 0

    ringbolt.wait_until(is_free, "no server has a connection")

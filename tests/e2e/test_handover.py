# SPDX-License-Identifier: Apache-2.0
"""Live connections move to a successor: upgrades and reloads with a changed configuration, one after the other, under a load of every kind.

Not one connection breaks, no byte differs, no new connection is refused. RINGBOLT_E2E_HANDOVER=CONNECTIONSxROUNDS says how many connections, and how
often both changes are made; RINGBOLT_E2E_HANDOVER_REPORT=FILE writes every window, with pauses.
"""
import json
import os
import shutil
import signal

import pytest

import ringbolt
import steady

IS_SANITIZED = bool(os.environ.get("RINGBOLT_SANITIZE"))
DEFAULT = "60x1" if ringbolt.GUEST or IS_SANITIZED else "120x2"
CONNECTIONS, ROUNDS = (int(word) for word in os.environ.get("RINGBOLT_E2E_HANDOVER", DEFAULT).split("x"))
REPORT = os.environ.get("RINGBOLT_E2E_HANDOVER_REPORT", "")
FEW = 30
VISITS = 4 if ringbolt.GUEST or IS_SANITIZED else 20
MOVED = "connections handed over"
SERVERS = ("plain", "proxied", "tls")  # what a connection's other side is
CALM = {"idle": 1500, "half": 3000, "hang": 40}
CROWD = {"idle": 8000, "half": 8000, "hang": 60, "rate": 2048, "interval": 500, "drip": 100, "at_once": 16}  # thousands, on two CPUs

pytestmark = pytest.mark.seconds(120 + CONNECTIONS // 10 + ROUNDS * (CONNECTIONS // 20 + 30))


class Scene:
    """A proxy whose program can be replaced, before three servers, and a load through each."""

    def __init__(self, start, layer, work, certificates, tag, connections=CONNECTIONS, visits=VISITS, kinds=None, config=None):
        self.servers, self.loads, self.windows = {}, {}, []
        self.layer, self.connections = layer, connections
        try:
            for name in SERVERS:
                self.servers[name] = steady.Server(certificate=certificates.ecdsa if name == "tls" else None, is_proxied=name == "proxied")
            folder = os.path.join(work, f"handover-{tag}")
            os.mkdir(folder)
            os.chmod(folder, 0o755)
            self.program = shutil.copy2(ringbolt.BINARY, os.path.join(folder, "ringbolt"))
            self.stage = start({name: [server.address] for name, server in self.servers.items()}, layer=layer, binary=self.program,
                               listens={"proxied": {"proxy_protocol": "v1"}},
                               sends={"proxied": {"proxy_protocol": "v2"}, "tls": {"tls": {"ca": certificates.ca, "name": "localhost"}}},
                               config={"timeouts": {"idle": "10m", "half_closed": "10m", "handshake": "60s"}, "shutdown_timeout": "60s",
                                       "log": {"format": "json", "access": False}, **(config or {})})
            self.proxy = self.stage.proxy
            self.leader = self.proxy.process.pid
            if kinds is None:
                kinds = [kind for kind in steady.KINDS if kind != "rekey" or layer == "user"]  # most kernels can't
            for at, name in enumerate(SERVERS):
                count = connections // len(SERVERS) + (1 if at < connections % len(SERVERS) else 0)
                if count > 0:
                    self.loads[name] = steady.Load(self.stage[name].address, steady.spread(count, kinds), visits=max(1, visits // 3),
                                                   is_proxied=name == "proxied", wait=False, **(CALM if connections < 500 else CROWD))
            for load in self.loads.values():
                load.wait_ready().check()
        except BaseException:
            self.close()
            raise

    def mark(self, name):
        """The windows of all loads; they are checked by who asks."""
        windows = [load.mark(name) for load in self.loads.values()]
        self.windows += windows
        return windows

    def check(self, name):
        self.check_all(self.mark(name))

    def check_all(self, windows):
        """With what the proxy has said, where something happened."""
        try:
            for window in windows:
                window.check()
        except AssertionError as error:
            lines = [json.dumps(line) for line in self.proxy.lines if line["message"] not in ("configuration", "connection")]
            raise AssertionError("\n".join([str(error), *lines[-60:], *self.proxy.noise[-60:]])) from None

    # ---- changes

    def line(self, message, since):
        return self.proxy.wait_for_log(lambda entry: entry["message"] == message, since)

    def wait_ready(self, since):
        """Until there is a successor: it and the master before."""
        before, self.leader = self.leader, self.line("successor is ready", since)["successor_pid"]
        return self.leader, before

    def wait_moved(self, since, name):
        """Until the first worker has given what it had."""
        self.wait_ready(since)
        self.line(MOVED, since)
        self.check(name)

    def wait_gone(self, since, name):
        """Until the predecessor is gone: all have moved."""
        _, before = self.wait_ready(since)
        self.proxy.wait_for_log(lambda entry: entry["message"] == "predecessor is gone" and entry["predecessor_pid"] == before, since)
        self.check(name)

    def program_replace(self):
        shutil.copy2(ringbolt.BINARY, self.program + ".new")
        os.replace(self.program + ".new", self.program)

    def upgrade(self):
        """Returns where the log was."""
        self.program_replace()
        since = self.proxy.mark()
        self.proxy.send_signal(signal.SIGUSR2)
        return since

    def reload(self, **changed):
        self.stage.config.update(changed)
        ringbolt.write_config(self.proxy.config_path, {**self.stage.config, "admin": {"socket": self.proxy.admin_path}})
        since = self.proxy.mark()
        self.proxy.send_signal(signal.SIGHUP)
        return since

    @staticmethod
    def is_worker(pid):
        """It carries connections: it has a ring."""
        try:
            return any("io_uring" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            return False

    def recover(self, name):
        """A process was killed: connections may have broken, and only that; then all is as it was."""
        for window in self.mark(f"{name}: killed"):
            assert not window.fault("cut", "wrong", "silent"), window["texts"]

        visited = set()  # since the last fault: a window may be too short for a visit to each

        def is_well():
            windows = self.mark(f"{name}: after")
            assert not sum(window.fault("cut", "wrong", "silent") for window in windows), [window["texts"] for window in windows]
            if sum(window["faults"] for window in windows):
                visited.clear()
                return False
            visited.update(load for load, window in zip(self.loads, windows) if window.complete().get("visit", 0) > 0)
            return sum(window.live() for window in windows) == self.connections and len(visited) == len(self.loads)

        ringbolt.wait_until(is_well, "all connections are there again, and new ones come in")

    def end(self):
        for load in self.loads.values():
            load.say("end")
        windows = [load.end(is_told=True) for load in self.loads.values()]
        self.windows += windows
        self.check_all(windows)
        for load in self.loads.values():
            load.close()
        self.loads = {}

    def close(self):
        for load in self.loads.values():
            load.close()
        for server in self.servers.values():
            server.close()


@pytest.fixture
def scene(start, layer, work, certificates, tag):
    scenes = []

    def make(**options):
        scenes.append(Scene(start, layer, work, certificates, f"{tag}{len(scenes)}", **options))
        return scenes[-1]

    yield make
    for one in scenes:
        one.close()
        if REPORT:
            with open(REPORT, "a", encoding="utf-8") as f:
                f.write(json.dumps({"layer": layer, "windows": one.windows}) + "\n")


def test_upgrades_and_reloads_in_a_row(scene):
    """Alternately: the next change comes while the one before may still be taken back, or when that is over."""
    live = scene()
    first = live.proxy.process.pid
    live.check("quiet")
    for number in range(ROUNDS):
        live.wait_moved(live.upgrade(), f"upgrade {number}")
        live.wait_gone(live.reload(workers=1 + number % 3, timeouts={**live.stage.config["timeouts"], "idle": f"{11 + number}m"}), f"reload {number}")
    assert live.proxy.process.pid == first and live.proxy.process.poll() is None
    live.end()


# ---- killed at each step: what is lost is only what the dead process alone had

# Slow readers notice late: what the kernel had taken from the dead process still comes.
NOTICING = [kind for kind in steady.KINDS if kind not in ("slow", "rekey")]


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it was faster


@pytest.mark.any_layer
def test_a_successor_killed_before_it_is_ready(scene):
    """It had nothing: nobody feels anything."""
    live = scene(connections=FEW, kinds=NOTICING)
    since = live.upgrade()
    kill(live.line("successor started", since)["successor_pid"])
    live.line("successor failed, going on", since)
    live.check("successor killed at its start")
    live.wait_moved(live.upgrade(), "one that lives")
    live.end()


@pytest.mark.any_layer
@pytest.mark.parametrize("step", ["successor is ready", MOVED])
def test_a_successor_killed_when_it_is_ready(scene, step):
    """The rest stays with the predecessor, which accepts again."""
    live = scene(connections=FEW, kinds=NOTICING)
    since = live.upgrade()
    successor, before = live.wait_ready(since)
    live.line(step, since)
    kill(successor)
    live.leader = before
    outcomes = ("successor failed, going on", "the master that led was killed")
    if live.proxy.wait_for_log(lambda entry: entry["message"] in outcomes, since)["message"] == outcomes[1]:
        live.proxy.finished(status=128 + signal.SIGKILL)  # a machine so busy that the predecessor had let go by then
        return
    live.recover(step)
    live.wait_moved(live.upgrade(), "one that lives")
    live.end()


@pytest.mark.any_layer
@pytest.mark.parametrize("step", ["successor is ready", MOVED])
def test_a_predecessor_killed(scene, step):
    """Not the first process, which is everybody's, but a master in between: the successor goes on alone."""
    live = scene(connections=FEW, kinds=NOTICING)
    since = live.upgrade()
    live.wait_gone(since, "the first one")
    since = live.reload(timeouts={**live.stage.config["timeouts"], "idle": "13m"})
    _, predecessor = live.wait_ready(since)
    live.line(step, since)
    kill(predecessor)
    live.line("predecessor is gone", since)
    live.recover(step)
    live.wait_moved(live.upgrade(), "one that lives")
    live.end()


@pytest.mark.any_layer
@pytest.mark.parametrize("whose", ["predecessor", "successor"])
def test_a_worker_killed_while_connections_move(scene, whose):
    """What the killed worker of a successor was to take stays with the predecessor, to the end of its drain."""
    live = scene(connections=FEW, kinds=NOTICING, config={"shutdown_timeout": "5s"})
    before = [pid for pid in live.proxy.workers() if live.is_worker(pid)]
    since = live.upgrade()
    successor, _ = live.wait_ready(since)
    after = [pid for pid in ringbolt.process_tree(successor)[1:] if live.is_worker(pid)]
    assert before and after
    kill((after if whose == "successor" else before)[0])
    live.recover(f"a worker of the {whose}")
    live.line("predecessor is gone", since)
    live.recover("what was left with the predecessor")
    live.wait_moved(live.upgrade(), "one that lives")
    live.end()

# SPDX-License-Identifier: Apache-2.0
"""From one master to the next: upgrades, reloads with a changed configuration, and all that may go wrong with them."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pytest

import ringbolt
from test_life import echo, echoing

pytestmark = pytest.mark.any_layer

SHORT = {"shutdown_timeout": "10s"}


class Program:
    """A program at a path of its own, which can be replaced while it runs."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "ringbolt")
        self.real = os.path.join(folder, "ringbolt.real")
        shutil.copy(ringbolt.BINARY, self.real)
        shutil.copy(ringbolt.BINARY, self.path)

    def replace(self, script):
        """By a shell script; $REAL is a program that works."""
        new = self.path + ".new"
        with open(new, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\nREAL='{self.real}'\n{script}\n")
        os.chmod(new, os.stat(new).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        os.rename(new, self.path)


class Gate:
    """A reload or an upgrade whose successor stands still when it has its estate: its configuration is a pipe until the end of the block."""

    def __init__(self, stage, number=signal.SIGUSR2):
        if os.geteuid() != 0:
            pytest.skip("only root may see what another process reads")
        self.stage, self.path = stage, stage.proxy.config_path
        with open(self.path, encoding="utf-8") as f:
            self.text = f.read()
        self.since = stage.proxy.mark()
        os.mkfifo(self.path + ".gate")
        os.rename(self.path + ".gate", self.path)
        stage.proxy.send_signal(number)

    def __enter__(self):
        return self

    def wait(self):
        """Until it stands there: its process id."""
        pid = self.stage.proxy.wait_for_log(said("successor started"), self.since)["successor_pid"]
        self.pipe = open(self.path, "w", encoding="utf-8")  # waits for who reads
        ringbolt.wait_until(lambda: self._is_read(pid), "the successor reads its configuration")
        return pid

    def _is_read(self, pid):
        """It looks at the file before, without waiting; only root may see that."""
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as f:
                    info = dict(line.split(":\t", 1) for line in f if ":\t" in line)
                if os.readlink(f"/proc/{pid}/fd/{fd}") == self.path and int(info["flags"], 8) & os.O_NONBLOCK == 0:
                    return True
            except FileNotFoundError:
                pass
        return False

    def __exit__(self, *_):
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            f.write(self.text)
        os.rename(self.path + ".new", self.path)
        try:
            self.pipe.write(self.text)
            self.pipe.close()
        except BrokenPipeError:
            pass  # nobody is there any more

    def wait_lead(self):
        return self.stage.proxy.wait_for_log(said("ready"), self.since)


def carriers(master):
    """The workers of a master: processes below it that have a ring, and no master between."""
    found = []
    for pid in ringbolt.process_tree(master)[1:]:
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if any("io_uring" in link for link in links):
            found.append(pid)
    return found


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Held:
    """An upgrade that stands still when the successor has said that it is ready, and its predecessor has not heard it: the latter is stopped. The
    log's level is debug."""

    def __init__(self, stage):
        self.stage, self.since, self.predecessor = stage, stage.proxy.mark(), leader(stage)
        self.givers = carriers(self.predecessor)
        with Gate(stage) as gate:
            self.successor = gate.wait()
            os.kill(self.predecessor, signal.SIGSTOP)
        stage.proxy.wait_for_log(said("ready to lead"), self.since)
        self.takers = carriers(self.successor)
        assert self.givers and self.takers

    def go(self):
        os.kill(self.predecessor, signal.SIGCONT)


@pytest.fixture
def program(tmp_path):
    return Program(str(tmp_path))


@pytest.fixture
def running(start, monkeypatch, program, actor):
    """A proxy that was started from `program`."""

    def make(**options):
        with monkeypatch.context() as patch:
            patch.setattr(ringbolt, "BINARY", program.path)
            return start({"app": [actor.address]}, **{"config": SHORT, **options})

    return make


def masters(stage):
    """Process ids of those that lead or drain, by the first process."""
    tree = ringbolt.process_tree(stage.proxy.process.pid)
    found = []
    for pid in tree:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                found.append((pid, f.read().decode().split("\0")))
        except OSError:
            pass
    return found


def is_kept(stage):
    """Whether the first process is the keeper by now; the kernel shows no arguments of one that executes just now."""
    return masters(stage)[0][1][1:2] == ["keeper"]


def leader(stage):
    return stage.proxy.admin_json("status")["pid"]


def upgrade(stage, status=0):
    return stage.proxy.admin_json("upgrade", status=status)


def is_over(stage, answer, since):
    """Waits until the predecessor of an upgrade has ended as a master."""
    stage.proxy.wait_for_log(said("predecessor is gone", predecessor_pid=answer["predecessor_pid"], in_order=True), since)


def said(message, **fields):
    return lambda entry: entry["message"] == message and all(entry.get(key) == value for key, value in fields.items())


def serves(stage, dial, listener="app"):
    client = echoing(dial, stage[listener])
    client.close_notify()
    assert client.end() == "close_notify"


def write(stage, **changes):
    config = {**stage.config, "admin": {"socket": stage.proxy.admin_path}, **changes}
    ringbolt.write_config(stage.proxy.config_path, config)
    return config


class Clients:
    """Connect, say something and hear it, again and again: no one may be refused."""

    def __init__(self, address):
        self.address, self.count, self.bad, self.over = address, 0, [], False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        import rawtls
        while not self.over:
            try:
                client = rawtls.RawClient(self.address).handshake()
                client.send_data(b"echo x\nhello")
                echo(client, b"")
                assert client.read(5) == b"hello"
                client.close_notify()
                client.close()
                self.count += 1
            except Exception as error:  # pylint: disable=broad-except
                self.bad.append(repr(error))

    def end(self):
        self.over = True
        self.thread.join()
        assert not self.bad, self.bad[:5]
        return self.count


# ---- what works

def test_upgrade(running, dial, program):
    stage = running()
    first = stage.proxy.process.pid
    old = echoing(dial, stage["app"])
    program.replace('exec "$REAL" "$@"')
    answer = upgrade(stage)
    assert answer["predecessor_pid"] == first and answer["pid"] != first and answer["program"] == program.path, answer
    assert leader(stage) == answer["pid"]
    serves(stage, dial)
    echo_again(old)
    # The path is kept, whatever the script executes.
    again = upgrade(stage)
    assert again["predecessor_pid"] == answer["pid"] and again["program"] == program.path, again
    echo_again(old)
    serves(stage, dial)
    old.close_notify()
    assert old.end() == "close_notify"
    stage.proxy.stop(signal.SIGTERM)


def echo_again(client):
    client.send_data(b"again")
    assert client.read(5) == b"again"


def test_usr2_and_the_keeper(running, dial):
    stage = running()
    first = stage.proxy.process.pid
    since = stage.proxy.mark()
    stage.proxy.send_signal(signal.SIGUSR2)
    stage.proxy.wait_for_log(said("successor is ready"), since)
    stage.proxy.wait_for_log(said("predecessor is gone", predecessor_pid=first), since)
    ringbolt.wait_until(lambda: is_kept(stage), "the first process is the keeper")
    second = leader(stage)
    serves(stage, dial)
    # The keeper passes this one on.
    since = stage.proxy.mark()
    stage.proxy.send_signal(signal.SIGUSR2)
    stage.proxy.wait_for_log(said("predecessor is gone", predecessor_pid=second), since)
    third = leader(stage)
    assert len({first, second, third}) == 3
    with open(f"/proc/{first}/status", encoding="utf-8") as f:
        status = dict(line.split(":", 1) for line in f)
    assert int(status["CapEff"], 16) == 0 and status["Name"].strip() == "ringbolt"
    with open(f"/proc/{third}/comm", encoding="utf-8") as f:
        assert f.read().strip() == "ringbolt"
    serves(stage, dial)
    stage.proxy.stop(signal.SIGTERM)


@pytest.mark.parametrize("by", ["signal", "command"])
def test_reload_of_a_changed_configuration(running, dial, actor, by):
    stage = running()
    old = echoing(dial, stage["app"])
    port = ringbolt.Port()
    listeners = [*stage.config["listeners"], {**stage.config["listeners"][0], "name": "more", "address": port.text}]
    write(stage, listeners=listeners, workers=3)
    since = stage.proxy.mark()
    if by == "command":
        answer = stage.proxy.admin_json("reload")
        assert answer["config"] == "applied" and answer["pid"] == leader(stage), answer
    else:
        stage.proxy.send_signal(signal.SIGHUP)
        stage.proxy.wait_for_log(said("ready"), since)
    stage.listeners["more"] = type(stage["app"])(stage, port)
    serves(stage, dial, "more")
    serves(stage, dial)
    echo_again(old)
    assert len(stage.proxy.admin_json("status")["workers"]) == 3
    # Once more, fewer, and without that listener: what is not changed changes nothing.
    assert stage.proxy.admin_json("reload")["config"] == "same"
    write(stage, workers=1)
    assert stage.proxy.admin_json("reload")["config"] == "applied"
    serves(stage, dial)
    echo_again(old)

    def is_closed():
        try:
            socket.create_connection(port.address, ringbolt.WAIT).close()
        except ConnectionRefusedError:
            return True
        return False

    ringbolt.wait_until(is_closed, "the listener that was removed is closed")


def test_an_address_that_changes_its_form(running, dial):
    """The same port at another address, while the predecessor still listens."""
    stage, port = running(), ringbolt.Port("::")  # nobody's at any address
    number = port.address[1]
    stage["app"].address = ("127.0.0.1", number)
    for host in ("0.0.0.0", "127.0.0.1", "*", "127.0.0.1", "0.0.0.0"):
        write(stage, listeners=[{**stage.config["listeners"][0], "address": f"{host}:{number}"}])
        answer = stage.proxy.admin_json("reload")
        assert answer["config"] == "applied", (host, answer)
        serves(stage, dial)
    port.close()


def test_nobody_is_refused(running, program):
    """New connections, while ten successors come in a row, with more and fewer workers."""
    stage = running(config={"shutdown_timeout": "10s", "workers": 4})
    clients = [Clients(stage["app"].address) for _ in range(2)]
    try:
        for i in range(5):
            upgrade(stage)
            write(stage, workers=[1, 4, 2, 3, 1][i], shutdown_timeout="10s")
            assert stage.proxy.admin_json("reload")["config"] == "applied"
    finally:
        counts = [client.end() for client in clients]
    assert min(counts) > 0, counts
    stage.proxy.stop(signal.SIGTERM)


def test_unix_sockets_stay(running, dial, tmp_path, work, certificates, actor):
    """The file at a unix address stays the same through successors, and is gone in the end; so is that of the admin socket."""
    path = os.path.join(work, "listen.sock")
    stage = running()
    write(stage, listeners=[*stage.config["listeners"], {**stage.config["listeners"][0], "name": "unix", "address": f"unix:{path}"}])
    assert stage.proxy.admin_json("reload")["config"] == "applied"
    inode = os.stat(path).st_ino
    admin = os.stat(stage.proxy.admin_path).st_ino
    since = stage.proxy.mark()
    is_over(stage, upgrade(stage), since)
    assert os.stat(path).st_ino == inode and os.stat(stage.proxy.admin_path).st_ino == admin
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    # Without that listener the successor removes it, when its predecessor can't come back.
    since, before = stage.proxy.mark(), leader(stage)
    write(stage)
    assert stage.proxy.admin_json("reload")["config"] == "applied"
    stage.proxy.wait_for_log(said("predecessor is gone", predecessor_pid=before), since)
    assert not os.path.exists(path)
    stage.proxy.stop(signal.SIGTERM)
    assert not os.path.exists(stage.proxy.admin_path)


def test_admin_http_goes_over(running):
    stage = running(config={**SHORT, "admin": {"http": "127.0.0.1:0"}})
    address = stage.proxy.wait_for_log(said("metrics"))["address"]
    since = stage.proxy.mark()
    upgrade(stage)
    assert stage.proxy.wait_for_log(said("metrics"), since)["address"] == address

    def answers():
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), ringbolt.WAIT) as client:
                client.sendall(b"GET /health/ready HTTP/1.0\r\n\r\n")
                return client.recv(100).startswith(b"HTTP/1.")
        except ConnectionError:
            return False

    ringbolt.wait_until(answers, "metrics are served")


def test_who_asks_over_http_gets_an_answer(running):
    """A request whose head is half there when another takes over is answered, and that one says so: no scrape fails at an upgrade."""
    stage = running(config={**SHORT, "admin": {"http": "127.0.0.1:0"}})
    host, _, port = stage.proxy.wait_for_log(said("metrics"))["address"].rpartition(":")
    with socket.create_connection((host, int(port)), ringbolt.WAIT) as client:
        stream = client.makefile("rb")

        def answer():
            status = stream.readline().split()[1]
            headers = {name.lower(): value.strip() for name, _, value in (line.decode().partition(":") for line in iter(stream.readline, b"\r\n"))}
            return status, headers, stream.read(int(headers["content-length"]))

        client.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer()[0] == b"200"
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")
        upgrade(stage)
        client.sendall(b"\r\n")
        status, headers, body = answer()
        assert (status, headers["connection"]) == (b"200", "close") and b"ringbolt_info{" in body, (status, headers)
        assert stream.read() == b""


def test_connections_go_over(running, dial):
    """Those that live move to the successor, and with them the line in the log when they end."""
    stage = running(config={"shutdown_timeout": "60s"})
    clients = [echoing(dial, stage["app"]) for _ in range(20)]
    for _ in range(3):
        since = stage.proxy.mark()
        answer = upgrade(stage)
        line = stage.proxy.wait_for_log(said("all connections handed over"), since)
        assert (line["given"], line["kept"]) == (20, 0), line
        for client in clients:
            echo_again(client)
        # Nothing is left to be drained.
        is_over(stage, answer, since)
        status = stage.proxy.admin_json("status")
        assert status["pid"] == answer["pid"] and sum(worker["connections"] for worker in status["workers"]) == 20
    for client in clients:
        client.close_notify()
        assert client.end() == "close_notify"
        assert stage.line(client)["bytes_in"] == len(b"echo x\nhello") + 3 * len(b"again")
    stage.proxy.stop(signal.SIGTERM)


def predecessors(stage):
    """Generations before the one that leads, by the process ids of their masters."""
    return {one["pid"]: one for one in stage.proxy.admin_json("status")["predecessors"]}


def test_who_still_holds_connections(running, dial):
    """Each generation before this one, as long as it is there: what cannot move keeps it."""
    stage = running(config={"shutdown_timeout": "60s", "timeouts": {"handshake": "60s"}})
    assert predecessors(stage) == {}
    version = stage.proxy.admin_json("status")["version"]
    waiting, masters_before = [], []
    for _ in range(2):
        # One that has not shaken hands stays where it is; one that has moves, and so it is the successor's.
        before = leader(stage)
        waiting.append(dial(stage["app"], handshake=False))
        moving = echoing(dial, stage["app"])
        ringbolt.wait_until(lambda: stage.proxy.admin_json("status")["totals"]["connections"] == 2 * len(waiting), "both are accepted")
        upgrade(stage)
        masters_before.append(before)
        ringbolt.wait_until(lambda: [one["connections"] for one in predecessors(stage).values()] == [1] * len(waiting), "what can move has moved")
        echo_again(moving)
    ringbolt.wait_until(lambda: all(one["state"] == "draining" for one in predecessors(stage).values()), "the last one has let go")
    status = stage.proxy.admin_json("status")
    shown = status["predecessors"]
    assert [one["pid"] for one in shown] == masters_before and status["totals"]["connections"] == 4
    for one in shown:
        assert one["version"] == version and one["started"] < one["until"] and one["superseded"] < one["until"] and 0 < one["left_s"] <= 60, one
    text = stage.proxy.admin("status")
    assert all(re.search(rf"^ +{pid}  {re.escape(version)} +draining .* 1$", text, re.M) for pid in masters_before), text
    for number, client in enumerate(waiting):
        client.close()
        ringbolt.wait_until(lambda: list(predecessors(stage)) == masters_before[number + 1:], "its generation is gone")
    assert "PREDECESSOR" not in stage.proxy.admin("status")


DEBUG = {"log": {"format": "json", "level": "debug"}}


def test_a_hand_over_that_breaks_is_begun_again(running, dial):
    """The workers that are to take do not answer; then they do."""
    stage = running(config={"shutdown_timeout": "60s", **DEBUG})
    clients = [echoing(dial, stage["app"]) for _ in range(4)]
    held = Held(stage)
    signal_all(held.takers, signal.SIGSTOP)
    held.go()
    try:
        broken = stage.proxy.wait_for_log(said("handing connections over broke"), held.since)
        assert broken["again"], broken
    finally:
        signal_all(held.takers, signal.SIGCONT)
    done = stage.proxy.wait_for_log(said("all connections handed over"), held.since)
    assert (done["given"], done["kept"]) == (4, 0), done
    stage.proxy.wait_for_log(said("predecessor is gone", in_order=True), held.since)
    for client in clients:
        echo_again(client)


# ---- what fails

def test_broken_programs(running, dial, program):
    stage = running()
    first = stage.proxy.process.pid
    old = echoing(dial, stage["app"])
    for script, words in (("exit 7", "status 7"), ("kill -SEGV $$", "signal 11"), ("exec 3>&-; sleep 5 & exec sleep 5", "channel"),
                          ('"$REAL" "$@"', "has to end with exec"), ('exec "$REAL" --version >/dev/null', "status 0")):
        program.replace(script)
        since = stage.proxy.mark()
        answer = upgrade(stage, status=1)
        assert not answer["ok"] and words in answer["error"], (script, answer)
        stage.proxy.wait_for_log(said("successor failed, going on", level="error"), since)
        assert leader(stage) == first
        serves(stage, dial)
        echo_again(old)
    os.unlink(program.path)
    answer = upgrade(stage, status=1)
    assert "status 127" in answer["error"], answer
    serves(stage, dial)
    program.replace('exec "$REAL" "$@"')
    assert upgrade(stage)["pid"] == leader(stage)
    echo_again(old)


def test_broken_configurations(running, dial, tmp_path):
    """Those that a check finds start nobody; what only a start finds is told with its words."""
    stage = running()
    first = stage.proxy.process.pid
    write(stage, wrokers=3)
    done = ringbolt.call("reload", "-s", stage.proxy.admin_path)
    assert done.returncode == 3 and "wrokers" in done.stderr, done
    taken = socket.create_server(("127.0.0.1", 0))
    more = {**stage.config["listeners"][0], "name": "taken", "address": "127.0.0.1:%d" % taken.getsockname()[1]}
    write(stage, listeners=[*stage.config["listeners"], more])
    done = ringbolt.call("reload", "-s", stage.proxy.admin_path)
    assert done.returncode == 1 and "cannot listen" in done.stderr and more["address"] in done.stderr, done
    missing = {"certificates": [{"chain": str(tmp_path / "none.pem"), "key": str(tmp_path / "none.key")}]}
    write(stage, listeners=[{**stage.config["listeners"][0], "tls": missing}])
    done = ringbolt.call("reload", "-s", stage.proxy.admin_path)
    assert done.returncode == 1 and "none.pem" in done.stderr and stage.proxy.config_path in done.stderr, done
    # An upgrade finds the same, and nothing that the first start would not have found.
    answer = upgrade(stage, status=1)
    assert "none.pem" in json.dumps(answer["successor_problems"]), answer
    assert leader(stage) == first
    serves(stage, dial)
    write(stage)
    since = stage.proxy.mark()
    assert upgrade(stage)["ok"]
    taken.close()
    stage.proxy.wait_for_log(said("successor is ready"), since)
    # Nothing stands outside the log: it has what they complained about before they had one.
    assert not stage.proxy.noise and any("none.pem" in entry.get("said", "") for entry in stage.proxy.lines)


def test_one_at_a_time(running, program):
    stage = running()
    gate = program.path + ".gate"
    os.mkfifo(gate)
    program.replace(f'read line < {gate}; exec "$REAL" "$@"')
    asking = subprocess.Popen([program.real, "upgrade", "-s", stage.proxy.admin_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stage.proxy.wait_for_log(said("successor started"))
    answer = upgrade(stage, status=1)
    assert "a successor is being started" in answer["error"], answer
    since = stage.proxy.mark()
    stage.proxy.send_signal(signal.SIGUSR2)
    stage.proxy.wait_for_log(said("no upgrade", level="warning"), since)
    with open(gate, "w", encoding="utf-8") as f:
        f.write("go\n")
    out, _ = asking.communicate(timeout=ringbolt.WAIT)
    assert asking.returncode == 0 and b"upgraded" in out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_while_a_successor_starts(running, program, number):
    stage = running()
    program.replace("exec sleep 600")
    stage.proxy.send_signal(signal.SIGUSR2)
    child = stage.proxy.wait_for_log(said("successor started"))["successor_pid"]
    stage.proxy.stop(number)
    assert not os.path.exists(f"/proc/{child}")


def test_a_killed_successor_on_probation(running, dial):
    """The predecessor takes everything back but the connections that it had given away, and can be upgraded again."""
    stage = running()
    first = stage.proxy.process.pid
    new = upgrade(stage)["pid"]
    since = stage.proxy.mark()
    os.kill(new, signal.SIGKILL)
    stage.proxy.wait_for_log(said("successor failed, going on"), since)
    assert leader(stage) == first
    serves(stage, dial)
    assert upgrade(stage)["pid"] == leader(stage)
    serves(stage, dial)
    stage.proxy.stop(signal.SIGTERM)


def test_a_killed_leader_ends_all(running):
    stage = running()
    since = stage.proxy.mark()
    new = upgrade(stage)["pid"]
    stage.proxy.wait_for_log(said("predecessor is gone", predecessor_pid=stage.proxy.process.pid), since)
    tree = ringbolt.process_tree(stage.proxy.process.pid)
    os.kill(new, signal.SIGKILL)
    stage.proxy.finished(status=128 + signal.SIGKILL)
    ringbolt.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in tree), "nobody is left")


def test_a_killed_keeper_ends_all(running):
    stage = running()
    since = stage.proxy.mark()
    is_over(stage, upgrade(stage), since)
    stage.proxy.wait_for_log(said("the first process is the keeper now"), since)
    assert is_kept(stage)
    tree = ringbolt.process_tree(stage.proxy.process.pid)
    stage.proxy.process.kill()
    stage.proxy.wait_for_log(said("the keeper is gone, ending"), since)
    stage.proxy.finished(status=-signal.SIGKILL)
    ringbolt.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in tree), "nobody is left")


def sleeps(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return f.read().rpartition(")")[2].split()[0] == "S"


def test_a_first_process_that_stands_still(start, dial, actor):
    """It hears late who leads by now: the end of one that led before is not the end of all."""
    stage = start({"app": [actor.address], "old": [actor.address]}, config={"shutdown_timeout": "60s"})
    first = stage.proxy.process.pid
    kept = echoing(dial, stage["old"])  # its listener goes, so it can't move: the first process drains until it is over
    since = stage.proxy.mark()
    write(stage, listeners=[listener for listener in stage.config["listeners"] if listener["name"] == "app"])
    second = stage.proxy.admin_json("reload")["pid"]
    stage.proxy.wait_for_log(said("superseded, what is live is drained"), since)
    ringbolt.wait_until(lambda: sleeps(first), "it has told its successor")
    os.kill(first, signal.SIGSTOP)
    try:
        os.kill(first, signal.SIGCHLD)  # what it will look at first
        upgrade(stage)
        upgrade(stage)
        stage.proxy.wait_for_log(said("predecessor is gone", predecessor_pid=second), since)
    finally:
        os.kill(first, signal.SIGCONT)
    echo_again(kept)
    kept.close()
    stage.proxy.wait_for_log(said("the first process is the keeper now"), since)
    serves(stage, dial)
    upgrade(stage)
    assert stage.proxy.process.poll() is None
    stage.proxy.stop()


def test_the_status_is_passed_on(running, dial):
    """Connections that are cut at the end of a drain make it 1, whichever master had them."""
    stage = running(config={"shutdown_timeout": "500ms"})
    since = stage.proxy.mark()
    is_over(stage, upgrade(stage), since)
    client = echoing(dial, stage["app"])
    stage.proxy.stop(signal.SIGTERM, status=1)
    client.close()


def test_both_generations_end(running, dial):
    """TERM while a predecessor still drains: both finish what is live, INT cuts both."""
    stage = running(config={"shutdown_timeout": "60s"})
    old = echoing(dial, stage["app"])
    since = stage.proxy.mark()
    upgrade(stage)
    stage.proxy.wait_for_log(said("superseded, what is live is drained"), since)
    new = echoing(dial, stage["app"])
    stage.proxy.send_signal(signal.SIGTERM)
    stage.proxy.wait_for_log(said("draining"), since)
    echo_again(old)
    echo_again(new)
    old.close()
    new.close()
    stage.proxy.finished()


def test_a_killed_predecessor(running, dial):
    """Once the successor leads it goes on alone, with the sockets."""
    stage = running()
    new = upgrade(stage)["pid"]
    since = stage.proxy.mark()
    stage.proxy.process.kill()
    stage.proxy.process.wait()
    stage.proxy.wait_for_log(said("predecessor is gone", in_order=False), since)
    assert leader(stage) == new
    serves(stage, dial)
    stage.proxy.admin("stop")
    stage.proxy.wait_for_log(said("stopped"), since)
    ringbolt.wait_until(lambda: not os.path.exists(f"/proc/{new}"), "the successor has ended")
    assert not os.path.exists(stage.proxy.admin_path)


def keep(stage):
    """Until the first process is the keeper: a second successor has its predecessor let go at once."""
    since = stage.proxy.mark()
    upgrade(stage)
    upgrade(stage)
    stage.proxy.wait_for_log(said("the first process is the keeper now"), since)


STEPS = ["loading", "ready"]  # it has its estate; it has said that it is ready, and its predecessor has not heard it


def kill_at(stage, step, victim):
    """Kills one of the two masters at a step of their dialogue: the successor's process id."""
    if step == "loading":
        with Gate(stage) as gate:
            successor = gate.wait()
            os.kill(successor if victim == "successor" else leader(stage), signal.SIGKILL)
        return successor
    held = Held(stage)
    os.kill(held.successor if victim == "successor" else held.predecessor, signal.SIGKILL)
    if victim == "successor":
        held.go()
    return held.successor


@pytest.mark.parametrize("step", STEPS)
def test_a_successor_killed_at_each_step(running, dial, step):
    """Nobody feels anything."""
    stage = running(config={"shutdown_timeout": "60s", **DEBUG})
    clients, first, since = [echoing(dial, stage["app"]) for _ in range(3)], leader(stage), stage.proxy.mark()
    kill_at(stage, step, "successor")
    stage.proxy.wait_for_log(said("successor failed, going on"), since)
    ringbolt.wait_until(lambda: leader(stage) == first, "the predecessor leads")
    for client in clients:
        echo_again(client)
    serves(stage, dial)
    assert upgrade(stage)["pid"] == leader(stage)
    for client in clients:
        echo_again(client)
    serves(stage, dial)


@pytest.mark.parametrize("step", STEPS)
def test_a_predecessor_killed_at_each_step(running, dial, step):
    """Before the successor leads all ends with it, and a supervisor starts anew: first it is the first process, then one whose keeper tells."""
    stage = running(config={**SHORT, **DEBUG})
    dial(stage["app"])
    tree = ringbolt.process_tree(stage.proxy.process.pid)
    tree.append(kill_at(stage, step, "predecessor"))
    stage.proxy.finished(status=-signal.SIGKILL)
    ringbolt.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in tree), "nobody is left")
    stage = running(config={**SHORT, **DEBUG})
    keep(stage)
    tree = ringbolt.process_tree(stage.proxy.process.pid)
    tree.append(kill_at(stage, step, "predecessor"))
    stage.proxy.finished(status=128 + signal.SIGKILL)
    ringbolt.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in tree), "nobody is left")


@pytest.mark.parametrize("step", [*STEPS, "probation"])
def test_a_keeper_killed_at_each_step(running, dial, step):
    """All end with it, whoever leads."""
    stage = running(config={"shutdown_timeout": "60s", **DEBUG})
    keep(stage)
    tree, dial_one = ringbolt.process_tree(stage.proxy.process.pid), dial(stage["app"])
    if step == "loading":
        with Gate(stage) as gate:
            tree.append(gate.wait())
            stage.proxy.process.kill()
    elif step == "ready":
        held = Held(stage)
        tree += [held.successor, *held.takers]
        stage.proxy.process.kill()
        held.go()
    else:
        tree.append(upgrade(stage)["pid"])
        tree += ringbolt.process_tree(tree[-1])
        stage.proxy.process.kill()
    stage.proxy.finished(status=-signal.SIGKILL)
    ringbolt.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in tree), "nobody is left")
    dial_one.close()


def test_a_predecessor_that_is_killed_before(running, program):
    stage = running()
    gate = program.path + ".gate"
    os.mkfifo(gate)
    program.replace(f'read line < {gate}; exec "$REAL" "$@"')
    stage.proxy.send_signal(signal.SIGUSR2)
    child = stage.proxy.wait_for_log(said("successor started"))["successor_pid"]
    stage.proxy.process.kill()
    stage.proxy.process.wait()
    with open(gate, "w", encoding="utf-8") as f:
        f.write("go\n")
    ringbolt.wait_until(lambda: not os.path.exists(f"/proc/{child}"), "the successor has ended")


# ---- process 1

def parents():
    """Process id, that of the parent, and whether it is a zombie, of all."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
                    state, parent = f.read().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            yield int(name), int(parent), state == "Z"


def children(pid):
    return [child for child, parent, _ in parents() if parent == pid]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make process id namespaces")
def test_process_1_of_a_container(running, dial):
    """As process 1 it is upgraded as anywhere, becomes the keeper, reaps what nobody else does, and TERM ends it."""
    apart = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"]
    tried = subprocess.run([*apart, "true"], stderr=subprocess.PIPE, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip("no process id namespace can be made here: " + tried.stderr.strip())
    stage = running(prefix=apart)
    (one,) = children(stage.proxy.process.pid)
    client = echoing(dial, stage["app"])

    def orphan():
        """A process whose parent is gone is process 1's; it ends, and nothing is left of it."""
        subprocess.run(["nsenter", "--target", str(one), "--pid", "sh", "-c", "sleep 600 & :"], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def found():
            for pid in children(one):
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if f.read().startswith(b"sleep\0"):
                        return pid
            return None

        ringbolt.wait_until(found, "process 1 has an orphan")
        pid = found()
        os.kill(pid, signal.SIGKILL)
        ringbolt.wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "process 1 has reaped it")

    orphan()
    since = stage.proxy.mark()
    assert upgrade(stage)["predecessor_pid"] == 1
    echo_again(client)
    assert upgrade(stage)["predecessor_pid"] == leader_before(stage, since)
    kept = stage.proxy.wait_for_log(said("the first process is the keeper now"), since)
    assert kept["pid"] == 1, kept
    echo_again(client)
    serves(stage, dial)
    orphan()
    client.close_notify()
    assert client.end() == "close_notify"
    os.kill(one, signal.SIGTERM)
    stage.proxy.finished()


def leader_before(stage, since):
    """The first successor since then."""
    return stage.proxy.wait_for_log(said("successor is ready"), since)["successor_pid"]

# SPDX-License-Identifier: Apache-2.0
"""What a service manager sees and does: sd_notify, watchdog, sockets that it passes, the journal's levels; and logrotate."""
import os
import re
import signal
import socket
import struct
import time

import pytest

import ringbolt

pytestmark = pytest.mark.any_layer


class Manager:
    """Listens where NOTIFY_SOCKET says, as systemd does."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name[0] == "@" else name)
        self.socket.settimeout(ringbolt.WAIT)
        self.environment = {"NOTIFY_SOCKET": name}

    def next(self, but=("WATCHDOG",)):
        """The next message as a dictionary, of those that don't begin with one of these."""
        while True:
            message = self.socket.recv(4096).decode()
            fields = dict(line.split("=", 1) for line in message.splitlines())
            if next(iter(fields)) not in but:
                return fields

    def pending(self):
        """What has come so far."""
        messages = []
        self.socket.setblocking(False)
        try:
            while True:
                messages.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            self.socket.settimeout(ringbolt.WAIT)
            return messages


@pytest.fixture
def manager(tmp_path):
    made = []

    def make(name=None):
        made.append(Manager(name or str(tmp_path / "notify")))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


def echo(dial, listener):
    client = dial(listener)
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"
    return client


# ---- notify

@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_ready_when_every_worker_accepts(start, actor, dial, manager, kind, tag):
    told = manager(f"@ringbolt-test-{tag}" if kind == "abstract" else None)
    stage = start({"app": [actor.address]}, environment=told.environment, wait=False)
    message = told.next()
    assert message["READY"] == "1" and message["STATUS"] == "Serving: 1 listeners, 2 workers"
    echo(dial, stage["app"])  # without having waited for the log


def test_children_do_not_inherit_it(start, actor, manager):
    told = manager()
    stage = start({"app": [actor.address]}, environment={**told.environment, "WATCHDOG_USEC": "60000000"})
    told.next()
    for pid in stage.proxy.workers():
        sockets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        with open("/proc/net/unix", encoding="utf-8") as f:
            datagram = {f"socket:[{line.split()[6]}]" for line in f.readlines()[1:] if line.split()[4] == "0002"}
        assert not datagram & set(sockets)


def test_reload_is_told_with_its_time(start, actor, manager):
    told = manager()
    stage = start({"app": [actor.address]}, environment=told.environment)
    told.next()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    stage.proxy.send_signal(signal.SIGHUP)
    message = told.next()
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert told.next()["READY"] == "1"


def test_two_reloads_at_once_end_ready(start, actor, manager):
    told = manager()
    stage = start({"app": [actor.address]}, environment=told.environment)
    told.next()
    stage.proxy.send_signal(signal.SIGHUP)
    assert told.next()["RELOADING"] == "1"
    stage.proxy.send_signal(signal.SIGHUP)
    seen = [next(iter(told.next())) for _ in range(2)]
    while seen.count("RELOADING") < 1:
        seen.append(next(iter(told.next())))
    while seen[-1] != "READY":
        seen.append(next(iter(told.next())))


@pytest.mark.parametrize("how", ["TERM", "drain"])
def test_a_drain_asks_for_the_time_that_it_may_take(start, actor, dial, manager, how):
    told = manager()
    stage = start({"app": [actor.address]}, config={"shutdown_timeout": "200s"}, environment=told.environment)
    told.next()
    client = echo(dial, stage["app"])
    if how == "TERM":
        stage.proxy.send_signal(signal.SIGTERM)
    else:
        stage.proxy.admin("drain")
    message = told.next()
    assert message["STOPPING"] == "1" and message["STATUS"] == "Draining: 1 connections"
    assert int(message["EXTEND_TIMEOUT_USEC"]) >= 200_000_000
    client.close_notify()
    assert client.end() == "close_notify"
    stage.proxy.finished(0)


def test_a_socket_that_is_not_there_does_no_harm(start, actor, dial, tmp_path):
    stage = start({"app": [actor.address]}, environment={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    stage.proxy.wait_for_log(lambda e: e["message"] == "the service manager was not reached")
    echo(dial, stage["app"])


# ---- watchdog

WATCHDOG = {"WATCHDOG_USEC": "400000"}  # looked at every 100 ms


def test_watchdog_is_served(start, actor, manager):
    told = manager()
    start({"app": [actor.address]}, environment={**told.environment, **WATCHDOG})
    told.next()
    for _ in range(5):
        assert told.next(but=()) == {"WATCHDOG": "1"}


def test_watchdog_of_somebody_else_is_not_served(start, actor, manager):
    told = manager()
    start({"app": [actor.address]}, environment={**told.environment, **WATCHDOG, "WATCHDOG_PID": "1"})
    assert told.next(but=())["READY"] == "1"
    assert not told.pending()


def test_watchdog_starves_when_no_worker_answers(start, actor, manager):
    """One that hangs is the master's to replace; all of them at once are the manager's."""
    told = manager()
    stage = start({"app": [actor.address]}, environment={**told.environment, **WATCHDOG})
    told.next()
    workers = stage.proxy.workers()
    try:
        os.kill(workers[0], signal.SIGSTOP)
        told.pending()
        for _ in range(3):
            assert told.next(but=()) == {"WATCHDOG": "1"}
        since = stage.proxy.mark()  # on a busy machine it may have been so for a moment before
        os.kill(workers[1], signal.SIGSTOP)
        stage.proxy.wait_for_log(lambda e: e["message"] == "no worker answers, the service manager's watchdog is not served", since)
        told.pending()
        told.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            told.socket.recv(4096)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    told.socket.settimeout(ringbolt.WAIT)
    assert told.next(but=()) == {"WATCHDOG": "1"}


# ---- sockets that are passed

def listening(address, family=socket.AF_INET, only=None):
    made = socket.socket(family, socket.SOCK_STREAM)
    if only is not None:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    if family != socket.AF_UNIX:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(address)
    made.listen(16)
    return made


# Becomes the proxy with these descriptors from 3 on: a process's LISTEN_PID can only be written by itself.
LAUNCHER = """
import fcntl, os, sys
names, fds = sys.argv[1], [int(fd) for fd in sys.argv[2].split(",")]
moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for number, fd in enumerate(moved, 3):
    os.dup2(fd, number, inheritable=True)
os.closerange(3 + len(fds), 200)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names)
os.execv(sys.argv[3], sys.argv[3:])
"""


def passing(sockets, names=""):
    """Options of a proxy that starts with these sockets, as systemd starts it."""
    fds = [one.fileno() for one in sockets]
    return {"pass_fds": fds, "prefix": ("/usr/bin/python3", "-c", LAUNCHER, names, ",".join(map(str, fds)))}


def taken(proxy):
    return [line["address"] for line in proxy.lines if line["message"] == "socket taken over"]


@pytest.fixture
def passed():
    made = []

    def make(address, **options):
        made.append(listening(address, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def configure(actor, certificates, *addresses, workers=2):
    return {"workers": workers, "log": {"format": "json"}, "upstreams": [{"name": "app", "servers": [{"address": actor.address}]}],
            "listeners": [{"address": address, "upstream": "app", "tls": {"certificates": certificates.config()}} for address in addresses]}


class Where:
    """A listener for dial()."""

    def __init__(self, proxy, address):
        self.address = address
        self.stage = type("Stage", (), {"proxy": proxy})


@pytest.fixture
def run(work, certificates, actor):
    running = []

    def make(sockets, *addresses, workers=2, names="", **options):
        running.append(ringbolt.Ringbolt(work, configure(actor, certificates, *addresses, workers=workers), **passing(sockets, names), **options))
        return running[-1]

    yield make
    for proxy in running:
        if proxy.process.poll() is None:
            proxy.stop()


def test_sockets_are_taken_over(run, passed, dial, tmp_path):
    """By address, whatever their order; listeners without one make their own, all workers serve it, and its options are the listener's."""
    four, six, path = passed(("127.0.0.1", 0)), passed(("::1", 0), family=socket.AF_INET6), str(tmp_path / "app.sock")
    local = passed(path, family=socket.AF_UNIX)
    addresses = [f"unix:{path}", f"[::1]:{six.getsockname()[1]}", "127.0.0.1:0", f"127.0.0.1:{four.getsockname()[1]}"]
    proxy = run([four, six, local], *addresses, names="web::admin")
    assert sorted(taken(proxy)) == sorted(addresses[:2] + addresses[3:])
    assert [line.get("name") for line in proxy.lines if line["message"] == "socket taken over"] == ["admin", None, "web"]
    own = ("127.0.0.1", int(re.search(r"127\.0\.0\.1:(\d+) 127", proxy.ready["listeners"]).group(1)))
    for address in (four.getsockname(), six.getsockname()[:2], own):
        echo(dial, Where(proxy, address))
    info = four.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    assert struct.unpack_from("I", info, 28)[0] > 16  # tcpi_sacked of a listening socket: the backlog
    proxy.stop()
    assert os.path.exists(path)  # it is not ours


def test_every_worker_serves_a_socket(run, passed, dial):
    one = passed(("127.0.0.1", 0))
    proxy = run([one], "127.0.0.1:%d" % one.getsockname()[1], workers=3)
    ports = {os.readlink(f"/proc/{pid}/fd/{fd}") for pid in proxy.workers() for fd in os.listdir(f"/proc/{pid}/fd")}
    assert f"socket:[{os.fstat(one.fileno()).st_ino}]" in ports
    for _ in range(8):
        echo(dial, Where(proxy, one.getsockname()))


def test_clients_survive_a_restart(run, passed, dial):
    """Who connects while nothing runs waits in the socket's queue."""
    one = passed(("127.0.0.1", 0))
    address = "127.0.0.1:%d" % one.getsockname()[1]
    first = run([one], address)
    echo(dial, Where(first, one.getsockname())).close()
    first.stop(signal.SIGTERM)
    waiting = [dial(Where(first, one.getsockname()), handshake=False) for _ in range(8)]
    second = run([one], address)
    for client in waiting:
        client.handshake()
        client.send_data(b"echo x\nhello")
        assert client.read(5) == b"hello"
    second.stop()


def test_several_sockets_at_one_address(run, passed, dial):
    one = passed(("127.0.0.1", 0))
    two = passed(one.getsockname())
    address = "127.0.0.1:%d" % one.getsockname()[1]
    proxy = run([one, two], address)
    assert taken(proxy) == [address] * 2
    for _ in range(8):
        echo(dial, Where(proxy, one.getsockname()))
    proxy.stop()
    proxy = run([one, two], address, workers=1, wait=False)  # nobody would serve the second
    proxy.wait_for_log(lambda e: e["message"] == "cannot listen" and "more sockets were passed" in e["cure"])
    proxy.finished(1)


def test_every_address_is_both_families(run, passed, dial):
    both = passed(("::", 0), family=socket.AF_INET6, only=0)
    port = both.getsockname()[1]
    proxy = run([both], f"*:{port}")
    echo(dial, Where(proxy, ("127.0.0.1", port)))
    echo(dial, Where(proxy, ("::1", port)))
    proxy.stop()
    proxy = run([both], f"[::]:{port}", wait=False)  # IPv6 alone: that is another address
    proxy.wait_for_log(lambda e: e["message"] in ("cannot listen", "a socket was passed that no listener has"))
    proxy.finished(1)


def test_a_socket_of_nobody_is_an_error(run, passed):
    one, two = passed(("127.0.0.1", 0)), passed(("127.0.0.1", 0))
    proxy = run([one, two], "127.0.0.1:%d" % one.getsockname()[1], names="mine:stray", wait=False)
    line = proxy.wait_for_log(lambda e: e["message"] == "a socket was passed that no listener has")
    assert line["address"] == "127.0.0.1:%d" % two.getsockname()[1] and line["name"] == "stray" and "ListenStream=" in line["cure"]
    proxy.finished(1)


def test_only_listening_sockets_can_be_passed(run):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        proxy = run([datagram], "127.0.0.1:0", wait=False)
        line = proxy.wait_for_log(lambda e: e["message"] == "a socket was passed that is not for connections")
        assert "Accept=no" in line["cure"]
        proxy.finished(1)


def test_sockets_of_another_process_are_left_alone(start, actor):
    stage = start({"app": [actor.address]}, environment={"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    assert not taken(stage.proxy)


# ---- the log

def test_levels_for_the_journal(start, actor, work, tmp_path, certificates):
    """Lines begin with their level where standard error is the journal's stream, and only there."""
    log = tmp_path / "log"
    config = configure(actor, certificates, "127.0.0.1:0")
    path = str(tmp_path / "ringbolt.yaml")
    for is_journal in (True, False):
        ringbolt.write_config(path, {**config, "log": {"level": "debug"}, "admin": {"socket": "off"}})
        with open(log, "wb") as stream:
            status = os.fstat(stream.fileno())
            inode = status.st_ino + (not is_journal)
            process = ringbolt.subprocess.Popen([ringbolt.BINARY, "run", "-c", path], stderr=stream,
                                                env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{inode}"})
        try:
            ringbolt.wait_until(lambda: b" ready " in log.read_bytes(), "it is ready")
            with open(path, "a", encoding="utf-8") as config_file:
                config_file.write("nonsense")
            process.send_signal(signal.SIGHUP)
            ringbolt.wait_until(lambda: b"bad configuration" in log.read_bytes(), "it has complained")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(ringbolt.WAIT) == 0
        lines = log.read_text(encoding="utf-8").splitlines()
        if not is_journal:
            assert all(ringbolt.parse_line(line) for line in lines)
            continue
        numbers = {"error": "3", "warning": "4", "info": "6", "debug": "7"}
        for line in lines:
            prefix, entry = line[:3], ringbolt.parse_line(line[3:])
            assert prefix == f"<{numbers[entry['level']]}>", line
        assert {line[1] for line in lines} >= {"3", "6"}


def entries(path):
    with open(path, encoding="utf-8") as f:
        return [ringbolt.parse_line(line) for line in f]


def has(path, count=1, **fields):
    return lambda: os.path.exists(path) and sum(fields.items() <= entry.items() for entry in entries(path)) >= count


def held_by(proxy):
    return {os.readlink(f"/proc/{pid}/fd/{fd}") for pid in ringbolt.process_tree(proxy.process.pid) for fd in os.listdir(f"/proc/{pid}/fd")}


def test_reopened_for_logrotate(start, actor, dial, tmp_path):
    """USR1: master and workers go on in a new file, and nobody holds the one that was moved away."""
    path, moved = str(tmp_path / "ringbolt.log"), str(tmp_path / "ringbolt.log.1")
    stage = start({"app": [actor.address]}, config={"log": {"format": "json", "file": path}}, wait=False)
    ringbolt.wait_until(has(path, message="ready"), "it is ready")
    assert os.stat(path).st_mode & 0o777 == 0o640
    for _ in range(2):
        os.rename(path, moved)
        stage.proxy.send_signal(signal.SIGUSR1)
        ringbolt.wait_until(has(path, message="log file opened again"), "the file is opened again")
        client = dial(stage["app"])
        client.send_data(b"echo x\nhello")
        assert client.read(5) == b"hello"
        client.close_notify()
        assert client.end() == "close_notify"
        ringbolt.wait_until(has(path, message="connection", bytes_out=5), "the worker has written its line there")
        ringbolt.wait_until(lambda: held_by(stage.proxy) & {path, moved} == {path}, "nobody holds the old one")
    stage.proxy.stop()
    ringbolt.wait_until(has(path, message="stopped"), "it has stopped")


def test_generations_share_a_log_file(start, actor, dial, tmp_path):
    """Each writes whole lines, USR1 to the first process reaches them all, and the keeper: nobody holds what was moved away."""
    path = str(tmp_path / "ringbolt.log")
    stage = start({"app": [actor.address]}, wait=False,
                  config={"log": {"format": "json", "file": path}, "shutdown_timeout": "60s", "timeouts": {"handshake": "60s"}})
    ringbolt.wait_until(has(path, message="ready"), "it is ready")
    waiting, files = [], [path]

    def wait():
        """One that can't move, and keeps its generation."""
        before = stage.proxy.admin_json("status")["totals"]["connections"]
        waiting.append(dial(stage["app"], handshake=False))
        ringbolt.wait_until(lambda: stage.proxy.admin_json("status")["totals"]["connections"] == before + 1, "it is accepted")

    def rotate(count):
        files.append(f"{path}.{len(files)}")
        os.rename(path, files[-1])
        stage.proxy.send_signal(signal.SIGUSR1)
        if count:
            ringbolt.wait_until(has(path, count=count, message="log file opened again"), "all masters have opened it again")
        client = dial(stage["app"])
        client.close_notify()
        assert client.end() == "close_notify"
        ringbolt.wait_until(has(path, message="connection"), "a worker has written its line there")
        ringbolt.wait_until(lambda: held_by(stage.proxy) & set(files) == {path}, "nobody holds an old one")

    wait()
    stage.proxy.admin("upgrade")
    rotate(2)  # on probation
    wait()
    stage.proxy.admin("upgrade")
    rotate(3)
    for client in waiting:
        host, port = client.name
        client.close()
        ringbolt.wait_until(has(path, message="connection", client=f"{host}:{port}"), "its generation has written its line there too")
    # Its first process is the keeper then.
    ringbolt.wait_until(lambda: any(has(name, message="the first process is the keeper now")() for name in files), "there is a keeper")
    rotate(1)
    stage.proxy.stop(signal.SIGTERM)
    assert all(entry for name in files for entry in entries(name))


def test_a_log_file_that_cannot_be_opened_again_is_kept(start, actor, tmp_path):
    path = str(tmp_path / "ringbolt.log")
    stage = start({"app": [actor.address]}, config={"log": {"format": "json", "file": path}}, wait=False)
    ringbolt.wait_until(has(path, message="ready"), "it is ready")
    moved = path + ".1"
    os.rename(path, moved)
    os.mkdir(path)
    stage.proxy.send_signal(signal.SIGUSR1)
    ringbolt.wait_until(has(moved, message="cannot open the log file again"), "it has complained")
    stage.proxy.stop()
    assert has(moved, message="stopped")()


def test_usr1_without_a_log_file_does_nothing(start, actor, dial):
    stage = start({"app": [actor.address]})
    stage.proxy.send_signal(signal.SIGUSR1)
    stage.proxy.wait_for_log(lambda e: e["message"] == "USR1: there is no log.file to open again")
    for pid in stage.proxy.workers():
        os.kill(pid, signal.SIGUSR1)
    echo(dial, stage["app"])


def test_a_log_file_that_cannot_be_written_is_named(tmp_path, actor, certificates):
    path = str(tmp_path / "ringbolt.yaml")
    ringbolt.write_config(path, {**configure(actor, certificates, "127.0.0.1:0"), "log": {"file": "no/such/folder.log"}})
    done = ringbolt.call("run", "-c", path)
    assert done.returncode == 3
    assert re.search(r"ringbolt\.yaml:\d+:\d+: cannot append to `log\.file` .*No such file", done.stderr), done.stderr

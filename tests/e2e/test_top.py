# SPDX-License-Identifier: Apache-2.0
"""`ringbolt top`, in a terminal of the test's own."""
import errno
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import threading

import pytest

import ringbolt

pytestmark = pytest.mark.any_layer

ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l\x1b[?7l", b"\x1b[?7h\x1b[?25h\x1b[?1049l"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
HOSTILE = "evil\x1b[2J\x9b31m\x07\x7f"


class Terminal:
    """A pseudo-terminal with a command in it."""

    def __init__(self, *arguments, rows=60, columns=120, terminal="xterm"):
        self.main, self.inner = pty.openpty()
        self.output, self.is_over, self.changed = b"", False, threading.Condition()
        self.resize(rows, columns)
        self.saved = termios.tcgetattr(self.inner)
        self.process = subprocess.Popen([ringbolt.BINARY, "top", *arguments], stdin=self.inner, stdout=self.inner, stderr=subprocess.PIPE,
                                        start_new_session=True, env={**os.environ, "TERM": terminal},
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while True:
            try:
                data = os.read(self.main, 65536)
            except OSError as error:
                assert error.errno in (errno.EIO, errno.EBADF)
                data = b""
            with self.changed:
                self.output += data
                self.is_over = not data
                self.changed.notify_all()
            if not data:
                return

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.main, text)

    def frame(self, likes, since=0):
        """The lines of the first whole frame after so many bytes that `likes` likes; each fits the terminal."""
        def found():
            with self.changed:
                shown = self.output[since:]
                assert not self.is_over, self.output
            for raw in re.findall(rb"\x1b\[H(.*?)\x1b\[J", shown, re.S):
                lines = re.split("\r+\n", CONTROL.sub("", raw.decode()))
                if likes(lines):
                    return lines
            return None

        ringbolt.wait_until(found, "such a frame is drawn")
        lines = found()
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", "".join(lines)), lines
        return lines

    def fits(self, lines):
        return len(lines) <= self.rows and all(len(line) <= self.columns for line in lines)

    def ended(self, status=0):
        """How it ended, and that the terminal is as it was."""
        error = self.process.stderr.read().decode()
        assert self.process.wait(ringbolt.WAIT) == status, error
        assert termios.tcgetattr(self.inner) == self.saved
        if ENTER in self.output:
            ringbolt.wait_until(lambda: self.output.count(ENTER) == self.output.count(LEAVE), "the screen is put back")
        return error

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        os.close(self.inner)
        self.reader.join(ringbolt.WAIT)
        os.close(self.main)


@pytest.fixture
def terminal():
    opened = []

    def make(*arguments, **options):
        opened.append(Terminal(*arguments, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def converse(stage, dial):
    client = dial(stage["app"])
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"
    client.close_notify()
    assert client.end() == "close_notify" and stage.line(client)["end"] == "done"


def held_by(entry, landlock):
    """The parts of the sandbox that a process of the document is held by, in words."""
    return ", ".join((["seccomp"] if entry["seccomp"] != "none" else []) + ([f"{landlock} {entry['landlock']}"] if entry["landlock"] else []) +
                     (["io_uring"] if entry["io_uring"] else []))


def row(lines, first):
    """The cells of a row, by the titles above it."""
    at = next(i for i, line in enumerate(lines) if line.split()[:1] == [first])
    titles = next(lines[i] for i in range(at, -1, -1) if lines[i].isupper() and " " in lines[i])
    return dict(zip(titles.split(), lines[at].split()))


# ---- one frame

def test_once_has_the_numbers(start, actor, dial):
    stage = start({"app": [actor.address]})
    for _ in range(3):
        converse(stage, dial)
    live = dial(stage["app"])
    done = ringbolt.call("top", "-s", stage.proxy.admin_path, "--once", "-d", "0.1")
    assert done.returncode == 0 and not done.stderr and "\x1b" not in done.stdout and "\x01" not in done.stdout
    lines = done.stdout.split("\n")
    status = stage.proxy.admin_json("status")
    assert lines[0].startswith(f"ringbolt {status['version']}, serving, up 0d 00:0") and f", pid {status['pid']}, " in lines[0]
    assert "2 certificates have ended or will within 14 days" in lines
    assert lines[2].startswith("connections 1; a second: accepted 0, failed 0, handshakes 0")
    listener = row(lines, "app")
    assert listener["ADDRESS"] == stage["app"].port.text and listener["CONNS"] == "1" and listener["RESUMED"] == "0%"
    server = next(line for line in lines if actor.address in line).split()
    assert server[:5] == ["app", actor.address, "ready", "up", "1"]
    for worker in status["workers"]:
        assert row(lines, str(worker["worker"]))["PID"] == str(worker["pid"])
    held = {line.split()[0]: re.split(r"  +", line.strip())[-1] for line in lines if re.match(r"(\d+|master) +\d+ +(ready|serving) ", line)}
    assert held == {entry["process"].removeprefix("worker "): held_by(entry, "landlock") or "none" for entry in status["sandbox"]}
    assert "records: to clients in user (off) 3, from clients in user (off) 3" in lines and "ended: done 3" in lines
    assert any(re.fullmatch(r"milliseconds \(half/99%\): full handshakes [\d.]+/[\d.]+, connects [\d.]+/[\d.]+", line) for line in lines)
    assert sum(line.startswith("localhost ") and line.endswith(" good") for line in lines) == 2
    live.close()


class Liar:
    """An admin socket whose every text, and every name of a counter, is HOSTILE."""

    def __init__(self, path, document):
        self.answer = json.dumps({**self.spoil(document), "ok": True}).encode() + b"\n"
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(path)
        self.listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def spoil(self, value):
        if isinstance(value, dict):
            return {key: {HOSTILE: 3} if key in ("ends", "refused") else self.spoil(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.spoil(one) for one in value]
        return HOSTILE if isinstance(value, str) else 7 if value == 0 else value

    def _serve(self):
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            with client:
                while client.recv(4096):
                    pass
                client.sendall(self.answer)

    def close(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


def test_names_reach_no_terminal_unescaped(start, actor, terminal, work):
    stage = start({"app": [actor.address]})
    path = os.path.join(work, "liar.sock")
    liar = Liar(path, stage.proxy.admin_json("status"))
    done = ringbolt.call("top", "-s", path, "--once", "-d", "0.1")
    assert done.returncode == 0 and done.stdout.count("evil?[2J?31m??") > 20
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout)
    shown = terminal("-s", path)
    shown.frame(lambda lines: "evil?[2J?31m??" in lines[0])
    shown.type(b"q")
    shown.ended()
    liar.close()


@pytest.mark.parametrize("arguments", [["-d", "0"], ["-d", "0.01"], ["-d", "nan"], ["-d", "5m"], ["-d", "3601"], ["--json"], ["x"]])
def test_wrong_usage(arguments):
    done = ringbolt.call("top", "-s", "/nowhere", *arguments)
    assert done.returncode == 2 and done.stderr and not done.stdout


def test_what_is_no_terminal_is_told(start, actor, terminal):
    stage = start({"app": [actor.address]})
    done = ringbolt.call("top", "-s", stage.proxy.admin_path)
    assert done.returncode == 1 and "--once" in done.stderr and not done.stdout
    dumb = terminal("-s", stage.proxy.admin_path, terminal="dumb")
    assert "--once" in dumb.ended(1) and dumb.output == b""


def test_nobody_answers_from_the_start(work, terminal):
    path = os.path.join(work, "nobody.sock")
    done = ringbolt.call("top", "-s", path, "--once")
    assert done.returncode == 1 and path in done.stderr and "ringbolt is not running" in done.stderr and not done.stdout
    shown = terminal("-s", path)
    assert path in shown.ended(1) and shown.output == b"", "the terminal was touched"


# ---- the terminal

def test_draws_resizes_moves_and_ends(start, actor, dial, terminal):
    stage = start({"app": [actor.address]})
    shown = terminal("-s", stage.proxy.admin_path, "-d", "0.1")
    first = shown.frame(lambda lines: any("LISTENER" in line for line in lines))
    assert first[0].startswith("ringbolt ") and shown.fits(first) and not any("more lines" in line for line in first)
    assert shown.output.startswith(ENTER)
    converse(stage, dial)
    shown.frame(lambda lines: "ended: done 1" in lines)  # by itself

    since = len(shown.output)
    shown.resize(12, 40)
    small = shown.frame(lambda lines: len(lines) == 12 and shown.fits(lines), since)
    assert small[0].startswith("ringbolt ") and small[-1] == "more lines: up and down; q ends"
    shown.type(b"jj\x1b[Bk")
    moved = shown.frame(lambda lines: lines[0].startswith("connections 0; a second: "), since)
    assert len(moved) == 12
    since = len(shown.output)
    shown.type(b"k" * 9 + b"\x1b[A")
    shown.frame(lambda lines: lines[0].startswith("ringbolt "), since)
    shown.resize(1, 10)
    since = len(shown.output)
    shown.frame(lambda lines: lines == ["more lines"], since)
    shown.type(b"q")
    assert shown.ended() == ""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, "typed"])
def test_signals_put_the_terminal_back(start, actor, terminal, end):
    stage = start({"app": [actor.address]})
    shown = terminal("-s", stage.proxy.admin_path)
    shown.frame(lambda lines: True)
    if end == "typed":
        shown.type(b"\x03")
    else:
        shown.process.send_signal(end)
    assert shown.ended() == ""


def test_sleeps_and_wakes(start, actor, terminal):
    stage = start({"app": [actor.address]})
    shown = terminal("-s", stage.proxy.admin_path, "-d", "0.1")
    shown.frame(lambda lines: True)
    shown.process.send_signal(signal.SIGTSTP)
    assert os.WIFSTOPPED(os.waitpid(shown.process.pid, os.WUNTRACED)[1])
    ringbolt.wait_until(lambda: shown.output.endswith(LEAVE), "the screen is put back")
    assert termios.tcgetattr(shown.inner) == shown.saved
    since = len(shown.output)
    shown.process.send_signal(signal.SIGCONT)
    shown.frame(lambda lines: True, since)
    assert shown.output[since:].startswith(ENTER)
    shown.type(b"q")
    shown.ended()


def test_the_proxy_goes_away_and_comes_back(start, actor, terminal, work):
    stage = start({"app": [actor.address]})
    shown = terminal("-s", stage.proxy.admin_path, "-d", "0.1")
    shown.frame(lambda lines: lines[0].startswith("ringbolt "))
    stage.proxy.stop()
    # One question may have been on its way: "ringbolt went away before it answered".
    gone = shown.frame(lambda lines: lines[1].startswith("no answer: ") and "ringbolt is not running" in lines[1])
    assert any("LISTENER" in line for line in gone)
    again = ringbolt.Ringbolt(work, {**stage.config, "admin": {"socket": stage.proxy.admin_path}})
    try:
        since = len(shown.output)
        back = shown.frame(lambda lines: not lines[1].startswith("no answer: ") and f"pid {again.process.pid}" in lines[0], since)
        assert any("LISTENER" in line for line in back)
        shown.type(b"q")
        assert shown.ended() == ""
    finally:
        again.stop()


def test_predecessors(start, actor, dial):
    """Who still holds connections after a change."""
    stage = start({"app": [actor.address]}, config={"shutdown_timeout": "60s", "timeouts": {"handshake": "60s"}})
    first = stage.proxy.process.pid
    dial(stage["app"], handshake=False)  # what cannot move yet
    ringbolt.wait_until(lambda: stage.proxy.admin_json("status")["totals"]["connections"] == 1, "it is accepted")
    stage.proxy.admin("upgrade")
    found = row(stage.proxy.admin("top", "--once").splitlines(), str(first))
    assert found["PREDECESSOR"] == str(first) and found["CONNS"] == "1" and found["STATE"] in ("superseded", "draining"), found

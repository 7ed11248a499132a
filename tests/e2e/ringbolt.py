# SPDX-License-Identifier: Apache-2.0
"""A running Ringbolt and what it logs."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

BINARY = os.environ.get("RINGBOLT", "ringbolt")
GUEST = os.environ.get("RINGBOLT_GUEST", "")
WAIT = float(os.environ.get("RINGBOLT_E2E_WAIT", "60"))  # for an event that must come; only a failing test waits so long

# How a direction's records are carried. `late` starts in the user layer and moves into the kernel under way.
LATE_AFTER = 256 * 1024
LAYERS = {
    "user": {"transmit": "off", "receive": "off"},
    "tx": {"transmit": "required", "receive": "off"},
    "kernel": {"transmit": "required", "receive": "required"},
    # Not required: a connection that is half-closed by then can't move any more (TCP_ULP wants an established one).
    "late": {"transmit": "auto", "receive": "auto", "offload_after": LATE_AFTER},
}


def kernel_has_tls():
    return "tls" in os.environ.get("RINGBOLT_GUEST_MODULES", "").split()


def layers_here():
    """Natively the kernel of a build machine has no TLS: there the other layers don't exist, they run in the guest.
    RINGBOLT_E2E_LAYERS="tx late" chooses some."""
    here = list(LAYERS) if kernel_has_tls() else ["user"]
    chosen = os.environ.get("RINGBOLT_E2E_LAYERS", "").split()
    return [layer for layer in here if not chosen or layer in chosen]


class Port:
    """A free port of the kernel's choosing. The socket stays bound without listening, so nobody else gets the number; Ringbolt
    may bind it too, because both say SO_REUSEADDR and SO_REUSEPORT."""

    def __init__(self, host="127.0.0.1", number=0):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind((host, number))
        self.address = (host, self.socket.getsockname()[1])
        self.text = f"[{host}]:{self.address[1]}" if ":" in host else f"{host}:{self.address[1]}"

    def close(self):
        self.socket.close()


TEXT_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')


def parse_line(line):
    """One line of the log, text or JSON, as a dictionary; None if it is none."""
    if line.startswith("{"):
        try:
            entry = json.loads(line)
        except ValueError:
            return None
        return entry if {"time", "level", "message"} <= entry.keys() else None
    match = re.match(r"(\S+) (ERROR|WARNING|INFO|DEBUG|error|warning|info|debug) +(.*?)(?= \w+=|$)(.*)$", line)
    if not match:
        return None
    entry = {"time": match.group(1), "level": match.group(2).lower(), "message": match.group(3)}
    for key, value in TEXT_FIELD.findall(match.group(4)):
        if value.startswith('"'):
            value = json.loads(value)
        elif re.fullmatch(r"-?\d+", value):
            value = int(value)
        elif re.fullmatch(r"-?\d+\.\d+", value):
            value = float(value)
        entry[key] = {"true": True, "false": False}.get(value, value)
    return entry


def process_tree(root):
    """root and its descendants, by /proc."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
                    fields = f.read().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(name)] = int(fields[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def process_name(pid):
    """None: it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return None


def write_config(path, config):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)  # JSON is YAML


def few_descriptors(most):
    """For prefix=: so many, and no right to more, which root may have."""
    right = ["setpriv", "--bounding-set", "-sys_resource"] if os.geteuid() == 0 else []
    return ["prlimit", f"--nofile={most}:{most}", *right]


def call(*arguments, environment=None, **options):
    """Runs a command of Ringbolt to its end."""
    return subprocess.run([BINARY, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=WAIT, check=False, env={**os.environ, **(environment or {})}, **options)


class Ringbolt:
    """`ringbolt run`, started with a configuration. stop() or finished() checks how it ended; both fail when it wrote anything
    but log lines: a sanitizer's report, an assertion."""

    def __init__(self, directory, config=None, arguments=None, wait=True, environment=None, prefix=(),
                 pass_fds=(), binary=None):
        self.lines, self.noise = [], []
        self.changed = threading.Condition()
        self.log_gate = threading.Event()  # cleared: the reader of the log stands still
        self.log_gate.set()
        self.config_path = os.path.join(directory, f"ringbolt-{id(self):x}.yaml")
        self.admin_path = os.path.join(directory, f"admin-{id(self):x}.sock")
        if config is not None:
            write_config(self.config_path, {**config, "admin": {"socket": self.admin_path, **config.get("admin", {})}})
            arguments = ["run", "-c", self.config_path]

        self.process = subprocess.Popen([*prefix, binary or BINARY, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, cwd=directory, env={**os.environ, **(environment or {})},
                                        pass_fds=pass_fds)
        self.stdout = b""
        self.readers = [threading.Thread(target=self._read_log, daemon=True),
                        threading.Thread(target=self._read_stdout, daemon=True)]
        for reader in self.readers:
            reader.start()
        if wait:
            self.ready = self.wait_for_log(lambda e: e["message"] == "ready")

    def _read_log(self):
        for raw in self.process.stderr:
            self.log_gate.wait()
            line = raw.decode(errors="replace").rstrip("\n")
            entry = parse_line(line)
            with self.changed:
                if entry:
                    self.lines.append(entry)
                elif line:
                    self.noise.append(line)
                self.changed.notify_all()
        with self.changed:
            self.lines.append({"message": "end of log", "level": "", "time": ""})
            self.changed.notify_all()

    def _read_stdout(self):
        self.stdout = self.process.stdout.read()

    # ---- the log

    def mark(self):
        """A place in the log, for since=."""
        with self.changed:
            return len(self.lines)

    def wait_for_log(self, predicate, since=0, timeout=WAIT):
        """The first line from `since` on that the predicate likes."""
        deadline = time.monotonic() + timeout
        with self.changed:
            at = since
            while True:
                while at < len(self.lines):
                    if predicate(self.lines[at]):
                        return self.lines[at]
                    if self.lines[at]["message"] == "end of log":
                        raise AssertionError("the proxy ended, its log has no such line:\n" + self.log_text(since))
                    at += 1
                if not self.changed.wait(max(0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise AssertionError("no such line in the log:\n" + self.log_text(since))

    def log_text(self, since=0):
        return "\n".join([json.dumps(line) for line in self.lines[since:]][-8:] + self.noise[-60:])

    def connection(self, since=0, **fields):
        """The line of a connection that has ended, the first since then with these fields."""
        return self.wait_for_log(lambda e: e["message"] == "connection" and
                                 all(e.get(key) == value for key, value in fields.items()), since)

    def connections(self, count, since=0):
        """The lines of the first `count` connections that ended."""
        found = []

        def enough(entry):
            if entry["message"] == "connection":
                found.append(entry)
            return len(found) == count

        self.wait_for_log(enough, since)
        return found

    def all_noise(self):
        """What one that has ended wrote besides its log."""
        for reader in self.readers:
            reader.join(WAIT)
        return self.noise

    # ---- the admin socket

    def admin(self, command, *arguments, status=0):
        """What a command to the running proxy prints."""
        done = call(command, "-s", self.admin_path, *arguments)
        assert done.returncode == status, (done, self.log_text())
        return done.stdout

    def admin_json(self, command, *arguments, status=0):
        return json.loads(self.admin(command, "--json", *arguments, status=status))

    # ---- processes

    def workers(self):
        return process_tree(self.process.pid)[1:]

    def carriers(self):
        """The processes that carry connections: they have a ring."""
        found = []
        for pid in self.workers():
            try:
                links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            except OSError:
                continue
            if any("io_uring" in link for link in links):
                found.append(pid)
        return found

    def descriptors(self):
        """How many the workers hold, each."""
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in self.workers()]

    def resident(self):
        """Bytes of memory that the workers hold themselves, together."""
        total = 0
        for pid in self.workers():
            with open(f"/proc/{pid}/status", encoding="utf-8") as f:
                total += sum(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon:"))
        return total

    # ---- the end

    def send_signal(self, number):
        self.process.send_signal(number)

    def finished(self, status=0, timeout=WAIT):
        """Waits for the end of the proxy, checks status and output."""
        tree = process_tree(self.process.pid)
        try:
            got = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            for pid in reversed(tree):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait()
            raise AssertionError("the proxy does not end:\n" + self.log_text()) from None
        assert not self.all_noise(), "unexpected output:\n" + "\n".join(self.noise[-80:])
        assert not any(reader.is_alive() for reader in self.readers), "it has ended, but not all of its processes:\n" + self.log_text()
        assert got == status, f"exit status {got} instead of {status}:\n" + self.log_text()

    def stop(self, number=signal.SIGINT, status=0):
        if self.process.poll() is None:
            self.send_signal(number)
        self.finished(status)

    def kill(self):
        """For clean-up after a failure."""
        for pid in reversed(process_tree(self.process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()


def wait_until(condition, what, timeout=WAIT):
    """For what sends no event: looks again until it is so."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(pause)
        pause = min(pause * 2, 0.1)

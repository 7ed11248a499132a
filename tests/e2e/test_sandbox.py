# SPDX-License-Identifier: Apache-2.0
"""What a worker that somebody has taken over can do: system calls made in real workers, and what `status` says of them."""
import json
import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys

import pytest

import inject
import ringbolt

HERE = os.path.dirname(os.path.abspath(__file__))
IS_SANITIZED = bool(os.environ.get("RINGBOLT_SANITIZE"))
EPERM, EACCES = 1, 13

needs_seccomp = pytest.mark.skipif(not os.path.exists("/proc/sys/kernel/seccomp"), reason="this kernel has no seccomp")
not_sanitized = pytest.mark.skipif(IS_SANITIZED, reason="built with a sanitizer, whose workers are held by less")


def confined(proxy):
    """The line that says what workers are held by."""
    return proxy.wait_for_log(lambda e: e["message"] == "workers are confined")


def processes(proxy):
    return {entry["process"]: entry for entry in proxy.admin_json("status")["sandbox"]}


def serves(dial, stage):
    client = dial(stage["app"])
    client.close()
    return stage.line(client)


def facts(pid):
    """/proc/PID/status, as a dictionary."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


# ---- what status says

@pytest.mark.guest
def test_status(start, actor, dial):
    """It is what the kernel says, and what the log said at the start."""
    stage = start({"app": [actor.address]})
    line, found = confined(stage.proxy), processes(stage.proxy)
    assert list(found) == ["master", "worker 0", "worker 1"]
    assert found["master"]["pid"] == stage.proxy.process.pid
    assert {found[f"worker {i}"]["pid"] for i in (0, 1)} == set(stage.proxy.workers())
    for name, entry in found.items():
        told = facts(entry["pid"])
        assert entry["uid"] == int(told["Uid"].split()[1]) and entry["gid"] == int(told["Gid"].split()[1])
        assert len(entry["capabilities"]) == int(told["CapPrm"], 16).bit_count()
        assert entry["told_by_kernel"] is True
        assert entry["no_new_privs"] is True and told["NoNewPrivs"] == "1"
        assert {"none": "0", "filter": "2"}[entry["seccomp"]] == told.get("Seccomp", "0")
        assert entry["dumpable"] is False
        if name != "master":
            assert entry["capabilities"] == [] and int(told["CapEff"], 16) == 0
            assert entry["seccomp_filters"] - found["master"]["seccomp_filters"] == int(line["seccomp"])
            assert entry["landlock"] == line["landlock"]
            assert entry["io_uring"] is line["io_uring"]
            if os.geteuid() == 0:
                assert entry["user"] != "root" and entry["user"] == pwd.getpwuid(entry["uid"]).pw_name
    text = stage.proxy.admin("status").splitlines()
    table = text[next(i for i, row in enumerate(text) if row.split()[:2] == ["PROCESS", "PID"]):]
    assert [row.split()[:2] for row in table[1:]] == [["master", str(stage.proxy.process.pid)], ["worker", "0"], ["worker", "1"]], text
    assert serves(dial, stage)["end"]


@pytest.mark.any_layer
def test_master(start, actor):
    """The master keeps what it needs to replace workers, to read keys again, and what a successor opens new ports with."""
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities to give up")
    stage = start({"app": [actor.address]})
    held = set(processes(stage.proxy)["master"]["capabilities"])
    assert {"setuid", "setgid"} <= held <= {"setuid", "setgid", "kill", "ipc_lock", "net_bind_service", "dac_read_search", "dac_override"}


@pytest.mark.any_layer
def test_turned_off(start, actor, dial):
    stage = start({"app": [actor.address]}, config={"sandbox": {"seccomp": "off", "landlock": "off", "io_uring": "off"}})
    line = confined(stage.proxy)
    assert (line["seccomp"], line["landlock"], line["io_uring"]) == (False, 0, False)
    worker = processes(stage.proxy)["worker 0"]
    assert worker["landlock"] == 0 and worker["io_uring"] is False
    assert facts(worker["pid"])["Seccomp"] == facts(stage.proxy.process.pid)["Seccomp"]
    assert serves(dial, stage)["end"]


# ---- from inside a worker

# With all that it takes to succeed if nothing held it.
FORBIDDEN = {
    "openat": (-100, 0, 0),
    "open": (0, 0),
    "execve": (0, 0, 0),
    "socket": (socket.AF_INET, socket.SOCK_DGRAM, 0),
    "fork": (),
    "ptrace": (16, 1),
    "kill": (1, 0),
    "mmap": (0, 4096, 5, 0x22, -1, 0),  # PROT_READ | PROT_EXEC
    "io_uring_setup": (8, 0),
    "setresuid": (0, 0, 0),
}


@needs_seccomp
@not_sanitized
@pytest.mark.any_layer
def test_forbidden_calls(start, actor, dial):
    """A worker that makes such a call dies, the log names the call, and another worker takes its place."""
    inject.need()
    stage = start({"app": [actor.address]}, config={"workers": len(FORBIDDEN)})
    if not confined(stage.proxy)["seccomp"]:
        pytest.skip("seccomp is not available here")
    found = processes(stage.proxy)
    for number, (call, arguments) in enumerate(FORBIDDEN.items()):
        since = stage.proxy.mark()
        with inject.Inside(found[f"worker {number}"]["pid"]) as inside:
            inside.leave_with(call, *arguments)
        line = stage.proxy.wait_for_log(lambda e: e["message"] == "worker died", since)
        assert (line["worker"], line["signal"], line.get("system_call")) == (number, "SIGSYS", call), line
        stage.proxy.wait_for_log(lambda e, n=number: e["message"] == "worker replaced" and e["worker"] == n, since)
    assert all(entry["seccomp"] == "filter" for name, entry in processes(stage.proxy).items() if name != "master")
    assert serves(dial, stage)["end"]


@not_sanitized
@pytest.mark.any_layer
@pytest.mark.parametrize("landlock", ["auto", "off"])
def test_files_and_ports(start, actor, dial, landlock):
    """Without the list of system calls, Landlock alone keeps a worker from files and from ports that are no server's. With both turned off
    the same calls succeed: so it is Landlock that refuses them."""
    inject.need()
    stage = start({"app": [actor.address]}, config={"workers": 1, "sandbox": {"seccomp": "off", "landlock": landlock}})
    version = confined(stage.proxy)["landlock"]
    if landlock == "auto" and version == 0:
        pytest.skip("Landlock is not available here")
    listening = socket.create_server(("127.0.0.1", 0))
    worker = processes(stage.proxy)["worker 0"]["pid"]
    address = struct.pack("=H", socket.AF_INET) + struct.pack(">H", listening.getsockname()[1]) + socket.inet_aton("127.0.0.1") + bytes(8)
    with inject.Inside(worker) as inside:
        opened = inside.call("openat", -100, inside.bytes(b"/etc/passwd\0"), os.O_RDONLY)
        fd = inside.call("socket", socket.AF_INET, socket.SOCK_STREAM, 0)
        assert fd >= 0
        connected = inside.call("connect", fd, inside.bytes(address), len(address))
        signalled = inside.call("kill", os.getpid(), 0)
    if version >= 1:
        assert opened == -EACCES
    else:
        assert opened >= 0
    assert connected == (-EACCES if version >= 4 else 0)
    assert signalled == -EPERM  # another's process, with Landlock or without
    listening.close()
    assert serves(dial, stage)["end"]


# ---- where parts are refused

# As entries of a container's profile. Of seccomp libseccomp tries both.
REFUSED = {
    "landlock": [{"names": ["landlock_create_ruleset"]}],
    "seccomp": [{"names": ["seccomp"]}, {"names": ["prctl"], "args": [{"index": 0, "value": 22, "op": "SCMP_CMP_EQ"}]}],
    "io_uring": [{"names": ["io_uring_register"], "args": [{"index": 1, "value": 11, "op": "SCMP_CMP_EQ"}]}],
}


@pytest.fixture
def refusing(tmp_path):
    """What goes ahead of a command so that it is refused one part."""
    def make(part):
        profile = tmp_path / "profile.json"
        profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW",
                                       "syscalls": [{"action": "SCMP_ACT_ERRNO", **entry} for entry in REFUSED[part]]}))
        return (sys.executable, os.path.join(HERE, "seccomp.py"), str(profile))

    return make


def is_held(line, part):
    return line[part] not in (False, 0)


@needs_seccomp
@not_sanitized
@pytest.mark.any_layer
@pytest.mark.parametrize("part", REFUSED)
def test_refused(start, actor, dial, refusing, part):
    """In a container that refuses one part, workers serve with the others, and a warning says so."""
    stage = start({"app": [actor.address]}, prefix=refusing(part))
    line = confined(stage.proxy)
    warned = [e for e in stage.proxy.lines if e["message"].startswith("a part of the sandbox is not available")]
    assert part in [e["part"] for e in warned] and all(e["level"] == "warning" and e["cure"] for e in warned), warned
    assert {name for name in REFUSED if not is_held(line, name)} == {e["part"] for e in warned}
    assert serves(dial, stage)["end"]


@needs_seccomp
@not_sanitized
@pytest.mark.any_layer
@pytest.mark.parametrize("part", REFUSED)
def test_required(start, actor, refusing, part):
    """Where that part is required, Ringbolt does not start."""
    stage = start({"app": [actor.address]}, config={"sandbox": {part: "required"}}, prefix=refusing(part), wait=False)
    line = stage.proxy.wait_for_log(lambda e: e["message"] == "a part of the sandbox is required and not available")
    assert line["part"] == part and line["level"] == "error" and line["cure"]
    stage.proxy.finished(1)


# ---- without root

@pytest.mark.any_layer
def test_unprivileged(start, actor, dial, work, certificates):
    """A master that is not root confines its workers all the same, and others of that account can trace none of them."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    folder = os.path.join(work, f"anybody-{os.getpid()}")
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    entry = {}
    for kind, path in zip(("chain", "key"), certificates.ecdsa):
        entry[kind] = shutil.copy(path, os.path.join(folder, kind))
        os.chmod(entry[kind], 0o644)
    prefix = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    if subprocess.run([*prefix, ringbolt.BINARY, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("another user can't run the program where it lies")
    admin = os.path.join(folder, "admin.sock")
    stage = start({"app": [actor.address]}, prefix=prefix, tls={"app": {"certificates": [entry]}}, config={"admin": {"socket": admin}})
    stage.proxy.admin_path = admin
    line, found = confined(stage.proxy), processes(stage.proxy)
    assert len(found) == 3
    assert all(entry["uid"] == 65534 and entry["capabilities"] == [] and entry["no_new_privs"] and entry["dumpable"] is False
               for entry in found.values()), found
    assert (found["worker 0"]["seccomp"] == "filter") is line["seccomp"]
    for entry in found.values():  # what ptrace(2) would be refused, reading the environment is refused by the same rule
        assert subprocess.run([*prefix, "cat", f"/proc/{entry['pid']}/environ"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode != 0
    assert serves(dial, stage)["end"]

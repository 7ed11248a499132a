#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real systemd with Ringbolt's own service files, in namespaces of its own over this machine's files, of which it changes none.

Outside: run(binary, folder) boots it. Inside: this file is a program, the only unit that systemd starts by itself; it does what
an administrator would do and writes a line of JSON for each step.
"""
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SYSTEMD = "/lib/systemd/systemd"
SECONDS = 120
WAIT = 60

# The hierarchy that systemd keeps its services in has one name for all of the kernel: a folder of our own in it becomes the root of ours.
OUTSIDE = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$WORK"
mkdir "$WORK/upper" "$WORK/work" "$WORK/root" "$WORK/cgroup"
mount -t cgroup -o none,name=systemd cgroup "$WORK/cgroup"
mkdir "$WORK/cgroup/$NAME"
echo 0 > "$WORK/cgroup/$NAME/cgroup.procs"
umount "$WORK/cgroup"
exec unshare --cgroup /bin/sh -c "$BOOT"
"""

BOOT = """
set -e
mount -t overlay overlay -o "lowerdir=/,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
cd "$WORK/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p run/share run/source
mount --bind "$SHARE" run/share
mount --bind "$SOURCE" run/source
ip link set lo up
cp "$BINARY" usr/local/bin/ringbolt
sed 's#=/[^ ]*/ringbolt #=/usr/local/bin/ringbolt #' "$UNIT" > etc/systemd/system/ringbolt.service
mkdir -p usr/lib/sysusers.d usr/lib/tmpfiles.d
cp "$SOURCE/conf/systemd/ringbolt.sysusers" usr/lib/sysusers.d/ringbolt.conf
cp "$SOURCE/conf/systemd/ringbolt.tmpfiles" usr/lib/tmpfiles.d/ringbolt.conf
cat > etc/systemd/system/driver.service <<END
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=file:/run/share/driver.out
StandardError=file:/run/share/driver.out
ExecStart=/usr/bin/python3 /run/source/tests/e2e/systemd_machine.py
ExecStopPost=systemctl --no-block exit 0
END
# systemd 256 and 257 want to be asked for this kind of hierarchy; earlier ones ignore the words.
container=other exec chroot . "$SYSTEMD" --system --unit=driver.service --show-status=no \
    systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
"""

CLEAN = """
mount --make-rprivate /
mount -t tmpfs tmpfs "$WORK"
mkdir "$WORK/cgroup"
mount -t cgroup -o none,name=systemd cgroup "$WORK/cgroup"
find "$WORK/cgroup/$NAME" -depth -type d -exec rmdir {} \\;
"""


def unshare(*command, **options):
    return subprocess.run(["unshare", "--mount", "--pid", "--fork", "--net", "--uts", "--ipc", "--kill-child", *command],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)


def why_not():
    """Why there can be no such machine here; None: there can."""
    if os.geteuid() != 0:
        return "needs root to make namespaces"
    if not os.path.exists(SYSTEMD):
        return "systemd is not installed"
    try:
        tried = unshare("/bin/sh", "-ec", "mount --make-rprivate /; mount -t tmpfs tmpfs /mnt; mkdir /mnt/u /mnt/w /mnt/r; "
                        "mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r; "
                        "mount -t cgroup -o none,name=systemd cgroup /mnt/u; unshare --cgroup true", timeout=WAIT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no namespaces: {error}"
    return f"no namespaces with mounts of their own: {tried.stdout.strip()}" if tried.returncode else None


def run(binary, share):
    """Boots the machine and waits for its end. The steps that it took, and everything that it said."""
    work = os.path.join(share, "machine")
    os.mkdir(work)
    environment = {**os.environ, "BOOT": BOOT, "NAME": f"ringbolt-test-{os.getpid()}", "WORK": work, "SHARE": share, "SOURCE": ROOT, "BINARY": binary, "SYSTEMD": SYSTEMD,
                   "UNIT": os.path.join(os.path.dirname(binary), "conf", "ringbolt.service")}
    try:
        said = unshare("/bin/sh", "-c", OUTSIDE, timeout=SECONDS, env=environment).stdout
    except subprocess.TimeoutExpired:
        said = f"did not end within {SECONDS} s"
    said += unshare("/bin/sh", "-c", CLEAN, timeout=WAIT, env=environment).stdout
    steps = {}
    for name in ("driver.out", "steps"):
        path = os.path.join(share, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as f:
                text = f.read()
            said += text
            if name == "steps":
                steps = {step["name"]: step for step in map(json.loads, text.splitlines())}
    return steps, said


# ---- inside

CONFIG = """
workers: 2
shutdown_timeout: 20s
log: {{ level: debug{log} }}
listeners:
  - address: "{address}"
    tls: {{ certificates: [ {{ chain: server.pem, key: server.key }} ] }}
    upstream: app
upstreams:
  - name: app
    servers: [ {{ address: "127.0.0.1:8080" }} ]
"""
FOLDER = "/etc/ringbolt"
PORT = 443


def call(*command, status=0):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WAIT,
                          check=False)
    print("$", *command, "->", done.returncode, done.stdout.strip(), flush=True)
    assert status is None or done.returncode == status, (command, done.returncode, done.stdout)
    return done.stdout


def show(key, unit="ringbolt.service"):
    return call("systemctl", "show", "--value", "-p", key, unit).strip()


def until(condition, what):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def write(path, text, mode=0o644, group=0):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chown(path, 0, group)
    os.chmod(path, mode)


def configure(address=f"*:{PORT}", log=""):
    write(f"{FOLDER}/ringbolt.yaml", CONFIG.format(address=address, log=log), 0o640, pwd.getpwnam("ringbolt-master").pw_gid)


def certify():
    call("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{FOLDER}/server.key", "-out",
         f"{FOLDER}/server.pem", "-days", "2", "-subj", "/CN=localhost")
    os.chown(f"{FOLDER}/server.key", 0, pwd.getpwnam("ringbolt-master").pw_gid)
    os.chmod(f"{FOLDER}/server.key", 0o640)
    os.chmod(f"{FOLDER}/server.pem", 0o644)


def serve_echo():
    listening = socket.create_server(("127.0.0.1", 8080))

    def answer(client):
        with client, contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                client.sendall(data)

    def accept():
        while True:
            threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def connect():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", PORT), WAIT))


def echo(client):
    client.sendall(b"hello")
    assert client.recv(5) == b"hello"


def drop_in(name, text=None):
    folder = "/etc/systemd/system/ringbolt.service.d"
    os.makedirs(folder, exist_ok=True)
    if text is None:
        with open(f"/run/source/conf/systemd/examples/{name}", encoding="utf-8") as f:
            text = f.read()
    write(f"{folder}/{name}", text)
    call("systemctl", "daemon-reload")


def workers():
    with open(f"/proc/{show('MainPID')}/task/{show('MainPID')}/children", encoding="ascii") as f:
        return [int(pid) for pid in f.read().split()]


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def step_accounts():
    call("systemd-sysusers", "/usr/lib/sysusers.d/ringbolt.conf")
    call("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/ringbolt.conf")
    assert pwd.getpwnam("ringbolt").pw_uid != pwd.getpwnam("ringbolt-master").pw_uid != 0
    assert os.stat(FOLDER).st_mode & 0o777 == 0o750


def step_no_configuration():
    """Installed and not configured: started, it does nothing and does not fail."""
    call("systemctl", "start", "ringbolt")
    assert show("ActiveState") == "inactive" and show("ConditionResult") == "no"


def step_start():
    """`systemctl start` returns when it serves, on a port that takes a privilege."""
    certify()
    configure()
    call("systemctl", "start", "ringbolt")
    assert show("ActiveState") == "active" and show("StatusText") == "Serving: 1 listeners, 2 workers"
    with connect() as client:
        echo(client)


def step_privileges():
    master, all_workers = status_of(show("MainPID")), workers()
    uid = {name: str(pwd.getpwnam(name).pw_uid) for name in ("ringbolt", "ringbolt-master")}
    assert master["Uid"].split() == [uid["ringbolt-master"]] * 4 and int(master["CapEff"], 16) & ~0x4e0 == 0, master
    assert len(all_workers) == 2
    for status in map(status_of, all_workers):
        assert status["Uid"].split() == [uid["ringbolt"]] * 4 and status["Groups"].strip() == "", status
        assert all(int(status[key], 16) == 0 for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")), status
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status


def step_commands():
    assert json.loads(call("ringbolt", "reload", "--json"))["ok"]
    call("ringbolt", "certificates", "-c", f"{FOLDER}/ringbolt.yaml")


def step_reload():
    with connect() as client:
        certify()
        call("systemctl", "reload", "ringbolt")
        assert show("ActiveState") == "active"
        echo(client)
    assert show("StatusText") == "Serving: 1 listeners, 2 workers"


def step_reload_fails():
    """What is wrong with a file is the reload's exit status where that is a command."""
    write(f"{FOLDER}/server.key", "nonsense", 0o640, pwd.getpwnam("ringbolt-master").pw_gid)
    call("systemctl", "reload", "ringbolt", status=1 if show("Type") == "notify" else 0)
    assert show("ActiveState") == "active"
    with connect() as client:
        echo(client)
    certify()
    call("systemctl", "reload", "ringbolt")


def step_worker_dies():
    main, before = show("MainPID"), workers()
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(workers()) == 2 and before[0] not in workers(), "it is replaced")
    assert show("MainPID") == main and show("NRestarts") == "0"


def step_upgrade():
    """A new program, then another configuration with another privileged port: the main process stays, and so does a connection."""
    main = show("MainPID")
    program = shutil.which("ringbolt")
    with connect() as client:
        echo(client)
        shutil.copy(program, program + ".new")
        os.rename(program + ".new", program)
        call("ringbolt", "upgrade")
        echo(client)
        second = int(json.loads(call("ringbolt", "status", "--json"))["pid"])
        more = CONFIG.replace("listeners:", """listeners:
  - address: "*:444"
    tls: {{ certificates: [ {{ chain: server.pem, key: server.key }} ] }}
    upstream: app""")
        write(f"{FOLDER}/ringbolt.yaml", more.format(address=f"*:{PORT}", log=""), 0o640, pwd.getpwnam("ringbolt-master").pw_gid)
        call("systemctl", "reload", "ringbolt")
        until(lambda: show("StatusText") == "Serving: 2 listeners, 2 workers", "systemd knows the successor's words")
        echo(client)
        socket.create_connection(("127.0.0.1", 444), WAIT).close()
    third = int(json.loads(call("ringbolt", "status", "--json"))["pid"])
    assert len({int(main), second, third}) == 3
    assert show("MainPID") == main and show("NRestarts") == "0" and show("ActiveState") == "active"
    master = status_of(third)
    assert master["Uid"].split() == [str(pwd.getpwnam("ringbolt-master").pw_uid)] * 4 and int(master["CapEff"], 16) & ~0x4e0 == 0, master
    configure()
    call("systemctl", "restart", "ringbolt")


def step_logrotate():
    path = "/var/log/ringbolt/ringbolt.log"
    configure(log=f", file: {path}")
    call("systemctl", "restart", "ringbolt")
    os.rename(path, path + ".1")
    call("systemctl", "kill", "--kill-who=main", "--signal=USR1", "ringbolt")
    until(lambda: os.path.exists(path) and "opened again" in open(path, encoding="utf-8").read(), "the log is opened again")
    with connect() as client:
        echo(client)
    until(lambda: " connection " in open(path, encoding="utf-8").read(), "the worker writes there")


def step_drain():
    """`systemctl stop` waits for connections; without what we tell systemd, TimeoutStopSec=1s would cut them."""
    drop_in("stop.conf", "[Service]\nTimeoutStopSec=1s\n")
    client = connect()
    echo(client)
    stopping = subprocess.Popen(["systemctl", "stop", "ringbolt"])
    until(lambda: show("StatusText").startswith("Draining: 1"), "it drains")
    time.sleep(2)  # twice as long as the limit that must not count
    echo(client)
    client.close()
    assert stopping.wait(WAIT) == 0
    assert show("ActiveState") == "inactive" and show("Result") == "success"


def step_watchdog():
    """A master that hangs is replaced."""
    drop_in("watchdog.conf", "[Service]\nWatchdogSec=1s\nTimeoutAbortSec=1s\n")
    call("systemctl", "start", "ringbolt")
    os.kill(int(show("MainPID")), signal.SIGSTOP)
    until(lambda: show("NRestarts") == "1" and show("ActiveState") == "active", "it is started again")
    assert workers()
    os.unlink("/etc/systemd/system/ringbolt.service.d/watchdog.conf")
    call("systemctl", "daemon-reload")


def step_bad_configuration():
    """It is not tried again and again."""
    configure(address="nonsense")
    call("systemctl", "restart", "ringbolt", status=1)
    assert show("ActiveState") == "failed" and show("ExecMainStatus") == "3" and show("NRestarts") == "0"
    configure()


def step_keys_of_root():
    os.chmod(f"{FOLDER}/server.key", 0o600)
    call("systemctl", "start", "ringbolt", status=1)
    drop_in("keys.conf")
    call("systemctl", "restart", "ringbolt")
    with connect() as client:
        echo(client)
    for status in map(status_of, workers()):
        assert int(status["CapPrm"], 16) == 0, status


def step_socket():
    """A client that comes while nothing runs starts the service, and one that comes during a restart is served."""
    call("systemctl", "stop", "ringbolt")
    shutil.copy("/run/source/conf/systemd/examples/ringbolt.socket", "/etc/systemd/system/ringbolt.socket")
    call("systemctl", "daemon-reload")
    call("systemctl", "start", "ringbolt.socket")
    with connect() as client:
        echo(client)
    until(lambda: show("ActiveState") == "active", "systemd has read that it is ready")
    restarting = subprocess.Popen(["systemctl", "restart", "ringbolt"])
    while restarting.poll() is None:
        with connect() as client:
            echo(client)
    assert restarting.returncode == 0


def step_transparent():
    drop_in("transparent.conf")
    write(f"{FOLDER}/ringbolt.yaml", CONFIG.format(address=f"*:{PORT}", log="") + "    tcp: { transparent: true }\n")
    call("systemctl", "restart", "ringbolt")
    for status in map(status_of, workers()):
        assert int(status["CapEff"], 16) == 1 << 13, status
    with connect() as client:
        echo(client)


def main():
    serve_echo()
    # A sanitizer's leak check traces its process, which the service may not.
    drop_in("sanitizer.conf", "[Service]\nEnvironment=ASAN_OPTIONS=detect_leaks=0\nStandardError=append:/run/share/log\n")
    with open("/run/share/steps", "w", encoding="utf-8") as steps:
        for name, step in list(globals().items()):
            if not name.startswith("step_"):
                continue
            result = {"name": name[5:], "good": True}
            print("----", name, flush=True)
            try:
                step()
            except Exception:  # pylint: disable=broad-except
                result.update(good=False, why=traceback.format_exc())
                with contextlib.suppress(Exception):
                    result["why"] += call("systemctl", "status", "ringbolt", "--no-pager", status=None)
            steps.write(json.dumps(result) + "\n")
            steps.flush()
            if not result["good"]:
                break  # they build upon each other


if __name__ == "__main__":
    sys.exit(main())

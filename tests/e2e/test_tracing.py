# SPDX-License-Identifier: Apache-2.0
"""The static trace points, watched by bpftrace with the script that ships."""
import os
import re
import shutil
import signal
import subprocess

import pytest

import ringbolt

pytestmark = pytest.mark.any_layer

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "connections.bt")
ATTACHED = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"  # in its environment: bpftrace says the same when it has attached all


def has_points():
    notes = subprocess.run(["readelf", "-n", ringbolt.BINARY], stdout=subprocess.PIPE, text=True, check=False).stdout
    return set(re.findall(r"Provider: ringbolt\s+Name: (\w+)", notes))


def test_points_are_there():
    if not os.path.exists("/usr/include/x86_64-linux-gnu/sys/sdt.h") and not os.path.exists("/usr/include/sys/sdt.h"):
        pytest.skip("built without <sys/sdt.h>")
    assert has_points() == {"accept", "handshake", "offload", "first_byte", "end"}


@pytest.fixture
def bpftrace():
    if not has_points():
        pytest.skip("built without trace points")
    if not shutil.which("bpftrace"):
        pytest.skip("no bpftrace")
    tried = subprocess.run(["bpftrace", "-e", "BEGIN { exit(); }"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip("bpftrace can't be used here: " + tried.stdout.strip().splitlines()[-1])
    return "bpftrace"


def test_script(start, actor, dial, tag, work, bpftrace):
    stage = start({"app": [actor.address]}, config={"workers": 1})
    (worker,) = stage.proxy.workers()
    output = os.path.join(work, f"{tag}.out")

    def seen_so_far():
        with open(output, encoding="utf-8") as f:
            return f.read()

    def exchange(name):
        client = dial(stage["app"])
        client.send_data(f"echo {name}\nhello".encode())
        assert client.read(5) == b"hello"
        client.close_notify()
        client.end()
        client.close()
        return stage.line(client)

    # The probes are attached one after the other: until all are, nothing happens that they could see in part.
    with open(output, "w", encoding="utf-8") as f, \
            subprocess.Popen([bpftrace, "-B", "line", "-p", str(worker), SCRIPT], stdout=f, stderr=subprocess.STDOUT,
                             env={**os.environ, ATTACHED: "1"}) as watcher:
        try:
            def is_attached():
                assert watcher.poll() is None, seen_so_far()
                return ATTACHED in seen_so_far()

            ringbolt.wait_until(is_attached, "bpftrace has attached its probes")
            lines = [exchange(f"{tag}x{i}") for i in range(5)]
            with dial(stage["app"], handshake=False).sock as sock:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                sock.recv(4096)
            lines.append(stage.proxy.connection(end="handshake_failed"))
            watcher.send_signal(signal.SIGINT)
            watcher.wait(ringbolt.WAIT)
        finally:
            if watcher.poll() is None:
                watcher.kill()
    seen = seen_so_far()

    def value(name):
        return int(re.search(rf"^@{re.escape(name)}: (-?\d+)$", seen, re.MULTILINE).group(1))

    def count(name):
        """How many values a histogram holds."""
        buckets = re.search(rf"^@{re.escape(name)}: *\n((?:[\[(].*\n)+)", seen, re.MULTILINE).group(1)
        return sum(int(number) for number in re.findall(r"[\])]\s+(\d+) \|", buckets))

    assert value("accepted") == 6, seen
    assert value("ends[done]") == 5 and value("ends[handshake_failed]") == 1, seen
    assert value("bytes_in") == sum(line["bytes_in"] for line in lines), (lines, seen)
    assert value("bytes_out") == sum(line["bytes_out"] for line in lines), (lines, seen)
    assert count("handshake_us[TLSv1.3, full]") == 5 and count("first_byte_us") == 5 and count("life_ms") == 6, seen

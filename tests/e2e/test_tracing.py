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
TOLD = 'usdt:*:ringbolt:accept { printf("id %d\\n", arg0); }\n'


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
    with open(SCRIPT, encoding="utf-8") as f:
        text = f.read()
    path = os.path.join(work, f"{tag}.bt")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text + TOLD)
    (worker,) = stage.proxy.workers()

    def exchange(name):
        client = dial(stage["app"])
        client.send_data(f"echo {name}\nhello".encode())
        assert client.read(5) == b"hello"
        client.close_notify()
        client.end()
        client.close()
        return stage.line(client)

    output = os.path.join(work, f"{tag}.out")

    def seen_so_far():
        with open(output, encoding="utf-8") as f:
            return f.read()

    with open(output, "w", encoding="utf-8") as f, \
            subprocess.Popen([bpftrace, "-B", "line", "-p", str(worker), path], stdout=f, stderr=subprocess.STDOUT) as watcher:
        try:
            lines = []

            def is_attached():
                assert watcher.poll() is None, seen_so_far()
                lines.append(exchange(f"{tag}{len(lines)}"))
                return "id " in seen_so_far()

            ringbolt.wait_until(is_attached, "bpftrace sees connections")
            lines += [exchange(f"{tag}x{i}") for i in range(5)]
            with dial(stage["app"], handshake=False).sock as sock:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                sock.recv(4096)
            stage.proxy.connection(end="handshake_failed")
            watcher.send_signal(signal.SIGINT)
            watcher.wait(ringbolt.WAIT)
        finally:
            if watcher.poll() is None:
                watcher.kill()
    seen = seen_so_far()
    ids = [int(number) for number in re.findall(r"^id (\d+)$", seen, re.MULTILINE)]
    watched = [line for line in lines if line["id"] in ids]
    assert len(watched) >= 6 and len(ids) == len(watched) + 1, (ids, seen)

    def value(name):
        return int(re.search(rf"^@{re.escape(name)}: (\d+)$", seen, re.MULTILINE).group(1))

    # The points are attached one after the other: a connection that was under way then is seen in part.
    assert value("accepted") == len(ids)
    assert value("ends[done]") in (len(watched), len(watched) + 1) and value("ends[handshake_failed]") == 1
    extra = value("ends[done]") - len(watched)
    each = watched[-1]
    assert value("bytes_out") == sum(line["bytes_out"] for line in watched) + extra * each["bytes_out"]
    assert "@handshake_us[TLSv1.3, full]" in seen and "@first_byte_us" in seen and "@life_ms" in seen

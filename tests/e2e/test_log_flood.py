# SPDX-License-Identifier: Apache-2.0
"""Who fails fills no log: `log.failures_per_second` and `log.sample`."""
import json
import os
import socket
import subprocess

import pytest

import ringbolt

pytestmark = pytest.mark.any_layer

FAILURES = 80


def fail_often(address):
    for _ in range(FAILURES):
        with socket.create_connection(address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass


def test_failures_are_counted_not_told(start, actor, dial, tag):
    stage = start({"app": [actor.address]}, config={"workers": 1, "log": {"failures_per_second": 3}})
    since = stage.proxy.mark()
    fail_often(stage["app"].address)
    told, counted, summaries = 0, 0, 0

    def look(entry):
        nonlocal told, counted, summaries
        if entry["message"] == "connection":
            assert entry["end"] == "handshake_failed" and entry["detail"], entry
            told += 1
        elif entry["message"] == "connections without a line":
            assert entry["level"] == "warning" and entry["handshake_failed"] == entry["count"], entry
            counted += entry["count"]
            summaries += 1
        return told + counted >= FAILURES

    stage.proxy.wait_for_log(look, since)
    assert told + counted == FAILURES and 3 <= told <= 3 * (summaries + 1), (told, counted, summaries)

    # Whoever shakes hands has a line, whatever the others do.
    client = dial(stage["app"])
    client.send_data(f"echo {tag}\nhello".encode())
    assert client.read(5) == b"hello"
    client.abort()
    assert stage.line(client)["end"] == "client_reset"


def test_no_limit(start, actor):
    stage = start({"app": [actor.address]}, config={"workers": 1, "log": {"failures_per_second": 0}})
    since = stage.proxy.mark()
    fail_often(stage["app"].address)
    assert len(stage.proxy.connections(FAILURES, since)) == FAILURES


def test_the_rest_is_told_at_the_end(start, actor):
    """One that stops says what it has counted."""
    stage = start({"app": [actor.address]}, config={"workers": 1, "log": {"failures_per_second": 1}})
    since = stage.proxy.mark()
    fail_often(stage["app"].address)
    stage.proxy.stop()
    lines = stage.proxy.lines[since:]
    told = sum(line["message"] == "connection" for line in lines)
    counted = sum(line["count"] for line in lines if line["message"] == "connections without a line")
    assert told + counted == FAILURES and counted > 0, (told, counted)


def test_sample(start, actor, dial, tag):
    """Of those that end well one in three has a line, and says so; one that fails always."""
    stage = start({"app": [actor.address]}, config={"workers": 1, "log": {"sample": 3}})
    since = stage.proxy.mark()
    for i in range(7):
        client = dial(stage["app"])
        client.send_data(f"echo {tag}{i}\nhello".encode())
        assert client.read(5) == b"hello"
        client.close_notify()
        client.end()
        client.close()
    client = dial(stage["app"])
    client.abort()
    last = stage.line(client)
    assert last["end"] == "client_reset" and "sample" not in last
    stage.proxy.connections(4, since)
    stage.proxy.stop()
    lines = [line for line in stage.proxy.lines[since:] if line["message"] == "connection"]
    assert sorted(line["end"] for line in lines) == ["client_reset", "done", "done", "done"], lines
    assert all(line["sample"] == 3 for line in lines if line["end"] == "done"), lines


def test_full_disk(start, actor, dial, tag, work):
    """The disk of `log.file` is full: streams go on, and when there is room again the log goes on with a line of its own, and says what is
    missing. Not one line is mixed with another."""
    folder = os.path.join(work, f"disk-{tag}")
    os.mkdir(folder)
    mount = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             'mount -t tmpfs -o size=64k none "$0" && exec "$@"', folder]
    tried = subprocess.run([*mount, "true"], stderr=subprocess.PIPE, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip("no file system of one's own can be mounted here: " + tried.stderr.strip())
    stage = start({"app": [actor.address]}, prefix=mount, wait=False,
                  config={"workers": 1, "log": {"format": "json", "file": os.path.join(folder, "log"), "failures_per_second": 0}})
    log = f"/proc/{stage.proxy.process.pid}/root{folder}/log"

    def is_ready():
        assert stage.proxy.process.poll() is None, stage.proxy.log_text()
        return ringbolt.call("reload", "-s", stage.proxy.admin_path).returncode == 0

    ringbolt.wait_until(is_ready, "it serves")
    room = os.statvfs(os.path.dirname(log))
    while os.path.getsize(log) < 64 << 10:
        fail_often(stage["app"].address)
    assert os.statvfs(os.path.dirname(log)).f_bfree == 0 < room.f_blocks
    fail_often(stage["app"].address)
    client = dial(stage["app"])
    client.send_data(f"echo {tag}\nhello".encode())
    assert client.read(5) == b"hello"
    with open(log, encoding="utf-8") as f:
        before = f.read()
    os.truncate(log, 0)
    client.abort()

    def text():
        with open(log, encoding="utf-8") as f:
            return f.read()

    ringbolt.wait_until(lambda: '"end":"client_reset"' in text(), "the log goes on")
    lines = [json.loads(line) for line in text().splitlines() if line]
    lost = [line["count"] for line in lines if line["message"] == "log lines lost"]
    assert lost and lost[0] >= FAILURES - 1 and lines[-1]["end"] == "client_reset", lines
    assert text().startswith("\n") or before.endswith("\n"), "the line that was cut must not run into the next one"

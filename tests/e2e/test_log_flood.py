# SPDX-License-Identifier: Apache-2.0
"""Who fails fills no log: `log.failures_per_second` and `log.sample`."""
import socket

import pytest

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

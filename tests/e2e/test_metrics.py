# SPDX-License-Identifier: Apache-2.0
"""What is counted, and how it is served: real traffic, then exact numbers."""
import json
import os
import random
import re
import signal
import socket
import time

import pytest

import clients
import metrics
import rawtls
import ringbolt

any_layer = pytest.mark.any_layer
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture
def watch(start):
    """A stage of this test's own, with its metrics."""
    def make(upstreams, config=None, **options):
        return metrics.Watched(start(upstreams, config={**(config or {}), "admin": {"http": "127.0.0.1:0"}}, **options))
    return make


def echo(client, text=b"hello"):
    client.send_data(text)
    assert client.read(len(text)) == text


def greet(client):
    client.send_data(b"echo x\n")
    echo(client)
    return client


def leave(stage, client):
    client.close_notify()
    assert client.end() == "close_notify"
    return stage.line(client)


# ---- exact numbers

LAYER_LABELS = {  # of a layer: (layer, reason) of what the client sends us, and of what we send it
    "user": {"receive": ("user", "off"), "transmit": ("user", "off")},
    "tx": {"receive": ("user", "off"), "transmit": ("kernel", "")},
    "kernel": {"receive": ("kernel", ""), "transmit": ("kernel", "")},
    "late": {"receive": ("user", "not_yet"), "transmit": ("user", "not_yet")},
}


def test_connections_bytes_and_records(watch, actor, dial, layer):
    watched = watch({"app": [actor.address]}, layer=layer)
    stage = watched.stage
    sent = 0
    for number, (version, cipher) in enumerate((v, c) for v in ("1.2", "1.3") for c in rawtls.CIPHERS):
        client = greet(dial(stage["app"], version=version, cipher=cipher))
        data = os.urandom(1000 * (number + 1))
        echo(client, data)
        sent += 7 + 5 + len(data)
        assert leave(stage, client)["end"] == "done"
    found = watched.metrics()
    assert found.get("ringbolt_connections_total", listener="app") == 6
    assert found.get("ringbolt_connections", listener="app") == 0
    assert found.get("ringbolt_bytes_total", listener="app", direction="in") == sent
    assert found.get("ringbolt_bytes_total", listener="app", direction="out") == sent - 6 * 7
    assert found.others("ringbolt_connections_ended_total") == {("app", "done"): 6}
    assert found.others("ringbolt_handshakes_total", "listener", "resumed") == {
        ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2"): 1, ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2"): 1,
        ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLSv1.2"): 1, ("TLS_AES_128_GCM_SHA256", "TLSv1.3"): 1,
        ("TLS_AES_256_GCM_SHA384", "TLSv1.3"): 1, ("TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3"): 1}
    assert found.sum("ringbolt_handshakes_total", resumed="false") == 6
    assert found.get("ringbolt_handshake_seconds_count", listener="app", resumed="false") == 6
    assert found.get("ringbolt_connection_duration_seconds_count", listener="app") == 6
    assert found.get("ringbolt_upstream_connect_seconds_count", upstream="app") == 6
    server = {"upstream": "app", "server": actor.address}
    assert found.get("ringbolt_server_connects_total", **server) == 6
    assert found.get("ringbolt_server_bytes_total", direction="in", **server) == sent
    assert found.get("ringbolt_server_bytes_total", direction="out", **server) == sent - 6 * 7
    assert found.sum("ringbolt_server_connections_failed_total", **server) == 0
    assert found.others("ringbolt_record_layer_connections_total") == {
        (direction, of_layer, reason, "client"): 6 for direction, (of_layer, reason) in LAYER_LABELS[layer].items()}


def test_resumed(watch, actor, certificates):
    watched = watch({"app": [actor.address]})
    context, session = clients.python_context(certificates.ca, "1.3"), None
    for _ in range(4):
        with clients.python_connect(watched.stage["app"], context, session) as client:
            client.sendall(b"echo x\nhello")
            assert client.recv(100) == b"hello"
            session = client.session
    found = watched.until(lambda m: m.sum("ringbolt_connections_ended_total") == 4, "they have ended")
    assert found.sum("ringbolt_handshakes_total", resumed="true") == 3
    assert found.sum("ringbolt_handshakes_total", resumed="false") == 1
    assert found.get("ringbolt_handshake_seconds_count", listener="app", resumed="true") == 3
    totals = watched.status()["totals"]
    assert (totals["handshakes"], totals["resumed"], totals["accepted"]) == (4, 3, 4)


def test_a_long_connection_shows_while_it_lives(watch, actor, dial, tag):
    watched = watch({"app": [actor.address]})
    client = greet(dial(watched.stage["app"]))
    echo(client, bytes(100000))
    found = watched.until(lambda m: m.sum("ringbolt_bytes_total", direction="out") == 100005, "its bytes are counted")
    assert found.get("ringbolt_connections", listener="app") == 1
    assert found.sum("ringbolt_worker_connections") == 1
    assert found.get("ringbolt_server_connections", upstream="app", server=actor.address) == 1
    assert found.sum("ringbolt_connections_ended_total") == 0
    assert found.sum("ringbolt_handshakes_total") == 1
    assert found.sum("ringbolt_server_bytes_total", direction="in") == 100012


def test_key_updates(watch, actor, dial):
    watched = watch({"app": [actor.address]})
    client = greet(dial(watched.stage["app"]))
    for index in range(5):
        client.send(client.key_update(index == 4))
        echo(client)
    client.close_notify()
    assert client.end() == "close_notify"
    watched.stage.line(client)
    found = watched.metrics()
    assert found.others("ringbolt_key_updates_received_total") == {("client",): 5}
    assert found.others("ringbolt_key_updates_sent_total") == {("client",): 1}


# ---- failures

def fail_handshake(stage, dial):
    client = dial(stage["app"], handshake=False)
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.event()[0] in ("alert", "eof")
    return client, "handshake_failed"


def truncate(stage, dial):
    client = greet(dial(stage["app"]))
    return client, "client_truncated"


def break_record(stage, dial):
    client = greet(dial(stage["app"]))
    client.send(client.seal_broken(rawtls.DATA, b"x" * 100))
    assert client.stream_end()
    return client, "protocol_error"


def alert(stage, dial):
    client = greet(dial(stage["app"]))
    client.send(client.alert("bad_certificate"))
    return client, "client_alert"


@any_layer
def test_ends_by_reason(watch, actor, dial):
    watched = watch({"app": [actor.address]})
    expected = {}
    for times, end in ((1, fail_handshake), (2, truncate), (3, break_record), (4, alert)):
        for _ in range(times):
            client, reason = end(watched.stage, dial)
            line = watched.stage.line_at_end(client)
            assert line["end"] == reason, line
            expected["app", reason] = times
    found = watched.metrics()
    assert found.others("ringbolt_connections_ended_total") == expected
    assert found.get("ringbolt_connections_total", listener="app") == 10
    assert found.sum("ringbolt_handshakes_total") == 9
    assert found.sum("ringbolt_server_connections_failed_total") == 0


@any_layer
def test_what_servers_do_wrong(watch, actor, dial, tag):
    refusing = ringbolt.Port()
    watched = watch({"app": [actor.address], "none": [refusing.text]})
    client = dial(watched.stage["app"])
    client.send_data(f"reset {tag} 1000\n".encode())
    client.read(1000)
    actor.session(tag).release()
    client.stream_end()
    assert watched.stage.line_at_end(client)["end"] == "server_reset"
    client = dial(watched.stage["none"])
    client.stream_end()
    assert watched.stage.line_at_end(client)["end"] == "server_unreachable"
    found = watched.metrics()
    assert found.others("ringbolt_server_connections_failed_total") == {("server_reset", actor.address, "app"): 1}
    assert found.others("ringbolt_upstream_connections_failed_total") == {("server_unreachable", "none"): 1}
    assert found.others("ringbolt_server_connect_failures_total") == {(refusing.text, "none"): 1}
    assert found.others("ringbolt_connections_ended_total") == {("app", "server_reset"): 1, ("none", "server_unreachable"): 1}
    refusing.close()


@any_layer
def test_drops_by_limit(watch, actor, dial):
    watched = watch({"app": [actor.address]}, config={"workers": 1, "limits": {"connections_per_client": 2, "connections": 3}})
    held = [greet(dial(watched.stage["app"])) for _ in range(2)]
    for _ in range(4):
        try:
            client = dial(watched.stage["app"], handshake=False)
            client.send(client.hello())
            assert client.event()[0] == "reset"
        except ConnectionError:
            pass
    found = watched.metrics()
    assert found.others("ringbolt_clients_refused_total") == {("connections_per_client", "app"): 4}
    assert found.get("ringbolt_connections_total", listener="app") == len(held)
    assert found.sum("ringbolt_accept_pauses_total") == 0


@any_layer
def test_waiting_at_a_limit(watch, actor, dial):
    watched = watch({"app": [actor.address]}, config={"workers": 1, "limits": {"connections": 1}})
    greet(dial(watched.stage["app"]))
    waiting = socket.create_connection(watched.stage["app"].address, ringbolt.WAIT)
    found = watched.until(lambda m: m.sum("ringbolt_accept_pauses_total") > 0, "somebody waits")
    assert set(found.others("ringbolt_accept_pauses_total")) == {("connections", "app")}
    waiting.close()


# ---- what outlasts what

@any_layer
def test_a_dead_worker_and_a_reload(watch, actor, dial):
    watched = watch({"app": [actor.address]})
    stage = watched.stage
    for _ in range(5):
        leave(stage, greet(dial(stage["app"])))
    held = [greet(dial(stage["app"])) for _ in range(6)]
    before = watched.until(lambda m: m.get("ringbolt_bytes_total", listener="app", direction="in") == 11 * 12, "all is counted")
    workers = watched.status()["workers"]
    assert sum(worker["connections"] for worker in workers) == len(held)
    lost = workers[0]["connections"]
    os.kill(workers[0]["pid"], signal.SIGKILL)
    stage.proxy.wait_for_log(lambda e: e["message"] == "worker replaced")
    found = watched.until(lambda m: m.get("ringbolt_worker_starts_total", worker="0") == 2, "the replacement is counted")
    assert found.get("ringbolt_connections_ended_total", listener="app", reason="done") == 5
    assert found.get("ringbolt_connections_ended_total", listener="app", reason="worker_died") == lost
    assert found.get("ringbolt_connections", listener="app") == 6 - lost
    assert found.get("ringbolt_connections_total", listener="app") == 11
    for name in "ringbolt_handshakes_total", "ringbolt_bytes_total", "ringbolt_handshake_seconds_count":
        assert found.sum(name) == before.sum(name)
    assert found.get("ringbolt_worker_starts_total", worker="1") == 1
    stage.proxy.admin("reload", "--force")
    for _ in range(3):
        leave(stage, greet(dial(stage["app"])))
    found = watched.until(lambda m: m.get("ringbolt_connections_total", listener="app") == 14, "they are counted")
    assert found.get("ringbolt_connections_ended_total", listener="app", reason="done") == 8
    assert found.sum("ringbolt_handshakes_total") == 14


@any_layer
def test_the_process_that_serves_it_dies(watch, actor, dial):
    watched = watch({"app": [actor.address]})
    leave(watched.stage, greet(dial(watched.stage["app"])))
    client = greet(dial(watched.stage["app"]))
    watched.metrics()
    pid = watched.http_pid()
    os.kill(pid, signal.SIGKILL)
    watched.stage.proxy.wait_for_log(lambda e: e["message"] == "the process that serves metrics died" and e["http_pid"] == pid)
    found = watched.metrics()  # it waits in the queue of the socket until there is another
    assert found.get("ringbolt_connections_total", listener="app") == 2
    assert watched.http_pid() not in (None, pid)
    echo(client)


# ---- health

@any_layer
def test_health_and_drain(watch, actor, dial):
    watched = watch({"app": [actor.address]})
    assert watched.fetch("/healthz")[::2] == (200, b"ok\n")
    assert watched.fetch("/readyz")[::2] == (200, b"ready\n")
    assert watched.metrics().get("ringbolt_ready") == 1
    client = greet(dial(watched.stage["app"]))
    watched.stage.proxy.send_signal(signal.SIGTERM)
    watched.stage.proxy.wait_for_log(lambda e: e["message"] == "draining")
    assert watched.fetch("/healthz")[0] == 200
    assert watched.fetch("/readyz")[::2] == (503, b"draining\n")
    found = watched.until(lambda m: m.get("ringbolt_ready") == 0, "it is known there too")
    assert found.get("ringbolt_connections", listener="app") == 1
    assert watched.status()["state"] == "draining"
    echo(client)
    client.close_notify()
    client.end()
    watched.stage.proxy.finished()
    with pytest.raises(ConnectionRefusedError):
        watched.fetch("/healthz")


@any_layer
def test_a_worker_is_missing(watch, actor):
    watched = watch({"app": [actor.address]}, config={"workers": 1})
    worker = watched.status()["workers"][0]["pid"]
    os.kill(worker, signal.SIGSTOP)  # nobody can tell
    assert watched.fetch("/readyz")[0] == 200
    os.kill(worker, signal.SIGKILL)
    ringbolt.wait_until(lambda: watched.status()["workers"][0]["starts"] == 2 and watched.fetch("/readyz")[0] == 200, "it is replaced")


@any_layer
def test_the_master_hangs(watch, actor):
    watched = watch({"app": [actor.address]})
    watched.stage.proxy.send_signal(signal.SIGSTOP)
    try:
        for path in "/healthz", "/metrics":
            assert watched.fetch(path)[::2] == (503, b"the master does not answer\n")
    finally:
        watched.stage.proxy.send_signal(signal.SIGCONT)
    ringbolt.wait_until(lambda: watched.fetch("/healthz")[0] == 200, "it answers again")
    watched.metrics()
    assert watched.status()["ok"]


# ---- the document, and what is made of it

@any_layer
def test_status_is_the_same_everywhere(watch, actor, dial):
    watched = watch({"app": [actor.address]})
    leave(watched.stage, greet(dial(watched.stage["app"])))
    server = {"upstream": "app", "server": actor.address}
    watched.until(lambda m: m.get("ringbolt_server_connections", **server) == 0, "its place at the server is free")
    served, told = watched.status(), watched.stage.proxy.admin_json("status")
    for document in served, told:
        for key in "time", "time_s", "uptime_s", "started", "started_s", "workers", "master":
            assert document.pop(key)
    assert served == told
    text = watched.stage.proxy.admin("status")
    assert re.search(r"^app +127\.0\.0\.1:\d+ +0 +1 +0 +1 +0 +12 +5$", text, re.M), text
    assert "ended: done 1\n" in text and "certificates: 2, the first ends 20" in text, text


@any_layer
def test_documented(watch, actor):
    """Every metric is in docs/metrics.md with its type, and every one that is there is served."""
    with open(os.path.join(ROOT, "docs", "metrics.md"), encoding="utf-8") as f:
        documented = dict(re.findall(r"^\| `(ringbolt_\w+)` \| (\w+) \|", f.read(), re.M))
    found = watch({"app": [actor.address]}).metrics()
    assert found.types == documented


@any_layer
def test_names_of_all_kinds(watch, actor):
    """What a configuration may call things is escaped, and read back as it is."""
    nasty = 'a"b\\c}{,= ä \u2028'
    watched = watch({nasty: [actor.address]})
    found = watched.metrics()
    assert found.get("ringbolt_connections", listener=nasty) == 0
    assert watched.status()["listeners"][0]["name"] == nasty
    assert found.get("ringbolt_certificate_not_after_seconds", **labels_of(found, "ringbolt_certificate_not_after_seconds")) > time.time()


def labels_of(found, name):
    return dict(next(labels for each, labels in found.series if each == name))


@any_layer
def test_requests(watch, actor):
    watched = watch({"app": [actor.address]})
    port = watched.address[1]
    assert watched.fetch("/nothing")[0] == 404
    assert watched.fetch("/metrics?x=1")[0] == 200
    status, headers, _ = watched.fetch("/metrics", method="POST", body=b"x" * 100000)
    assert status == 405 and headers["Allow"] == "GET, HEAD"
    status, headers, body = watched.fetch("/status.json", method="HEAD")
    assert status == 200 and int(headers["Content-Length"]) > 1000 and body == b""
    for host, expected in (("evil.example", 421), (f"evil.example:{port}", 421), ("localhost", 200), (f"LOCALHOST:{port}", 200),
                           (f"127.0.0.1:{port}", 200), ("192.0.2.1", 200), ("[::1]", 200), (f"[::1]:{port}", 200), ("127.0.0.1.evil.example", 421),
                           ("x" * 200, 421), ("[", 421), ("", 421)):
        assert watched.fetch("/healthz", headers={"Host": host})[0] == expected, host


@any_layer
def test_an_address_that_is_taken(start, work, actor, certificates):
    port = ringbolt.Port()
    port.socket.listen()
    stage = start({"app": [actor.address]}, config={"admin": {"http": port.text}}, wait=False)
    line = stage.proxy.wait_for_log(lambda e: e["message"] == "cannot listen for metrics")
    assert line["address"] == port.text and "choose another port" in line["cure"]
    stage.proxy.finished(1)
    port.close()


@any_layer
def test_check_warns(work, start, actor, certificates):
    stage = start({"app": [actor.address]})
    path = os.path.join(work, "warned.yaml")
    ringbolt.write_config(path, {**stage.config, "admin": {"http": "*:9464"}})
    done = ringbolt.call("check", "-c", path)
    assert done.returncode == 0 and "warning: `http` `*:9464`" in done.stderr, done


# ---- connections

def test_connections(watch, actor, dial, layer):
    watched = watch({"app": [actor.address]}, layer=layer)
    stage = watched.stage
    assert stage.proxy.admin_json("connections")["connections"] == []
    client = greet(dial(stage["app"], version="1.3", cipher="AES-256-GCM"))
    silent = dial(stage["app"], handshake=False)
    # It may still be waiting to be accepted, and what goes back may not be counted yet.
    def both_known():
        listed = stage.proxy.admin_json("connections")["connections"]
        return len(listed) == 2 and any(each["bytes_out"] == 5 for each in listed)
    ringbolt.wait_until(both_known, "both are listed")
    answer = stage.proxy.admin_json("connections")
    assert answer["ok"] and answer["live"] == 2 and not answer["more"]
    by_client = {each["client"]: each for each in answer["connections"]}
    shown = by_client["%s:%d" % client.name[:2]]
    assert shown.pop("worker") in (0, 1) and shown.pop("id") >= 0
    assert shown.pop("age_s") >= shown.pop("idle_s") >= 0
    records = {name: LAYER_LABELS[layer][direction][0] for name, direction in (("record_tx", "transmit"), ("record_rx", "receive"))}
    assert shown == {"client": "%s:%d" % client.name[:2], "listener": "app", "state": "relay", "bytes_in": 12, "bytes_out": 5,
                     "sni": "localhost", "alpn": None, "tls": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "resumed": False, **records,
                     "upstream": "app", "server": actor.address, "server_tls": None, "server_record_tx": None, "server_record_rx": None}
    shown = by_client["%s:%d" % silent.name[:2]]
    assert (shown["state"], shown["upstream"], shown["server"], shown["sni"], shown["tls"]) == ("handshake", None, None, None, None)
    text = stage.proxy.admin("connections")
    assert re.search(r"^ +[01] +\d+ +127\.0\.0\.1:\d+ +app +relay +\d.* localhost +TLSv1\.3 +%s/%s +%s +12 +5$" % (
        records["record_tx"], records["record_rx"], re.escape(actor.address)), text, re.M), text
    for limit in ("0", "10001", "x"):
        stage.proxy.admin("connections", "--limit", limit, status=2)


@any_layer
def test_hundreds_of_connections(watch, actor, dial):
    """Several pages of each worker, while connections come and go: each one that stays is listed exactly once."""
    watched = watch({"app": [actor.address]})
    stage = watched.stage
    held = []
    for _ in range(700):
        sock = socket.create_connection(stage["app"].address, ringbolt.WAIT)
        held.append(sock)
    watched.until(lambda m: m.get("ringbolt_connections", listener="app") == 700, "all are accepted")
    names = {"%s:%d" % sock.getsockname() for sock in held}
    for _ in range(5):
        gone = [held.pop(0) for _ in range(10)]
        names -= {"%s:%d" % sock.getsockname() for sock in gone}
        for sock in gone:
            sock.close()
        answer = stage.proxy.admin_json("connections")
        listed = [each["client"] for each in answer["connections"]]
        assert len(listed) == len(set(listed)) and names <= set(listed) and not answer["more"]
    answer = stage.proxy.admin_json("connections", "--limit", "300")
    assert len(answer["connections"]) == 300 and answer["more"] and answer["live"] >= 650
    assert "300 of about " in stage.proxy.admin("connections", "--limit", "300")
    for sock in held:
        sock.close()


# ---- hostile clients

def hostile_bytes(chance):
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 3000))
    if kind == 1:
        return b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * chance.randrange(5000)
    if kind == 2:
        return b"GET /" + b"a" * chance.randrange(40000) + b" HTTP/1.1\r\n\r\n"
    if kind == 3:
        return b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chance.randbytes(100)
    if kind == 4:
        return b"GET /metrics HTTP/1.1\r\nContent-Length: " + str(chance.randrange(-5, 1 << 70)).encode() + b"\r\n\r\n"
    whole = bytearray(b"GET /status.json HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n")
    for _ in range(chance.randrange(1, 8)):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    return bytes(whole)


@any_layer
def test_malformed_requests(watch, actor, dial):
    watched = watch({"app": [actor.address]})
    client = greet(dial(watched.stage["app"]))
    watched.metrics()
    pid, chance = watched.http_pid(), random.Random(8)
    for _ in range(300):
        with socket.create_connection(watched.address, ringbolt.WAIT) as sock:
            try:
                sock.sendall(hostile_bytes(chance))
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            except OSError:
                pass
    watched.metrics()
    assert watched.http_pid() == pid
    echo(client)


@any_layer
def test_a_thousand_connections(watch, actor, dial):
    """They fill what it takes at once and hold what they have: the proxy does not notice, and the next one is served when they are gone."""
    watched = watch({"app": [actor.address]})
    watched.metrics()
    pid = watched.http_pid()
    crowd = []
    for number in range(1000):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(watched.address)
        crowd.append(sock)
        if number < 200:
            try:
                sock.send(b"GET /metrics HTTP/1.1\r\nHo")
            except OSError:
                pass
    clients_served = [greet(dial(watched.stage["app"])) for _ in range(5)]
    assert watched.stage.proxy.admin_json("status")["totals"]["connections"] == 5  # the master isn't held up either
    for sock in crowd:
        sock.close()
    ringbolt.wait_until(lambda: watched.fetch("/healthz")[0] == 200, "it serves again")
    assert watched.http_pid() == pid
    for client in clients_served:
        echo(client)

# SPDX-License-Identifier: Apache-2.0
"""Start, drain, stop, and what must be survived: dead workers, no descriptors left, limits reached, slow peers by the dozen."""
import getpass
import os
import resource
import signal
import socket
import subprocess
import time

import pytest

import backends
import rawtls
import ringbolt


def echo(client, text=b"hello"):
    client.send_data(text)
    assert client.read(len(text)) == text


def echoing(dial, listener, **options):
    client = dial(listener, **options)
    client.send_data(b"echo x\n")
    echo(client)
    return client


def test_ready_names_every_address(start, actor):
    stage = start({"one": [actor.address], "two": [actor.address]})
    text = str(stage.proxy.ready)
    assert all(listener.port.text in text for listener in stage.listeners.values())


@pytest.mark.parametrize("form", ["text", "json"])
def test_log_formats_say_the_same(start, actor, dial, form):
    stage = start({"app": [actor.address]}, config={"log": {"format": form}})
    client = echoing(dial, stage["app"], sni="localhost")
    client.close_notify()
    assert client.end() == "close_notify"
    line = stage.proxy.connection()
    host, port = client.name
    assert line == {**line, "client": f"{host}:{port}", "listener": "app", "sni": "localhost", "tls": "TLSv1.3",
                    "cipher": "TLS_AES_128_GCM_SHA256", "resumed": False, "record_tx": "user", "record_tx_why": "off",
                    "record_rx": "user", "record_rx_why": "off", "upstream": "app", "server": actor.address,
                    "bytes_in": len(b"echo x\nhello"), "bytes_out": len(b"hello"), "end": "done", "level": "info"}
    assert isinstance(line["id"], int) and line["handshake_ms"] > 0 and line["duration_ms"] >= line["handshake_ms"]
    assert "alert" not in line and "detail" not in line


def test_access_log_can_be_off(start, actor, dial):
    stage = start({"app": [actor.address]}, config={"log": {"format": "json", "access": False}})
    client = echoing(dial, stage["app"])
    client.close_notify()
    assert client.end() == "close_notify"
    stage.proxy.stop()
    assert not [line for line in stage.proxy.lines if line["message"] == "connection"]


# ---- the end

def test_term_drains(start, actor, dial, layer):
    """TERM: nobody new, who is there may finish, then exit status 0."""
    stage = start({"app": [actor.address]}, layer=layer)
    client = echoing(dial, stage["app"])
    stage.proxy.send_signal(signal.SIGTERM)
    stage.proxy.wait_for_log(lambda e: e["message"] == "draining")

    def is_refused():
        try:
            socket.create_connection(stage["app"].address, ringbolt.WAIT).close()
            return False
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            return False  # it met the socket in the moment that it was closed

    ringbolt.wait_until(is_refused, "new clients are refused")
    echo(client, b"x" * 100_000)
    client.close_notify()
    assert client.end() == "close_notify"
    stage.proxy.finished(0)
    assert stage.line(client)["end"] == "done"


def test_drain_has_a_limit(start, actor, dial, tag):
    """After shutdown_timeout connections are cut, and the exit status says so."""
    stage = start({"app": [actor.address]}, config={"shutdown_timeout": "300ms"})
    client = dial(stage["app"])
    client.send_data(f"sink {tag}\nhello".encode())
    session = actor.session(tag)
    stage.proxy.send_signal(signal.SIGTERM)
    assert client.end() != "close_notify"
    stage.proxy.finished(1)
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset"
    assert stage.proxy.connection()["end"] == "shutdown"


def test_second_signal_ends_a_drain(start, actor, dial):
    stage = start({"app": [actor.address]})
    client = echoing(dial, stage["app"])
    stage.proxy.send_signal(signal.SIGTERM)
    stage.proxy.wait_for_log(lambda e: e["message"] == "draining")
    stage.proxy.send_signal(signal.SIGINT)
    assert client.end() != "close_notify"
    stage.proxy.finished(0 if stage.proxy.process.wait(ringbolt.WAIT) == 0 else 1)


def test_int_stops(start, actor, dial, layer, tag):
    """INT: at once, whatever is live; nobody takes it for a clean end."""
    stage = start({"app": [actor.address]}, layer=layer)
    client = dial(stage["app"])
    client.send_data(f"sink {tag}\nhello".encode())
    session = actor.session(tag)
    busy = dial(stage["app"])
    busy.send_data(f"send {tag}-busy 100000000\n".encode())
    silent = dial(stage["app"], handshake=False)
    stage.proxy.stop(signal.SIGINT)
    assert client.end() != "close_notify" and busy.end() != "close_notify"
    assert silent.stream_end() in ("eof", "reset")
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset"
    assert {line["end"] for line in stage.proxy.lines if line["message"] == "connection"} == {"shutdown"}


def test_int_stops_what_waits_for_a_server(start, actor, dial, layer, tag):
    """A connection whose client is gone waits for its server to take the rest. INT ends that wait, too."""
    stage = start({"app": [actor.address]}, config={"workers": 1}, layer=layer)
    client = dial(stage["app"])
    client.send_data(f"stall {tag}\n".encode() + bytes(300_000))  # more than the server's kernel takes
    session = actor.session(tag)
    echoing(dial, stage["app"])  # comes after the data
    client.abort()
    echoing(dial, stage["app"])  # comes after the reset
    stage.proxy.stop(signal.SIGINT)
    session.release()
    assert stage.line(client)["end"] == "client_reset"
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset"


def test_no_process_is_left(start, actor):
    stage = start({"app": [actor.address]}, config={"workers": 3})
    workers = stage.proxy.workers()
    assert len(workers) == 3
    stage.proxy.stop()
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]


def test_workers_end_with_their_master(start, actor, dial):
    """Also when the master had no time to tell them."""
    stage = start({"app": [actor.address]})
    client = echoing(dial, stage["app"])
    workers = stage.proxy.workers()
    stage.proxy.send_signal(signal.SIGKILL)
    stage.proxy.process.wait()
    assert client.end() != "close_notify"
    ringbolt.wait_until(lambda: not [p for p in workers if p in ringbolt.process_tree(1) and os.path.exists(f"/proc/{p}/exe")],
                        "the workers have ended")


def test_dead_worker_is_replaced(start, actor, dial):
    stage = start({"app": [actor.address]}, config={"workers": 2})
    for _ in range(3):
        before = stage.proxy.workers()
        since = stage.proxy.mark()
        os.kill(before[0], signal.SIGKILL)
        stage.proxy.wait_for_log(lambda e: e["message"] == "worker replaced", since)
        ringbolt.wait_until(lambda: len(stage.proxy.workers()) == 2, "there are two workers again")
        for _ in range(8):
            echoing(dial, stage["app"])


def test_workers_are_not_root(start, actor):
    if os.geteuid() != 0:
        pytest.skip("only root can start workers as somebody else")
    stage = start({"app": [actor.address]})
    for pid in stage.proxy.workers():
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split()
        assert status["CapEff"] == "0000000000000000" and not status.get("Groups", "").split()


# ---- limits

def test_limit_of_connections(start, actor, dial):
    """Beyond it clients wait and are served when somebody leaves."""
    stage = start({"app": [actor.address]}, config={"workers": 1, "limits": {"connections": 5}})
    clients = [echoing(dial, stage["app"]) for _ in range(5)]
    waiting = dial(stage["app"], handshake=False)
    waiting.send(waiting.hello())
    stage.proxy.wait_for_log(lambda e: "limits.connections" in e["message"])
    echo(clients[0])
    clients[1].close_notify()
    assert clients[1].end() == "close_notify"
    clients[1].close()
    waiting.server_flight()
    waiting.send(waiting.final_flight())
    waiting.send_data(b"echo x\n")
    echo(waiting)


def test_no_descriptors_left(start, actor, dial):
    """EMFILE: who is connected is served, and when descriptors return, so is everybody else."""
    stage = start({"app": [actor.address]}, config={"workers": 1, "user": getpass.getuser()})
    first = echoing(dial, stage["app"])
    # The worker is our own user, so that we may. Lowered behind the proxy's back: at its start it would have lowered limits.connections, or as root raised the limit.
    for pid in stage.proxy.workers():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))
    crowd = [socket.create_connection(stage["app"].address) for _ in range(150)]
    stage.proxy.wait_for_log(lambda e: e["message"] in ("cannot accept for the moment", "no socket for a server"))
    echo(first, b"still here")
    for sock in crowd:
        sock.close()
    echoing(dial, stage["app"])
    echo(first, b"and still")


def test_slow_peers_hold_little_memory(start, actor, dial, layer, tag):
    """Clients that read nothing while their backends send much: memory stays within limits.memory, others are served, and
    it comes back."""
    stage = start({"app": [actor.address]}, layer=layer, config={"workers": 1, "limits": {"memory": "2m"}})
    echoing(dial, stage["app"]).close()
    before = stage.proxy.resident()
    slow = []
    count = 12 if ringbolt.GUEST else 40  # the kernel's own buffers for each add up: more would reach tcp_mem of a small guest
    for index in range(count):
        client = dial(stage["app"])
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send_data(f"send {tag}-{index} 30000000\n".encode())
        slow.append(client)
    for index in range(count):
        actor.session(f"{tag}-{index}")
    echoing(dial, stage["app"]).close()
    grown = stage.proxy.resident() - before
    if not sanitized():
        assert grown < 24 << 20, f"{grown} bytes more"
    for client in slow:
        client.close()
    stage.proxy.connections(count + 2)
    echoing(dial, stage["app"])


def sanitized():
    """A sanitizer's own memory says nothing of ours."""
    return "san" in os.environ.get("RINGBOLT_SANITIZE", "")


def tls_counters():
    """Connections whose records the kernel carries now: (transmit, receive)."""
    with open("/proc/net/tls_stat", encoding="ascii") as f:
        counters = dict(line.split() for line in f)
    return int(counters["TlsCurrTxSw"]), int(counters["TlsCurrRxSw"])


@pytest.mark.seconds(600)
def test_crowd(start, actor, layer, tmp_path):
    """Many clients at once with random sizes, pauses, half-closes and aborts; every stream that completes is intact, and
    then everything is back where it was. RINGBOLT_E2E_CROWD=1000x60 is a thousand for a minute."""
    count, _, seconds = os.environ.get("RINGBOLT_E2E_CROWD", "100x3" if ringbolt.GUEST else "300x5").partition("x")
    server = subprocess.Popen(["/usr/bin/python3", os.path.join(os.path.dirname(__file__), "crowd.py"), "serve"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip()
        stage = start({"crowd": [address]}, layer=layer, config={"workers": 2, "timeouts": {"idle": "60s", "half_closed": "60s"}})

        def run(many, long):
            done = subprocess.run(["/usr/bin/python3", os.path.join(os.path.dirname(__file__), "crowd.py"), "run",
                                   f"{stage['crowd'].address[0]}:{stage['crowd'].number}", str(many), str(long)],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            assert done.returncode == 0, done.stdout[-4000:]
            return done.stdout

        def quiet():
            ringbolt.wait_until(lambda: stage.proxy.descriptors() == baseline, "descriptors are back where they were")

        baseline = stage.proxy.descriptors()
        run(int(count), min(float(seconds), 3))  # fills what grows once: the allocator's heap, provided buffers
        quiet()
        memory = stage.proxy.resident()
        print(run(int(count), float(seconds)))
        quiet()
        # Buffers that went unused go back within seconds.
        ringbolt.wait_until(lambda: sanitized() or stage.proxy.resident() - memory < 4 << 20, "memory is back where it was")
        if "tls" in os.environ.get("RINGBOLT_GUEST_MODULES", "").split():
            ringbolt.wait_until(lambda: tls_counters() == (0, 0), "the kernel holds no TLS connection")
        ends = [line["end"] for line in stage.proxy.lines if line["message"] == "connection"]
        assert not {"internal", "protocol_error", "memory", "idle_timeout"} & set(ends)
    finally:
        server.stdin.close()
        server.wait(30)
        server.stdout.close()


@pytest.mark.parametrize("layer_name", ["required"])
def test_required_without_kernel_tls(work, certificates, actor, layer_name):
    """ktls required where the kernel has none: said in words that name the cure, not run without."""
    if ringbolt.kernel_has_tls():
        pytest.skip("this kernel has TLS")
    port = ringbolt.Port()
    config = {"log": {"format": "json"}, "ktls": {"transmit": layer_name},
              "listeners": [{"address": port.text, "upstream": "app", "tls": {"certificates": certificates.config()}}],
              "upstreams": [{"name": "app", "servers": [{"address": actor.address}]}]}
    proxy = ringbolt.Ringbolt(work, config, wait=False)
    proxy.finished(1)
    assert any(line["level"] == "error" and "modprobe tls" in str(line) for line in proxy.lines), proxy.log_text()
    port.close()


def test_address_in_use(start, actor, work, certificates):
    """A second proxy on the same address does not share it without a word."""
    stage = start({"app": [actor.address]})
    config = dict(stage.config)
    proxy = ringbolt.Ringbolt(work, config, wait=False)
    proxy.finished(1)
    assert any(line["level"] == "error" and stage["app"].port.text in str(line) for line in proxy.lines), proxy.log_text()

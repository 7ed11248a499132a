# SPDX-License-Identifier: Apache-2.0
"""Limits for one client, for a listener, for new connections in a second: who waits, who is refused, what the log says."""
import os
import signal
import socket
import ssl
import types

import pytest

import ringbolt


def echoing(dial, listener):
    client = dial(listener)
    client.send_data(b"echo x\n")
    echo(client)
    return client


def echo(client, text=b"hello"):
    client.send_data(text)
    assert client.read(len(text)) == text


def is_refused(dial, listener):
    """Reset before any TLS."""
    try:
        client = dial(listener, handshake=False)
        client.send(client.hello())
        event = client.event()
    except ConnectionError:
        return True
    assert event[0] in ("reset", "handshake"), event
    return event[0] == "reset"


def refusals(stage):
    return [line for line in stage.proxy.lines if line["message"] == "client refused"]


def test_connections_of_a_client(start, actor, dial):
    stage = start({"app": [actor.address]}, config={"workers": 2, "limits": {"connections_per_client": 6}})
    clients = [echoing(dial, stage["app"]) for _ in range(6)]
    assert all(is_refused(dial, stage["app"]) for _ in range(10))
    line = stage.proxy.wait_for_log(lambda e: e["message"] == "client refused")
    assert line["client"].startswith("127.0.0.1:") and line["listener"] == "app"
    assert line["limit"] == "limits.connections_per_client" and line["level"] == "warning"
    for client in clients:
        echo(client, b"who is in stays in")
    clients[0].close_notify()
    assert clients[0].end() == "close_notify"
    stage.line(clients[0])
    echoing(dial, stage["app"])
    assert is_refused(dial, stage["app"])
    stage.proxy.stop()
    assert 1 <= len(refusals(stage)) <= 2  # one of each worker: the others are only counted
    assert all(line["end"] in ("done", "shutdown") for line in stage.proxy.lines if line["message"] == "connection")


def test_other_networks_are_not_counted_with_it(start, actor, dial):
    """127.0.0.1 and 127.0.0.2 are two clients, or one when a network is as large."""
    def come(stage, host):
        try:
            sock = socket.create_connection(stage["app"].address, ringbolt.WAIT, (host, 0))
        except ConnectionResetError:
            return True
        return is_refused(dial, types.SimpleNamespace(stage=stage, address=sock))

    for bits, refused in (32, False), (24, True):
        stage = start({"app": [actor.address]},
                      config={"limits": {"connections_per_client": 1, "client_network": {"ipv4": bits}}})
        echoing(dial, stage["app"])
        assert come(stage, "127.0.0.1") and come(stage, "127.0.0.2") == refused


def test_a_dead_worker_holds_nobody(start, actor, dial):
    stage = start({"app": [actor.address]}, config={"workers": 1, "limits": {"connections_per_client": 2}})
    for _ in range(2):
        echoing(dial, stage["app"])
    assert is_refused(dial, stage["app"])
    worker, = stage.proxy.workers()
    os.kill(worker, signal.SIGKILL)
    stage.proxy.wait_for_log(lambda e: e["message"] == "worker replaced")
    for _ in range(2):
        echoing(dial, stage["app"])
    assert is_refused(dial, stage["app"])


def test_rate_of_a_client(start, actor, dial):
    """However fast they come: as many are let in as there are seconds, and a few."""
    stage = start({"app": [actor.address]}, config={"workers": 2, "limits": {"handshakes_per_second_per_client": 5}})
    granted = sum(not is_refused(dial, stage["app"]) for _ in range(100))
    assert 5 <= granted < 100
    line = stage.proxy.wait_for_log(lambda e: e["message"] == "client refused")
    assert line["limit"] == "limits.handshakes_per_second_per_client"
    ringbolt.wait_until(lambda: not is_refused(dial, stage["app"]), "it is let in again")


def test_crowds_are_counted(start, actor, dial):
    stage = start({"app": [actor.address]}, config={"workers": 1, "limits": {"connections_per_client": 1}})
    echoing(dial, stage["app"])
    for _ in range(21):
        assert is_refused(dial, stage["app"])
    line = stage.proxy.wait_for_log(lambda e: e["message"] == "more clients refused")
    assert line["count"] == 20 and len(refusals(stage)) == 1


def test_connections_of_a_listener(start, actor, dial):
    """More wait in the queue; another listener isn't touched."""
    stage = start({"app": [actor.address], "other": [actor.address]}, listens={"app": {"limits": {"connections": 2}}},
                  config={"workers": 1})
    clients = [echoing(dial, stage["app"]) for _ in range(2)]
    waiting = dial(stage["app"], handshake=False)
    waiting.send(waiting.hello())
    line = stage.proxy.wait_for_log(lambda e: "listener's limits.connections" in e["message"])
    assert line["listener"] == "app" and line["limit"] == 2
    for _ in range(3):
        echoing(dial, stage["other"])
    clients[0].close_notify()
    assert clients[0].end() == "close_notify"
    clients[0].close()
    waiting.server_flight()
    waiting.send(waiting.final_flight())
    waiting.send_data(b"echo x\n")
    echo(waiting)


@pytest.mark.any_layer
def test_clients_who_say_nothing_leave_descriptors_for_servers(start, actor, dial, tag):
    """A process may have few descriptors, and silent clients want them all. Who was accepted is served all the same."""
    stage = start({"app": [actor.address]}, config={"workers": 1}, prefix=ringbolt.few_descriptors(120))
    client = dial(stage["app"], handshake=False)
    client.send(client.hello())
    client.server_flight()
    crowd = [socket.create_connection(stage["app"].address, ringbolt.WAIT) for _ in range(150)]
    line = stage.proxy.wait_for_log(lambda e: e["message"].startswith("no descriptors for more connections"))
    assert 20 < line["limit"] < 60
    client.send(client.final_flight())
    client.send_data(f"echo {tag}\n".encode())
    echo(client)
    for sock in crowd:
        sock.close()
    echoing(dial, stage["app"])
    assert not [line for line in stage.proxy.lines if line["message"] in ("cannot accept for the moment", "no socket for a server")]


def test_rate_of_all(start, actor, dial):
    """More wait and are served in the end."""
    stage = start({"app": [actor.address]}, config={"workers": 2, "limits": {"handshakes_per_second": 10}})
    for client in [dial(stage["app"], handshake=False) for _ in range(25)]:  # all at once, however slow a handshake is here
        client.handshake().send_data(b"echo x\n")
        echo(client)
    stage.proxy.stop()
    waited = [e for e in stage.proxy.lines if "limits.handshakes_per_second is reached" in e["message"]]
    assert 1 <= len(waited) <= 2 and {e["limit"] for e in waited} == {10}


@pytest.mark.parametrize("limits", [{"connections_per_client": 1}, {"handshakes_per_second_per_client": 1}])
def test_unix_sockets_are_no_client(start, actor, certificates, work, limits):
    path = os.path.join(work, f"limits-{next(iter(limits))}.sock")
    start({"app": [actor.address]}, config={"limits": limits}, listens={"app": {"address": f"unix:{path}"}})
    context = ssl.create_default_context(cafile=certificates.ca)
    clients = []
    for _ in range(3):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(ringbolt.WAIT)
        sock.connect(path)
        clients.append(context.wrap_socket(sock, server_hostname="localhost"))
    for client in clients:
        client.sendall(b"echo x\nhello")
        received = b""
        while len(received) < 5:
            received += client.recv(5)
        assert received == b"hello"
        client.close()


# ---- the kernel's timers

def timers(column, port):
    """The timers that run for TCP connections with this port (column 1: ours, 2: the peer's), /proc/net/tcp: 0 none, 2 keepalive."""
    with open("/proc/net/tcp", encoding="ascii") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return {row[5].split(":")[0] for row in rows if row[3] == "01" and int(row[column].split(":")[1], 16) == port}


@pytest.mark.parametrize("front, back", [(False, False), (True, False), (False, True)])
def test_keepalive(start, actor, dial, front, back):
    tcp = {"tcp": {"keepalive": "1h"}}
    upstream = {"name": "app", "servers": [{"address": actor.address}], **(tcp if back else {})}
    stage = start({"app": [actor.address]}, listens={"app": tcp if front else {}}, config={"upstreams": [upstream]})
    client = echoing(dial, stage["app"])
    server = int(actor.address.rpartition(":")[2])
    ringbolt.wait_until(lambda: timers(1, stage["app"].number) == {"02" if front else "00"}, "nothing is being sent to the client")
    found = timers(2, server)
    assert ("02" in found) == back, found
    echo(client)

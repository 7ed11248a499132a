# SPDX-License-Identifier: Apache-2.0
"""Live connections move from one worker to another, and neither client nor server notices: not by a byte, not by an end."""
import hashlib
import os
import signal
import threading

import pytest

import backends
import rawtls
import ringbolt

# Streams wait for each other to be moved, on a slow machine for long.
EAGER = {"rebalance": {"threshold": 1, "connections": 2, "age": "0s"}, "timeouts": {"idle": "1h", "half_closed": "1h"}}
MOVES = 3


def placed(stage):
    """Which worker has whom: the port of each client → the worker's number. One that is just moving may be missing."""
    return {int(entry["client"].rpartition(":")[2]): entry["worker"] for entry in stage.proxy.admin_json("connections")["connections"]}


def places(stage, clients):
    """The same of these, once all have a place."""
    found = {}

    def all_are_there():
        found.update(placed(stage))
        return all(client.name[1] in found for client in clients)

    ringbolt.wait_until(all_are_there, "every connection is some worker's")
    return {client: found[client.name[1]] for client in clients}


def on_one_worker(stage, dial, count, tag, worker):
    """So many clients that are this worker's, or were a moment ago. The others go again; at no time are there more on it, so nothing tips that
    these don't."""
    clients = []
    while len(clients) < count:
        more = [dial(stage["app"]) for _ in range(count - len(clients))]
        for client in more:
            client.send_data(f"echo {tag}-{client.name[1]}\n".encode())
        others = set()
        for client, place in places(stage, more).items():
            if place == worker:
                clients.append(client)
            else:
                client.close()
                others.add(client.name[1])
        ringbolt.wait_until(lambda: not others & placed(stage).keys(), "the others are gone")
    return clients


def pids(stage):
    return {entry["worker"]: entry["pid"] for entry in stage.proxy.admin_json("status")["workers"]}


def counted(stage, key):
    return sum(entry[key] for entry in stage.proxy.admin_json("status")["workers"])


def move(stage, dial, tag, clients):
    """Each of them changes its worker: weights are put on it, idle clients, which come after them and so stay behind. While they are put there
    the scale may tip, and tip back."""
    before = places(stage, clients)
    still = list(clients)
    while still:
        since = stage.proxy.mark()
        weights = on_one_worker(stage, dial, 2 * len(clients) + 2, tag, before[still[0]])
        stage.proxy.wait_for_log(lambda e: e["message"] == "connections moved between workers" and e["given"] > 0, since)
        now = places(stage, still)
        still = [client for client in still if now[client] == before[client]]
        for weight in weights:
            weight.close()


# ---- streams that are moved in all that they may be in

def idle(client, actor, tag):
    client.send_data(f"echo {tag}\n".encode())
    yield
    for index in range(MOVES):
        yield
        client.send_data(b"%d" % index)
        assert client.read(1) == b"%d" % index
    client.close_notify()
    assert client.read_to_end() == (b"", "close_notify")


def byte_by_byte(client, actor, tag):
    client.send_data(f"echo {tag}\n".encode())
    sent, stop, failed = bytearray(), threading.Event(), []

    def talk():
        try:
            while not stop.is_set():
                byte = os.urandom(1)
                client.send_data(byte)
                sent.extend(byte)
                assert client.read(1) == byte
        except BaseException as error:  # noqa: B036: told below
            failed.append(error)

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    for _ in range(MOVES + 1):
        yield
    stop.set()
    thread.join(ringbolt.WAIT)
    assert not failed and not thread.is_alive(), failed
    client.close_notify()
    assert client.read_to_end() == (b"", "close_notify")
    assert actor.session(tag).received == len(sent) > MOVES


def down(client, actor, tag):
    """The client takes no more than a part between two moves: what is being sent waits."""
    size, part = 24 << 20, 1 << 20
    client.send_data(f"send {tag} {size}\n".encode())
    said, got = hashlib.sha256(), 0
    for _ in range(MOVES + 1):
        data = client.read(part, exactly=False)
        said.update(data)
        got += len(data)
        yield
    data, end = client.read_to_end()
    said.update(data)
    assert (got + len(data), end) == (size, "close_notify")
    assert said.hexdigest() == backends.Pattern().digest(size)
    client.close_notify()


def up(client, actor, tag):
    """The server takes nothing until all moves are over."""
    said, sent, failed = hashlib.sha256(), [0], []

    def send():
        try:
            for _ in range(160):
                data = os.urandom(100000)
                client.send_data(data)
                said.update(data)
                sent[0] += len(data)
            client.close_notify()
        except BaseException as error:  # noqa: B036: told below
            failed.append(error)

    client.sock.settimeout(None)  # it waits for the server
    client.send_data(f"stall {tag}\n".encode())
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    for _ in range(MOVES + 1):
        yield
    actor.session(tag).release()
    thread.join(ringbolt.WAIT)
    assert not failed, failed
    data, end = client.read_to_end()
    assert (data.split(), end) == ([str(sent[0]).encode(), said.hexdigest().encode()], "close_notify")


def client_has_ended(client, actor, tag):
    data = os.urandom(70000)
    client.send_data(f"stall {tag}\n".encode() + data)
    client.close_notify()
    for _ in range(MOVES + 1):
        yield
    actor.session(tag).release()
    said, end = client.read_to_end()
    assert (said.split(), end) == ([b"70000", hashlib.sha256(data).hexdigest().encode()], "close_notify")


def server_has_ended(client, actor, tag):
    client.send_data(f"send {tag} 5000\n".encode())
    assert client.read_to_end() == (b"".join(backends.Pattern().blocks(5000)), "close_notify")
    yield
    for _ in range(MOVES):
        yield
        client.send_data(b"x" * 10000)
    client.close_notify()
    session = actor.session(tag)
    assert session.ended.wait(ringbolt.WAIT) and session.end == "eof" and session.received == MOVES * 10000


STREAMS = [idle, byte_by_byte, down, up, client_has_ended, server_has_ended]


@pytest.mark.seconds(600)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_streams(start, actor, dial, tag, layer, version):
    stage = start({"app": [actor.address]}, layer=layer, config=EAGER)
    since = stage.proxy.mark()
    clients = [dial(stage["app"], version=version) for _ in STREAMS]
    streams = [stream(client, actor, f"{tag}-{index}") for index, (stream, client) in enumerate(zip(STREAMS, clients))]
    for stream in streams:
        next(stream)
    for index in range(MOVES):
        move(stage, dial, f"{tag}-weight{index}", clients)
        for stream in streams:
            next(stream)
    for stream in streams:
        assert next(stream, "over") == "over"
    for client, stream in zip(clients, STREAMS):
        client.close()
        line = stage.proxy.connection(since, client=f"127.0.0.1:{client.name[1]}")
        assert line["end"] == "done", (stream.__name__, line)
        assert line["tls"] == f"TLSv{version}"
    given, taken = counted(stage, "given"), counted(stage, "taken")
    assert given == taken >= MOVES * len(STREAMS)
    pauses = stage.proxy.admin_json("status")["move_pause_seconds"]
    assert pauses["count"] == given
    assert counted(stage, "not_taken") == 0


# ---- a worker that is stopped, or dies

def lives(client):
    client.send_data(b"still here")
    return client.read(10) == b"still here"


def survives(client):
    try:
        return lives(client)
    except (OSError, rawtls.ProtocolError):
        return False


# Connections come to be moved only when the test says so: by killing a worker, whose place is empty then.
LATER = {"rebalance": {"threshold": 50, "connections": 8, "age": "0s"}}


def test_replaced_worker_gets_its_share(start, actor, dial, tag):
    stage = start({"app": [actor.address]}, config=LATER)
    clients = on_one_worker(stage, dial, 7, tag, 0)
    since = stage.proxy.mark()
    os.kill(pids(stage)[1], signal.SIGKILL)
    stage.proxy.wait_for_log(lambda e: e["message"] == "worker replaced", since)
    clients += on_one_worker(stage, dial, 9, tag + "c", 0)
    moved = stage.proxy.wait_for_log(lambda e: e["message"] == "connections moved between workers", since)
    assert moved["from"] == 0 and moved["to"] == 1 and moved["given"] > 0 and moved["kept"] == 0
    ringbolt.wait_until(lambda: set(placed(stage).values()) == {0, 1}, "both have some")
    assert all(lives(client) for client in clients)


@pytest.mark.parametrize("what", ["stopped", "killed"])
def test_taker_goes(start, actor, dial, tag, what):
    """It is stopped, or dies, when it is to take: whatever the giver has goes on with it."""
    stage = start({"app": [actor.address]}, config=LATER)
    taker = pids(stage)[1]
    clients = on_one_worker(stage, dial, 7, tag, 0)
    since = stage.proxy.mark()
    os.kill(taker, signal.SIGSTOP)
    try:
        while len(clients) < 20:  # what lands on the one that stands still waits there
            client = dial(stage["app"], handshake=False)
            client.sock.settimeout(0.5)
            try:
                client.handshake()
            except OSError:
                continue
            client.sock.settimeout(ringbolt.WAIT)
            client.send_data(f"echo {tag}-{client.name[1]}\n".encode())
            clients.append(client)
        if what == "killed":
            os.kill(taker, signal.SIGKILL)
            stage.proxy.wait_for_log(lambda e: e["message"] == "worker replaced", since)
        else:
            broke = stage.proxy.wait_for_log(lambda e: e["message"] == "moving connections between workers broke", since)
            assert broke["from"] == 0 and broke["to"] == 1 and broke["given"] == 0
    finally:
        if what == "stopped":
            os.kill(taker, signal.SIGCONT)
    assert all(lives(client) for client in clients)


@pytest.mark.parametrize("what", ["stopped", "killed"])
def test_giver_goes(start, actor, dial, tag, what):
    """It is stopped, or dies, when it is to give, or while it does: who was moved before lives on."""
    stage = start({"app": [actor.address]}, config=LATER)
    workers = pids(stage)
    clients = on_one_worker(stage, dial, 30, tag, 0)
    stage.proxy.wait_for_log(lambda e: e["message"] == "connections moved between workers")
    since = stage.proxy.mark()
    os.kill(workers[0], signal.SIGSTOP if what == "stopped" else signal.SIGKILL)
    if what == "stopped":
        os.kill(workers[0], signal.SIGCONT)
        assert all(lives(client) for client in clients)
        return
    stage.proxy.wait_for_log(lambda e: e["message"] == "worker replaced", since)
    survivors = [client for client in clients if survives(client)]
    # Who was just being offered is listed until the taker has noticed, and nobody else.
    ringbolt.wait_until(lambda: placed(stage).keys() == {client.name[1] for client in survivors}, "the survivors are listed")
    assert survivors and all(lives(client) for client in survivors)


@pytest.mark.any_layer
def test_off(start, actor, dial, tag):
    """threshold 0: nobody moves."""
    stage = start({"app": [actor.address]}, config={"rebalance": {"threshold": 0, "connections": 2, "age": "0s"}})
    clients = on_one_worker(stage, dial, 8, tag, 0)
    assert all(lives(client) for client in clients)
    assert set(places(stage, clients).values()) == {0}
    assert counted(stage, "given") == 0

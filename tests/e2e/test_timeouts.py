# SPDX-License-Identifier: Apache-2.0
"""Who says nothing is not kept for ever. Tests wait for the event; none measures how long it took."""
import threading

import pytest

import rawtls
import ringbolt

SHORT = "400ms"


@pytest.mark.parametrize("sends", [b"", b"\x16\x03\x01"])
def test_handshake_that_does_not_come(start, actor, dial, sends):
    stage = start({"app": [actor.address]}, config={"timeouts": {"handshake": SHORT}})
    client = dial(stage["app"], handshake=False)
    client.send(sends)
    assert client.stream_end() in ("eof", "reset")
    assert stage.line_at_end(client)["end"] == "handshake_timeout"


@pytest.mark.parametrize("state", ["hello", "flight"])
def test_slow_loris(start, actor, dial, state):
    """A byte now and then does not prolong it."""
    stage = start({"app": [actor.address]}, config={"timeouts": {"handshake": "1s"}})
    client = dial(stage["app"], handshake=False)
    data = client.hello()
    if state == "flight":
        client.send(data)
        client.server_flight()
        data = client.final_flight()
    over = threading.Event()

    def drip():
        for byte in data[:-1]:
            try:
                client.sock.send(bytes([byte]))
            except OSError:
                break
            if over.wait(0.1):
                break

    dripping = threading.Thread(target=drip)
    dripping.start()
    line = stage.line(client)
    over.set()
    dripping.join()
    assert line["end"] == "handshake_timeout"


def test_idle(start, actor, dial, layer, tag):
    """Also a timeout that the kernel layer must not skip. The client hears an end that is not clean."""
    stage = start({"app": [actor.address]}, layer=layer, config={"timeouts": {"idle": SHORT}})
    client = dial(stage["app"])
    client.send_data(f"echo {tag}\nhello".encode())
    assert client.read(5) == b"hello"
    assert client.end() != "close_notify"
    session = actor.session(tag)
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset"
    assert stage.line_at_end(client)["end"] == "idle_timeout"


def test_activity_of_either_side_prolongs(start, actor, dial, layer, tag):
    """Longer than the idle timeout altogether, never idle so long."""
    stage = start({"app": [actor.address]}, layer=layer, config={"timeouts": {"idle": "1s"}})
    client = dial(stage["app"])
    client.send_data(f"echo {tag}\n".encode())
    pause = threading.Event()
    for _ in range(8):
        client.send_data(b"x")
        assert client.read(1) == b"x"
        pause.wait(0.25)
    client.close_notify()
    assert client.end() == "close_notify"
    assert stage.line(client)["end"] == "done"


def test_idle_while_the_client_does_not_read(start, actor, dial, layer, tag):
    """A client that takes nothing is idle too, though the backend has more."""
    stage = start({"app": [actor.address]}, layer=layer, config={"timeouts": {"idle": SHORT}})
    client = dial(stage["app"])
    client.send_data(f"send {tag} 100000000\n".encode())
    assert stage.line(client)["end"] == "idle_timeout"
    session = actor.session(tag)
    assert session.finished.wait(ringbolt.WAIT)


def test_half_closed_by_the_client(start, actor, dial, layer, tag):
    stage = start({"app": [actor.address]}, layer=layer, config={"timeouts": {"half_closed": SHORT}})
    client = dial(stage["app"])
    client.send_data(f"answer {tag} 10 wait\n".encode())
    client.close_notify()
    session = actor.session(tag)
    assert session.ended.wait(ringbolt.WAIT) and session.end == "eof"
    assert client.end() != "close_notify"
    session.release()
    assert stage.line_at_end(client)["end"] == "half_closed_timeout"


def test_half_closed_by_the_backend(start, actor, dial, layer, tag):
    stage = start({"app": [actor.address]}, layer=layer, config={"timeouts": {"half_closed": SHORT}})
    client = dial(stage["app"])
    client.send_data(f"send {tag} 1000\n".encode())
    data, end = client.read_to_end()
    assert (len(data), end) == (1000, "close_notify")
    session = actor.session(tag)
    assert session.ended.wait(ringbolt.WAIT) and session.end == "reset"
    assert stage.line_at_end(client)["end"] == "half_closed_timeout"


def test_client_that_vanished_without_a_word(start, actor, dial, layer, tag):
    """No FIN, no reset: its address just doesn't answer any more. Here: it never reads nor writes again."""
    stage = start({"app": [actor.address]}, layer=layer, config={"timeouts": {"idle": SHORT}})
    client = dial(stage["app"])
    client.send_data(f"hold {tag}\n".encode())
    session = actor.session(tag)
    assert stage.line(client)["end"] == "idle_timeout"
    session.release()


def test_idle_connection_wakes_up(start, actor, dial, layer, tag):
    """After a rest, in which the proxy gives back what an idle connection does not need, everything goes on."""
    stage = start({"app": [actor.address]}, layer=layer, config={"timeouts": {"idle": "60s"}})
    clients = [dial(stage["app"], version=version) for version in ("1.2", "1.3")]
    for index, client in enumerate(clients):
        client.send_data(f"echo {tag}-{index}\nhello".encode())
        assert client.read(5) == b"hello"
    threading.Event().wait(3)  # the rest begins after two seconds; there is no event to wait for
    for client in clients:
        client.send_data(b"again" * 10000)
        assert client.read(50000) == b"again" * 10000
        if client.version == "1.3" and layer == "user":
            client.send(client.key_update(True) + client.seal(rawtls.DATA, b"x"))
            assert client.read(1) == b"x"

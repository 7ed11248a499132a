# SPDX-License-Identifier: Apache-2.0
"""Two workers between which connections move, each killed at each message of their dialogue in turn, before and after it is sent: what is lost is what
the dead one alone had (docs/upgrade.md has the table)."""
import pytest

import inject
import ringbolt
from test_life import echoing
from test_upgrade import DEBUG, Held, program, running, said, serves  # noqa: F401 pylint: disable=unused-import

COUNT = 4
HELLO, OFFER, BYTES, ACCEPT, GO, END = 1, 2, 3, 4, 6, 7

# Who is killed at which message, and how many connections live on at least and at most: if it is killed before, and after.
STEPS = {
    ("giver", HELLO): ((0, 0), (0, 0)),
    ("giver", OFFER): ((0, 0), (0, 0)),
    ("giver", BYTES): ((0, 0), (0, 0)),
    ("giver", GO): ((0, 0), (1, 1)),
    ("giver", END): ((COUNT, COUNT), (COUNT, COUNT)),
    ("taker", HELLO): ((COUNT, COUNT), (COUNT, COUNT)),
    # The giver may be quick and say GO to one that is just dying.
    ("taker", ACCEPT): ((COUNT, COUNT), (COUNT - 1, COUNT)),
}


def lives(client):
    """Whether a connection goes on; if not, it breaks at once."""
    try:
        client.send_data(b"again")
    except ConnectionError:
        return False
    event = client.event()
    while event[0] == "handshake":  # tickets
        event = client.event()
    assert event in (("data", b"again"), ("eof",), ("reset",)), event
    return event[0] == "data"


def kill_at(stage, dial, who, message, after):
    clients = [echoing(dial, stage["app"]) for _ in range(COUNT)]
    held = Held(stage)
    (victim,) = held.givers if who == "giver" else held.takers
    killer = inject.KilledAt(victim, message, after)
    held.go()
    killer.join(ringbolt.WAIT)
    assert killer.was_killed
    least, most = STEPS[who, message][after]
    alive = [client for client in clients if lives(client)]
    assert least <= len(alive) <= most, (who, message, after, len(alive))
    stage.proxy.wait_for_log(said("worker died", worker_pid=victim), held.since)
    serves(stage, dial)
    if who == "taker":  # what its giver kept goes over in another dialogue
        stage.proxy.wait_for_log(said("all connections handed over", given=COUNT), held.since)
    for client in alive:
        assert lives(client)
        client.close()


@pytest.mark.any_layer
@pytest.mark.parametrize("who,message", STEPS)
def test_a_worker_killed_at_each_message(running, dial, who, message):  # noqa: F811 pylint: disable=redefined-outer-name
    inject.need()
    stage = running(config={"workers": 1, "shutdown_timeout": "10s", **DEBUG})
    for after in (False, True):
        kill_at(stage, dial, who, message, after)


def test_a_worker_killed_at_go(running, dial, layer):  # noqa: F811 pylint: disable=redefined-outer-name
    """Over each record layer: the keys that went along are of use to one of the two only, and it has them."""
    inject.need()
    if ringbolt.GUEST and layer != "kernel":
        pytest.skip("in the guest only where both directions are the kernel's")
    stage = running(layer=layer, config={"workers": 1, "shutdown_timeout": "10s", **DEBUG})
    kill_at(stage, dial, "giver", GO, True)
    kill_at(stage, dial, "taker", ACCEPT, False)

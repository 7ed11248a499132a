# SPDX-License-Identifier: Apache-2.0
"""What a successor gets from its predecessor besides sockets: counters, orders for servers, ticket keys, OCSP responses, passphrases, the
development certificate; and that secrets are nowhere else on their way."""
import base64
import json
import os
import pty
import signal
import ssl
import sys
import threading

import pytest

import pki
import ringbolt
from test_life import echoing
from test_names import NAMED, PORT, host, world  # noqa: F401 pylint: disable=unused-import
from test_stapling import (Responder, ca, folder, is_good, issue, responder, root, root_path, serve,  # noqa: F401 pylint: disable=unused-import
                           status as shown_status, wait_stapled)
from test_tickets import Visitor, key_names
from test_upgrade import Gate, is_over, leader, program, running, said, serves, upgrade, write  # noqa: F401 pylint: disable=unused-import

pytestmark = pytest.mark.any_layer

# Runs a program with the terminal argv[1] as the one that it may ask at.
ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
os.close(fd)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def succeed(stage, how):
    """One master follows another."""
    if how == "upgrade":
        return upgrade(stage)
    workers = stage.config.get("workers", 2) % 3 + 1
    stage.config["workers"] = workers
    write(stage, workers=workers)
    answer = stage.proxy.admin_json("reload")
    assert answer["config"] == "applied", answer
    return answer


# ---- counters

def numbers(json_value, path=()):
    """Every number of a document, by its path; arrays by what their members are about."""
    if isinstance(json_value, dict):
        for key, value in json_value.items():
            yield from numbers(value, (*path, key))
    elif isinstance(json_value, list):
        for at, value in enumerate(json_value):
            yield from numbers(value, (*path, value.get("name", value.get("address", at)) if isinstance(value, dict) else at))
    elif isinstance(json_value, (int, float)) and not isinstance(json_value, bool):
        yield path, json_value


GAUGES = {"connections", "waiting", "failures_in_a_row", "weight", "max_connections"}


def counters(stage):
    status = stage.proxy.admin_json("status")
    return {path: value for path, value in numbers({key: status[key] for key in ("totals", "listeners", "upstreams", "key_updates")})
            if path[-1] not in GAUGES and "bounds_s" not in path}


def assert_not_less(before, after):
    less = {path: (before[path], after.get(path)) for path in before if after.get(path, -1) < before[path]}
    assert not less, less


@pytest.mark.parametrize("how", ["upgrade", "reload"])
def test_counters_go_on(running, dial, how):
    """Through generations, some of which still drain: what is there is counted once, and nothing goes down."""
    stage = running()
    clients, before = [], {}
    for generation in range(4):
        clients.append(echoing(dial, stage["app"]))
        serves(stage, dial)
        ringbolt.wait_until(lambda count=generation + 1: counters(stage)[("listeners", "app", "ends", "done")] == count, "it has ended")
        found = counters(stage)
        assert found[("totals", "accepted")] == 2 * (generation + 1), found
        assert found[("totals", "handshakes")] == 2 * (generation + 1)
        assert stage.proxy.admin_json("status")["totals"]["connections"] == len(clients)
        assert_not_less(before, found)
        answer = succeed(stage, how)
        before = found
        assert_not_less(before, counters(stage))
        assert answer["pid"] == leader(stage)
    for client in clients:
        client.close_notify()
        assert client.end() == "close_notify"
    ringbolt.wait_until(lambda: counters(stage)[("listeners", "app", "ends", "done")] == 8, "all have ended")
    found = counters(stage)
    assert found[("totals", "accepted")] == 8 and found[("listeners", "app", "duration_seconds", "count")] == 8
    assert stage.proxy.admin_json("status")["totals"]["connections"] == 0


def test_counters_of_one_that_is_gone(running, dial):
    stage = running()
    since = stage.proxy.mark()
    serves(stage, dial)
    is_over(stage, upgrade(stage), since)
    serves(stage, dial)
    ringbolt.wait_until(lambda: counters(stage)[("listeners", "app", "ends", "done")] == 2, "both have ended")
    found = counters(stage)
    since = stage.proxy.mark()
    is_over(stage, upgrade(stage), since)
    after = counters(stage)
    assert_not_less(found, after)
    assert after[("totals", "accepted")] == 2 and after[("totals", "bytes_in")] == found[("totals", "bytes_in")]


def test_successor_killed_young(running, dial):
    """What it counted in its time is not lost with it."""
    stage = running()
    serves(stage, dial)
    answer = upgrade(stage)
    serves(stage, dial)
    ringbolt.wait_until(lambda: counters(stage)[("listeners", "app", "ends", "done")] == 2, "both have ended")
    since = stage.proxy.mark()
    os.kill(answer["pid"], signal.SIGKILL)
    stage.proxy.wait_for_log(said("successor failed, going on"), since)
    ringbolt.wait_until(lambda: leader(stage) == answer["predecessor_pid"], "the predecessor leads")
    assert counters(stage)[("totals", "accepted")] == 2
    serves(stage, dial)
    ringbolt.wait_until(lambda: counters(stage)[("listeners", "app", "ends", "done")] == 3, "all have ended")
    assert counters(stage)[("totals", "accepted")] == 3


# ---- servers

@pytest.mark.parametrize("order", ["drain", "down"])
@pytest.mark.parametrize("how", ["upgrade", "reload"])
def test_orders_stay(running, dial, actor, how, order):
    stage = running()
    stage.proxy.admin("server", actor.address, order)
    succeed(stage, how)
    server = stage.proxy.admin_json("server")["upstreams"][0]["servers"][0]
    assert server["state"] == order, server
    stage.proxy.admin("server", actor.address, "ready")
    succeed(stage, how)
    assert stage.proxy.admin_json("server")["upstreams"][0]["servers"][0]["state"] == "ready"
    serves(stage, dial)


def test_orders_given_while_a_successor_starts(start, dial, actor, certificates):
    """It has its estate already: it gets them afterwards. So do certificates that are retired meanwhile."""
    stage = start({"app": [actor.address, actor.address.replace("127.0.0.1", "127.0.0.2"), actor.address.replace("127.0.0.1", "127.0.0.3")]})
    servers = [server["address"] for server in stage.config["upstreams"][0]["servers"]]
    stage.proxy.admin("server", servers[1], "drain")
    with Gate(stage) as gate:
        gate.wait()
        stage.proxy.admin("server", servers[0], "drain")
        stage.proxy.admin("server", servers[1], "ready")
        stage.proxy.admin("server", servers[2], "down")
        stage.proxy.admin("server", servers[2], "drain")
    gate.wait_lead()
    shown = {server["address"]: server["state"] for server in stage.proxy.admin_json("server")["upstreams"][0]["servers"]}
    assert shown == dict(zip(servers, ("drain", "ready", "drain"))), shown


def test_orders_given_to_a_successor_that_dies_young(running, dial, actor):
    """They hold with the predecessor, which goes on."""
    stage = running()
    first = leader(stage)
    new = upgrade(stage)["pid"]
    stage.proxy.admin("server", actor.address, "drain")
    since = stage.proxy.mark()
    os.kill(new, signal.SIGKILL)
    stage.proxy.wait_for_log(said("successor failed, going on"), since)
    assert leader(stage) == first
    assert stage.proxy.admin_json("server")["upstreams"][0]["servers"][0]["state"] == "drain"


def test_certificates_retired_while_a_successor_starts(start, actor, authority, tmp_path):
    """A ticket that was issued under one of them is not resumed, whoever serves."""
    chain, key = str(tmp_path / "own.pem"), str(tmp_path / "own.key")
    pair = authority.issue(["localhost"])
    pki.write_whole(key, pair.key_pem())
    pki.write_whole(chain, pair.chain_pem())
    stage = start({"app": [actor.address]}, tls={"app": {"certificates": [{"chain": chain, "key": key}]}})
    visitor = Visitor(pki.write_whole(str(tmp_path / "root.pem"), authority.leaf_pem()), "1.2").met(stage["app"])
    assert visitor.visit(stage["app"])
    pki.write_whole(chain, authority.issue(["localhost"], key=pair.key).chain_pem())
    stage.proxy.admin("reload")  # if it was not seen before
    with Gate(stage) as gate:
        gate.wait()
        assert stage.proxy.admin_json("drain", "--certificate", "localhost")["certificates"] == 1
    gate.wait_lead()
    assert not visitor.visit(stage["app"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make networks")
def test_orders_and_counters_of_names_stay(world):  # noqa: F811 pylint: disable=redefined-outer-name
    """Of one address, and of a name as a whole: then also of addresses that it gets later. Counters go by the address."""
    world.actors(3)
    world.records(host(1), host(2))
    world.start()
    assert sum(world.visit(6)) == 6
    before = {address: server["connects"] for address, server in world.table().items()}
    assert sum(before.values()) == 6
    world.proxy.admin("server", f"app/{host(1)}:{PORT}", "drain")
    world.records(host(2), host(1))
    world.proxy.admin_json("upgrade")
    assert {address: server["state"] for address, server in world.table().items()} == {host(1): "drain", host(2): "ready"}
    assert {address: server["connects"] for address, server in world.table().items()} == before
    assert world.visit(4) == [0, 4, 0]
    world.proxy.admin("server", NAMED, "drain")
    world.proxy.admin_json("upgrade")
    # The predecessor looks names up as well until the successor is proven, and each says what it finds: one line is not both tables.
    world.records(host(1), host(2), host(3))
    ringbolt.wait_until(lambda: host(3) in world.table(), "the successor knows the new address")
    assert {server["state"] for server in world.table().values()} == {"drain"} and len(world.table()) == 3
    assert world.table()[host(3)]["connects"] == 0
    # Taken back while the next successor starts.
    with Gate(world) as gate:
        gate.wait()
        world.proxy.admin("server", NAMED, "ready")
    gate.wait_lead()
    assert {server["state"] for server in world.table().values()} == {"ready"}


def test_places_at_a_server_are_counted_through_generations(running, dial, actor):
    """What a predecessor still has there counts for max_connections, until it ends."""
    stage = running(sends={"app": {"servers": [{"address": actor.address, "max_connections": 2}]}}, config={"shutdown_timeout": "60s"})
    port, since = ringbolt.Port(), stage.proxy.mark()
    listeners = stage.config["listeners"]
    write(stage, listeners=[*listeners, {**listeners[0], "name": "more", "address": port.text}])
    assert stage.proxy.admin_json("reload")["config"] == "applied"
    stage.listeners["more"] = type(stage["app"])(stage, port)
    old = [echoing(dial, stage["more"]) for _ in range(2)]
    # The next one does not have their listener: they stay.
    write(stage, listeners=listeners)
    assert stage.proxy.admin_json("reload")["config"] == "applied"
    stage.proxy.wait_for_log(said("all connections handed over", kept=2), since)

    def connections():
        return stage.proxy.admin_json("server")["upstreams"][0]["servers"][0]["connections"]

    def refused():
        client = dial(stage["app"])
        return stage.line_at_end(client)["end"] == "servers_full"

    assert connections() == 2
    assert refused()
    old[0].close_notify()
    assert old[0].end() == "close_notify"
    ringbolt.wait_until(lambda: connections() == 1, "one has ended")
    new = echoing(dial, stage["app"])
    assert connections() == 2 and refused()
    # And the next generation, of both before it.
    upgrade(stage)
    ringbolt.wait_until(lambda: connections() == 2, "what moved is counted once")
    assert refused()
    new.close_notify()
    assert new.end() == "close_notify"
    ringbolt.wait_until(lambda: connections() == 1, "another has ended")
    serves(stage, dial)


# ---- tickets

@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("how", ["upgrade", "reload"])
def test_resumption_goes_on(running, dial, certificates, how, version):
    stage = running()
    visitor = Visitor(certificates.ca, version).met(stage["app"])
    names = key_names(dial, stage["app"])
    for _ in range(3):
        succeed(stage, how)
        assert visitor.visit(stage["app"])
        assert key_names(dial, stage["app"]) == names  # the same key, whoever serves


# ---- OCSP

def test_staple_served_at_once(serve, responder, ca, root_path):  # noqa: F811 pylint: disable=redefined-outer-name
    """The responder is down, and nothing is on disk."""
    pair = issue(ca)
    responder.set(pair)
    responder.start()
    stage = serve(pair, cache=None)
    wait_stapled(stage["app"], root_path, pair)
    responder.stop()
    for _ in range(2):
        upgrade(stage)
        assert is_good(shown_status(stage["app"], root_path), pair)
    assert responder.asked == [pair.certificate.serial_number]


# ---- what nobody can be asked for again

class Terminal:
    """Where a passphrase is asked for, and somebody who types it."""

    def __init__(self, phrase):
        self.master, self.slave = pty.openpty()
        self.phrase, self.text = phrase, b""
        self.prefix = [sys.executable, "-c", ON_TERMINAL, os.ttyname(self.slave)]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                data = os.read(self.master, 1000)
            except OSError:
                return
            if not data:
                return
            self.text += data
            if data.rstrip().endswith(b":"):
                os.write(self.master, self.phrase.encode() + b"\n")

    def close(self):
        os.close(self.slave)
        os.close(self.master)


def encodings(secret):
    """How a secret could stand somewhere."""
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), base64.b64encode(secret)]


def open_files(pid):
    """What a process has open and can be read again: not its memory."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        try:
            target = os.readlink(path)
            if target.startswith(("/dev/", "socket:", "pipe:", "anon_inode:")):
                continue
            with open(path, "rb") as f:
                yield target, f.read(16 << 20)
        except OSError:
            continue


def find_secrets(stage, folders, secrets):
    """Places where one of them stands; never what."""
    found = []

    def look(where, data):
        found.extend(f"{where}: {name}" for name, secret in secrets.items() if any(text in data for text in encodings(secret)))

    for pid in ringbolt.process_tree(stage.proxy.process.pid):
        for name in ("environ", "cmdline"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as f:
                    look(f"{name} of {pid}", f.read())
            except OSError:
                continue
        try:
            for target, data in open_files(pid):
                look(f"{target} of {pid}", data)
        except OSError:
            continue
    for top in folders:
        for parent, _, names in os.walk(top):
            for name in names:
                path = os.path.join(parent, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb") as f:
                        look(path, f.read(16 << 20))
    look("the log", "\n".join([json.dumps(line) for line in stage.proxy.lines] + stage.proxy.noise).encode())
    look("standard output", stage.proxy.stdout)
    return found


@pytest.fixture
def terminal():
    one = Terminal("correct horse battery staple")
    yield one
    one.close()


def test_passphrase_is_typed_once(start, dial, terminal, tmp_path, actor):
    """An upgrade and a reload load the encrypted key without anybody at the terminal. Nowhere stands what was typed, nor the key."""
    tmp_path.chmod(0o755)
    pair = pki.Authority("Ringbolt typed root").issue(["localhost"])
    chain = pki.write_whole(str(tmp_path / "own.pem"), pair.chain_pem())
    key = pki.write_whole(str(tmp_path / "own.key"), pair.key_pem(terminal.phrase), 0o600)
    stage = start({"app": [actor.address]}, prefix=terminal.prefix, tls={"app": {"certificates": [{"chain": chain, "key": key}]}})
    serves(stage, dial)
    number = pair.key.private_numbers().private_value
    # The name of a ticket key stands beside it, and is what can be known of it.
    (ticket_key,) = key_names(dial, stage["app"], 2)
    secrets = {"passphrase": terminal.phrase.encode(), "key": number.to_bytes(32, "big"), "ticket key": ticket_key}
    assert find_secrets(stage, [], {"what is no secret": stage.proxy.config_path.encode()})
    asked = len(terminal.text)
    assert asked > 0
    for how in ("upgrade", "reload", "upgrade"):
        succeed(stage, how)
        serves(stage, dial)
        assert find_secrets(stage, [str(tmp_path)], secrets) == []
    assert len(terminal.text) == asked


def test_development_certificate_stays(work, actor, tmp_path):
    """Who has trusted its authority goes on to."""
    port = ringbolt.Port()
    authority = os.path.join(str(tmp_path), "development-ca.pem")
    proxy = ringbolt.Ringbolt(work, arguments=["run", "--listen", port.text, "--to", actor.address, "--dev-ca", authority])
    try:
        before = ssl.get_server_certificate(port.address, ca_certs=authority)
        for _ in range(2):
            since = proxy.mark()
            proxy.send_signal(signal.SIGUSR2)
            proxy.wait_for_log(said("predecessor is gone"), since)
            assert ssl.get_server_certificate(port.address, ca_certs=authority) == before
        assert sum("development certificate" in line["message"] for line in proxy.lines) == 1
    finally:
        proxy.stop()
        port.close()

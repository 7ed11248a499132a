# SPDX-License-Identifier: Apache-2.0
"""Two releases that differ meet in an upgrade or a downgrade: what one of them does not understand it leaves out, or refuses with words; nothing is
served wrongly, and the one that runs goes on."""
import os
import signal
import socket
import struct
import subprocess
import textwrap

import pytest

import rawtls
import ringbolt
from test_life import echoing
from test_upgrade import echo_again, leader, program, running, said, serves, upgrade  # noqa: F401 pylint: disable=unused-import

pytestmark = pytest.mark.any_layer

MAGIC, OPTIONAL = 0x45626e52, 1  # src/control/estate.c, estate.h
HELLO, END, READY, FAILED, LEAD = 1, 2, 3, 4, 5
COUNTERS, SERVERS, TICKET_KEYS, STAPLES, VERSIONS, RETIRED = 69, 70, 71, 72, 75, 76
UNKNOWN = 200


def item(kind, body=b"", flags=0):
    return struct.pack("<IIIIQ", MAGIC, kind, flags, 0, len(body)) + body


def hello(version, release=b"9.9.9"):
    return item(HELLO, struct.pack("<I", version) + release)


# ---- another program with this protocol

def test_there_and_back(running, dial, program):  # noqa: F811 pylint: disable=redefined-outer-name
    """To a program that calls itself something else, and down again: connections go along both times."""
    stage = running(config={"shutdown_timeout": "60s"})
    version = stage.proxy.admin_json("status")["version"]
    other = "0" * len(version)
    with open(program.real, "rb") as f:
        data = f.read()
    assert data.count(version.encode() + b"\0") > 0
    client = echoing(dial, stage["app"])
    for wanted in (other, version):
        with open(program.path + ".new", "wb") as f:
            f.write(data.replace(version.encode() + b"\0", wanted.encode() + b"\0"))
        os.chmod(program.path + ".new", 0o755)
        os.rename(program.path + ".new", program.path)
        since = stage.proxy.mark()
        upgrade(stage)
        assert stage.proxy.admin_json("status")["version"] == wanted
        stage.proxy.wait_for_log(said("all connections handed over", given=1, kept=0), since)
        echo_again(client)
        serves(stage, dial)


# ---- a successor that speaks otherwise

SUCCESSOR = """
    import os, socket, struct, sys
    fd, _ = os.environ["RINGBOLT_PREDECESSOR"].split(":")
    channel = socket.socket(fileno=int(fd))
    def say(kind, body=b"", flags=0):
        channel.send(struct.pack("<IIIIQ", {magic}, kind, flags, 0, len(body)) + body)
    try:
        say(1, struct.pack("<Ii", {version}, os.getpid()) + b"9.9.9")
        say({word}, b"news", {flags})
        while {waits} and channel.recv(1 << 16):
            pass
    except OSError:
        pass
    sys.exit(5)
"""


@pytest.mark.parametrize("version,word,flags,why", [(2, UNKNOWN, OPTIONAL, "another version"), (1, UNKNOWN, 0, "does not understand"),
                                                    (1, UNKNOWN, OPTIONAL, "status 5")])
def test_a_successor_of_another_kind(running, dial, program, tmp_path, version, word, flags, why):  # noqa: F811 pylint: disable=redefined-outer-name,too-many-arguments
    stage = running()
    first, client = leader(stage), echoing(dial, stage["app"])
    script = tmp_path / "successor.py"
    script.write_text(textwrap.dedent(SUCCESSOR.format(magic=MAGIC, version=version, word=word, flags=flags,
                                                      waits=why != "status 5")), encoding="utf-8")
    program.replace(f'exec /usr/bin/python3 {script}')
    answer = upgrade(stage, status=1)
    assert why in answer["error"], answer
    assert leader(stage) == first
    echo_again(client)
    serves(stage, dial)


# ---- a predecessor that does

class Predecessor:
    """What a master of another release says to its successor, which is a real one."""

    def __init__(self, path):
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(ringbolt.WAIT)
        self.process = subprocess.Popen([ringbolt.BINARY, "run", "-c", path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, pass_fds=[theirs.fileno()],
                                        env={**os.environ, "RINGBOLT_PREDECESSOR": f"{theirs.fileno()}:{os.getpid()}"})
        theirs.close()
        kind, body = self.hear()
        assert kind == HELLO and struct.unpack("<i", body[4:8])[0] == self.process.pid

    def hear(self):
        try:
            data, descriptors, _, _ = socket.recv_fds(self.channel, 1 << 16, 2)
        except ConnectionResetError:  # it went with something unread; its last words come behind that
            data, descriptors, _, _ = socket.recv_fds(self.channel, 1 << 16, 2)
        for fd in descriptors:
            os.close(fd)
        magic, kind, _, _, size = struct.unpack("<IIIIQ", data[:24])
        assert magic == MAGIC and len(data) == 24 + size
        return kind, data[24:]

    def say(self, *items):
        for one in items:
            self.channel.send(one)

    def ended(self):
        """Its log."""
        self.channel.close()
        log = self.process.stderr.read().decode()
        return self.process.wait(ringbolt.WAIT), [entry for entry in map(ringbolt.parse_line, log.splitlines()) if entry]


@pytest.fixture
def precede():
    made = []

    def make(path):
        made.append(Predecessor(path))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        one.process.stderr.close()
        one.channel.close()


@pytest.fixture
def configured(tmp_path, certificates, actor):
    port = ringbolt.Port()
    path = str(tmp_path / "ringbolt.yaml")
    ringbolt.write_config(path, {"workers": 1, "log": {"format": "json"}, "admin": {"socket": str(tmp_path / "admin.sock")},
                                 "listeners": [{"address": port.text, "upstream": "app", "tls": {"certificates": certificates.config()}}],
                                 "upstreams": [{"name": "app", "servers": [{"address": actor.address}]}]})
    yield path, port
    port.close()


@pytest.mark.parametrize("items,why", [([hello(2)], "another version of this protocol"),
                                       ([hello(1), item(UNKNOWN, b"news"), item(END)], "leaves what this release does not know")])
def test_a_predecessor_that_is_refused(configured, precede, items, why):
    before = precede(configured[0])
    try:
        before.say(*items)
    except BrokenPipeError:
        pass  # it has heard enough
    kind, body = before.hear()
    assert kind == FAILED and b"cannot take over" in body, body
    status, log = before.ended()
    assert status == 1 and any(why in entry.get("reason", "") for entry in log), log


def test_what_is_not_understood_is_left_out(configured, precede):
    """A newer release's parts, all in formats that this one does not have: it serves without them, and says so."""
    before = precede(configured[0])
    newer = b"\x63" + b"what nobody knows yet"
    before.say(hello(1), item(UNKNOWN, b"news", OPTIONAL),
               *(item(kind, newer, OPTIONAL) for kind in (COUNTERS, SERVERS, TICKET_KEYS, STAPLES, VERSIONS)), item(END))
    while before.hear()[0] != READY:
        pass
    before.say(item(LEAD, struct.pack("<I", 0)), item(UNKNOWN, b"news", OPTIONAL))
    client = rawtls.RawClient(configured[1].address).handshake()
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"
    client.close()
    before.process.send_signal(signal.SIGTERM)
    status, log = before.ended()
    left_out = [entry.get("what") for entry in log if entry["message"] == "what the predecessor left is not understood"]
    assert {"states of servers", "OCSP responses", "versions of certificates"} <= set(left_out), log
    assert any(entry["message"].startswith("counters begin at nothing") for entry in log), log
    assert status == 0 and any(entry["message"] == "ready" for entry in log), log

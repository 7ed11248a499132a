# SPDX-License-Identifier: Apache-2.0
"""Traffic that never stops, for test_soak.py: streams of every kind, each of which knows what it must get.

A stream ends in one of three ways. Complete: every byte came, was right, and the end was orderly. Failed: the client was told that it
is not complete (a reset, an alert, an end without close_notify). Or it is a violation: a wrong byte, or an orderly end of less than all. There may be no
violations ever, and no failures where nothing was done that may end a connection.
"""
import hashlib
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading

import backends
import rawtls
import ringbolt

HERE = os.path.dirname(os.path.abspath(__file__))


class Violation(AssertionError):
    """The client was told something that is not so."""


class Failed(Exception):
    """The stream broke off, and the client knows."""


class Server:
    """An Actor in a process of its own, which can be killed, stopped and started again at the same address."""

    PROGRAM = ("import sys, threading; sys.path.insert(0, sys.argv[1]); import soak\n"
               "soak.serve(int(sys.argv[2])); print('ready', flush=True); sys.stdin.read()")

    def __init__(self):
        self.port = ringbolt.Port()
        self.address = self.port.text
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, "-c", self.PROGRAM, HERE, str(self.port.address[1])], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def close(self):
        self.kill()
        self.port.close()


class AbruptActor(backends.Actor):
    """One that ends as a crash of its machine does: by resets. The FIN that a kernel sends for a process that was killed would be an orderly
    end, for any proxy."""

    @staticmethod
    def linger(sock, is_abrupt):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", is_abrupt, 0))

    def _serve(self, session):
        self.linger(session.socket, True)
        super()._serve(session)

    def _fin(self, session):
        super()._fin(session)
        self.linger(session.socket, False)


def serve(port):
    """In a server's process: an Actor that listens at a port which its parent keeps."""
    actor = AbruptActor()
    actor.close()
    actor.listener = socket.socket()
    actor.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    actor.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    actor.linger(actor.listener, True)  # for those that are not accepted yet
    actor.listener.bind(("127.0.0.1", port))
    actor.listener.listen(4096)
    actor.listen()
    return actor


# ---- streams

class Stream:
    """One connection of a raw client. A failure before or within the handshake is a failure, too."""

    rekeys = True  # whether the proxy can follow a change of keys

    def __init__(self, address, rng, tag):
        self.tag = tag
        self.client = None
        try:
            self.client = rawtls.RawClient(address, version=rng.choice(["1.2", "1.3", "1.3"]), cipher=rng.choice(list(rawtls.CIPHERS)),
                                           certificate=rng.choice(["ecdsa", "rsa"]), timeout=ringbolt.WAIT)
            self.client.handshake()
        except (OSError, rawtls.Alerted, rawtls.ProtocolError) as error:
            self.close()
            raise Failed(f"handshake: {error}") from error

    def close(self):
        if self.client:
            self.client.close()

    def say(self, data):
        try:
            self.client.send_data(data)
        except OSError as error:
            raise Failed(str(error)) from error

    def finish(self):
        try:
            self.client.close_notify()
        except OSError as error:
            raise Failed(str(error)) from error

    def take(self, length, slow=None):
        """So many bytes; they must be there before an orderly end."""
        got = b""
        while len(got) < length:
            try:
                event = self.client.event()
            except (OSError, rawtls.ProtocolError) as error:
                raise Failed(str(error)) from error
            if event[0] == "data":
                got += event[1]
                if slow and len(got) < length:
                    slow.wait(0.002)
            elif event[0] == "alert" and rawtls.ALERT_NAMES.get(event[2]) == "close_notify":
                raise Violation(f"{self.tag}: an orderly end after {len(got)} of {length} bytes")
            elif event[0] != "handshake":
                raise Failed(str(event))
        if len(got) > length:
            raise Violation(f"{self.tag}: {len(got)} bytes instead of {length}")
        return got

    def end(self):
        """Nothing more but an orderly end."""
        try:
            data, how = self.client.read_to_end()
        except (OSError, rawtls.ProtocolError) as error:
            raise Failed(str(error)) from error
        if data:
            raise Violation(f"{self.tag}: {len(data)} bytes too many")
        if how != "close_notify":
            raise Failed(how)


def same(stream, got, wanted):
    if got != wanted:
        at = next(i for i, (a, b) in enumerate(zip(got, wanted)) if a != b)
        raise Violation(f"{stream.tag}: byte {at} of {len(wanted)} is wrong")


def download(stream, rng, over):
    length = rng.choice([0, 1, 16384, rng.randrange(1 << 20)])
    stream.say(f"send {stream.tag} {length}\n".encode())
    same(stream, stream.take(length, slow=over if rng.random() < 0.2 else None), b"".join(backends.Pattern().blocks(length)))
    stream.end()
    stream.finish()


def upload(stream, rng, _over):
    length = rng.randrange(1 << 20)
    data = backends.pattern(length)
    stream.say(f"sink {stream.tag}\n".encode())
    for at in range(0, length, 100000):
        stream.say(data[at:at + 100000])
    stream.finish()
    wanted = f"{length} {hashlib.sha256(data).hexdigest()}\n".encode()
    same(stream, stream.take(len(wanted)), wanted)
    stream.end()


def answer(stream, rng, _over):
    """The client has said all it has to say, and then gets much."""
    length = rng.randrange(1 << 19)
    stream.say(f"answer {stream.tag} {length}\nquestion".encode())
    stream.finish()
    same(stream, stream.take(length), b"".join(backends.Pattern().blocks(length)))
    stream.end()


def talk(stream, rng, over):
    """Questions and answers; one at a time, one byte at a time, or with a pause in between."""
    stream.say(f"echo {stream.tag}\n".encode())
    for _ in range(rng.randrange(1, 12)):
        data = os.urandom(rng.choice([1, 1, 100, 20000]))
        stream.say(data)
        same(stream, stream.take(len(data)), data)
        if stream.rekeys and stream.client.version == "1.3" and rng.random() < 0.2:
            stream.client.send(stream.client.key_update(request=rng.random() < 0.5))
        over.wait(rng.choice([0, 0, 0.05, 0.3]))
    stream.finish()
    stream.end()


KINDS = {"download": download, "upload": upload, "answer": answer, "talk": talk}


class Counts:
    def __init__(self):
        self.complete, self.failed = 0, 0
        self.failures, self.violations = [], []


class Traffic:
    """Threads that open stream after stream, and count how they end."""

    is_paused = False

    def __init__(self, address, seed, clients, rekeys):
        self.address, self.seed, self.rekeys = address, seed, rekeys
        self.over = threading.Event()
        self.lock = threading.Condition()
        self.live = set()
        self.counts = Counts()
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        rng = random.Random(f"{self.seed} {number}")
        made = 0
        while not self.over.is_set():
            made += 1
            kind = rng.choice(list(KINDS))
            with self.lock:
                self.lock.wait_for(lambda: not self.is_paused or self.over.is_set())
                if self.over.is_set():
                    return
                self.live.add(number)
            self._one(kind, rng, f"s{number}x{made}{kind}")
            with self.lock:
                self.live.remove(number)
                self.lock.notify_all()

    def _one(self, kind, rng, tag):
        stream = None
        try:
            stream = Stream(self.address, rng, tag)
            stream.rekeys = self.rekeys
            KINDS[kind](stream, rng, self.over)
            with self.lock:
                self.counts.complete += 1
        except Failed as failure:
            with self.lock:
                self.counts.failed += 1
                self.counts.failures.append(f"{tag}: {failure}")
        except Violation as violation:
            with self.lock:
                self.counts.violations.append(str(violation))
        finally:
            if stream:
                stream.close()

    def pause(self):
        """No new streams; waits for those that are live."""
        with self.lock:
            self.is_paused = True
            assert self.lock.wait_for(lambda: not self.live, ringbolt.WAIT), f"streams hang: {self.live}"

    def go_on(self):
        with self.lock:
            self.is_paused = False
            self.lock.notify_all()

    def take_counts(self):
        with self.lock:
            counts, self.counts = self.counts, Counts()
        return counts

    def wait_complete(self, more):
        """Until so many more streams are complete: the traffic flows (again)."""
        with self.lock:
            wanted = self.counts.complete + more
        ringbolt.wait_until(lambda: self.counts.complete >= wanted, f"{more} more streams are complete")

    def close(self):
        self.over.set()
        self.go_on()
        for thread in self.threads:
            thread.join(ringbolt.WAIT)


class Resumer:
    """Handshakes of Python's ssl, resumed where the proxy likes; for the churn alone."""

    def __init__(self, address):
        self.address = address
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.session = None

    def once(self):
        with socket.create_connection(self.address, ringbolt.WAIT) as sock:
            with self.context.wrap_socket(sock, server_hostname="localhost", session=self.session) as tls:
                tls.sendall(b"echo r\nx")
                assert tls.recv(1) == b"x"
                self.session = tls.session
                return tls.session_reused


def stop_and_go(pid, seconds, over):
    os.kill(pid, signal.SIGSTOP)
    over.wait(seconds)
    os.kill(pid, signal.SIGCONT)

# SPDX-License-Identifier: Apache-2.0
"""Runs ringbolt-bench, and a TLS server that misbehaves on purpose."""
import json
import os
import socket
import ssl
import struct
import subprocess
import threading

import backends
import ringbolt


def find():
    """The program: RINGBOLT_BENCH, or where meson puts it, or beside the proxy."""
    beside = os.path.dirname(os.path.abspath(ringbolt.BINARY))
    places = [os.environ.get("RINGBOLT_BENCH", ""), os.path.join(beside, "bench", "load", "ringbolt-bench"),
              os.path.join(beside, "ringbolt-bench")]
    for place in places:
        if place and os.path.exists(place):
            return place
    raise AssertionError(f"there is no ringbolt-bench: looked in {places}")


def call(*arguments, **options):
    """Runs it to its end: what it printed and its exit status."""
    return subprocess.run([find(), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=ringbolt.WAIT, check=False, **options)


def start(*arguments, **options):
    return subprocess.Popen([find(), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            **options)


def check(done_output, complaints, status, expected):
    """The report of a run that ended with the expected status."""
    assert status == expected, (status, done_output[-3000:], complaints[-3000:])
    assert not complaints, complaints
    return json.loads(done_output)


def report(*arguments, status=0, **options):
    done = call(*arguments, "--json", **options)
    return check(done.stdout, done.stderr, done.returncode, status)


def pattern(size):
    done = call("pattern", "--size", size)
    assert done.returncode == 0 and not done.stderr and len(done.stdout) == size
    return done.stdout


class Server:
    """A TLS server of Python's: `behave(tls, number)` has each connection, as an SSLSocket and its number from 1. With plain, before
    the handshake: then `behave` gets the bare socket. `context` gets an SSLContext for each connection, or makes one."""

    def __init__(self, certificates, behave, plain=False, host="127.0.0.1", path=None, version=None, context=None):
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.address = f"unix:{path}"
        else:
            self.listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            self.listener.bind((host, 0))
            port = self.listener.getsockname()[1]
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.listener.listen(1024)
        self.behave, self.plain, self.certificates, self.version = behave, plain, certificates, version
        self.context = context or self.make_context()
        self.accepted, self.errors, self.threads = 0, [], []
        self.closing = threading.Event()
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()

    def make_context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificates.ecdsa)
        if self.version:
            wanted = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[self.version]
            context.minimum_version = context.maximum_version = wanted
        return context

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(target=self._serve, args=(sock, self.accepted), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock, number):
        sock.settimeout(ringbolt.WAIT)
        try:
            if self.plain:
                self.behave(sock, number)
            else:
                context = self.context() if callable(self.context) else self.context
                sock = context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
                self.behave(sock, number)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            self.errors.append(error)
        finally:
            sock.close()

    def close(self):
        self.closing.set()
        backends.stop_accepting(self.listener, self.acceptor)
        for thread in self.threads:
            thread.join(ringbolt.WAIT)
            assert not thread.is_alive()


# ---- behaviours

def read_request(tls):
    """One request without a body; b"" at the end of the stream."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        try:
            more = tls.recv(4096)
        except (ssl.SSLEOFError, ConnectionError):
            return b""
        if not more:
            return b""
        data += more
    return data


def answer(body, status="200 OK", length=None, extra=b""):
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n".encode() + extra + b"\r\n" + body


def say_goodbye(tls):
    """close_notify both ways."""
    try:
        tls.unwrap().close()
    except (OSError, ValueError):
        pass


def serve_requests(reply):
    """A behaviour: every request gets what reply(number) returns."""
    def behave(tls, _number):
        count = 0
        while read_request(tls):
            count += 1
            tls.sendall(reply(count))
        say_goodbye(tls)
    return behave


def reset(sock):
    """RST, whatever is still in the buffers; the object of the socket is left without one."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(sock.detach())


def write_below(tls, data):
    """Bytes on the wire that no TLS has seen."""
    os.write(tls.fileno(), data)

# SPDX-License-Identifier: Apache-2.0
"""Plaintext servers behind the proxy.

`Actor` does what the first line of a connection says, and remembers how that connection went, so that one server
plays every part:

    echo TAG             sends back what it gets
    send TAG N           sends N bytes of pattern(), then FIN, then reads to the end
    answer TAG N         reads to the end, then sends N bytes of pattern(), then FIN
    sink TAG             reads to the end, answers "COUNT SHA256\\n", then FIN
    reset TAG N          sends N bytes; RST once the test releases it
    stall TAG            reads nothing until the test releases it, then as sink
    hold TAG             keeps the connection open and silent until released, then FIN
    PUT /TAG HTTP/1.1    takes a body with Content-Length, answers with COUNT and SHA256
"""
import hashlib
import os
import socket
import struct
import subprocess
import threading

BLOCK = 65536


def pattern(length, start=0):
    """Bytes in which every 16 say where they are."""
    first = start // 16
    last = (start + length + 15) // 16
    whole = b"".join(b"%015x\n" % i for i in range(first, last))
    return whole[start - first * 16:start - first * 16 + length]


class Pattern:
    """A long pattern(), block by block, without making each block anew: one random block, with its number in front."""

    def __init__(self):
        self.block = bytearray(hashlib.shake_128(b"ringbolt").digest(BLOCK))

    def blocks(self, length):
        sent = 0
        while sent < length:
            self.block[0:8] = sent.to_bytes(8, "big")
            take = min(BLOCK, length - sent)
            yield bytes(self.block[:take])
            sent += take

    def digest(self, length):
        digest = hashlib.sha256()
        for block in self.blocks(length):
            digest.update(block)
        return digest.hexdigest()


def stop_accepting(listener, thread):
    """Closes it when the thread that accepts has ended: else that might wait at a number which is another socket's by then."""
    try:
        listener.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # a datagram socket says that it is not connected, and wakes who waits all the same
    thread.join()
    listener.close()


class Session:
    """One connection as its backend saw it. end: "eof" or "reset", once it is known."""

    def __init__(self, sock):
        self.socket = sock
        self.command, self.tag = "", ""
        self.received = 0
        self.digest = hashlib.sha256()
        self.end = None
        self.started = threading.Event()
        self.ended = threading.Event()      # the client's direction has ended
        self.released = threading.Event()   # the test says: go on
        self.finished = threading.Event()   # this session is over
        self.error = None

    def release(self):
        self.released.set()


class Actor:
    """One listening socket, a thread a connection. address: what Ringbolt is told."""

    def __init__(self, path=None, host="127.0.0.1", port=0):
        if path:
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(path)
            os.chmod(path, 0o666)  # a worker may be somebody else
            self.address = f"unix:{path}"
        else:
            self.listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((host, port))
            port = self.listener.getsockname()[1]
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.listener.listen(4096)
        self.sessions = {}
        self.changed = threading.Condition()
        self.accepted = 0
        self.listen()

    def listen(self):
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()

    def close(self):
        stop_accepting(self.listener, self.acceptor)

    def session(self, tag, timeout=60):
        """The session that said this tag; waits for it."""
        with self.changed:
            if not self.changed.wait_for(lambda: tag in self.sessions, timeout):
                raise AssertionError(f"no connection with tag {tag} reached the backend")
            return self.sessions[tag]

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(Session(sock),), daemon=True).start()

    # ---- one session

    def _serve(self, session):
        try:
            line, rest = self._first_line(session)
            if line is None:
                return
            words = line.split()
            session.command = words[0]
            session.tag = words[1].lstrip("/")
            with self.changed:
                self.sessions[session.tag] = session
                self.changed.notify_all()
            session.started.set()
            self._take(session, rest)
            getattr(self, "_do_" + words[0].lower())(session, words[2:], rest)
        except OSError as error:
            session.error = error
        finally:
            session.finished.set()
            session.ended.set()
            try:
                session.socket.close()
            except OSError:
                pass

    @staticmethod
    def _first_line(session):
        data = b""
        while b"\n" not in data:
            try:
                more = session.socket.recv(1 if len(data) < 64 else BLOCK)
            except ConnectionResetError:
                more = b""
            if not more:
                return None, data
            data += more
        line, _, rest = data.partition(b"\n")
        return line.decode(errors="replace"), rest

    @staticmethod
    def _take(session, data):
        session.received += len(data)
        session.digest.update(data)

    def _read(self, session):
        """The next bytes, or b"" at the end (session.end says which)."""
        try:
            data = session.socket.recv(4 * BLOCK)
        except ConnectionError:
            session.end = "reset"
            session.ended.set()
            return b""
        if not data:
            session.end = "eof"
            session.ended.set()
        self._take(session, data)
        return data

    def _read_all(self, session):
        while self._read(session):
            pass

    @staticmethod
    def _send_pattern(session, length):
        for block in Pattern().blocks(length):
            session.socket.sendall(block)

    @staticmethod
    def _fin(session):
        session.socket.shutdown(socket.SHUT_WR)

    def _do_echo(self, session, _words, rest):
        data = rest
        while True:
            if data:
                session.socket.sendall(data)
            data = self._read(session)
            if not data:
                break
        if session.end == "eof":
            self._fin(session)

    def _do_send(self, session, words, _rest):
        self._send_pattern(session, int(words[0]))
        self._fin(session)
        self._read_all(session)

    def _do_answer(self, session, words, _rest):
        self._read_all(session)
        if session.end == "eof":
            session.released.wait() if len(words) > 1 else None
            self._send_pattern(session, int(words[0]))
            self._fin(session)

    def _do_sink(self, session, _words, _rest):
        self._read_all(session)
        if session.end == "eof":
            session.socket.sendall(f"{session.received} {session.digest.hexdigest()}\n".encode())
            self._fin(session)

    def _do_reset(self, session, words, _rest):
        self._send_pattern(session, int(words[0]))
        session.released.wait()
        session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _do_stall(self, session, words, rest):
        session.released.wait()
        self._do_sink(session, words, rest)

    def _do_hold(self, session, _words, _rest):
        session.released.wait()
        self._fin(session)
        self._read_all(session)

    def _do_put(self, session, _words, rest):
        while b"\r\n\r\n" not in rest:
            rest += session.socket.recv(BLOCK)
        head, _, body = rest.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        session.received, session.digest = 0, hashlib.sha256()
        self._take(session, body)
        while session.received < length and self._read(session):
            pass
        answer = f"{session.received} {session.digest.hexdigest()}\n"
        session.socket.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n{answer}".encode())
        self._fin(session)
        self._read_all(session)


class Nginx:
    """Debian's nginx on sockets that it inherits, so nobody waits for it and no port is guessed. Serves `directory` (and
    /api, a short JSON answer) over HTTP/1.1 on `tcp` and `unix`, over HTTP/2 on `h2`."""

    def __init__(self, directory, work):
        work = os.path.join(work, "nginx")
        os.mkdir(work)
        os.chmod(work, 0o755)
        tcp, h2 = (socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(2))
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        for sock in (tcp, h2):
            sock.bind(("127.0.0.1", 0))
        path = os.path.join(work, "http.sock")
        unix.bind(path)
        os.chmod(path, 0o666)
        for sock in (tcp, h2, unix):
            sock.listen(1024)
            os.set_inheritable(sock.fileno(), True)
        self.tcp, self.h2 = (f"127.0.0.1:{sock.getsockname()[1]}" for sock in (tcp, h2))
        self.unix = f"unix:{path}"
        config = f"""
daemon off;
worker_processes 1;
pid {work}/pid;
error_log {work}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    server {{
        listen {self.tcp};
        listen {self.unix};
        listen {self.h2} http2;
        root "{directory}";
        location = /api {{ default_type application/json; return 200 '{{"answer":42}}\\n'; }}
    }}
}}
"""
        with open(os.path.join(work, "nginx.conf"), "w", encoding="utf-8") as f:
            f.write(config)
        inherited = "".join(f"{sock.fileno()};" for sock in (tcp, unix, h2))
        self.process = subprocess.Popen(["/usr/sbin/nginx", "-p", work, "-e", f"{work}/error.log", "-c", f"{work}/nginx.conf"],
                                        env={**os.environ, "NGINX": inherited}, stdin=subprocess.DEVNULL,
                                        pass_fds=[sock.fileno() for sock in (tcp, unix, h2)])
        for sock in (tcp, unix, h2):
            sock.close()

    def close(self):
        self.process.terminate()
        self.process.wait(30)
